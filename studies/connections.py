"""Run all lessons and JupyterLab while every attempt to use a network is recorded, and write what was attempted into ``docs/``.

Two recorders look at once. A hook in every Python tells which names are looked up, on every system.
Where there is ``strace`` (Linux), it shows the system calls of all processes, so that code outside
Python is seen as well.
"""

import contextlib
import ipaddress
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from commands import lab
from commands.console import CommandError, say
from commands.environment import ROOT, THREAD_CAPS, Environment, own_environment, variables
from commands.set_up import set_up

PAGE = ROOT / "docs" / "connections.md"
RECORDER = Path(__file__).with_name("recorder")

# What an attempt is, in the order of the page's columns.
KINDS = ("connection", "name look-up", "open port")

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


@dataclass(frozen=True, order=True)
class Attempt:
    """One attempt that concerns more than this machine.

    Attributes
    ----------
    kind
        One of ``KINDS``.
    where
        The address with its port, or the name that was looked up.
    """

    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


# --- recording ----------------------------------------------------------------------------------


def recording(environment: Mapping[str, str], notes: Path) -> dict[str, str]:
    """Give the variables with which every Python notes its attempts in a file."""
    folders = [str(RECORDER), *filter(None, [environment.get("PYTHONPATH")])]
    added = {"PYTHONPATH": os.pathsep.join(folders), "CONNECTIONS_RECORD": str(notes)}
    return {**environment, **added}


def tracer(notes: Path) -> list[str]:
    """Give the words before a command with which the system notes the attempts of all its processes; none where it cannot."""
    program = shutil.which("strace")
    if (
        program is None
        or subprocess.run([program, "-o", os.devnull, "true"], capture_output=True).returncode
    ):
        return []
    calls = "trace=bind,connect,listen,sendmmsg,sendmsg,sendto"
    return [program, "-f", "-q", "--seccomp-bpf", "-yy", "-s", "64", "-e", calls, "-o", str(notes)]


def watch(
    command: list[str],
    environment: Mapping[str, str],
    drive: Callable[[], None] = lambda: None,
) -> tuple[list[Attempt], list[Attempt]]:
    """Run a command to its end, and record what it and all that it starts attempts.

    Parameters
    ----------
    command, environment
        The command and its variables.
    drive
        What is done meanwhile; it has to see to it that the command ends.

    Returns
    -------
    tuple
        What Python noted, and what the system noted.

    Raises
    ------
    CommandError
        Where the command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        python, system, log = (Path(folder, name) for name in ("python", "system", "log"))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*tracer(system), *command],
                cwd=ROOT,
                env=recording(environment, python),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                drive()
                status = process.wait()
            finally:
                _stop(process)
        if status:
            said = log.read_text("utf-8", errors="replace")[-2000:]
            raise CommandError(f"{' '.join(command[:4])} ... stopped with status {status}:\n{said}")
        return read_python(python), read_system(system)


def _stop(process: subprocess.Popen) -> None:
    """End a command that did not end by itself; what strace watches would outlive it."""
    if process.poll() is None:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def read_python(notes: Path, start: int = 0) -> list[Attempt]:
    """Read what Python noted, from a position in the file on.

    Attempts within this machine are left out.
    """
    found = []
    if notes.exists():
        with notes.open("rb") as file:
            file.seek(start)
            for line in file:
                found += _noted(*json.loads(line))
    return sorted(set(found))


def _noted(event: str, said: list) -> Iterator[Attempt]:
    """Give the attempts in one note of Python."""
    action = event.removeprefix("socket.")
    if action in ("getaddrinfo", "gethostbyaddr", "gethostbyname", "getnameinfo"):
        name = said[0][0] if isinstance(said[0], list) else said[0]
        backwards = action in ("gethostbyaddr", "getnameinfo")
        if not _is_local(name) and (backwards or not _is_number(name)):
            yield Attempt("name look-up", str(name))
        return
    # A text is the path of a socket in the file system; addresses of other families begin with a
    # number.
    address = said[-1] if said else None
    if not isinstance(address, list) or len(address) < 2 or not isinstance(address[0], str):
        return
    host, port = address[:2]
    if action == "bind":
        if host == "" or not _is_local(host):
            yield Attempt("open port", _joined(host or "0.0.0.0", port))
    elif not _is_local(host):
        yield Attempt("connection", _joined(host, port))


def _is_local(name: str | None) -> bool:
    """Tell whether a host is this machine, and told from its name alone."""
    if name in (None, "", "localhost"):
        return True
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(str(name).partition("%")[0])
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    return False


def _is_number(name: str) -> bool:
    """Tell whether a host is given by its address, so that nobody has to be asked for it."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name.partition("%")[0]))
    return False


def _joined(host: str, port: object) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


CALL = re.compile(r"^\d+ +(\w+)\(\d+(?:<(\S+?)>)?[,)]")
ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
# Asks the system's own service for names.
RESOLVER = "/run/systemd/resolve/"


def read_system(notes: Path) -> list[Attempt]:
    """Read what the system noted; attempts within this machine are left out."""
    found = []
    if notes.exists():
        for line in notes.read_text("utf-8", errors="replace").splitlines():
            found += _called(line)
    return sorted(set(found))


