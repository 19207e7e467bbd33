"""Run all tests, in the lane of this Python or in the newer one."""

import os

from commands.console import say
from commands.environment import (
    THREAD_CAPS,
    Environment,
    latest_environment,
    newest_environment,
    own_environment,
    variables,
)
from commands.process import replace_by
from commands.set_up import FOR_TESTS, set_up


def main(arguments: list[str]) -> int:
    """Set up, then run pytest over the tests and the lessons; arguments go to pytest."""
    return run(own_environment(), arguments)


def everything(arguments: list[str]) -> int:
    """Do the same with those tests, too, that take long by their nature."""
    return main(arguments)


def latest(arguments: list[str]) -> int:
    """Do the same on Python 3.12 or newer, with the tested packages."""
    return run(latest_environment(), arguments)


def newest(arguments: list[str]) -> int:
    """Do the same with the newest releases, tested or not."""
    environment = newest_environment()
    say(
        "The test of the pins fails as soon as anything is newer, and lists it; look at the others."
    )
    return run(environment, arguments)


def run(environment: Environment, arguments: list[str]) -> int:
    """Set an environment up, then run pytest in it."""
    # The sweep of lesson 07 is tested on a real Ray, the book and the editions with their real
    # tools.
    set_up(environment, FOR_TESTS)
    if not arguments:
        say("Running all tests and all lessons (about 20 minutes on two cores).")
    # A whole notebook or test file goes to one worker, because its parts build on each other.
    # They come in the order of conftest.py; xdist's own, by number of tests, begins long ones last.
    workers = ["-n", str(min(2, os.cpu_count() or 1)), "--dist", "loadscope"]
    workers.append("--no-loadscope-reorder")
    command = [str(environment.python), "-m", "pytest", "--nbval", *workers, *arguments]
    return replace_by(command, variables(environment) | THREAD_CAPS)
