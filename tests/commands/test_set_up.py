"""Set-up does each step once, again when it must, and goes on after it was interrupted.

The clones are set up for real: Python's venv, pip, the kit's own record and lock. Only what pip
installs is made on the spot, so that no network is needed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.paths import ROOT

TITLES = ["Creating", "Installing", "Registering", "Fetching", "Training"]


def steps(answer) -> list[str]:
    """Name the steps that a command's output begins."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = [line.partition("] ") for line in answer.stdout.splitlines() if line.startswith("[")]
    return [title.split()[0] for _, _, title in lines]


def test_first_run_does_all_and_second_run_none(clone):
    first = clone.run("setup")
    assert steps(first) == TITLES
    assert first.stdout.count("done in ") == len(TITLES)
    assert "GB are free" in first.stdout
    second = clone.run("setup")
    assert steps(second) == []

    # Each change brings back what depends on it, and no more.
    (clone.root / "requirements/tested.txt").write_text("ipykernel==2\npytest==1\n")
    assert steps(clone.run("setup")) == TITLES[1:]
    assert list(clone.root.glob(".venv/lib/*/site-packages/ipykernel-2.dist-info"))
    with (clone.root / "helpers/training/presets.py").open("a") as file:
        file.write("\n# another model")
    assert steps(clone.run("setup")) == ["Training"]
    (clone.root / "data/cells").unlink()
    assert steps(clone.run("setup")) == ["Fetching", "Training"]
    with (clone.root / "pyproject.toml").open("a") as file:
        file.write("\n[tool.ruff]\nline-length = 99\n")
    assert steps(clone.run("setup")) == [], "a tool's settings change no package"


def test_tests_add_their_packages_and_keep_them(ready_clone):
    tests = ready_clone.run("test", "--maxfail=1")
    assert steps(tests) == ["Installing"]
    assert "tests run with --nbval" in tests.stdout
    assert "--maxfail=1" in tests.stdout
    assert steps(ready_clone.run("test")) == []
    assert steps(ready_clone.run("setup")) == []


def test_without_network_the_lessons_still_start(ready_clone):
    # The index cannot be reached: nothing listens on this port.
    cut_off = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    cut_off |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    tests = ready_clone.run("test", **cut_off)
    assert tests.returncode == 1
    assert "The package index did not answer" in tests.stderr
    assert "run the same command again" in tests.stderr
    assert steps(ready_clone.run("setup", **cut_off)) == []


