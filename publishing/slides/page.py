"""Write decks: HTML that opens from disk, beside one folder with scripts, fonts and licences."""

from __future__ import annotations

import html
import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from publishing.slides import markup
from publishing.slides.rules import Deck, Section, Slide

HERE = Path(__file__).parent
SHARED = "shared"

# What is copied from packages: the package, the folder inside it, and the files with their names in
# the shared folder.
_REVEAL = ("sphinx-revealjs", "sphinx_revealjs/_static/revealjs")
_FONT = ("sphinx-revealjs", f"{_REVEAL[1]}/dist/theme/fonts/source-sans-pro")
_FACES = ("regular", "italic", "semibold", "semibolditalic")
COPIED = {
    _REVEAL: {
        "dist/reveal.js": "reveal.js",
        "dist/reveal.css": "reveal.css",
        "plugin/notes/notes.js": "notes.js",
        "LICENSE": "LICENSE-reveal.js.txt",
    },
    _FONT: {
        **{f"source-sans-pro-{face}.woff": f"source-sans-pro-{face}.woff" for face in _FACES},
        "LICENSE": "LICENSE-source-sans-pro.txt",
    },
    ("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax"): {
        "tex-svg-full.js": "mathjax.js"
    },
}
OWN = ("deck.css", "deck.js", "LICENSE-MathJax.txt")


@dataclass(frozen=True)
class Entry:
    """A deck on the index page."""

    name: str
    number: str
    question: str
    time: str
    slides: int


def deck_page(deck: Deck) -> str:
    """Return the page of one deck. It says about itself what the index needs."""
    page = _template("deck.html").render(
        deck=deck,
        title=f"{deck.number} · {_words(deck.question)}",
        about=json.dumps(_about(deck)),
        notes_of=notes_of,
    )
    return page.replace("<!-- formulas -->", _formulas(page))


def _about(deck: Deck) -> dict[str, str | int]:
    """Return what the index says of a deck."""
    time = re.search(r"\d+ minutes.*?(?=\.|$)", deck.time.partition("\n")[0])
    return {
        "number": deck.number,
        "question": markup.line_to_html(deck.question),
        "time": time[0] if time else "",
        "slides": len(deck.slides),
    }


def entry(file: Path) -> Entry | None:
    """Read from a deck what the index says of it.

    It is None where there is no deck, or one of an older kit.
    """
    if not file.is_file():
        return None
    about = re.search(r'<meta name="deck" content="([^"]*)">', file.read_text("utf-8"))
    return Entry(file.stem, **json.loads(html.unescape(about[1]))) if about else None


def _formulas(page: str) -> str:
    """Return what loads MathJax, where a page has a formula; it is as large as all the rest."""
    if r"\(" in page or r"\[" in page:
        return f'<script src="{SHARED}/mathjax.js"></script>'
    return ""


def index_page(entries: Sequence[Entry]) -> str:
    """Return the page that lists the decks."""
    return _template("index.html").render(entries=entries)


def notes_of(slide: Slide, section: Section) -> str:
    """Return the notes of a slide.

    They are its texts in full, and what the teacher's notes say of the section.
    """
    said = [f"<div>{markup.to_html(text)}</div>" for text in slide.notes]
    if section.notes:
        about = (
            f"About &ldquo;{markup.line_to_html(section.title)}&rdquo;"
            if section.title
            else "About this lesson"
        )
        said.append(
            "<div "
            f'class="teacher"><p><strong>{about}</strong></p>{markup.to_html(section.notes)}</div>'
        )
    return "\n".join(said)


def shared_files() -> Iterator[tuple[str, bytes]]:
    """Give the files that all decks share: name and content.

    Raises
    ------
    FileNotFoundError
        If a package is there without one of its files.
    """
    for (package, folder), files in COPIED.items():
        installed = importlib.metadata.distribution(package)
        for source, name in files.items():
            yield name, Path(installed.locate_file(f"{folder}/{source}")).read_bytes()
    for name in OWN:
        yield name, (HERE / name).read_bytes()
    yield "LICENSE-lessons.txt", (HERE.parents[1] / "LICENSE").read_bytes()


def write(file: Path, content: bytes) -> None:
    """Write a file so that at any time it is the old one or the new one.

    Leave an equal one alone.
    """
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=".unfinished-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as output:
            output.write(content)
        Path(unfinished).chmod(0o644)
        Path(unfinished).replace(file)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(HERE)
    return jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True).get_template(
        name
    )


def _words(source: str) -> str:
    """Return one line of Markdown as text, for the title of a page."""
    return re.sub(r"<[^>]+>", "", markup.line_to_html(source))
