"""What the browser tests run inside a page of Lab, and what must come out."""

import json
from collections.abc import Sequence

from playwright.sync_api import expect

from tests.notebooks import notebook_checks as checks

# Lab is ready once the lesson in front is loaded and its kernel has answered.
WHEN_READY = """async () => {
    const pause = () => new Promise(resolve => setTimeout(resolve, 100));
    while (!window.jupyterapp?.shell?.currentWidget?.context) await pause();
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    return panel.context.path;
}"""

RUN_ALL = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    return JSON.stringify(panel.context.model.toJSON());
}"""

RUN_SOME = """async (numbers, given) => {
    const panel = window.jupyterapp.shell.currentWidget;
    const kernel = panel.sessionContext.session.kernel;
    for (const number of numbers) {
        if (number === numbers.at(-1))
            await kernel.requestExecute({code: given, store_history: false}).done;
        panel.content.deselectAll();
        panel.content.activeCellIndex = number;
        await window.jupyterapp.commands.execute('notebook:run-cell');
    }
    return JSON.stringify(panel.context.model.toJSON());
}"""

RESTART_KERNEL = """async () => {
    const session = window.jupyterapp.shell.currentWidget.sessionContext;
    await session.restartKernel();
    await session.session.kernel.info;
}"""

WHEN_IDLE = """async () => {
    const pause = () => new Promise(resolve => setTimeout(resolve, 100));
    const session = window.jupyterapp.shell.currentWidget.sessionContext.session;
    while (session.kernel.status !== 'idle') await pause();
}"""

# One lesson's memory is enough for a small machine.
CLOSE_KERNEL = """async () => {
    await window.jupyterapp.shell.currentWidget.sessionContext.shutdown();
}"""

# Lab draws only the cells that are near what is on the screen.
SCROLL_TO_CELL = """async text => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const number = notebook.widgets.findIndex(cell => cell.model.sharedModel.source.includes(text));
    await notebook.scrollToItem(number, 'start');
}"""

CHANGE_THEME = """async theme => {
    await window.jupyterapp.commands.execute('apputils:change-theme', {theme});
    const pause = () => new Promise(resolve => setTimeout(resolve, 100));
    while (document.body.dataset.jpThemeName !== theme) await pause();
}"""


def open_lesson(page, address: str) -> str:
    """Open an address of Lab, wait until the lesson there can be run, and return its path."""
    page.goto(address)
    page.wait_for_function("() => window.jupyterapp !== undefined", timeout=120_000)
    return evaluate_within(page, 120, WHEN_READY)


def run_all(page) -> list[dict]:
    """Run all cells of the lesson in front, and return those with code."""
    notebook = json.loads(evaluate_within(page, 300, RUN_ALL))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_some(page, numbers: Sequence[int], given: str = "") -> list[dict]:
    """Run the cells at these places of the lesson in front, in this order, and return them.

    The code ``given`` is run before the last of them.
    """
    script = f"() => ({RUN_SOME})({json.dumps(list(numbers))}, {json.dumps(given)})"
    cells = json.loads(evaluate_within(page, 300, script))["cells"]
    return [cells[number] for number in numbers]


def assert_ran_cleanly(cells: list[dict]) -> None:
    """Fail unless each cell ran once, in order, without an error, a warning or a word on stderr."""
    assert len(cells) > 1
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not checks.noise(cell["outputs"]), cell["source"]


def fresh_kernel(page) -> None:
    """Restart the kernel of the lesson in front."""
    evaluate_within(page, 60, RESTART_KERNEL)


def wait_until_idle(page) -> None:
    """Wait until the kernel of the lesson in front has nothing to do."""
    evaluate_within(page, 60, WHEN_IDLE)


def close_kernel(page) -> None:
    """Shut the kernel of the lesson in front down."""
    evaluate_within(page, 60, CLOSE_KERNEL)


def answer_by_keyboard(page, question) -> set[str]:
    """Choose each option of a question with the space bar, and return the verdicts said."""
    options, feedback = question.get_by_role("radio"), question.get_by_role("status")
    said = set()
    for number in range(options.count()):
        options.nth(number).focus()
        page.keyboard.press("Space")
        expect(feedback).not_to_be_empty()
        said.add(feedback.inner_text().partition(".")[0])
    return said


def evaluate_within(page, seconds: int, script: str):
    """Run a script in the page, and fail rather than wait for ever."""
    late = (
        f"new Promise((_, no) => setTimeout(() => no(Error('not within {seconds} s')), "
        f"{seconds}000))"
    )
    return page.evaluate(f"() => Promise.race([({script})(), {late}])")
