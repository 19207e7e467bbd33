"""A download resumes where it stopped, whatever ended it; only the expected file is kept."""

import errno
import hashlib
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.data import download
from helpers.paths import ROOT
from tests.helpers.file_server import serve

SIZE = 3_000_000
KILLS = 20


@pytest.fixture(scope="module")
def content():
    return random.Random(0).randbytes(SIZE)


@pytest.fixture
def served(content):
    with serve(content) as served:
        yield served


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """A proxy of this machine's network knows nothing of a server on the machine itself."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.txt"


def part_of(file):
    return file.with_name(f"{file.name}.part")


def fetch(served, file, content=None):
    md5 = hashlib.md5(served.content if content is None else content).hexdigest()
    return download.fetch(served.address, file, md5)


def in_a_process(served, file):
    """Begin to fetch in another process."""
    script = (
        "import pathlib, sys; from helpers.data import download; download.fetch(sys.argv[1], "
        "pathlib.Path(sys.argv[2]), sys.argv[3])"
    )
    md5 = hashlib.md5(served.content).hexdigest()
    return subprocess.Popen(
        [sys.executable, "-c", script, served.address, str(file), md5],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_comes_whole_and_alone(served, file, content, capfd):
    assert fetch(served, file) == file
    assert file.read_bytes() == content
    assert visible(file.parent) == ["file.txt"]
    assert served.asked == [0]
    # Ranges of a compressed answer would not be those of the file.
    assert served.encodings == ["identity"]
    shown = capfd.readouterr().err
    assert "file.txt" in shown and "3.00M/3.00M" in shown


def test_a_file_that_is_there_is_not_asked_for(served, file, content):
    file.write_bytes(content)
    fetch(served, file)
    assert served.asked == []


def test_after_every_kill_a_download_goes_on_where_it_was(served, file, content):
    """Kill the process, not politely, at random places.

    Each next one asks for the first byte that is missing.
    """
    chance = random.Random(1)
    places = sorted(chance.sample(range(1, SIZE - 2**16), KILLS))
    had = [0]
    for place in places:
        served.stalls_at = place + chance.randrange(2**16)
        with in_a_process(served, file) as process:
            # Killed at any time after it asked and all blocks that are complete before this place
            # were written.
            lost = download.BYTES_AT_A_TIME
            while len(served.asked) < len(had) or size(part_of(file)) < place - lost:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.001)
            process.kill()
        assert not file.exists()
        had.append(size(part_of(file)))
        assert not had[-1] or part_of(file).read_bytes() == content[: had[-1]]
    served.stalls_at = float("inf")
    fetch(served, file)
    assert file.read_bytes() == content
    assert served.asked == had
    assert len(set(had)) > KILLS / 2
    assert visible(file.parent) == ["file.txt"]


def size(path):
    return path.stat().st_size if path.exists() else 0


def test_what_came_is_complete_but_was_not_renamed(served, file, content):
    part_of(file).write_bytes(content)
    fetch(served, file)
    assert file.read_bytes() == content
    assert served.asked == []


@pytest.mark.parametrize("begun", [1, 1_000_001, SIZE - 1])
@pytest.mark.parametrize("how", [{}, {"ranges": False}, {"early": 500}])
def test_the_rest_is_fetched_from_any_server(begun, how, served, file, content):
    part_of(file).write_bytes(content[:begun])
    vars(served).update(how)
    fetch(served, file)
    assert file.read_bytes() == content
    assert served.asked == [begun]


@pytest.mark.parametrize("begun", [b"<html>log in</html>", b"x" * SIZE, b"x" * (SIZE + 5)])
def test_a_part_of_another_file_is_given_up(begun, served, file, content):
    """The file on the server changed, or a proxy sent something else the first time."""
    part_of(file).write_bytes(begun)
    fetch(served, file)
    assert file.read_bytes() == content
    assert served.asked == [len(begun), 0]


@pytest.mark.parametrize("begun", [0, 1000])
def test_another_file_is_refused_and_removed(begun, served, file, content):
    part_of(file).write_bytes(content[:begun])
    with pytest.raises(download.WrongFileError) as caught:
        fetch(served, file, b"the expected file")
    assert caught.value.got == hashlib.md5(content).hexdigest()
    assert visible(file.parent) == []


def test_a_connection_that_breaks_loses_nothing(served, file, content):
    served.breaks_at = 1_000_000
    with pytest.raises(download.DownloadError) as caught:
        fetch(served, file)
    kept = size(part_of(file))
    assert 900_000 < kept <= 1_000_000 + 2**14
    assert f"goes on after the {kept / 1e6:.1f} MB" in caught.value.fix
    served.breaks_at = float("inf")
    fetch(served, file)
    assert served.asked == [0, kept]
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"status": 404}, "the server answered 404 (Not Found)"),
        ({"status": 503}, "the server answered 503 (Service Unavailable)"),
        (
            {"content_type": "text/html; charset=utf-8"},
            "a web page came instead of the file, perhaps the log-in page of a network",
        ),
        ({"stalls_at": 1_000_000}, "there is no connection to the server, or it broke"),
    ],
)
def test_what_went_wrong_is_said_and_what_was_there_is_kept(
    how, said, served, file, content, monkeypatch
):
    monkeypatch.setattr(download, "SECONDS_TO_WAIT", (5, 0.5))
    part_of(file).write_bytes(content[:1000])
    vars(served).update(how)
    with pytest.raises(download.DownloadError) as caught:
        fetch(served, file)
    assert caught.value.why == said
    assert "try again" in caught.value.fix
    assert content.startswith(part_of(file).read_bytes())
    assert size(part_of(file)) >= 1000


def test_without_a_server_it_is_said(file):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(download.DownloadError) as caught:
            download.fetch(f"http://127.0.0.1:{port}/file.txt", file, "0" * 32)
    assert "no connection to the server" in caught.value.why
    assert "check the network" in caught.value.fix


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a disk that is always full"
)
def test_a_full_disk_is_an_error_of_the_disk(served, file):
    part_of(file).symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        download._receive(served.address, part_of(file))
    assert caught.value.errno == errno.ENOSPC


def test_two_processes_fetch_it_once(served, file, content):
    served.stalls_at = 100_000
    with in_a_process(served, file) as first:
        while not served.asked:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.01)
        with in_a_process(served, file) as second:
            assert second.stderr.readline().startswith("Another process is fetching file.txt")
            served.stalls_at = float("inf")
            second.communicate()
        first.communicate()
    assert first.returncode == second.returncode == 0
    assert file.read_bytes() == content
    assert served.asked == [0]
