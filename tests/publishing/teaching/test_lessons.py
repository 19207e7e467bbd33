"""A lesson is divided into its sections, and nothing of it is lost."""

import nbformat

from publishing.teaching import lessons, minutes

text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def test_sections_hold_every_cell_once():
    for lesson in lessons.names():
        stored = lessons.read(lesson)
        parts = [cell for cells in lessons.sections(stored).values() for cell in cells]
        whole = minutes.contents(stored.cells)
        assert minutes.contents(parts) == whole


def test_sections_are_divided_inside_a_cell():
    found = lessons.sections(
        notebook(
            text("# T\n\nopening"), code("1"), text("end\n\n## A\n\nx\n\n### no\n\n## B"), code("2")
        )
    )
    assert {
        title: [cell.source.split("\n")[0] for cell in cells] for title, cells in found.items()
    } == {
        "A": ["# T", "1", "end", "## A"],
        "B": ["## B", "2"],
    }
