"""How long a lesson takes.

The minutes are planned by its notes, and computed from what there is to read, to look at and to
run.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat import NotebookNode

from helpers.paths import DOCS
from helpers.practice import quizzes
from helpers.practice.exercises import parts
from helpers.scale import classroom
from publishing.teaching import lessons

NOTES = DOCS / "teaching" / "notes"

# Silent reading of English non-fiction: 238 words a minute on average, and 175 to 300 for most
# adults (Brysbaert 2019, doi:10.1016/j.jml.2019.104047). The slow end, because the words are new
# and many readers have another first language. (The package readtime takes 265, for web pages, and
# knows nothing of code.)
WORDS_A_MINUTE = 175

# Assumed. Those who look for faults in code are advised to read 300 to 500 lines an hour, 5 to 8 a
# minute (Cohen 2006, "Best kept secrets of peer code review"). A cell of a lesson has at most ten
# lines, and is read to follow it.
LINES_A_MINUTE = 10

# Assumed, in seconds.
FIGURE, TABLE, PRINTED, PREDICTION = 45, 20, 5, 30

# What is counted of a section.
CONTENTS = ("words", "predictions", "lines", "figures", "tables", "printed")

# What comes after the teaching minutes.
HOME = ("What you know now", "Check yourself", "Exercises")

TIME = re.compile(
    r"\*\*Time\*\*: (?P<teaching>\d+) minutes to read and run\b.*?, "
    r"(?P<practice>\d+) minutes for the (?:quiz|questions)",
    re.DOTALL,
)
PLANNED = re.compile(r"^## (.+)\n+\*\*(\d+) minutes?\.\*\*", re.MULTILINE)


# --- planned --------------------------------------------------------------------------------------


def time_line(notebook: NotebookNode) -> tuple[int, int]:
    """Return the minutes of the line **Time**: teaching, and quiz with exercises.

    Raises
    ------
    ValueError
        If there is no such line, or it is written in another way.
    """
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = TIME.search(" ".join(text.split()))
    if found is None:
        raise ValueError(
            "The lesson has no line '**Time**: 40 minutes to read and run, 20 minutes for the "
            "quiz and the exercises.'"
        )
    return int(found["teaching"]), int(found["practice"])


def notes(lesson: str, folder: Path = NOTES) -> dict[str, int]:
    """Return the minutes that the notes plan for each section.

    Raises
    ------
    FileNotFoundError
        If the lesson has no notes.
    ValueError
        If a section has no minutes.
    """
    file = folder / f"{lesson}.md"
    if not file.is_file():
        raise FileNotFoundError(
            f"Lesson {lesson} has no notes. What to do: write docs/teaching/notes/{file.name}."
        )
    text = file.read_text("utf-8")
    found = {title.strip(): int(minutes) for title, minutes in PLANNED.findall(text)}
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    without = [heading for heading in headings if heading.strip() not in found]
    if without:
        raise ValueError(
            f"{file.name}: no minutes for {', '.join(without)}. What to do: begin the section with "
            "'**5 minutes.**'"
        )
    return found


# --- computed -------------------------------------------------------------------------------------


def words(markdown: str) -> int:
    """Count the words that a reader sees: no addresses, no HTML, no lines of tables."""
    text = re.sub(r"\]\([^)]*\)", "]", markdown)
    text = re.sub(r"</?[a-zA-Z][^>\n]*>|^[|\s:-]+$", " ", text, flags=re.MULTILINE)
    return len(re.findall(r"[^\W_]+(?:[-'.,_/=][^\W_]+)*", text))


def contents(cells: list[NotebookNode]) -> dict[str, int]:
    """Count what there is in some cells.

    Returns
    -------
    dict
        ``words`` of prose, ``predictions``, ``lines`` of code, and stored outputs: ``figures``,
        ``tables``, ``printed``.
    """
    found: dict[str, int] = {each: 0 for each in CONTENTS}
    for cell in cells:
        if cell.cell_type == "markdown":
            found["words"] += words(cell.source)
            found["predictions"] += cell.source.count("**Predict.**")
        else:
            found["lines"] += sum(bool(line.strip()) for line in cell.source.splitlines())
            for output in cell.outputs:
                found[_kind(output)] += 1
    return found


def _kind(output: NotebookNode) -> str:
    """Tell a figure from a table from other text."""
    shown = "".join(output.get("data", {}).get("text/html", ""))
    if "<img" in shown or "<svg" in shown:
        return "figures"
    return "tables" if "<table" in shown else "printed"


def to_read(counted: Mapping[str, int]) -> float:
    """Compute the minutes that it takes to read and look at what was counted."""
    seconds = (
        FIGURE * counted["figures"]
        + TABLE * counted["tables"]
        + PRINTED * counted["printed"]
        + PREDICTION * counted["predictions"]
    )
    return counted["words"] / WORDS_A_MINUTE + counted["lines"] / LINES_A_MINUTE + seconds / 60


def running(lesson: str, measured: Mapping[str, Any]) -> float:
    """Return the minutes that a lesson was measured to compute, alone on one core.

    Parameters
    ----------
    lesson
        Its name.
    measured
        As from ``classroom.load``.

    Raises
    ------
    ValueError
        If it was not measured.
    """
    seconds = classroom.lessons(measured)["wall seconds"]
    if lesson not in seconds:
        raise ValueError(f"Lesson {lesson} was not measured. What to do: make study ARGS=costs.")
    return float(seconds[lesson]) / 60


# --- tables ---------------------------------------------------------------------------------------


def by_section(lesson: str) -> pd.DataFrame:
    """Return what is in each section of a lesson, and its minutes, ``computed`` and ``planned``.

    What you know now, quiz and exercises are left out, and running as well: it was not measured by
    section.

    Returns
    -------
    DataFrame
        One row per section: ``CONTENTS``, ``computed`` and ``planned``.
    """
    planned = notes(lesson)
    rows = {
        title: contents(cells)
        for title, cells in lessons.sections(lessons.read(lesson)).items()
        if title not in HOME
    }
    table = pd.DataFrame(rows).T.rename_axis("section")
    table["computed"] = [to_read(row) for row in rows.values()]
    table["planned"] = pd.Series(planned, dtype=float).reindex(table.index)
    return table


def by_lesson() -> pd.DataFrame:
    """Return what practice each lesson has, and the minutes that are planned and computed.

    Returns
    -------
    DataFrame
        One row per lesson: ``exercises``, ``replies`` (wrong answers with a reply of their own),
        ``questions`` of the quiz; minutes of teaching ``planned`` and ``computed`` (reading,
        looking and running), ``running`` alone; minutes of ``practice``, and what is left of them
        for each exercise once all is read (``an exercise``).
    """
    measured = classroom.load()
    rows = [_lesson(name, running(name, measured)) for name in lessons.names()]
    return pd.DataFrame(rows).set_index("lesson")


def _lesson(lesson: str, computing: float) -> dict[str, str | float]:
    """Compute one row of ``by_lesson``."""
    notebook, number = lessons.read(lesson), lessons.number_of(lesson)
    of = lessons.sections(notebook)
    teaching, practice = time_line(notebook)
    exercises = len(parts.find(notebook))
    quiz = quizzes.of_lesson(number)
    known = sum(to_read(contents(of[title])) for title in HOME[:1])
    read_and_looked = by_section(lesson)["computed"].sum() + known
    left = practice - (words(repr(quiz)) + _words_of_exercises(notebook)) / WORDS_A_MINUTE
    return {
        "lesson": lesson,
        "exercises": exercises,
        "replies": replies(number),
        "questions": len(quiz.questions),
        "planned": teaching,
        "running": computing,
        "computed": read_and_looked + computing,
        "practice": practice,
        "an exercise": left / exercises,
    }


def replies(number: str) -> int:
    """Count the wrong answers of a lesson's exercises that get a reply of their own.

    They are those that the tests try.
    """
    wrong = importlib.import_module(f"tests.helpers.practice.lesson_{number}").WRONG
    return sum(map(len, wrong.values()))


def _words_of_exercises(notebook: NotebookNode) -> int:
    """Count the words of the exercises, without the solutions."""
    solutions = {part.solution for part in parts.find(notebook)}
    kept = [cell for index, cell in enumerate(notebook.cells) if index not in solutions]
    return contents(lessons.sections(nbformat.v4.new_notebook(cells=kept))["Exercises"])["words"]
