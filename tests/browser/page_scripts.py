"""What the browser tests run inside a page of Lab."""

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

# Lab draws only the cells that are near what is on the screen.
SCROLL_TO_CELL = """async text => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const number = notebook.widgets.findIndex(cell => cell.model.sharedModel.source.includes(text));
    await notebook.scrollToItem(number, 'start');
}"""


def evaluate_within(page, seconds: int, script: str):
    """Run a script in the page, and fail rather than wait for ever."""
    late = f"new Promise((_, no) => setTimeout(() => no(Error('not within {seconds} s')), {seconds}000))"
    return page.evaluate(f"() => Promise.race([({script})(), {late}])")
