"""The map and the recipes of CONTRIBUTING.md name what there is."""

import re

import pytest

from commands import command_line
from helpers.paths import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAP = TEXT.split("```")[1]

ROOMS = [path.parent.name for path in sorted((ROOT / "helpers").glob("*/__init__.py"))]
# Made by commands.
MADE = {"build", "data"}

# What a screen holds.
MAX_LINES = 40


@pytest.mark.parametrize("room", ROOMS)
def test_map_has_every_room(room):
    assert re.search(rf"^  {room}/ ", MAP, re.MULTILINE), f"{room} is not in CONTRIBUTING's map"


def test_folders_in_the_map_are_there():
    named = set(re.findall(r"^(\w+)/ ", MAP, re.MULTILINE)) - MADE
    assert {"helpers", "notebooks", "publishing", "studies"} <= named
    assert all((ROOT / name).is_dir() for name in named), named


def test_map_names_no_room_that_is_gone():
    assert set(re.findall(r"^  (\w+)/ ", MAP, re.MULTILINE)) <= set(ROOMS)


def test_map_fits_on_a_screen():
    lines = MAP.strip().splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md"])
def test_commands_that_are_named_exist(name):
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / name).read_text("utf-8")))
    assert named and named <= {*command_line.COMMANDS, "help"}, name


def test_every_name_of_a_command_that_is_gone_is_in_the_changelog():
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for name in command_line.OLD_NAMES:
        assert f"`make {name}`" in changes, name
