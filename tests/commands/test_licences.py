"""The page of licences lists the tested versions, and everybody may use each of them."""

import json
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from commands import licences, pins
from commands.console import CommandError
from commands.environment import running_environment
from tests.commands.test_pins import DIRECT, pinned

PAGE = licences.PAGE.read_text("utf-8")
TRACKS = licences.TRACKS
TRACK = TRACKS[sys.version_info >= (3, 12)]
RENEW = "make pins ARGS=licences"


def rows():
    """Return the rows of the page by package: a version for each track, licence, why."""
    tables = PAGE.partition("## For the lessons")[2]
    entries = [line.strip("| ").split(" | ") for line in tables.splitlines() if line[:2] == "| "]
    found = [each for each in entries if each[0] not in ("package", "---")]
    named = {name: dict(zip([*TRACKS, "licence", "why"], row, strict=True)) for name, *row in found}
    assert len(named) == len(found), "a package is listed twice"
    return named


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("track", TRACKS)
def test_the_page_lists_the_tested_versions_and_nothing_else(track):
    listed = {name: row[track] for name, row in rows().items() if row[track] != "-"}
    tested = pinned(track)
    assert set(listed) == set(tested), RENEW
    wrong = [
        f"{name} {version}, and {tested[name].specifier} is tested"
        for name, version in listed.items()
        if not tested[name].specifier.contains(version, prereleases=True)
    ]
    assert not wrong, RENEW


def test_each_package_has_a_licence_that_the_kit_may_bring():
    for name, row in rows().items():
        assert all(map(licences.is_known, row["licence"].split(", "))), name


def test_the_page_gives_the_reason_of_what_the_kit_itself_asks_for():
    reasons = licences.reasons()
    assert set(reasons) == {canonicalize_name(Requirement(each).name) for each in DIRECT}
    assert {name: rows()[name]["why"] for name in reasons} == reasons, RENEW


def test_the_page_says_who_asks_for_all_others():
    """By what is installed here."""
    here = licences.stated_by(running_environment())
    asked = licences.dependencies_of(here)
    direct = licences.reasons()
    compared = 0
    for name, row in rows().items():
        if name not in direct and row[TRACK] != "-":
            asking = {each for each, names in asked.items() if name in names and each in here}
            compared += len(asking)
            assert asking <= set(row["why"].removeprefix("for ").split(", ")), f"{name}: {RENEW}"
    assert compared > 150


def test_the_page_says_what_the_bills_say():
    def bill(version):
        parts = {"numpy": "BSD-3-Clause", "igraph": "GPL-2.0-or-later", "texttable": "MIT"}
        return {
            "components": [
                {"name": name, "version": version, "licenses": [{"expression": licence}]}
                for name, licence in parts.items()
            ],
            "dependencies": [
                {"ref": name, "dependsOn": ["texttable"] if name == "igraph" else []}
                for name in parts
            ],
        }

    made = licences.page({"3.11": bill("1.0"), "3.12": bill("2.0")})
    assert "| texttable | 1.0 | 2.0 | MIT | for igraph |" in made
    assert f"| numpy | 1.0 | 2.0 | BSD-3-Clause | {licences.reasons()['numpy']} |" in made
    assert "| igraph | GPL-2.0-or-later | the lessons |" in made
    assert "## For the lessons\n\n3 packages." in made
    # What is around the tables is as in the page that is kept.
    assert made.partition("| package |")[0] == PAGE.partition("| package |")[0], RENEW


def test_copyleft_is_told_apart():
    conditions = PAGE.partition("## For the lessons")[0]
    for name in ("igraph", "harmonypy", "certifi"):
        assert f"| {name} | " in conditions
    assert "| numpy | " not in conditions
    assert licences.is_copyleft("GPL-3.0-or-later")
    assert licences.is_copyleft("MIT AND MPL-2.0")
    assert not licences.is_copyleft("MIT OR GPL-3.0-or-later")
    assert not licences.is_copyleft("Apache-2.0")


# --- the bills ----------------------------------------------------------------------------------


def described(*names):
    """Return what cyclonedx-py says of an environment with these packages, as far as it is used."""
    return {
        "$schema": "a schema",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": "another one each time",
        "components": [
            {"name": name, "version": "1.0+cpu", "licenses": [{"expression": "MIT"}]}
            for name in names
        ],
        "metadata": {
            "timestamp": "now",
            "component": {
                "bom-ref": "root-component",
                "type": "application",
                "name": "scvi-teaching-kit",
                "version": "0.1.0",
                "licenses": [],
                "description": "on this machine",
            },
            "tools": {"components": [{"type": "library", "name": "a-tool", "version": "7"}]},
        },
    }


def stated(**asks):
    """Return what packages state that ask for others without extras."""
    return {
        licences.normal(name): {"field": "", "text": "", "asks": [[each, [], ""] for each in names]}
        for name, names in asks.items()
    }


@pytest.fixture
def bill():
    raw = described("torch", "Sympy", "pip", "nvidia-nccl-cu12", "triton")
    return licences.assemble(raw, stated(torch=["sympy", "triton"], Sympy=[]), "3.12")


