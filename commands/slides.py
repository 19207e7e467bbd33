"""Make slides of the lessons, for a teacher to present without a network."""

import subprocess

from commands.console import CommandError, say
from commands.environment import ROOT, THREAD_CAPS, own_environment, variables
from commands.notebooks import lesson_files
from commands.set_up import set_up

FOLDER = ROOT / "build" / "slides"

HOW_TO_PRESENT = """
Open this file in a browser: {index}
To present:  F full screen, arrow keys or a clicker to go on, S your notes in a second window,
             C the code behind a result, O overview, ? all keys.
To print:    put ?print-pdf behind .html in the address of a deck, then print (landscape, no
             margins)."""


def main(arguments: list[str]) -> int:
    """Make the slides of all lessons, or of those whose numbers are named: ``03``, ``05b``."""
    known = [file.name.partition("_")[0] for file in lesson_files()]
    for number in arguments:
        if number not in known:
            raise CommandError(
                f"There is no lesson {number}. What to do: name one of {', '.join(known)}, or none "
                "for all of them."
            )
    environment = own_environment()
    set_up(environment, frozenset({"teach"}))
    command = [environment.python, "-m", "publishing.slides", *arguments]
    answer = subprocess.run(command, cwd=ROOT, env=variables(environment) | THREAD_CAPS)
    if answer.returncode == 0:
        say(HOW_TO_PRESENT.format(index=FOLDER / "index.html"))
    return answer.returncode
