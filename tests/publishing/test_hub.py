"""The files for the hub say what the lessons were measured to take, and nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.paths import ROOT
from helpers.scale import classroom
from publishing import hub
from tests.helpers.scale.test_classroom import measured
from tests.publishing import hub_problems


@pytest.fixture
def values():
    return yaml.safe_load(hub.VALUES.read_text("utf-8"))


def test_files_are_what_the_measurements_make_of_them():
    """If this fails after `make study ARGS=costs`: `make hub` writes them anew."""
    known = classroom.load()
    assert hub.VALUES.read_text("utf-8") == hub.values(known)
    assert hub.PAGE.read_text("utf-8") == hub.page(known)


def test_files_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "VALUES", tmp_path / "values.yaml")
    monkeypatch.setattr(hub, "PAGE", tmp_path / "page.md")
    assert hub.main() == 0
    assert sorted(os.listdir(tmp_path)) == ["page.md", "values.yaml"]  # noqa: PTH208
    assert hub.VALUES.read_text("utf-8") == hub.values(classroom.load())


def test_the_page_shows_the_tables():
    known = classroom.load()
    page = hub.page(known)
    assert (
        f"| together | {' | '.join(f'{n:,}' for n in classroom.memory(known).loc['together'])} |"
        in page
    )
    for lesson in classroom.lessons(known).index:
        assert f"| {lesson} |" in page
    name, tag = hub.image()
    assert f"--image-name {name}:{tag} ." in page


def test_the_page_names_what_was_assumed():
    page = hub.page(classroom.load())
    for part in (
        f"{classroom.NODE_PODS} learners are taken as the maximum",
        f"{classroom.NODE_CORES} cores and {classroom.NODE_GIB} GiB of each node",
        "measured once by hand",
        "scope: [openid, email]",
        "--version X.Y.Z",
        "`LIVE`",
    ):
        assert part in page


def test_values_ask_for_what_was_computed(values):
    asked = classroom.memory(classroom.load()).loc["rounded up"]
    memory, cpu = values["singleuser"]["memory"], values["singleuser"]["cpu"]
    assert hub_problems.mebibytes(memory["guarantee"]) == asked["one kernel"]
    assert hub_problems.mebibytes(memory["limit"]) == asked["two kernels"]
    assert 0 < cpu["guarantee"] <= cpu["limit"]
    assert values["hub"]["activeServerLimit"] >= classroom.LEARNERS


def test_the_only_problem_of_the_values_is_the_authenticator(values):
    (problem,) = hub_problems.problems(values, classroom.load())
    assert "No authenticator is chosen yet" in problem


def test_nobody_gets_in_and_nothing_is_reachable_before_it_is_decided(values):
    text = hub.VALUES.read_text("utf-8")
    assert values["hub"]["config"] == {"JupyterHub": {"authenticator_class": hub.PLACEHOLDER}}
    assert values["proxy"]["service"]["type"] == "ClusterIP"
    assert "ingress" not in values
    assert not re.search("password|secret|token|allow_all", text, re.IGNORECASE)


def test_the_image_is_that_of_binder(values):
    """Its entry point is binder/start, as long as nothing replaces the command.

    And one thread is said twice.
    """
    user = values["singleuser"]
    assert "cmd" not in user
    assert "lifecycleHooks" not in user
    assert user["storage"] == {"type": "none"}, (
        "a volume over the home folder would hide the lessons"
    )
    assert (ROOT / user["defaultUrl"].removeprefix("/lab/tree/")).is_file()
    assert f"{user['image']['name']}:{user['image']['tag']}" == ":".join(hub.image())


@pytest.mark.skipif(sys.platform == "win32", reason="the start script is for the image")
def test_the_learner_has_the_variables_of_the_start_script(values):
    answer = subprocess.run(
        [ROOT / "binder" / "start", "env"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    exported = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    caps = {name: value for name, value in exported.items() if name.endswith("_NUM_THREADS")}
    assert values["singleuser"]["extraEnv"] == caps
    assert all(isinstance(value, str) for value in values["singleuser"]["extraEnv"].values())
    assert Path(exported["JUPYTER_CONFIG_PATH"], "jupyter_lab_config.json").is_file()


def test_nothing_is_fetched_in_class_and_idle_servers_stop(values):
    rules = values["singleuser"]["networkPolicy"]
    assert rules["enabled"]
    assert rules["egressAllowRules"] == {"nonPrivateIPs": False, "privateIPs": False}
    assert values["prePuller"]["hook"]["enabled"]
    assert values["cull"]["enabled"]
    assert values["cull"]["every"] < values["cull"]["timeout"] <= 3600


def test_values_follow_the_number_of_learners():
    text = hub.values(measured(), learners=40)
    assert yaml.safe_load(text)["hub"]["activeServerLimit"] == 42
    assert "a class of 40 learners" in text


def project(folder, address, version="1.2"):
    file = folder / "pyproject.toml"
    file.write_text(
        f'[project]\nversion = "{version}"\n[project.urls]\nRepository = "{address}"\n', "utf-8"
    )
    return file


def test_the_image_is_named_after_the_project(tmp_path):
    # A registry refuses capital letters; the placeholder keeps them, so that nobody fetches
    # another's image by accident.
    for address, name in (
        ("https://github.com/Some-Lab/scVI-kit", "ghcr.io/some-lab/scvi-kit"),
        ("https://github.com/OWNER/REPOSITORY", "ghcr.io/OWNER/REPOSITORY"),
    ):
        assert hub.image(project(tmp_path, address)) == (name, "1.2")
    for content in ("", "[project", "[project]\nversion = '1'"):
        (tmp_path / "pyproject.toml").write_text(content, "utf-8")
        with pytest.raises(ValueError, match="no version or no address"):
            hub.image(tmp_path / "pyproject.toml")
    with pytest.raises(ValueError, match="no version or no address"):
        hub.image(tmp_path / "nothing.toml")


# --- problems -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("singleuser.memory.guarantee", "1G", "some kernels would be killed"),
        ("singleuser.memory.limit", "1280", "below the"),
        ("singleuser.memory.guarantee", "1280Mi", "'1280Mi' is no amount of memory"),
        ("singleuser.memory", {}, "0 MiB of memory are set aside"),
        ("singleuser.cpu.limit", 0.1, "0.1 are the limit"),
        ("singleuser.cpu.guarantee", None, "0 are set aside"),
        ("cull.enabled", False, "Culling is off"),
        ("cull", {}, "Culling is off"),
        ("hub.config.JupyterHub.authenticator_class", "dummy", "lets in whoever finds the page"),
        (
            "hub.config.JupyterHub.authenticator_class",
            "shared-password",
            "lets in whoever finds the page",
        ),
        ("hub", {}, "'dummy' lets in whoever finds the page"),
    ],
)
def test_a_problem_is_found(values, path, value, message):
    values["hub"]["config"]["JupyterHub"]["authenticator_class"] = "generic-oauth"
    known = classroom.load()
    assert hub_problems.problems(values, known) == []
    *folders, last = path.split(".")
    branch = values
    for folder in folders:
        branch = branch[folder]
    branch[last] = value
    found = hub_problems.problems(values, known)
    assert any(message in problem for problem in found), found
    assert all(re.search(r"(Set|Raise|Change|Choose|What to do)", problem) for problem in found)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("1280M", 1280), ("1.5G", 1536), ("2G", 2048), (1048576, 1), ("512K", 0.5), ("1T", 1024**2)],
)
def test_amounts_are_read_as_jupyterhub_reads_them(quantity, expected):
    assert hub_problems.mebibytes(quantity) == expected


@pytest.mark.parametrize("quantity", ["1280Mi", "lots", "", "-1M", "1 G", "1g"])
def test_other_amounts_are_refused(quantity):
    with pytest.raises(ValueError, match="no amount of memory"):
        hub_problems.mebibytes(quantity)
