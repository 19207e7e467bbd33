"""How much memory a limit leaves, which kernels hold it, and how much a lesson takes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.paths import RESULTS

# What the study ``costs`` found.
MEASUREMENTS = RESULTS / "costs.json"

# The step in it that tells what a lesson's imports take.
IMPORTS = "import scvi-tools"

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")

# The files of a control group, in version 2 and in version 1: limit, usage, and the row of
# memory.stat with that part of the usage which is a copy of files and goes as soon as a program
# needs room.
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


# --- limits -------------------------------------------------------------------------------------


def left_by_limits() -> list[int]:
    """Return how many bytes each limit leaves.

    They are those of the control groups, and the one that a hub announces in ``MEM_LIMIT``.
    """
    left = left_by_control_groups()
    if os.environ.get("MEM_LIMIT", "").isdigit():
        left.append(int(os.environ["MEM_LIMIT"]) - used_together())
    return left


def left_by_control_groups(
    mounted: Path = CONTROL_GROUPS, own_groups: Path = OWN_GROUPS
) -> list[int]:
    """Return how many bytes each control group leaves that this process is in; a container is one.

    Parameters
    ----------
    mounted
        Where the control groups are mounted.
    own_groups
        The file that names those of this process.

    Notes
    -----
    As Kubernetes does, it does not count what the system keeps of files and has not used of
    late (``inactive_file``): reading the data of a lesson fills that part up to the limit, and
    nobody lacks it.
    """
    left = []
    for folder, (limit, usage, files) in _own_control_groups(mounted, own_groups):
        # There is no limit in the outermost group, and none that is a number where the memory is
        # free.
        with contextlib.suppress(OSError, ValueError):
            allowed = int((folder / limit).read_text())
            used = int((folder / usage).read_text())
            rows = (folder / "memory.stat").read_text().splitlines()
            kept = dict(row.split(maxsplit=1) for row in rows)
            left.append(allowed - used + int(kept.get(files, 0)))
    return left


def _own_control_groups(
    mounted: Path, own_groups: Path
) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Give the folders of the control groups around this process, with the names of their files.

    They go from the inside out.
    """
    with contextlib.suppress(OSError):
        for line in own_groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                top, names = mounted, VERSION_2
            elif "memory" in controllers.split(","):
                top, names = mounted / "memory", VERSION_1
            else:
                continue
            # In a container the path may be that of the machine outside, and only the top is there.
            inside = Path(path.lstrip("/"))
            for each in (inside, *inside.parents):
                yield top / each, names


# --- kernels ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """A kernel that is running.

    Attributes
    ----------
    name
        The notebook that it belongs to, or its process number where no notebook is named.
    held
        Memory in bytes that is free again once it is shut down.
    """

    name: str
    held: int


def in_kernel() -> bool:
    """Tell whether this process is a kernel, as in a notebook, and not a program of its own."""
    return _is_kernel(psutil.Process())


def notebook() -> str:
    """Return the file name of the notebook that this kernel belongs to.

    It is empty where Jupyter does not say it.
    """
    return Path(os.environ.get("JPY_SESSION_NAME", "")).name


def other_kernels() -> list[Kernel]:
    """Return the other kernels of this kernel's Lab, the largest first; none outside a kernel."""
    own = psutil.Process()
    found = []
    for process in _of_the_lab() if _is_kernel(own) else ():
        with contextlib.suppress(psutil.Error):
            if process != own and _is_kernel(process):
                held = process.memory_full_info().uss
                found.append(Kernel(_name(process), held))
    return sorted(found, key=lambda kernel: -kernel.held)


def used_together() -> int:
    """Return the memory in bytes of this process and those that it started.

    In a kernel, of Lab's server and all that it started.
    """
    total = 0
    for process in _of_the_lab():
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            # Kernels share the code of their libraries. Linux can divide it between them.
            total += getattr(memory, "pss", memory.rss)
    return total


def _of_the_lab() -> list[psutil.Process]:
    """Return this process and those that it started.

    In a kernel, Lab's server and all that it started.
    """
    own = psutil.Process()
    first = (own.parent() if _is_kernel(own) else own) or own
    with contextlib.suppress(psutil.Error):
        return [first, *first.children(recursive=True)]
    return [own]


def _is_kernel(process: psutil.Process) -> bool:
    words = process.cmdline()
    # The second is the file with the ports at which it listens.
    return any("ipykernel" in word for word in words) and words[-1].endswith(".json")


def _name(process: psutil.Process) -> str:
    path = ""
    with contextlib.suppress(psutil.Error):
        path = process.environ().get("JPY_SESSION_NAME", "")
    return Path(path).name or f"the kernel of process {process.pid}"


# --- what a lesson takes ------------------------------------------------------------------------


def measured_growth(notebook: str, measurements: Path = MEASUREMENTS) -> int | None:
    """Return how much a lesson was measured to take at its peak beyond what its imports take.

    The imports take another amount on each machine: a PyTorch with CUDA needs 0.4 GB more. What the
    lesson adds is the same.

    Parameters
    ----------
    notebook
        The file name of a lesson, or of a copy such as ``06_totalvi-Copy1.ipynb``.
    measurements
        The file that the study ``costs`` writes.

    Returns
    -------
    int or None
        Bytes; of the lesson that takes most where none has this name; None where the file cannot be
        read.
    """
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        measured = json.loads(measurements.read_text("utf-8"))
        peaks = {row["lesson"]: row["peak MiB"] for row in measured["lessons"]}
        imports = {row["step"]: row["peak MiB"] for row in measured["steps"]}[IMPORTS]
        named = [peak for lesson, peak in peaks.items() if notebook.startswith(lesson)]
        return int((max(named or peaks.values()) - imports) * 2**20)
    return None
