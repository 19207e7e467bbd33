"""The search for a Python of the newer version track, and the message where there is none."""

import json
import os
import sys
from pathlib import Path

import pytest

from commands import newer_python
from commands.console import CommandError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are for sh")

SHIM = "echo 'shim: version is not installed' >&2; exit 127"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """Nothing on PATH, no pyenv, and the Python that runs this is of the older version track."""
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", str(python(tmp_path / "running", "3.11.7")))


def python(path: Path, version: str, complete: bool = True) -> Path:
    """Put a program there that answers as this version of Python does."""
    numbers = [int(part) for part in version.split(".")[:2]]
    return program(path, f"echo '{json.dumps([str(path), version, numbers, complete])}'")


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_running_one_is_taken_where_it_is_new_enough(monkeypatch, tmp_path):
    python(tmp_path / "programs/python3.12", "3.12.1")
    running = python(tmp_path / "running", "3.13.0")
    monkeypatch.setattr(sys, "executable", str(running))
    assert newer_python.find() == running


def test_one_on_the_path_is_found_behind_a_shim(monkeypatch, tmp_path):
    program(tmp_path / "programs/python3.12", SHIM)
    wanted = python(tmp_path / "more programs/python3.12", "3.12.4")
    python(tmp_path / "more programs/python3.13", "3.13.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}{os.pathsep}{tmp_path / 'more programs'}")
    assert newer_python.find() == wanted


def test_a_plain_name_may_be_a_newer_python(tmp_path):
    wanted = python(tmp_path / "programs/python3", "3.14.0")
    assert newer_python.find() == wanted


def test_pyenv_has_one_that_is_not_on_the_path(tmp_path):
    versions = tmp_path / "pyenv/versions"
    for version in ("3.9.18", "3.11.7", "3.13.0", "3.12.10", "3.12.9"):
        python(versions / version / "bin/python", version)
    assert newer_python.find() == versions / "3.12.9/bin/python", "the oldest that is new enough"


def test_named_python_comes_first(monkeypatch, tmp_path):
    python(tmp_path / "programs/python3.12", "3.12.1")
    wanted = python(tmp_path / "elsewhere/my-python", "3.14.0")
    monkeypatch.setenv("PYTHON", str(wanted))
    assert newer_python.find() == wanted


def test_named_python_of_the_older_track_is_said_and_left_to_it(monkeypatch, tmp_path, capsys):
    wanted = python(tmp_path / "programs/python3.12", "3.12.1")
    monkeypatch.setenv("PYTHON", str(python(tmp_path / "old", "3.11.2")))
    assert newer_python.find() == wanted
    assert "is Python 3.11.2: too old" in capsys.readouterr().out


@pytest.mark.parametrize("script", [None, SHIM])
def test_named_python_that_does_not_run_is_not_replaced(script, monkeypatch, tmp_path):
    python(tmp_path / "programs/python3.12", "3.12.1")
    if script:
        program(tmp_path / "programs/python9", script)
    monkeypatch.setenv("PYTHON", "python9")
    with pytest.raises(CommandError, match="PYTHON=python9: there is no such command"):
        newer_python.find()


def test_message_says_what_was_found_and_what_to_do(tmp_path):
    shim = program(tmp_path / "programs/python3.12", SHIM)
    split = python(tmp_path / "programs/python3.13", "3.13.1", complete=False)
    python(tmp_path / "pyenv/versions/3.9.18/bin/python", "3.9.18")
    with pytest.raises(CommandError) as caught:
        newer_python.find()
    said = str(caught.value)
    assert "No Python 3.12 or newer was found" in said
    assert "Nothing was tested" in said
    assert f"{shim}: does not run" in said
    assert f"{split}: Python 3.13.1: cannot make environments" in said
    assert f"{tmp_path / 'running'}: Python 3.11.7: too old" in said
    assert "3.9.18" not in said, "what an old version holds is known without starting it"
    for fix in (
        "apt-get install",
        "brew install",
        "winget install",
        "PYTHON=/path/to/python3.12",
    ):
        assert fix in said


def test_this_very_python_answers(monkeypatch):
    """A real interpreter answers, and for an environment the Python that it was made from."""
    monkeypatch.undo()
    monkeypatch.setattr(newer_python, "NEEDED", (3, 11))
    path, verdict = newer_python.look_at([sys.executable])
    assert path is not None
    assert Path(path).resolve() == Path(sys.executable).resolve()
    assert not Path(path).is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix
    assert verdict == f"Python {sys.version.split()[0]}"
    monkeypatch.setattr(newer_python, "NEEDED", (3, 99))
    assert newer_python.look_at([sys.executable])[0] is None
