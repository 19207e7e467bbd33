"""Whose a notebook is and of which lesson is found out, and what it has lost is given back."""

import nbformat
import pytest

from publishing.assignments import submissions
from publishing.editions import EditionError


def test_folder_that_is_missing_or_empty_is_an_error_that_says_how(tmp_path):
    with pytest.raises(EditionError, match=r"no folder .*nowhere(.|\n)*Ada\.ipynb"):
        submissions.submissions(tmp_path / "nowhere")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "Ada-checkpoint.ipynb").write_text("{}")
    with pytest.raises(EditionError, match=r"no notebook \(\.ipynb\) in "):
        submissions.submissions(tmp_path)


def notebook_of(lesson):
    told = {"nbgrader": {"grade_id": f"{lesson}-name"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", metadata=told)])


def test_two_notebooks_of_one_student_and_lesson_are_both_refused(tmp_path):
    (tmp_path / "Ada").mkdir()
    for name in ("Ada/first.ipynb", "Ada/second.ipynb", "Bob.ipynb"):
        nbformat.write(notebook_of("03"), tmp_path / name)
    found = {each.file.name: each for each in submissions.submissions(tmp_path)}
    for name in ("first.ipynb", "second.ipynb"):
        assert "Ada/first.ipynb and Ada/second.ipynb are of the same lesson" in found[name].problem
    assert not found["Bob.ipynb"].problem


def test_lesson_that_has_no_exercises_here_is_named(tmp_path):
    nbformat.write(notebook_of("99"), tmp_path / "Ada.ipynb")
    (found,) = submissions.submissions(tmp_path)
    assert "lesson '99', which has no exercises here. There are: 00, 01" in found.problem


def test_repair_gives_back_what_nbgrader_goes_by():
    def cells(*named):
        return [
            nbformat.v4.new_code_cell(
                f"source of {name}",
                metadata={"nbgrader": {"grade_id": name, "grade": name[0] == "g", "points": 1}},
            )
            for name in named
        ]

    released = nbformat.v4.new_notebook(cells=cells("a", "b", "c", "g1", "d"))
    mine = nbformat.v4.new_code_cell("my own", metadata={"nbgrader": {"grade_id": "unknown"}})
    submitted = nbformat.v4.new_notebook(cells=[*cells("b"), mine, *cells("g1")])
    submitted.cells[2].source = "2"
    submitted.cells[2].metadata.nbgrader.points = 9
    notes = submissions.repair(submitted, released)
    assert [cell.source for cell in submitted.cells] == [
        *("source of a", "source of b", "source of c"),
        *("my own", "2", "source of d"),
    ]
    assert submitted.cells[4].metadata.nbgrader.points == 1
    assert "nbgrader" not in mine.metadata
    assert notes == [
        "check g1 was edited",
        *(f"cell {name} was missing" for name in ("a", "c", "d")),
    ]
