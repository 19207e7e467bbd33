"""Measure what the lessons cost, and the presets against each other."""

import subprocess

from commands.console import CommandError, say
from commands.environment import ROOT, THREAD_CAPS, own_environment, variables
from commands.set_up import set_up


def main(arguments: list[str]) -> int:
    """Set up, then write ``docs/measurements.md``."""
    if arguments:
        raise CommandError(f"bench takes no arguments, not: {' '.join(arguments)}")
    environment = own_environment()
    set_up(environment, frozenset({"test"}))
    say("Measuring (about half an hour); finished training runs are kept.")
    command = [environment.python, "-m", "helpers.measurements"]
    return subprocess.run(command, cwd=ROOT, env=variables(environment) | THREAD_CAPS).returncode
