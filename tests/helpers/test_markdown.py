"""A table in Markdown says what it was given, whatever is in it."""

from markdown_it import MarkdownIt

from helpers import markdown


def cells(text):
    """Return the rows of a table as a reader of Markdown sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    entries = [token.content for token in tokens if token.type == "inline"]
    width = text.splitlines()[1].count("---")
    return [entries[start : start + width] for start in range(0, len(entries), width)]


def test_a_reader_of_markdown_finds_heads_and_entries():
    text = markdown.table(["name", "cells"], [["a", 3], ["b|c", "1,200"]])
    assert cells(text) == [["name", "cells"], ["a", "3"], ["b|c", "1,200"]]


def test_columns_of_numbers_are_aligned_to_the_right():
    assert markdown.table(["name", "cells"], [], ["cells"]).splitlines()[1] == "| --- | ---: |"


def test_another_row_changes_no_other_line():
    rows = [["a", 1], ["a far longer name", 1_000_000]]
    short, long = (markdown.table(["name", "cells"], rows[:n]) for n in (1, 2))
    assert long.startswith(short)
