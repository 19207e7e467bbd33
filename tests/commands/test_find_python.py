"""The search for a Python: the first that works, or a message that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT

FINDER = ROOT / "commands" / "find-python"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sh")


@pytest.fixture
def shell_path(tmp_path):
    """Give a function that puts commands into a folder, and one that searches only there."""
    folder = tmp_path / "programs with space"
    folder.mkdir()
    (folder / "cat").symlink_to("/bin/cat")

    def put(name: str, script: str) -> Path:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    def search(**variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["/bin/sh", FINDER],
            env={"PATH": str(folder), **variables},
            capture_output=True,
            text=True,
        )

    return put, search


WORKING = f'exec "{os.path.realpath(sys.executable)}" "$@"'
SHIM = "echo 'shim: version is not installed' >&2; exit 127"
TOO_OLD = 'echo "Python 3.9.2: too old"; exit 1'


def test_takes_the_first_that_works(shell_path):
    put, search = shell_path
    put("python3", SHIM)
    put("python", TOO_OLD)
    wanted = put("python3.12", WORKING)
    put("python3.11", WORKING)
    answer = search()
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"{wanted}\n"


def test_named_python_comes_first(shell_path):
    put, search = shell_path
    put("python3", WORKING)
    other = put("my-python", WORKING)
    assert search(PYTHON=str(other)).stdout == f"{other}\n"
    assert search(PYTHON="my-python").stdout == f"{other}\n"


def test_named_python_is_not_replaced_by_another(shell_path):
    put, search = shell_path
    put("python3", WORKING)
    answer = search(PYTHON="python9")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "python9: there is no such command" in answer.stderr


def test_message_says_what_was_found_and_what_to_do(shell_path):
    put, search = shell_path
    shim = put("python3", SHIM)
    old = put("python3.11", TOO_OLD)
    answer = search()
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert f"{shim}: does not run" in answer.stderr
    assert f"{old}: Python 3.9.2: too old" in answer.stderr
    for fix in ("apt-get install python3 python3-venv", "brew install", "winget install"):
        assert fix in answer.stderr


def test_message_where_there_is_none_at_all(shell_path):
    _, search = shell_path
    answer = search()
    assert answer.returncode == 1
    assert "Found:\n  none\n" in answer.stderr


def test_python_that_cannot_make_environments_is_told_apart(shell_path, tmp_path):
    put, search = shell_path
    (tmp_path / "ensurepip.py").write_text("raise ImportError('split off, as on Debian')")
    put("python3", f'PYTHONPATH="{tmp_path}" {WORKING}')
    answer = search()
    assert answer.returncode == 1
    assert "cannot make environments" in answer.stderr
