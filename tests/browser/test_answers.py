"""A quiz answers, and a check gives its hints and then passes, by mouse and keyboard."""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from helpers.paths import ROOT
from helpers.practice import quizzes
from tests.browser.page_scripts import (
    SCROLL_TO_CELL,
    close_kernel,
    open_lesson,
    run_some,
    wait_until_idle,
)
from tests.notebooks.needed_cells import needed

LESSON = ROOT / "notebooks" / "03_hidden_layers.ipynb"
QUIZ = 'quizzes.of_lesson("03")'
STUB = "n_parameters = ..."
CHECK = "check.cost_of_a_layer"


@pytest.fixture(scope="module")
def page(browser, lab_address):
    stored = LESSON.read_bytes()
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    address = lab_address.replace("/lab/tree/", "/lab/workspaces/answers/tree/")
    open_lesson(page, address.replace("00_setup", LESSON.stem))
    yield page
    close_kernel(page)
    context.close()
    assert LESSON.read_bytes() == stored, f"the test changed {LESSON.name}"


def sources():
    cells = nbformat.read(LESSON, as_version=4).cells
    return [cell.source if cell.cell_type == "code" else "" for cell in cells]


def place(text):
    return next(number for number, source in enumerate(sources()) if text in source)


def cell(page, text):
    """Scroll to the cell with this text, and return it."""
    page.evaluate(SCROLL_TO_CELL, text)
    return page.locator(".jp-CodeCell", has_text=text)


def test_quiz_can_be_read_before_anything_has_run(page):
    shown = cell(page, QUIZ)
    first = quizzes.of_lesson("03").questions[0]
    expect(shown.get_by_text(first.options[1].say)).to_be_visible()
    reason = shown.get_by_text(first.options[0].why)
    expect(reason).not_to_be_visible()
    shown.get_by_text("Answer", exact=True).first.click()
    expect(reason).to_be_visible()


@pytest.fixture(scope="module")
def shown(page):
    """The quiz, after its cell has run."""
    assert_no_errors(run_some(page, needed(sources(), place(QUIZ))))
    return cell(page, QUIZ)


def assert_no_errors(cells):
    assert all(output["output_type"] != "error" for each in cells for output in each["outputs"])


def plain(text):
    """Return text as a page shows it, without the signs for code and emphasis."""
    return text.replace("`", "").replace("*", "")


def question(shown, number):
    return shown.locator(".Quiz").nth(number - 1)


def test_quiz_has_its_buttons_and_no_longer_its_text(shown):
    quiz = quizzes.of_lesson("03")
    expect(shown.locator(".Quiz")).to_have_count(len(quiz.questions), timeout=20_000)
    expect(shown.get_by_text("Answer", exact=True).first).not_to_be_visible()


@pytest.mark.parametrize("is_right", [False, True])
def test_option_that_is_clicked_gets_its_reason(shown, is_right):
    option = next(
        each for each in quizzes.of_lesson("03").questions[1].options if each.right == is_right
    )
    question(shown, 2).get_by_text(option.say, exact=True).click()
    verdict = "Right." if is_right else "No."
    expect(question(shown, 2).get_by_role("status")).to_have_text(f"{verdict} {plain(option.why)}")


def test_quiz_is_answered_with_the_keyboard_alone(shown):
    options = quizzes.of_lesson("03").questions[2].options
    first = question(shown, 3).get_by_role("radio").first
    first.focus()
    first.press("Space")
    said = question(shown, 3).get_by_role("status")
    expect(said).to_contain_text(plain(options[0].why))
    first.press("ArrowDown")
    expect(said).to_contain_text(plain(options[1].why))
    expect(question(shown, 3).get_by_role("radio").nth(1)).to_be_checked()


def test_questions_and_options_have_names_for_those_who_listen(shown):
    for number, each in enumerate(quizzes.of_lesson("03").questions, 1):
        group = question(shown, number).get_by_role("radiogroup")
        expect(group).to_have_accessible_name(re.compile(rf"^{number}\. "))
        for n, option in enumerate(each.options):
            expect(group.get_by_role("radio").nth(n)).to_have_accessible_name(plain(option.say))


def answer(page, text, then, output=None):
    """Type an answer in place of a cell's text, run it, and then the check below it."""
    cell(page, text).locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.type(then)
    page.keyboard.press("Shift+Enter")
    if output:
        expect(page.locator(".jp-CodeCell", has_text=then)).to_contain_text(output, timeout=30_000)
        # A kernel that is at an error throws away what waits behind it.
        wait_until_idle(page)
    page.keyboard.press("Shift+Enter")
    return page.locator(".jp-CodeCell", has_text=CHECK).locator(".jp-OutputArea-output").last


def test_check_gives_its_reply_then_hints_and_then_passes(page):
    assert_no_errors(run_some(page, needed(sources(), place(CHECK))))
    said = cell(page, CHECK).locator(".jp-OutputArea-output").last
    expect(said).to_contain_text("Not answered yet", timeout=30_000)
    said = answer(page, STUB, "n_parameters = 128 * 64")
    expect(said).to_contain_text("These are the weights", timeout=30_000)
    expect(said).to_contain_text("Hint 1 of 3")
    said = answer(page, "n_parameters = 128", "n_parameters = 128 * 64 + 64")
    expect(said).to_contain_text("The batch normalisation of this layer is missing", timeout=30_000)
    expect(said).to_contain_text("Hint 2 of 3")
    said = answer(page, "n_parameters = 128", "n_parameters = 128 * 64 + 3 * 64")
    expect(said).to_contain_text("✓ Right.", timeout=30_000)
    expect(said).not_to_contain_text("Hint")


def test_answer_that_stops_is_said_kindly(page):
    said = answer(page, "n_parameters = 128", "del n_parameters; 1 / 0", "ZeroDivisionError")
    expect(said).to_contain_text("There is no `n_parameters` yet", timeout=30_000)
