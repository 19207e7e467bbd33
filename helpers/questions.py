"""What people ask about scVI in public, answered: the pages of docs/questions/, and a search.

The pages are what people edit and read. Here they are taken apart into entries, so that a message
or a question in one's own words finds the entries that fit, without a network. How an entry is
written is said in docs/questions/index.md.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from helpers.paths import DOCS, NOTEBOOKS

QUESTIONS = DOCS / "questions"
FIELDS = ("See", "Sources", "Checked", "Sure")
# How an answer is known.
EVIDENCE = ("measured here", "read in the source", "maintainers say", "open")

_FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_FIELD = re.compile(r"^- \*\*(\w+):\*\* (.*(?:\n  .*)*)$", re.MULTILINE)
_WORD = r"(?u)[^\W\d_]+"
_MESSAGE = re.compile(r"\b\w+(?:Error|Exception|Warning)\b(?=:)")
_LINK = re.compile(r"\]\(([^)#\s]*)((?:#[^)\s]*)?)\)")
# An entry that fits less than this, in cosine similarity, fits by chance.
_LEAST = 0.2


@dataclass(frozen=True)
class Block:
    """A block of code or text of an entry: what stands behind the fence, and what is in it."""

    kind: str
    text: str


@dataclass(frozen=True)
class Entry:
    """A question with its answer.

    Attributes
    ----------
    page
        The name of the page without its ending, such as "training".
    question
        The heading.
    answer
        The sentences below it, on one line.
    blocks
        Code and messages, in the order of the page.
    fields
        The list at the end: "See", "Sources", "Checked" and "Sure".
    """

    page: str
    question: str
    answer: str
    blocks: tuple[Block, ...]
    fields: dict[str, str]

    @property
    def anchor(self) -> str:
        """The end of its address, as GitHub and the book make it of a heading."""
        return re.sub(r"[^\w -]", "", self.question.lower()).replace(" ", "-")

    @property
    def messages(self) -> tuple[str, ...]:
        """The errors and warnings that it answers, as they are printed."""
        return tuple(block.text for block in self.blocks if block.kind == "text")

    def markdown(self) -> str:
        """Return the entry as Markdown whose links work from a lesson."""
        address = f"{QUESTIONS / self.page}.md"
        blocks = "\n\n".join(
            f"```{block.kind.partition(' ')[0]}\n{block.text}\n```" for block in self.blocks
        )
        text = "\n\n".join(
            part
            for part in (self.answer, blocks, f"See {self.fields['See']}. *{self._known()}*")
            if part
        )
        return f"**[{self.question}]({_from_a_lesson(address)}#{self.anchor})**\n\n" + _LINK.sub(
            lambda link: f"]({_from_a_lesson(QUESTIONS / link[1]) if link[1] else ''}{link[2]})",
            text,
        )

    def _known(self) -> str:
        sure = self.fields["Sure"]
        return f"{sure[0].upper()}{sure[1:]}; checked with {self.fields['Checked']}."


class Entries(tuple[Entry, ...]):
    """Entries in order, best first, which a notebook shows as text with links."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return them as text, for a terminal."""
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        if not self:
            return (
                "No entry fits. What to do: give the last line of the error, or the words that "
                f"you would search for; or look through {_from_a_lesson(QUESTIONS / 'index.md')}."
            )
        return "\n\n---\n\n".join(entry.markdown() for entry in self)


def find(asked: str | BaseException, n: int = 3) -> Entries:
    """Return the entries that fit a question, a message or an error, best first.

    Parameters
    ----------
    asked
        Words, a message as it was printed, or the error itself.
    n
        How many entries to return at most; fewer if fewer fit, none if none does.

    Raises
    ------
    FileNotFoundError
        As ``entries``.
    ValueError
        If nothing is asked, or ``n`` is less than 1.

    Examples
    --------
    >>> find("Expected more than 1 value per channel")[0].page
    'training'
    """
    if n < 1:
        raise ValueError(f"n={n} asks for no entry. What to do: give a number from 1 on.")
    words = _said(asked) if isinstance(asked, BaseException) else _last_message(asked)
    if not words.strip():
        raise ValueError("Nothing was asked. What to do: give an error, or words to search for.")
    found, indices = _indices()
    fits = np.sum([index.fits(words) for index in indices], axis=0)
    best = np.argsort(-fits, kind="stable")[:n]
    return Entries(found[place] for place in best if fits[place] >= _LEAST)


