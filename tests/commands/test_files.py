"""What is committed holds on any machine."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from helpers.paths import ROOT

FORBIDDEN = {
    "a home folder": ["/root/", "/home/j", "/Users/"],
    "a temporary folder": ["/tmp/"],
    "a workplace": ["/work/", "/opt/"],
    "a package index": ["pypi.org", "pythonhosted", "npmjs.org"],
}


def files() -> list[Path]:
    """List what git holds or would take; all files where this is no git clone."""
    if shutil.which("git") is None:
        pytest.skip("there is no git, so what is committed cannot be told")
    answer = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    )
    if answer.returncode:
        pytest.skip("this folder is no git clone, so what is committed cannot be told")
    return [ROOT / name for name in answer.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_file_names(kind):
    found = [
        f"{path.relative_to(ROOT)} names {text}"
        for path in files()
        if path.is_file() and path != Path(__file__).resolve()
        for text in FORBIDDEN[kind]
        if text.encode() in path.read_bytes()
    ]
    assert not found


def test_citation_and_licence_agree_with_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("BSD 3-Clause License")
    for reference in citation["references"]:
        assert reference["doi"].startswith("10.")
