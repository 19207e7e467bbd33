"""Which studies there are, read from what their modules declare.

A module of this package is a study if it has ``STUDY = Study(...)``; its ``main()`` then makes it.
The declarations are read as text, so that studies can be listed before anything is installed.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Study:
    """What is known of a study before it is made. Every value is written as a literal.

    Attributes
    ----------
    name
        The name of its module, and of what it keeps.
    question
        What it finds out, in a line.
    minutes
        How long it takes on two cores, if nothing of it is there yet.
    writes
        The files that it writes, from the root of the repository.
    extra
        The extra of ``pyproject.toml`` that it needs.
    both_tracks
        Whether it is to be made with both version tracks, each of which adds its part.
    """

    name: str
    question: str
    minutes: int
    writes: tuple[str, ...]
    extra: str = "test"
    both_tracks: bool = False


def studies(folder: Path = FOLDER) -> dict[str, Study]:
    """Return the declared studies by name, in alphabetical order.

    Parameters
    ----------
    folder
        The folder with their modules.
    """
    found = (_declaration(path.read_text("utf-8")) for path in sorted(folder.glob("*.py")))
    return {study.name: study for study in found if study is not None}


def _declaration(text: str) -> Study | None:
    """Return what a module declares, without importing it; None if it is no study."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STUDY":
            said = node.value.keywords if isinstance(node.value, ast.Call) else []
            return Study(**{each.arg: ast.literal_eval(each.value) for each in said if each.arg})
    return None


def find(name: str) -> Study:
    """Return the study of a name.

    Raises
    ------
    ValueError
        If there is none, with those that there are.
    """
    known = studies()
    if name not in known:
        raise ValueError(f"There is no study '{name}'. Studies: {', '.join(known)}.")
    return known[name]


def listing() -> str:
    """Return all studies as text: name, minutes, question, and what each writes."""
    found = studies().values()
    width = max(len(study.name) for study in found)
    lines = []
    for study in found:
        lines.append(f"  {study.name:<{width}}  {study.minutes:>2} min  {study.question}")
        written = ", ".join(study.writes) or "nothing: it prints what it finds"
        lines.append(f"  {'':<{width}}          {written}")
    return "\n".join(lines)
