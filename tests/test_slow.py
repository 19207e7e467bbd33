"""Which tests are slow, what `make test` leaves out, and what a run says at its end."""

import re
from types import SimpleNamespace

import pytest

import conftest
from commands import test as command
from commands.environment import Environment
from helpers.paths import ROOT
from tests import run_report

SOURCES = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}


@pytest.mark.parametrize("part", conftest.SLOW)
def test_what_is_called_slow_exists(part):
    """Else a test that was moved or renamed would come back into `make test` unseen."""
    if name := re.fullmatch(r"::(test_\w+)", part):
        assert any(f"def {name[1]}" in source for source in SOURCES.values())
    else:
        ids = [f"{path.relative_to(ROOT).as_posix()}::" for path in SOURCES]
        assert any(part in each for each in ids)


@pytest.mark.parametrize("fixture", conftest.SLOW_FIXTURES)
def test_a_fixture_that_is_called_slow_exists(fixture):
    assert any(f"def {fixture}(" in source for source in SOURCES.values())


def test_a_slow_test_is_known_by_its_file_its_name_or_its_fixture():
    assert conftest.slow_reasons("tests/browser/test_quiz.py::test_click[a-b]", ())
    assert conftest.slow_reasons("tests/x.py::test_lab_attempts_nothing", ())
    assert conftest.slow_reasons("tests/x.py::test_x", ("tmp_path", "two_nodes"))
    assert not conftest.slow_reasons("tests/helpers/test_memory.py::test_x", ("tmp_path",))
    assert not conftest.slow_reasons("tests/test_slow.py::test_x[tests/browser/]", ())
    assert not conftest.slow_reasons("notebooks/04_loss.ipynb::Cell 23", ())


# --- the commands -------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Commands that would run, in place of running them; no environment is touched."""
    commands = []
    monkeypatch.setattr(command, "set_up", lambda *given: None)
    monkeypatch.setattr(command, "replace_by", lambda given, variables: commands.append(given) or 0)
    monkeypatch.setattr(command, "own_environment", lambda: Environment(tmp_path / "own", True))
    for option in command.TRACKS:
        environment = Environment(tmp_path / option[2:], owned=True, pinned=option != "--newest")
        monkeypatch.setitem(command.TRACKS, option, lambda environment=environment: environment)
    return commands


@pytest.mark.parametrize(
    ("run", "arguments", "environment", "leaves_out"),
    [
        (command.main, [], "own", True),
        (command.main, ["-x"], "own", True),
        (command.main, ["--latest"], "latest", True),
        (command.main, ["--newest", "-k", "elbo"], "newest", True),
        (command.main, ["tests/browser"], "own", False),
        (command.main, ["--latest", "conftest.py::test_x"], "latest", False),
        (command.everything, [], "own", False),
        (command.everything, ["--latest", "-x"], "latest", False),
    ],
)
def test_command_runs_what_is_asked_for(run, arguments, environment, leaves_out, ran):
    assert run(arguments) == 0
    (given,) = ran
    assert f"/{environment}/" in given[0].replace("\\", "/")
    assert ("not slow" in given) is leaves_out
    assert given[1:3] == ["-m", "pytest"]
    rest = [each for each in arguments if each not in command.TRACKS]
    assert given[len(given) - len(rest) :] == rest
    assert not set(command.TRACKS) & set(given)


# --- the end of a run ---------------------------------------------------------------------------


def test_files_are_listed_by_their_seconds():
    durations = [("a.py::x", 1.0), ("b.py::x", 5.0), ("a.py::y", 2.0), ("c.py::z", 0.5)]
    assert [line.split() for line in run_report.slowest_files(durations, 2)] == [
        ["5.0", "s", "b.py"],
        ["3.0", "s", "a.py"],
        ["8.5", "s", "all", "3", "files", "together"],
    ]


@pytest.mark.parametrize(("own", "over"), [(1.2, False), (3.5, True)])
def test_a_worker_that_takes_too_much_memory_is_named(own, over):
    (line,) = run_report.memory_of({"gw0": (0.9, 1.3), "gw1": (own, 0.2)})
    assert f"{own} GB of memory in a worker (gw1)" in line
    assert "1.3 GB in a program" in line
    assert ("more than 1.5 GB" in line) is over


def test_memory_is_measured_where_the_system_tells():
    own, started = run_report.peaks()
    assert 0 <= started < 100
    assert 0.01 < own < 100 or run_report.sys.platform == "win32"


def test_what_was_not_tried_is_said_in_a_line_with_what_to_do():
    assert run_report.not_tried(0, 0) == []
    (line,) = run_report.not_tried(313, 0)
    assert "313 tests in a browser were not tried" in line and "apt-get install chromium" in line
    (line,) = run_report.not_tried(0, 12)
    assert "12 tests were left out" in line and "make test-all" in line


@pytest.fixture
def said():
    """What the end of a run says, told of reports and of the choice of tests."""

    def of(reports, stash, markexpr="", keyword=""):
        lines = []
        reporter = SimpleNamespace(stats=reports, section=lambda title: None, line=lines.append)
        option = SimpleNamespace(markexpr=markexpr, keyword=keyword)
        run_report.pytest_terminal_summary(reporter, SimpleNamespace(stash=stash, option=option))
        return "\n".join(lines)

    return of


def test_the_reason_for_which_browser_tests_are_skipped_is_counted(said):
    skipped = SimpleNamespace(
        nodeid="tests/browser/test_x.py::test_y",
        duration=0.1,
        longrepr=("conftest.py", 1, f"Skipped: {run_report.NO_BROWSER} (looked for chromium)"),
    )
    assert "1 tests in a browser were not tried" in said({"skipped": [skipped]}, {})
    assert run_report.NO_BROWSER in (ROOT / "tests/browser/conftest.py").read_text("utf-8")


def test_what_workers_tell_is_said(said):
    config = SimpleNamespace(stash={})
    for name, gigabytes in (("gw0", 1.0), ("gw1", 1.7)):
        told = {"peaks": (gigabytes, 0.5), "left out": 12}
        gateway = SimpleNamespace(id=name)
        node = SimpleNamespace(config=config, gateway=gateway, workeroutput=told)
        run_report.pytest_testnodedown(node, None)
    assert "1.7 GB of memory in a worker (gw1), which is more than" in said({}, config.stash)
    assert "12 tests were left out" in said({}, config.stash, markexpr="not slow")
    assert "left out" not in said({}, config.stash, markexpr="not slow", keyword="elbo")
    assert "left out" not in said({}, config.stash)
