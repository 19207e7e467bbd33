"""Plans for a class, minute by minute: ``docs/teaching/plans.toml``, which a teacher may change."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.paths import ROOT
from helpers.practice import quizzes
from helpers.practice.exercises import parts
from publishing import lesson_minutes

FILE = ROOT / "docs" / "teaching" / "plans.toml"

# Learners can follow for about so many minutes before they need a pause.
MOST_WITHOUT_PAUSE = 75


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


def faults(plan: Plan) -> list[str]:
    """Look for what would not work in class.

    Returns
    -------
    list of str
        A sentence a fault: minutes that do not add up, sections, prompts or exercises that do not
        exist, less time than the notes plan without a reason, too long without a pause.
    """
    together = sum(row.minutes for row in plan.rows)
    found = []
    if together != plan.minutes:
        found.append(f"The rows take {together} minutes together, and the plan {plan.minutes}.")
    for start, row in zip(clock(plan), plan.rows, strict=True):
        found += [f"{start}: {fault}" for fault in _faults_of_row(row)]
    return found + _pause_faults(plan)


def _pause_faults(plan: Plan) -> list[str]:
    since, longest = 0, 0
    for row in plan.rows:
        since = 0 if row.pause else since + row.minutes
        longest = max(longest, since)
    if longest <= MOST_WITHOUT_PAUSE:
        return []
    return [f"{longest} minutes without a pause; {MOST_WITHOUT_PAUSE} is the most."]


def _faults_of_row(row: Row) -> list[str]:
    if not row.lesson:
        told = row.sections or row.predict or row.exercises or row.quiz
        return ["It names no lesson for what it does."] if told else []
    if row.lesson not in lesson_minutes.names():
        return [f"There is no lesson {row.lesson!r}."]
    notebook = lesson_minutes.read(row.lesson)
    there = lesson_minutes.sections(notebook)
    found = [
        f"{row.lesson} has no section {section!r}."
        for section in row.sections
        if section not in there
    ]
    exercises = len(parts.find(notebook))
    found += [
        f"{row.lesson} has no exercise {number}."
        for number in row.exercises
        if not 1 <= number <= exercises
    ]
    if row.predict and not _has_prompt(row):
        found.append(f"{row.lesson} does not ask {row.predict!r} in these sections.")
    if row.quiz:
        quizzes.of_lesson(lesson_minutes.number_of(row.lesson))
    if row.minutes < planned(row) and not row.because:
        found.append(
            f"{row.minutes} minutes for what the notes plan {planned(row)}; say why (because = "
            "...)."
        )
    if row.minutes >= planned(row) and row.because:
        found.append(
            f"It says why there are fewer minutes, and there are not fewer than {planned(row)}."
        )
    return found


def _has_prompt(row: Row) -> bool:
    """Tell whether a prompt is in the sections of a row.

    Of one without sections, anywhere in the lesson.
    """
    there = lesson_minutes.sections(lesson_minutes.read(row.lesson))
    looked_at = [there.get(section, []) for section in row.sections] or list(there.values())
    prompt = f"**Predict.** {row.predict}"
    return any(prompt in cell.source for cells in looked_at for cell in cells)


@cache
def _notes(lesson: str) -> dict[str, int]:
    return lesson_minutes.notes(lesson)
