"""What all tests share: which come first, and what no cell of a lesson may show or attempt."""

import os
import tempfile
from pathlib import Path

import pytest

from studies import network_recorder
from tests.notebooks import notebook_checks as checks
from tests.notebooks.one_at_a_time import turn

# These take longest. Begun last, one of them would leave the other worker without work at the end.
LONGEST = (
    "tests/browser/",
    "tests/commands/test_set_up.py",
    "tests/publishing/",
    "tests/helpers/practice/",
    "tests/helpers/scale/test_sweep.py",
    "notebooks/",
    "tests/notebooks/test_notebook_checks.py",
)

# The locks of the lessons that run here, by notebook.
TURNS = pytest.StashKey[dict]()

# Where the kernels of lessons note what they attempt on a network.
NOTES = pytest.StashKey[Path]()


def pytest_configure(config):
    """Make a place for the notes of kernels."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    config.stash[NOTES] = Path(folder.name, "attempts")


def pytest_collection_modifyitems(items):
    """Put the longest first, and leave the rest in order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Let the kernel of a lesson note what it attempts on a network; it starts before cell one."""
    if not hasattr(item, "cell"):
        return (yield)
    # Held until the last cell of this notebook; see the teardown.
    lock = item.config.stash.setdefault(TURNS, {}).setdefault(item.path, turn(item.path))
    if not lock.is_locked:
        lock.acquire()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in network_recorder.recording(os.environ, item.config.stash[NOTES]).items():
            patch.setenv(name, value)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail where a cell warns, writes to stderr or attempts to use a network.

    Nbval does not see to that.
    """
    notes = item.config.stash[NOTES]
    start = notes.stat().st_size if notes.exists() else 0
    result = yield
    if hasattr(item, "cell"):
        faults = [
            *checks.noise(item.test_outputs or ()),
            *network_recorder.read_python(notes, start),
        ]
        assert not faults, "\n".join([item.cell.source, *map(str, faults)])
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Let another test run a lesson once its last cell is done here."""
    result = yield
    if hasattr(item, "cell") and (nextitem is None or nextitem.path != item.path):
        item.config.stash[TURNS][item.path].release()
    return result
