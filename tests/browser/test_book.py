"""The book opens from disk without a network, and everybody can use it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect

from commands import book as command
from commands.console import CommandError
from helpers import paths
from helpers.paths import ROOT
from tests.browser import accessibility
from tests.browser.page_scripts import answer_by_keyboard

LESSONS = [f"notebooks/{path.stem}" for path in paths.lessons()]
PAGES = [
    path.relative_to(ROOT).with_suffix("").as_posix() for path in paths.visible(paths.DOCS, "*.md")
]
ALL = ["index", "search", "CONTRIBUTING", "CHANGELOG", *LESSONS, *PAGES]

SIZES = {"phone": (390, 844), "laptop": (1366, 768), "projector": (1920, 1080)}

WITH_QUIZ = "notebooks/03_hidden_layers"
WITH_FORMULAS = "notebooks/04_loss"


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """Make the book once."""
    folder = tmp_path_factory.mktemp("book") / "book"
    command.make(ROOT, folder, Path(sys.executable), dict(os.environ))
    return folder


class Reader:
    """Open pages from disk without a network, and note what the browser asked for."""

    def __init__(self, context, folder: Path) -> None:
        context.set_offline(True)
        self.folder = folder
        self.asked: list[str] = []
        self.faults: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self.note)

    def note(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def open(self, name: str):
        self.page.goto((self.folder / f"{name}.html").as_uri())
        return self.page

    def dark(self) -> None:
        self.page.evaluate("document.documentElement.dataset.theme = 'dark'")


@pytest.fixture(scope="module")
def readers(browser, book):
    """Give a reader for each size of screen."""
    contexts = []

    def reader(size: str) -> Reader:
        width, height = SIZES[size]
        contexts.append(
            browser.new_context(
                viewport={"width": width, "height": height}, reduced_motion="reduce"
            )
        )
        return Reader(contexts[-1], book)

    yield reader
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def laptop(readers) -> Reader:
    return readers("laptop")


@pytest.fixture(scope="module")
def phone(readers) -> Reader:
    return readers("phone")


class Page(HTMLParser):
    """What a page of the book links to, shows and loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.figures: list[tuple[str, str | None]] = []  # the address, and what is said of it
        self.article = False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        self.article |= tag == "article"
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        loads = tag in ("script", "img", "iframe", "source", "video", "embed") or (
            tag == "link" and given.get("rel") not in ("search", "next", "prev", "author")
        )
        if loads:
            self.loaded.append(given.get("src") or given.get("href") or "")
        if tag == "img" and self.article:
            self.figures.append((given.get("src") or "", given.get("alt")))

    def handle_endtag(self, tag: str) -> None:
        self.article &= tag != "article"


@pytest.fixture(scope="module")
def parsed(book) -> dict[str, Page]:
    """Give every page of the book, by name."""
    return {
        path.relative_to(book).with_suffix("").as_posix(): Page(path)
        for path in book.rglob("*.html")
        if "_static" not in path.parts
    }


def test_every_lesson_and_page_is_there_and_nothing_else(parsed):
    assert sorted(parsed) == sorted(ALL)


def test_nothing_is_loaded_from_elsewhere(book, parsed):
    for name, page in parsed.items():
        assert not [url for url in page.loaded if re.match("(https?:)?//", url)], name
    for sheet in book.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\s]*", text), sheet


def test_every_link_leads_to_a_heading_or_file_of_the_book(book, parsed):
    faults, anchors = [], 0
    for name, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (book / name).parent / unquote(parts.path) if parts.path else None
            where = target.resolve() if target else book / f"{name}.html"
            known = page
            if target:
                other = where.relative_to(book.resolve()).with_suffix("").as_posix()
                known = parsed.get(other)
            if not where.is_file():
                faults.append(f"{name}: {link}: no such file")
            elif parts.fragment and known:
                anchors += 1
                if unquote(parts.fragment) not in known.anchors:
                    faults.append(f"{name}: {link}: no such heading")
    assert not faults
    assert anchors > 500, "there are that many links to the glossary alone"


