"""Write what a class on JupyterHub needs: a guide, and the values for its chart."""

import subprocess

from commands.console import CommandError
from commands.environment import ROOT, THREAD_CAPS, own_environment, variables
from commands.set_up import set_up


def main(arguments: list[str]) -> int:
    """Set up, then write the files from what the study ``costs`` measured."""
    if arguments:
        raise CommandError(f"hub takes no arguments, not: {' '.join(arguments)}")
    environment = own_environment()
    set_up(environment, frozenset({"test"}))
    return subprocess.run(
        [environment.python, "-m", "publishing.hub"],
        cwd=ROOT,
        env=variables(environment) | THREAD_CAPS,
    ).returncode
