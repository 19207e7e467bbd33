"""The plans for a class add up, and hold what the lessons have."""

import dataclasses

import pytest

from publishing.teaching import plans
from tests.publishing.teaching import plan_problems

PLANS = {plan.name: plan for plan in plans.read()}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_plan_has_no_problem(plan):
    assert plan_problems.problems(plan) == []


def test_there_is_a_plan_for_a_lesson_a_double_lesson_and_half_a_day():
    assert [plan.minutes for plan in PLANS.values()] == [45, 90, 210]
    assert all(plan.rows[-1].minutes >= 3 and not plan.rows[-1].lesson for plan in PLANS.values())
    assert all(any(row.predict for row in plan.rows) for plan in PLANS.values())


def rows_of(**changes):
    rows = list(PLANS["45 minutes: how many hidden layers?"].rows)
    rows[1] = dataclasses.replace(rows[1], **changes)
    return tuple(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 7}, "46 minutes together"),
        ({"minutes": 5}, "5 minutes for what the notes plan 6"),
        ({"because": "x"}, "not fewer"),
        ({"lesson": "03"}, "no lesson '03'"),
        ({"sections": ("What is a layer?",)}, "no section 'What is a layer?'"),
        ({"predict": "What share of the 1.3 million"}, "does not ask"),
        ({"exercises": (9,)}, "no exercise 9"),
        ({"lesson": "", "predict": ""}, "names no lesson"),
        ({"minutes": 80}, "without a pause"),
    ],
)
def test_problem_of_a_plan_is_found(changes, message):
    plan = dataclasses.replace(
        PLANS["45 minutes: how many hidden layers?"], rows=rows_of(**changes)
    )
    assert any(message in problem for problem in plan_problems.problems(plan)), (
        plan_problems.problems(plan)
    )


def test_clock_runs_from_row_to_row():
    for plan in PLANS.values():
        told = [clock.split(":") for clock in plans.clock(plan)]
        starts = [60 * int(hours) + int(minutes) for hours, minutes in told]
        ends = [start + row.minutes for start, row in zip(starts, plan.rows, strict=True)]
        assert starts == [0, *ends[:-1]]
        assert ends[-1] == plan.minutes
