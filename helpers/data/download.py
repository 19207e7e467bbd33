"""Fetch a large file from the web.

What has come is kept when the connection breaks, and only the expected file is accepted.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

# For a connection, and for the next bytes.
SECONDS_TO_WAIT = (10, 30)

# What is on its way when the process is killed or the connection breaks is lost, and is no more
# than this.
BYTES_AT_A_TIME = 2**14


class DownloadError(RuntimeError):
    """A file could not be fetched.

    Attributes
    ----------
    why
        What went wrong.
    fix
        What to do.
    """

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(f"{why}.\nWhat to do: {fix}.")
        self.why, self.fix = why, fix


class WrongFileError(DownloadError):
    """Another file came than the expected one.

    Attributes
    ----------
    got
        The md5 of the file that came.
    """

    def __init__(self, got: str) -> None:
        super().__init__(f"another file came, with md5 {got}", "try again on another network")
        self.got = got


def fetch(url: str, file: Path, md5: str) -> Path:
    """Return a file, and download it if it is not there.

    An interrupted download resumes where it stopped.

    Parameters
    ----------
    url
        Its address.
    file
        Where it goes. What has come of it is in ``<file>.part`` until it is complete. One process
        at a time fetches it, and others wait.
    md5
        The checksum that it must have.

    Returns
    -------
    Path
        ``file``.

    Raises
    ------
    WrongFileError
        If another file came; it is removed.
    DownloadError
        If there was no answer or no such file, or the connection broke. What has come is kept for
        the next call.
    OSError
        If the file cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    with _alone(file):
        if not file.exists():
            if md5_of(part) != md5:
                _fetch_and_verify(url, part, md5)
            part.replace(file)
    return file


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let one process at a time be in this block.

    The lock is the operating system's, and ends with a process that is killed.
    """
    lock = FileLock(file.with_name(f".{file.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is fetching {file.name}; waiting ...", file=sys.stderr, flush=True)
        held = lock.acquire()
    with held:
        yield


def md5_of(file: Path) -> str:
    """Return the checksum of a file, or of nothing if it is not there."""
    digest = hashlib.md5(usedforsecurity=False)
    if file.exists():
        with file.open("rb") as content:
            hashlib.file_digest(content, lambda: digest)
    return digest.hexdigest()


def _fetch_and_verify(url: str, part: Path, md5: str) -> None:
    """Download what is missing; if that does not fit to what was there, all of it.

    If that is not the expected file either, it is removed.
    """
    begun = _size(part) > 0
    _receive(url, part)
    if md5_of(part) != md5 and begun:
        # What was there came from another file: the server's has changed, or a proxy sent its own.
        part.unlink()
        _receive(url, part)
    if (got := md5_of(part)) != md5:
        part.unlink()
        raise WrongFileError(got)


def _receive(url: str, part: Path) -> None:
    """Ask for the bytes that are missing, and write those that come to where they belong."""
    have = _size(part)
    # A compressed answer would count other bytes than those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=SECONDS_TO_WAIT) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                # There are no such bytes, so this is no part of that file, and it begins anew.
                part.unlink()
                return _receive(url, part)
            answer.raise_for_status()
            _write(answer, part)
    except requests.RequestException as error:
        raise _explained(error, _size(part)) from error


def _write(answer: requests.Response, part: Path) -> None:
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(
            "a web page came instead of the file, perhaps the log-in page of a network",
            "open a page in a browser and log in, or take another network, then try again",
        )
    # A server that does not know ranges sends the file from its beginning, and others may begin a
    # little earlier.
    begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    start = int(begins[1]) if begins else 0
    coming = answer.headers.get("Content-Length")
    # Without a buffer: what was written is in the file, however the process ends.
    with (
        part.open("ab", buffering=0) as out,
        tqdm(
            desc=part.stem,
            initial=start,
            total=start + int(coming) if coming else None,
            unit="B",
            unit_scale=True,
        ) as bar,
    ):
        if start < _size(part):
            out.truncate(start)
        for block in answer.iter_content(BYTES_AT_A_TIME):
            out.write(block)
            bar.update(len(block))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _explained(error: requests.RequestException, kept: int) -> DownloadError:
    """Say in a learner's words what went wrong on the way."""
    if error.response is not None:
        why = f"the server answered {error.response.status_code} ({error.response.reason})"
    elif isinstance(error, requests.Timeout):
        why = "the server did not answer in time"
    else:
        why = "there is no connection to the server, or it broke"
    goes_on = (
        f"; the next call goes on after the {kept / 1e6:.1f} MB that have come" if kept else ""
    )
    return DownloadError(why, f"check the network, then try again{goes_on}")
