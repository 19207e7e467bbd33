"""The rules by which a lesson becomes slides, on small notebooks, and what is written."""

import importlib.metadata
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from commands import command_line
from publishing.slides import lesson, markup, page, rules
from publishing.slides.__main__ import build, main

TITLE = (
    "# 98 · A question?\n"
    "\n"
    "Why it is asked.\n"
    "\n"
    "**You will be able to**\n"
    "\n"
    "- do it.\n"
    "\n"
    "**Time**: 5 minutes (or so)."
)


def run(code: str, *texts: str):
    """Return a cell that printed texts."""
    return new_code_cell(
        code, outputs=[new_output("stream", name="stdout", text=text) for text in texts]
    )


def slides_of(tmp_path: Path, *cells, notes: str = "") -> list[rules.Slide]:
    """Return the slides of a notebook with these cells, behind its title."""
    file = tmp_path / "98_small.ipynb"
    sources = [
        new_markdown_cell(each) if isinstance(each, str) else each for each in (TITLE, *cells)
    ]
    nbformat.write(new_notebook(cells=sources), file)
    return rules.deck(lesson.read(file), notes).slides


def kinds(slides: list[rules.Slide]) -> list[str]:
    return [slide.kind for slide in slides]


def body(slide: rules.Slide) -> str:
    return "\n".join(slide.body)


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "**Step 2.** Draw a curve. It is smooth.",
            ["**Step 2.**", "Draw a curve.", "It is smooth."],
        ),
        ("About 0.5 of them, e.g. the first.", ["About 0.5 of them, e.g. the first."]),
        ('He says: "No." It is so.', ['He says: "No."', "It is so."]),
        ("It is (nearly. Or not.) so. Yes.", ["It is (nearly. Or not.) so.", "Yes."]),
        (
            'Give `{"a": None, "b": 1}. X` to it. Then go.',
            ['Give `{"a": None, "b": 1}. X` to it.', "Then go."],
        ),
        ("With $p: X. Y$ it ends. So.", ["With $p: X. Y$ it ends.", "So."]),
    ],
)
def test_sentences(source, expected):
    assert markup.sentences(source) == expected


def test_beginning_is_whole_sentences_and_never_a_fragment():
    text = (
        "**Step 1.** This sentence is the one that says it. And this one adds a little more to it."
    )
    assert markup.beginning(text, 60) == "**Step 1.** This sentence is the one that says it."
    assert markup.beginning(text, 500) == text
    long = "word " * 100 + "end."
    assert markup.beginning(long, 60) == long.strip()


def test_links_become_their_text():
    made = markup.to_html(
        "The [linear layer](../docs/glossary.md#linear-layer) and [`x`](a.ipynb)."
    )
    assert made == "<p>The linear layer and <code>x</code>.</p>"


def test_formulas_are_left_for_mathjax_and_prices_are_none():
    made = markup.to_html(r"So $a_1 < b_2$ is *it*.")
    assert r"\(a_1 &lt; b_2\)" in made
    assert "<em>it</em>" in made
    assert r"\[x = y\]" in markup.to_html("$$x = y$$")
    assert "\\(" not in markup.to_html("It costs 5$ or 6$ here.")


# --- rules ----------------------------------------------------------------------------------------


def test_title_has_the_question_the_promise_and_the_minutes(tmp_path):
    title = slides_of(tmp_path)[0]
    assert (title.kind, title.heading, title.above) == ("title", "A question?", "Lesson 98")
    assert "do it." in body(title)
    assert "5 minutes." in body(title)
    assert "Why it is asked." not in body(title)
    assert "Why it is asked." in title.notes


def test_prompt_is_a_slide_of_its_own_before_its_result(tmp_path):
    slides = slides_of(tmp_path, "## S\n\n> **Predict.** How many?", run("print(7)", "7"))
    assert kinds(slides) == ["title", "predict", "result"]
    assert "How many?" in body(slides[1])
    assert ">7<" not in body(slides[1])
    assert ">7<" in body(slides[2])
    assert "How many?" in body(slides[2]), "nothing else leads to the result"


def test_what_you_may_think_is_a_slide_and_the_heading_of_what_answers_it(tmp_path):
    slides = slides_of(
        tmp_path,
        '## S\n\n### You may think: "so"',
        run("a", "no"),
        "It is not so.\n\nNow another thing:",
        run("b", "x"),
    )
    assert kinds(slides) == ["title", "claim", "result", "result"]
    assert "so" in body(slides[1])
    assert [slide.heading for slide in slides[2:]] == ["You may think: &quot;so&quot;", "S"]
    assert "It is not so." in body(slides[2])
    assert "Now another thing:" in body(slides[3])


def test_a_section_may_be_what_you_may_think(tmp_path):
    slides = slides_of(tmp_path, '## You may think: "so"', run("a", "no"), "## T", run("b", "x"))
    assert kinds(slides) == ["title", "claim", "result", "result"]
    assert [slide.above for slide in slides[1:]] == ["", "", ""]
    assert [slide.heading for slide in slides[2:]] == ["You may think: &quot;so&quot;", "T"]


