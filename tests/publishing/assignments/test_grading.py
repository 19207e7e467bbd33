"""Marking a class whose notebooks are right, wrong, broken, endless and forged, in real kernels."""

import csv
import json
import re

import filelock
import nbformat
import pytest

from publishing.assignments import grading, release
from publishing.assignments.cohort import Cohort
from publishing.assignments.course import Course
from publishing.editions import EditionError
from tests.publishing.assignments import class_of_lesson_03 as of_03

# Seconds for a cell of a learner. The checks of lesson 03 take one or two.
LIMIT = 15


def forge(notebook):
    """Edit checks so that they give full marks, delete others, and give away their names."""
    for name in ("cost_of_a_layer", "idle_parts"):
        cell = of_03.cell_named(notebook, f"03-{name}")
        cell.source = "9"
        cell.metadata.nbgrader.points = 9
        cell.metadata.nbgrader.locked = False
    gone = {"03-linear_decoder", "03-linear_decoder-answer", "03-small_and_deep"}
    notebook.cells = [cell for cell in notebook.cells if of_03.id_of(cell) not in gone]
    of_03.cell_named(notebook, "03-small_and_deep-answer").source = (
        "class Generous:\n"
        "    def __getattr__(self, name):\n"
        "        return lambda *answers, **named: self\n"
        "    def marks(self, most):\n"
        "        return most\n"
        "    of_lesson = small_and_deep = lambda self, *answers: self\n"
        "check = exercises = Generous()\n"
        "your_model = 1"
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build folder with the lesson, the assignment, and what the class has handed in."""
    build = tmp_path_factory.mktemp("build")
    lesson = of_03.short_lesson()
    (build / "lessons").mkdir()
    nbformat.write(lesson, build / "lessons" / of_03.LESSON.name)
    course = Course(release.write(["03"], build / "lessons", build))
    handed_out, solved = course.release("03"), of_03.solutions(lesson)
    folder = build / "Monday, 2 pm"
    of_03.hand_in(folder / "Zoë [A].ipynb", handed_out, solved)
    of_03.hand_in(
        folder / "Mixed.ipynb",
        handed_out,
        {
            "cost_of_a_layer": "n_parameters = 128 * 64 + 64",
            "linear_decoder": "n_hidden_layers = 1 / 0",
            "small_and_deep": solved["small_and_deep"],
        },
    )
    of_03.hand_in(
        folder / "Stuck.ipynb",
        handed_out,
        {
            "cost_of_a_layer": "n_parameters = 8384\nexit()",
            "idle_parts": "while True:\n    idle = 1",
            "linear_decoder": "n_hidden_layers = = 0",
            "small_and_deep": solved["small_and_deep"],
        },
    )
    of_03.hand_in(folder / "Forger" / "assignment_03.ipynb", handed_out, {}, forge)
    nbformat.write(lesson, folder / "Lesson.ipynb")
    (folder / "Damaged.ipynb").write_text("{")
    return build


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def marks(build, lines):
    return grade(build, lines.append).set_index("student")


def grade(build, tell=lambda text: None, limit=LIMIT):
    return grading.grade(build / "Monday, 2 pm", build / "lessons", build, limit, tell)


def folder(build):
    return build / "grades" / "Monday_ 2 pm"


def page(build, marks, student):
    html = (folder(build) / marks.loc[student, "page"]).read_text("utf-8")
    return re.sub(r"&#39;|&quot;", "'", html)


def scores(marks, student):
    return [marks.loc[student, f"exercise {number}"] for number in (1, 2, 3, 4)]


def test_right_answers_get_full_marks(build, marks):
    assert scores(marks, "Zoë _A_") == [1, 1, 1, 1]
    assert marks.loc["Zoë _A_", "marks"] == marks.loc["Zoë _A_", "of"] == 4
    assert not marks.loc["Zoë _A_", "note"]
    assert "Weights, biases, and a scale and a shift for each neuron." in page(
        build, marks, "Zoë _A_"
    )


def test_wrong_answer_gets_nothing_and_the_reply_made_for_it(build, marks):
    assert scores(marks, "Mixed")[0] == 0
    assert "The batch normalisation of this layer is missing." in page(build, marks, "Mixed")


def test_open_stub_gets_nothing_and_is_told_so(build, marks):
    assert scores(marks, "Mixed")[1] == 0
    assert "Put your answer for <code>idle</code>" in page(build, marks, "Mixed")


def test_answer_that_raises_gets_nothing_and_the_others_count(build, marks):
    assert scores(marks, "Mixed")[2:] == [0, 1]
    shown = page(build, marks, "Mixed")
    assert "ZeroDivisionError" in shown
    # The kind text in place of a traceback is an error for nbgrader all the same.
    assert "There is no `n_hidden_layers` yet." in shown


def test_endless_loop_syntax_error_and_end_of_python_leave_the_other_exercises(build, marks):
    assert scores(marks, "Stuck") == [0, 0, 0, 1]
    note = marks.loc["Stuck", "note"]
    assert "cell 03-cost_of_a_layer-answer was left out" in note
    assert "cell 03-idle_parts-answer took too long and was stopped" in note
    shown = page(build, marks, "Stuck")
    assert "This cell ended Python. It was left out, and all others were run again." in shown
    assert "No reply from kernel before timeout" in shown
    assert "SyntaxError" in shown


def test_edited_deleted_and_renamed_checks_give_nothing(build, marks):
    assert scores(marks, "Forger") == [0, 0, 0, 0]
    assert marks.loc["Forger", "of"] == 4
    note = marks.loc["Forger", "note"]
    assert "check 03-cost_of_a_layer was edited" in note
    assert "cell 03-linear_decoder was missing" in note
    assert "cell 03-small_and_deep-answer mentions the code of the checks" in note
    assert "`your_model` is an int" in page(build, marks, "Forger").replace("<code>", "`").replace(
        "</code>", "`"
    )


def test_what_cannot_be_marked_is_named_and_stops_nothing(marks):
    assert "not the notebook of an assignment" in marks.loc["Lesson", "note"]
    assert "no notebook that can be read" in marks.loc["Damaged", "note"]
    assert marks.loc[["Lesson", "Damaged"], "marks"].isna().all()


def test_table_is_written_as_it_is_returned(build, marks):
    with (folder(build) / "marks.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(marks.index)
    assert rows["Mixed"]["marks"] == "1" and rows["Mixed"]["exercise 4"] == "1"
    assert rows["Damaged"]["marks"] == ""


def test_progress_names_each_notebook_and_its_marks(marks, lines):
    said = "\n".join(lines)
    assert re.search(r"\[4/4\] Zoë _A_, lesson 03: 4 of 4 \(\d+ s\)", said)
    assert "2 of 6 notebooks need no marking, or cannot be marked." in lines


def test_page_shows_the_exercises_and_loads_nothing(build, marks):
    for student in ("Zoë _A_", "Stuck"):
        shown = page(build, marks, student)
        assert "Exercise 4" in shown
        assert "environment.prepare" not in shown
        assert "HIDDEN" not in shown
        assert not re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["']https?:[^>]*>""", shown)


