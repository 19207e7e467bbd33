"""Run other programs."""

import os
import subprocess
import sys
import time
from pathlib import Path

from commands.console import say, tail
from commands.environment import ROOT

# How the lines begin in which pip and Sphinx say what they are at.
AT_WORK = (
    "Building",
    "Collecting",
    "Downloading",
    "Installing",
    "Preparing",
    "Successfully installed",
    "Using cached",
    "reading sources",
    "writing output",
)


def run_with_log(
    argv: list[str],
    log: Path,
    *,
    cwd: Path,
    env: dict[str, str],
    keep_open: tuple[int, ...] = (),
) -> int:
    """Run a command with its output in a file, and show every few seconds what it is at.

    Parameters
    ----------
    argv, cwd, env
        The command, the folder it runs in, and its environment variables.
    log
        The file that takes its output.
    keep_open
        File descriptors that the command inherits.

    Returns
    -------
    int
        The command's exit status.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=keep_open if sys.platform != "win32" else (),
        )
        try:
            return _wait_with_progress(process, log)
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _wait_with_progress(process: subprocess.Popen, log: Path) -> int:
    """Wait for a command; rewrite one line on a terminal, add one every 20 s elsewhere."""
    live = sys.stdout.isatty()
    start = time.monotonic()
    pause = 1 if live else 20
    while True:
        try:
            status = process.wait(timeout=pause)
        except subprocess.TimeoutExpired:
            line = f"      {time.monotonic() - start:.0f} s: {doing(log)}"[:79]
            if live:
                print(f"\r{line:<79}", end="", flush=True)
            else:
                say(line)
            continue
        if live:
            print(f"\r{'':<79}\r", end="", flush=True)
        return status


def doing(log: Path) -> str:
    """Give the last line of the output that says what the program is at."""
    lines = [line.strip() for line in tail(log, 200)]
    return next((line for line in reversed(lines) if line.startswith(AT_WORK)), "starting")


def replace_by(command: list[str], environment: dict[str, str]) -> int:
    """Become another program, so that Ctrl-C and kill reach it; return only on Windows."""
    sys.stdout.flush()
    os.chdir(ROOT)
    if sys.platform == "win32":
        return subprocess.run(command, env=environment).returncode
    os.execve(command[0], command, environment)
