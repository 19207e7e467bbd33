"""Make a study, which takes minutes and keeps what it finds, or list all."""

import subprocess

from commands.console import CommandError, say
from commands.environment import (
    ROOT,
    THREAD_CAPS,
    latest_environment,
    own_environment,
    python_version,
    variables,
)
from commands.set_up import set_up
from studies import catalogue


def main(arguments: list[str]) -> int:
    """Set up what a study needs, and make it; without a name, list the studies."""
    if not arguments:
        print(f"{catalogue.listing()}\n\nTo make one:  make study ARGS=NAME")
        return 0
    name, *more = arguments
    if more:
        raise CommandError(f"One study at a time, not also: {' '.join(more)}")
    try:
        study = catalogue.find(name)
    except ValueError as error:
        raise CommandError(str(error)) from None
    # The newer track first: where it has no Python, that is said before any work.
    tracks = [latest_environment()] if study.both_tracks else []
    own = own_environment()
    for environment in (*tracks, own):
        set_up(environment, frozenset({study.extra}))
        version = python_version(environment.python)
        say(
            f"Making the study {name} with Python {version} (about {study.minutes} min). What is "
            "finished is kept: if it is stopped, the same command goes on from there."
        )
        status = subprocess.run(
            [environment.python, "-m", "studies", name],
            cwd=ROOT,
            env=variables(environment) | THREAD_CAPS,
        ).returncode
        if status:
            return status
    version = python_version(own.python)
    if study.both_tracks and not str(version).startswith("3.11."):
        say(
            f".venv is made of Python {version}, so what was found with Python 3.11 stays as it "
            f"was. To renew it: make clean, then make study ARGS={name} PYTHON=python3.11"
        )
    say(f"Look at the difference (git diff {' '.join(study.writes)}) before you commit it.")
    return 0
