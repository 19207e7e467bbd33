"""Record what a program attempts on a network: connections, name look-ups, open ports.

Two recorders look at once. A hook in every Python tells which names are looked up, on every system.
Where there is ``strace`` (Linux), it shows the system calls of all processes, so that code outside
Python is seen as well. The standard library is enough for it.
"""

import contextlib
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import ROOT

HOOK = Path(__file__).with_name("recorder")

# What an attempt is, in the order of the page's columns.
KINDS = ("connection", "name look-up", "open port")


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
    folders = [str(HOOK), *filter(None, [environment.get("PYTHONPATH")])]
    added = {"PYTHONPATH": os.pathsep.join(folders), "CONNECTIONS_RECORD": str(notes)}
    return {**environment, **added}


def tracer(notes: Path) -> list[str]:
    """Give the words before a command with which the system notes its attempts; none if it cannot.

    Those of all its processes are noted.
    """
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
    RuntimeError
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
            raise RuntimeError(f"{' '.join(command[:4])} ... stopped with status {status}:\n{said}")
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
