"""A lesson runs once, in one kernel; in that run its outputs are compared and answers are tried.

Nbval makes a test of each code cell: it runs it and compares what it shows with what is stored.
Here, the answers to an exercise are tried right after its check, in the same kernel, and what they
change is put back, so that the lesson goes on as it is stored. All along it is noted what the
kernel attempts on a network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest
from nbformat import NotebookNode
from nbformat.v4 import output_from_msg
from nbval.plugin import IPyNbFile

from helpers.practice.exercises import parts
from studies import network_recorder
from tests.notebooks import answers
from tests.notebooks import notebook_checks as checks
from tests.notebooks.one_at_a_time import turn

# Where the kernels of lessons note what they attempt on a network.
NOTES = pytest.StashKey[Path]()

# The longest time for one answer, in seconds.
PATIENCE = 300

# After the trials, names, seed and random numbers stand where they stood before.
KEEP = """\
def __keep__():
    import random, numpy, scvi, torch
    seed = scvi.settings.seed
    names = get_ipython().user_ns
    kept = dict(names)
    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()

    def put_back():
        for name in names.keys() - kept.keys():
            del names[name]
        names.update(kept)
        if scvi.settings.seed != seed:
            scvi.settings.seed = seed
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.set_rng_state(states[2])

    return put_back

__put_back__ = __keep__()
"""
PUT_BACK = "__put_back__()"

# What the solution makes, for typical wrong answers that go on from there: no model is trained
# twice for them.
SOLVED = "solved = {{name: globals().get(name) for name in {names}}}"


class Lesson(IPyNbFile):
    """A notebook whose code cells are tests, and each of its exercises, too."""

    # Nbval says that it gives cells alone.
    def collect(self) -> Iterator[pytest.Item]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give a test for each code cell, and one for an exercise after its check."""
        found: dict[int, parts.Part] | None = None
        for item in super().collect():
            yield item
            if found is None:  # read by now
                places = [n for n, cell in enumerate(self.nb.cells) if cell.cell_type == "code"]
                found = {places.index(part.check): part for part in parts.find(self.nb)}
            if part := found.get(item.cell_num):
                yield Answers.from_parent(self, part=part, cell_num=item.cell_num)

    def setup(self) -> None:
        """Start the kernel once no other test runs this lesson, and let it note its attempts."""
        self.turn = turn(self.path)
        self.turn.acquire()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in network_recorder.recording(
                os.environ, self.config.stash[NOTES]
            ).items():
                patch.setenv(name, value)
            super().setup()

    def teardown(self) -> None:
        """Stop the kernel, and let another test run this lesson."""
        try:
            super().teardown()
        finally:
            self.turn.release()

    def tell(self, code: str) -> list[NotebookNode]:
        """Run code in the kernel as a cell, and return what it shows."""
        sent = self.kernel.execute_cell_input(code, allow_stdin=False)
        try:
            self.kernel.await_reply(sent, timeout=PATIENCE)
        except Empty:
            self.kernel.interrupt()
            raise AssertionError(f"no reply within {PATIENCE} s:\n{code}") from None
        shown = []
        while True:
            message = self.kernel.get_message("iopub", timeout=30)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["content"].get("execution_state") == "idle":
                return shown
            if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                shown.append(output_from_msg(message))


class AnswersError(Exception):
    """What was found wrong while answers were tried."""


class Answers(pytest.Item):
    """The answers that are tried in one exercise.

    Parameters
    ----------
    part
        The exercise.
    cell_num
        The number of its check among the code cells, as nbval counts them.
    """

    def __init__(self, *, part: parts.Part, cell_num: int, parent: Lesson, **given):
        super().__init__(" ".join(part.title.split()[:2]), parent, **given)
        self.lesson = parent
        self.part = part
        self.cell_num = cell_num

    def runtest(self) -> None:
        """Try all answers, each as a cell of its own before the check."""
        self.lesson.tell(KEEP)
        try:
            found = answers.faults(list(self._tried()))
        finally:
            left = self.lesson.tell(PUT_BACK)
        assert not left, left
        if found:
            raise AnswersError("\n\n".join(found))

    def _tried(self) -> Iterator[tuple[answers.Trial, answers.Outcome]]:
        """Give each answer with what the check said."""
        lesson = self.lesson
        check = lesson.nb.cells[self.part.check].source
        for trial in answers.trials(self.path.stem, lesson.nb, self.part):
            yield trial, answers.outcome(lesson.tell(f"{trial.code}\n{check}"))
            if trial.kind == "solution":
                lesson.tell(SOLVED.format(names=sorted(answers.bound(trial.code))))

    def repr_failure(self, excinfo, style=None) -> str:
        """Name the lesson, the exercise and the cell of its check."""
        place = f"{self.path.stem}, {self.part.title}, check in Cell {self.cell_num}"
        if excinfo.errisinstance(AnswersError):
            return f"{place}\n\n{excinfo.value}"
        return f"{place}\n\n{super().repr_failure(excinfo, style='short')}"

    def reportinfo(self):
        """Return where it is, for the report."""
        return self.path, 0, self.nodeid


def require_quiet(item: pytest.Item, start: int) -> None:
    """Look for what nbval does not: a warning, a word on stderr, an attempt to use a network.

    Parameters
    ----------
    item
        A test of a lesson that just ran.
    start
        The size of the notes about networks before it ran, in bytes.

    Raises
    ------
    NbCellError, AnswersError
        With what was found.
    """
    found = [*map(str, network_recorder.read_python(item.config.stash[NOTES], start))]
    if isinstance(item, Answers):
        if found:
            raise AnswersError("\n".join(found))
        return
    found += checks.noise(item.test_outputs or ())
    item.test_outputs = None  # figures, which would fill a worker's memory
    if found:
        item.raise_cell_error("\n".join(found))
