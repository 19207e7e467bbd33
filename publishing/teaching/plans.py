"""Plans for a class, minute by minute: ``docs/teaching/plans.toml``, which a teacher may change."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.paths import DOCS
from publishing.teaching import minutes

FILE = DOCS / "teaching" / "plans.toml"


@dataclass(frozen=True)
class Row:
    """A part of a class.

    Parameters
    ----------
    minutes
        How long.
    teacher, learners
        What they do.
    lesson
        Its name, or nothing: a welcome, a pause.
    sections
        Their headings, word for word.
    predict
        How the prompt begins that learners answer before they run on.
    exercises
        Numbers of those that learners do.
    quiz
        Whether they do the quiz of the lesson.
    because
        Why the sections get fewer minutes here than the notes plan.
    pause
        Whether it is one.
    """

    minutes: int
    teacher: str
    learners: str
    lesson: str = ""
    sections: Sequence[str] = ()
    predict: str = ""
    exercises: Sequence[int] = ()
    quiz: bool = False
    because: str = ""
    pause: bool = False


@dataclass(frozen=True)
class Plan:
    """A plan for a class.

    Parameters
    ----------
    name, minutes
        What it is called, and how long the class is.
    aim
        What learners can say afterwards.
    left_out
        What is run and not read, and why that is no loss.
    rows
        What happens, in order.
    """

    name: str
    minutes: int
    aim: str
    left_out: str
    rows: tuple[Row, ...]


def read(file: Path = FILE) -> list[Plan]:
    """Read the plans.

    Raises
    ------
    TypeError
        If a row says something that is not known, or leaves something out.
    """
    content = tomllib.loads(file.read_text("utf-8"))
    return [
        Plan(**{**plan, "rows": tuple(Row(**row) for row in plan["rows"])})
        for plan in content["plans"]
    ]


def clock(plan: Plan) -> list[str]:
    """Return when each row begins, as hours and minutes from the start."""
    starts = [sum(row.minutes for row in plan.rows[:number]) for number in range(len(plan.rows))]
    return [f"{start // 60}:{start % 60:02}" for start in starts]


def planned(row: Row) -> int:
    """Return the minutes that the notes plan for the sections of a row."""
    of = _notes(row.lesson) if row.sections else {}
    return sum(of.get(section, 0) for section in row.sections)


@cache
def _notes(lesson: str) -> dict[str, int]:
    return minutes.notes(lesson)