def test_code_is_behind_its_result_with_what_came_before_it(tmp_path):
    slides = slides_of(tmp_path, "## S\n\nA text.", run("x = 1"), run("print(x)", "1"))
    assert slides[-1].code == "x = 1\n\nprint(x)"
    assert "x = 1" not in body(slides[-1])


def test_long_comment_on_a_figure_is_in_the_notes_alone(tmp_path):
    picture = new_output(
        "display_data", {"text/html": '<img src="data:image/png;base64,AAAA" alt="A curve.">'}
    )
    slides = slides_of(tmp_path, "## S", new_code_cell("draw()", outputs=[picture]), "It falls.")
    assert kinds(slides) == ["title", "result"]
    assert body(slides[1]).count('alt="A curve."') == 1
    assert "It falls." not in body(slides[1])
    assert slides[1].notes == ["It falls."]


def test_solutions_checks_and_what_is_folded_away_stay_off_the_slides(tmp_path):
    tag = {"tags": ["solution"]}
    slides = slides_of(
        tmp_path,
        "## Exercises\n"
        "\n"
        "### Exercise 1 · Add\n"
        "\n"
        "Add two numbers. The whole sentence has to be here, however long it may get.",
        new_code_cell("total = ...", metadata={"tags": ["exercise"]}),
        new_code_cell("check.total(total)", metadata={"tags": ["check"]}),
        new_markdown_cell(
            "<details><summary>Solution</summary>\n"
            "\n"
            "```python\n"
            "total = 3\n"
            "```\n"
            "\n"
            "Sum.\n"
            "\n"
            "</details>",
            metadata=tag,
        ),
        "<details><summary>More</summary>\n\nFolded words.\n\n</details>\n\nNext: lesson 99.",
    )
    assert kinds(slides) == ["title", "exercise", "text"]
    everything = "\n".join(body(slide) + slide.code + "".join(slide.notes) for slide in slides)
    assert "total = 3" not in everything
    assert "check.total" not in everything
    assert "however long it may get." in body(slides[1])
    assert "total = ..." in body(slides[1])
    assert "Next: lesson 99." in body(slides[2])
    assert "Folded words." not in body(slides[2])
    assert "Folded words." in "".join(slides[2].notes)


def test_question_and_reasons_are_two_slides(tmp_path):
    slides = slides_of(
        tmp_path,
        "## Check yourself\n\nFive questions.",
        run('quizzes.of_lesson("03")', "a text instead"),
    )
    assert kinds(slides) == ["title", *["question", "reasons"] * 5]
    assert "A dump lists what was built" not in body(slides[1])
    assert "A dump lists what was built" in body(slides[2])
    assert body(slides[2]).count('class="right"') == 1
    assert "a text instead" not in "".join(map(body, slides))


def test_what_leads_to_a_list_stays_with_it(tmp_path):
    filler = "\n\n".join(
        f"Paragraph {number} is here. {'It is long. ' * 20}" for number in range(6)
    )
    slides = slides_of(tmp_path, f"## S\n\n{filler}\n\nThree ways:\n\n- one;\n- two.")
    together = [slide for slide in slides if "Three ways:" in body(slide)]
    assert "<li>one;</li>" in body(together[0])
    assert len(slides) > 2


def test_teachers_notes_are_with_each_slide_of_their_section(tmp_path):
    notes = "# Teaching\n\nBefore.\n\n## S\n\n**3 minutes.** Ask *why*.\n\n## T\n\n**2 minutes.**\n"
    file = tmp_path / "98_small.ipynb"
    slides_of(tmp_path, "## S\n\nText.\n\n> **Predict.** So?", run("a", "b"), "## T\n\nMore.")
    made = rules.deck(lesson.read(file), notes)
    held = {
        section.title: {page.notes_of(slide, section) for slide in section.slides}
        for section in made.sections
    }
    assert all("Before." in each for each in held[""])
    assert all("<strong>3 minutes.</strong> Ask <em>why</em>." in each for each in held["S"])
    assert all("2 minutes." in each and "3 minutes." not in each for each in held["T"])


def test_teachers_notes_about_no_section_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"section 'Other', and no slide.*What to do"):
        slides_of(tmp_path, "## S\n\nText.", notes="## Other\n\n**1 minute.**")


