"""Nothing in the kit fetches anything but those files that are known to."""

import ast
import re

import pytest

from helpers.paths import ROOT

# The files that may speak to another machine, or hand over to a program that does.
FETCHING = {
    "commands/pins.py": "renews the tested versions",
    "commands/set_up.py": "installs the tested versions",
    "studies/connections.py": "asks the Lab that it has started on this machine",
    "helpers/data/archives.py": "lets scvi-tools read a listed source, which it downloads itself",
    "helpers/data/fetching.py": "fetches the listed sources",
    "helpers/data/download.py": "downloads the listed sources from the web",
    "helpers/scale/ray_cluster.py": "asks whether there is a cluster where the user says",
}

# Modules and functions that reach other machines.
REACHING = {
    "aiohttp",
    "boto3",
    "ftplib",
    "fsspec",
    "gdown",
    "http.client",
    "httpx",
    "huggingface_hub",
    "pooch",
    "requests",
    "smtplib",
    "socket",
    "telnetlib",
    "urllib.request",
    "urllib3",
    "webbrowser",
    "xmlrpc.client",
}
# scanpy's and scvi-tools' own downloads; what they load from a package or a file is not among them.
DOWNLOADS = re.compile(
    r"scvi\.data\.(?!AnnDataManager|fields|poisson|cellxgene|synthetic|reads_to|_)\w+\("
    r"|(?:sc|scanpy)\.datasets\.(?!pbmc68k_reduced)\w+\(|\.(?:load_from_hub|pull_from_huggingface_hub|pull_from_s3)\("
    r"|cellxgene\(|backup_url|\bpip\b[\"', ]+(?:install|download)|\b(?:curl|wget)\b"
)


def reaching(text):
    """Return what in a program reaches other machines: imported modules, downloads and pip."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name for name in names for each in REACHING if f"{name}.".startswith(f"{each}.")}
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    # A call in a list of words reads as on a command line.
    return found | set(DOWNLOADS.findall(code.replace('"pip",\n', '"pip", ').replace("\n", " ")))


PROGRAMS = sorted(
    path
    for folder in ("commands", "helpers", "notebooks", "studies")
    for path in (ROOT / folder).rglob("*.py")
    if "checkpoints" not in path.name
)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_few_files_reach_other_machines(path):
    name = path.relative_to(ROOT).as_posix()
    if name not in FETCHING:
        assert not reaching(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "import urllib.request",
        "from urllib import request",
        "import urllib.request as web",
        "import requests",
        "from http import client",
        "import http.client",
        "def f():\n    import socket",
        "cells = scvi.data.pbmcs_10x_cite_seq()",
        "adata = sc.datasets.pbmc3k()",
        "model = SCVI.load_from_hub('x')",
        'run([python, "-m", "pip", "install", "x"])',
        'command = [\n    "pip",\n    "download",\n]',
        'os.system("curl -O address")',
    ],
)
def test_what_reaches_other_machines_is_found(text):
    assert reaching(text)


@pytest.mark.parametrize(
    "text",
    [
        "from urllib.parse import urlsplit",
        "from http import HTTPStatus",
        "import scvi\nscvi.model.SCVI(adata)",
        "# scvi.data.cortex() would download it",
        "adata = sc.datasets.pbmc68k_reduced()",
        'subprocess.run([python, "-m", "pip", "freeze"])',
    ],
)
def test_what_stays_here_is_not(text):
    assert not reaching(text)
