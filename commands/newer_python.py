"""Find a Python for the newer version track, whatever Python runs the commands."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from commands.console import CommandError, say

# The current scvi-tools needs it.
NEEDED = (3, 12)

# The first is the one that the pins were made with.
NAMES = ("python3.12", "python3.13", "python3.14", "python3", "python")

# A name on PATH is not enough: a version manager's shim may be there and fail, and Debian splits
# the parts that make environments into another package.
QUESTION = """
import json, platform, sys
try:
    import ensurepip, venv
    complete = True
except ImportError:
    complete = False
# Of an environment, the Python that it was made from: the environment may be what is made afresh.
base = getattr(sys, "_base_executable", sys.executable)
answer = [base, platform.python_version(), sys.version_info[:2], complete]
print(json.dumps(answer))
"""


def find() -> Path:
    """Give the interpreter of a Python that is new enough and can make environments.

    The one that ``PYTHON`` names comes first, then the one that runs this, then those on ``PATH``,
    in pyenv's folder, and on Windows those that its launcher knows.

    Raises
    ------
    CommandError
        Where there is none, with what was found and what to do; and where ``PYTHON`` names nothing.
    """
    seen: dict[str, str] = {}
    named = os.environ.get("PYTHON")
    if named:
        path, verdict = look_at([named])
        if path is None and verdict == "does not run":
            raise CommandError(f"PYTHON={named}: there is no such command, or it does not run.")
        if path is not None:
            return path
        say(f"PYTHON={named} is {verdict}; this track looks for another.")
        seen[named] = verdict
    for command in candidates():
        path, verdict = look_at(command)
        if path is not None:
            return path
        seen[" ".join(command)] = verdict
    raise CommandError(nothing_found(seen))


def candidates() -> Iterator[list[str]]:
    """Yield the commands that may start a Python of the newer version track."""
    yield [sys.executable]
    suffix = ".exe" if sys.platform == "win32" else ""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for name in NAMES:
        for folder in filter(None, folders):
            program = Path(folder, name + suffix)
            if program.is_file() and os.access(program, os.X_OK):
                yield [str(program)]
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    # Oldest first: the lowest version that is new enough is the one that the pins were made with.
    for folder in sorted(versions.glob("3.*"), key=lambda folder: _numbers(folder.name)):
        if folder.is_dir() and _numbers(folder.name)[:2] >= NEEDED:
            inside = "python.exe" if sys.platform == "win32" else "bin/python"
            yield [str(folder / inside)]
    if sys.platform == "win32":
        yield from (["py", f"-{name.removeprefix('python')}"] for name in NAMES if "." in name)


def look_at(command: list[str]) -> tuple[Path | None, str]:
    """Give a Python's own path where it fits, and in words what was found."""
    try:
        answer = subprocess.run(
            [*command, "-I", "-c", QUESTION],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        path, version, numbers, complete = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None, "does not run"
    if tuple(numbers) < NEEDED:
        return None, f"Python {version}: too old"
    if not complete:
        return None, f"Python {version}: cannot make environments (no ensurepip or venv)"
    return Path(path), f"Python {version}"


def nothing_found(seen: dict[str, str]) -> str:
    """Say what was found, what is needed, and how to get it."""
    needed = ".".join(map(str, NEEDED))
    found = "\n".join(f"  {command}: {verdict}" for command, verdict in seen.items())
    return f"""\
No Python {needed} or newer was found, which the current scvi-tools needs. Nothing was tested.
Found:
{found}
What to do:
  Debian, Ubuntu   sudo apt-get install python{needed} python{needed}-venv
  macOS            brew install python@{needed}
  Windows          winget install Python.Python.{needed}
  with pyenv       pyenv install {needed}
One that is not on PATH can be named: make test ARGS=--latest PYTHON=/path/to/python{needed}"""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
