"""In the lessons with sliders a slider moves, and the numbers and the picture follow."""

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

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture(scope="module")
def run_lesson(browser, lab_address):
    """Open a lesson, run it from top to bottom, and check that what is stored stays as it is."""
    contexts, stored = [], {}

    def run(name):
        path = NOTEBOOKS / f"{name}.ipynb"
        stored[path] = path.read_bytes()
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 1000}))
        page = contexts[-1].new_page()
        # A workspace of its own: Lab opens again what was open in the last one.
        address = lab_address.replace("/lab/tree/", f"/lab/workspaces/{name}/tree/")
        shown = open_lesson(page, address.replace("00_setup", name))
        assert shown == f"notebooks/{path.name}"
        notebook = json.loads(evaluate_within(page, 300, RUN_ALL))
        assert_ran_cleanly(notebook)
        return page

    yield run
    for context in contexts:
        context.close()
    for path, content in stored.items():
        assert path.read_bytes() == content, f"the test changed {path.name}"


def find(page, cell, words, name):
    """Return the caption with these words, the picture below it, and the slider of this name."""
    page.evaluate(SCROLL_TO_CELL, cell)
    caption = page.locator(".jp-OutputArea-output p", has_text=words)
    picture = caption.locator("xpath=following-sibling::img")
    slider = page.locator(".widget-hslider", has_text=name).locator(".noUi-handle")
    return caption, picture, slider


def test_layers_and_picture_follow_the_slider(run_lesson):
    page = run_lesson("03_hidden_layers")
    cell = "architecture_explorer.explore"
    caption, picture, slider = find(page, cell, "Hidden layers:", "n_layers")
    expect(caption).to_contain_text("1 in the encoder, 1 in the decoder", timeout=30_000)
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    expect(caption).to_contain_text("2 in the encoder, 2 in the decoder", timeout=60_000)
    expect(picture).to_have_attribute("alt", re.compile("2 hidden layers of 128 in the encoder"))
    assert picture.get_attribute("src") != before, "the picture stayed the same"


def test_ledger_and_picture_follow_the_epoch(run_lesson):
    page = run_lesson("04_loss")
    caption, picture, slider = find(page, "elbo_explorer.explore", "KL weight", "epoch")
    expect(caption).to_contain_text("Epoch 40, KL weight 1.000", timeout=30_000)
    before = picture.get_attribute("src")
    slider.press("Home")
    expect(caption).to_contain_text("Epoch 1, KL weight 0.000", timeout=60_000)
    expect(caption).to_contain_text("0.00 (kl_divergence_z)")
    expect(picture).to_have_attribute("alt", re.compile("terms of the loss in epoch 1,"))
    assert picture.get_attribute("src") != before, "the picture stayed the same"


def test_expression_and_picture_follow_a_walk_through_the_latent_space(run_lesson):
    page = run_lesson("05_latent_space")
    cell, words = "traversal_explorer.explore", "From a cell of class"
    caption, picture, position = find(page, cell, words, "position")
    expect(caption).to_contain_text("class oligodendrocytes, dimension 7", timeout=30_000)
    expect(caption).to_contain_text("This is the position of the cell itself.")
    before = picture.get_attribute("src")
    position.press("Home")
    expect(caption).to_contain_text("typical distances away", timeout=60_000)
    moved = picture.get_attribute("src")
    assert moved != before, "the picture stayed the same"
    find(page, cell, words, "latent dimension")[2].press("ArrowRight")
    expect(caption).to_contain_text("class oligodendrocytes, dimension 8", timeout=60_000)
    expect(picture).to_have_attribute("alt", re.compile("against latent dimension 8"))
    page.locator(".widget-dropdown select").select_option("microglia")
    expect(caption).to_contain_text("class microglia, dimension 8", timeout=60_000)
    assert picture.get_attribute("src") != moved, "the picture stayed the same"
