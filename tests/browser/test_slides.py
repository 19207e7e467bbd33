"""The slides as a class sees them: in a real browser, from disk, with the network cut off."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup

from helpers import paths
from helpers.paths import ROOT
from publishing.slides.__main__ import build

NOTEBOOKS, NOTES = ROOT / "notebooks", ROOT / "docs" / "teaching" / "notes"
LESSONS = [file.stem for file in paths.lessons()]

SIZE = {"width": 1280, "height": 720}

# What a class sees of the slide in front. Text is measured where it stands; sizes are those of a
# slide of 1280 x 720.
LOOK = """() => {
    const slide = Reveal.getCurrentSlide(), frame = slide.querySelector('.frame');
    const body = frame.querySelector('.body');
    const place = frame.getBoundingClientRect();
    const seen = {visibilityProperty: true};
    const shown = [...frame.querySelectorAll('*')].filter(each => each.checkVisibility(seen)
        && !each.closest('mjx-container'));
    const outside = shown.filter(each => {
        const box = each.getBoundingClientRect();
        return box.width > 1 && (box.left < place.left - 1 || box.top < place.top - 1
            || box.right > place.right + 1 || box.bottom > place.bottom + 1);
    });
    const written = node => node.nodeType === 3 && node.data.trim();
    const texts = shown.flatMap(each => [...each.childNodes].filter(written)
        .map(node => ({size: parseFloat(getComputedStyle(each).fontSize),
            data: Boolean(each.closest('.data')),
            foot: Boolean(each.closest('.cut, .code')), code: each.tagName === 'CODE',
            words: node.data.trim().slice(0, 60)})));
    return {
        number: Reveal.getSlidePastCount(),
        kind: [...frame.classList].slice(1),
        heading: frame.querySelector('h1, h2').innerText,
        said: body.innerText,
        text: body.textContent,
        cut: frame.querySelector('.cut')?.innerText ?? '',
        notes: slide.querySelector('aside.notes').textContent,
        outside: outside.map(each => each.outerHTML.slice(0, 120)),
        tooMuch: [body.scrollHeight - body.clientHeight, body.scrollWidth - body.clientWidth],
        fillsWindow: [place.width, place.height],
        texts,
        figures: [...slide.querySelectorAll('img')].map(image => ({alt: image.alt,
            loaded: image.complete && image.naturalWidth > 0,
            width: image.clientWidth, height: image.clientHeight})),
        formulas: slide.querySelectorAll('.frame mjx-container').length,
        drawnInNotes: slide.querySelectorAll('aside.notes mjx-container').length,
        wrongFormulas: slide.querySelectorAll('mjx-merror, [data-mjx-error]').length,
    };
}"""


@dataclass
class Seen:
    """A deck that was led through with the arrow key."""

    name: str
    slides: list[dict]
    total: int
    requests: list[str]
    complaints: list[str]
    page: str

    def figures(self) -> list[dict]:
        return [figure for slide in self.slides for figure in slide["figures"]]


def lead_through(browser, file: Path) -> Seen:
    """Open a deck without a network, and press the arrow key until nothing changes."""
    context = browser.new_context(viewport=SIZE, offline=True)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("requestfailed", lambda request: complaints.append(f"not loaded: {request.url[:200]}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    open_deck(page, file)
    slides = [page.evaluate(LOOK)]
    while True:
        page.keyboard.press("ArrowRight")
        slide = page.evaluate(LOOK)
        if slide["number"] == slides[-1]["number"]:
            break
        slides.append(slide)
    total = page.locator(".frame").count()
    context.close()
    return Seen(file.stem, slides, total, requests, complaints, file.read_text("utf-8"))


def open_deck(page, file: Path, query: str = "") -> None:
    """Open a deck and wait until it is ready."""
    page.goto(file.as_uri() + query)
    page.wait_for_selector("body[data-ready]", timeout=60_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Make the slides of all lessons."""
    target = tmp_path_factory.mktemp("slides")
    build(NOTEBOOKS, NOTES, target)
    return target


@pytest.fixture(scope="module", params=LESSONS)
def deck(request, browser, folder) -> Seen:
    """Lead through the slides of a lesson."""
    return lead_through(browser, folder / f"{request.param}.html")


def bare(text: str) -> str:
    """Return letters and digits alone, so that texts can be compared whatever marks them up."""
    return re.sub(r"[\W_]+", "", text)


def bare_markdown(source: str) -> str:
    return bare(html.unescape(re.sub(r"\]\([^)\s]*\)|<[^>]+>|```python", "", source)))


def cells(name: str) -> list[nbformat.NotebookNode]:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells


def tagged(cell, *tags: str) -> bool:
    return bool(set(tags) & set(cell.metadata.get("tags", ())))


