"""Lessons and pages are found, and what people leave beside them is not taken for one."""

import pytest

from helpers import paths


@pytest.fixture
def clone(tmp_path):
    """A kit that was used: pages were opened in Lab, and a lesson was copied."""
    for name in (
        "README.md",
        "docs/glossary.md",
        "docs/.ipynb_checkpoints/glossary-checkpoint.md",
        "docs/teaching/guide.md",
        "docs/teaching/.ipynb_checkpoints/guide-checkpoint.md",
        "notebooks/00_setup.ipynb",
        "notebooks/05b_expression.ipynb",
        "notebooks/05b_expression-Copy1.ipynb",
        "notebooks/Untitled.ipynb",
        "notebooks/.ipynb_checkpoints/00_setup-checkpoint.ipynb",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return tmp_path


def test_what_lab_leaves_is_no_page(clone):
    found = [page.relative_to(clone).as_posix() for page in paths.pages(clone)]
    assert found == ["README.md", "docs/glossary.md", "docs/teaching/guide.md"]


def test_what_learners_add_is_no_lesson(clone):
    found = [lesson.name for lesson in paths.lessons(clone / "notebooks")]
    assert found == ["00_setup.ipynb", "05b_expression.ipynb"]


def test_a_kit_in_a_hidden_folder_is_found(clone):
    """Only what is hidden inside counts."""
    hidden = clone / ".kits" / "kit"
    hidden.parent.mkdir()
    (clone / "docs").rename(hidden.parent / "docs")
    assert len(paths.pages(hidden.parent)) == 2


def test_the_lessons_of_the_kit_are_all_pairs():
    names = [lesson.stem for lesson in paths.lessons()]
    assert len(names) >= 13
    assert all(lesson.with_suffix(".py").is_file() for lesson in paths.lessons())
