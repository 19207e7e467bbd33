"""The page of connections says which lesson attempted what; the recorders are tried first."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from commands.environment import THREAD_CAPS, running_environment, variables
from helpers import paths
from studies import connections

# 192.0.2.0/24 is reserved, so nobody is reached.
CALLS_AN_ADDRESS = """\
import socket
s = socket.socket(); s.settimeout(0.5)
try: s.connect(("192.0.2.1", 80))
except OSError: pass"""


def test_recorders_prove_themselves_first(monkeypatch):
    connections.require_sight()
    monkeypatch.setattr(connections, "PROBE", "print('nothing attempted')")
    with pytest.raises(RuntimeError, match="did not see a trial attempt: connection, name look-up"):
        connections.require_sight()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Record two lessons, one of which calls an address, and Lab.

    Return status, page and what was said.
    """
    folder = tmp_path_factory.mktemp("lessons")
    for name, code in (
        ("01_good", "1 + 1"),
        ("02_bad", CALLS_AN_ADDRESS),
    ):
        nbformat.write(new_notebook(cells=[new_code_cell(code)]), folder / f"{name}.ipynb")
    page = folder / "connections.md"
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (variables(running_environment()) | THREAD_CAPS).items():
            patch.setenv(variable, value)
        status = connections.record(folder, page)
    return status, page.read_text("utf-8")


def test_the_page_says_which_lesson_attempted_what(recorded):
    status, page = recorded
    assert status == 1
    assert "| 01_good | none | none | none |" in page
    assert "| 02_bad | 192.0.2.1:80 | none | none |" in page
    assert "while all lessons run: connection: 192.0.2.1:80.**" in page


def test_lab_attempts_nothing(recorded):
    assert "| JupyterLab | none | none | none |" in recorded[1]


def test_the_stored_page_has_each_lesson_and_no_attempt():
    page = connections.PAGE.read_text("utf-8")
    assert "**Connections attempted while all lessons run: none.**" in page
    lessons = [path.stem for path in paths.lessons()]
    rows = [line for line in page.splitlines() if line.endswith("| none | none | none |")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [*lessons, "JupyterLab"]
    assert "strace" in page, "it was recorded where code outside Python was not seen"
