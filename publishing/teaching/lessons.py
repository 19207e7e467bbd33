"""The lessons as stored, and the sections that they are divided into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers import paths


def names() -> list[str]:
    """Return the names of all lessons, in the order of the course: ``00_setup`` and so on."""
    return [lesson.stem for lesson in paths.lessons()]


def number_of(lesson: str) -> str:
    """Return the number in a lesson's name: ``05b``."""
    return lesson.partition("_")[0]


def read(lesson: str, folder: Path = paths.NOTEBOOKS) -> NotebookNode:
    """Read a stored lesson."""
    return nbformat.read(folder / f"{lesson}.ipynb", as_version=4)


def sections(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """Divide a lesson at its headings of level two.

    Returns
    -------
    dict
        For each heading, its cells; of a Markdown cell with several headings each gets its part.
        What comes before the first heading belongs to that one.
    """
    found: dict[str, list[NotebookNode]] = {}
    opening: list[NotebookNode] = []
    heading = None
    for cell in notebook.cells:
        for title, piece in _pieces(cell):
            if title is not None:
                heading = title
                found[heading] = []
            (opening if heading is None else found[heading]).append(piece)
    first = next(iter(found))
    found[first] = opening + found[first]
    return found


def _pieces(cell: NotebookNode) -> Iterator[tuple[str | None, NotebookNode]]:
    """Give the parts of a cell, each with the heading that it begins with, if it does."""
    if cell.cell_type != "markdown":
        yield None, cell
        return
    for text in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
        title = re.match(r"## (.+)", text)
        if text.strip():
            yield title and title[1].strip(), nbformat.v4.new_markdown_cell(text)
