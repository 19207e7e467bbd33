"""The exercises of every lesson, tried in a kernel.

Untouched, solved, and wrong in the ways that people are.
"""

import ast

import pytest

from helpers.practice import exercises
from helpers.practice.exercises import parts
from tests.helpers.practice import trials
from tests.notebooks.needed_cells import names

pytestmark = pytest.mark.parametrize("lesson", trials.LESSONS, ids=lambda path: path.stem)


def by_kind(lesson, kind):
    return {each: told for each, told in trials.outcomes(lesson).items() if each.kind == kind}


def test_there_are_two_to_four_exercises_and_each_has_a_check_of_its_own(lesson):
    found = parts.find(trials.read(lesson))
    assert 2 <= len(found) <= 4
    used = [trials.check_of(lesson, part) for part in found]
    assert sorted(used) == sorted(exercises.of_lesson(trials.number_of(lesson)).exercises)
    assert [part.title.split()[1] for part in found] == [str(n) for n in range(1, len(found) + 1)]


def test_stub_check_and_solution_are_about_the_same_names(lesson):
    cells = trials.read(lesson).cells
    for part in parts.find(trials.read(lesson)):
        exercise = exercises.of_lesson(trials.number_of(lesson)).exercises[
            trials.check_of(lesson, part)
        ]
        assert trials.bound(cells[part.stub].source) == set(exercise.answers), part.title
        assert set(exercise.answers) <= trials.bound(part.code), part.title
        assert set(exercise.answers) <= names(cells[part.check].source, ast.Load), part.title


def test_no_solution_changes_what_the_lesson_has_made(lesson):
    found = parts.find(trials.read(lesson))
    stubs = {part.stub for part in found}
    made = set()
    for number, cell in enumerate(trials.read(lesson).cells):
        if cell.cell_type == "code" and number not in stubs:
            made |= names(cell.source, ast.Store)
    for part in found:
        assert not made & trials.bound(part.code), part.title


def test_untouched_stub_is_told_what_to_do(lesson):
    for each, told in by_kind(lesson, "stub").items():
        assert told.said.startswith("… Not answered yet."), (each, told)
        assert not told.error and not told.hint


def test_solution_is_right(lesson):
    for each, told in by_kind(lesson, "solution").items():
        assert told.said.startswith("✓ Right."), (each, told)


def test_odd_answer_gets_a_kind_reply_and_no_traceback(lesson):
    for each, told in by_kind(lesson, "odd").items():
        assert not told.error, (each, told)
        assert told.said.startswith(("✗ Not yet.", "… Not answered yet.")), (each, told)
        assert "could not make sense" not in told.said, (each, told)


def test_typical_wrong_answer_gets_the_reply_made_for_it(lesson):
    expected = trials.wrong_answers(lesson)
    for part in parts.find(trials.read(lesson)):
        check = trials.check_of(lesson, part)
        assert len(expected[check]) >= 2, f"{part.title}: too few wrong answers are tried"
        for code, words in expected[check]:
            told = trials.outcomes(lesson)[trials.Trial(part.title, "wrong", code)]
            assert not told.error, (code, told)
            assert told.said.startswith("✗ Not yet."), (code, told)
            assert words in told.said, (code, told)
            assert told.hint, (code, told)
