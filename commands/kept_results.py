"""Measure and train what takes long, once, and keep the results in ``docs/``."""

import subprocess

from commands.console import CommandError, say
from commands.environment import ROOT, THREAD_CAPS, own_environment, variables
from commands.set_up import set_up


def bench(arguments: list[str]) -> int:
    """Set up, then write ``docs/measurements.json``, and the page and the picture made from it."""
    _refuse("bench", arguments)
    return _run(
        "helpers.measurements",
        "Measuring (about 45 minutes); finished pairs of training runs are kept.",
    )


def reference_run(arguments: list[str]) -> int:
    """Set up, then write ``docs/reference_run.csv``."""
    _refuse("reference-run", arguments)
    return _run("helpers.reference_run", "A finished run is kept: a second call only writes it.")


def batch_runs(arguments: list[str]) -> int:
    """Set up, then write ``docs/batch_runs.csv``."""
    _refuse("batch-runs", arguments)
    return _run("helpers.batch_runs", "If it is stopped, finished runs are kept for the next call.")


def citeseq_runs(arguments: list[str]) -> int:
    """Set up, then write ``docs/citeseq_runs.csv``."""
    _refuse("citeseq-runs", arguments)
    return _run(
        "helpers.citeseq_runs", "If it is stopped, finished runs are kept for the next call."
    )


def _refuse(command: str, arguments: list[str]) -> None:
    if arguments:
        raise CommandError(f"{command} takes no arguments, not: {' '.join(arguments)}")


def _run(module: str, notice: str) -> int:
    environment = own_environment()
    set_up(environment, frozenset({"test"}))
    say(notice)
    command = [environment.python, "-m", module]
    return subprocess.run(command, cwd=ROOT, env=variables(environment) | THREAD_CAPS).returncode