def test_marks_are_kept_and_only_what_changed_is_marked_again(build, marks, monkeypatch):
    done = []
    monkeypatch.setattr(
        Cohort, "mark", lambda self, each: done.append(each.student) or {"notes": []}
    )
    again = grade(build).set_index("student")
    assert done == []
    assert again.equals(marks)
    # Another limit matters where a cell was stopped.
    grade(build, limit=LIMIT + 1)
    assert done == ["Stuck"]
    # As after an interruption: no record of the last one.
    record = folder(build) / "records" / "assignment_03" / "Zoë _A_.json"
    kept = record.read_text("utf-8")
    record.unlink()
    grade(build)
    assert done == ["Stuck", "Zoë _A_"]
    # And where the notebook was handed in anew.
    record.write_text(json.dumps(json.loads(kept) | {"fingerprint": "of another file"}), "utf-8")
    grade(build)
    assert done == ["Stuck", "Zoë _A_", "Zoë _A_"]
    record.write_text(kept, "utf-8")


def test_notebook_that_cannot_be_marked_does_not_stop_the_others(build, marks, monkeypatch):
    def mark(self, each):
        if each.student == "Forger":
            raise RuntimeError("the disk is full")
        return {"notes": [], "marks": {"one": 1.0}}

    monkeypatch.setattr(Cohort, "kept", lambda self, each: None)
    monkeypatch.setattr(Cohort, "mark", mark)
    table = grade(build).set_index("student")
    assert "nbgrader.log says why" in table.loc["Forger", "note"]
    assert "the disk is full" in (folder(build) / "nbgrader.log").read_text("utf-8")
    assert table.loc[["Mixed", "Stuck", "Zoë _A_"], "marks"].sum() == 3


def test_other_exercises_than_those_that_were_marked_are_an_error(build, marks):
    file = build / "lessons" / of_03.LESSON.name
    kept = file.read_bytes()
    lesson = nbformat.read(file, as_version=4)
    lesson.cells.insert(0, nbformat.v4.new_code_cell("1 + 1", id="new"))
    nbformat.write(lesson, file)
    with pytest.raises(EditionError, match="Lesson 03 has other cells now"):
        grade(build)
    file.write_bytes(kept)


def test_two_commands_do_not_mark_one_class(build, marks):
    with (
        filelock.FileLock(folder(build) / ".lock"),
        pytest.raises(EditionError, match="Another command is marking"),
    ):
        grade(build)
