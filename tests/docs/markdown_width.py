"""Which lines of Markdown are longer than they should be."""

from __future__ import annotations

import re

WIDTH = 100

FENCE = re.compile(r"\s*(```|~~~)")
FORMULA = re.compile(r"\s*\$\$")
# Rows of tables, headings, and HTML, which Markdown does not let us wrap.
WHOLE = re.compile(r"\s*(\||#{1,6} |<)")
UNBROKEN = re.compile(r"!?\[[^\]]*\]\([^)]*\)|<https?:[^>]*>|`[^`]*`|\$[^$]*\$")


def long_lines(markdown: str) -> list[str]:
    """Return the lines that are too long and could be wrapped.

    Left out are tables, headings, HTML, code in fences, formulas, and lines which are too long only
    because of a link, a code span or a formula that cannot be broken.
    """
    found = []
    fenced = formula = False
    for line in markdown.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and line.count("$$") % 2:
            formula = not formula
        elif fenced or formula or WHOLE.match(line) or FORMULA.match(line):
            continue
        elif len(line) > WIDTH and _breaks_before_the_end(line):
            found.append(line)
    return found


def _breaks_before_the_end(line: str) -> bool:
    """Tell whether the line has a space, outside of what cannot be broken, where it could end."""
    indent = len(line) - len(line.lstrip(" >-*0123456789."))
    unbroken = UNBROKEN.sub(lambda found: "x" * len(found[0]), line)
    return " " in unbroken[indent : WIDTH + 1]
