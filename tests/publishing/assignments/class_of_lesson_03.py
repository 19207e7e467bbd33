"""A short lesson 03, and notebooks that a class hands in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.paths import ROOT
from helpers.practice.exercises import parts
from tests.notebooks.needed_cells import needed

LESSON = ROOT / "notebooks" / "03_hidden_layers.ipynb"


def short_lesson() -> NotebookNode:
    """Return lesson 03 with its exercises, and of the lesson only the cells that they need."""
    lesson = nbformat.read(LESSON, as_version=4)
    found = parts.find(lesson)
    sources = [cell.source if cell.cell_type == "code" else "" for cell in lesson.cells]
    used = "\n".join(f"{sources[part.check]}\n{part.code}" for part in found)
    keep = set(needed([*sources, used], len(sources))[:-1])
    first = next(n for n, cell in enumerate(lesson.cells) if "## Exercises" in cell.source)
    lesson.cells = [
        cell for n, cell in enumerate(lesson.cells) if n in keep or (n >= first and not _quiz(cell))
    ]
    return lesson


def _quiz(cell: NotebookNode) -> bool:
    return "quizzes.of_lesson" in cell.source


def solutions(lesson: NotebookNode) -> dict[str, str]:
    """Return the solution for the name of each check."""
    return {
        parts.check_name(lesson.cells[part.check].source): part.code for part in parts.find(lesson)
    }


def hand_in(
    file: Path,
    release: Path,
    answers: Mapping[str, str],
    change: Callable[[NotebookNode], None] = lambda notebook: None,
) -> None:
    """Write the notebook of a learner.

    Parameters
    ----------
    file
        Where to.
    release
        The notebook that was handed out.
    answers
        Code for the name of each check that is answered.
    change
        What else the learner did to the notebook.
    """
    notebook = nbformat.read(release, as_version=4)
    for name, code in answers.items():
        cell_named(notebook, f"03-{name}-answer").source = code
    change(notebook)
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)


def cell_named(notebook: NotebookNode, name: str) -> NotebookNode:
    """Return the cell that nbgrader knows by a name."""
    (found,) = (cell for cell in notebook.cells if id_of(cell) == name)
    return found


def id_of(cell: NotebookNode) -> str:
    """Return the name that nbgrader has for a cell; empty for none."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")
