"""The exercises of a lesson as an assignment for nbgrader: source, release, and the course folder.

``release.py`` writes it for a class, and ``grading.py`` marks what comes back.
"""

from __future__ import annotations

import contextlib
import copy
import os
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

from helpers import paths
from helpers.practice.exercises import parts
from publishing import editions, texts

# Every exercise has the same weight. Who wants another weighs the columns of marks.csv.
MARKS = 1

# The file of a course folder that nbgrader reads.
SETTINGS = "nbgrader_config.py"

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


def with_lessons(folder: Path = paths.NOTEBOOKS) -> dict[str, Path]:
    """Return the lessons that have exercises: for each number, such as ``"05b"``, the notebook."""
    return {
        lesson.stem.partition("_")[0]: lesson
        for lesson in paths.lessons(folder)
        if parts.find(nbformat.read(lesson, as_version=4))
    }


def name_of(number: str) -> str:
    """Return the name of the assignment, and of its notebook, for the number of a lesson."""
    return f"assignment_{number}"


def source(lesson: NotebookNode, number: str) -> NotebookNode:
    """Return a lesson as nbgrader's source.

    It has the solutions, and what tells nbgrader which cell is what.

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
        "from helpers.practice import exercises\n"
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
        Its path.
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
        config = PyFileConfigLoader(SETTINGS, str(self.folder)).load_config()
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
        """Return the notebook that is handed out."""
        return self._notebook("release", number)

    def source(self, number: str) -> Path:
        """Return the notebook with the solutions, of which the release is made."""
        return self._notebook("source", number)

    def add(self, number: str, lesson: NotebookNode) -> None:
        """Make the source and the release of a lesson, and note the checks in the database.

        Parameters
        ----------
        number
            Of the lesson.
        lesson
            As it is stored.
        """
        texts.write(self.folder / SETTINGS, texts.fill(SETTINGS))
        file = self.source(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(source(lesson, number), file)
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
