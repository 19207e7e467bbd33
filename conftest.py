"""What all tests share: which come first, and what no cell of a lesson may show."""

import pytest

from tests.notebooks import notebook_checks as checks

# These take longest. Begun last, one of them would leave the other worker without work at the end.
LONGEST = (
    "tests/browser/",
    "tests/packaging/test_set_up.py",
    "tests/helpers/test_sweep.py",
    "notebooks/",
    "tests/notebooks/test_notebook_checks.py",
)


def pytest_collection_modifyitems(items):
    """Put the longest first, and leave the rest in order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail where a cell warns or writes to stderr: nbval overlooks that where it compares no output."""
    result = yield
    noise = checks.noise(getattr(item, "test_outputs", None) or ())
    assert not noise, "\n".join([item.cell.source, *noise])
    return result
