"""In the lessons with sliders a slider moves, and the numbers and the picture follow."""

import re
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from helpers.paths import NOTEBOOKS
from tests.browser import accessibility
from tests.browser.page_scripts import (
    CHANGE_THEME,
    SCROLL_TO_CELL,
    assert_ran_cleanly,
    open_lesson,
    run_some,
)
from tests.notebooks.needed_cells import needed


@pytest.fixture(scope="module")
def explore(browser, lab_address):
    """Open a lesson, run the cell with the sliders, and check that what is stored stays as it is.

    Only the cells that this one needs are run before it; a name that is ``given`` needs none. The
    whole lesson is run by nbval, which compares what it shows.
    """
    contexts, stored = [], {}

    def run(name, cell, given=""):
        path = NOTEBOOKS / f"{name}.ipynb"
        stored[path] = path.read_bytes()
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 1000}))
        page = contexts[-1].new_page()
        # A workspace of its own: Lab opens again what was open in the last one.
        address = lab_address.replace("/lab/tree/", f"/lab/workspaces/{name}/tree/")
        shown = open_lesson(page, address.replace("00_setup", name))
        assert shown == f"notebooks/{path.name}"
        assert_ran_cleanly(run_some(page, cells_for(path, cell, given), given))
        return page

    yield run
    for context in contexts:
        context.close()
    for path, content in stored.items():
        assert path.read_bytes() == content, f"the test changed {path.name}"


def cells_for(path: Path, text: str, given: str) -> list[int]:
    """Return the places of the cell with this text and of those that it needs."""
    cells = nbformat.read(path, as_version=4).cells
    sources = [cell.source if cell.cell_type == "code" else "" for cell in cells]
    return needed(sources, next(n for n, source in enumerate(sources) if text in source), given)


def find(page, cell, words, name):
    """Return the caption with these words, the picture below it, and the slider of this name."""
    page.evaluate(SCROLL_TO_CELL, cell)
    caption = page.locator(".jp-OutputArea-output p", has_text=words)
    picture = caption.locator("xpath=following-sibling::img")
    slider = page.locator(".widget-hslider", has_text=name).locator(".noUi-handle")
    return caption, picture, slider


def assert_everybody_can_use_them(page, sliders):
    """Fail where a slider has no name or value to hear, or axe-core finds a problem."""
    for name, value in sliders.items():
        handle = page.locator(".widget-hslider", has_text=name).locator(".noUi-handle")
        expect(handle).to_have_attribute("aria-label", name, timeout=30_000)
        expect(handle).to_have_attribute("aria-valuetext", value)
    shown = ".jp-OutputArea:has(.widget-hslider)"
    assert not accessibility.faults(page, shown)
    page.evaluate(CHANGE_THEME, "JupyterLab Dark")
    assert not accessibility.faults(page, shown)


def test_layers_and_picture_follow_the_slider(explore):
    cell = "architecture_explorer.explore"
    page = explore("03_hidden_layers", cell)
    caption, picture, slider = find(page, cell, "Hidden layers:", "n_layers")
    expect(caption).to_contain_text("1 in the encoder, 1 in the decoder", timeout=30_000)
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    expect(caption).to_contain_text("2 in the encoder, 2 in the decoder", timeout=60_000)
    assert_everybody_can_use_them(page, {"n_layers": "2", "n_hidden": "128", "n_genes": "2000"})
    expect(picture).to_have_attribute("alt", re.compile("2 hidden layers of 128 in the encoder"))
    assert picture.get_attribute("src") != before, "the picture stayed the same"


def test_ledger_and_picture_follow_the_epoch(explore):
    cell = "elbo_explorer.explore"
    page = explore("04_loss", cell)
    caption, picture, slider = find(page, cell, "KL weight", "epoch")
    last = float(slider.get_attribute("aria-valuemax"))
    expect(caption).to_contain_text(f"Epoch {last:.0f}, KL weight 1.000", timeout=30_000)
    before = picture.get_attribute("src")
    slider.press("Home")
    expect(caption).to_contain_text("Epoch 1, KL weight 0.000", timeout=60_000)
    expect(caption).to_contain_text("0.00 (kl_divergence_z)")
    assert_everybody_can_use_them(page, {"epoch": "1"})
    expect(picture).to_have_attribute("alt", re.compile("terms of the loss in epoch 1,"))
    assert picture.get_attribute("src") != before, "the picture stayed the same"


def test_expression_and_picture_follow_a_walk_through_the_latent_space(explore):
    cell, words = "traversal_explorer.explore", "From a cell of class"
    # Any map will do, and the lesson's own three take a while.
    page = explore("05_latent_space", cell, given="maps = {'t-SNE': latent_space[:, :2]}")
    caption, picture, position = find(page, cell, words, "position")
    expect(caption).to_contain_text("class oligodendrocytes, dimension 10", timeout=30_000)
    expect(caption).to_contain_text("This is the position of the cell itself.")
    before = picture.get_attribute("src")
    position.press("Home")
    expect(caption).to_contain_text("typical distances away", timeout=60_000)
    moved = picture.get_attribute("src")
    assert moved != before, "the picture stayed the same"
    find(page, cell, words, "latent dimension")[2].press("ArrowLeft")
    expect(caption).to_contain_text("class oligodendrocytes, dimension 9", timeout=60_000)
    expect(picture).to_have_attribute("alt", re.compile("against latent dimension 9"))
    assert_everybody_can_use_them(page, {"latent dimension": "9"})
    page.locator(".widget-dropdown select").select_option("microglia")
    expect(caption).to_contain_text("class microglia, dimension 9", timeout=60_000)
    assert picture.get_attribute("src") != moved, "the picture stayed the same"
