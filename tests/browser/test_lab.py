"""Lab opens on the first lesson, which runs from top to bottom in a real browser."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from helpers.paths import ROOT
from tests.browser.page_scripts import assert_ran_cleanly, open_lesson, run_all

LESSON = ROOT / "notebooks" / "00_setup.ipynb"

SETTINGS = """async plugin => {
    const base = window.jupyterapp.serviceManager.serverSettings.baseUrl;
    const answer = await fetch(`${base}lab/api/settings/${encodeURIComponent(plugin)}`);
    return JSON.stringify((await answer.json()).schema.properties);
}"""


@pytest.fixture(scope="module")
def visit(browser, lab_address, tmp_path_factory):
    """Open the printed address, and note every address that the page asks for."""
    stored = LESSON.read_bytes()
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda websocket: asked.append(websocket.url))
    shown = open_lesson(page, lab_address)
    yield page, shown, asked
    page.screenshot(path=tmp_path_factory.mktemp("picture") / "lab.png")
    context.close()
    assert LESSON.read_bytes() == stored, "the test changed the stored lesson"


def test_address_opens_the_first_lesson(visit, lab_address):
    _, shown, _ = visit
    assert shown == "notebooks/00_setup.ipynb"
    assert parse_qs(urlsplit(lab_address).query).get("token"), "Jupyter's token is gone"


def test_first_lesson_runs_without_error_or_warning(visit):
    page, _, _ = visit
    assert_ran_cleanly(run_all(page))


def test_memory_is_shown_in_the_status_bar(visit):
    page, _, _ = visit
    meter = page.locator("#jp-main-statusbar").get_by_text("Mem:").first
    meter.wait_for(timeout=30_000)
    used, _, limit = meter.inner_text().removeprefix("Mem:").partition("/")
    assert used.strip() and limit.strip(), meter.inner_text()


def test_our_settings_are_in_force(visit):
    page, _, _ = visit
    news = json.loads(page.evaluate(SETTINGS, "@jupyterlab/apputils-extension:notification"))
    assert news["fetchNews"]["default"] == "false"
    assert news["checkForUpdates"]["default"] is False
    notebook = json.loads(page.evaluate(SETTINGS, "@jupyterlab/notebook-extension:tracker"))
    assert notebook["recordTiming"]["default"] is False
    assert page.get_by_text("Would you like to get notified").count() == 0


def test_nothing_is_asked_outside_this_machine(visit):
    _, _, asked = visit
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert not [url for url in asked if "lab/api/news" in url], "Lab asked for news"