@pytest.mark.parametrize("name", ALL)
def test_a_page_opens_on_a_phone_without_a_network(phone, name):
    phone.asked.clear()
    phone.faults.clear()
    page = phone.open(name)
    assert not [url for url in phone.asked if not url.startswith(("file:", "data:", "blob:"))]
    assert len(phone.asked) > 5
    assert not phone.faults
    broken = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
    assert page.evaluate(broken) == []
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.title().removesuffix(" — scVI, taken apart")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0, "the page is wider than the screen"


def test_no_two_pages_have_the_same_title(book):
    titles = [
        re.findall(r"<title>([^<]+)", (book / f"{name}.html").read_text("utf-8"))[0] for name in ALL
    ]
    assert not [title for title, count in Counter(titles).items() if count > 1]


@pytest.mark.parametrize("name", ALL)
def test_a_page_keeps_nobody_out(laptop, name):
    page = laptop.open(name)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert not accessibility.faults(page)
    laptop.dark()
    assert not accessibility.faults(page, rules=["color-contrast"])


@pytest.mark.parametrize("size", ["phone", "projector"])
@pytest.mark.parametrize("name", ["index", WITH_QUIZ, "docs/licences"])
def test_nor_on_other_screens(readers, size, name):
    reader = readers(size)
    page = reader.open(name)
    assert not accessibility.faults(page)
    reader.dark()
    assert not accessibility.faults(page, rules=["color-contrast"])


def test_next_and_previous_lead_through_all_lessons_in_order(laptop):
    page = laptop.open("index")
    for name in LESSONS:
        page.locator("a.right-next").click()
        assert page.url.endswith(f"/{name}.html")
    for name in reversed(LESSONS[:-1]):
        page.locator("a.left-prev").click()
        assert page.url.endswith(f"/{name}.html")


def test_search_by_keyboard_finds_a_word_of_a_lesson(laptop):
    page = laptop.open("index")
    page.keyboard.press("Control+k")
    page.keyboard.type("torchinfo")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a").filter(has_text="How many hidden layers are there")
    expect(found).to_have_count(1)
    found.press("Enter")
    expect(page.locator("h1")).to_contain_text("How many hidden layers are there?")


def test_dark_mode_by_keyboard_stays_on_the_next_page(readers):
    page = readers("laptop").open(WITH_FORMULAS)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator(".theme-switch-button").press("Enter")
    page.locator(".theme-change-button[data-mode=dark]").press("Enter")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate(ground) != light
    page.locator("a.right-next").press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_first_tab_offers_to_skip_to_the_text(laptop):
    page = laptop.open(WITH_QUIZ)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")


def test_the_list_of_pages_opens_and_closes_by_keyboard_on_a_phone(phone):
    page = phone.open(WITH_QUIZ)
    entry = page.locator(".bd-docs-nav a", has_text="What loss is it using here?")
    expect(entry).not_to_be_visible()
    page.locator("button.primary-toggle").press("Enter")
    expect(entry).to_be_visible()
    page.keyboard.press("Escape")
    expect(entry).not_to_be_visible()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_quiz_is_answered_by_keyboard(readers, mode):
    reader = readers("laptop")
    page = reader.open(WITH_QUIZ)
    if mode == "dark":
        reader.dark()
    question = page.locator(".Quiz").first
    assert question.get_by_role("radio").count() >= 3
    expect(page.locator("[id$=-text]").first).to_be_hidden()
    assert answer_by_keyboard(page, question) == {"Right", "No"}
    assert not accessibility.faults(page, ".Quiz")
    assert not reader.faults


def test_a_quiz_is_answered_by_mouse(laptop):
    page = laptop.open(WITH_QUIZ)
    question = page.locator(".Quiz").first
    question.locator("label", has_text="Two: four never run").click()
    expect(question.get_by_role("status")).to_contain_text("Right.")


def test_solutions_are_folded_and_unfold_by_keyboard(laptop):
    page = laptop.open(WITH_QUIZ)
    folded = page.locator("details", has=page.locator("summary", has_text="Solution"))
    assert folded.count() >= 4
    for number in range(folded.count()):
        expect(folded.nth(number)).not_to_have_attribute("open", "")
    folded.first.locator("summary").press("Enter")
    expect(folded.first.locator("pre")).to_be_visible()


