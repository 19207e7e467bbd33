"""Each misconception that a lesson names is removed somewhere in it."""

import tomllib

import pytest

from helpers.paths import ROOT
from publishing.teaching import lessons, minutes, misconceptions


@pytest.mark.parametrize("lesson", lessons.names())
def test_every_misconception_has_its_place(lesson):
    table = misconceptions.of_lesson(lesson)
    source = (ROOT / "notebooks" / f"{lesson}.py").read_text("utf-8")
    section = source.partition("# ## What you know now")[2].partition("# ## ")[0]
    assert len(table) == section.count("\n# | ") - 2 >= 4
    assert not set(table["section"]) & set(minutes.HOME)


def test_a_place_that_is_named_needlessly_or_no_more_is_found():
    named = tomllib.loads(misconceptions.FILE.read_text("utf-8"))
    for lesson, places in named.items():
        assert not set(places) - set(misconceptions.of_lesson(lesson)["thought"])


def test_a_misconception_without_a_place_is_named(tmp_path):
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    with pytest.raises(ValueError, match="Data must be normalised before scVI"):
        misconceptions.of_lesson("00_setup", empty)
