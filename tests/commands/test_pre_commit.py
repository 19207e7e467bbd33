"""The hooks that look before a commit: the versions and the settings of the kit's own tools."""

import shutil
import subprocess
import sys

import pytest
import yaml

from commands import notebooks
from helpers.paths import ROOT

HOOKS = {
    hook["id"]: hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    for hook in repository["hooks"]
}


def test_what_is_looked_at():
    assert set(HOOKS) == {"codespell", "notebook-metadata", "pairs", "ruff-check", "ruff-format"}


@pytest.mark.parametrize("hook", HOOKS)
def test_versions_are_the_tested_ones(hook):
    pins = (ROOT / "requirements/tested.txt").read_text("utf-8").splitlines()
    assert HOOKS[hook]["additional_dependencies"]
    for requirement in HOOKS[hook]["additional_dependencies"]:
        assert requirement in pins, f"{requirement} is not what requirements/tested.txt says"


def test_metadata_are_those_that_make_notebooks_drops():
    entry = HOOKS["notebook-metadata"]["entry"]
    assert f'"{notebooks.DROPPED_METADATA}"' in entry
    assert set(notebooks.KEPT) <= set(entry.split())


def test_lesson_whose_py_was_edited_alone_is_named(tmp_path):
    for suffix in (".py", ".ipynb"):
        shutil.copy((ROOT / "notebooks/03_hidden_layers").with_suffix(suffix), tmp_path)
    lesson = tmp_path / "03_hidden_layers.py"
    assert look(lesson.with_suffix(".ipynb")).returncode == 0
    lesson.write_text(lesson.read_text("utf-8").replace("hidden", "concealed", 1), "utf-8")
    answer = look(lesson.with_suffix(".ipynb"))
    assert answer.returncode == 1
    assert f"{lesson}: run `make notebooks" in answer.stdout


def look(path) -> subprocess.CompletedProcess:
    """Run the hook as it is written, in this environment."""
    entry = HOOKS["pairs"]["entry"].removeprefix("python ").split()
    command = [sys.executable, *entry, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
