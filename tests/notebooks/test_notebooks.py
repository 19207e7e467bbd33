"""The lessons as they are stored."""

import nbformat
import pytest

from helpers.paths import ROOT
from tests.notebooks import notebook_checks as checks

LESSONS = sorted((ROOT / "notebooks").glob("*.py"))

pytestmark = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.fixture
def notebook(lesson):
    return nbformat.read(lesson.with_suffix(".ipynb"), as_version=4)


def test_py_and_ipynb_say_the_same(lesson, notebook):
    faults = checks.pair_faults(lesson.read_text("utf-8"), notebook)
    assert not faults, f"{lesson.name}: run `make notebooks`.\n" + "\n".join(faults)


def test_every_code_cell_ran_once_and_in_order(lesson, notebook):
    assert not checks.run_faults(notebook)


def test_most_outputs_are_compared(lesson, notebook):
    assert checks.compared_share(notebook) >= 0.6


def test_every_figure_can_be_read_aloud(lesson, notebook):
    assert not checks.figure_faults(notebook)


def test_lesson_has_the_frame_and_short_cells(lesson, notebook):
    assert not checks.form_faults(notebook)


def test_links_lead_somewhere(lesson, notebook):
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not checks.link_faults(prose, lesson.parent)


def test_nothing_is_fetched_when_a_lesson_is_opened(lesson, notebook):
    assert not checks.remote_faults(notebook)


def test_stored_notebook_is_small(lesson):
    assert lesson.with_suffix(".ipynb").stat().st_size < checks.MOST_BYTES


def test_notebook_is_valid(lesson, notebook):
    nbformat.validate(notebook)
