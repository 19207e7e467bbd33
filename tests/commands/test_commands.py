"""The command line: help, errors, and Pythons that are too old."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

from commands import command_line, lab, set_up
from commands.environment import Environment, own_environment, variables
from helpers.paths import ROOT


def test_help_and_makefile_name_the_same_commands():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.search(r"^COMMANDS := (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    assert sorted(targets[1].split()) == sorted(command_line.COMMANDS)


def test_unknown_command_shows_the_known(capsys):
    assert command_line.main(["labb"]) == 2
    shown = capsys.readouterr()
    assert "There is no command 'labb'" in shown.err
    assert "  lab " in shown.out


def test_wrong_argument_is_an_error_with_its_reason(capsys):
    assert command_line.main(["setup", "--there"]) == 1
    assert "setup takes --here or nothing, not: --there" in capsys.readouterr().err


def test_environment_of_another_user_is_named(monkeypatch, capsys, tmp_path):
    # Such as one that `sudo make lab` left; root itself may write anywhere, so the answer is given.
    monkeypatch.setattr(set_up, "own_environment", lambda: Environment(tmp_path, owned=True))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr(set_up, "SetUp", None)  # nothing may be set up there
    assert command_line.main(["setup"]) == 1
    shown = capsys.readouterr().err
    assert f"There is no right to write {tmp_path}" in shown
    assert "sudo rm -rf .venv" in shown


def test_entry_can_be_read_by_old_pythons():
    ast.parse((ROOT / "commands/__main__.py").read_text("utf-8"), feature_version=(3, 6))


def test_old_python_is_told_so():
    # Stands for an old interpreter: the entry asks sys.version_info, and nothing else.
    program = (
        "import runpy, sys; sys.version_info = (3, 8, 1, 'final', 0); "
        f"sys.argv = ['commands', 'help']; runpy.run_path({str(ROOT / 'commands')!r}, "
        "run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "This is Python 3.8, and the kit needs Python 3.11 or newer" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_root_alone_gets_allow_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    assert "--allow-root" in lab.options({})
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert "--allow-root" not in lab.options({})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a browser")
def test_no_browser_without_a_screen():
    assert "--no-browser" in lab.options({})
    assert "--no-browser" not in lab.options({"DISPLAY": ":0"})


def test_the_shells_own_python_settings_are_kept_out(monkeypatch):
    for name in ("MPLBACKEND", "PYTHONPATH", "JUPYTER_PATH"):
        monkeypatch.setenv(name, "something")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/a/users/own")
    ours = variables(own_environment())
    assert not {"MPLBACKEND", "PYTHONPATH", "JUPYTER_PATH"} & set(ours)
    assert ours["JUPYTER_CONFIG_DIR"].startswith(str(ROOT / ".venv"))


def test_the_switch_for_all_genes_reaches_lab_and_nothing_else(monkeypatch):
    """Tests, stored lessons and kept runs are all of the packaged genes."""
    monkeypatch.setenv("CORTEX_GENES", "all")
    assert "CORTEX_GENES" not in variables(own_environment())
    assert lab.genes_switch(os.environ) == {"CORTEX_GENES": "all"}
    assert lab.genes_switch({}) == {}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_hands_the_switch_on(tmp_path):
    """A variable given to make is one of the environment of what it starts."""
    rules = (ROOT / "Makefile").read_text("utf-8")
    (tmp_path / "Makefile").write_text(f"{rules}\nshow:\n\t@echo $$CORTEX_GENES\n")
    command = ["make", "-C", str(tmp_path), "--no-print-directory", "show", "CORTEX_GENES=all"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "all\n"
