"""Write assignments to hand out.

``python -m publishing.assignments.release 03`` (``make assignment ARGS=03``) writes
``build/assignment``; without a number, of all lessons that have exercises.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from helpers.paths import NOTEBOOKS, ROOT
from publishing import texts
from publishing.assignments.course import LIMIT, MARKS, Course, with_lessons
from publishing.editions import BUILD, EditionError, new_folder


def write(numbers: list[str], lessons: Path = NOTEBOOKS, build: Path = BUILD) -> Path:
    """Write the course folder.

    Parameters
    ----------
    numbers
        Of lessons; empty for all that have exercises.
    lessons
        The folder of the lessons.
    build
        The folder to write ``assignment`` into. One that is there is replaced, in the end and in
        one go.

    Returns
    -------
    Path
        The new folder.

    Raises
    ------
    EditionError
        If a lesson has no exercises.
    """
    known = with_lessons(lessons)
    for number in numbers:
        if number not in known:
            raise EditionError(
                f"There is no lesson {number!r} with exercises. There are: {', '.join(known)}.\n"
                'What to do: name lessons by their numbers: make assignment ARGS="03 05b", or none '
                "for all."
            )
    chosen = numbers or list(known)
    with new_folder(build / "assignment") as folder:
        course = Course(folder)
        for number in chosen:
            course.add(number, nbformat.read(known[number], as_version=4))
        release = ", ".join(
            f"`{course.release(number).relative_to(folder).as_posix()}`" for number in chosen
        )
        readme = texts.fill(
            "assignment_readme.md",
            names=", ".join(f"lesson {number}" for number in chosen),
            release=release,
            marks=MARKS,
            limit=LIMIT,
        )
        texts.write(folder / "README.md", readme)
    return build / "assignment"


def main(arguments: list[str]) -> int:
    """Write the course folder for the lessons that are named; return the exit status."""
    try:
        folder = write(arguments)
    except EditionError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{folder.relative_to(ROOT)} is written; its README.md says how to hand out and "
        "how to mark."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
