"""What all tests share: which come first, and what no cell of a lesson may show or attempt."""

import tempfile
from pathlib import Path

import pytest

from nbval.plugin import IPyNbFile

from tests.notebooks import lesson_runs
from tests.notebooks.lesson_runs import NOTES, Lesson

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


def pytest_configure(config):
    """Make a place for the notes of kernels."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    config.stash[NOTES] = Path(folder.name, "attempts")


def pytest_collection_modifyitems(items):
    """Put the longest first, and leave the rest in order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Make a lesson of each notebook that nbval runs."""
    found = yield
    return [
        Lesson.from_parent(parent, path=file_path) if isinstance(each, IPyNbFile) else each
        for each in found
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail where a lesson warns, writes to stderr or attempts to use a network."""
    if not isinstance(item.parent, Lesson):
        return (yield)
    notes = item.config.stash[NOTES]
    start = notes.stat().st_size if notes.exists() else 0
    result = yield
    found = lesson_runs.faults(item, start)
    assert not found, "\n".join(found)
    return result
