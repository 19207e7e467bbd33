"""Minutes are counted from what there is, and the notes plan as the lessons say."""

import re
from functools import cache

import markdown_it
import nbformat
import pytest

from helpers.paths import ROOT
from helpers.scale import classroom
from publishing.teaching import lessons, minutes

# Planned and computed minutes of a lesson may differ by this factor. Readers of normal text
# differ by 300/175 = 1.7 among themselves. A plan outside of it suits none of them.
LARGEST_RATIO = 300 / 175

LESSONS = lessons.names()


@cache
def by_lesson():
    return minutes.by_lesson()


@pytest.mark.parametrize("lesson", LESSONS)
def test_notes_are_about_the_sections_of_the_lesson_and_add_up(lesson):
    notebook = lessons.read(lesson)
    taught = [title for title in lessons.sections(notebook) if title not in minutes.HOME]
    notes = minutes.notes(lesson)
    assert list(notes) == taught
    assert sum(notes.values()) == minutes.time_line(notebook)[0]


@pytest.mark.parametrize("lesson", LESSONS)
def test_plan_and_computed_minutes_are_not_far_apart(lesson):
    row = by_lesson().loc[lesson]
    ratio = row["computed"] / row["planned"]
    assert 1 / LARGEST_RATIO < ratio < LARGEST_RATIO


@pytest.mark.parametrize("lesson", LESSONS)
def test_practice_leaves_time_for_each_exercise(lesson):
    """Two minutes at least once all is read: the shortest exercises are one line."""
    assert by_lesson().loc[lesson, "an exercise"] >= 2


@pytest.mark.parametrize("lesson", LESSONS)
def test_readme_says_the_same_minutes(lesson):
    teaching, practice = minutes.time_line(lessons.read(lesson))
    (line,) = re.findall(
        rf"^.*\(notebooks/{lesson}\.ipynb\).*\|$", (ROOT / "README.md").read_text(), re.M
    )[:1]
    assert line.endswith(f"| {teaching} + {practice} |")


@pytest.mark.parametrize("lesson", LESSONS)
def test_computed_minutes_hold_all_reading_and_running(lesson):
    found = lessons.sections(lessons.read(lesson))
    read = [c for title, cells in found.items() if title not in minutes.HOME[1:] for c in cells]
    measured = classroom.load()["lessons"]
    (seconds,) = [row["wall seconds"] for row in measured if row["lesson"] == lesson]
    expected = minutes.to_read(minutes.contents(read)) + seconds / 60
    assert by_lesson().loc[lesson, "computed"] == pytest.approx(expected)


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def code(source, *outputs):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs))


def html(text):
    return nbformat.v4.new_output("display_data", {"text/html": text, "text/plain": "..."})


text = nbformat.v4.new_markdown_cell


def test_minutes_are_the_sum_of_what_there_is():
    cells = [
        text(
            "One two *three* `four` [five](six.md#seven).\n"
            "\n"
            "| a | b |\n"
            "| --- | --- |\n"
            "\n"
            "> **Predict.** Eight?"
        ),
        code(
            "a = 1\n\nb = 2",
            html("<img src='x'>"),
            html("<table>"),
            nbformat.v4.new_output("stream"),
        ),
    ]
    counted = minutes.contents(cells)
    assert counted == {
        "words": 9,
        "predictions": 1,
        "lines": 2,
        "figures": 1,
        "tables": 1,
        "printed": 1,
    }
    assert minutes.to_read(counted) == pytest.approx(9 / 175 + 2 / 10 + (45 + 20 + 5 + 30) / 60)
    assert minutes.to_read(minutes.contents([])) == 0


def test_words_agree_with_those_of_a_markdown_parser():
    """Counted anew, from what a parser takes for text."""
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    for lesson in LESSONS:
        source = "\n\n".join(
            c.source for c in lessons.read(lesson).cells if c.cell_type == "markdown"
        )
        inline = [
            token
            for token in parser.parse(source)
            if token.type in ("inline", "fence", "html_block")
        ]
        parts = [part for token in inline for part in (token.children or [token])]
        prose = " ".join(part.content for part in parts if part.type != "html_inline")
        prose = re.sub(r"</?[a-z][^>\n]*>", " ", prose)
        count = len([word for word in prose.split() if re.search(r"\w", word)])
        assert minutes.words(source) == pytest.approx(count, rel=0.08), lesson


def test_time_line_is_read_in_its_one_form():
    for line, expected in (
        (
            "**Time**: 40 minutes to read and run (less than a minute, computing), 20 minutes for "
            "the quiz and the exercises.",
            (40, 20),
        ),
        (
            "**Time**: 5 minutes to read and run, 10 minutes for the quiz.\n"
            "**Needs**: 99 minutes for the quiz",
            (5, 10),
        ),
    ):
        assert minutes.time_line(notebook(text(line))) == expected
    with pytest.raises(ValueError, match="has no line"):
        minutes.time_line(notebook(text("Time: 40 minutes")))


def test_notes_without_minutes_are_named(tmp_path):
    (tmp_path / "00_x.md").write_text(
        "# T\n\n## A\n\n**3 minutes.** x\n\n## B\n\n**1 minute.** y\n\n## C\n\nz\n"
    )
    with pytest.raises(ValueError, match=r"no minutes for C\."):
        minutes.notes("00_x", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"write docs/teaching/notes/01_y\.md"):
        minutes.notes("01_y", tmp_path)


def test_unmeasured_lesson_is_named():
    with pytest.raises(ValueError, match="make study ARGS=costs"):
        minutes.running("09_new", classroom.load())
