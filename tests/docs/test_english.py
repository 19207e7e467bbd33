"""The texts are written as a native speaker would write them."""

import re

import pytest

from helpers import paths
from helpers.paths import ROOT
from publishing.teaching import lessons

# Each was in the texts once.
FOREIGN = re.compile(
    r"\b(?:row|column|number) an? (?:cell|class|gene|group|protein|step)\b"
    r"|\bother ones\b|\bcan be had\b|\bhad back\b|\bfor nothing\b|\bdear(?:er|est)?\b"
    r"|\bbut for\b|\bstays it\b|\bdoes the like\b|\bmet their enemy\b|\bgrows always\b"
    r"|\bgoes on where it was\b|\b[Ww]hich share\b|\bare others\b"
    r"|\bthat are no (?:batches|counts)\b|\bis no proof\b|\bmend(?:s|ed|ing)?\b"
)
# Pages below results/ are what studies found: tables, and what helpers say.
PAGES = [page for page in paths.pages() if page.parent.name != "results"]
QUIZZES = sorted((ROOT / "notebooks" / "quizzes").glob("*.toml"))


def foreign(text: str) -> list[str]:
    """Return what is not English in a text, whose lines may be broken anywhere."""
    return FOREIGN.findall(" ".join(text.split()))


@pytest.mark.parametrize("name", lessons.names())
def test_lessons_are_in_english(name):
    cells = lessons.read(name).cells
    assert not foreign(" ".join(cell.source for cell in cells if cell.cell_type == "markdown"))


@pytest.mark.parametrize("file", [*PAGES, *QUIZZES], ids=lambda file: file.stem)
def test_pages_and_quizzes_are_in_english(file):
    assert not foreign(file.read_text("utf-8"))


def test_what_is_foreign_is_found_across_lines():
    assert foreign("a row a\ncell") == ["row a cell"]
    assert not foreign("one row per cell, and another column")
