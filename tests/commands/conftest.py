"""A throw-away clone that is set up for real, without the network and in seconds."""

import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from helpers.paths import ROOT

PROJECT = Path(__file__).parent / "trial_project"

READ_BY_COMMANDS = (
    "helpers/__init__.py",
    "helpers/paths.py",
    "studies/__init__.py",
    "studies/catalogue.py",
)

# What set-up calls in the clone instead of the real packages.
IPYKERNEL = """
import pathlib, sys
kernel = pathlib.Path(sys.prefix, "share/jupyter/kernels/python3/kernel.json")
kernel.parent.mkdir(parents=True, exist_ok=True)
kernel.write_text(" ".join(sys.argv))
"""
PYTEST = "import sys; print('tests run with', *sys.argv[1:])"
MAIN = {"ipykernel": IPYKERNEL, "pytest": PYTEST}


@dataclass
class Clone:
    """A copy of ``commands/`` around a project whose packages are made on the spot."""

    root: Path
    wheels: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run one of the clone's commands to its end."""
        return subprocess.run(
            [base_python(), "commands", *arguments],
            cwd=self.root,
            env=self.variables() | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start one of the clone's commands."""
        return subprocess.Popen(
            [base_python(), "commands", *arguments],
            cwd=self.root,
            env=self.variables(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def publish(self, name: str, version: str) -> None:
        """Put a release of a package where pip finds it."""
        write_wheel = runpy.run_path(str(PROJECT / "backend.py"))["write_wheel"]
        write_wheel(self.wheels, name, version, {f"{name}/__main__.py": MAIN[name]})

    def variables(self) -> dict[str, str]:
        """Let pip see the wheels made here, and no index.

        And name no Python, as make may have done.
        """
        ours = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PYTHON": ""}
        return os.environ | ours


def base_python() -> str:
    """Give an interpreter that is in no environment."""
    base = Path(sys.base_prefix)
    return str(base / ("python.exe" if sys.platform == "win32" else "bin/python3"))


@pytest.fixture
def clone(tmp_path) -> Clone:
    """Make a clone that was never set up."""
    return make_clone(tmp_path)


@pytest.fixture(scope="module")
def set_up_once(tmp_path_factory) -> tuple[Clone, Path]:
    """Make a clone, set it up, and keep a copy of what set-up left."""
    # No space in it: pip takes the variable with the wheels as a list of places.
    folder = tmp_path_factory.mktemp("once")
    clone = make_clone(folder)
    answer = clone.run("setup")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    kept = folder / "kept"
    shutil.copytree(clone.root, kept, symlinks=True)
    return clone, kept


@pytest.fixture
def ready_clone(set_up_once) -> Clone:
    """Give a clone as set-up left it.

    Always at the same place, because an environment cannot be moved.
    """
    once, kept = set_up_once
    shutil.rmtree(once.root, ignore_errors=True)
    shutil.copytree(kept, once.root, symlinks=True)
    return replace(once)


def make_clone(folder: Path) -> Clone:
    """Make a clone below a folder; its name has a space and a letter outside ASCII."""
    root = folder / "trial clone é"
    shutil.copytree(PROJECT, root)
    shutil.copytree(
        ROOT / "commands", root / "commands", ignore=shutil.ignore_patterns("__pycache__")
    )
    # What commands read beside themselves; the study itself is the trial project's.
    for name in READ_BY_COMMANDS:
        shutil.copy(ROOT / name, root / name)
    wheels = folder / "wheels"
    wheels.mkdir()
    clone = Clone(root, wheels)
    for version in ("1", "2"):
        clone.publish("ipykernel", version)
        clone.publish("pytest", version)
    return clone
