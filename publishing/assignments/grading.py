"""Mark what a class has handed in: a page for each learner, and a table of marks.

``python -m publishing.grading FOLDER`` (``make assignment ARGS="grade FOLDER"``) runs the notebooks
in a folder with nbgrader and writes ``build/grades/FOLDER``. It runs the learners' code on this
machine.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import json
import logging
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import nbformat
import pandas as pd
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked
from traitlets import Integer
from traitlets.log import get_logger

from publishing import editions
from publishing.assignment import LIMIT, MARKS, Course, name_of, source, with_lessons

# Seconds for a cell of the lesson itself, which always ends: enough for a slow machine.
LESSON_LIMIT = 1800

# So often a notebook is run, each time without one more cell, before it counts as one that cannot
# be marked.
RUNS = 6

REASONS = {
    DeadKernelError: "This cell ended Python.",
    CellTimeoutError: "This cell took too long, and could not be stopped.",
}

# Written into the record of a submission; raise it where the same submission would now get other
# marks or another page.
FORMAT = 1


# --- what nbgrader does with one notebook ---------------------------------------------------------


class RunSubmission(Execute):
    """Run a notebook in an empty folder.

    A cell that ends Python, or that cannot be stopped, is left out in another run.

    Raises
    ------
    DeadKernelError, CellTimeoutError
        If so many runs did not reach the end that something else must be wrong.
    """

    limit = Integer(LIMIT, help="Seconds that a cell of a learner may take.").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: Any = None, km: Any = None
    ) -> tuple[NotebookNode, Any]:
        """Run all cells; each cell that had to be left out holds an error."""
        self.timeout_func = self.seconds_for
        left_out: dict[int, str] = {}
        while True:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                # A lesson writes into ../data.
                (Path(scratch) / "notebooks").mkdir()
                resources["metadata"]["path"] = str(Path(scratch, "notebooks"))
                try:
                    nb, resources = super().preprocess(nb, resources, km)
                    break
                except (DeadKernelError, CellTimeoutError) as error:
                    if len(left_out) == RUNS - 1:
                        raise
                    left_out[self.place] = REASONS[type(error)]
            nb.cells[self.place].metadata.setdefault("tags", []).append(self.skip_cells_with_tag)
        for place, reason in left_out.items():
            nb.cells[place].metadata.tags.remove(self.skip_cells_with_tag)
            text = f"{reason} It was left out, and all others were run again."
            nb.cells[place].outputs = [_error("LeftOut", text)]
        return nb, resources

    def preprocess_cell(
        self, cell: NotebookNode, resources: Any, index: int
    ) -> tuple[NotebookNode, Any]:
        """Run one cell."""
        self.place = index
        return super().preprocess_cell(cell, resources, index)

    def on_cell_executed(self, **told: Any) -> None:
        """Notice ``exit()``, after which Python ends while the next cell runs."""
        super().on_cell_executed(**told)
        payload = told["execute_reply"]["content"].get("payload", ())
        if any(each.get("source") == "ask_exit" for each in payload):
            raise DeadKernelError("The cell asked Python to end.")

    def seconds_for(self, cell: NotebookNode) -> int:
        """Return the limit for a cell: that for learners, unless it is one of the lesson."""
        return LESSON_LIMIT if is_locked(cell) and not is_grade(cell) else self.limit


class TakeMarks(NbGraderPreprocessor):
    """Leave marks in the output of a check only where it is as ``Reply.marks`` makes it.

    nbgrader gives full marks to a check that shows nothing, or text, or a number below zero, and
    none where anything was written to stderr, such as a warning of a package. Here the first three
    get none, and the last costs none.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Change the outputs of one cell, if it is a check."""
        if not is_grade(cell):
            return cell, resources
        results = [out for out in cell.outputs if out.output_type == "execute_result"]
        others = [out for out in cell.outputs if out.output_type != "execute_result"]
        for output in others:
            if output.get("name") == "stderr":
                output.name = "stdout"
        if any(output.output_type == "error" for output in others):
            cell.outputs = others
        elif len(results) != 1 or not _is_mark(results[0], cell.metadata.nbgrader.points):
            text = "This check gave no marks as the kit's checks do. Has its code been changed?"
            cell.outputs = [*others, _error("NoMarks", text)]
        else:
            cell.outputs = [*others, *results]
        return cell, resources


def _is_mark(output: NotebookNode, most: float) -> bool:
    """Tell whether a result is a number from 0 to the most."""
    try:
        return 0 <= float(output.data["text/plain"]) <= most
    except (KeyError, ValueError):
        return False


def _error(name: str, text: str) -> NotebookNode:
    """Return an output that is an error."""
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[text])


class KeepExercises(NbGraderPreprocessor):
    """Keep of a marked notebook the exercises, and before them what the learner added or what stopped with an error."""

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Drop the lesson before its exercises."""
        first = next(
            (
                number
                for number, cell in enumerate(nb.cells)
                if cell.cell_type == "markdown" and "## Exercises" in cell.source.splitlines()
            ),
            0,
        )
        nb.cells = [
            cell
            for number, cell in enumerate(nb.cells)
            if number >= first or (cell.cell_type == "code" and not _as_expected(cell))
        ]
        # They would be drawn with the help of a server far away.
        nb.metadata.pop("widgets", None)
        return nb, resources


