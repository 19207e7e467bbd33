"""The notebooks that a class has handed in: whose they are, of which lesson, and what they lack."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import is_grade, is_locked

from helpers import paths
from publishing.assignments.course import with_lessons
from publishing.editions import EditionError


@dataclass(frozen=True)
class Submission:
    """A notebook that was handed in.

    Parameters
    ----------
    student
        Name of the file or folder.
    file
        The notebook.
    lesson
        Number of the lesson; empty if it cannot be told.
    problem
        Why it cannot be marked; empty if it can.
    """

    student: str
    file: Path
    lesson: str
    problem: str = ""


def submissions(folder: Path, lessons: Path = paths.NOTEBOOKS) -> list[Submission]:
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
    EditionError
        If there is no such folder, or no notebook in it.
    """
    how = (
        "What to do: collect the notebooks in one folder, a file for each student (Ada.ipynb) or "
        'a folder for each student, and name that folder: make assignment ARGS="grade FOLDER".'
    )
    if not folder.is_dir():
        raise EditionError(f"There is no folder {folder}.\n{how}")
    files = paths.visible(folder, "*.ipynb")
    if not files:
        raise EditionError(f"There is no notebook (.ipynb) in {folder}.\n{how}")
    numbers = sorted(with_lessons(lessons))
    found = [_look_at(file, folder, numbers) for file in files]
    alike: dict[tuple[str, str], list[Submission]] = {}
    for each in found:
        alike.setdefault((each.student.casefold(), each.lesson), []).append(each)
    return [
        each
        if not each.lesson or len(same := alike[each.student.casefold(), each.lesson]) == 1
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
        names = [grade_id(cell) for cell in notebook.cells]
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
        problem = (
            f"This is of lesson {number!r}, which has no exercises here. There are: "
            f"{', '.join(lessons)}."
        )
        return Submission(student, file, "", problem)
    return Submission(student, file, number)


def grade_id(cell: NotebookNode) -> str:
    """Return the name that nbgrader has for a cell; empty for none."""
    told = cell.metadata.get("nbgrader")
    return str(told.get("grade_id", "")) if isinstance(told, dict) else ""


def repair(submitted: NotebookNode, released: NotebookNode) -> list[str]:
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
    known = {grade_id(cell): cell for cell in released.cells if grade_id(cell)}
    notes = []
    for number, cell in enumerate(submitted.cells, 1):
        original = known.get(grade_id(cell))
        own = cell.cell_type == "code" and (original is None or not is_locked(original))
        if own and "exercises" in cell.source:
            notes.append(f"cell {grade_id(cell) or number} mentions the code of the checks")
        if original is None:
            cell.metadata.pop("nbgrader", None)
            continue
        cell.metadata.nbgrader = copy.deepcopy(original.metadata.nbgrader)
        if is_grade(original) and cell.source.strip() != original.source.strip():
            notes.append(f"check {grade_id(cell)} was edited")
    return notes + _put_back_missing(submitted, known)


def _put_back_missing(submitted: NotebookNode, known: Mapping[str, NotebookNode]) -> list[str]:
    """Insert the cells that are missing, each behind the one that it followed."""
    notes = []
    present = [grade_id(cell) for cell in submitted.cells]
    index = 0
    for name, original in known.items():
        if name in present:
            index = len(present) - present[::-1].index(name)
            continue
        submitted.cells.insert(index, copy.deepcopy(original))
        present.insert(index, name)
        index += 1
        notes.append(f"cell {name} was missing")
    return notes