# --- what each deck must be -----------------------------------------------------------------------


def test_nothing_comes_from_a_network_and_nothing_is_missing(deck, folder):
    assert not deck.complaints
    files = [url for url in deck.requests if not url.startswith("data:")]
    assert len(files) >= 6
    assert [url for url in files if not url.startswith(folder.as_uri())] == []
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", deck.page)


def test_arrow_keys_lead_through_all_slides(deck):
    assert [slide["number"] for slide in deck.slides] == list(range(deck.total))
    assert deck.total > 20


def test_each_slide_fills_the_window_and_nothing_hangs_over(deck):
    for slide in deck.slides:
        where = f"{deck.name}, slide {slide['number'] + 1}: {slide['heading']}"
        assert slide["fillsWindow"] == [1280, 720], where
        assert not slide["outside"], where
        assert max(slide["tooMuch"]) <= 1, where


def test_text_can_be_read_from_the_back_row(deck):
    for slide in deck.slides:
        for text in slide["texts"]:
            where = f"{deck.name}, slide {slide['number'] + 1}: {text}"
            # Code in a line is set a little smaller than its line.
            smallest = 20 if text["code"] else 22 if text["foot"] or text["data"] else 24
            if text["data"] and slide["cut"]:
                smallest = 16
            assert text["size"] >= smallest, where


def test_no_slide_is_bare(deck):
    for slide in deck.slides:
        assert bare(slide["heading"])
        assert len(bare(slide["said"])) > 2 or slide["figures"], f"{deck.name}: {slide['heading']}"


def test_each_figure_is_there_once_with_its_alternative_text(deck):
    stored = [
        html.unescape(alt)
        for cell in cells(deck.name)
        if cell.cell_type == "code"
        for output in cell.outputs
        for alt in re.findall(
            r'<img [^>]*alt="([^"]*)"', output.get("data", {}).get("text/html", "")
        )
    ]
    assert [figure["alt"] for figure in deck.figures()] == stored
    assert all(stored)
    for figure in deck.figures():
        assert figure["loaded"]
        assert figure["height"] >= 380
        assert figure["width"] >= 800


def test_all_that_the_lesson_shows_comes_in_its_order_and_each_prompt_before_its_result(deck):
    at, asked = 0, None
    for kind, text in shown_by_the_lesson(deck.name):
        found = next(
            (
                number
                for number in range(at, deck.total)
                if kind in deck.slides[number]["kind"] and text in bare(all_on(deck.slides[number]))
            ),
            None,
        )
        assert found is not None, f"{deck.name}: no {kind} after slide {at} with {text[:80]}"
        assert found != asked, f"{deck.name}: a result on the slide of its prompt"
        at = found
        asked = found if kind == "predict" else asked


def all_on(slide: dict) -> str:
    return slide["text"] + "".join(figure["alt"] for figure in slide["figures"])


def shown_by_the_lesson(name: str):
    """Give the prompts and the beginnings of the results of a lesson, in order."""
    for cell in cells(name):
        if cell.cell_type == "markdown":
            for prompt in re.findall(
                r"^> \*\*Predict\.\*\*((?:.*\n?)(?:^>.*\n?)*)", cell.source, re.MULTILINE
            ):
                yield "predict", bare_markdown(re.sub(r"^>", "", prompt, flags=re.MULTILINE))
        elif not tagged(cell, "check", "exercise") and "quizzes.of_lesson" not in cell.source:
            for output in cell.outputs:
                yield from (("result", text) for text in beginnings(output) if text)


def beginnings(output) -> list[str]:
    """Return what must be seen of an output.

    That is the first line, the first name in a table, the text for a figure.
    """
    if output.output_type == "stream":
        return [bare(output.text.strip().partition("\n")[0])]
    page = output.data.get("text/html")
    if page is None:
        return [bare(output.data["text/plain"].partition("\n")[0])]
    soup = BeautifulSoup(page, "html.parser")
    figures = [bare(image["alt"]) for image in soup.find_all("img")]
    names = [
        bare(table.select("tbody th, tbody td")[0].get_text()) for table in soup.find_all("table")
    ]
    return figures + names


def test_no_solution_and_no_check_is_in_the_deck(deck):
    solutions = [cell.source for cell in cells(deck.name) if tagged(cell, "solution")]
    checks = [cell.source for cell in cells(deck.name) if tagged(cell, "check")]
    page = bare(BeautifulSoup(deck.page, "html.parser").get_text())
    for source in solutions:
        for part in re.fullmatch(
            r".*?```python\n(.+?)\n```\n\n(.+)</details>", source, re.DOTALL
        ).groups():
            assert bare_markdown(part) not in page
    for source in checks:
        assert bare(source) not in page


