"""The pages that are read on their own: README, CONTRIBUTING and those in docs/."""

import tomllib

import nbformat
import pytest

from helpers import paths
from helpers.paths import ROOT
from tests.docs.markdown_width import long_lines
from tests.notebooks import notebook_checks as checks

PAGES = paths.pages()
LESSONS = paths.lessons()
TEMPLATES = paths.visible(ROOT / "publishing" / "templates", "*.md.jinja")

# Written by studies, which put whole reports into single lines.
NOT_WRAPPED_YET = {
    "api_changes.md",
    "bad_inputs.md",
    "connections.md",
    "costs.md",
}


@pytest.mark.parametrize("document", PAGES, ids=lambda document: document.name)
def test_links_lead_somewhere(document):
    assert not checks.link_faults(document.read_text("utf-8"), document.parent)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_readme_lists_every_lesson(lesson):
    assert f"(notebooks/{lesson.stem}.ipynb)" in (ROOT / "README.md").read_text("utf-8")


def test_readme_opens_the_repository_that_pyproject_names():
    """The public address is written once; the Binder link is made from it."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"][
        "Repository"
    ]
    owner_and_name = address.removeprefix("https://github.com/")
    expected = f"https://mybinder.org/v2/gh/{owner_and_name}/HEAD?urlpath=lab/tree/notebooks/00_setup.ipynb"
    assert f"]({expected})" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("document", [*PAGES, *TEMPLATES], ids=lambda document: document.name)
def test_page_has_no_long_lines(document):
    if document.name not in NOT_WRAPPED_YET:
        assert not long_lines(document.read_text("utf-8"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_lesson_has_no_long_lines_of_text(lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert not [line for text in texts for line in long_lines(text)]


LONG = "a word " * 20


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        (LONG, 1),
        (f"- {LONG}", 1),
        (f"> {LONG}", 1),
        (f"short\n{LONG}\nshort", 1),
        (f"[a link]({'x' * 120}) and more", 0),
        (f"- [a link]({'x' * 120})", 0),
        (f"before it [a link]({'x' * 120})", 1),
        (f"| {LONG} |", 0),
        (f"## {LONG}", 0),
        (f"```\n{LONG}\n```", 0),
        (f"```\ncode\n```\n{LONG}", 1),
        (f"$$\n{LONG}\n$$", 0),
        (f"`{LONG}`", 0),
        ("x" * 130, 0),
    ],
)
def test_long_lines_are_found_where_they_can_be_wrapped(markdown, expected):
    assert len(long_lines(markdown)) == expected
