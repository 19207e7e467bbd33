"""Run all lessons and JupyterLab while every attempt to use a network is recorded."""

import importlib.metadata
import json
import os
import platform
import secrets
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from helpers.paths import NOTEBOOKS, RESULTS, ROOT
from studies import keeping
from studies.catalogue import Study
from studies.network_recorder import KINDS, Attempt, tracer, watch

STUDY = Study(
    name="connections",
    question="What do the lessons and JupyterLab attempt on a network? (on Linux)",
    minutes=6,
    writes=("docs/results/connections.md",),
)

PAGE = RESULTS / "connections.md"

VERSIONS_OF = ("scvi-tools", "torch", "lightning", "jupyterlab", "ipykernel")

# Does one of each kind, without a packet leaving for a machine that exists: both address and name
# are reserved for documents.
PROBE = """
import contextlib, socket
with contextlib.suppress(OSError), socket.socket() as caller:
    caller.settimeout(1)
    caller.connect(("192.0.2.1", 80))
with contextlib.suppress(OSError):
    socket.getaddrinfo("example.invalid", 80)
with socket.socket() as server:
    server.bind(("0.0.0.0", 0))
    server.listen()
"""


# --- what is run --------------------------------------------------------------------------------


def lesson_command(lesson: Path, folder: str) -> list[str]:
    """Give the command that runs a lesson from top to bottom and leaves the stored one as it is."""
    convert = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook"]
    return [*convert, "--output-dir", folder, str(lesson)]


def watch_lab() -> tuple[list[Attempt], list[Attempt]]:
    """Start Lab as ``make lab`` does, be its page for a moment, and stop it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = secrets.token_hex()
    # Its settings come from the folder that the variables of ``make`` name.
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", "--no-browser"]
    command += [f"--ServerApp.root_dir={ROOT}", "--log-level=WARN", "--allow-root"]
    return watch(command, os.environ | {"JUPYTER_TOKEN": token}, lambda: visit(port, token))


def visit(port: int, token: str, patience: float = 90) -> None:
    """Ask for what the page of Lab asks for, start and close a kernel, then stop the server."""
    # A proxy that the shell names is not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, how: str = "GET", what: object = None) -> bytes:
        body = None if what is None else json.dumps(what).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/{path}", body, {"Authorization": f"token {token}"}, method=how
        )
        with opener.open(request, timeout=60) as answer:
            return answer.read()

    end = time.monotonic() + patience
    while True:
        try:
            ask("api/status")
            break
        except OSError:
            if time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not answer within {patience:.0f} s.") from None
            time.sleep(0.2)
    for path in (
        "lab",
        "lab/api/settings",
        "lab/api/extensions",
        "api/kernelspecs",
        "api/contents/notebooks",
    ):
        ask(path)
    notebook = {"path": "notebooks/00_setup.ipynb", "name": "00_setup.ipynb", "type": "notebook"}
    session = json.loads(ask("api/sessions", "POST", notebook | {"kernel": {"name": "python3"}}))
    ask(f"api/sessions/{session['id']}", "DELETE")
    ask("api/shutdown", "POST", {})


def require_sight() -> None:
    """Raise unless the recorders see one attempt of each kind: an empty table must mean something.

    Raises
    ------
    RuntimeError
        With what was not seen.
    """
    seen = watch([sys.executable, "-c", PROBE], os.environ)
    recorders = ("Python", "strace") if tracer(Path(os.devnull)) else ("Python",)
    for recorder, attempts in zip(recorders, seen, strict=False):
        if missing := set(KINDS) - {attempt.kind for attempt in attempts}:
            raise RuntimeError(
                f"The recorder of {recorder} did not see a trial attempt: "
                f"{', '.join(sorted(missing))}. What it does not see here, it would not see in a "
                "lesson."
            )


def main() -> int:
    """Record all lessons and Lab, and write the page; return 1 if anything was attempted."""
    return record()


def record(lessons: Path = NOTEBOOKS, page: Path = PAGE) -> int:
    """Record what all lessons of a folder and Lab attempt, and write it.

    Returns
    -------
    int
        The exit status: 1 if anything was attempted.
    """
    require_sight()
    found: dict[str, tuple[list[Attempt], list[Attempt]]] = {}
    for lesson in sorted(lessons.glob("*.ipynb")):
        print(f"Running {lesson.name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found[lesson.stem] = watch(lesson_command(lesson, folder), os.environ)
    print("Starting JupyterLab ...", flush=True)
    found["JupyterLab"] = watch_lab()
    attempts = {name: sorted({*python, *system}) for name, (python, system) in found.items()}
    page.write_text(page_of(attempts, versions(), bool(tracer(Path(os.devnull)))), "utf-8")
    for name, of_this in attempts.items():
        for attempt in of_this:
            print(f"{name} attempted a {attempt}")
    print(f"{page.name} is written.")
    return int(any(attempts.values()))


def versions() -> dict[str, str]:
    """Give the versions of Python and of what could have a mind to call home."""
    return {"Python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in VERSIONS_OF
    }


# --- the page -----------------------------------------------------------------------------------


def page_of(found: Mapping[str, list[Attempt]], versions: Mapping[str, str], traced: bool) -> str:
    """Write the page.

    Parameters
    ----------
    found
        What each lesson, and JupyterLab, attempted.
    versions
        Names and versions of what ran.
    traced
        Whether the system's recorder was there.
    """
    rows = []
    for name, attempts in found.items():
        cells = (
            ", ".join(attempt.where for attempt in attempts if attempt.kind == kind) or "none"
            for kind in KINDS
        )
        rows.append(f"| {name} | {' | '.join(cells)} |")
    everything = sorted({attempt for attempts in found.values() for attempt in attempts})
    total = "; ".join(map(str, everything)) or "none"
    how = (
        "by a hook in every\nPython (names that are looked up, too) and by `strace` (system calls "
        "of all processes, so code\noutside Python as well)"
        if traced
        else (
            "by a hook in every\nPython; code outside Python was not seen, because this machine "
            "has no `strace`"
        )
    )
    return f"""\
# What the lessons attempt on a network

{keeping.written_by(STUDY.name)}

**Connections attempted while all lessons run: {total}.**

Each lesson ran from top to bottom in a kernel of its own; JupyterLab was started as `make lab`
does, asked for its page, its settings and a kernel, and stopped. What concerns this machine alone
is left out: notebook and kernel talk over 127.0.0.1. Recorded {how}.
Before that, each recorder had to see a trial program that calls an address, looks up a name and
opens a port to others.

With {", ".join(f"{name} {version}" for name, version in versions.items())}.

| what ran | connections to other machines | names looked up | ports open to other machines |
| --- | --- | --- | --- |
{chr(10).join(rows)}

`make test` looks at every cell again, with the hook in Python, and at every address that the page
in the browser asks for. Not in the table, because somebody has to ask for it: set-up, `make pins`,
`data.load_citeseq(cells="all")`, and a sweep on Ray (lesson 07).
"""