def test_wide_tables_are_scrolled_by_keyboard(phone):
    page = phone.open(WITH_QUIZ)
    tables = page.locator(".cell_output .output:has(table.dataframe)")
    wide = [
        table
        for table in tables.all()
        if table.evaluate("part => part.scrollWidth > part.clientWidth")
    ]
    assert len(wide) > 5
    for table in wide:
        table.press("ArrowRight")
        page.wait_for_function("part => part.scrollLeft > 0", arg=table.element_handle())


def test_formulas_are_drawn(laptop):
    page = laptop.open(WITH_FORMULAS)
    drawn = page.locator("mjx-container svg")
    expect(drawn.first).to_be_visible()
    assert drawn.count() == page.locator(".math").count() > 10
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    # What is read aloud.
    assert page.locator("mjx-assistive-mml math").count() == drawn.count()


def test_binder_opens_the_lesson_that_is_read(parsed):
    address = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    owner_and_name = address["Repository"].removeprefix("https://github.com/")
    for name in LESSONS:
        link = f"https://mybinder.org/v2/gh/{owner_and_name}/HEAD?urlpath=lab/tree/{name}.ipynb"
        assert link in parsed[name].links


def test_every_figure_is_described_by_what_only_it_shows(parsed):
    """Each has a sentence of its own with a number from the data."""
    shown = [figure for page in (*LESSONS, *PAGES) for figure in parsed[page].figures]
    assert len(shown) > 50
    alts = [alt or "" for _, alt in shown]
    assert not [alt for alt in alts if len(alt.split()) < 8 or not re.search(r"\d", alt)]
    # A picture that is shown twice, as by an explorer that begins with it, is described as before.
    different = Counter(alt for _, alt in set(shown))
    assert not [alt for alt, count in different.items() if count > 1]


def test_a_link_that_leads_nowhere_stops_the_book(tmp_path):
    """Each fault is named with its place, and the book that was there stays."""
    folders = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("docs", "notebooks", "helpers", "publishing"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=folders)
    for path in [
        *ROOT.glob("*.md"),
        *map(ROOT.joinpath, ("LICENSE", "CITATION.cff", "pyproject.toml")),
    ]:
        shutil.copy(path, tmp_path)
    # What Lab leaves of a page that somebody opened is none.
    kept = tmp_path / "docs" / ".ipynb_checkpoints" / "glossary-checkpoint.md"
    kept.parent.mkdir()
    kept.write_text("# Glossary\n\n[g](kept-and-nowhere.md)\n")
    lesson = tmp_path / "notebooks" / "03_hidden_layers.ipynb"
    text = lesson.read_text("utf-8")
    lesson.write_text(text.replace("glossary.md#neuron)", "glossary.md#neurone)", 1), "utf-8")
    with (tmp_path / "docs" / "licences.md").open("a", encoding="utf-8") as page:
        page.write(
            "\n"
            "[a](nowhere.md) [b](../README.md#begin) ![c](nowhere.png) [d](#nothing)\n"
            "[e](../notebooks/04_loss.ipynb#the-answer) "
            "[f](../notebooks/04_loss.ipynb#The-Answers)\n"
            "[fine](../notebooks/04_loss.ipynb#The-answer) [fine](../README.md#start)\n"
        )
    old = tmp_path / "build" / "book" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("the old book")
    with pytest.raises(CommandError) as stopped:
        command.make(tmp_path, old.parent, Path(sys.executable), dict(os.environ))
    faults = [line for line in str(stopped.value).splitlines() if "WARNING" in line]
    for part in (
        "notebooks/03_hidden_layers.ipynb, cell 3,",
        "nowhere.md",
        "'begin'",
        "nowhere.png",
        "'nothing'",
        "the anchor is 'The-answer', not 'the-answer'",
        "'The-Answers'",
    ):
        assert sum(part in fault for fault in faults) == 1, (part, faults)
    assert len(faults) == 7
    assert "What to do" in str(stopped.value)
    assert old.read_text() == "the old book"
    assert list((tmp_path / ".cache").iterdir()) == []
