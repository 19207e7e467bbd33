"""The commands, and how errors leave them."""

import errno
import sys

from commands import (
    book,
    clean,
    connections,
    drift,
    editions,
    kept_results,
    lab,
    lint,
    notebooks,
    pins,
    sbom,
    set_up,
    slides,
    test,
)
from commands.console import CommandError

COMMANDS = {
    "lab": (lab.main, "set up, then open JupyterLab on the first lesson"),
    "lab-sweep": (lab.with_sweep, "the same with Ray, for the live sweep of lesson 07"),
    "test": (test.main, "set up, then run all lessons and most tests (about ten minutes)"),
    "test-all": (test.everything, "the same with the slow tests (about 40 minutes)"),
    "student": (editions.student, "write the lessons without solutions, to hand out"),
    "teacher": (editions.teacher, "write the lessons with solutions and teacher's notes"),
    "assignment": (
        editions.assignment,
        'write assignments, or mark a class: make assignment ARGS="grade FOLDER"',
    ),
    "drift": (drift.main, "note what differs between the two lanes (about a minute)"),
    "lint": (lint.main, "check style, spelling and types"),
    "notebooks": (notebooks.main, "run the lessons afresh and store their outputs"),
    "slides": (slides.main, "make slides of the lessons, to present offline (ARGS=03 for one)"),
    "book": (book.main, "make a static site of the lessons and pages, in build/book"),
    "bench": (kept_results.bench, "measure set-up, lessons and presets (about 45 minutes)"),
    "reference-run": (
        kept_results.reference_run,
        "train the default run that lesson 04 shows (about five minutes)",
    ),
    "batch-runs": (
        kept_results.batch_runs,
        "try ways to remove batch effects, for lesson 05c (about ten minutes)",
    ),
    "citeseq-runs": (
        kept_results.citeseq_runs,
        "compare TotalVI with models of the RNA alone, for lesson 06b (about ten minutes)",
    ),
    "scaling-runs": (
        kept_results.scaling_runs,
        "measure time and memory against the number of cells (about 15 minutes)",
    ),
    "sweep-runs": (
        kept_results.sweep_runs,
        "train the architectures that lesson 07 compares (about an hour)",
    ),
    "out-of-core-runs": (
        kept_results.out_of_core_runs,
        "measure training in memory and from a file, for lesson 07b (about five minutes)",
    ),
    "process-runs": (
        kept_results.process_runs,
        "train one model in one and in two processes, for lesson 07b (about a minute)",
    ),
    "cortex-text-runs": (
        kept_results.cortex_text_runs,
        "measure reading the full cortex as a stream and by scvi-tools (about two minutes)",
    ),
    "classroom": (
        kept_results.classroom,
        "write what a class on JupyterHub needs, from what was measured",
    ),
    "bad-inputs": (
        kept_results.bad_inputs,
        "do all that goes wrong, and write what the kit says (about two minutes)",
    ),
    "teaching": (
        kept_results.teaching,
        "write plans, minutes and misconceptions for teachers, from the lessons",
    ),
    "connections": (
        connections.main,
        "record what all lessons attempt on a network (about six minutes)",
    ),
    "sbom": (sbom.main, "list all packages with their licences, for the docs"),
    "setup": (set_up.main, "set up only (--here: into the Python that runs this)"),
    "pins": (pins.main, "renew requirements/tested.txt from the newest releases"),
    "clean": (clean.main, "remove what set-up made; the data stay"),
}


def main(arguments: list[str]) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        The command's name, then what it takes.

    Returns
    -------
    int
        The exit status.
    """
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        return show_help()
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"There is no command {name!r}.", file=sys.stderr)
        show_help()
        return 2
    try:
        return COMMANDS[name][0](rest)
    except CommandError as error:
        return fail(name, str(error))
    except PermissionError as error:
        return fail(
            name,
            f"There is no right to write {error.filename}.\n"
            "If an earlier run used sudo, give the folder back to yourself (sudo chown), or remove "
            "what it made: sudo rm -rf .venv* .cache data",
        )
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return fail(name, "The disk is full. Free some space, then run the same command again.")
    except KeyboardInterrupt:
        return fail(name, "Stopped. The same command goes on from here.", status=130)


def fail(name: str, message: str, status: int = 1) -> int:
    """Print an error and give the exit status."""
    print(f"\n{name}: {message}", file=sys.stderr, flush=True)
    return status


def show_help() -> int:
    """List the commands."""
    print(
        "make COMMAND, or without make: python3 commands COMMAND (Windows: py -3.12 commands ...)\n"
    )
    for name, (_, purpose) in COMMANDS.items():
        print(f"  {name:<16} {purpose}")
    print('\nA command\'s own arguments: make lab ARGS="--no-browser --port 9999"')
    return 0
