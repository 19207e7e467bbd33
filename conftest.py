"""What all tests share: which are slow, which come first, and how a lesson is run."""

import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbFile

from tests import run_report
from tests.free_memory import Freer
from tests.notebooks import lesson_runs
from tests.notebooks.lesson_runs import NOTES, Lesson

# What takes minutes by its nature gets the mark `slow`: `make test` leaves it out, `make test-all`
# runs it. On the left a part of a test's id, on the right the reason.
SLOW = {
    "tests/browser/": "JupyterLab, the book and the slides in a real browser",
    "/test_set_up.py::": "environments are made from nothing",
    "/test_grading.py::": "a whole class is marked",
    "/test_ddp.py::": "processes that train together",
    "::test_what_goes_wrong_around_the_lessons": "kernels and programs in damaged environments",
    "::test_a_second_run_does_not_train_again": "the script of lesson 08 runs twice",
    "::test_paths_begin_in_the_folder_of_the_script": "the script of lesson 08 runs once more",
    "::test_script_stands_alone_where_the_kit_is_missing": "the script of lesson 08, alone",
    "::test_cells_that_are_not_ready_stop_the_script": "the script of lesson 08, until it stops",
    "/test_model_map.py::": "every model of scvi-tools is built",
    "/test_out_of_core_costs.py::": "trainings in processes of their own",
    "::test_the_calls_of_a_step_work": "each step of the lessons in a process of its own",
    "::test_a_fingerprint_is_the_same_in_another_process": "other processes",
    "::test_same_model_gives_the_same_picture_in_every_session": "other processes",
    "::test_an_interrupted_run_ends_as_if_it_had_not_been_interrupted": "whole trainings, twice",
    "::test_a_size_is_measured": "a training in a process of its own",
    "::test_after_every_kill_a_download": "downloads are killed and taken up again",
    "::test_a_sweep_on_this_machine_is_out_of_reach_of_others": "a real Ray cluster",
    "::test_a_kernel_that_is_killed": "trainings are killed and resumed in kernels of their own",
    "::test_a_second_kernel_neither_waits_nor_disturbs": "two kernels train at once",
    "::test_the_page_says_which_lesson_attempted_what": "JupyterLab, with two recorders",
    "::test_lab_attempts_nothing": "JupyterLab, with two recorders",
}

# The same for all tests that use a fixture.
SLOW_FIXTURES = {
    "two_nodes": "a real Ray cluster",
    "start_kernel": "kernels of their own, full of memory",
}

# These take longest. Begun last, one of them would leave the other worker without work at the end.
LONGEST = (
    "tests/notebooks/test_instruction_sets.py",
    "tests/browser/",
    "tests/helpers/scale/test_sweep.py",
    "tests/commands/test_set_up.py",
    "tests/publishing/",
    "notebooks/",
    "tests/bad_inputs/",
)


FREE = pytest.StashKey[Freer]()


def pytest_configure(config):
    """Make a place for the notes of kernels, and let the end of the run be told."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    config.stash[NOTES] = Path(folder.name, "attempts")
    config.stash[FREE] = Freer()
    config.pluginmanager.register(run_report)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the slow ones, before any are left out; put the longest first, the rest in order."""
    for item in items:
        for reason in slow_reasons(item.nodeid, getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow(reason))
    items.sort(key=lambda item: place(item.nodeid))


def slow_reasons(name: str, fixtures) -> list[str]:
    """Say why a test is slow; nothing where it is not."""
    test = name.partition("[")[0]
    found = [reason for part, reason in SLOW.items() if part in test]
    return found + [reason for fixture, reason in SLOW_FIXTURES.items() if fixture in fixtures]


def place(name: str) -> int:
    """Give the place of a test in the order of LONGEST; those not in it come last."""
    return next((n for n, part in enumerate(LONGEST) if name.startswith(part)), len(LONGEST))


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
    lesson_runs.require_quiet(item, start)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """Give back memory that a test has left behind: a worker lives as long as the run."""
    result = yield
    item.config.stash[FREE]()
    return result
