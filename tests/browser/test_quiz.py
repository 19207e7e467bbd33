"""In Lab the questions and exercises of a lesson can be answered by everybody."""

import nbformat
import pytest
from playwright.sync_api import expect

from helpers.paths import ROOT
from tests.browser import accessibility
from tests.browser.page_scripts import (
    CHANGE_THEME,
    SCROLL_TO_CELL,
    answer_by_keyboard,
    close_kernel,
    open_lesson,
    run_some,
)

LESSON = ROOT / "notebooks" / "03_hidden_layers.ipynb"
QUIZ, EXERCISES, CHECK = "quizzes.of_lesson", "exercises.of_lesson", "check.cost_of_a_layer"


@pytest.fixture(scope="module")
def page(browser, lab_address):
    """Open lesson 03, and run its quiz and the check of its first exercise, with a wrong answer."""
    stored = LESSON.read_bytes()
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    address = lab_address.replace("/lab/tree/", "/lab/workspaces/quiz/tree/")
    open_lesson(page, address.replace("00_setup", LESSON.stem))
    sources = [cell.source for cell in nbformat.read(LESSON, as_version=4).cells]
    numbers = [
        next(n for n, source in enumerate(sources) if text in source)
        for text in (QUIZ, EXERCISES, CHECK)
    ]
    run_some(page, numbers, given="n_parameters = 8192")
    yield page
    # Whoever opens this lesson next in the same Lab begins with a new kernel.
    close_kernel(page)
    context.close()
    assert LESSON.read_bytes() == stored, "the test changed the stored lesson"


def test_the_quiz_is_answered_by_keyboard_and_keeps_nobody_out(page):
    page.evaluate(SCROLL_TO_CELL, QUIZ)
    question = page.locator(".Quiz").first
    assert answer_by_keyboard(page, question) == {"Right", "No"}
    assert_nobody_is_kept_out(page, ".jp-OutputArea:has(.Quiz)")


def test_the_reply_to_an_exercise_keeps_nobody_out(page):
    page.evaluate(SCROLL_TO_CELL, CHECK)
    cell = page.locator(".jp-CodeCell", has_text=CHECK)
    expect(cell.locator(".jp-OutputArea-output")).to_be_visible()
    place = ".jp-CodeCell .jp-OutputArea:has(.jp-RenderedMarkdown)"
    assert_nobody_is_kept_out(page, place)


def assert_nobody_is_kept_out(page, shown):
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(CHANGE_THEME, theme)
        assert not accessibility.faults(page, shown), theme
