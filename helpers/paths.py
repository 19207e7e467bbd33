"""Where things lie in the repository, written once."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
DOCS = ROOT / "docs"
NOTEBOOKS = ROOT / "notebooks"
# The tables that studies write and lessons read.
RESULTS = DOCS / "results"

# The name of a lesson, such as 05b_expression; 05b_expression-Copy1 is somebody's own copy.
LESSON = re.compile(r"\d\d[a-z]?_\w+")


def lessons(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the stored lessons in a folder, in the order of the course.

    What learners add beside them, such as copies of a lesson, is left out.
    """
    return [file for file in sorted(folder.glob("*.ipynb")) if LESSON.fullmatch(file.stem)]


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages that are read on their own: those at the top, and all below ``docs``.

    What is in hidden folders is left out: in ``.ipynb_checkpoints`` Lab leaves a copy of each page
    that somebody opened.
    """
    return sorted([*root.glob("*.md"), *visible(root / "docs", "*.md")])


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match a pattern and are in no hidden folder."""
    return sorted(
        file
        for file in folder.rglob(pattern)
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
