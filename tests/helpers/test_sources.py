"""What set-up fetches is listed with its checksum, and nothing else in the kit fetches anything."""

import ast
import re

import pytest

from helpers import data
from helpers.paths import ROOT

# The files that may speak to another machine, or hand over to a program that does.
FETCHING = {
    "commands/connections.py": "asks the Lab that it has started on this machine",
    "commands/pins.py": "renews the tested versions",
    "commands/set_up.py": "installs the tested versions",
    "studies/cortex_text_runs.py": "lets scvi-tools read a file that lies where it would put its own",
    "helpers/data/datasets.py": "fetches the listed sources",
    "helpers/data/download.py": "downloads the listed sources from the web",
    "helpers/scale/sweep.py": "asks whether there is a cluster where the user says",
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
    for folder in ("commands", "helpers", "notebooks")
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


# --- the table of sources -----------------------------------------------------------------------


@pytest.mark.parametrize("source", data.SOURCES.values(), ids=lambda source: source.name)
def test_each_source_has_a_checksum_or_is_known_to_have_none(source):
    for digest in source.sha256:
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert source.md5 == "" or re.fullmatch(r"[0-9a-f]{32}", source.md5)
    assert source.sha256 or source.md5 or source.name == "citeseq_all"


def test_what_set_up_fetches_has_a_checksum():
    # The other two come only to those who ask for them.
    fetched = [each for each in data.SOURCES.values() if each.archive not in ("web", "file")]
    assert {source.name for source in fetched} == set(data.sources().index)
    assert all(source.sha256 for source in fetched)


def test_each_source_has_a_licence_and_a_citation():
    for source in data.SOURCES.values():
        assert source.licence
        assert source.citation


def test_a_name_that_is_not_listed_is_not_fetched(tmp_path):
    with pytest.raises(KeyError):
        data.fetch("anything", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pip_fetches_data_by_checksum_only():
    text = (ROOT / "helpers" / "data.py").read_text("utf-8")
    assert text.count('"pip"') == text.count('"--require-hashes"') == 1
    assert "--hash=sha256:" in text
