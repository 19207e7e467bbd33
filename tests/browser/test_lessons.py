"""Every lesson runs in a real Lab from top to bottom, as a learner runs it."""

import pytest

from helpers import paths
from tests.browser.page_scripts import (
    assert_ran_cleanly,
    close_kernel,
    fresh_kernel,
    open_lesson,
    run_all,
)
from tests.notebooks.one_at_a_time import turn

LESSONS = paths.lessons()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_from_top_to_bottom(browser, lab_address, lesson):
    with turn(lesson):
        stored = lesson.read_bytes()
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        # A workspace of its own: Lab opens again what was open in the last one.
        address = lab_address.replace("/lab/tree/", f"/lab/workspaces/all-{lesson.stem}/tree/")
        shown = open_lesson(page, address.replace("00_setup", lesson.stem))
        assert shown == f"notebooks/{lesson.name}"
        # Another test may have opened this lesson in the same Lab, and left its kernel running.
        fresh_kernel(page)
        assert_ran_cleanly(run_all(page))
        close_kernel(page)
        context.close()
        assert lesson.read_bytes() == stored, f"the test changed {lesson.name}"
