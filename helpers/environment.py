"""Tell whether this machine is ready, and make it give the same numbers as any other."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import shutil
import sys
import warnings
from pathlib import Path

import numba
import pandas as pd
import psutil
import scvi
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from helpers import memory

# What every lesson fits into (measured by the study ``costs``).
MEMORY_GB = 1.0
DISK_GB = 0.1

PACKAGES = ("scvi-tools", "torch", "scanpy", "anndata", "numpy", "pandas", "scikit-misc")


def prepare(seed: int = 0) -> None:
    """Make a notebook repeatable and quiet.

    Fix the seed, use one thread, and drop notices that a learner cannot act on.

    Parameters
    ----------
    seed
        Seed of the random number generators of Python, NumPy and PyTorch.

    Raises
    ------
    MemoryError
        In a notebook whose lesson does not fit, see ``require_lesson``.

    Notes
    -----
    One thread, because two threads add numbers in another order (last digits differ) and are slower
    on a busy small machine.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
    # TotalVI takes the proteins from an AnnData as well as from a MuData.
    warnings.filterwarnings("ignore", message="We recommend using setup_mudata")
    # Otherwise pandas cuts sentences in a table off.
    pd.set_option("display.max_colwidth", None)
    scvi.settings.verbosity = logging.WARNING
    scvi.settings.seed = seed
    # numba, which scanpy calls, sets the number of threads for torch too when it first runs.
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    if memory.in_kernel():
        require_lesson(memory.notebook())


def check(folder: Path | str = ".") -> pd.DataFrame:
    """Compare this machine with what the lessons need.

    Parameters
    ----------
    folder
        The folder whose disk is measured.

    Returns
    -------
    DataFrame
        One row per check with ``found``, ``needed`` and ``verdict`` ("ok", or what to do).
    """
    rows = [
        _row(
            "Python",
            platform.python_version(),
            "3.11 or newer",
            sys.version_info >= (3, 11),
            "run `make lab` again",
        ),
        *(_package_row(package) for package in PACKAGES),
        _size_row(
            "free memory",
            available_memory(),
            MEMORY_GB,
            "close other notebooks (Kernel > Shut Down All Kernels)",
        ),
        _size_row("free disk", shutil.disk_usage(folder).free, DISK_GB, "free some disk"),
        _row(
            "threads",
            str(torch.get_num_threads()),
            "1",
            torch.get_num_threads() == 1,
            "call environment.prepare()",
        ),
    ]
    return pd.DataFrame(rows).set_index("what")


def available_memory() -> int:
    """Return the memory in bytes that this process may still take.

    The least of what the machine has free, what a container allows, and what is left of the limit
    that a hub announces in ``MEM_LIMIT``.
    """
    return max(0, min([psutil.virtual_memory().available, *memory.left_by_limits()]))


def require_memory(needed: int, purpose: str) -> None:
    """Raise before the work starts if it would not fit.

    Parameters
    ----------
    needed
        Bytes that the work takes.
    purpose
        What the memory is for, as it should read in the message.

    Raises
    ------
    MemoryError
        With what is needed, what there is, and what to do.
    """
    available = available_memory()
    if needed > available:
        raise MemoryError(
            f"{purpose} needs about {needed / 1e9:.1f} GB of memory; {available / 1e9:.1f} GB are "
            "free.\n"
            f"{_held_by_others()}What to do: close other notebooks (Kernel > Shut Down Kernel) and "
            "programs, or use fewer genes or cells."
        )


# Lessons that fitted when they began, and those that were told that they do not. These go on if
# they are run again: what was measured elsewhere may be wrong here.
_settled: set[str] = set()


def require_lesson(notebook: str) -> None:
    """Raise, once in a kernel, if a lesson would not fit; where it would only be slow, say so.

    Parameters
    ----------
    notebook
        The file name of the lesson; where there is no such lesson, the one that takes most counts.

    Raises
    ------
    MemoryError
        With what it takes, what is free, which kernels hold how much, and what to do.

    Notes
    -----
    It raises where the system would end the kernel: above a limit, or on Linux, when memory
    and swap are used up. Other systems make room on their disk for as long as there is any, which
    is slow, and so is swap.
    """
    growth = memory.measured_growth(notebook)
    if growth is None or notebook in _settled:
        return
    _settled.add(notebook)
    free = available_memory()
    if growth <= free:
        return
    problem = (
        f"{notebook or 'This lesson'} takes up to {growth / 1e9:.2f} GB of memory more than its "
        f"kernel has now, and {free / 1e9:.2f} GB are free.\n"
        f"{_held_by_others()}What to do: shut down a kernel that you no longer need (in its "
        "notebook: Kernel > Shut Down Kernel), or close other programs. Then run this cell "
        "again.\n"
    )
    if growth <= _memory_with_swap():
        print(f"{problem}Without that the lesson goes on, but slowly.", file=sys.stderr)
        return
    raise MemoryError(f"{problem}Without that it goes on as well, and may end in a dead kernel.")


def _memory_with_swap() -> int:
    """Return the bytes that this process may take before the system ends it."""
    limits = memory.left_by_limits()
    if sys.platform != "linux":
        return min(limits, default=sys.maxsize)
    return min([psutil.virtual_memory().available + psutil.swap_memory().free, *limits])


def _held_by_others() -> str:
    """Return a line that says which other kernels of this Lab hold how much memory.

    Nothing where there are none.
    """
    others = [
        f"{kernel.name} holds {kernel.held / 1e9:.2f} GB" for kernel in memory.other_kernels()
    ]
    return f"Of this JupyterLab, {', '.join(others)}.\n" if others else ""


def _row(what: str, found: str, needed: str, good: bool, fix: str) -> dict[str, str]:
    return {"what": what, "found": found, "needed": needed, "verdict": "ok" if good else fix}


def _size_row(what: str, found: int, needed_gb: float, fix: str) -> dict[str, str]:
    return _row(what, f"{found / 1e9:.1f} GB", f"{needed_gb} GB", found >= needed_gb * 1e9, fix)


def _package_row(package: str) -> dict[str, str]:
    """Compare the installed version of a package with the range that the kit asks for."""
    needed = _needed_version(package)
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return _row(package, "missing", str(needed) or "any", False, "run `make lab` again")
    return _row(
        package,
        found,
        str(needed) or "any",
        needed.contains(found, prereleases=True),
        "run `make lab` again",
    )


def _needed_version(package: str) -> SpecifierSet:
    """Return the range of versions that the kit's metadata asks for on this version of Python."""
    requirements = [
        Requirement(line) for line in importlib.metadata.requires("scvi-teaching-kit") or ()
    ]
    return next(
        r.specifier
        for r in requirements
        if r.name == package and (r.marker is None or r.marker.evaluate())
    )
