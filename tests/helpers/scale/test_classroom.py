"""What a class needs follows from what the lessons take, and the files for the hub say that and nothing else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.paths import ROOT
from helpers.scale import classroom, ddp


def measured(**peaks):
    """Give measurements of two lessons.

    100 CPU seconds and 120 wall seconds each, and 1,000 MiB or what is said.
    """
    peaks = peaks or {"00_a": 1000, "01_b": 500}
    return {
        "lessons": [
            {
                "lesson": name,
                "CPU seconds": 100.0,
                "wall seconds": 120.0,
                "peak MiB": peak,
                "cores": 1,
            }
            for name, peak in peaks.items()
        ]
    }


@pytest.fixture
def values():
    return yaml.safe_load(classroom.VALUES.read_text("utf-8"))


# --- the arithmetic -----------------------------------------------------------------------------


def test_memory_adds_up():
    table = classroom.memory(measured())
    assert table["one kernel"].tolist() == [1000, 85, 272, 1357, 1408]
    assert table["two kernels"].tolist() == [2000, 85, 522, 2607, 2624]
    assert (table.loc["rounded up"] % classroom.STEP == 0).all()


def test_the_largest_lesson_decides():
    before = classroom.memory(measured()).loc["together"]
    assert (classroom.memory(measured(a=1000, b=900)).loc["together"] == before).all()
    assert (classroom.memory(measured(a=1001, b=900)).loc["together"] > before).all()


def test_learners_fit_into_the_nodes():
    table = classroom.nodes(measured(), learners=200)
    asked = classroom.memory(measured()).loc["rounded up", "one kernel"]
    for row in table.itertuples(index=False):
        row = dict(zip(table.columns, row, strict=True))
        each = row["learners a node"]
        assert each * asked <= (row["GiB"] - classroom.NODE_GIB) * 1024
        assert each * classroom.CPU_GUARANTEE <= row["cores"] - classroom.NODE_CORES
        assert each <= classroom.NODE_PODS
        assert row["nodes"] * each >= 200 > (row["nodes"] - 1) * each
        assert row["GiB together"] == row["nodes"] * row["GiB"]
        # What is set aside: in the worst case four times as long as alone.
        assert 120 <= row["longest lesson (s)"] <= 100 / classroom.CPU_GUARANTEE


def test_nodes_can_be_short_of_memory_of_cores_or_of_pods():
    table = classroom.nodes(measured(), 10, [(64, 16), (4, 256), (64, 512)])
    asked = classroom.memory(measured()).loc["rounded up", "one kernel"]
    assert table["learners a node"].tolist() == [14.5 * 1024 // asked, 14, 100]


@pytest.mark.parametrize(
    ("learners", "cores", "seconds"),
    [
        (200, 200, 120),
        (200, 1000, 120),
        (200, 180, 120),
        (200, 50, 400),
        (1, 0.5, 200),
        (1, 1, 120),
    ],
)
def test_waiting_shares_the_cores_but_is_never_faster_than_alone(learners, cores, seconds):
    assert (classroom.waiting(measured(), learners, [cores]) == seconds).all(axis=None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classroom.nodes(measured(), 0), "A class of 0"),
        (lambda: classroom.values(measured(), -3), "A class of -3"),
        (lambda: classroom.waiting(measured(), 10, [4, 0]), "0 cores cannot compute"),
        (lambda: classroom.nodes(measured(), 10, [(2, 2)]), "too small for one learner"),
    ],
)
def test_senseless_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_measurements_that_are_missing_or_damaged(tmp_path):
    file = tmp_path / "measurements.json"
    with pytest.raises(FileNotFoundError, match="make bench"):
        classroom.load(file)
    for content in (
        "{",
        "[]",
        "{}",
        '{"lessons": []}',
        '{"lessons": [{"lesson": "a"}]}',
        '{"lessons": [{"lesson": "a", "CPU seconds": 1, "peak MiB": 1}]}',
        '{"lessons": [3]}',
    ):
        file.write_text(content, "utf-8")
        with pytest.raises(ValueError, match=r"measurements\.json .*make bench"):
            classroom.load(file)
    file.write_text(json.dumps(measured()), "utf-8")
    assert classroom.load(file) == measured()


def test_every_lesson_was_measured():
    """If this fails: `make bench`, then `make classroom`."""
    names = sorted(file.stem for file in (ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(classroom.lessons(classroom.load()).index) == names


def test_the_lesson_says_what_the_tables_say():
    known = classroom.load()
    table = classroom.nodes(known)
    # Half of the cores, with the memory as it was: some learners find no place.
    cores = table["nodes"] * (table["cores"] - classroom.NODE_CORES)
    assert (cores / 2 < classroom.CPU_GUARANTEE * classroom.LEARNERS).all()
    # Of a node with 4 cores the memory is full first.
    assert table["by memory"][0] < table["by CPU"][0]
    assert classroom.lessons(known)["wall seconds"].max() < 60
    # Kernels that fit into the limit: two large ones and not three; nor a notebook and the two
    # processes of lesson 07b.
    limit = classroom.memory(known).loc["rounded up", "two kernels"] - classroom.LAB_SERVER
    largest = classroom.lessons(known)["peak MiB"].max()
    assert 2 * largest < limit < 3 * largest
    assert limit < 1024 + 2 * ddp.PROCESS_BYTES / 2**20


# --- the files ----------------------------------------------------------------------------------


def test_files_are_what_the_measurements_make_of_them():
    """If this fails after `make bench`: `make classroom` writes them anew."""
    known = classroom.load()
    assert classroom.VALUES.read_text("utf-8") == classroom.values(known)
    assert classroom.PAGE.read_text("utf-8") == classroom.page(known)


def test_files_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(classroom, "VALUES", tmp_path / "values.yaml")
    monkeypatch.setattr(classroom, "PAGE", tmp_path / "page.md")
    assert classroom.main() == 0
    assert sorted(os.listdir(tmp_path)) == ["page.md", "values.yaml"]  # noqa: PTH208
    assert classroom.VALUES.read_text("utf-8") == classroom.values(classroom.load())


def test_the_page_shows_the_tables():
    known = classroom.load()
    page = classroom.page(known)
    assert (
        f"| together | {' | '.join(f'{n:,}' for n in classroom.memory(known).loc['together'])} |"
        in page
    )
    for lesson in classroom.lessons(known).index:
        assert f"| {lesson} |" in page
    name, tag = classroom.image()
    assert f"--image-name {name}:{tag} ." in page


def test_the_page_names_what_was_assumed():
    page = classroom.page(classroom.load())
    for part in (
        f"{classroom.NODE_PODS} learners are taken as the most",
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
    assert classroom.mebibytes(memory["guarantee"]) == asked["one kernel"]
    assert classroom.mebibytes(memory["limit"]) == asked["two kernels"]
    assert 0 < cpu["guarantee"] <= cpu["limit"]
    assert values["hub"]["activeServerLimit"] >= classroom.LEARNERS


def test_the_only_fault_of_the_values_is_the_authenticator(values):
    (fault,) = classroom.faults(values, classroom.load())
    assert "No authenticator is chosen yet" in fault


def test_nobody_gets_in_and_nothing_is_reachable_before_it_is_decided(values):
    text = classroom.VALUES.read_text("utf-8")
    assert values["hub"]["config"] == {"JupyterHub": {"authenticator_class": classroom.PLACEHOLDER}}
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
    assert f"{user['image']['name']}:{user['image']['tag']}" == ":".join(classroom.image())


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
    text = classroom.values(measured(), learners=40)
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
        assert classroom.image(project(tmp_path, address)) == (name, "1.2")
    for content in ("", "[project", "[project]\nversion = '1'"):
        (tmp_path / "pyproject.toml").write_text(content, "utf-8")
        with pytest.raises(ValueError, match="no version or no address"):
            classroom.image(tmp_path / "pyproject.toml")
    with pytest.raises(ValueError, match="no version or no address"):
        classroom.image(tmp_path / "nothing.toml")


# --- faults -------------------------------------------------------------------------------------


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
def test_a_fault_is_found(values, path, value, message):
    values["hub"]["config"]["JupyterHub"]["authenticator_class"] = "generic-oauth"
    known = classroom.load()
    assert classroom.faults(values, known) == []
    *folders, last = path.split(".")
    place = values
    for folder in folders:
        place = place[folder]
    place[last] = value
    found = classroom.faults(values, known)
    assert any(message in fault for fault in found), found
    assert all(re.search(r"(Set|Raise|Change|Choose|What to do)", fault) for fault in found)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("1280M", 1280), ("1.5G", 1536), ("2G", 2048), (1048576, 1), ("512K", 0.5), ("1T", 1024**2)],
)
def test_amounts_are_read_as_jupyterhub_reads_them(quantity, expected):
    assert classroom.mebibytes(quantity) == expected


@pytest.mark.parametrize("quantity", ["1280Mi", "lots", "", "-1M", "1 G", "1g"])
def test_other_amounts_are_refused(quantity):
    with pytest.raises(ValueError, match="no amount of memory"):
        classroom.mebibytes(quantity)
