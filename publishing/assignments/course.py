"""The exercises of a lesson as an assignment for nbgrader.

Source, release, and the settings of the course folder.

``python -m publishing.assignment 03`` (``make assignment ARGS=03``) writes ``build/assignment``;
without a number, of all lessons that have exercises. ``publishing/grading.py`` marks what comes
back.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_solution
from sqlalchemy.exc import SAWarning
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from helpers.practice.exercises import parts
from publishing import editions

# Every exercise has the same weight. Who wants another weighs the columns of marks.csv.
MARKS = 1

SETTINGS = """\
# The settings of this nbgrader course, made by the kit. They are read from this folder; those of the user are not.
c = get_config()

# A learner's cells keep their stubs in the release, and the solutions go.
c.GenerateAssignment.preprocessors = [
    "nbconvert.preprocessors.TagRemovePreprocessor",
    "nbgrader.preprocessors.LockCells",
    "publishing.assignment.PutStubsBack",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.TagRemovePreprocessor.enabled = True
c.TagRemovePreprocessor.remove_cell_tags = {"solution"}

# Learners may change the cells of the lesson; when it is marked, these are as they were.
c.LockCells.lock_readonly_cells = False

# An endless loop ends, and what a check writes beside its marks costs none.
c.Autograde.autograde_preprocessors = [
    "publishing.grading.RunSubmission",
    "publishing.grading.TakeMarks",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# As in the kit's Lab; without it each kernel warns.
c.KernelManager.transport_encryption = "auto"

# A page of the exercises alone, which loads nothing from the network.
c.GenerateFeedback.exporter_class = "publishing.grading.FeedbackPage"
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "publishing.grading.KeepExercises",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
c.CSSHTMLHeaderPreprocessor.enabled = True
"""

README = """\
# Assignments: {names}

A course folder for [nbgrader](https://nbgrader.readthedocs.io), made by `make assignment`. The next call makes it anew; marks are kept
elsewhere, in `build/grades`.

1. Hand out the notebook in `release/`: {release}. Learners save it into the folder `notebooks/` of their kit,
   beside the lessons, and work in JupyterLab. Each check replies and gives hints as in the lesson, and says the marks ({marks} for each exercise).
2. Collect the notebooks in one folder: a file for each learner, named after the learner (`Ada.ipynb`), or a folder for each learner.
3. `make assignment ARGS="grade FOLDER"` (Windows: `py -3.12 commands assignment grade FOLDER`) runs each notebook, about half a minute each, and writes a page for each learner
   and `marks.csv`. If it is stopped, the same command goes on where it was.

**Marking runs the learners' code on this machine**, with your rights: it can read your files, and use the network if there is one. Do it where nothing can be
lost, for example in a container or as a user of its own.

`source/` has the solutions, for you.

What nobody can edit away: the checks and the cells of the lesson are put back before a notebook runs, also where they were deleted, and the checks are loaded afresh before each. What is
not prevented: Python code that changes the checks inside the running program. A cell that mentions them is named in the column `note`; look
at it in the page.

- An answer that stops with an error gives 0 for its exercise; the others count.
- A cell that runs longer than {limit} seconds is stopped, and counts as an error. `make assignment ARGS="grade FOLDER --limit 300"` gives more time.
- A cell that ends Python or cannot be stopped is left out, and the notebook is run again without it.
"""

# Seconds that a cell of a learner may take: a solution takes at most a quarter of a minute on one
# core.
LIMIT = 120


class PutStubsBack(NbGraderPreprocessor):
    """Put the stub that a learner gets in the place of the solution."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Change one cell, if it is an answer."""
        if is_solution(cell):
            cell.source = cell.metadata.pop("stub")
        return cell, resources


def with_lessons(folder: Path = editions.LESSONS) -> dict[str, Path]:
    """Return the lessons that have exercises: for each number, such as ``"05b"``, the notebook."""
    return {
        lesson.stem.partition("_")[0]: lesson
        for lesson in sorted(folder.glob("*.ipynb"))
        if parts.find(nbformat.read(lesson, as_version=4))
    }


def name_of(number: str) -> str:
    """Return the name of the assignment, and of its notebook, for the number of a lesson."""
    return f"assignment_{number}"


def source(lesson: NotebookNode, number: str) -> NotebookNode:
    """Return a lesson as nbgrader's source.

    With solutions, and with what tells nbgrader which cell is what.

    Parameters
    ----------
    lesson
        As it is stored; not changed.
    number
        Of the lesson.
    """
    notebook, _ = ClearOutputPreprocessor().preprocess(copy.deepcopy(lesson), {})
    found = parts.find(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _tell(cell, f"{number}-{cell.id}", locked=True)
        elif parts.SOLUTION not in cell.metadata.get("tags", []):
            cell.source = editions.FOLDED.sub("", cell.source)
    for part in found:
        stub, check = notebook.cells[part.stub], notebook.cells[part.check]
        name = parts.check_name(check.source)
        _tell(stub, f"{number}-{name}-answer", solution=True)
        stub.metadata["stub"], stub.source = stub.source, part.code
        _tell(check, f"{number}-{name}", locked=True, grade=True, points=MARKS)
        check.source = graded(check.source, number)
    return notebook


def _tell(cell: NotebookNode, name: str, **kind: Any) -> None:
    """Note in a cell what it is for nbgrader."""
    cell.metadata["nbgrader"] = {
        "grade": False,
        "grade_id": name,
        "locked": False,
        "schema_version": 3,
        "solution": False,
        "task": False,
    } | kind


def graded(code: str, number: str) -> str:
    """Return the code of a check as it is marked.

    The hidden lines are in nbgrader's database alone: ``check`` is the kit's, whatever a learner
    has given that name.
    """
    return (
        "### BEGIN HIDDEN TESTS\n"
        "from helpers import exercises\n"
        f'check = exercises.of_lesson("{number}")\n'
        "### END HIDDEN TESTS\n"
        f"{code}.marks({MARKS})"
    )


@dataclass(frozen=True)
class Course:
    """An nbgrader course folder.

    Its settings and its database are in it; no other settings are read.

    Parameters
    ----------
    folder
        Where it is.
    """

    folder: Path

    def settings(self, assignment: str, student: str = "*") -> Config:
        """Return the settings for the work on one assignment of one student.

        Parameters
        ----------
        assignment
            Its name.
        student
            Name of the student.
        """
        file = self.folder / "nbgrader_config.py"
        config = PyFileConfigLoader(file.name, str(self.folder)).load_config()
        config.CourseDirectory.root = str(self.folder)
        config.CourseDirectory.assignment_id = assignment
        config.CourseDirectory.student_id = student
        return config

    def work(
        self, step: type[GenerateAssignment | Autograde | GenerateFeedback], config: Config
    ) -> None:
        """Let nbgrader do one of its steps, anew where it was done before."""
        with _own_scripts_first(), warnings.catch_warnings():
            # About nbgrader's use of its database, on every notebook.
            warnings.simplefilter("ignore", SAWarning)
            step(coursedir=CourseDirectory(config=config), config=config, force=True).start()

    def gradebook(self) -> Gradebook:
        """Open the database."""
        return Gradebook(CourseDirectory(config=self.settings("*")).db_url)

    def release(self, number: str) -> Path:
        """Return the place of the notebook that is handed out."""
        return self._notebook("release", number)

    def add(self, number: str, lesson: NotebookNode) -> None:
        """Make the source and the release of a lesson, and note the checks in the database.

        Parameters
        ----------
        number
            Of the lesson.
        lesson
            As it is stored.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "nbgrader_config.py").write_text(SETTINGS, "utf-8")
        place = self._notebook("source", number)
        place.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(source(lesson, number), place)
        self.work(GenerateAssignment, self.settings(name_of(number)))

    def _notebook(self, step: str, number: str) -> Path:
        return self.folder / step / name_of(number) / f"{name_of(number)}.ipynb"


@contextlib.contextmanager
def _own_scripts_first() -> Iterator[None]:
    """Let nbgrader find ``alembic``, which it calls by its name, in this environment."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def write(
    numbers: list[str], lessons: Path = editions.LESSONS, build: Path = editions.BUILD
) -> Path:
    """Write the course folder.

    Parameters
    ----------
    numbers
        Of lessons; empty for all that have exercises.
    lessons
        The folder of the lessons.
    build
        The folder to write ``assignment`` into. One that is there is replaced, in the end and in
        one go.

    Returns
    -------
    Path
        The new folder.

    Raises
    ------
    editions.EditionError
        If a lesson has no exercises.
    """
    there = with_lessons(lessons)
    for number in numbers:
        if number not in there:
            raise editions.EditionError(
                f"There is no lesson {number!r} with exercises. There are: {', '.join(there)}.\n"
                'What to do: name lessons by their numbers: make assignment ARGS="03 05b", or none for all.'
            )
    chosen = numbers or list(there)
    with editions.new_folder(build / "assignment") as folder:
        course = Course(folder)
        for number in chosen:
            course.add(number, nbformat.read(there[number], as_version=4))
        release = ", ".join(
            f"`{course.release(number).relative_to(folder).as_posix()}`" for number in chosen
        )
        text = README.format(
            names=", ".join(f"lesson {number}" for number in chosen),
            release=release,
            marks=MARKS,
            limit=LIMIT,
        )
        (folder / "README.md").write_text(text, "utf-8")
    return build / "assignment"


def main(arguments: list[str]) -> int:
    """Write the course folder for the lessons that are named; return the exit status."""
    try:
        folder = write(arguments)
    except editions.EditionError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{folder.relative_to(editions.ROOT)} is written; its README.md says how to hand out and "
        "how to mark."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
