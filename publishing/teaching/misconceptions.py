"""What learners may have thought, lesson by lesson, and where a lesson removes it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pandas as pd

from helpers.paths import DOCS
from publishing.teaching import lessons

FILE = DOCS / "teaching" / "misconceptions.toml"

HEADING = re.compile(r"^#{2,3} You may (?:think|have thought): \"(.+)\"", re.MULTILINE)


def of_lesson(lesson: str, file: Path = FILE) -> pd.DataFrame:
    """Return the table "What you know now" of a lesson, with the section that removes each thought.

    Parameters
    ----------
    lesson
        Its name.
    file
        Says where, for thoughts that are not the words of a heading "You may think".

    Returns
    -------
    DataFrame
        ``thought``, ``fact`` and ``section``.

    Raises
    ------
    ValueError
        If it is not known where a thought is removed, or the section named for it does not exist.
    """
    sections = lessons.sections(lessons.read(lesson))
    text = "\n".join(cell.source for cell in sections["What you know now"])
    rows = [
        [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ][2:]
    table = pd.DataFrame(rows, columns=["thought", "fact"])
    known = tomllib.loads(file.read_text("utf-8")).get(lesson, {})
    headings = {
        _plain(thought): title
        for title, cells in sections.items()
        for thought in HEADING.findall("\n".join([f"## {title}", *(c.source for c in cells)]))
    }
    table["section"] = [
        headings.get(_plain(thought), known.get(thought)) for thought in table["thought"]
    ]
    lost = table.loc[~table["section"].isin(list(sections)), "thought"]
    if len(lost):
        raise ValueError(
            f"{lesson}: where is it shown that this is not so? {' / '.join(lost)}\n"
            f"What to do: name the section in {file.name}."
        )
    return table


def _plain(thought: str) -> str:
    """Return the words of a thought, so that a heading and a row of a table can be compared."""
    return " ".join(re.findall(r"\w+", thought.lower()))
