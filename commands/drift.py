"""Note what differs between the lanes."""

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
from commands.set_up import FOR_TESTS, set_up


def main(arguments: list[str]) -> int:
    """Take a snapshot in ``.venv`` and one in ``.venv-latest``, and write ``docs/drift.json`` and ``docs/drift.md``."""
    if arguments:
        raise CommandError(f"drift takes no arguments, not: {' '.join(arguments)}")
    # The newer lane first: where it has no Python, that is said before any work.
    lanes = [latest_environment(), own_environment()]
    versions = []
    for environment in lanes:
        set_up(environment, FOR_TESTS)
        version = python_version(environment.python)
        say(f"Taking a snapshot of the libraries with Python {version} ...")
        status = subprocess.run(
            [environment.python, "-m", "studies.api_changes"],
            cwd=ROOT,
            env=variables(environment) | THREAD_CAPS,
        ).returncode
        if status:
            return status
        versions.append(str(version))
    if not versions[1].startswith("3.11."):
        say(
            f".venv is made of Python {versions[1]}, so the snapshot of Python 3.11 stays as it "
            "was. To renew it: make clean, then make drift PYTHON=python3.11"
        )
    say("Look at the difference (git diff docs/drift.md) before you commit it.")
    return 0
