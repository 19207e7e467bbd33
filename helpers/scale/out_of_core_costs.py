"""What training takes with the counts in memory, and what with the counts in a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import figures, processes
from helpers.paths import ROOT
from helpers.scale import out_of_core

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
        cost = processes.watch(
            command,
            cwd=ROOT,
            env=processes.kernel_variables(),
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
    """Return one row for each way to hold the counts of a file, see ``measure``."""
    return pd.DataFrame([measure(file, how) for how in out_of_core.HOW])


def growth(table: pd.DataFrame) -> pd.Series:
    """Return how many MiB of memory a process needs more for each MiB of counts, by ``how``.

    Parameters
    ----------
    table
        As from ``results.load("out_of_core")``, with at least two numbers of cells.

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
                "two sizes, as in results.load('out_of_core')."
            )
        slopes[how], _ = np.polyfit(rows["counts MiB"], rows[PEAK], 1)
    return pd.Series(slopes, name="MiB more for each MiB of counts")


def plot(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw peak memory and seconds of an epoch against the number of cells, one line per way.

    Parameters
    ----------
    table
        As from ``results.load("out_of_core")``.
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
