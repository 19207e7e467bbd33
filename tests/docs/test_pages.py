"""The pages that are read on their own: README, CONTRIBUTING and those in docs/."""

import tomllib

import pytest

from helpers import paths
from helpers.paths import ROOT
from tests.notebooks import notebook_checks as checks

PAGES = paths.pages()
LESSONS = paths.lessons()


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