def test_a_bill_says_who_asks_for_whom_and_leaves_out_what_differs_between_machines(bill):
    assert [each["name"] for each in bill["components"]] == ["sympy", "torch"]
    assert {row["ref"]: row["dependsOn"] for row in bill["dependencies"]} == {
        "torch": ["sympy"],
        "sympy": [],
    }
    assert set(licences.groups_of([bill])) == {"torch", "sympy"}
    assert all(Version(each["version"]).local is None for each in bill["components"])
    assert bill["components"][0]["purl"] == "pkg:pypi/sympy@1.0"


def test_a_bill_is_the_same_whenever_it_is_made(bill):
    assert "timestamp" not in bill["metadata"]
    assert "serialNumber" not in bill
    assert bill["metadata"]["component"]["name"] == "scvi-teaching-kit"
    assert "description" not in bill["metadata"]["component"]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")


def test_a_package_that_nobody_asks_for_is_named():
    known = stated(torch=[], stranger=[])
    with pytest.raises(CommandError, match="Nobody asks for stranger"):
        licences.assemble(described("torch", "stranger"), known, "3.11")


def test_bills_and_page_are_written(bill, tmp_path):
    bills = {track: bill for track in TRACKS}
    licences.write(bills, tmp_path / "build", tmp_path / "licences.md")
    for track in TRACKS:
        text = (tmp_path / "build" / f"sbom-python-{track}.json").read_text("utf-8")
        assert text == json.dumps(bill, indent=1, sort_keys=True) + "\n"
    assert (tmp_path / "licences.md").read_text("utf-8") == licences.page(bills)


def test_an_environment_of_another_python_is_refused_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(licences, "set_up", lambda *asked: None)
    monkeypatch.setattr(licences, "own_environment", running_environment)
    monkeypatch.setattr(licences, "latest_environment", running_environment)
    monkeypatch.setattr(licences, "track_of", lambda environment: "3.12")
    with pytest.raises(CommandError, match=r"another Python than 3\.11(.|\n)*PYTHON=python3\.11"):
        pins.main(["licences"])


# --- from what a package says to its licence ----------------------------------------------------

BSD = "Redistribution and use in source and binary forms, with or without modification"
THIRD = f"{BSD} ... Neither the name of\nthe copyright holder"


def licence_of(*given, field="", text=""):
    """Give the licence of a package that says this."""
    said = [
        {"expression": each} if " " in each and "::" not in each else {"license": {"name": each}}
        for each in given
    ]
    return licences.expression({"name": "a", "version": "1", "licenses": said}, field, text)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"given": ["MIT"]}, "MIT"),
        ({"given": ["Apache-2.0 OR BSD-2-Clause"]}, "Apache-2.0 OR BSD-2-Clause"),
        ({"given": ["PSF-2.0", "MIT OR ISC"]}, "(MIT OR ISC) AND (PSF-2.0)"),
        ({"given": ["MIT", "License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"given": ["License :: OSI Approved :: BSD License"], "text": THIRD}, "BSD-3-Clause"),
        ({"given": ["License :: OSI Approved :: BSD License"], "text": BSD}, "BSD-2-Clause"),
        ({"given": [], "field": "Apache 2.0"}, "Apache-2.0"),
        ({"given": [], "text": "MIT License\n\nCopyright (c) 2022"}, "MIT"),
        ({"given": [], "field": f"BSD 3-Clause License\n\n{THIRD}"}, "BSD-3-Clause"),
    ],
)
def test_what_packages_say_is_understood(said, expected):
    given = said.pop("given")
    assert licence_of(*given, **said) == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], ""),
        ([], "All rights reserved"),
        (["AGPL-3.0-or-later"], ""),
        (["MIT AND SSPL-1.0"], ""),
        (["BUSL-1.1"], ""),
        (["CC-BY-NC-4.0"], ""),
        (["LicenseRef-NVIDIA-Proprietary"], ""),
        (["License :: Other/Proprietary License"], "NVIDIA Proprietary Software"),
    ],
)
def test_a_licence_that_is_not_known_is_refused(given, field):
    with pytest.raises(CommandError, match="What to do: read the licence file"):
        licence_of(*given, field=field)


@pytest.mark.parametrize(
    ("name", "expected"), [("axe-playwright-python", "MIT AND MPL-2.0"), ("plain", "MIT")]
)
def test_what_a_package_carries_of_others_counts(name, expected):
    raw = {"name": name, "version": "1.0", "licenses": [{"expression": "MIT"}]}
    listed = licences.component(raw, {"field": "", "text": ""})
    assert listed["licenses"] == [{"expression": expected}]


def test_only_extras_that_are_asked_for_count(monkeypatch):
    monkeypatch.setattr(licences, "asked_for", lambda: {"lessons": [("a", ("fast",))]})
    stated = {
        "a": {"asks": [["B", [], ""], ["c", ["more"], "fast"], ["d", [], "slow"]]},
        "b": {"asks": [["a", [], ""]]},
        "c": {"asks": [["e", [], "more"], ["f", [], "less"]]},
        **{name: {"asks": []} for name in "def"},
    }
    found = licences.dependencies_of(stated)
    assert found == {"a": {"b", "c"}, "b": {"a"}, "c": {"e"}, "e": set()}
