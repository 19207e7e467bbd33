"""Marking: a class whose notebooks are right, wrong, broken, endless and forged, in real kernels."""

import csv
import json
import re

import filelock
import nbformat
import pytest
from nbgrader.utils import determine_grade

from helpers.practice.exercises.replies import not_yet, right
from publishing import assignment, editions, grading
from tests.publishing import class_of_lesson_03 as of_03

# Seconds for a cell of a learner. The checks of lesson 03 take one or two.
LIMIT = 15


def forge(notebook):
    """Edit checks so that they give full marks, delete others, and give their names to something else."""
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
    course = assignment.Course(assignment.write(["03"], build / "lessons", build))
    release, solved = course.release("03"), of_03.solutions(lesson)
    folder = build / "Monday, 2 pm"
    of_03.hand_in(folder / "Zoë [A].ipynb", release, solved)
    of_03.hand_in(
        folder / "Mixed.ipynb",
        release,
        {
            "cost_of_a_layer": "n_parameters = 128 * 64 + 64",
            "linear_decoder": "n_hidden_layers = 1 / 0",
            "small_and_deep": solved["small_and_deep"],
        },
    )
    of_03.hand_in(
        folder / "Stuck.ipynb",
        release,
        {
            "cost_of_a_layer": "n_parameters = 8384\nexit()",
            "idle_parts": "while True:\n    idle = 1",
            "linear_decoder": "n_hidden_layers = = 0",
            "small_and_deep": solved["small_and_deep"],
        },
    )
    of_03.hand_in(folder / "Forger" / "assignment_03.ipynb", release, {}, forge)
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


def place(build):
    return build / "grades" / "Monday_ 2 pm"


def page(build, marks, student):
    html = (place(build) / marks.loc[student, "page"]).read_text("utf-8")
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
    with (place(build) / "marks.csv").open(encoding="utf-8", newline="") as file:
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
        grading.Class, "mark", lambda self, each: done.append(each.student) or {"notes": []}
    )
    again = grade(build).set_index("student")
    assert done == []
    assert again.equals(marks)
    # Another limit matters where a cell was stopped.
    grade(build, limit=LIMIT + 1)
    assert done == ["Stuck"]
    # As after an interruption: no record of the last one.
    record = place(build) / "records" / "assignment_03" / "Zoë _A_.json"
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

    monkeypatch.setattr(grading.Class, "kept", lambda self, each: None)
    monkeypatch.setattr(grading.Class, "mark", mark)
    table = grade(build).set_index("student")
    assert "nbgrader.log says why" in table.loc["Forger", "note"]
    assert "the disk is full" in (place(build) / "nbgrader.log").read_text("utf-8")
    assert table.loc[["Mixed", "Stuck", "Zoë _A_"], "marks"].sum() == 3


def test_other_exercises_than_those_that_were_marked_are_an_error(build, marks):
    file = build / "lessons" / of_03.LESSON.name
    kept = file.read_bytes()
    lesson = nbformat.read(file, as_version=4)
    lesson.cells.insert(0, nbformat.v4.new_code_cell("1 + 1", id="new"))
    nbformat.write(lesson, file)
    with pytest.raises(editions.EditionError, match="Lesson 03 has other cells now"):
        grade(build)
    file.write_bytes(kept)


def test_two_commands_do_not_mark_one_class(build, marks):
    with (
        filelock.FileLock(place(build) / ".lock"),
        pytest.raises(editions.EditionError, match="Another command is marking"),
    ):
        grade(build)


# --- what was handed in ---------------------------------------------------------------------------


def test_folder_that_is_missing_or_empty_is_an_error_that_says_how(tmp_path):
    with pytest.raises(editions.EditionError, match=r"no folder .*nowhere(.|\n)*Ada\.ipynb"):
        grading.submissions(tmp_path / "nowhere")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "Ada-checkpoint.ipynb").write_text("{}")
    with pytest.raises(editions.EditionError, match=r"no notebook \(\.ipynb\) in "):
        grading.submissions(tmp_path)


def notebook_of(lesson):
    told = {"nbgrader": {"grade_id": f"{lesson}-name"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", metadata=told)])


def test_two_notebooks_of_one_student_and_lesson_are_both_refused(tmp_path):
    (tmp_path / "Ada").mkdir()
    for name in ("Ada/first.ipynb", "Ada/second.ipynb", "Bob.ipynb"):
        nbformat.write(notebook_of("03"), tmp_path / name)
    found = {each.file.name: each for each in grading.submissions(tmp_path)}
    for name in ("first.ipynb", "second.ipynb"):
        assert "Ada/first.ipynb and Ada/second.ipynb are of the same lesson" in found[name].fault
    assert not found["Bob.ipynb"].fault


def test_lesson_that_has_no_exercises_here_is_named(tmp_path):
    nbformat.write(notebook_of("99"), tmp_path / "Ada.ipynb")
    (found,) = grading.submissions(tmp_path)
    assert "lesson '99', which has no exercises here. There are: 00, 01" in found.fault


def test_mending_gives_back_what_nbgrader_goes_by():
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
    notes = grading.mend(submitted, released)
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


# --- marks ----------------------------------------------------------------------------------------


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
    cell, _ = grading.TakeMarks().preprocess_cell(marked(*outputs), {}, 0)
    assert determine_grade(cell) == (expected, 2)


def test_error_of_a_check_is_shown_alone():
    cell, _ = grading.TakeMarks().preprocess_cell(marked(ERROR), {}, 0)
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
    run = grading.RunSubmission(limit=7)
    told = {"grade": False, "solution": False, "locked": True, "points": 1}
    cell = nbformat.v4.new_code_cell("1", metadata={"nbgrader": told})
    assert run.seconds_for(cell) > 60
    for change in ({"grade": True}, {"solution": True, "locked": False}):
        cell = nbformat.v4.new_code_cell("1", metadata={"nbgrader": told | change})
        assert run.seconds_for(cell) == 7
    assert run.seconds_for(nbformat.v4.new_code_cell("1")) == 7
