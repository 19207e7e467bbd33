"""Check style, spelling and types."""

import subprocess

from commands.console import say
from commands.environment import ROOT, own_environment, variables
from commands.set_up import EVERYTHING, set_up

CHECKS = (
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["codespell_lib"],
    ["commands.layers"],
    ["basedpyright", "--project", "pyproject.toml"],
)


def main(arguments: list[str]) -> int:
    """Set up, then run every check, also after one has failed."""
    environment = own_environment()
    # pyright reads the tests too, and has to find what they import.
    set_up(environment, EVERYTHING)
    failed = []
    for check in CHECKS:
        say(f"--- {' '.join(check)}")
        command = [environment.python, "-m", *check, *arguments]
        if subprocess.run(command, cwd=ROOT, env=variables(environment)).returncode:
            failed.append(check[0])
    if failed:
        say(f"\nFailed: {', '.join(failed)}. `ruff check --fix .` and `ruff format .` fix much.")
    return bool(failed)
