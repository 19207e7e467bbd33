"""The words of the glossary, and where the lessons use them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.paths import DOCS

PAGE = DOCS / "glossary.md"

LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./docs/)?glossary\.md#([^)\s]+)\)")

# What is no prose: code, formulas, headings, tags, addresses of links, and the rules of tables.
NO_PROSE = re.compile(
    r"^```.*?^```|^#+ .*?$|\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|<[^>\n]+>|\]\([^)\n]*\)",
    re.DOTALL | re.MULTILINE,
)

# Words that are everyday words as well: "no network is needed", "no loss for the model". Which
# sense is meant only a reader can tell, so of these only linked uses count.
EVERYDAY = frozenset(
    {
        "Cloud",
        "Cluster of computers",
        "Kernel",
        "Label",
        "Loss",
        "Mixture",
        "Network",
        "Neuron",
        "Step",
    }
)

# Other names of a word, beside those that lessons link.
ALSO: Mapping[str, tuple[str, ...]] = {
    "ELBO": ("evidence lower bound",),
    "Held-out cells": ("held out", "held-out"),
    "Latent space": ("latent numbers",),
}


@dataclass(frozen=True)
class Use:
    """A word of the glossary in a text.

    Parameters
    ----------
    term
        The title of its entry.
    start, end
        Its place in the text.
    linked
        Whether it is a link to that entry.
    """

    term: str
    start: int
    end: int
    linked: bool


def entries(page: str | None = None) -> dict[str, str]:
    """Return what the glossary says: title and text, in its order."""
    text = PAGE.read_text("utf-8") if page is None else page
    _, *found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {
        title.strip(): body.strip() for title, body in zip(found[::2], found[1::2], strict=True)
    }


def anchor(title: str) -> str:
    """Return the anchor of an entry, as GitHub and JupyterLab make it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def links(markdown: str) -> list[tuple[str, str]]:
    """Return the links to the glossary in a text: what is linked, and the anchor."""
    return LINK.findall(markdown)


def written(markdowns: Sequence[str], titles: Sequence[str]) -> dict[str, set[str]]:
    """Return for each title the ways in which it is written.

    They are the title itself, other names, what lessons link to it, and plurals.

    Parameters
    ----------
    markdowns
        The texts of the lessons.
    titles
        Of the glossary.
    """
    linked = [link for markdown in markdowns for link in links(markdown)]
    found = {}
    for title in titles:
        ways = {title, *ALSO.get(title, ())}
        ways |= {text for text, target in linked if target == anchor(title)}
        ways = {" ".join(way.strip("*`_").split()).lower() for way in ways}
        ways |= {f"{way}s" for way in ways}
        found[title] = ways | {f"{way[:-2]}ies" for way in ways if way.endswith("ys")}
    return found


def uses(markdown: str, written: Mapping[str, set[str]]) -> list[Use]:
    """Find the words of the glossary in the prose of a text, the longest where several begin.

    Parameters
    ----------
    markdown
        The text.
    written
        As from ``written``.

    Returns
    -------
    list of Use
        In the order of the text. A link is a use, whatever it says.
    """
    title_of = {anchor(title): title for title in written}
    meant = {form: title for title, ways in written.items() for form in ways}
    longest_first = sorted(meant, key=len, reverse=True)
    pattern = re.compile(
        r"(?<![\w-])(" + "|".join(map(re.escape, longest_first)) + r")(?![\w-])", re.IGNORECASE
    )
    prose = NO_PROSE.sub(lambda found: " " * len(found[0]), markdown).replace("\n", " ")
    found = [
        Use(title_of[link[2]], link.start(1), link.end(1), linked=True)
        for link in LINK.finditer(markdown)
        if link[2] in title_of
    ]
    inside = [(use.start, use.end) for use in found]
    inside += [link.span() for link in re.finditer(r"\[[^\]]+\]\([^)\s]+\)", markdown)]
    for match in pattern.finditer(prose):
        if not any(start <= match.start() < end for start, end in inside):
            found.append(Use(meant[match[1].lower()], *match.span(1), linked=False))
    return sorted(found, key=lambda use: use.start)


def first_uses(lessons: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, int, Use, bool]]:
    """Find where the course uses each word of the glossary first.

    Parameters
    ----------
    lessons
        For each lesson, in order, the texts of its Markdown cells. The first, which says what is to
        come, is not looked at.

    Returns
    -------
    dict
        For each title that is used: the lesson, the number of the text in it, the use, and whether
        the paragraph with it has a link to the entry. Of everyday words only linked uses count.
    """
    ways = written([text for texts in lessons.values() for text in texts], list(entries()))
    found: dict[str, tuple[str, int, Use, bool]] = {}
    for lesson, texts in lessons.items():
        for number, text in enumerate(texts[1:], 1):
            for use in uses(text, ways):
                if use.term in found or (use.term in EVERYDAY and not use.linked):
                    continue
                found[use.term] = (lesson, number, use, _linked_nearby(text, use))
    return found


def _linked_nearby(markdown: str, use: Use) -> bool:
    """Tell whether a use or the rest of its paragraph links the entry.

    An example: "**UMAP** ([uniform manifold ...](...))".
    """
    # Before it there is none: a link is a use, and would be the first.
    rest = markdown[use.start :].partition("\n\n")[0]
    return use.linked or anchor(use.term) in {target for _, target in links(rest)}