def entries(folder: Path = QUESTIONS) -> list[Entry]:
    """Return all entries, page by page in the order of their names.

    Raises
    ------
    FileNotFoundError
        If the folder has no pages.
    ValueError
        If an entry lacks a field; it says which, where.
    """
    pages = sorted(file for file in folder.glob("*.md") if file.stem != "index")
    if not pages:
        raise FileNotFoundError(
            f"There are no pages of questions in {folder}. What to do: copy the folder "
            "docs/questions/ of the kit there."
        )
    return [entry for page in pages for entry in parse(page.read_text("utf-8"), page.stem)]


def parse(markdown: str, page: str) -> list[Entry]:
    """Return the entries of a page.

    Parameters
    ----------
    markdown
        The text of the page. An entry begins with a heading of the second level.
    page
        The name of the page without its ending.

    Raises
    ------
    ValueError
        As ``entries``.
    """
    # A comment in a block of code may look like a heading: each line of a block is set off first.
    covered = _FENCE.sub(lambda fence: re.sub("^", "\0", fence[0], flags=re.MULTILINE), markdown)
    return [
        _entry(part.replace("\0", ""), page)
        for part in re.split(r"^## ", covered, flags=re.MULTILINE)[1:]
    ]


def _entry(text: str, page: str) -> Entry:
    question, _, body = text.partition("\n")
    blocks = tuple(Block(fence[1], fence[2].rstrip("\n")) for fence in _FENCE.finditer(body))
    body = _FENCE.sub("", body)
    fields = {field[1]: _one_line(field[2]) for field in _FIELD.finditer(body)}
    missing = [name for name in FIELDS if name not in fields]
    if missing:
        raise ValueError(
            f"docs/questions/{page}.md: the entry '{question}' lacks {', '.join(missing)}. "
            "What to do: end it with the list that docs/questions/index.md shows."
        )
    return Entry(page, question.strip(), _one_line(_FIELD.sub("", body)), blocks, fields)


def _said(error: BaseException) -> str:
    """Return what an error says, and what the errors say from which it was raised."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    notes = (note for each in causes for note in getattr(each, "__notes__", ()))
    return "\n".join((*(f"{type(each).__name__}: {each}" for each in causes), *notes))


def _last_message(text: str) -> str:
    """Return a text from its last error or warning on, without the calls that led there."""
    messages = list(_MESSAGE.finditer(text))
    return text[messages[-1].start() :] if messages else text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _from_a_lesson(path: str | Path) -> str:
    return os.path.relpath(path, NOTEBOOKS).replace(os.sep, "/")


@functools.cache
def _indices() -> tuple[list[Entry], list[_Index]]:
    """Index all entries: their headings and messages, and all that they say."""
    found = entries()
    heads = ["\n".join((entry.question, *entry.messages)) for entry in found]
    wholes = [
        "\n".join(
            (
                head,
                entry.page.replace("_", " "),
                entry.answer,
                *(block.text for block in entry.blocks),
            )
        )
        for head, entry in zip(heads, found, strict=True)
    ]
    words = {"token_pattern": _WORD, "ngram_range": (1, 2), "stop_words": "english"}
    # Parts of words find what is spelled or inflected in another way.
    parts = {"analyzer": "char_wb", "ngram_range": (4, 5)}
    return found, [
        _Index.of(heads, 1.0, words),
        _Index.of(wholes, 1.0, words),
        _Index.of(heads, 0.5, parts),
    ]


@dataclass(frozen=True)
class _Index:
    weight: float
    vectorizer: TfidfVectorizer
    texts: Any  # a sparse matrix, entries × words

    @classmethod
    def of(cls, texts: list[str], weight: float, how: dict[str, Any]) -> _Index:
        vectorizer = TfidfVectorizer(sublinear_tf=True, **how)
        return cls(weight, vectorizer, vectorizer.fit_transform(texts))

    def fits(self, words: str) -> np.ndarray:
        """Return how well each entry fits, as weighted cosine similarity."""
        return self.weight * (self.texts @ self.vectorizer.transform([words]).T).toarray().ravel()
