"""Marks are taken only as a check gives them, and cells of learners get less time."""

import nbformat
import pytest
from nbgrader.utils import determine_grade

from helpers.practice.exercises.replies import not_yet, right
from publishing.assignments import running


def stream(name, text="said"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def result(text):
    return nbformat.v4.new_output("execute_result", data={"text/plain": text})


ERROR = nbformat.v4.new_output("error", ename="NameError", evalue="", traceback=[])


def marked(*outputs):
    told = {"grade": True, "solution": False, "points": 2, "grade_id": "x"}
    return nbformat.v4.new_code_cell("1", metadata={"nbgrader": told}, outputs=list(outputs))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([result("2")], 2),
        ([result("0")], 0),
        ([result("0.5")], 0.5),
        ([stream("stdout"), result("2")], 2),
        ([stream("stderr", "a warning"), result("2")], 2),
        ([], 0),
        ([stream("stdout")], 0),
        ([result("'two'")], 0),
        ([result("-1")], 0),
        ([result("9")], 0),
        ([result("nan")], 0),
        ([result("2"), result("2")], 0),
        ([result("2"), ERROR], 0),
        ([ERROR], 0),
    ],
)
def test_marks_are_taken_only_as_a_check_gives_them(outputs, expected):
    cell, _ = running.TakeMarks().preprocess_cell(marked(*outputs), {}, 0)
    assert determine_grade(cell) == (expected, 2)


def test_error_of_a_check_is_shown_alone():
    cell, _ = running.TakeMarks().preprocess_cell(marked(ERROR), {}, 0)
    assert cell.outputs == [ERROR]


def test_nbgrader_alone_would_give_full_marks_to_silence_and_none_after_a_warning():
    """Why TakeMarks is there; if this fails, nbgrader has changed."""
    assert determine_grade(marked()) == (2, 2)
    assert determine_grade(marked(result("-1"))) == (2, 2)
    assert determine_grade(marked(stream("stderr"), result("2"))) == (0, 2)


def test_reply_shows_itself_and_returns_marks(capsys):
    assert right("Well done.").marks(2) == 2
    assert not_yet("No.").marks(2) == 0
    shown = capsys.readouterr().out
    assert "✓ Right. Well done." in shown and "✗ Not yet. No." in shown


def test_cells_of_the_lesson_get_more_time_than_those_of_a_learner():
    run = running.RunSubmission(limit=7)
    told = {"grade": False, "solution": False, "locked": True, "points": 1}
    cell = nbformat.v4.new_code_cell("1", metadata={"nbgrader": told})
    assert run.seconds_for(cell) > 60
    for change in ({"grade": True}, {"solution": True, "locked": False}):
        cell = nbformat.v4.new_code_cell("1", metadata={"nbgrader": told | change})
        assert run.seconds_for(cell) == 7
    assert run.seconds_for(nbformat.v4.new_code_cell("1")) == 7
