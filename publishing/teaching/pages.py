"""The pages for teachers that are made from the lessons.

``python -m publishing.teaching.pages`` writes them; ``make notebooks`` does so once the lessons
have run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from helpers import markdown
from helpers.memory import MEASUREMENTS
from helpers.paths import DOCS
from publishing import texts
from publishing.teaching import lessons, minutes, misconceptions, plans

FOLDER = DOCS / "teaching"

# Seen from there.
LESSONS = "../../notebooks"


def main() -> int:
    """Write the pages; return the exit status."""
    try:
        made = {name: page() for name, page in PAGES.items()}
    except (ValueError, FileNotFoundError) as error:
        print(f"The pages for teachers stay as they were. {error}", file=sys.stderr)
        return 1
    for name, text in made.items():
        texts.write(FOLDER / name, text)
    print(f"{', '.join(PAGES)} in docs/teaching are written.")
    return 0


# --- minutes ------------------------------------------------------------------------------------


def minutes_page() -> str:
    """Write how long each lesson takes, planned and computed."""
    table = minutes.by_lesson()
    table["difference"] = table["computed"] - table["planned"]
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
        for name, row in table.iterrows()
    ]
    counted = ["exercises", "replies", "questions", "planned", "computed"]
    sums = table.sum()
    rows.append(
        [
            "all",
            *(f"{sums[column]:.0f}" for column in counted),
            f"{sums['difference']:+.0f}",
            "",
            f"{sums['practice']:.0f}",
            "",
        ]
    )
    heads = ["lesson", *counted, "difference", "of it running", "practice", "for an exercise"]
    return texts.fill(
        "minutes.md",
        minutes=minutes,
        measurements=MEASUREMENTS.relative_to(DOCS).as_posix(),
        table=markdown.table(heads, rows),
        sections={name: _sections_table(name) for name in table.index},
    )


def _sections_table(lesson: str) -> str:
    """Write the minutes of the sections of a lesson."""
    counted = ["words", "lines", "figures", "tables", "predictions"]
    rows = [
        [
            _section_link(lesson, title),
            *(f"{row[column]:.0f}" for column in counted),
            f"{row['planned']:.0f}",
            f"{row['computed']:.1f}",
        ]
        for title, row in minutes.by_section(lesson).iterrows()
    ]
    return markdown.table(["section", *counted, "planned", "computed"], rows)


# --- plans --------------------------------------------------------------------------------------


def plans_page() -> str:
    """Write the plans for a class."""
    return texts.fill("plans.md", plans=[(plan, _plan_table(plan)) for plan in plans.read()])


def _plan_table(plan: plans.Plan) -> str:
    """Write what happens in a class, and when."""
    rows = [
        [start, _minutes_of(row), _what(row), row.teacher, row.learners + _practice(row)]
        for start, row in zip(plans.clock(plan), plan.rows, strict=True)
    ]
    rows.append([f"{plan.minutes // 60}:{plan.minutes % 60:02}", "", "end", "", ""])
    return markdown.table(["clock", "min", "lesson and section", "you", "learners"], rows)


def _minutes_of(row: plans.Row) -> str:
    return f"{row.minutes} ({plans.planned(row)})" if row.sections else f"{row.minutes}"


def _what(row: plans.Row) -> str:
    """Name lesson and sections of a row, and why they get less time than planned."""
    if not row.lesson:
        return "*pause*" if row.pause else ""
    named = [_section_link(row.lesson, section) for section in row.sections]
    named += [f"exercise {number}" for number in row.exercises]
    named += ["quiz"] if row.quiz else []
    text = f"{_lesson_link(row.lesson)}: {', '.join(named) or 'its first cell'}"
    return f"{text}<br>*Shorter*: {row.because}" if row.because else text


def _practice(row: plans.Row) -> str:
    return f"<br>*Predict*: {row.predict} ..." if row.predict else ""


# --- misconceptions -----------------------------------------------------------------------------


def misconceptions_page() -> str:
    """Write what learners may think, lesson by lesson."""
    tables = {}
    for lesson in lessons.names():
        rows = [
            [row.thought, row.fact, _section_link(lesson, row.section)]
            for row in misconceptions.of_lesson(lesson).itertuples()
        ]
        tables[lesson] = markdown.table(["they may think", "in fact", "where they see it"], rows)
    return texts.fill("misconceptions.md", lessons=tables)


# --- links --------------------------------------------------------------------------------------


def _lesson_link(lesson: str) -> str:
    return f"[{lessons.number_of(lesson)}]({LESSONS}/{lesson}.ipynb)"


def _section_link(lesson: str, title: str) -> str:
    """Link a section, by the anchor that JupyterLab gives it."""
    anchor = title.replace("`", "").replace(" ", "-")
    return f"[{title}]({LESSONS}/{lesson}.ipynb#{anchor})"


PAGES: dict[str, Callable[[], str]] = {
    "minutes.md": minutes_page,
    "plans.md": plans_page,
    "misconceptions.md": misconceptions_page,
}


if __name__ == "__main__":
    sys.exit(main())
