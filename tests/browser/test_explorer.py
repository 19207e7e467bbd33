"""In lesson 03 the sliders move, and the number of hidden layers and the picture follow."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.page_scripts import (
    RUN_ALL,
    SCROLL_TO_CELL,
    assert_ran_cleanly,
    evaluate_within,
    open_lesson,
)

ROOT = Path(__file__).resolve().parents[2]
LESSON = ROOT / "notebooks" / "03_hidden_layers.ipynb"


@pytest.fixture(scope="module")
def lesson(browser, lab_address):
    """Open lesson 03 and run it from top to bottom."""
    stored = LESSON.read_bytes()
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    shown = open_lesson(page, lab_address.replace("00_setup", LESSON.stem))
    assert shown == f"notebooks/{LESSON.name}"
    notebook = json.loads(evaluate_within(page, 300, RUN_ALL))
    yield page, notebook
    context.close()
    assert LESSON.read_bytes() == stored, "the test changed the stored lesson"


def test_lesson_runs_without_error_or_warning(lesson):
    _, notebook = lesson
    assert_ran_cleanly(notebook)


def test_slider_changes_the_count_and_the_picture(lesson):
    page, _ = lesson
    page.evaluate(SCROLL_TO_CELL, "architecture_explorer.explore")
    caption = page.locator(".jp-OutputArea-output p", has_text="Hidden layers:")
    picture = caption.locator("xpath=following-sibling::img")
    expect(caption).to_contain_text("1 in the encoder, 1 in the decoder", timeout=30_000)
    before = picture.get_attribute("src")
    slider = page.locator(".widget-hslider", has_text="n_layers").locator(".noUi-handle")
    slider.press("ArrowRight")
    expect(caption).to_contain_text("2 in the encoder, 2 in the decoder", timeout=60_000)
    expect(picture).to_have_attribute("alt", re.compile("2 hidden layers of 128 in the encoder"))
    assert picture.get_attribute("src") != before, "the picture stayed the same"
