"""The marks of a class, kept from call to call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.utils import is_grade

from publishing import texts
from publishing.assignments.course import MARKS, Course, name_of, source
from publishing.assignments.submissions import Submission, grade_id, repair
from publishing.editions import EditionError

# Written into the record of a submission; raise it where the same submission would now get other
# marks or another page.
FORMAT = 1


@dataclass(frozen=True)
class Cohort:
    """A class whose notebooks are marked, in a course folder of its own.

    Parameters
    ----------
    course
        The course folder; a file for each marked notebook is kept beside nbgrader's folders.
    lessons
        For each number the notebook.
    limit
        Seconds that a cell of a student may take.
    """

    course: Course
    lessons: Mapping[str, Path]
    limit: int

    def record(self, submission: Submission) -> Path:
        """Return the file with what is known about a notebook."""
        return (
            self.course.folder
            / "records"
            / name_of(submission.lesson)
            / f"{submission.student}.json"
        )

    def kept(self, submission: Submission) -> dict[str, Any] | None:
        """Return what is known about a notebook that was marked before.

        None if it is to be marked anew: if it or its lesson has changed since, or if a cell was
        stopped and there is another limit now.
        """
        try:
            record = json.loads(self.record(submission).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        as_before = not record["stopped"] or record["limit"] == self.limit
        return (
            record if as_before and record["fingerprint"] == self.fingerprint(submission) else None
        )

    def fingerprint(self, submission: Submission) -> str:
        """Digest what the marks depend on."""
        digest = hashlib.sha256(f"{FORMAT} {MARKS}".encode())
        for file in (submission.file, self.lessons[submission.lesson]):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def prepare(self, number: str) -> None:
        """Make the assignment of a lesson, unless it is there as the lesson is now.

        Raises
        ------
        EditionError
            If the lesson has other exercises than those that were marked.
        """
        lesson = nbformat.read(self.lessons[number], as_version=4)
        release = self.course.release(number)
        kept = self.course.source(number)
        if release.exists() and nbformat.read(kept, as_version=4) == source(lesson, number):
            return
        try:
            self.course.add(number, lesson)
        except NbGraderException as error:
            raise EditionError(
                f"Lesson {number} has other cells now than when this class was marked, so new "
                "marks would not be comparable.\n"
                f"What to do: move {self.course.folder} away, then run the same command again. All "
                "notebooks are then marked anew."
            ) from error

    def mark(self, submission: Submission) -> dict[str, Any]:
        """Run a notebook, write its page, and keep its marks.

        Returns
        -------
        dict
            ``marks`` for each check, ``notes`` for the teacher, cells that were ``stopped`` and
            with which ``limit``, the path of the ``page``.
        """
        number, student = submission.lesson, submission.student
        name = name_of(number)
        notebook = nbformat.read(submission.file, as_version=4)
        notes = repair(notebook, nbformat.read(self.course.release(number), as_version=4))
        submitted = self.course.folder / "submitted" / student / name / f"{name}.ipynb"
        submitted.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, submitted)
        config = self.course.settings(name, student)
        config.RunSubmission.limit = self.limit
        self.course.work(Autograde, config)
        self.course.work(GenerateFeedback, config)
        with self.course.gradebook() as gradebook:
            grades = gradebook.find_submission_notebook(name, name, student).grades
            scores = {grade.name: grade.auto_score for grade in grades}
        run = nbformat.read(
            self.course.folder / "autograded" / student / name / f"{name}.ipynb", as_version=4
        )
        record = {
            "fingerprint": self.fingerprint(submission),
            "marks": {name: scores[name] for name in map(grade_id, filter(is_grade, run.cells))},
            "notes": notes,
            "stopped": _stopped(run),
            "limit": self.limit,
            "page": f"feedback/{student}/{name}/{name}.html",
        }
        texts.write(self.record(submission), json.dumps(record, indent=1))
        return record


def _stopped(run: NotebookNode) -> list[str]:
    """Say which cells were stopped or left out."""
    words = {"CellTimeoutError": "took too long and was stopped", "LeftOut": "was left out"}
    return [
        f"cell {grade_id(cell) or number} {words[output.ename]}"
        for number, cell in enumerate(run.cells, 1)
        for output in cell.get("outputs", [])
        if output.get("ename") in words
    ]
