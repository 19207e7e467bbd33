"""The commands, and how errors leave them."""

import errno
import sys

from commands import (
    book,
    clean,
    editions,
    hub,
    lab,
    lint,
    notebooks,
    pins,
    set_up,
    slides,
    study,
    test,
)
from commands.console import CommandError

COMMANDS = {
    "lab": (lab.main, "set up, then open JupyterLab (ARGS=--sweep: with Ray, for lesson 07)"),
    "test": (test.main, "set up, then run the tests (ARGS=--latest or --newest: other versions)"),
    "test-all": (test.everything, "the same with those tests that take long by their nature"),
    "lint": (lint.main, "check style, spelling and types"),
    "notebooks": (notebooks.main, "run the lessons afresh and store their outputs"),
    "book": (book.main, "make a static site of the lessons and pages, in build/book"),
    "slides": (slides.main, "make slides of the lessons, to present offline (ARGS=03 for one)"),
    "student": (editions.student, "write the lessons without solutions, to hand out"),
    "teacher": (editions.teacher, "write the lessons with solutions and teacher's notes"),
    "assignment": (
        editions.assignment,
        'write assignments, or mark a class: make assignment ARGS="grade FOLDER"',
    ),
    "hub": (hub.main, "write what a class on JupyterHub needs, from what was measured"),
    "study": (study.main, "list the experiments that take minutes; make one: ARGS=NAME"),
    "pins": (pins.main, "renew requirements/tested.txt (ARGS=licences: list all licences)"),
    "setup": (set_up.main, "set up only (--here: into the Python that runs this)"),
    "clean": (clean.main, "remove what set-up made; the data stay"),
}

# What commands were called once, and what to type now.
OLD_NAMES = {
    "lab-sweep": "make lab ARGS=--sweep",
    "test-latest": "make test ARGS=--latest",
    "test-newest": "make test ARGS=--newest",
    "classroom": "make hub",
    "teaching": "make notebooks",
    "bench": "make study ARGS=costs",
    "drift": "make study ARGS=api_changes",
    "connections": "make study ARGS=connections",
    "bad-inputs": "make study ARGS=bad_inputs",
    "reference-run": "make study ARGS=default_run",
    "batch-runs": "make study ARGS=batches",
    "citeseq-runs": "make study ARGS=citeseq",
    "scaling-runs": "make study ARGS=scaling",
    "sweep-runs": "make study ARGS=architectures",
    "out-of-core-runs": "make study ARGS=out_of_core",
    "process-runs": "make study ARGS=ddp",
    "cortex-text-runs": "nothing; `make study` lists what is measured",
    "sbom": "make pins ARGS=licences",
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
    if name in OLD_NAMES:
        print(f"There is no command {name!r} any more. Now: {OLD_NAMES[name]}", file=sys.stderr)
        return 2
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
