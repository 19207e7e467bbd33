"""The pages for teachers that are written by hand: messages and commands are those of the kit."""

import ast
import re
from functools import cache

import pytest

from commands.command_line import COMMANDS
from helpers import paths
from helpers.paths import DOCS, ROOT
from publishing.teaching import lessons

TEACHING = DOCS / "teaching"


def test_two_questions_to_discuss_for_each_lesson():
    page = (TEACHING / "discussion.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    asked = [re.search(r"notebooks/(\w+)\.ipynb", row)[1] for row in rows]
    assert asked == sorted([*lessons.names(), *lessons.names()])
    assert len({row.split("|")[2] for row in rows}) == len(rows)
    assert all(len(row.split("|")[3].split()) > 8 for row in rows)


@cache
def printed():
    """Return all texts in the code; what is filled in, as three dots."""
    files = [
        *ROOT.glob("commands/*.py"),
        *ROOT.glob("helpers/**/*.py"),
        ROOT / "commands/find-python",
    ]
    texts = []
    for file in files:
        source = file.read_text("utf-8")
        if file.suffix != ".py":
            texts.append(source)
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "..." for part in node.values
                ]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"%d|%s", "...", node.value))
    return [" ".join(each.split()) for each in texts]


# Messages of Python and pip.
OF_OTHERS = (
    "ModuleNotFoundError: No module named 'helpers'",
    "No matching distribution found for wheel",
)


@pytest.mark.parametrize("name", ["trouble.md", "offline.md"])
def test_quoted_messages_are_those_of_the_kit(name):
    quoted = re.findall(r"`` ?(.+?) ?``|`([^`]+)`", (TEACHING / name).read_text("utf-8"))
    quoted = [one or two for one, two in quoted]
    messages = [
        each
        for each in quoted
        if each[0].isupper() and " " in each and not each.startswith(OF_OTHERS)
    ]
    messages += [
        each
        for each in quoted
        if each.startswith(("this folder", "may end", "takes up", "... needs", "run `make"))
    ]
    assert messages
    for message in messages:
        found = [
            each for each in printed() if all(part.strip() in each for part in message.split("..."))
        ]
        assert found, message


@pytest.mark.parametrize("file", paths.visible(TEACHING, "*.md"), ids=lambda file: file.name)
def test_commands_of_the_pages_exist(file):
    said = file.read_text("utf-8")
    named = re.findall(r"`make ([a-z-]+)", said) + re.findall(r"^make ([a-z-]+)", said, re.M)
    named += re.findall(r"(?:py -3\.12|python3(?:\.12)?) commands ([a-z-]+)", said)
    assert not set(named) - set(COMMANDS)
