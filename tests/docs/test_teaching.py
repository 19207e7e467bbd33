"""The pages for teachers: as the lessons are now, plans that add up, and messages that the kit really prints."""

import ast
import dataclasses
import json
import re
import tomllib
from functools import cache

import markdown_it
import nbformat
import pytest

from commands.command_line import COMMANDS
from helpers.paths import ROOT
from publishing import lesson_minutes, lesson_plans, misconceptions, teaching_pages

TEACHING = ROOT / "docs" / "teaching"
LESSONS = lesson_minutes.names()
PLANS = {plan.name: plan for plan in lesson_plans.read()}


@pytest.mark.parametrize("name", teaching_pages.PAGES)
def test_page_is_as_the_lessons_are(name):
    assert (TEACHING / name).read_text("utf-8") == teaching_pages.PAGES[name](), "make teaching"


# --- minutes --------------------------------------------------------------------------------------


@cache
def by_lesson():
    return lesson_minutes.by_lesson()


@pytest.mark.parametrize("lesson", LESSONS)
def test_notes_are_about_the_sections_of_the_lesson_and_add_up(lesson):
    notebook = lesson_minutes.read(lesson)
    taught = [
        title for title in lesson_minutes.sections(notebook) if title not in lesson_minutes.HOME
    ]
    notes = lesson_minutes.notes(lesson)
    assert list(notes) == taught
    assert sum(notes.values()) == lesson_minutes.time_line(notebook)[0]


@pytest.mark.parametrize("lesson", LESSONS)
def test_plan_and_computed_minutes_are_not_far_apart(lesson):
    row = by_lesson().loc[lesson]
    ratio = row["computed"] / row["planned"]
    assert 1 / lesson_minutes.MOST_APART < ratio < lesson_minutes.MOST_APART


@pytest.mark.parametrize("lesson", LESSONS)
def test_practice_leaves_time_for_each_exercise(lesson):
    """Two minutes at least once all is read: the shortest exercises are one line."""
    assert by_lesson().loc[lesson, "an exercise"] >= 2


@pytest.mark.parametrize("lesson", LESSONS)
def test_readme_says_the_same_minutes(lesson):
    teaching, practice = lesson_minutes.time_line(lesson_minutes.read(lesson))
    (line,) = re.findall(
        rf"^.*\(notebooks/{lesson}\.ipynb\).*\|$", (ROOT / "README.md").read_text(), re.M
    )[:1]
    assert line.endswith(f"| {teaching} + {practice} |")


@pytest.mark.parametrize("lesson", LESSONS)
def test_computed_minutes_hold_all_reading_and_running(lesson):
    there = lesson_minutes.sections(lesson_minutes.read(lesson))
    read = [
        c for title, cells in there.items() if title not in lesson_minutes.HOME[1:] for c in cells
    ]
    measured = json.loads((ROOT / "docs" / "measurements.json").read_text("utf-8"))["lessons"]
    (seconds,) = [row["wall seconds"] for row in measured if row["lesson"] == lesson]
    expected = lesson_minutes.minutes(lesson_minutes.contents(read)) + seconds / 60
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
    counted = lesson_minutes.contents(cells)
    assert counted == {
        "words": 9,
        "predictions": 1,
        "lines": 2,
        "figures": 1,
        "tables": 1,
        "printed": 1,
    }
    assert lesson_minutes.minutes(counted) == pytest.approx(
        9 / 175 + 2 / 10 + (45 + 20 + 5 + 30) / 60
    )
    assert lesson_minutes.minutes(lesson_minutes.contents([])) == 0


def test_words_agree_with_those_of_a_markdown_parser():
    """Counted anew, from what a parser takes for text."""
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    for lesson in LESSONS:
        source = "\n\n".join(
            c.source for c in lesson_minutes.read(lesson).cells if c.cell_type == "markdown"
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
        assert lesson_minutes.words(source) == pytest.approx(count, rel=0.08), lesson


def test_sections_hold_every_cell_once():
    for lesson in LESSONS:
        there = lesson_minutes.read(lesson)
        parts = [cell for cells in lesson_minutes.sections(there).values() for cell in cells]
        whole = lesson_minutes.contents(there.cells)
        assert lesson_minutes.contents(parts) == whole


def test_sections_are_divided_inside_a_cell():
    found = lesson_minutes.sections(
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
        assert lesson_minutes.time_line(notebook(text(line))) == expected
    with pytest.raises(ValueError, match="has no line"):
        lesson_minutes.time_line(notebook(text("Time: 40 minutes")))


def test_notes_without_minutes_are_named(tmp_path):
    (tmp_path / "00_x.md").write_text(
        "# T\n\n## A\n\n**3 minutes.** x\n\n## B\n\n**1 minute.** y\n\n## C\n\nz\n"
    )
    with pytest.raises(ValueError, match=r"no minutes for C\."):
        lesson_minutes.notes("00_x", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"write docs/teaching/notes/01_y\.md"):
        lesson_minutes.notes("01_y", tmp_path)


def test_unmeasured_lesson_is_named():
    with pytest.raises(ValueError, match="make bench"):
        lesson_minutes.running("09_new")


# --- plans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_plan_has_no_fault(plan):
    assert lesson_plans.faults(plan) == []


def test_there_is_a_plan_for_a_lesson_a_double_lesson_and_half_a_day():
    assert [plan.minutes for plan in PLANS.values()] == [45, 90, 210]
    assert all(plan.rows[-1].minutes >= 3 and not plan.rows[-1].lesson for plan in PLANS.values())
    assert all(any(row.predict for row in plan.rows) for plan in PLANS.values())


def rows_of(**changes):
    rows = list(PLANS["45 minutes: how many hidden layers?"].rows)
    rows[1] = dataclasses.replace(rows[1], **changes)
    return tuple(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 7}, "46 minutes together"),
        ({"minutes": 5}, "5 minutes for what the notes plan 6"),
        ({"because": "x"}, "not fewer"),
        ({"lesson": "03"}, "no lesson '03'"),
        ({"sections": ("What is a layer?",)}, "no section 'What is a layer?'"),
        ({"predict": "What share of the 1.3 million"}, "does not ask"),
        ({"exercises": (9,)}, "no exercise 9"),
        ({"lesson": "", "predict": ""}, "names no lesson"),
        ({"minutes": 80}, "without a pause"),
    ],
)
def test_fault_of_a_plan_is_found(changes, message):
    plan = dataclasses.replace(
        PLANS["45 minutes: how many hidden layers?"], rows=rows_of(**changes)
    )
    assert any(message in fault for fault in lesson_plans.faults(plan)), lesson_plans.faults(plan)


