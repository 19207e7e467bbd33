"""The pages for teachers that are made from the lessons.

``python -m publishing.teaching_pages`` (``make teaching``) writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from helpers.paths import ROOT
from publishing import lesson_minutes, lesson_plans, misconceptions

FOLDER = ROOT / "docs" / "teaching"

LESSONS = "../../notebooks"


def main() -> int:
    """Write the pages; return the exit status."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
    print(f"{', '.join(PAGES)} written to {FOLDER.name}")
    return 0


# --- minutes --------------------------------------------------------------------------------------


def minutes_page() -> str:
    """Write how long each lesson takes, planned and computed."""
    lessons = lesson_minutes.by_lesson()
    lessons["difference"] = lessons["computed"] - lessons["planned"]
    rows = [
        [
            _lesson_link(name),
            *(f"{row[column]:.0f}" for column in ("exercises", "replies", "questions")),
            *(f"{row[column]:.0f}" for column in ("planned", "computed")),
            f"{row['difference']:+.0f}",
            f"{row['running'] * 60:.0f} s",
            f"{row['practice']:.0f}",
            f"{row['an exercise']:.1f}",
        ]
        for name, row in lessons.iterrows()
    ]
    sums = lessons[["exercises", "replies", "questions", "planned", "computed", "practice"]].sum()
    exercises, replies, questions, planned, computed, practice = (f"{each:.0f}" for each in sums)
    both = f"{sums['computed'] - sums['planned']:+.0f}"
    rows.append(
        ["all", exercises, replies, questions, planned, computed, both, "", practice, ""],
    )
    heads = ["lesson", "exercises", "replies", "questions", "planned", "computed", "difference"]
    heads += ["of it running", "practice", "for an exercise"]
    text = f"""\
# Minutes

Written by `make teaching` from the lessons, the [notes](guide.md#notes-for-each-lesson) and [measurements.json](../measurements.json); do not edit.

- *planned*: teaching, as the lesson's line **Time** and the notes say: reading, running, guessing, talking.
- *computed*: one person who reads all, runs all and talks to nobody. {lesson_minutes.WORDS_A_MINUTE} words of prose a minute (most adults read 175 to 300 words of
  English non-fiction in silence; [Brysbaert 2019](https://doi.org/10.1016/j.jml.2019.104047); the slow end, as the words are new). Assumed: {lesson_minutes.LINES_A_MINUTE} lines of code a minute,
  {lesson_minutes.FIGURE} seconds for a figure, {lesson_minutes.TABLE} for a table, {lesson_minutes.PRINTED} for a printed line, {lesson_minutes.PREDICTION} for a guess. *Running* was measured on one core.
- *replies*: wrong answers to the exercises that get a reply of their own. *questions*: of the quiz.
- *practice*: quiz and exercises, as planned. *for an exercise*: minutes of that for each exercise, once the quiz and the texts are read.

A plan below what is computed leaves no time to talk. Nobody was watched with a stopwatch: the computed minutes compare lessons with each other.

{_table(heads, rows)}
"""
    for name in lessons.index:
        text += f"\n## {name}\n\n[Notes](notes/{name}.md)\n\n{_sections_table(name)}\n"
    return text


def _sections_table(lesson: str) -> str:
    """Write the minutes of the sections of a lesson."""
    table = lesson_minutes.by_section(lesson)
    counted = ["words", "lines", "figures", "tables", "predictions"]
    rows = [
        [
            _section_link(lesson, title),
            *(f"{row[column]:.0f}" for column in counted),
            f"{row['planned']:.0f}",
            f"{row['computed']:.1f}",
        ]
        for title, row in table.iterrows()
    ]
    return _table(["section", *counted, "planned", "computed"], rows)


# --- plans ----------------------------------------------------------------------------------------


def plans_page() -> str:
    """Write the plans for a class."""
    text = """\
# Plans for a class

Written by `make teaching` from [plans.toml](plans.toml); change that file, and run it again: it says what does not fit. What to say, section by section, is in the
[notes](guide.md#notes-for-each-lesson); what goes wrong is in [trouble](trouble.md).

- Set-up was done [before](guide.md#the-night-before). A class that begins with it needs a good network, and half an hour more.
- *clock*: from the start. *min*: minutes here, and in brackets those of the notes. Where they are fewer, the row says why.
- **A section that a plan leaves out is run all the same**: later cells may need it. Click on the next section that you teach, then *Run > Run All Above Selected Cell*.
- Everybody writes a guess down before the cell is run. That is where the time goes, and what it is for.
"""
    for plan in lesson_plans.read():
        rows = [
            [
                start,
                _minutes_of(row),
                _what(row),
                row.teacher,
                row.learners + _practice(row),
            ]
            for start, row in zip(lesson_plans.clock(plan), plan.rows, strict=True)
        ]
        end = f"{plan.minutes // 60}:{plan.minutes % 60:02}"
        rows.append([end, "", "end", "", ""])
        heads = ["clock", "min", "lesson and section", "you", "learners"]
        text += (
            f"\n## {plan.name}\n\n**Afterwards**: {plan.aim}\n\n**Left out**: {plan.left_out}\n\n"
            f"{_table(heads, rows)}\n"
        )
    return text


def _minutes_of(row: lesson_plans.Row) -> str:
    return f"{row.minutes} ({lesson_plans.planned(row)})" if row.sections else f"{row.minutes}"


def _what(row: lesson_plans.Row) -> str:
    """Name lesson and sections of a row, and why they get less time than planned."""
    if not row.lesson:
        return "*pause*" if row.pause else ""
    places = [_section_link(row.lesson, section) for section in row.sections]
    places += [f"exercise {number}" for number in row.exercises]
    places += ["quiz"] if row.quiz else []
    text = f"{_lesson_link(row.lesson)}: {', '.join(places) or 'its first cell'}"
    return f"{text}<br>*Shorter*: {row.because}" if row.because else text


def _practice(row: lesson_plans.Row) -> str:
    return f"<br>*Predict*: {row.predict} ..." if row.predict else ""


# --- misconceptions -------------------------------------------------------------------------------


def misconceptions_page() -> str:
    """Write what learners may think, lesson by lesson."""
    text = """\
# What learners may think

Written by `make teaching` from the tables "What you know now" of the lessons; do not edit. Let learners say it before the lesson denies it: have them vote at the prompt
*Predict*, run the cells of the section in the last column, and ask whoever was wrong to explain what the output shows.
"""
    for lesson in lesson_minutes.names():
        table = misconceptions.of_lesson(lesson)
        rows = [
            [row.thought, row.fact, _section_link(lesson, row.section)]
            for row in table.itertuples()
        ]
        heads = ["they may think", "in fact", "where they see it"]
        text += f"\n## {lesson}\n\n{_table(heads, rows)}\n"
    return text


# --- Markdown -------------------------------------------------------------------------------------


def _lesson_link(lesson: str) -> str:
    return f"[{lesson_minutes.number_of(lesson)}]({LESSONS}/{lesson}.ipynb)"


def _section_link(lesson: str, title: str) -> str:
    """Link a section, by the anchor that JupyterLab gives it."""
    anchor = title.replace("`", "").replace(" ", "-")
    return f"[{title}]({LESSONS}/{lesson}.ipynb#{anchor})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PAGES: dict[str, Callable[[], str]] = {
    "minutes.md": minutes_page,
    "plans.md": plans_page,
    "misconceptions.md": misconceptions_page,
}


if __name__ == "__main__":
    sys.exit(main())
