"""The command line: help, errors, and Pythons that are too old."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

from commands import command_line, lab, set_up, study
from commands.environment import Environment, own_environment, variables
from helpers.paths import ROOT
from studies import catalogue

HAS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(*arguments, cwd=ROOT):
    """Run make with this Python."""
    command = ["make", "--no-print-directory", *arguments, f"PYTHON={sys.executable}"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@HAS_MAKE
def test_make_knows_the_commands_though_it_lists_none():
    shown = make()
    assert shown.returncode == 0, shown.stderr
    for name in command_line.COMMANDS:
        assert f"  {name} " in shown.stdout
    makefile = (ROOT / "Makefile").read_text("utf-8")
    rules = re.findall(r"^[^\s#:=]+(?=:(?!=))", makefile, re.MULTILINE)
    assert not set(rules) & set(command_line.COMMANDS), "a command is declared twice"
    assert make("study").stdout.startswith("  api_changes ")


@HAS_MAKE
def test_make_hands_a_goal_on_though_a_folder_has_its_name(tmp_path):
    (tmp_path / "commands").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "commands" / "find-python", tmp_path / "commands")
    (tmp_path / "commands" / "__main__.py").write_text("import sys; print(*sys.argv[1:])")
    for name in ("book", "build", "lint", "notebooks.py"):
        (tmp_path / name).mkdir()
    answer = make("book", "build", "lint", "notebooks.py", "ARGS=03 --fast", cwd=tmp_path)
    goals = ("book", "build", "lint", "notebooks.py")
    assert answer.stdout.splitlines() == [f"{goal} 03 --fast" for goal in goals], answer.stderr
    assert make(cwd=tmp_path).stdout == "help\n"


@HAS_MAKE
def test_make_ends_with_an_error_where_the_command_does():
    answer = make("labb")
    assert answer.returncode == 2
    assert "There is no command 'labb'" in answer.stderr


@pytest.mark.parametrize("name", command_line.OLD_NAMES)
def test_an_old_name_says_what_to_type_instead(name, capsys):
    assert name not in command_line.COMMANDS
    assert command_line.main([name]) == 2
    shown = capsys.readouterr()
    assert f"There is no command '{name}' any more" in shown.err
    assert shown.out == ""
    told = re.findall(r"make ([a-z-]+)(?: ARGS=(\S+))?", command_line.OLD_NAMES[name])
    for command, argument in told:
        assert command in command_line.COMMANDS
        assert command != "study" or not argument or argument in catalogue.studies()


def test_a_study_that_does_not_exist_is_said_with_those_that_do(capsys):
    assert command_line.main(["study", "batch-runs"]) == 1
    shown = capsys.readouterr().err
    assert "There is no study 'batch-runs'. Studies: " in shown
    assert ", batches, " in shown
    assert command_line.main(["study", "batches", "citeseq"]) == 1
    assert "One study at a time, not also: citeseq" in capsys.readouterr().err


def test_studies_are_listed_without_any_set_up(capsys, monkeypatch):
    monkeypatch.setattr(study, "set_up", None)
    assert command_line.main(["study"]) == 0
    shown = capsys.readouterr().out
    for each in catalogue.studies().values():
        assert re.search(rf"^  {each.name} +{each.minutes} min  ", shown, re.MULTILINE)


def test_a_study_is_made_where_its_extra_is_set_up(monkeypatch):
    seen = []
    here = Environment(ROOT / ".venv", owned=True)
    monkeypatch.setattr(study, "own_environment", lambda: here)
    monkeypatch.setattr(study, "set_up", lambda environment, extras: seen.append(extras))
    monkeypatch.setattr(study, "python_version", lambda python: "3.11.9")

    def run(command, cwd, env):
        seen.append((command[1:], env["OMP_NUM_THREADS"]))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(study.subprocess, "run", run)
    assert command_line.main(["study", "architectures"]) == 3
    assert seen == [{"sweep"}, (["-m", "studies", "architectures"], "1")]


def test_lab_with_a_sweep_sets_ray_up_and_opens_its_lesson(monkeypatch):
    seen = []
    monkeypatch.setattr(lab, "set_up", lambda environment, extras: seen.append(set(extras)))
    monkeypatch.setattr(lab, "replace_by", lambda command, variables: seen.append(command) or 0)
    assert command_line.main(["lab", "--sweep", "--port", "9999"]) == 0
    assert command_line.main(["lab", "--port", "9999"]) == 0
    extras, command, none, usual = seen
    assert (extras, none) == ({"sweep"}, set())
    assert any("07_choosing_layers.ipynb" in each for each in command)
    assert any("00_setup.ipynb" in each for each in usual)
    assert command[-2:] == ["--port", "9999"] and "--sweep" not in command


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
    """Tests, stored lessons and studies are all of the packaged genes."""
    monkeypatch.setenv("CORTEX_GENES", "all")
    assert "CORTEX_GENES" not in variables(own_environment())
    assert lab.genes_switch(os.environ) == {"CORTEX_GENES": "all"}
    assert lab.genes_switch({}) == {}


@HAS_MAKE
def test_make_hands_the_switch_on(tmp_path):
    """A variable given to make is one of the environment of what it starts."""
    rules = (ROOT / "Makefile").read_text("utf-8")
    (tmp_path / "Makefile").write_text(f"{rules}\nshow:\n\t@echo $$CORTEX_GENES\n")
    command = ["make", "-C", str(tmp_path), "--no-print-directory", "show", "CORTEX_GENES=all"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "all\n"
