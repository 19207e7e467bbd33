"""The exercises of every lesson as they are stored, and the judge of the replies to answers.

The answers themselves are tried where the lesson runs, see ``lesson_runs.py``.
"""

import ast
from dataclasses import replace

import nbformat
import pytest

from helpers import paths
from helpers.practice import exercises
from helpers.practice.exercises import parts
from tests.notebooks import answers
from tests.notebooks.answers import Outcome, Trial
from tests.notebooks.needed_cells import names

LESSONS = paths.lessons()

of_each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.fixture
def notebook(lesson):
    return nbformat.read(lesson, as_version=4)


@of_each_lesson
def test_there_are_two_to_four_exercises_and_each_has_a_check_of_its_own(lesson, notebook):
    found = parts.find(notebook)
    assert 2 <= len(found) <= 4
    used = [parts.check_name(notebook.cells[part.check].source) for part in found]
    checks = exercises.of_lesson(answers.number_of(lesson.stem)).exercises
    assert sorted(used) == sorted(checks)
    assert [part.title.split()[1] for part in found] == [str(n) for n in range(1, len(found) + 1)]


@of_each_lesson
def test_stub_check_and_solution_are_about_the_same_names(lesson, notebook):
    checks = exercises.of_lesson(answers.number_of(lesson.stem)).exercises
    for part in parts.find(notebook):
        check = notebook.cells[part.check].source
        asked = set(checks[parts.check_name(check)].answers)
        assert answers.bound(notebook.cells[part.stub].source) == asked, part.title
        assert asked <= answers.bound(part.code), part.title
        assert asked <= names(check, ast.Load), part.title


@of_each_lesson
def test_no_solution_changes_what_the_lesson_has_made(lesson, notebook):
    found = parts.find(notebook)
    stubs = {part.stub for part in found}
    made = set()
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and number not in stubs:
            made |= names(cell.source, ast.Store)
    for part in found:
        assert not made & answers.bound(part.code), part.title


@of_each_lesson
def test_every_wrong_answer_belongs_to_a_check(lesson):
    checks = exercises.of_lesson(answers.number_of(lesson.stem)).exercises
    assert set(answers.wrong_answers(lesson.stem)) == set(checks)


# --- the judge ----------------------------------------------------------------------------------

FINE = [
    (Trial("stub", "n = ..."), Outcome("… Not answered yet. Put", "", "")),
    (Trial("odd", "n = None"), Outcome("… Not answered yet. Put", "", "")),
    (Trial("odd", "n = 'x'"), Outcome("✗ Not yet. A text.", "1 of 1: count", "")),
    (Trial("wrong", "n = 2", "too few"), Outcome("✗ Not yet. It is too few.", "1 of 1", "")),
    (Trial("wrong", "n = 4", "too many"), Outcome("✗ Not yet. It is too many.", "1 of 1", "")),
    (Trial("solution", "n = 3"), Outcome("✓ Right. So it is.", "", "")),
]


def test_the_replies_that_are_asked_for_have_no_faults():
    assert answers.faults(FINE) == []


@pytest.mark.parametrize(
    ("number", "change", "fault"),
    [
        (0, {"said": "✗ Not yet. Hm."}, "does not begin"),
        (0, {"hint": "1 of 1"}, "before an answer"),
        (0, {"error": "NameError"}, "error"),
        (2, {"error": "TypeError"}, "error"),
        (2, {"said": "✓ Right."}, "does not begin"),
        (2, {"said": "✗ Not yet. This check could not make sense of it."}, "at a loss"),
        (3, {"said": "✗ Not yet. It is too many."}, "lacks the words 'too few'"),
        (3, {"said": "✓ Right. too few"}, "does not begin"),
        (3, {"hint": ""}, "no hint"),
        (3, {"error": "TypeError"}, "error"),
        (5, {"said": "✗ Not yet."}, "does not begin"),
        (5, {"said": ""}, "does not begin"),
    ],
)
def test_another_reply_is_found(number, change, fault):
    trial, told = FINE[number]
    tried = [*FINE[:number], (trial, replace(told, **change)), *FINE[number + 1 :]]
    (found,) = answers.faults(tried)
    assert fault in found
    assert trial.code in found


def test_one_wrong_answer_is_too_few():
    (fault,) = answers.faults([*FINE[:4], FINE[5]])
    assert "1 typical wrong answer" in fault
