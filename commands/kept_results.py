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


def scaling_runs(arguments: list[str]) -> int:
    """Set up, then write ``docs/scaling_runs.csv``."""
    _refuse("scaling-runs", arguments)
    return _run("helpers.scaling", "If it is stopped, finished runs are kept for the next call.")


def sweep_runs(arguments: list[str]) -> int:
    """Set up with Ray, then write ``docs/sweep_runs.csv``."""
    _refuse("sweep-runs", arguments)
    return _run(
        "helpers.sweep_runs",
        "If it is stopped, finished trials are kept for the next call.",
        extra="sweep",
    )


def out_of_core_runs(arguments: list[str]) -> int:
    """Set up, then write ``docs/out_of_core_runs.csv``."""
    _refuse("out-of-core-runs", arguments)
    return _run(
        "helpers.out_of_core_runs", "If it is stopped, finished runs are kept for the next call."
    )


def process_runs(arguments: list[str]) -> int:
    """Set up, then write ``docs/process_runs.csv``."""
    _refuse("process-runs", arguments)
    return _run("helpers.process_runs", "Finished runs are kept for the next call.")


def classroom(arguments: list[str]) -> int:
    """Set up, then write ``docs/jupyterhub.md`` and ``docs/jupyterhub-values.yaml``."""
    _refuse("classroom", arguments)
    return _run("helpers.classroom", "Computing what a class needs from what was measured.")


def _refuse(command: str, arguments: list[str]) -> None:
    if arguments:
        raise CommandError(f"{command} takes no arguments, not: {' '.join(arguments)}")


def _run(module: str, notice: str, extra: str = "test") -> int:
    environment = own_environment()
    set_up(environment, frozenset({extra}))
    say(notice)
    command = [environment.python, "-m", module]
    return subprocess.run(command, cwd=ROOT, env=variables(environment) | THREAD_CAPS).returncode
