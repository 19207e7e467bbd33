"""Tell whether this machine is ready, and make it give the same numbers as any other."""

from __future__ import annotations

import importlib.metadata
import logging
import os
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

# What lessons 00 to 05c need at their peak, with room to spare (measured with `make bench`).
MEMORY_GB = 1.0
DISK_GB = 0.1

PACKAGES = ("scvi-tools", "torch", "scanpy", "anndata", "numpy", "pandas", "scikit-misc")


def prepare(seed: int = 0) -> None:
    """Make a notebook repeatable and quiet: fix the seed, use one thread, and drop notices that a learner cannot act on.

    Parameters
    ----------
    seed
        Seed of the random number generators of Python, NumPy and PyTorch.

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


def check(folder: Path | str = ".") -> pd.DataFrame:
    """Compare this machine with what the lessons need.

    Parameters
    ----------
    folder
        The folder whose disk is measured.

    Returns
    -------
    DataFrame
        A row a check with ``found``, ``needed`` and ``verdict`` ("ok", or what to do).
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

    The least of what the machine has free, what a container allows, and the limit that a hub
    announces in ``MEM_LIMIT``.
    """
    left = [psutil.virtual_memory().available]
    used = psutil.Process().memory_info().rss
    if os.environ.get("MEM_LIMIT", "").isdigit():
        left.append(int(os.environ["MEM_LIMIT"]) - used)
    group = Path("/sys/fs/cgroup")
    limit, current = group / "memory.max", group / "memory.current"
    if limit.exists() and current.exists() and limit.read_text().strip().isdigit():
        left.append(int(limit.read_text()) - int(current.read_text()))
    return max(0, min(left))


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
            f"{purpose} needs about {needed / 1e9:.1f} GB of memory; {available / 1e9:.1f} GB are free.\n"
            "What to do: close other notebooks (Kernel > Shut Down All Kernels) and programs, or use fewer genes or cells."
        )


def _row(what: str, found: str, needed: str, good: bool, cure: str) -> dict[str, str]:
    return {"what": what, "found": found, "needed": needed, "verdict": "ok" if good else cure}


def _size_row(what: str, found: int, needed_gb: float, cure: str) -> dict[str, str]:
    return _row(what, f"{found / 1e9:.1f} GB", f"{needed_gb} GB", found >= needed_gb * 1e9, cure)


def _package_row(package: str) -> dict[str, str]:
    """Compare the installed version of a package with the range that the kit's own metadata asks for."""
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