def test_each_exercise_has_a_slide_with_its_whole_statement(deck):
    statements = [
        cell.source.partition("### Exercise")[2].partition("\n")[2]
        for cell in cells(deck.name)
        if cell.cell_type == "markdown" and "### Exercise" in cell.source
    ]
    slides = [bare(slide["text"]) for slide in deck.slides if "exercise" in slide["kind"]]
    assert len(slides) == len(statements)
    for statement, slide in zip(statements, slides, strict=True):
        assert bare_markdown(statement) in slide


def test_notes_hold_every_text_of_the_lesson(deck):
    said = bare("".join(slide["notes"] + slide["text"] for slide in deck.slides))
    for cell in cells(deck.name):
        if cell.cell_type != "markdown" or tagged(cell, "solution"):
            continue
        for part in re.split(r"\n\s*\n", re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)):
            block = part.strip()
            # Headings, prompts, tables, folds and formulas are looked at elsewhere; time and needs
            # are shortened.
            if block.startswith(("#", ">", "|", "<", "**Time**")) or "$" in block:
                continue
            for line in re.split(r"^(?:[-*] |\d+\. )", block, flags=re.MULTILINE):
                assert bare_markdown(line) in said, f"{deck.name}: {line[:100]}"


def test_notes_of_each_slide_hold_the_teachers_notes_of_its_section(deck):
    file = NOTES / f"{deck.name}.md"
    if not file.is_file():
        pytest.skip("there are no teacher's notes yet")
    title, *sections = re.split(r"^## ", file.read_text("utf-8"), flags=re.MULTILINE)
    assert bare_markdown(title.partition("\n")[2]) in bare(deck.slides[0]["notes"])
    for section in sections:
        name, _, notes = section.partition("\n")
        about = [bare_markdown(notes) in bare(slide["notes"]) for slide in deck.slides]
        headed = [slide["heading"] == re.sub("`", "", name) for slide in deck.slides]
        assert any(about), name
        assert all(there for there, here in zip(about, headed, strict=True) if here), name


def test_formulas_are_drawn(deck):
    stored = [
        text for cell in cells(deck.name) if cell.cell_type == "markdown" for text in [cell.source]
    ]
    written = sum(len(re.findall(r"\$\$[^$]+\$\$|\$[^$]+\$", text)) for text in stored)
    drawn = sum(slide["formulas"] for slide in deck.slides)
    assert sum(slide["wrongFormulas"] for slide in deck.slides) == 0
    assert not [
        slide
        for slide in deck.slides
        if re.search(r"\\[(\[a-z_]|\$\$", slide["said"] + slide["notes"])
    ]
    # The window with the notes has no styles for drawn ones; MathML it shows by itself.
    assert sum(slide["drawnInNotes"] for slide in deck.slides) == 0
    assert (drawn > 0) == (written > 0)
    assert drawn <= written


# Printed, all slides are on the page at once; on the screen all but one are hidden, and nothing
# would be looked at.
def test_axe_finds_nothing_serious(deck, browser, folder):
    context = browser.new_context(viewport=SIZE, offline=True)
    page = context.new_page()
    open_deck(page, folder / f"{deck.name}.html", "?print-pdf")
    page.wait_for_selector(".pdf-page")
    assert page.locator(".pdf-page .frame").count() == deck.total
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    context.close()
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


# --- what a teacher does --------------------------------------------------------------------------


@pytest.fixture
def lesson_03(browser, folder):
    """Open the slides of lesson 03."""
    context = browser.new_context(viewport=SIZE, offline=True)
    page = context.new_page()
    open_deck(page, folder / "03_hidden_layers.html")
    yield page
    context.close()


def test_s_opens_a_window_with_the_notes_which_follows(lesson_03):
    with lesson_03.context.expect_page() as opened:
        lesson_03.keyboard.press("s")
    notes = opened.value.locator(".speaker-controls-notes .value")
    notes.get_by_text("Learners arrive with a number in their head").wait_for(timeout=30_000)
    lesson_03.bring_to_front()
    for _ in range(2):
        lesson_03.keyboard.press("ArrowRight")
    notes.get_by_text("Draw three numbers, two neurons").wait_for(timeout=30_000)
    notes.get_by_text("It takes the numbers that come in").wait_for(timeout=30_000)


def test_c_shows_the_code_within_the_slide_and_the_next_slide_begins_without_it(lesson_03):
    code = lesson_03.locator("section.present section.present .code pre")
    while not lesson_03.locator("section.present section.present .result").count():
        lesson_03.keyboard.press("ArrowRight")
    assert not code.is_visible()
    lesson_03.keyboard.press("c")
    assert "n_weights = n_genes * n_neurons" in code.inner_text()
    assert code.bounding_box() == {"x": 0, "y": 0, **SIZE}
    assert Axe().run(lesson_03).response["violations"] == []
    lesson_03.keyboard.press("ArrowRight")
    lesson_03.keyboard.press("ArrowLeft")
    assert not code.is_visible()


