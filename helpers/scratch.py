"""A folder for work that is not finished."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder beside the final file, so that moving the file there is one atomic step.

    It is removed at the end of the block, and with it those of processes that were killed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".part-*"):
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".part-{os.getpid()}-", dir=parent) as scratch:
        yield Path(scratch)
