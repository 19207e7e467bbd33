"""Make the slides.

``python -m publishing.slides`` (``make slides``) makes those of all lessons, and
``python -m publishing.slides 03 05b`` those of some.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from helpers import paths
from publishing.slides import lesson, page, rules

SLIDES = paths.ROOT / "build" / "slides"


def main(numbers: Sequence[str]) -> int:
    """Make all decks, or those of some lessons, in ``build/slides``."""
    try:
        build(paths.NOTEBOOKS, paths.DOCS / "teaching" / "notes", SLIDES, numbers)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(notebooks: Path, notes: Path, target: Path, numbers: Sequence[str] = ()) -> None:
    """Make decks of notebooks, and an index of all that are there.

    Everything is made before anything is written, and each file is replaced in one step.

    Parameters
    ----------
    notebooks
        The folder of the lessons, ``NN_topic.ipynb``.
    notes
        The folder of the teacher's notes, ``NN_topic.md``; a lesson may have none.
    target
        The folder that the decks go into.
    numbers
        Of the lessons, such as ``"03"``; none means all.

    Raises
    ------
    ValueError
        If a lesson is not there, or cannot be turned into slides.
    """
    lessons = {file.stem.partition("_")[0]: file for file in paths.lessons(notebooks)}
    for number in numbers:
        if number not in lessons:
            raise ValueError(
                f"There is no lesson {number!r}. What to do: take one of {', '.join(lessons)}."
            )
    pages = {}
    for number, file in lessons.items():
        if not numbers or number in numbers:
            start = time.monotonic()
            deck = deck_of(file, notes / f"{file.stem}.md")
            pages[f"{file.stem}.html"] = page.deck_page(deck).encode()
            taken = time.monotonic() - start
            print(f"{file.stem}: {len(deck.slides)} slides ({taken:.1f} s)", file=sys.stderr)
    for name, content in page.shared_files():
        page.write(target / page.SHARED / name, content)
    for name, content in pages.items():
        page.write(target / name, content)
    entries = [page.entry(target / f"{file.stem}.html") for file in lessons.values()]
    page.write(target / "index.html", page.index_page(list(filter(None, entries))).encode())
    remove_others(target, {f"{file.stem}.html" for file in lessons.values()} | {"index.html"})


def deck_of(notebook: Path, notes: Path) -> rules.Deck:
    """Make the slides of one lesson.

    Raises
    ------
    ValueError
        If that fails, with the name of the lesson.
    """
    teachers_notes = notes.read_text("utf-8") if notes.is_file() else ""
    try:
        return rules.deck(lesson.read(notebook), teachers_notes)
    except ValueError as error:
        raise ValueError(f"Lesson {notebook.stem}: {error}") from None


def remove_others(target: Path, known: set[str]) -> None:
    """Remove decks of lessons that are no more."""
    for file in target.glob("*.html"):
        if file.name not in known:
            file.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
