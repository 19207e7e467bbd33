"""Open JupyterLab on a lesson."""

import os
import sys
from collections.abc import Mapping

from commands import machine
from commands.console import say
from commands.environment import GENES_SWITCH, ROOT, own_environment, variables
from commands.process import replace_by
from commands.set_up import set_up

FIRST_LESSON = "00_setup"
LESSON_WITH_SWEEP = "07_choosing_layers"
SWEEP = "--sweep"


def main(arguments: list[str]) -> int:
    """Set up, then start Lab; arguments go to ``jupyter lab``.

    With ``--sweep`` among them Ray is set up as well, and Lab starts on the lesson that runs one.
    """
    sweep = SWEEP in arguments
    lesson, extras = (LESSON_WITH_SWEEP, {"sweep"}) if sweep else (FIRST_LESSON, set())
    environment = own_environment()
    set_up(environment, frozenset(extras))
    say("Starting JupyterLab; Ctrl-C stops it.")
    command = [
        str(environment.python),
        *("-m", "jupyterlab"),
        f"--LabApp.default_url=/lab/tree/notebooks/{lesson}.ipynb",
        *options(os.environ),
        *(each for each in arguments if each != SWEEP),
    ]
    return replace_by(
        command, variables(environment) | memory_limit(os.environ) | genes_switch(os.environ)
    )


def options(shell: Mapping[str, str]) -> list[str]:
    """Give Lab's options for this user and screen."""
    result = [
        f"--ServerApp.root_dir={ROOT}",
        "--log-level=WARN",  # the address is shown, the list of extensions is not
    ]
    if sys.platform != "win32" and os.geteuid() == 0:
        # Jupyter refuses root unless it is told so; a container often has no other user.
        result.append("--allow-root")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(shell):
        # Without a screen Jupyter would open a text browser in this terminal.
        result.append("--no-browser")
    return result


def memory_limit(shell: Mapping[str, str]) -> dict[str, str]:
    """Tell Lab's status bar how much memory there is; a hub says so itself."""
    total = machine.memory()
    return {} if total is None or "MEM_LIMIT" in shell else {"MEM_LIMIT": str(total)}


def genes_switch(shell: Mapping[str, str]) -> dict[str, str]:
    """Hand on whether the lessons take all genes of the cortex cells: make lab CORTEX_GENES=all."""
    return {GENES_SWITCH: shell[GENES_SWITCH]} if GENES_SWITCH in shell else {}
