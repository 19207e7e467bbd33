"""Markdown to HTML as slides need it.

They need formulas for MathJax, no links, and of a paragraph the first sentences.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^()\s]*\)")
SENTENCE_ENDS = re.compile(r"(?<=[.!?])([*_\")]*)\s+(?=[A-Z0-9`*_\"($])")
UNDIVIDED = re.compile(r"`[^`]+`|\$[^$]+\$")
# With such a beginning a sentence alone says too little: "Step 2."
SHORT_SENTENCE = 40


def _formula(content: str, options: dict) -> str:
    opening, closing = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{opening}{html.escape(content.strip())}{closing}"


_PARSER = (
    MarkdownIt("commonmark")
    .enable("table")
    .use(dollarmath_plugin, allow_digits=False, renderer=_formula)
)


def parse(source: str) -> Sequence[Token]:
    """Return the tokens of a Markdown text."""
    return _PARSER.parse(source)


def to_html(source: str) -> str:
    """Turn Markdown into HTML.

    Links become their text: what they lead to does not travel with the slides.
    """
    return _PARSER.render(without_links(source)).replace("<th>", '<th scope="col">').strip()


def line_to_html(source: str) -> str:
    """Turn one line of Markdown, such as a heading, into HTML without a paragraph around it."""
    return _PARSER.renderInline(without_links(source)).strip()


def without_links(source: str) -> str:
    """Replace each link by its text."""
    return LINK.sub(r"\1", source)


def sentences(source: str) -> list[str]:
    """Divide a paragraph of Markdown into sentences.

    >>> sentences("**Step 2.** Draw a curve. It is smooth.")
    ['**Step 2.**', 'Draw a curve.', 'It is smooth.']
    """
    text = " ".join(source.split())
    # What is code or a formula may look like the end of a sentence.
    hidden = UNDIVIDED.sub(lambda found: "`" + "x" * (len(found[0]) - 2) + "`", text)
    ends = [
        found.end()
        for found in SENTENCE_ENDS.finditer(hidden)
        if hidden.count("(", 0, found.end()) == hidden.count(")", 0, found.end())
    ]
    return [
        text[first:last].strip() for first, last in pairwise([0, *ends, len(text)]) if first < last
    ]


def beginning(source: str, longest: int) -> str:
    """Return the first sentences of a paragraph.

    They are all that fit into a number of characters, at least one of some length.
    """
    text = without_links(source)
    if len(text) <= longest:
        return text
    kept = ""
    for sentence in sentences(text):
        longer = f"{kept} {sentence}".strip()
        if len(longer) > longest and len(kept) >= SHORT_SENTENCE:
            break
        kept = longer
    return kept


def last_sentence(source: str) -> str:
    """Return the last sentence of a paragraph."""
    return sentences(without_links(source))[-1]
