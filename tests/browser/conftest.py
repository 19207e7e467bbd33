"""A Lab that is really running, and the browser that looks at it."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# No sandbox: a container's root may not make one. The rest keeps the browser off the network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict) -> dict:
    """Let Playwright drive the browser of this machine, since it must not download its own."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"there is no Chromium on this machine (looked for {', '.join(BROWSERS)})")
    return {**browser_type_launch_args, "executable_path": program, "args": FLAGS}


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start ``commands lab``, and give the address that it prints and its process.

    Its settings and its layout go into a temporary folder. Autosave is off, so that running a
    lesson leaves the stored notebook as it is.
    """
    folder = tmp_path_factory.mktemp("lab")
    autosave = folder / "settings/@jupyterlab/docmanager-extension/plugin.jupyterlab-settings"
    autosave.parent.mkdir(parents=True)
    autosave.write_text(json.dumps({"autosave": False}))
    log = folder / "lab.log"
    command = [
        *(sys.executable, "commands", "lab", "--no-browser", f"--port={free_port()}"),
        *("--expose-app-in-browser", f"--LabApp.workspaces_dir={folder / 'workspaces'}"),
        f"--LabApp.user_settings_dir={folder / 'settings'}",
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield wait_for_address(server, log), server
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="session")
def lab_address(lab_server) -> str:
    """Give the address of a Lab that is running."""
    return lab_server[0]


def free_port() -> int:
    """Give a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_address(server: subprocess.Popen, log: Path) -> str:
    """Wait until Lab prints its address."""
    end = time.monotonic() + 90
    text = ""
    while time.monotonic() < end:
        text = log.read_text("utf-8", errors="replace")
        if match := re.search(r"http://127\.0\.0\.1:\d+/lab\S*", text):
            return match[0]
        assert server.poll() is None, f"Lab stopped before it printed an address:\n{text}"
        time.sleep(0.2)
    raise AssertionError(f"Lab printed no address in 90 s:\n{text}")
