"""What training takes with the counts in memory and with the counts in a file, measured once and kept.

``python -m studies.out_of_core_costs`` (``make out-of-core-runs``) measures and writes
``docs/out_of_core_runs.csv``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import figures, results
from helpers.paths import DOCS
from helpers.scale import out_of_core
from studies import costs

FILE = DOCS / "out_of_core_runs.csv"

# How many times the 3,005 cortex cells: 9,015 to 120,200 cells.
COPIES = (3, 10, 20, 40)

PEAK = "peak MiB"


def measure(file: Path | str, how: str) -> dict[str, object]:
    """Train one epoch on a file in a fresh process, and measure it.

    Parameters
    ----------
    file
        A .h5ad file with counts in ``X``, see ``out_of_core.write``.
    how
        "in memory" or "from the file".

    Returns
    -------
    dict
        ``cells``; ``how``; ``counts MiB``, what the counts take in memory; ``CPU seconds`` of
        ``setup_anndata``, ``SCVI()`` and the epoch, with a look at the held-out cells; ``peak MiB``
        of the process; and ``negative ELBO`` of the held-out cells, in nats per cell.

    Raises
    ------
    ValueError
        If ``how`` is neither.
    RuntimeError
        If the training fails, with what it said.
    """
    if how not in out_of_core.HOW:
        raise ValueError(f"'{how}' is no way to hold counts. Ways: {', '.join(out_of_core.HOW)}.")
    command = [sys.executable, "-m", "helpers.scale.out_of_core", str(Path(file).resolve()), how]
    try:
        cost = costs.watch(
            command,
            cwd=costs.ROOT,
            env=costs.kernel_variables(),
            stderr=subprocess.STDOUT,
        )
    except subprocess.CalledProcessError as error:
        said = error.output.strip() or f"it ended with status {error.returncode}"
        raise RuntimeError(f"Training {how} failed:\n{said}") from error
    found = json.loads(cost["output"].splitlines()[-1])
    return {
        "cells": found["cells"],
        "how": how,
        "counts MiB": out_of_core.bytes_in_memory(file) / 2**20,
        "CPU seconds": found["CPU seconds"],
        PEAK: cost[PEAK],
        "negative ELBO": found["negative ELBO"],
    }


def compare(file: Path | str) -> pd.DataFrame:
    """Return a row for each way to hold the counts of a file, see ``measure``."""
    return pd.DataFrame([measure(file, how) for how in out_of_core.HOW])


def run(copies: int) -> pd.DataFrame:
    """Measure both ways on a file that is made for it.

    Parameters
    ----------
    copies
        How many times the cortex cells.

    Returns
    -------
    DataFrame
        ``copies``, and as from ``compare``.
    """
    with tempfile.TemporaryDirectory() as folder:
        pieces = out_of_core.copies_of_cortex(copies)
        file = out_of_core.write(Path(folder, "cells.h5ad"), pieces)
        return compare(file).assign(copies=copies)


def load() -> pd.DataFrame:
    """Return the kept runs: a row a number of cells and a way to hold the counts, see ``measure``."""
    return results.load(FILE)


def origin() -> str:
    """Return one line that says how the kept runs were made: cells, model and versions."""
    return results.origin(FILE)


def growth(table: pd.DataFrame) -> pd.Series:
    """Return how many MiB of memory a process needs more for each MiB of counts, by ``how``.

    Parameters
    ----------
    table
        As from ``load``, with at least two numbers of cells.

    Raises
    ------
    ValueError
        If a way has a single number of cells.

    Notes
    -----
    The slope of a straight line through the points, by least squares.
    """
    slopes = {}
    for how, rows in table.groupby("how", sort=False):
        if rows["counts MiB"].nunique() < 2:
            raise ValueError(
                f"With a single number of cells {how}, nothing grows. What to do: take at least "
                "two sizes, as in load()."
            )
        slopes[how], _ = np.polyfit(rows["counts MiB"], rows[PEAK], 1)
    return pd.Series(slopes, name="MiB more for each MiB of counts")


def plot(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw peak memory and seconds of an epoch against the number of cells, a line for each way to hold the counts.

    Parameters
    ----------
    table
        As from ``load``.
    """
    columns = {PEAK: "peak memory (MiB)", "CPU seconds": "CPU seconds an epoch"}
    with figures.style():
        figure = Figure(figsize=(8, 3.4))
        panels = figure.subplots(1, 2)
        for axes, (column, label) in zip(panels, columns.items(), strict=True):
            for colour, (how, rows) in zip(
                figures.COLOURS, table.groupby("how", sort=False), strict=False
            ):
                axes.plot(rows["cells"], rows[column], "o-", color=colour, label=how)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.tick_params(axis="x", rotation=30)
            axes.set(xlabel="cells in the file", ylabel=label, ylim=(0, None))
        panels[0].legend()
        figure.tight_layout()
    ends = table.set_index(["cells", "how"]).sort_index()
    few, many = table["cells"].min(), table["cells"].max()
    parts = [
        f"{how}: from {ends.loc[(few, how), PEAK]:,.0f} to {ends.loc[(many, how), PEAK]:,.0f} MiB "
        f"and from {ends.loc[(few, how), 'CPU seconds']:,.0f} to "
        f"{ends.loc[(many, how), 'CPU seconds']:,.0f} CPU seconds an epoch"
        for how in out_of_core.HOW
    ]
    return figures.DescribedFigure(
        figure,
        f"Two line charts against {few:,} to {many:,} cells. With the counts {'; '.join(parts)}.",
    )


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    runs = results.make(FILE, {"copies": COPIES}, run)
    what = (
        "One epoch of SCVI on thinned copies of the cortex cells x 2,000 genes, counts in memory "
        "and in a .h5ad file, one thread, file in the cache of the system"
    )
    packages = ("scvi-tools", "torch", "anndata", "h5py")
    results.write(FILE, runs, what, packages, "make out-of-core-runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
