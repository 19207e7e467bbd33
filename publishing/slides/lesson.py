"""A lesson as a flat list of pieces, in the order of its notebook.

The pieces are headings, questions, texts, and what cells show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from markdown_it.token import Token

from helpers.practice.exercises import parts
from publishing.slides import markup
from publishing.slides.outputs import Output, outputs_of

PREDICT = re.compile(r"\*\*Predict\.\*\*\s*")
QUIZ = re.compile(r"quizzes\.of_lesson\(\"(\w+)\"\)")
FOLD = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.DOTALL)

KINDS = {
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "math_block": "formula",
    "fence": "code",
}


@dataclass(frozen=True)
class Heading:
    """A heading of the lesson."""

    level: int
    text: str


@dataclass(frozen=True)
class Predict:
    """A question that comes before its result."""

    text: str


@dataclass(frozen=True)
class Text:
    """A block of Markdown.

    Parameters
    ----------
    kind
        ``paragraph``, ``list``, ``table``, ``formula``, ``code``, or ``fold``: what the lesson
        folds away.
    source
        The Markdown; of a fold what is inside.
    summary
        Of a fold: what stays visible.
    """

    kind: str
    source: str
    summary: str = ""


@dataclass(frozen=True)
class Run:
    """A cell with code, and what it shows; often nothing."""

    code: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class QuizCell:
    """The place where the lesson shows its quiz."""

    number: str


@dataclass(frozen=True)
class Stub:
    """The cell where a learner answers an exercise."""

    code: str


Piece = Heading | Predict | Text | Run | QuizCell | Stub


def read(file: Path) -> list[Piece]:
    """Read a notebook into pieces. Checks and solutions of exercises are left out.

    Parameters
    ----------
    file
        An ``.ipynb``.

    Raises
    ------
    ValueError
        If the file is no notebook, or does not begin with a heading of level 1.
    """
    try:
        notebook = nbformat.read(file, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError) as error:
        raise ValueError(
            f"{file.name} is no notebook ({str(error)[:80]}). What to do: bring it back from git, "
            "or run make notebooks."
        ) from None
    pieces = [piece for cell in notebook.cells for piece in _pieces(cell)]
    if not (pieces and isinstance(pieces[0], Heading) and pieces[0].level == 1):
        raise ValueError(
            f"{file.name} does not begin with `# NN · question`. What to do: give its first cell "
            "such a heading."
        )
    return pieces


def _pieces(cell: nbformat.NotebookNode) -> Iterator[Piece]:
    """Give the pieces of one cell."""
    tags = cell.metadata.get("tags", ())
    if parts.SOLUTION in tags or parts.CHECK in tags:
        return
    if cell.cell_type == "markdown":
        yield from markdown_pieces(cell.source)
    elif cell.cell_type == "code":
        quiz = QUIZ.search(cell.source)
        if quiz:
            yield QuizCell(quiz[1])
        elif parts.STUB in tags:
            yield Stub(cell.source)
        else:
            yield Run(cell.source, tuple(outputs_of(cell.outputs)))


def markdown_pieces(source: str) -> Iterator[Piece]:
    """Divide Markdown into headings, questions to predict, and blocks of text."""
    lines = source.splitlines()
    fold_ends = 0
    for token in markup.parse(source):
        if token.level or token.map is None or token.map[0] < fold_ends:
            continue
        first, last = token.map
        if token.type == "html_block" and token.content.startswith("<details>"):
            fold_ends = _end_of_fold(lines, first)
            last = fold_ends
        yield from _block(token, "\n".join(lines[first:last]).strip())


def _end_of_fold(lines: list[str], first: int) -> int:
    """Return the line after the end of what is folded away from a line on."""
    ends = (n for n in range(first, len(lines)) if "</details>" in lines[n])
    return next(ends, len(lines) - 1) + 1


def _block(token: Token, source: str) -> Iterator[Piece]:
    """Give the piece that begins with a token; closing tokens give none."""
    if token.type == "heading_open":
        yield Heading(int(token.tag[1]), source.lstrip("#").strip())
    elif token.type == "blockquote_open":
        quoted = re.sub(r"^> ?", "", source, flags=re.MULTILINE)
        if PREDICT.match(quoted):
            yield Predict(PREDICT.sub("", quoted, count=1))
        else:
            yield Text("paragraph", quoted)
    elif fold := FOLD.fullmatch(source):
        yield Text("fold", fold[2].strip(), fold[1])
    elif token.type in KINDS:
        yield Text(KINDS[token.type], source)
