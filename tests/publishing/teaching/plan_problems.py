"""What would not work in class of a plan for it."""

from __future__ import annotations

from helpers.practice import quizzes
from helpers.practice.exercises import parts
from publishing.teaching import lessons, plans

# Learners can follow for about so many minutes before they need a pause.
LONGEST_WITHOUT_PAUSE = 75


def problems(plan: plans.Plan) -> list[str]:
    """Look for what would not work in class.

    Returns
    -------
    list of str
        One sentence per problem: minutes that do not add up, sections, prompts or exercises that do
        not exist, less time than the notes plan without a reason, too long without a pause.
    """
    together = sum(row.minutes for row in plan.rows)
    found = []
    if together != plan.minutes:
        found.append(f"The rows take {together} minutes together, and the plan {plan.minutes}.")
    for start, row in zip(plans.clock(plan), plan.rows, strict=True):
        found += [f"{start}: {problem}" for problem in _problems_of_row(row)]
    return found + _pause_problems(plan)


def _pause_problems(plan: plans.Plan) -> list[str]:
    since, longest = 0, 0
    for row in plan.rows:
        since = 0 if row.pause else since + row.minutes
        longest = max(longest, since)
    if longest <= LONGEST_WITHOUT_PAUSE:
        return []
    return [f"{longest} minutes without a pause; {LONGEST_WITHOUT_PAUSE} is the maximum."]


def _problems_of_row(row: plans.Row) -> list[str]:
    if not row.lesson:
        told = row.sections or row.predict or row.exercises or row.quiz
        return ["It names no lesson for what it does."] if told else []
    if row.lesson not in lessons.names():
        return [f"There is no lesson {row.lesson!r}."]
    notebook = lessons.read(row.lesson)
    known = lessons.sections(notebook)
    found = [
        f"{row.lesson} has no section {section!r}."
        for section in row.sections
        if section not in known
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
        quizzes.of_lesson(lessons.number_of(row.lesson))
    planned = plans.planned(row)
    if row.minutes < planned and not row.because:
        found.append(
            f"{row.minutes} minutes for what the notes plan {planned}; say why (because = ...)."
        )
    if row.minutes >= planned and row.because:
        found.append(
            f"It says why there are fewer minutes, and there are not fewer than {planned}."
        )
    return found


def _has_prompt(row: plans.Row) -> bool:
    """Tell whether a prompt is in the sections of a row.

    Of one without sections, anywhere in the lesson.
    """
    known = lessons.sections(lessons.read(row.lesson))
    looked_at = [known.get(section, []) for section in row.sections] or list(known.values())
    prompt = f"**Predict.** {row.predict}"
    return any(prompt in cell.source for cells in looked_at for cell in cells)