def test_names_of_rows_move_into_the_line_of_headers():
    table = (
        "<table><thead><tr><th></th><th>n</th></tr><tr><th>state</th><th></th></tr></thead>"
        "<tbody><tr><th>idle</th><td>1,000</td></tr></tbody></table>"
    )
    output = new_output("execute_result", {"text/html": table})
    made = next(iter(lesson.outputs_of([output]))).html
    assert re.findall(r"<th\b[^>]*>([^<]*)<", made) == ["state", "n", "idle"]
    assert 'scope="row"' in made
    assert made.count("<tr>") == 2


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path) -> Path:
    """Make a folder with two small lessons."""
    for number in ("97", "98"):
        cells = [new_markdown_cell(TITLE.replace("98", number)), new_markdown_cell("## S\n\nText.")]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{number}_small.ipynb")
    return tmp_path


def test_files_are_complete_and_a_second_time_changes_nothing(small):
    target = small / "slides"
    build(small, small, target)
    names = {file.name for file in target.rglob("*") if file.is_file()}
    assert {"97_small.html", "98_small.html", "index.html"} < names
    pages = "".join(file.read_text("utf-8") for file in target.glob("*.html"))
    for name in re.findall(r'(?:src|href)="(?!data:)([^"#]+)"', pages):
        assert (target / name).is_file(), name
    styles = "".join(file.read_text("utf-8") for file in target.rglob("*.css"))
    for name in re.findall(r"url\(([^)]+)\)", styles):
        assert name.startswith("data:") or (target / "shared" / name).is_file(), name
    before = {file: file.stat().st_mtime_ns for file in target.rglob("*")}
    build(small, small, target)
    assert {file: file.stat().st_mtime_ns for file in target.rglob("*")} == before


def test_licences_of_what_is_copied_go_along(small):
    build(small, small, small / "slides")
    shared = small / "slides" / "shared"
    for name, words in {
        "reveal.js": "Hakim El Hattab",
        "source-sans-pro": "SIL Open Font License",
        "MathJax": "Apache License",
        "lessons": "BSD 3-Clause",
    }.items():
        assert words.lower() in (shared / f"LICENSE-{name}.txt").read_text("utf-8").lower()
    version = re.search(
        r"MathJax (\d+\.\d+\.\d+)", (shared / "LICENSE-MathJax.txt").read_text("utf-8")
    )
    about = importlib.metadata.metadata("sphinx-mathjax-offline").get_payload()
    assert f"Mathjax {version[1]}" in about
    assert f'"{version[1]}"' in (shared / "mathjax.js").read_text("utf-8")


def test_one_lesson_leaves_the_others_and_the_index_lists_all_that_are_there(small, capsys):
    target = small / "slides"
    build(small, small, target, ["98"])
    assert not (target / "97_small.html").exists()
    assert "97_small" not in (target / "index.html").read_text("utf-8")
    build(small, small, target, ["97"])
    assert (target / "98_small.html").is_file()
    assert re.findall(r'href="(\d\d)_small.html"', (target / "index.html").read_text("utf-8")) == [
        "97",
        "98",
    ]
    assert re.search(r"97_small: 2 slides \(\d+\.\d s\)", capsys.readouterr().err)


def test_one_lesson_is_made_even_where_another_is_broken(small):
    build(small, small, small / "slides")
    (small / "97_small.ipynb").write_text("{")
    build(small, small, small / "slides", ["98"])
    assert "97_small.html" in (small / "slides" / "index.html").read_text("utf-8")


def test_what_cannot_be_made_leaves_all_as_it_was(small):
    target = small / "slides"
    build(small, small, target)
    before = {file: file.read_bytes() for file in target.rglob("*") if file.is_file()}
    (small / "97_small.ipynb").write_text(
        (small / "97_small.ipynb").read_text().replace("Text.", "Other.")
    )
    (small / "98_small.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"Lesson 98_small: .* is no notebook .*What to do"):
        build(small, small, target)
    assert {file: file.read_bytes() for file in target.rglob("*") if file.is_file()} == before


def test_notebook_without_a_title_is_an_error(small):
    nbformat.write(new_notebook(cells=[new_markdown_cell("No heading.")]), small / "98_small.ipynb")
    with pytest.raises(ValueError, match=r"98_small\.ipynb does not begin with `# NN"):
        build(small, small, small / "slides")


def test_deck_of_a_lesson_that_is_gone_goes_too(small):
    target = small / "slides"
    build(small, small, target)
    (small / "97_small.ipynb").unlink()
    build(small, small, target)
    assert sorted(file.name for file in target.glob("*.html")) == ["98_small.html", "index.html"]


def test_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "deck.html"
    page.write(file, b"old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fdopen", stop)
    with pytest.raises(KeyboardInterrupt):
        page.write(file, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["deck.html"]
    assert file.read_bytes() == b"old"


def test_unknown_lesson_is_named(capsys):
    assert main(["77"]) == 1
    assert "There is no lesson '77'. What to do: take one of 00, 01" in capsys.readouterr().err


def test_command_names_the_lessons_before_it_sets_anything_up(capsys):
    assert command_line.main(["slides", "77"]) == 1
    shown = capsys.readouterr()
    assert "There is no lesson 77. What to do: name one of 00, 01" in shown.err
    assert shown.out == ""
