"""The list of packages is that of the tested versions, and everybody may use each of them."""

import json
import re

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from commands import sbom
from commands.console import CommandError
from commands.environment import running_environment
from tests.commands.test_pins import DIRECT, TRACK, TRACKS, pinned

BILLS = {lane: sbom.read(lane) for lane in TRACKS}


def components(lane):
    return {each["name"]: each for each in BILLS[lane]["components"]}


@pytest.mark.parametrize("lane", TRACKS)
def test_a_bill_lists_the_tested_versions_and_nothing_else(lane):
    listed, pins = components(lane), pinned(lane)
    assert set(listed) == set(pins), "run make sbom in this lane"
    wrong = [
        f"{name} {each['version']}, and {pins[name].specifier} is tested"
        for name, each in listed.items()
        if not pins[name].specifier.contains(each["version"], prereleases=True)
    ]
    assert not wrong, "run make sbom in this lane"


@pytest.mark.parametrize("lane", TRACKS)
def test_each_package_has_a_licence_that_the_kit_may_bring(lane):
    for each in BILLS[lane]["components"]:
        (licence,) = each["licenses"]
        assert sbom.is_known(licence["expression"]), each["name"]


@pytest.mark.parametrize("lane", TRACKS)
def test_a_bill_says_who_asks_for_whom(lane):
    rows = {row["ref"]: row["dependsOn"] for row in BILLS[lane]["dependencies"]}
    assert set(rows) == set(components(lane))
    assert {name for asked in rows.values() for name in asked} <= set(rows)
    # All are there because of a package that pyproject.toml names.
    assert set(sbom.groups_of([BILLS[lane]])) == set(rows)


@pytest.mark.parametrize("lane", TRACKS)
def test_a_bill_is_the_same_wherever_it_is_made(lane):
    text = sbom.file_of(lane).read_text("utf-8")
    bill = json.loads(text)
    assert text == json.dumps(bill, indent=1, sort_keys=True) + "\n"
    assert "timestamp" not in bill["metadata"]
    assert "serialNumber" not in bill
    assert all(Version(each["version"]).local is None for each in bill["components"])
    assert bill["metadata"]["component"]["name"] == "scvi-teaching-kit"
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")


def test_what_is_installed_asks_for_what_the_bill_says():
    stated = {
        sbom.normal(name): each
        for name, each in json.loads(sbom._run(running_environment(), sbom.STATED)).items()
    }
    asked = sbom.dependencies_of(stated)
    compared = 0
    for row in BILLS[TRACK]["dependencies"]:
        if row["ref"] in stated:
            compared += 1
            listed = asked[row["ref"]] & set(components(TRACK))
            assert sorted(listed) == row["dependsOn"], f"{row['ref']}: run make sbom"
    assert compared > 150


def test_the_page_is_made_from_the_bills():
    assert sbom.PAGE.read_text("utf-8") == sbom.page(BILLS), "run make sbom"


def test_the_page_names_each_package_once_and_gives_the_reason_of_the_direct_ones():
    text = sbom.PAGE.read_text("utf-8")
    _, _, tables = text.partition("## For the lessons")
    heads = ("package", "---")
    rows = re.findall(r"^\| ([\w.-]+) \| .* \| (.+) \|$", tables, re.MULTILINE)
    found = {name: reason for name, reason in rows if name not in heads}
    assert len(found) == len([name for name, _ in rows if name not in heads])
    assert set(found) == set(components("3.11")) | set(components("3.12"))
    reasons = sbom.reasons()
    assert set(reasons) == {sbom.normal(Requirement(each).name) for each in DIRECT}
    for name, reason in reasons.items():
        assert found[name] == reason


def test_copyleft_is_told_apart():
    conditions = sbom.PAGE.read_text("utf-8").partition("## For the lessons")[0]
    for name in ("igraph", "harmonypy", "certifi"):
        assert f"| {name} | " in conditions
    assert "| numpy | " not in conditions
    assert sbom.is_copyleft("GPL-3.0-or-later")
    assert sbom.is_copyleft("MIT AND MPL-2.0")
    assert not sbom.is_copyleft("MIT OR GPL-3.0-or-later")
    assert not sbom.is_copyleft("Apache-2.0")


# --- from what a package says to its licence ----------------------------------------------------

BSD = "Redistribution and use in source and binary forms, with or without modification"
THIRD = f"{BSD} ... Neither the name of\nthe copyright holder"


def licence(*given, field="", text=""):
    """Give the licence of a package that says this."""
    licences = [
        {"expression": each} if " " in each and "::" not in each else {"license": {"name": each}}
        for each in given
    ]
    return sbom.expression({"name": "a", "version": "1", "licenses": licences}, field, text)


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
    assert licence(*given, **said) == expected


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
        licence(*given, field=field)


@pytest.mark.parametrize(
    ("name", "expected"), [("axe-playwright-python", "MIT AND MPL-2.0"), ("plain", "MIT")]
)
def test_what_a_package_carries_of_others_counts(name, expected):
    raw = {"name": name, "version": "1.0", "licenses": [{"expression": "MIT"}]}
    assert sbom.component(raw, {"field": "", "text": ""})["licenses"] == [{"expression": expected}]


def test_only_extras_that_are_asked_for_count(monkeypatch):
    monkeypatch.setattr(sbom, "asked_for", lambda: {"lessons": [("a", ("fast",))]})
    stated = {
        "a": {"asks": [["B", [], ""], ["c", ["more"], "fast"], ["d", [], "slow"]]},
        "b": {"asks": [["a", [], ""]]},
        "c": {"asks": [["e", [], "more"], ["f", [], "less"]]},
        **{name: {"asks": []} for name in "def"},
    }
    found = sbom.dependencies_of(stated)
    assert found == {"a": {"b", "c"}, "b": {"a"}, "c": {"e"}, "e": set()}
