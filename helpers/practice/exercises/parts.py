"""Where the exercises are in a notebook.

Statement, stub, check and solution are told by the tags of cells.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from nbformat import NotebookNode

STUB, CHECK, SOLUTION = "exercise", "check", "solution"


@dataclass(frozen=True)
class Part:
    """An exercise in a notebook.

    Parameters
    ----------
    title
        Of its heading, without the ``#``.
    stub, check, solution
        Indices of its three cells among all cells, counted from 0.
    code
        The solution: what replaces the source of the stub.
    why
        What the solution says about it, Markdown.
    """

    title: str
    stub: int
    check: int
    solution: int
    code: str
    why: str


def find(notebook: NotebookNode) -> list[Part]:
    """Find the exercises of a lesson.

    Parameters
    ----------
    notebook
        With, for each exercise, a Markdown cell that begins with ``### Exercise``, a code cell
        tagged ``exercise``, one tagged ``check`` and a Markdown cell tagged ``solution``, in this
        order.

    Raises
    ------
    ValueError
        If one of these is missing or out of order, and which.
    """
    cells = notebook.cells
    kinds = {number: kind for number, cell in enumerate(cells) if (kind := _kind(cell))}
    starts = [number for number, kind in kinds.items() if kind == STUB]
    order = [kinds[number] for number in sorted(kinds)]
    if order != [STUB, CHECK, SOLUTION] * len(starts):
        raise ValueError(
            f"The tags {STUB}, {CHECK} and {SOLUTION} have to come in this order; there is {order}."
        )
    return [_part(cells, start) for start in starts]


def check_name(code: str) -> str:
    """Return the name of the check that a cell calls: ``check.name(...)``."""
    call = ast.parse(code).body[-1]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    assert isinstance(call.value.func, ast.Attribute)
    return call.value.func.attr


def _part(cells: list[NotebookNode], stub: int) -> Part:
    """Read one exercise, given the index of its stub."""
    heading = re.search(r"^### (Exercise \d+ · .+)$", cells[stub - 1].source, re.MULTILINE)
    if heading is None:
        raise ValueError(
            f"The cell before the stub `{cells[stub].source}` has no heading `### Exercise 1 · "
            "...`."
        )
    check, solution = stub + 1, stub + 2
    if (_kind(cells[check]), _kind(cells[solution])) != (CHECK, SOLUTION):
        raise ValueError(f"{heading[1]}: stub, check and solution have to follow one another.")
    text = cells[solution].source
    found = re.fullmatch(
        r"<details><summary>Solution</summary>\n\n```python\n(.+?)\n```\n\n(.*\S)\n\n</details>",
        text,
        re.DOTALL,
    )
    if found is None:
        raise ValueError(
            f"{heading[1]}: the solution is not a folded block of Python and a reason."
        )
    return Part(heading[1], stub, check, solution, found[1], found[2])


def _kind(cell: NotebookNode) -> str | None:
    """Return the tag that makes a cell part of an exercise, if it has one."""
    return next(
        (tag for tag in (STUB, CHECK, SOLUTION) if tag in cell.metadata.get("tags", ())), None
    )
