"""The recorders see what a lesson attempts, in Python and outside it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers.paths import ROOT
from studies import network_recorder
from studies.network_recorder import Attempt

TRACED = bool(network_recorder.tracer(Path(os.devnull)))


def watch_python(code, environment=os.environ):
    """Run a program, and return the attempts that Python noted and those that the system noted."""
    return network_recorder.watch([sys.executable, "-c", code], environment)


# 192.0.2.0/24, 2001:db8::/32 and .invalid are reserved, so nobody is reached.
CASES = {
    "connection": (
        "s = socket.socket(); s.settimeout(0.5)\n"
        'try: s.connect(("192.0.2.1", 80))\n'
        "except OSError: pass",
        Attempt("connection", "192.0.2.1:80"),
    ),
    "connection to an IPv6 address": (
        "s = socket.socket(socket.AF_INET6)\n"
        'try: s.connect(("2001:db8::1", 443))\n'
        "except OSError: pass",
        Attempt("connection", "[2001:db8::1]:443"),
    ),
    "datagram": (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        'try: s.sendto(b"hi", ("192.0.2.2", 9))\n'
        "except OSError: pass",
        Attempt("connection", "192.0.2.2:9"),
    ),
    "open port": (
        's = socket.socket(); s.bind(("0.0.0.0", 0)); s.listen()',
        Attempt("open port", "0.0.0.0:0"),
    ),
    "open port on IPv6": (
        's = socket.socket(socket.AF_INET6); s.bind(("::", 0)); s.listen()',
        Attempt("open port", "[::]:0"),
    ),
    "open port of no named address": (
        's = socket.socket(); s.bind(("", 0)); s.listen()',
        Attempt("open port", "0.0.0.0:0"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_recorders_see(case):
    code, expected = CASES[case]
    python, system = watch_python(f"import socket\n{code}")
    assert python == [expected]
    assert system == ([expected] if TRACED else [])


def test_a_name_look_up_is_seen_with_its_name():
    code = 'import socket\ntry: socket.getaddrinfo("example.invalid", 80)\nexcept OSError: pass'
    python, system = watch_python(code)
    assert python == [Attempt("name look-up", "example.invalid")]
    if TRACED:
        assert {attempt.kind for attempt in system} <= {"name look-up"}


def test_urllib_is_seen():
    code = (
        "import urllib.request\ntry: urllib.request.urlopen('http://example.invalid/', timeout=1)\n"
        "except OSError: pass"
    )
    free = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    assert Attempt("name look-up", "example.invalid") in watch_python(code, free)[0]


def test_what_a_child_attempts_is_seen():
    inner = CASES["connection"][0].replace("\n", "\\n").replace('"', '\\"')
    code = (
        f'import subprocess, sys; subprocess.run([sys.executable, "-c", "import socket\\n{inner}"])'
    )
    python, system = watch_python(code)
    assert python == [CASES["connection"][1]]
    assert system == (python if TRACED else [])


@pytest.mark.skipif(not TRACED, reason="there is no strace that may trace")
def test_what_no_hook_in_python_sees_the_system_notes():
    # An isolated Python takes no recorder; it stands for a program that is not Python.
    code = f"import socket\n{CASES['connection'][0]}\ns = socket.socket(); s.listen()"
    python, system = network_recorder.watch([sys.executable, "-I", "-c", code], os.environ)
    assert python == []
    assert system == [
        CASES["connection"][1],
        Attempt("open port", "0.0.0.0, of the system's choice"),
    ]


def test_what_stays_on_this_machine_is_left_out():
    code = """
import socket, tempfile, pathlib
local = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.53"), (socket.AF_INET6, "::1")]
for family, address in local:
    server = socket.socket(family)
    try:
        server.bind((address, 0))
    except OSError:
        continue  # a container may have no IPv6
    server.listen()
    socket.socket(family).connect(server.getsockname())
for name in ("localhost", "127.0.0.1", None):
    socket.getaddrinfo(name, 80)
if hasattr(socket, "AF_UNIX"):
    path = str(pathlib.Path(tempfile.mkdtemp(), "s"))
    server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
    socket.socket(socket.AF_UNIX).connect(path)
"""
    assert watch_python(code) == ([], [])


def test_a_command_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="status 3"):
        watch_python("import sys; sys.exit(3)")


# --- in the run of the lessons by make test -----------------------------------------------------


def test_a_cell_fails_that_attempts_something_and_no_other(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        cells = [
            f"import socket\nsocket.create_connection({server.getsockname()!r}).close()",
            f"import socket\n{CASES['connection'][0]}",
            f"import socket\n{CASES['open port'][0]}",
            # Hidden from the learner, and still an attempt.
            "import socket\ntry: socket.gethostbyname('example.invalid')\nexcept OSError: pass",
            "1 + 1",
        ]
        ran = run_nbval(cells, tmp_path)
    assert ran.returncode == 1
    assert "3 failed, 2 passed" in ran.stdout, ran.stdout
    for attempt in ("192.0.2.1:80", "open port: 0.0.0.0:0", "name look-up: example.invalid"):
        assert attempt in ran.stdout


def run_nbval(cells, folder):
    """Run a lesson of these cells as ``make test`` does, with the kit's own conftest."""
    passing = {"tags": ["nbval-ignore-output"]}
    lesson = new_notebook(cells=[new_code_cell(cell, metadata=passing) for cell in cells])
    nbformat.write(lesson, folder / "lesson.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:xdist", "-p", "conftest"]
    command += ["--rootdir", str(folder), "-c", os.devnull, str(folder / "lesson.ipynb")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
