"""What GitHub reads: the workflows and the forms for issues.

They cannot run here, so their form is compared with GitHub's schemas, which check-jsonschema brings
along, and what they call with what there is.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from commands import command_line
from helpers.own_data import reading
from helpers.paths import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(
    set((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"}
)

SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-issue-forms": FORMS,
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE/config.yml"],
    "dependabot": [GITHUB / "dependabot.yml"],
}

SYSTEMS = {"ubuntu-latest", "macos-latest", "windows-latest"}


def validation(schema: str, *files: Path) -> subprocess.CompletedProcess:
    """Compare files with a schema that is in the package: no network is needed."""
    command = ["check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)


def jobs(workflow: Path) -> dict[str, dict]:
    """Read the jobs of a workflow."""
    return yaml.safe_load(workflow.read_text("utf-8"))["jobs"]


def commands_of(job: dict) -> list[list[str]]:
    """List the kit's commands that a job runs, each with its arguments."""
    lines = "\n".join(step.get("run", "") for step in job["steps"])
    return [line.split() for line in re.findall(r"\bpython commands (.+)", lines)]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_have_the_form_that_github_reads(schema):
    assert SCHEMAS[schema]
    answer = validation(schema, *SCHEMAS[schema])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_job_without_a_runner_is_found(tmp_path):
    # Shows that the test above can fail.
    text = (GITHUB / "workflows/book.yml").read_text("utf-8")
    broken = tmp_path / "book.yml"
    broken.write_text(text.replace("runs-on:", "runs_on:", 1), "utf-8")
    assert validation("github-workflows", broken).returncode == 1


def test_there_is_a_workflow_for_each_thing_that_can_break_unseen():
    assert [path.stem for path in WORKFLOWS] == ["binder", "book", "nightly", "test"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_that_is_called_exists(workflow):
    called = [name for job in jobs(workflow).values() for name, *_ in commands_of(job)]
    assert set(called) <= set(command_line.COMMANDS)
    assert called or workflow.stem == "binder"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_that_is_named_exists(workflow):
    content = yaml.safe_load(workflow.read_text("utf-8"))
    # YAML 1.1 takes the key `on` for a truth value.
    events = [event for event in content[True].values() if event]
    filters = [
        name for event in events if isinstance(event, dict) for name in event.get("paths", ())
    ]
    settings = [step.get("with", {}) for job in jobs(workflow).values() for step in job["steps"]]
    caches = "\n".join(each.get("cache-dependency-path", "") for each in settings).split()
    for name in [*filters, *caches]:
        assert (ROOT / name.removesuffix("/**")).exists(), name


def test_both_version_tracks_are_tested_on_every_system():
    matrix = jobs(GITHUB / "workflows/test.yml")["test"]["strategy"]["matrix"]
    assert set(matrix["system"]) == SYSTEMS
    assert_both_tracks(matrix["python"])


def test_linux_runs_everything_in_both_version_tracks_and_has_a_browser():
    job = jobs(GITHUB / "workflows/test.yml")["everything"]
    assert job["runs-on"] == "ubuntu-latest"
    assert commands_of(job) == [["test-all"]]
    assert_both_tracks(job["strategy"]["matrix"]["python"])
    assert any("chrom" in step.get("run", "") for step in job["steps"])


def test_nightly_takes_the_newest_releases():
    job = jobs(GITHUB / "workflows/nightly.yml")["newest"]
    assert commands_of(job) == [["test", "--newest"]]
    assert all(version in SpecifierSet(">=3.12") for version in job["strategy"]["matrix"]["python"])
    assert "cache" not in str(job["steps"]), "a cache would hold yesterday's releases"


def assert_both_tracks(pythons: list[str]) -> None:
    """One Python is older than the current scvi-tools needs, one is not, and the kit takes both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert all(version in SpecifierSet(project["requires-python"]) for version in pythons)
    assert {version in SpecifierSet(">=3.12") for version in pythons} == {False, True}


def test_no_job_may_write_to_the_repository():
    for workflow in WORKFLOWS:
        content = yaml.safe_load(workflow.read_text("utf-8"))
        assert content["permissions"] == {"contents": "read"}, workflow.name
        for job in content["jobs"].values():
            assert set(job.get("permissions", {})) <= {"pages", "id-token"}, workflow.name
            assert job["timeout-minutes"] <= 180


def test_form_for_files_offers_every_kind_that_is_read():
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE/file.yml").read_text("utf-8"))
    kinds = next(field for field in form["body"] if field.get("id") == "kind")
    offered = re.findall(r"\.\w+", " ".join(kinds["attributes"]["options"]))
    assert set(offered) >= set(reading.READERS)


def test_public_address_is_in_none_of_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project["urls"]["Repository"]
    for path in [*WORKFLOWS, *(GITHUB / "ISSUE_TEMPLATE").iterdir(), GITHUB / "dependabot.yml"]:
        assert address not in path.read_text("utf-8")