def _as_expected(cell: NotebookNode) -> bool:
    """Tell whether a code cell is one of the lesson, and ran without an error."""
    return is_locked(cell) and all(output.output_type != "error" for output in cell.outputs)


class FeedbackPage(HTMLExporter):
    """A page that loads nothing from the network.

    Nbgrader's template asks for MathJax and others.
    """

    def from_notebook_node(
        self, nb: NotebookNode, resources: Any = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Make the page."""
        page, resources = super().from_notebook_node(nb, resources, **kw)
        return re.sub(r"""<script src=["']https?:[^>]*>\s*</script>""", "", page), resources


# --- what was handed in ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Submission:
    """A notebook that was handed in.

    Parameters
    ----------
    student
        Name of the file or folder.
    file
        Where it is.
    lesson
        Number of the lesson; empty if it cannot be told.
    fault
        Why it cannot be marked; empty if it can.
    """

    student: str
    file: Path
    lesson: str
    fault: str = ""


def submissions(folder: Path, lessons: Path = editions.LESSONS) -> list[Submission]:
    """Find the notebooks of a class.

    Parameters
    ----------
    folder
        With a notebook for each student, or a folder for each student with a notebook for each
        lesson.
    lessons
        The folder of the lessons.

    Raises
    ------
    editions.EditionError
        If there is no such folder, or no notebook in it.
    """
    how = (
        "What to do: collect the notebooks in one folder, a file for each student (Ada.ipynb) or a folder for each student, "
        'and name that folder: make assignment ARGS="grade FOLDER".'
    )
    if not folder.is_dir():
        raise editions.EditionError(f"There is no folder {folder}.\n{how}")
    files = sorted(
        file
        for file in folder.rglob("*.ipynb")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise editions.EditionError(f"There is no notebook (.ipynb) in {folder}.\n{how}")
    there = with_lessons(lessons)
    found = [_look_at(file, folder, sorted(there)) for file in files]
    places: dict[tuple[str, str], list[Submission]] = {}
    for each in found:
        places.setdefault((each.student.casefold(), each.lesson), []).append(each)
    return [
        each
        if not each.lesson or len(same := places[each.student.casefold(), each.lesson]) == 1
        else Submission(each.student, each.file, each.lesson, _two_of(same, folder))
        for each in found
    ]


def _two_of(same: list[Submission], folder: Path) -> str:
    """Say that a student has handed in several notebooks of one lesson."""
    names = " and ".join(each.file.relative_to(folder).as_posix() for each in same)
    return f"{names} are of the same lesson and student. Keep one of them."


def _look_at(file: Path, folder: Path, lessons: list[str]) -> Submission:
    """Tell whose a notebook is and of which lesson."""
    inside = file.relative_to(folder)
    # The name becomes that of a folder, and nbgrader reads * and [ in it as patterns.
    student = re.sub(r"[^\w .,@()-]", "_", inside.parts[0].removesuffix(".ipynb")).strip(" .")
    try:
        notebook = nbformat.read(file, as_version=4)
        names = [_grade_id(cell) for cell in notebook.cells]
    except Exception as error:  # a damaged file may hold anything
        return Submission(
            student, file, "", f"This is no notebook that can be read ({type(error).__name__})."
        )
    numbers = {name.partition("-")[0] for name in names if name}
    if len(numbers) != 1:
        return Submission(
            student,
            file,
            "",
            "This is not the notebook of an assignment: ask for the one that was handed out "
            "(assignment_NN.ipynb), with the answers in it.",
        )
    (number,) = numbers
    if number not in lessons:
        fault = (
            f"This is of lesson {number!r}, which has no exercises here. There are: "
            f"{', '.join(lessons)}."
        )
        return Submission(student, file, "", fault)
    return Submission(student, file, number)


def _grade_id(cell: NotebookNode) -> str:
    """Return the name that nbgrader has for a cell; empty for none."""
    told = cell.metadata.get("nbgrader")
    return str(told.get("grade_id", "")) if isinstance(told, dict) else ""


def mend(submitted: NotebookNode, released: NotebookNode) -> list[str]:
    """Give a notebook back what nbgrader goes by, where a student has lost or changed it.

    nbgrader puts back the source of checks and of the lesson's cells; for that they have to be
    there, and to say what they are.

    Parameters
    ----------
    submitted
        The student's notebook; changed in place.
    released
        The notebook that was handed out.

    Returns
    -------
    list of str
        What was found, for the teacher.
    """
    known = {_grade_id(cell): cell for cell in released.cells if _grade_id(cell)}
    notes = []
    for number, cell in enumerate(submitted.cells, 1):
        original = known.get(_grade_id(cell))
        own = cell.cell_type == "code" and (original is None or not is_locked(original))
        if own and "exercises" in cell.source:
            notes.append(f"cell {_grade_id(cell) or number} mentions the code of the checks")
        if original is None:
            cell.metadata.pop("nbgrader", None)
            continue
        cell.metadata.nbgrader = copy.deepcopy(original.metadata.nbgrader)
        if is_grade(original) and cell.source.strip() != original.source.strip():
            notes.append(f"check {_grade_id(cell)} was edited")
    there = [_grade_id(cell) for cell in submitted.cells]
    place = 0
    for name, original in known.items():
        if name in there:
            place = len(there) - there[::-1].index(name)
            continue
        submitted.cells.insert(place, copy.deepcopy(original))
        there.insert(place, name)
        place += 1
        notes.append(f"cell {name} was missing")
    return notes


# --- marking a class ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Class:
    """The marks of a class, in a course folder of its own.

    Parameters
    ----------
    course
        The course folder; a file for each marked notebook is kept beside nbgrader's folders.
    lessons
        For each number the notebook.
    limit
        Seconds that a cell of a student may take.
    """

    course: Course
    lessons: Mapping[str, Path]
    limit: int

    def record(self, submission: Submission) -> Path:
        """Return the place of what is known about a notebook."""
        return (
            self.course.folder
            / "records"
            / name_of(submission.lesson)
            / f"{submission.student}.json"
        )

    def kept(self, submission: Submission) -> dict[str, Any] | None:
        """Return what is known about a notebook that was marked before.

        None if it is to be marked anew.

        So it is if it or its lesson has changed since, or if a cell was stopped and there is
        another limit now.
        """
        try:
            record = json.loads(self.record(submission).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        as_before = not record["stopped"] or record["limit"] == self.limit
        return (
            record if as_before and record["fingerprint"] == self.fingerprint(submission) else None
        )

    def fingerprint(self, submission: Submission) -> str:
        """Digest what the marks depend on."""
        digest = hashlib.sha256(f"{FORMAT} {MARKS}".encode())
        for file in (submission.file, self.lessons[submission.lesson]):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def prepare(self, number: str) -> None:
        """Make the assignment of a lesson, unless it is there as the lesson is now.

        Raises
        ------
        editions.EditionError
            If the lesson has other exercises than those that were marked.
        """
        lesson = nbformat.read(self.lessons[number], as_version=4)
        release = self.course.release(number)
        place = release.parents[2] / "source" / name_of(number) / release.name
        if release.exists() and nbformat.read(place, as_version=4) == source(lesson, number):
            return
        try:
            self.course.add(number, lesson)
        except NbGraderException as error:
            raise editions.EditionError(
                f"Lesson {number} has other cells now than when this class was marked, so new "
                "marks would not be comparable.\n"
                f"What to do: move {self.course.folder} away, then run the same command again. All "
                "notebooks are then marked anew."
            ) from error

    def mark(self, submission: Submission) -> dict[str, Any]:
        """Run a notebook, write its page, and keep its marks.

        Returns
        -------
        dict
            ``marks`` for each check, ``notes`` for the teacher, cells that were ``stopped`` and
            with which ``limit``, the place of the ``page``.
        """
        number, student = submission.lesson, submission.student
        name = name_of(number)
        notebook = nbformat.read(submission.file, as_version=4)
        notes = mend(notebook, nbformat.read(self.course.release(number), as_version=4))
        place = self.course.folder / "submitted" / student / name / f"{name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place)
        config = self.course.settings(name, student)
        config.RunSubmission.limit = self.limit
        self.course.work(Autograde, config)
        self.course.work(GenerateFeedback, config)
        with self.course.gradebook() as gradebook:
            grades = gradebook.find_submission_notebook(name, name, student).grades
            scores = {grade.name: grade.auto_score for grade in grades}
        run = nbformat.read(
            self.course.folder / "autograded" / student / name / f"{name}.ipynb", as_version=4
        )
        record = {
            "fingerprint": self.fingerprint(submission),
            "marks": {name: scores[name] for name in map(_grade_id, filter(is_grade, run.cells))},
            "notes": notes,
            "stopped": _stopped(run),
            "limit": self.limit,
            "page": f"feedback/{student}/{name}/{name}.html",
        }
        _write(self.record(submission), json.dumps(record, indent=1))
        return record


def _stopped(run: NotebookNode) -> list[str]:
    """Say which cells were stopped or left out."""
    words = {"CellTimeoutError": "took too long and was stopped", "LeftOut": "was left out"}
    return [
        f"cell {_grade_id(cell) or number} {words[output.ename]}"
        for number, cell in enumerate(run.cells, 1)
        for output in cell.get("outputs", [])
        if output.get("ename") in words
    ]


def _write(file: Path, text: str) -> None:
    """Write a text file in one go."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.draft")
    draft.write_text(text, "utf-8")
    draft.replace(file)


def place_of(folder: Path, build: Path = editions.BUILD) -> Path:
    """Return where the marks of a class go."""
    # nbgrader reads * and [ in a path as patterns.
    return build / "grades" / re.sub(r"[^\w .-]", "_", folder.resolve().name)


def grade(
    folder: Path,
    lessons: Path = editions.LESSONS,
    build: Path = editions.BUILD,
    limit: int = LIMIT,
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> pd.DataFrame:
    """Mark the notebooks in a folder, and write pages and ``marks.csv`` into ``grades/FOLDER`` of the build folder.

    What was marked before is kept, unless the notebook, the lesson or the limit has changed.

    Parameters
    ----------
    folder
        As for :func:`submissions`.
    lessons
        The folder of the lessons.
    build
        The folder to write into.
    limit
        Seconds that a cell of a student may take.
    tell
        Gets the lines of progress.

    Returns
    -------
    DataFrame
        A row for each notebook: ``student``, ``lesson``, ``marks`` and ``of``, which are missing
        where it could not be marked, the marks of each exercise, ``note`` and ``page``.

    Raises
    ------
    editions.EditionError
        If there is nothing to mark, or another process marks the same class.
    """
    found = submissions(folder, lessons)
    place = place_of(folder, build)
    place.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(place / ".lock", timeout=0), _logged(place / "nbgrader.log"):
            return _grade(found, Class(Course(place), with_lessons(lessons), limit), tell)
    except filelock.Timeout:
        raise editions.EditionError(
            f"Another command is marking into {place}.\n"
            "What to do: wait until it is done, or stop it."
        ) from None


def _grade(found: list[Submission], marked: Class, tell: Callable[[str], None]) -> pd.DataFrame:
    for number in sorted({each.lesson for each in found if not each.fault}):
        marked.prepare(number)
    records = [{"notes": [each.fault]} if each.fault else marked.kept(each) for each in found]
    left = [number for number, record in enumerate(records) if record is None]
    if len(left) < len(found):
        tell(
            f"{len(found) - len(left)} of {len(found)} notebooks need no marking, or cannot be "
            "marked."
        )
    if left:
        tell(f"{len(left)} to mark, one after the other.")
    begun = time.monotonic()
    for done, number in enumerate(left):
        each = found[number]
        start = time.monotonic()
        try:
            record = marked.mark(each)
        except Exception:  # whatever it is, the others are to be marked
            get_logger().exception("%s, lesson %s", each.student, each.lesson)
            record = {"notes": ["it could not be marked: nbgrader.log says why"]}
        records[number] = record
        _write_table(_table(found, records), marked.course.folder)
        now = time.monotonic()
        rest = (now - begun) / (done + 1) * (len(left) - done - 1)
        said = (
            f"{sum(record['marks'].values()):g} of {len(record['marks']) * MARKS}"
            if "marks" in record
            else "no marks"
        )
        tell(
            f"[{done + 1}/{len(left)}] {each.student}, lesson {each.lesson}: {said} "
            f"({now - start:.0f} s)" + (f"; about {math.ceil(rest / 60)} min left" if rest else "")
        )
    table = _table(found, records)
    _write_table(table, marked.course.folder)
    return table


def _table(found: list[Submission], records: list[dict[str, Any] | None]) -> pd.DataFrame:
    """Return the marks, a row for each notebook."""
    rows = []
    for each, record in zip(found, records, strict=True):
        record = record or {"notes": ["not marked yet"]}
        marks = record.get("marks", {})
        rows.append(
            {
                "student": each.student,
                "lesson": each.lesson,
                "marks": sum(marks.values()) if marks else math.nan,
                "of": len(marks) * MARKS if marks else math.nan,
            }
            | {f"exercise {number}": value for number, value in enumerate(marks.values(), 1)}
            | {
                "note": "; ".join([*record["notes"], *record.get("stopped", [])]),
                "page": record.get("page", ""),
            }
        )
    table = pd.DataFrame(rows)
    last = ["note", "page"]
    return table.loc[:, [*table.columns.drop(last), *last]]


def _write_table(table: pd.DataFrame, folder: Path) -> None:
    _write(folder / "marks.csv", table.to_csv(index=False, float_format="%g"))


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Write what nbgrader logs into a file, as long as it works."""
    logger, handler = get_logger(), logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        handler.close()


def main(arguments: list[str]) -> int:
    """Mark a folder; return the exit status: 1 if a notebook could not be marked."""
    parser = argparse.ArgumentParser("assignment grade", description=__doc__)
    parser.add_argument("folder", type=Path, help="a notebook, or a folder, for each student")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help="seconds that a cell of a student may take"
    )
    given = parser.parse_args(arguments)
    try:
        table = grade(given.folder, limit=given.limit)
    except editions.EditionError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    unmarked = table[table["marks"].isna()]
    for row in unmarked.itertuples():
        print(f"Not marked: {row.student}. {row.note}", file=sys.stderr)
    print(f"{len(table) - len(unmarked)} of {len(table)} notebooks are marked.")
    file = (place_of(given.folder) / "marks.csv").relative_to(editions.ROOT)
    print(f"Marks: {file.as_posix()}; it names the page for each student.")
    return 1 if len(unmarked) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
