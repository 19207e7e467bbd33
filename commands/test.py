"""Run the tests, in the version track of this Python or in the newer one."""

import os

from commands.console import say
from commands.environment import (
    ROOT,
    THREAD_CAPS,
    Environment,
    latest_environment,
    newest_environment,
    own_environment,
    variables,
)
from commands.process import replace_by
from commands.set_up import FOR_TESTS, set_up

# Which environment the tests run in, by the first argument.
TRACKS = {"--latest": latest_environment, "--newest": newest_environment}

# Memory that is free goes back to the system: glibc keeps it in fewer places.
MEMORY = {"MALLOC_ARENA_MAX": "2"}


def main(arguments: list[str]) -> int:
    """Set up, then run all lessons and the tests that take ten minutes together.

    Parameters
    ----------
    arguments
        First ``--latest`` (Python 3.12 or newer, with the tested packages) or ``--newest`` (with
        the newest releases, tested or not), if one of them is wanted. The rest goes to pytest.
        Where it names tests, these run, slow or not.
    """
    if _names_tests(arguments):
        return everything(arguments)
    text = "Running all lessons and most tests (about ten minutes on two cores) ..."
    return _run(arguments, text, ["-m", "not slow"])


def everything(arguments: list[str]) -> int:
    """Do the same with the tests that take minutes by their nature; conftest.py says which."""
    return _run(arguments, "Running everything (about 40 minutes on two cores) ...", [])


def _run(arguments: list[str], text: str, chosen: list[str]) -> int:
    """Set an environment up, then run pytest in it."""
    environment, arguments = _track(arguments)
    # The sweep of lesson 07 is tested on a real Ray, the book and the editions with their real
    # tools.
    set_up(environment, FOR_TESTS)
    if not environment.pinned:
        say("The test of the pins fails as soon as anything is newer; look at the others.")
    if not arguments:
        say(text)
    # A whole notebook or test file goes to one worker, because its parts build on each other.
    # They come in the order of conftest.py; xdist's own, by number of tests, begins long ones last.
    workers = ["-n", str(min(2, os.cpu_count() or 1)), "--dist", "loadscope"]
    workers.append("--no-loadscope-reorder")
    options = [*workers, "--durations=10", *chosen, *arguments]
    command = [str(environment.python), "-m", "pytest", "--nbval", *options]
    return replace_by(command, variables(environment) | THREAD_CAPS | MEMORY)


def _track(arguments: list[str]) -> tuple[Environment, list[str]]:
    """Give the environment that the first argument names, and the other arguments."""
    if arguments and arguments[0] in TRACKS:
        return TRACKS[arguments[0]](), arguments[1:]
    return own_environment(), arguments


def _names_tests(arguments: list[str]) -> bool:
    """Tell whether an argument is the path of tests."""
    named = (each.partition("::")[0] for each in arguments if not each.startswith("-"))
    return any((ROOT / each).exists() for each in named)
