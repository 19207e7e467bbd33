"""What set-up needs of the machine, said before the work starts."""

import os
import shutil
import sys
from pathlib import Path

from commands.console import CommandError, say

GB = 1e9

# Measured on Linux: the environment, the data and pip's downloads while it unpacks them.
MIN_DISK = 3.5 * GB
DISK_WITH_CUDA = 9 * GB

# Lab's server and one kernel that trains, draws and clusters.
MIN_MEMORY = 1.5 * GB


def install_size() -> str:
    """Say how long installing takes and how big the result is."""
    if sys.platform == "linux":
        return "about 2 minutes; 2.3 GB, or 6.7 GB where pip's torch comes with CUDA"
    return "about 2 minutes, 2.3 GB"


def check_disk(folder: Path) -> None:
    """Say what is needed and what is free; raise where it cannot be enough.

    Raises
    ------
    CommandError
        Where the disk is too full to begin.
    """
    free = shutil.disk_usage(folder).free
    if free < MIN_DISK:
        raise CommandError(
            f"The disk that holds {folder} has {free / GB:.1f} GB free, and set-up needs "
            f"{MIN_DISK / GB:.1f} GB.\nFree some space, or put the clone on another disk."
        )
    say(f"Set-up needs {MIN_DISK / GB:.1f} GB of disk; {free / GB:.0f} GB are free.")
    if sys.platform == "linux" and free < DISK_WITH_CUDA:
        say(f"Where pip's torch comes with CUDA it needs {DISK_WITH_CUDA / GB:.0f} GB.")


def note_memory() -> None:
    """Warn where the lessons may not fit into this machine's memory."""
    total = memory()
    if total is not None and total < MIN_MEMORY:
        say(
            f"Note: this machine has {total / GB:.1f} GB of memory. A lesson takes up to 1 GB "
            "besides Lab: close other programs, and run one notebook at a time."
        )


def memory() -> int | None:
    """Give the memory in bytes that programs here may use, or None where it cannot be told."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
