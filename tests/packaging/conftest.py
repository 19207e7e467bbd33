"""A throw-away clone that is set up for real, without the network and in seconds."""

import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "trial_project"

# What set-up calls in the clone instead of the real packages.
IPYKERNEL = """
import pathlib, sys
kernel = pathlib.Path(sys.prefix, "share/jupyter/kernels/python3/kernel.json")
kernel.parent.mkdir(parents=True, exist_ok=True)
kernel.write_text(" ".join(sys.argv))
"""
PYTEST = "import sys; print('tests run with', *sys.argv[1:])"


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

    def variables(self) -> dict[str, str]:
        """Let pip see the wheels made here, and no index."""
        return os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}


def base_python() -> str:
    """Give an interpreter that is in no environment."""
    base = Path(sys.base_prefix)
    return str(base / ("python.exe" if sys.platform == "win32" else "bin/python3"))


@pytest.fixture
def clone(tmp_path) -> Clone:
    """Make a clone in a folder whose name has a space and a letter outside ASCII."""
    root = tmp_path / "trial clone é"
    shutil.copytree(PROJECT, root)
    shutil.copytree(
        ROOT / "commands", root / "commands", ignore=shutil.ignore_patterns("__pycache__")
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel = runpy.run_path(str(PROJECT / "backend.py"))["write_wheel"]
    for version in ("1", "2"):
        write_wheel(wheels, "ipykernel", version, {"ipykernel/__main__.py": IPYKERNEL})
        write_wheel(wheels, "pytest", version, {"pytest/__main__.py": PYTEST})
    return Clone(root, wheels)