def _called(line: str) -> Iterator[Attempt]:
    """Give the attempts in one line of strace."""
    call = CALL.match(line)
    if call is None:
        return
    if RESOLVER in line:
        yield Attempt("name look-up", "through the system's service")
    if call[1] == "listen":
        # Without an address it listens on all of them.
        if re.fullmatch(r"TCP(v6)?:\[\d+\]", call[2] or ""):
            yield Attempt("open port", "0.0.0.0, of the system's choice")
        return
    for port, host in ADDRESS.findall(line):
        if port == "53" and call[1] != "bind":
            yield Attempt("name look-up", f"at {_joined(host, port)}")
        elif not _is_local(host):
            yield Attempt("open port" if call[1] == "bind" else "connection", _joined(host, port))


# --- what is run --------------------------------------------------------------------------------


def lesson_command(environment: Environment, lesson: Path, folder: str) -> list[str]:
    """Give the command that runs a lesson from top to bottom and leaves the stored one as it is."""
    convert = [str(environment.python), "-m", "nbconvert", "--execute", "--to", "notebook"]
    return [*convert, "--output-dir", folder, str(lesson)]


def watch_lab(environment: Environment) -> tuple[list[Attempt], list[Attempt]]:
    """Start Lab as ``make lab`` does, ask for what its page asks for, start and close a kernel, and stop it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = secrets.token_hex()
    command = [str(environment.python), "-m", "jupyterlab", f"--port={port}", "--no-browser"]
    settings = variables(environment) | THREAD_CAPS | {"JUPYTER_TOKEN": token}
    return watch([*command, *lab.options(os.environ)], settings, lambda: visit(port, token))


def visit(port: int, token: str, patience: float = 90) -> None:
    """Be the page of Lab for a moment, then stop the server."""
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
                raise CommandError(f"JupyterLab did not answer within {patience:.0f} s.") from None
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


def require_sight(environment: Environment) -> None:
    """Raise unless the recorders see one attempt of each kind, so that an empty table means something.

    Raises
    ------
    CommandError
        With what was not seen.
    """
    seen = watch([str(environment.python), "-c", PROBE], os.environ)
    recorders = ("Python", "strace") if tracer(Path(os.devnull)) else ("Python",)
    for recorder, attempts in zip(recorders, seen, strict=False):
        if missing := set(KINDS) - {attempt.kind for attempt in attempts}:
            raise CommandError(
                f"The recorder of {recorder} did not see a trial attempt: "
                f"{', '.join(sorted(missing))}. What it does not see here, it would not see in a "
                "lesson."
            )


def main(arguments: list[str]) -> int:
    """Record all lessons and Lab, and write the page; fail if anything was attempted."""
    if arguments:
        raise CommandError(f"connections takes no arguments, not: {' '.join(arguments)}")
    environment = own_environment()
    set_up(environment, frozenset({"test"}))
    return record(environment)


def record(environment: Environment, lessons: Path = ROOT / "notebooks", page: Path = PAGE) -> int:
    """Record what all lessons of a folder and Lab attempt, and write it.

    Returns
    -------
    int
        The exit status: 1 if anything was attempted.
    """
    require_sight(environment)
    found: dict[str, tuple[list[Attempt], list[Attempt]]] = {}
    for lesson in sorted(lessons.glob("*.ipynb")):
        say(f"Running {lesson.name} ...")
        with tempfile.TemporaryDirectory() as folder:
            command = lesson_command(environment, lesson, folder)
            found[lesson.stem] = watch(command, variables(environment) | THREAD_CAPS)
    say("Starting JupyterLab ...")
    found["JupyterLab"] = watch_lab(environment)
    together = {name: sorted({*python, *system}) for name, (python, system) in found.items()}
    page.write_text(
        page_of(together, versions(environment), bool(tracer(Path(os.devnull)))), "utf-8"
    )
    for name, attempts in together.items():
        for attempt in attempts:
            say(f"{name} attempted a {attempt}")
    say(f"{page.name} is written.")
    return int(any(together.values()))


def versions(environment: Environment) -> dict[str, str]:
    """Give the versions of Python and of what could have a mind to call home."""
    script = (
        "import json, platform; from importlib.metadata import version; "
        "print(json.dumps({'Python': platform.python_version()} | {n: version(n) for n in "
        f"{VERSIONS_OF!r}}}))"
    )
    command = [environment.python, "-c", script]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


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
        "by a hook in every Python (names that are looked up, too) and by `strace` (system calls "
        "of all processes, so code outside Python as well)"
        if traced
        else (
            "by a hook in every Python; code outside Python was not seen, because this machine "
            "has no `strace`"
        )
    )
    return f"""\
# What the lessons attempt on a network

Written by `make connections`; do not edit.

**Connections attempted while all lessons run: {total}.**

Each lesson ran from top to bottom in a kernel of its own; JupyterLab was started as `make lab` does, asked for its page, its settings and
a kernel, and stopped. What concerns this machine alone is left out: notebook and kernel talk over 127.0.0.1. Recorded {how}.
Before that, each recorder had to see a trial program that calls an address, looks up a name and opens a port to others.

With {", ".join(f"{name} {version}" for name, version in versions.items())}.

| what ran | connections to other machines | names looked up | ports open to other machines |
| --- | --- | --- | --- |
{chr(10).join(rows)}

`make test` looks at every cell again, with the hook in Python, and at every address that the page in the browser asks for. Not in the table, because
somebody has to ask for it: set-up, `make pins`, `data.load_citeseq(cells="all")`, and a sweep on Ray (lesson 07).
"""