def test_index_leads_to_each_deck(browser, folder):
    context = browser.new_context(viewport=SIZE, offline=True)
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    links = [link.get_attribute("href") for link in page.locator("a").all()]
    assert links == [f"{name}.html" for name in LESSONS]
    assert Axe().run(page).response["violations"] == []
    page.get_by_role("link", name="How many hidden layers are there?").click()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("h1").inner_text() == "How many hidden layers are there?"
    context.close()


# --- a notebook that somebody broke ---------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(browser, tmp_path_factory) -> Seen:
    """Lead through slides of a notebook with everything too much, or missing."""
    source = tmp_path_factory.mktemp("broken")
    nbformat.write(broken_notebook(), source / "99_broken.ipynb")
    build(source, source, source / "slides")
    return lead_through(browser, source / "slides" / "99_broken.html")


def broken_notebook() -> nbformat.NotebookNode:
    """Return a notebook with huge outputs, endless lines, and a section without output."""
    v4 = nbformat.v4
    wide = "".join(f"<th>column number {number}</th>" for number in range(60))
    rows = "".join(f"<tr><th>row {row}</th>{'<td>12345.678</td>' * 60}</tr>" for row in range(500))
    table = f"<table><thead><tr><th></th>{wide}</tr></thead><tbody>{rows}</tbody></table>"
    body = f"<tbody><tr><td>{'word' * 300}</td></tr></tbody>"
    word = f"<table><thead><tr><th>a</th></tr></thead>{body}</table>"

    def run(source, *outputs):
        return v4.new_code_cell(source, outputs=list(outputs))

    def page(content):
        return v4.new_output("execute_result", {"text/html": content, "text/plain": "?"})

    def printed(content):
        return v4.new_output("stream", name="stdout", text=content)

    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# 99 · " + "A question without an end " * 12),
            v4.new_markdown_cell("## Nothing is shown"),
            run("y = 1"),
            v4.new_markdown_cell("## Nothing at all"),
            v4.new_markdown_cell("## A huge table\n\nIt is huge:"),
            run("table", page(table)),
            v4.new_markdown_cell("## An endless word"),
            run("word", page(word)),
            v4.new_markdown_cell("## An endless line of code"),
            run("x = " + "'abc' + " * 400 + "'end'", printed("z" * 5000)),
            v4.new_markdown_cell("## Many lines"),
            run("many", printed("\n".join(f"line {number}" for number in range(1000)))),
            v4.new_markdown_cell(
                "## Much text\n\n" + "\n".join(f"- {'item ' * 60}." for _ in range(30))
            ),
            v4.new_markdown_cell("## A long sentence\n\n" + "and so on " * 400),
            v4.new_markdown_cell("## A prompt\n\n> **Predict.** " + "How many, and why? " * 60),
            run("fails", v4.new_output("error", ename="E", evalue="v", traceback=["t"])),
        ]
    )


def test_a_broken_notebook_stays_within_its_slides(broken):
    assert not broken.complaints
    for slide in broken.slides:
        assert not slide["outside"], slide["heading"]
        assert max(slide["tooMuch"]) <= 1, slide["heading"]
        # A title page without a text still has its question.
        assert bare(slide["said"]) or slide["kind"] == ["title"], slide["heading"]
    assert [slide["number"] for slide in broken.slides] == list(range(broken.total))


def test_what_is_cut_says_so(broken):
    said = {slide["heading"]: slide["cut"] for slide in broken.slides}
    assert re.fullmatch(
        r"Only the first \d+ of 61 columns, the first \d+ of 500 rows\. "
        r"All of it is in the lesson\.",
        said["A huge table"],
    )
    assert re.fullmatch(r"Only the first \d+ of 1000 lines\. .*", said["Many lines"])
    assert "the beginning of a long line" in said["An endless line of code"]
    assert "in the notes" in said["A long sentence"]
    shown = {slide["heading"]: slide for slide in broken.slides}
    rows = int(re.search(r"first (\d+) of 500", said["A huge table"])[1])
    assert f"row {rows - 1}" in shown["A huge table"]["said"]
    assert f"row {rows}" not in shown["A huge table"]["said"]


def test_a_section_without_output_shows_its_code(broken):
    shown = {slide["heading"]: slide["said"] for slide in broken.slides}
    assert shown["Nothing is shown"] == "y = 1"
    assert "Nothing at all" not in shown
