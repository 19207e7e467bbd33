"""The tested versions: every direct dependency has one, and they are what runs here."""

import importlib.metadata
import re
import sys
import sysconfig
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from commands import pins
from commands.console import CommandError
from helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TRACKS = ("3.11", "3.12")
TRACK = TRACKS[sys.version_info >= (3, 12)]

DIRECT = [
    *PROJECT["dependencies"],
    *(line for group in PROJECT["optional-dependencies"].values() for line in group),
]


def installed() -> list[importlib.metadata.Distribution]:
    """List the packages of this environment, without those inside setuptools."""
    return list(importlib.metadata.distributions(path=[sysconfig.get_path("purelib")]))


def pinned(track: str) -> dict[NormalizedName, Requirement]:
    """Read the constraints that hold for a Python version."""
    result = {}
    for line in (ROOT / "requirements/tested.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate({"python_version": track}):
            name = canonicalize_name(pin.name)
            assert name not in result, f"{name} is pinned twice for Python {track}"
            result[name] = pin
    return result


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("direct", DIRECT)
def test_direct_dependency_has_a_pin_that_it_allows(direct, track):
    dependency = Requirement(direct)
    pin = pinned(track).get(canonicalize_name(dependency.name))
    assert pin is not None, f"{dependency.name} has no pin for Python {track}: run make pins"
    for clause in pin.specifier:
        if clause.operator in ("==", ">="):
            assert dependency.specifier.contains(clause.version), f"{pin} against {dependency}"


def test_direct_dependency_has_its_reason():
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    for direct in DIRECT:
        line = next(line for line in lines if line.strip().startswith(f'"{direct}"'))
        reason = line.partition('", # ')[2]
        assert len(reason.split()) >= 1, f"no reason beside {direct}"


def test_pins_are_exact_but_for_torch():
    for track in TRACKS:
        for name, pin in pinned(track).items():
            exact = [clause.operator for clause in pin.specifier] == ["=="]
            assert exact or (name, track) == ("torch", "3.12"), f"{pin} is not exact"


def test_installed_versions_are_the_tested_ones():
    versions = {canonicalize_name(item.metadata["Name"]): item.version for item in installed()}
    compared = 0
    wrong = []
    for name, pin in pinned(TRACK).items():
        if name in versions:
            compared += 1
            public = Version(versions[name]).public
            if not pin.specifier.contains(public, prereleases=True):
                wrong.append(f"{name} {versions[name]} instead of {pin.specifier}")
    assert not wrong, "not the tested versions: " + ", ".join(wrong)
    assert compared > 100


def test_installed_packages_take_the_oldest_python_of_the_track():
    # Some packages ask for a later patch release than the one an operating system ships.
    oldest = "3.11.2" if TRACK == "3.11" else "3.12.0"
    refusing = [
        f"{item.metadata['Name']} {item.version} needs Python {needed}"
        for item in installed()
        if (needed := item.metadata.get("Requires-Python")) and oldest not in SpecifierSet(needed)
    ]
    assert not refusing, f"on Python {oldest}: {refusing}"


def test_conda_environment_agrees_with_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda = {}
    for line in environment["dependencies"]:
        name = re.split("[=<>]", line)[0]
        conda[name] = line.removeprefix(name)
    assert conda["python"] == "=3.12"
    track = pinned(conda["python"].lstrip("="))
    # conda's metapackage for the CPU build is what pip calls torch.
    assert (
        Requirement("torch" + conda["pytorch-cpu"]).specifier
        == track[canonicalize_name("torch")].specifier
    )
    assert set(conda) == {"python", "pip", "pytorch-cpu"}, "everything else comes from the pins"


def test_merge_marks_only_what_differs():
    old = ["numpy==2.4.6", "torch==2.13.0+cpu", "six==1.17.0", "Pytz==2026.6"]
    new = ["numpy==2.5.5", "torch==2.15.0", "six==1.17.0", "nvidia-cublas==13.4.1.3", "a_b==1"]
    lines = [line for line in pins.merge(old, new).splitlines() if not line.startswith("#")]
    assert lines == [
        'a-b==1 ; python_version >= "3.12"',
        'numpy==2.4.6 ; python_version < "3.12"',
        'numpy==2.5.5 ; python_version >= "3.12"',
        'pytz==2026.6 ; python_version < "3.12"',
        "six==1.17.0",
        'torch==2.13.0 ; python_version < "3.12"',
        'torch>=2.10,<2.16 ; python_version >= "3.12"',
    ]


def test_merge_refuses_what_is_no_pin():
    with pytest.raises(CommandError, match="no pin: -e"):
        pins.merge(["-e /somewhere"], [])
