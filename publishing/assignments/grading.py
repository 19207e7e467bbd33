"""Mark what a class has handed in: a page for each learner, and a table of marks.

``python -m publishing.assignments.grading FOLDER`` (``make assignment ARGS="grade FOLDER"``) runs
the notebooks in a folder with nbgrader and writes ``build/grades/FOLDER``. It runs the learners'
code on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
from traitlets.log import get_logger

from helpers.paths import NOTEBOOKS, ROOT
from publishing import texts
from publishing.assignments.cohort import Cohort
from publishing.assignments.course import LIMIT, MARKS, Course, with_lessons
from publishing.assignments.submissions import Submission, submissions
from publishing.editions import BUILD, EditionError


def folder_of(handed_in: Path, build: Path = BUILD) -> Path:
    """Return the folder that the marks of a class go into."""
    # nbgrader reads * and [ in a path as patterns.
    return build / "grades" / re.sub(r"[^\w .-]", "_", handed_in.resolve().name)


def grade(
    folder: Path,
    lessons: Path = NOTEBOOKS,
    build: Path = BUILD,
    limit: int = LIMIT,
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> pd.DataFrame:
    """Mark the notebooks in a folder, and write pages and ``marks.csv``.

    They go into ``grades/FOLDER`` of the build folder. What was marked before is kept, unless the
    notebook, the lesson or the limit has changed.

    Parameters
    ----------
    folder
        As for :func:`submissions`.
    lessons
        The folder of the lessons.
    build
        The folder to write into.
    limit
        Seconds that a cell of a student may take.
    tell
        Gets the lines of progress.

    Returns
    -------
    DataFrame
        One row per notebook: ``student``, ``lesson``, ``marks`` and ``of``, which are missing
        where it could not be marked, the marks of each exercise, ``note`` and ``page``.

    Raises
    ------
    EditionError
        If there is nothing to mark, or another process marks the same class.
    """
    found = submissions(folder, lessons)
    marked = folder_of(folder, build)
    marked.mkdir(parents=True, exist_ok=True)
    cohort = Cohort(Course(marked), with_lessons(lessons), limit)
    try:
        with filelock.FileLock(marked / ".lock", timeout=0), _logged(marked / "nbgrader.log"):
            return _grade(found, cohort, tell)
    except filelock.Timeout:
        raise EditionError(
            f"Another command is marking into {marked}.\n"
            "What to do: wait until it is done, or stop it."
        ) from None


def _grade(found: list[Submission], cohort: Cohort, tell: Callable[[str], None]) -> pd.DataFrame:
    """Mark one notebook after the other, and write the table after each."""
    for number in sorted({each.lesson for each in found if not each.problem}):
        cohort.prepare(number)
    records = [{"notes": [each.problem]} if each.problem else cohort.kept(each) for each in found]
    left = [number for number, record in enumerate(records) if record is None]
    if len(left) < len(found):
        tell(
            f"{len(found) - len(left)} of {len(found)} notebooks need no marking, or cannot be "
            "marked."
        )
    if left:
        tell(f"{len(left)} to mark, one after the other.")
    begun = time.monotonic()
    for done, number in enumerate(left, 1):
        start = time.monotonic()
        records[number] = _mark(found[number], cohort)
        _write_table(_table(found, records), cohort.course.folder)
        now = time.monotonic()
        rest = (now - begun) / done * (len(left) - done)
        tell(
            f"[{done}/{len(left)}] {_said(found[number], records[number])} ({now - start:.0f} s)"
            + (f"; about {math.ceil(rest / 60)} min left" if rest else "")
        )
    table = _table(found, records)
    _write_table(table, cohort.course.folder)
    return table


def _mark(submission: Submission, cohort: Cohort) -> dict[str, Any]:
    """Mark one notebook; where that fails, log why."""
    try:
        return cohort.mark(submission)
    except Exception:  # whatever it is, the others are to be marked
        get_logger().exception("%s, lesson %s", submission.student, submission.lesson)
        return {"notes": ["it could not be marked: nbgrader.log says why"]}


def _said(submission: Submission, record: dict[str, Any]) -> str:
    """Say in one line of progress what a notebook got."""
    marks = "no marks"
    if "marks" in record:
        marks = f"{sum(record['marks'].values()):g} of {len(record['marks']) * MARKS}"
    return f"{submission.student}, lesson {submission.lesson}: {marks}"


def _table(found: list[Submission], records: list[dict[str, Any] | None]) -> pd.DataFrame:
    """Return the marks, one row per notebook."""
    rows = []
    for each, record in zip(found, records, strict=True):
        record = record or {"notes": ["not marked yet"]}
        marks = record.get("marks", {})
        rows.append(
            {
                "student": each.student,
                "lesson": each.lesson,
                "marks": sum(marks.values()) if marks else math.nan,
                "of": len(marks) * MARKS if marks else math.nan,
            }
            | {f"exercise {number}": value for number, value in enumerate(marks.values(), 1)}
            | {
                "note": "; ".join([*record["notes"], *record.get("stopped", [])]),
                "page": record.get("page", ""),
            }
        )
    table = pd.DataFrame(rows)
    last = ["note", "page"]
    return table.loc[:, [*table.columns.drop(last), *last]]


def _write_table(table: pd.DataFrame, folder: Path) -> None:
    """Write the marks as a table for spreadsheets."""
    texts.write(folder / "marks.csv", table.to_csv(index=False, float_format="%g"))


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Write what nbgrader logs into a file, as long as it works."""
    logger, handler = get_logger(), logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        handler.close()


def main(arguments: list[str]) -> int:
    """Mark a folder; return the exit status: 1 if a notebook could not be marked."""
    parser = argparse.ArgumentParser("assignment grade", description=__doc__)
    parser.add_argument("folder", type=Path, help="a notebook, or a folder, for each student")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help="seconds that a cell of a student may take"
    )
    given = parser.parse_args(arguments)
    try:
        table = grade(given.folder, limit=given.limit)
    except EditionError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    unmarked = table[table["marks"].isna()]
    for row in unmarked.itertuples():
        print(f"Not marked: {row.student}. {row.note}", file=sys.stderr)
    print(f"{len(table) - len(unmarked)} of {len(table)} notebooks are marked.")
    file = (folder_of(given.folder) / "marks.csv").relative_to(ROOT)
    print(f"Marks: {file.as_posix()}; it names the page for each student.")
    return 1 if len(unmarked) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
