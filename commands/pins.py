"""Renew the tested versions: install the newest releases in both tracks, and note what came."""

import re
import subprocess
import tempfile
from pathlib import Path

from commands import licences
from commands.console import CommandError, say, step
from commands.environment import ROOT, Environment, variables
from commands.licences import BROUGHT_BY_TORCH
from commands.process import run_with_log
from commands.set_up import EVERYTHING, PINS

# A version track is a range of Python versions that takes the same releases.
OLD_TRACK = 'python_version < "3.12"'
NEW_TRACK = 'python_version >= "3.12"'

# What the last scvi-tools for Python 3.11 is tested with.
OLD_TORCH = "2.13.0"
# The lowest that the new track may keep: conda-forge is some releases behind.
MIN_TORCH = "2.10"

HEADER = """\
# The versions that the kit is tested with, for both tracks (Python 3.11, and 3.12 or newer).
# Written by `make pins`; pip takes it as constraints: pip install -c requirements/tested.txt -e .
# torch is a range in the new track: pip sees conda's CPU build as torch, and so leaves it alone.
"""


def main(arguments: list[str]) -> int:
    """Make both tracks in a temporary folder; the two Pythons may be named as arguments.

    Name old patch releases, such as Debian's 3.11.2: a package may need a later one. The argument
    ``licences`` lists the licences of what is tested, once that is installed.
    """
    if arguments == ["licences"]:
        return licences.main()
    pythons = arguments or ["python3.11", "python3.12"]
    if len(pythons) != 2:
        raise CommandError("pins takes two Pythons, of 3.11 and of 3.12 or newer, or none.")
    freezes = []
    with tempfile.TemporaryDirectory() as folder:
        for number, python in enumerate(pythons, 1):
            with step(number, 2, f"Installing the newest releases with {python}"):
                freezes.append(freeze(python, Path(folder) / f"track{number}", number == 1))
    (ROOT / PINS).write_text(merge(*freezes), "utf-8")
    say(f"{PINS} is written. CONTRIBUTING.md says what to run before you commit it.")
    return 0


def freeze(python: str, folder: Path, old_track: bool) -> list[str]:
    """Install everything into a new environment and give pip's list of it."""
    try:
        subprocess.run([python, "-m", "venv", folder], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandError(f"{python} cannot make an environment: {error}") from None
    environment = Environment(folder, owned=True)
    torch = [f"torch=={OLD_TORCH}"] if old_track else []
    log = folder / "pip.log"
    project = f".[{','.join(sorted(EVERYTHING))}]"
    command = [str(environment.python), "-m", "pip", "install", *torch, "-e", project]
    if run_with_log(command, log, cwd=ROOT, env=variables(environment)):
        raise CommandError(f"pip failed:\n{log.read_text('utf-8')[-2000:]}")
    answer = subprocess.run(
        [environment.python, "-m", "pip", "freeze", "--exclude-editable"],
        env=variables(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.splitlines()


def merge(old: list[str], new: list[str]) -> str:
    """Make one constraints file of the frozen packages of both tracks.

    Parameters
    ----------
    old, new
        Lines ``name==version`` of Python 3.11, and of 3.12 or newer.

    Returns
    -------
    str
        One line per package where the tracks agree, else one per track, marked with it.
    """
    tracks = (versions(old), versions(new))
    lines = []
    for name in sorted(tracks[0].keys() | tracks[1].keys()):
        first, second = (track.get(name) for track in tracks)
        if name == "torch":
            lines.append(f"torch=={first} ; {OLD_TRACK}")
            lines.append(f"torch>={MIN_TORCH},<{next_minor(str(second))} ; {NEW_TRACK}")
        elif first == second:
            lines.append(f"{name}=={first}")
        else:
            lines += [
                f"{name}=={version} ; {marker}"
                for version, marker in ((first, OLD_TRACK), (second, NEW_TRACK))
                if version
            ]
    return HEADER + "\n".join(lines) + "\n"


def versions(frozen: list[str]) -> dict[str, str]:
    """Map normalised names to public versions, without what torch brings."""
    result = {}
    for line in frozen:
        name, separator, version = line.partition("==")
        if not separator:
            raise CommandError(f"pip freeze gives a line that is no pin: {line}")
        name = re.sub(r"[-_.]+", "-", name).lower()
        if not BROUGHT_BY_TORCH.match(name):
            result[name] = version.partition("+")[0]
    return result


def next_minor(version: str) -> str:
    """Give the first version of the next minor release: 2.15.0 gives 2.16."""
    major, minor, *_ = version.split(".")
    return f"{major}.{int(minor) + 1}"
