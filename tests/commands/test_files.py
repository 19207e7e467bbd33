"""What is committed holds on any machine."""

import hashlib
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from helpers.paths import ROOT

FORBIDDEN = {
    "a home folder": ["/root/", "/home/j", "/Users/"],
    "a temporary folder": ["/tmp/"],
    "a workplace": ["/work/", "/opt/"],
}

# What addresses may lead to. Packages come from where pip and conda are told to look, so no file
# has a reason to name a host that carries them.
HOSTS = {
    "discourse.scverse.org": "where questions about scVI are asked",
    "doi.org": "articles",
    "github.com": "the repository itself",
    "hub.jupyter.org": "the chart of JupyterHub",
    "hub.your-domain": "the reader's own hub",
    "keepachangelog.com": "how the list of changes is written",
    "mybinder.org": "Binder",
    "nbgrader.readthedocs.io": "nbgrader",
    "pre-commit.com": "what looks at a commit",
    "scvi-tools.org": "scvi-tools",
    "semver.org": "what a version number means",
    "storage.googleapis.com": "the original file of the cortex cells",
    "www.apache.org": "a licence that is passed on",
    "www.mathjax.org": "a licence that is passed on",
    "www.python.org": "Python",
    "www.ray.io": "Ray",
    "www.w3.org": "the name space of SVG",
}

# Names that lead nowhere, for tests, and this machine.
RESERVED = re.compile(r"(.+\.)?(example\.(org|com)|invalid|localhost|test)|127(\.[\d.]+)?")

ADDRESS = re.compile(rb"https?://([\w.-]+\.[\w-]+|[\d.]+)")
NAME = re.compile(rb"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,6}\b")

# SHA-256 of the domains that carry packages, so that they are found without https:// as well, and
# named not even here.
PACKAGE_DOMAINS = {
    "3ca29e55be4b",
    "51c6b9f69c48",
    "8743857e3ea0",
    "8b5bb5eb9d75",
    "9c6b05022d03",
    "a05b0cf8b918",
    "a4aa2ac280bb",
}


@cache
def files() -> list[Path]:
    """List what git holds or would take; all files where this is no git clone."""
    if shutil.which("git") is None:
        pytest.skip("there is no git, so what is committed cannot be told")
    answer = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    )
    if answer.returncode:
        pytest.skip("this folder is no git clone, so what is committed cannot be told")
    named = [ROOT / name for name in answer.stdout.decode().split("\0") if name]
    return [path for path in named if path.is_file()]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_file_names(kind):
    found = [
        f"{path.relative_to(ROOT)} names {text}"
        for path in files()
        if path != Path(__file__).resolve()
        for text in FORBIDDEN[kind]
        if text.encode() in path.read_bytes()
    ]
    assert not found


def unknown_hosts(content: bytes) -> set[str]:
    """Return the hosts of addresses that are not among those that pages may lead to."""
    found = {host.decode().lower().rstrip(".") for host in ADDRESS.findall(content)}
    return {host for host in found if host not in HOSTS and not RESERVED.fullmatch(host)}


def package_domains(content: bytes) -> set[str]:
    """Return the names in a file that are, or are below, a domain that carries packages."""
    names = {name.decode().lower() for name in NAME.findall(content)}
    return {name for name in names if digest(".".join(name.split(".")[-2:])) in PACKAGE_DOMAINS}


def digest(domain: str) -> str:
    """Return the beginning of a domain's SHA-256."""
    return hashlib.sha256(domain.encode()).hexdigest()[:12]


def test_addresses_lead_to_known_hosts():
    found = {path: unknown_hosts(path.read_bytes()) for path in files()}
    assert not {path: hosts for path, hosts in found.items() if hosts}


def test_no_file_names_a_host_of_packages():
    found = {path: package_domains(path.read_bytes()) for path in files()}
    assert not {path: names for path, names in found.items() if names}


def test_hosts_are_found(monkeypatch):
    # In two parts, as this file is looked at, too.
    content = b"from https:" + b"//files.mirror.example.net/simple or packages.carrier.io"
    assert unknown_hosts(content) == {"files.mirror.example.net"}
    assert unknown_hosts(b"see http://127.0.0.1:8888 and https://index.invalid/x") == set()
    assert package_domains(content) == set()
    monkeypatch.setitem(globals(), "PACKAGE_DOMAINS", {digest("carrier.io")})
    assert package_domains(content) == {"packages.carrier.io"}


def test_citation_and_licence_agree_with_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("BSD 3-Clause License")
    for reference in citation["references"]:
        assert reference["doi"].startswith("10.")
