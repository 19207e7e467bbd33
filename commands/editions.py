"""Make the editions of the lessons for students and teachers, and assignments with marks."""

from pathlib import Path

from commands.console import CommandError, say
from commands.environment import THREAD_CAPS, own_environment, variables
from commands.process import replace_by
from commands.set_up import set_up


def student(arguments: list[str]) -> int:
    """Write the lessons without solutions and outputs."""
    return _edition("student", arguments)


def teacher(arguments: list[str]) -> int:
    """Write the lessons with solutions and teacher's notes."""
    return _edition("teacher", arguments)


def assignment(arguments: list[str]) -> int:
    """Write the assignments of all lessons or of those named.

    With ``grade FOLDER``, mark the notebooks in a folder instead.
    """
    if arguments[:1] != ["grade"]:
        return _run("publishing.assignments.release", arguments)
    # The work is done in the kit's folder, so a path is made whole here.
    rest = [str(Path(each).resolve()) if Path(each).exists() else each for each in arguments[1:]]
    if not rest:
        raise CommandError(
            "Which folder has the notebooks of the class? It is missing.\n"
            'What to do: make assignment ARGS="grade FOLDER"'
        )
    say("Marking runs the code of the notebooks on this machine.")
    return _run("publishing.assignments.grading", rest)


def _edition(name: str, arguments: list[str]) -> int:
    if arguments:
        raise CommandError(f"{name} takes no arguments, not: {' '.join(arguments)}")
    return _run("publishing.editions", [name])


def _run(module: str, arguments: list[str]) -> int:
    """Set up with what teaching needs, then become one of the kit's modules."""
    environment = own_environment()
    set_up(environment, frozenset({"teach"}))
    command = [str(environment.python), "-m", module, *arguments]
    return replace_by(command, variables(environment) | THREAD_CAPS)
