"""The lessons for students, without solutions, and for teachers, with notes, from the one source.

``python -m publishing.editions student`` (``make student``) writes ``build/student``, and
``... teacher`` (``make teacher``) ``build/teacher``.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor
from nbformat import NotebookNode

from helpers import paths
from helpers.paths import DOCS, NOTEBOOKS, ROOT
from helpers.practice.exercises import parts
from helpers.scratch import scratch_folder
from publishing import texts

NOTES = DOCS / "teaching" / "notes"
BUILD = ROOT / "build"

# What a student needs to set the kit up and to run the lessons; tests, teacher's notes and the .py
# files are left out.
KIT = (
    "CITATION.cff",
    "LICENSE",
    "Makefile",
    "commands",
    "docs",
    "environment.yml",
    "helpers",
    "notebooks/quizzes",
    "pyproject.toml",
    "requirements",
    "scripts",
)

# In the introduction to the exercises of each lesson. Without solutions it would not be true.
FOLDED = re.compile(r"\s*Solutions are folded away\.")

# What marks a note among the cells of a lesson.
NOTE = "teacher-note"

# Read by jupytext before the kit's own settings.
NO_PAIRS = "# These notebooks are generated: Lab writes no .py beside them.\n"


class EditionError(ValueError):
    """An edition cannot be made; the message says what is wrong, where, and what to do."""


def for_students(lesson: NotebookNode) -> NotebookNode:
    """Return a lesson without its solutions and outputs.

    Parameters
    ----------
    lesson
        As it is stored; not changed.
    """
    edition = copy.deepcopy(lesson)
    without_solutions = TagRemovePreprocessor(remove_cell_tags={parts.SOLUTION})
    for preprocessor in (without_solutions, ClearOutputPreprocessor()):
        edition, _ = preprocessor.preprocess(edition, {})
    for cell in edition.cells:
        if cell.cell_type == "markdown":
            cell.source = FOLDED.sub("", cell.source)
    return edition


def for_teachers(lesson: NotebookNode, notes: Mapping[str, str]) -> NotebookNode:
    """Return a lesson with its solutions in place, and a teacher's notes below their headings.

    Parameters
    ----------
    lesson
        As it is stored, with outputs; not changed. The outputs of the exercises are dropped: they
        are those of the open stubs.
    notes
        For each heading of a section, without its ``##``, the note; an empty heading stands for the
        lesson's title.

    Raises
    ------
    EditionError
        If the lesson has no section of that name.
    """
    edition = copy.deepcopy(lesson)
    for part in parts.find(edition):
        stub, check, solution = (
            edition.cells[index] for index in (part.stub, part.check, part.solution)
        )
        stub.source = part.code
        for cell in (stub, check):
            cell.outputs, cell.execution_count = [], None
        solution.source = f"**Solution.** {part.why}"
    for cell in edition.cells:
        if cell.cell_type == "markdown":
            cell.source = FOLDED.sub(" Here the solutions are filled in.", cell.source)
    for heading, note in notes.items():
        _insert(edition, heading, note)
    return edition


def _insert(edition: NotebookNode, heading: str, note: str) -> None:
    """Put a note below a heading.

    Text that follows in the same cell goes into a cell of its own.
    """
    line = re.compile(rf"^## {re.escape(heading)}$" if heading else r"^# .+$", re.MULTILINE)
    for index, cell in enumerate(edition.cells):
        found = line.search(cell.source) if cell.cell_type == "markdown" else None
        if found is None:
            continue
        tags = cell.metadata.get("tags", [])
        pieces = (
            ("before", cell.source[: found.start()].strip(), tags),
            ("heading", found[0], tags),
            ("note", _quoted(note), [NOTE]),
            ("after", cell.source[found.end() :].strip(), tags),
        )
        cells = [
            nbformat.v4.new_markdown_cell(
                text, id=f"{cell.id}-{name}"[-64:], metadata={"tags": tags}
            )
            for name, text, tags in pieces
            if text
        ]
        edition.cells[index : index + 1] = cells
        return
    raise EditionError(f"The lesson has no section {heading!r}.")


def _quoted(note: str) -> str:
    """Return a note as a quotation that says whom it is for."""
    lines = f"**For the teacher.** {note}".splitlines()
    return "\n".join(f"> {line}".rstrip() for line in lines)


def read_notes(page: Path) -> dict[str, str]:
    """Read a page of teacher's notes.

    Parameters
    ----------
    page
        A title, what is about the whole lesson, and then a section for each section of the lesson.

    Returns
    -------
    dict
        For each heading, without its ``##``, its text; that about the whole lesson at the empty
        heading.
    """
    _, whole, *sections = re.split(r"^#{1,2} (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    del whole  # the title
    headings = ["", *sections[1::2]]
    texts = [sections[0], *sections[2::2]]
    return {
        heading.strip(): _seen_from_lesson(text.strip(), page.parent)
        for heading, text in zip(headings, texts, strict=True)
        if text.strip()
    }


def _seen_from_lesson(text: str, folder: Path) -> str:
    """Turn links that hold where the notes are into links that hold where the lessons are."""

    def turned(found: re.Match[str]) -> str:
        target = os.path.relpath(folder / found[1], NOTEBOOKS)
        return f"]({Path(target).as_posix()}"

    return re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)", turned, text)


def write_student(build: Path = BUILD) -> Path:
    """Write the student edition.

    Parameters
    ----------
    build
        The folder to write ``student`` into. One that is there is replaced, in the end and in one
        go.

    Returns
    -------
    Path
        The new folder.
    """
    with new_folder(build / "student") as folder:
        for name in KIT:
            _copy(name, folder)
        texts.write(folder / "README.md", texts.fill("student_readme.md"))
        texts.write(folder / "notebooks" / "jupytext.toml", NO_PAIRS)
        for lesson in paths.lessons():
            nbformat.write(for_students(_read(lesson)), folder / "notebooks" / lesson.name)
    return build / "student"


def write_teacher(build: Path = BUILD) -> Path:
    """Write the teacher edition.

    Parameters
    ----------
    build
        The folder to write ``teacher`` into. One that is there is replaced, in the end and in one
        go.

    Returns
    -------
    Path
        The new folder.

    Raises
    ------
    EditionError
        If a note is about a section that its lesson does not have.
    """
    with new_folder(build / "teacher") as folder:
        for name in ("LICENSE", "docs"):
            _copy(name, folder)
        texts.write(folder / "README.md", texts.fill("teacher_readme.md"))
        texts.write(folder / "notebooks" / "jupytext.toml", NO_PAIRS)
        for lesson in paths.lessons():
            page = NOTES / f"{lesson.stem}.md"
            notes = read_notes(page) if page.exists() else {}
            try:
                edition = for_teachers(_read(lesson), notes)
            except EditionError as error:
                raise EditionError(
                    f"{page.name} has a note for a section that {lesson.name} does not have. "
                    f"{error}\n"
                    "What to do: give the note, in docs/teaching/notes, the exact heading of the "
                    "section."
                ) from error
            nbformat.write(edition, folder / "notebooks" / lesson.name)
    return build / "teacher"


def _read(lesson: Path) -> NotebookNode:
    return nbformat.read(lesson, as_version=4)


def _copy(name: str, folder: Path) -> None:
    """Copy a file or folder of the kit."""
    source, target = ROOT / name, folder / name
    if source.is_dir():
        # What is for teachers stays behind, and so does what Lab keeps in hidden folders.
        left = shutil.ignore_patterns("__pycache__", "teaching", ".*")
        shutil.copytree(source, target, ignore=left)
    else:
        shutil.copy(source, target)


@contextlib.contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder to fill.

    Once it is full, it takes the place of the final one; an error leaves the old.

    Parameters
    ----------
    final
        Where the folder will be.
    """
    with scratch_folder(final.parent) as scratch:
        fresh = scratch / final.name
        fresh.mkdir()
        yield fresh
        if final.exists():
            final.rename(scratch / "old")
        fresh.rename(final)


def main(arguments: list[str]) -> int:
    """Write the edition that is named; return the exit status."""
    write = {"student": write_student, "teacher": write_teacher}[arguments[0]]
    try:
        folder = write()
    except EditionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{folder.relative_to(ROOT)} is written; its README.md says how to use it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
