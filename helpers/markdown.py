"""Tables in Markdown, for the pages that are written from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Sequence[str] = ()) -> str:
    """Write a table without spaces that fill its columns.

    So one long row that comes or goes changes no other line.

    Parameters
    ----------
    heads
        The names of the columns.
    rows
        The entries of each row, in the order of ``heads``; a vertical bar in one is escaped.
    numbers
        The names of the columns that are aligned to the right.

    Returns
    -------
    str
        The lines of the table, without an end of line behind the last one.
    """
    rule = ["---:" if head in numbers else "---" for head in heads]
    return "\n".join(_line(row) for row in (heads, rule, *rows))


def _line(entries: Sequence[Any]) -> str:
    return f"| {' | '.join(str(entry).replace('|', chr(92) + '|') for entry in entries)} |"
