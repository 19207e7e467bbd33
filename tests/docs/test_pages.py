"""The pages that are read on their own: README, CONTRIBUTING and those in docs/."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.notebooks import notebook_checks as checks

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LESSONS = sorted((ROOT / "notebooks").glob("*.py"))


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


def test_glossary_is_complete_and_used():
    """Each word has one entry, and every entry that a lesson links to says something."""
    glossary = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    titles = re.findall(r"^## (.+)$", glossary, flags=re.MULTILINE)
    assert len(titles) == len(set(titles))
    entries = re.split(r"^## .+$", glossary, flags=re.MULTILINE)[1:]
    assert all(len(entry.split()) >= 5 for entry in entries)