def test_clock_runs_from_row_to_row():
    for plan in PLANS.values():
        told = [clock.split(":") for clock in lesson_plans.clock(plan)]
        starts = [60 * int(hours) + int(minutes) for hours, minutes in told]
        ends = [start + row.minutes for start, row in zip(starts, plan.rows, strict=True)]
        assert starts == [0, *ends[:-1]]
        assert ends[-1] == plan.minutes


# --- misconceptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_misconception_has_its_place(lesson):
    table = misconceptions.of_lesson(lesson)
    source = (ROOT / "notebooks" / f"{lesson}.py").read_text("utf-8")
    section = source.partition("# ## What you know now")[2].partition("# ## ")[0]
    assert len(table) == section.count("\n# | ") - 2 >= 4
    assert not set(table["section"]) & set(lesson_minutes.HOME)


def test_a_place_that_is_named_needlessly_or_no_more_is_found():
    named = tomllib.loads(misconceptions.FILE.read_text("utf-8"))
    for lesson, places in named.items():
        assert not set(places) - set(misconceptions.of_lesson(lesson)["thought"])


def test_a_misconception_without_a_place_is_named(tmp_path):
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    with pytest.raises(ValueError, match="Data must be normalised before scVI"):
        misconceptions.of_lesson("00_setup", empty)


# --- pages written by hand ------------------------------------------------------------------------


def test_two_questions_to_discuss_for_each_lesson():
    page = (TEACHING / "discussion.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    asked = [re.search(r"notebooks/(\w+)\.ipynb", row)[1] for row in rows]
    assert asked == sorted([*LESSONS, *LESSONS])
    assert len({row.split("|")[2] for row in rows}) == len(rows)
    assert all(len(row.split("|")[3].split()) > 8 for row in rows)


@cache
def printed():
    """Return all texts in the code; what is filled in, as three dots."""
    files = [
        *ROOT.glob("commands/*.py"),
        *ROOT.glob("helpers/**/*.py"),
        ROOT / "commands/find-python",
    ]
    texts = []
    for file in files:
        source = file.read_text("utf-8")
        if file.suffix != ".py":
            texts.append(source)
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "..." for part in node.values
                ]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"%d|%s", "...", node.value))
    return [" ".join(each.split()) for each in texts]


# Messages of Python and pip.
OF_OTHERS = (
    "ModuleNotFoundError: No module named 'helpers'",
    "No matching distribution found for wheel",
)


@pytest.mark.parametrize("name", ["trouble.md", "offline.md"])
def test_quoted_messages_are_those_of_the_kit(name):
    quoted = re.findall(r"`` ?(.+?) ?``|`([^`]+)`", (TEACHING / name).read_text("utf-8"))
    quoted = [one or two for one, two in quoted]
    messages = [
        each
        for each in quoted
        if each[0].isupper() and " " in each and not each.startswith(OF_OTHERS)
    ]
    messages += [
        each
        for each in quoted
        if each.startswith(("this folder", "may end", "takes up", "... needs", "run `make"))
    ]
    assert messages
    for message in messages:
        found = [
            each for each in printed() if all(part.strip() in each for part in message.split("..."))
        ]
        assert found, message


@pytest.mark.parametrize("file", sorted(TEACHING.glob("*.md")), ids=lambda file: file.name)
def test_commands_of_the_pages_exist(file):
    said = file.read_text("utf-8")
    named = re.findall(r"`make ([a-z-]+)", said) + re.findall(r"^make ([a-z-]+)", said, re.M)
    named += re.findall(r"(?:py -3\.12|python3(?:\.12)?) commands ([a-z-]+)", said)
    assert not set(named) - set(COMMANDS)