def test_folder_of_wheels_that_lacks_one_is_named(clone, tmp_path):
    answer = clone.run("setup", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert answer.returncode == 1
    assert "the folder that PIP_FIND_LINKS names" in answer.stderr
    assert "offers no build" not in answer.stderr


def test_pin_that_does_not_exist_is_named(clone):
    (clone.root / "requirements/tested.txt").write_text("ipykernel==7.7.7\n")
    answer = clone.run("setup")
    assert answer.returncode == 1
    assert "ipykernel==7.7.7" in answer.stderr
    assert "scvi-teaching-kit.log" in answer.stderr
    (clone.root / "requirements/tested.txt").write_text("ipykernel==1\n")
    assert steps(clone.run("setup")) == TITLES[1:], "goes on at the step that failed"


def test_failed_step_is_where_the_next_run_goes_on(clone):
    (clone.root / "untrainable").touch()
    answer = clone.run("setup")
    assert answer.returncode == 1
    assert "Set-up stopped in helpers.training" in answer.stderr
    assert "the model cannot be trained" in answer.stderr
    (clone.root / "untrainable").unlink()
    assert steps(clone.run("setup")) == ["Training"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal that Windows lacks")
def test_killed_in_the_middle_of_pip(clone):
    (clone.root / "slow").touch()
    process = clone.start("setup")
    at_work = clone.root / "pip-at-work"
    wait_for(at_work.exists)
    process.kill()
    process.wait()
    # pip has outlived its parent; a second set-up must not touch what it writes.
    second = clone.run("setup")
    assert second.returncode == 1
    assert f"Another set-up is at work in this folder (process {process.pid}" in second.stderr
    os.kill(int(at_work.read_text()), signal.SIGKILL)
    (clone.root / "slow").unlink()
    wait_for(lambda: lock_is_free(clone.root))
    third = clone.run("setup")
    assert "installing its packages was interrupted" in third.stdout
    assert steps(third) == TITLES
    assert steps(clone.run("setup")) == []


def test_killed_while_the_environment_is_made(ready_clone):
    # What a kill leaves behind at that moment: a record without steps, and some of the files.
    record = json.dumps({"folder": str(ready_clone.root)})
    (ready_clone.root / ".venv" / "scvi-teaching-kit.json").write_text(record)
    (ready_clone.root / ".venv" / "pyvenv.cfg").unlink()
    again = ready_clone.run("setup")
    assert "making it was interrupted" in again.stdout
    assert steps(again) == TITLES


def test_moved_folder_is_set_up_again(ready_clone, tmp_path):
    ready_clone.root = ready_clone.root.rename(tmp_path / "elsewhere")
    moved = ready_clone.run("setup")
    assert "this folder was moved" in moved.stdout
    assert steps(moved) == TITLES


@pytest.mark.skipif(sys.platform == "win32", reason="Windows copies the interpreter")
def test_interpreter_that_vanished(ready_clone):
    python = ready_clone.root / ".venv" / "bin" / "python3"
    for name in ready_clone.root.glob(".venv/bin/python*"):
        name.unlink()
    python.symlink_to("/no/such/python")
    again = ready_clone.run("setup")
    assert "its Python does not run any more" in again.stdout
    assert steps(again) == TITLES


def test_environment_of_somebody_else_is_left_alone(clone):
    theirs = clone.root / ".venv" / "their-work"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    answer = clone.run("setup")
    assert answer.returncode == 1
    assert "was not made by this kit's set-up" in answer.stderr
    assert theirs.read_text() == "precious"


def test_environment_keeps_its_python_and_says_so(ready_clone):
    # What the record's Python is asked for is replaced by one that calls itself 3.99.
    other = "import platform as p, sys; p.python_version = lambda: '3.99.1'"
    (site,) = ready_clone.root.glob(".venv/lib/*/site-packages")
    (site / "other.pth").write_text(other)
    shown = ready_clone.run("setup", PYTHON="python3").stdout
    assert "is made of Python 3.99.1 and stays so" in shown


def test_clean_removes_what_set_up_made(ready_clone):
    (ready_clone.root / "notebooks").mkdir()
    assert ready_clone.run("clean").returncode == 0
    left = {path.name for path in ready_clone.root.iterdir()}
    assert {"data", "commands", "notebooks"} <= left
    assert not {".venv", ".cache"} & left
    assert ready_clone.run("clean", "--data").returncode == 0
    assert not (ready_clone.root / "data").exists()


# --- the newer lane -----------------------------------------------------------------------------


def need(clone, version: tuple[int, int]) -> None:
    """Let the newer lane of a clone begin at another version of Python.

    This machine may have one Python alone.
    """
    change(clone, "newer_python.py", "NEEDED = (3, 12)", f"NEEDED = {version}")


def change(clone, file: str, old: str, new: str) -> None:
    """Change the code of a clone's command."""
    path = clone.root / "commands" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def another_python(folder: Path) -> Path:
    """Put a Python there that notes when it makes an environment.

    In all else it is the one that runs this.
    """
    path = folder / "another python"
    numbers = list(sys.version_info[:2])
    answer = json.dumps([str(path), "3.12.9", numbers, True])
    path.write_text(
        "#!/bin/sh\n"
        f"case \"$3\" in *ensurepip*) echo '{answer}'; exit;; esac\n"
        f"case \"$2\" in venv) touch '{folder}/made-by-the-other';; esac\n"
        f"exec '{sys.executable}' \"$@\"\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def both_lanes(ready_clone):
    """A clone whose newer lane takes the Python that runs this."""
    need(ready_clone, sys.version_info[:2])
    return ready_clone


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is for sh")
def test_newer_lane_has_an_environment_of_its_own(both_lanes):
    own = (both_lanes.root / ".venv/scvi-teaching-kit.json").read_bytes()
    missing = both_lanes.run("test", "--latest", PYTHON="python9")
    assert missing.returncode == 1
    assert "PYTHON=python9: there is no such command" in missing.stderr

    tests = both_lanes.run(
        "test", "--latest", "--maxfail=1", PYTHON=str(another_python(both_lanes.root))
    )
    assert steps(tests) == TITLES
    assert (both_lanes.root / "made-by-the-other").exists()
    assert "Creating .venv-latest with Python 3." in tests.stdout
    assert "tests run with --nbval" in tests.stdout
    assert "--maxfail=1" in tests.stdout
    assert (both_lanes.root / ".venv/scvi-teaching-kit.json").read_bytes() == own
    assert steps(both_lanes.run("test", "--latest")) == []
    assert steps(both_lanes.run("setup")) == []
    assert installed(both_lanes, ".venv-latest") == {"ipykernel": "1", "pytest": "1"}

    assert both_lanes.run("clean").returncode == 0
    assert not list(both_lanes.root.glob(".venv*"))


def test_newest_releases_go_into_a_third_one_and_are_asked_for_again(both_lanes):
    tests = both_lanes.run("test", "--newest")
    assert steps(tests) == TITLES
    assert "Installing the newest packages" in tests.stdout
    assert installed(both_lanes, ".venv-newest") == {"ipykernel": "2", "pytest": "2"}
    assert "tests run with --nbval" in tests.stdout
    assert steps(both_lanes.run("test", "--newest")) == [], "once a day is enough"

    # The next day there is a newer release.
    both_lanes.publish("ipykernel", "3")
    change(both_lanes, "set_up.py", 'time.strftime("%Y-%m-%d")', '"tomorrow"')
    assert "Installing" in steps(both_lanes.run("test", "--newest"))
    assert installed(both_lanes, ".venv-newest") == {"ipykernel": "3", "pytest": "2"}
    assert not list(both_lanes.root.glob(".venv/lib/*/site-packages/ipykernel-[23].dist-info"))

    assert both_lanes.run("clean").returncode == 0
    assert not list(both_lanes.root.glob(".venv*"))


@pytest.mark.parametrize("command", ["test --latest", "test --newest", "drift"])
def test_without_a_newer_python_nothing_passes(command, ready_clone):
    need(ready_clone, (3, 99))
    answer = ready_clone.run(*command.split())
    assert answer.returncode == 1
    assert "No Python 3.99 or newer was found" in answer.stderr
    assert "What to do:" in answer.stderr
    assert "tests run" not in answer.stdout
    assert not list(ready_clone.root.glob(".venv-*"))


def test_drift_is_noted_in_both_lanes(both_lanes):
    answer = both_lanes.run("drift")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lanes = (both_lanes.root / "snapshots").read_text().split()
    assert lanes == [".venv-latest", ".venv"]
    of_the_older_lane = sys.version_info[:2] == (3, 11)
    assert ("the snapshot of Python 3.11 stays as it was" in answer.stdout) != of_the_older_lane

    # A snapshot that cannot be taken ends it.
    (both_lanes.root / "studies/api_changes.py").write_text("raise SystemExit(3)")
    answer = both_lanes.run("drift")
    assert answer.returncode == 3
    assert "git diff" not in answer.stdout


def installed(clone, environment: str) -> dict[str, str]:
    """Give the packages of an environment that are made here, with their versions."""
    found = (clone.root / environment).glob("lib/*/site-packages/*.dist-info")
    pairs = [folder.name.removesuffix(".dist-info").split("-") for folder in found]
    return {name: version for name, version in pairs if name in ("ipykernel", "pytest")}


@pytest.mark.skipif(sys.platform == "win32", reason="needs sh and make")
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_make_passes_arguments_and_exit_status(clone):
    shutil.copy(ROOT / "Makefile", clone.root)
    command = ["make", "clean", "ARGS=--everything"]
    answer = subprocess.run(
        command, cwd=clone.root, env=clone.variables(), capture_output=True, text=True
    )
    assert answer.returncode != 0
    assert "clean takes --data or nothing, not: --everything" in answer.stderr


def wait_for(condition) -> None:
    """Wait until something holds, at most half a minute."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def lock_is_free(root: Path) -> bool:
    """Tell whether no process holds the set-up's lock."""
    import fcntl

    with (root / ".cache" / "set-up.lock").open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
