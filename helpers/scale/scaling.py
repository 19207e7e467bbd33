"""What more cells cost in time and memory.

The study ``scaling`` measured up to 100,000 cells; for more it is estimated with a straight line.
The cells are synthetic: their counts carry no biology, only their size matters here.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scvi

from helpers import results
from helpers.paths import RESULTS
from helpers.training import schedules, scvi_defaults

# --- what is measured ---

PRESETS = ("default", "class")

GENES = 2_000
# Of each cell one gene in so many has a count: about what droplet data have.
ONE_IN = 10

# What a line is fitted to.
QUANTITIES = ("set-up seconds", "epoch seconds", "latent seconds", "data MiB", "peak MiB")

# --- what is estimated ---

EXTENDED = (1_000_000, 10_000_000)

# GiB of memory. Both have to hold more than one notebook, so a little less is free.
MACHINES = {"Binder": 2, "laptop": 16}

# SciPy counts the values of a sparse matrix with 4 bytes while it can.
MAXIMUM_CELLS_WITH_SMALL_INDICES = np.iinfo(np.int32).max // (GENES // ONE_IN)

MEASURED, ESTIMATED = "measured", "estimated"


def load(preset: str = "default") -> pd.DataFrame:
    """Return what was measured: medians over the rounds.

    Parameters
    ----------
    preset
        "default" (minibatches of 128 cells) or "class" (64).

    Returns
    -------
    DataFrame
        One row per size: ``cells``, ``preset``; ``steps an epoch``; processor time in seconds on
        one core: ``set-up seconds`` (``setup_anndata`` and ``SCVI()``), ``epoch seconds`` (the
        median epoch), ``latent seconds`` (``get_latent_representation`` of all cells); resident
        memory: ``import MiB`` before there are cells, which depends on what else is installed, and
        above it ``data MiB``, what the cells add, and ``peak MiB``, the most of the process.

    Raises
    ------
    ValueError
        If there are no runs with this preset.
    """
    table = results.load("scaling")
    if preset not in set(table["preset"]):
        raise ValueError(
            f"There are no runs with preset '{preset}'. Presets: {', '.join(PRESETS)}."
        )
    of_preset = table.query("preset == @preset").drop(columns=["round", "preset"])
    medians = of_preset.groupby("cells").median().astype({"steps an epoch": int}).reset_index()
    medians.insert(1, "preset", preset)
    return medians


# --- a line, and how far it can be trusted ------------------------------------------------------


def lines(measured: pd.DataFrame) -> pd.DataFrame:
    """Fit a straight line to each measured quantity: fixed + cells / 1,000 * slope.

    Parameters
    ----------
    measured
        As from ``load``.

    Returns
    -------
    DataFrame
        One row per quantity of ``QUANTITIES``: ``fixed`` and ``per 1,000 cells``, in the unit of
        the quantity.

    Raises
    ------
    ValueError
        If the table lacks a column, mixes presets, or has fewer than two sizes.

    Notes
    -----
    Least squares, all sizes with the same weight. So the largest decide the slope, from which
    everything follows that lies beyond them.
    """
    _require_measured(measured)
    thousands = measured["cells"] / 1000
    rows = {}
    for name in QUANTITIES:
        slope, fixed = np.polyfit(thousands, measured[name], 1)
        rows[name] = {"fixed": fixed, "per 1,000 cells": slope}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")


def _require_measured(measured: pd.DataFrame) -> None:
    needed = ("cells", "preset", "import MiB", *QUANTITIES)
    missing = [name for name in needed if name not in measured.columns]
    if missing:
        raise ValueError(
            f"The table of measured runs has no column '{missing[0]}'. What to do: measured = "
            "scaling.load()."
        )
    presets = sorted(set(measured["preset"]))
    if len(presets) > 1:
        raise ValueError(
            f"The table mixes the presets {', '.join(presets)}, whose epochs cost differently. "
            f"What to do: take one of them, scaling.load('{presets[0]}')."
        )
    if measured["cells"].nunique() < 2:
        raise ValueError(
            f"A line needs at least two sizes, and the table has {measured['cells'].nunique()}. "
            "What to do: keep more rows of scaling.load()."
        )


def predict_the_largest(measured: pd.DataFrame, up_to: int | None = None) -> pd.DataFrame:
    """Leave the largest size out, predict it with the lines through smaller ones, and compare.

    Parameters
    ----------
    measured
        As from ``load``.
    up_to
        The lines are fitted to the sizes up to this one; to all but the largest if left out.

    Returns
    -------
    DataFrame
        One row per quantity of ``QUANTITIES``: ``measured``, ``predicted``, and ``error``, the
        share of the measured value by which the prediction is too high.

    Raises
    ------
    ValueError
        As in ``lines``, and if the largest size would be among those that it is predicted from.
    """
    _require_measured(measured)
    sizes = measured["cells"]
    largest = measured.loc[sizes.idxmax()]
    if up_to is not None and up_to >= largest["cells"]:
        raise ValueError(
            f"The largest size, {largest['cells']:,} cells, is predicted, so the lines must be "
            f"fitted to smaller ones, not up to {up_to:,}."
        )
    smaller = measured[sizes < largest["cells"] if up_to is None else sizes <= up_to]
    found = largest[list(QUANTITIES)].astype(float)
    predicted = _on_the_lines(lines(smaller), largest["cells"])
    return pd.DataFrame(
        {"measured": found, "predicted": predicted, "error": predicted / found - 1}
    ).rename_axis("quantity")


def check_of_the_line(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the errors with which lines predict the largest size: the lower, the further away.

    Parameters
    ----------
    measured
        As from ``load``.

    Returns
    -------
    DataFrame
        One row per size up to which the lines were fitted: ``reach``, how many times larger the
        predicted size is, and the ``error`` of ``predict_the_largest`` for each quantity of
        ``QUANTITIES`` (a share; 0 is right).

    Raises
    ------
    ValueError
        As in ``lines``, and if there are fewer than three sizes.
    """
    _require_measured(measured)
    *smaller, largest = sorted(set(measured["cells"]))
    if len(smaller) < 2:
        raise ValueError(
            "To leave one size out, and fit a line to the others, takes at least three sizes. "
            "What to do: keep more rows of scaling.load()."
        )
    rows = {
        size: {"reach": largest / size, **predict_the_largest(measured, size)["error"]}
        for size in reversed(smaller[1:])
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("fitted up to (cells)")


# --- the estimate -------------------------------------------------------------------------------


def estimate(measured: pd.DataFrame, cells: Sequence[int] = EXTENDED) -> pd.DataFrame:
    """Add larger numbers of cells to what was measured, by the lines of ``lines``.

    Parameters
    ----------
    measured
        As from ``load``.
    cells
        The numbers of cells to estimate.

    Returns
    -------
    DataFrame
        One row per size, the smallest first. ``kind`` says where the row's ``QUANTITIES`` (epoch,
        latent space, set-up, data and peak) come from: "measured", or "estimated" from the lines.
        ``cells``, ``preset``, and the ``QUANTITIES``. What follows is arithmetic in each row:

        ``epochs``, ``steps``
            What the preset trains for so many cells, see ``training.run_length``.
        ``final KL weight``
            That of the last epoch; 1 where the warm-up came to its end.
        ``ms a step``
            Seconds of an epoch over its steps.
        ``training seconds``
            Epochs times seconds of an epoch; a whole training was measured in no row, see
            ``whole_runs``.
        ``memory MiB``
            The peak with what was there before there were cells, the median ``import MiB`` of the
            same runs.
        ``sparse MiB``, ``dense MiB``
            The counts alone, as they are, and with every 0 written out in 4 bytes.

    Raises
    ------
    ValueError
        As in ``lines``, or if there is less than one cell.

    Notes
    -----
    The line of the memory is that of indices with 4 bytes. From 10.7 million of these cells
    on, SciPy takes 8, which is added. The cells are made in memory, so the time to read them from a
    disk is in no row. Nor is a second matrix, such as normalised values in ``X`` beside the counts,
    which takes ``sparse MiB`` once more.
    """
    found = lines(measured)
    if min(cells, default=1) < 1:
        raise ValueError(f"The time of {min(cells)} cells cannot be estimated: take 1 or more.")
    beyond = [{"kind": ESTIMATED, "cells": n, **_on_the_lines(found, n)} for n in map(int, cells)]
    table = pd.DataFrame(
        [
            *measured.assign(kind=MEASURED)[["kind", "cells", *QUANTITIES]].to_dict("records"),
            *beyond,
        ]
    )
    table = table.sort_values("cells", kind="stable", ignore_index=True)
    preset = measured["preset"].iloc[0]
    table.insert(2, "preset", preset)
    length = pd.DataFrame([_length(n, preset) for n in table["cells"]])
    table[length.columns] = length
    table["ms a step"] = 1000 * table["epoch seconds"] / (table["steps"] / table["epochs"])
    table["training seconds"] = table["epochs"] * table["epoch seconds"]
    table["memory MiB"] = measured["import MiB"].median() + table["peak MiB"]
    table["sparse MiB"] = table["cells"].map(_sparse_mib)
    table["dense MiB"] = 4 * GENES * table["cells"] / 2**20
    return table


def _on_the_lines(found: pd.DataFrame, n_cells: int) -> pd.Series:
    """Return each quantity for a number of cells."""
    values = found["fixed"] + n_cells / 1000 * found["per 1,000 cells"]
    values[["data MiB", "peak MiB"]] += _sparse_mib(n_cells) - _sparse_mib(n_cells, 4)
    return values


def _sparse_mib(n_cells: int, index_bytes: int | None = None) -> float:
    """Return the size of the counts as CSR.

    It holds a float and the index of its gene for each value, and where each cell ends.
    """
    if index_bytes is None:
        index_bytes = 4 if n_cells <= MAXIMUM_CELLS_WITH_SMALL_INDICES else 8
    values = n_cells * (GENES // ONE_IN)
    return (4 * values + index_bytes * (values + n_cells + 1)) / 2**20


def _length(n_cells: int, preset: str) -> dict[str, Any]:
    """Return the epochs and steps of a preset, and the KL weight of the last epoch."""
    with warnings.catch_warnings():
        # scvi-tools warns of a single epoch, which the table shows.
        warnings.filterwarnings("ignore", message="The default number of maximum epochs")
        length = schedules.run_length(n_cells, preset)
        defaults = scvi_defaults.defaults(scvi.model.SCVI, n_cells)["default"]
    warm_up = length["warm-up"]
    if warm_up is None:
        warm_up = int(defaults["n_epochs_kl_warmup"])
    # The first epoch has weight 0.
    weight = min(1.0, (length["epochs"] - 1) / warm_up) if warm_up else 1.0
    return {"epochs": length["epochs"], "steps": length["steps"], "final KL weight": weight}


def whole_runs() -> list[float]:
    """Return the processor seconds of whole default runs of the 3,005 cortex cells.

    Notes
    -----
    From the study ``costs``, which watched them from the first epoch to the last. Unlike the runs
    of the study ``scaling`` they look at the held-out cells after each epoch.
    """
    runs = json.loads((RESULTS / "costs.json").read_text("utf-8"))["preset runs"]
    return [
        run["CPU seconds"]
        for run in runs
        if (run["data set"], run["preset"]) == ("cortex", "default")
    ]


def largest_that_fits(measured: pd.DataFrame, gibibytes: float) -> int:
    """Return how many cells can be trained on in a memory, by inverting the line of the peak.

    It counts with the wider indices where SciPy needs them.

    Parameters
    ----------
    measured
        As from ``load``.
    gibibytes
        Memory that is free before scvi-tools is imported, in GiB. A machine has less than what it
        is sold with: take off the system, the browser and Jupyter.

    Returns
    -------
    int
        Number of cells x 2,000 genes with a tenth of the counts not 0, held once, sparse. From 10.7
        million of these cells on each index takes 8 bytes in place of 4: computed as in
        ``estimate``, never measured.

    Raises
    ------
    ValueError
        As in ``lines``, if the memory does not grow with the cells, or if it does not hold even one
        cell.
    """
    fixed, slope = lines(measured).loc["peak MiB", ["fixed", "per 1,000 cells"]]
    if slope <= 0:
        raise ValueError(
            "In this table the peak of the memory does not grow with the cells, so it sets no "
            "limit. What to do: keep larger sizes of scaling.load()."
        )
    empty = measured["import MiB"].median() + fixed
    free = 1024 * gibibytes - empty
    maximum = math.floor(1000 * free / slope)
    if maximum < 1:
        raise ValueError(
            f"{gibibytes:g} GiB do not hold one cell: importing scvi-tools and a model take "
            f"{empty / 1024:.2f} GiB."
        )
    if maximum > MAXIMUM_CELLS_WITH_SMALL_INDICES:
        # Four more bytes for the index of each value, and for the end of each cell.
        wider = 1000 * 4 * (GENES // ONE_IN + 1) / 2**20
        maximum = math.floor(1000 * free / (slope + wider))
        maximum = max(maximum, MAXIMUM_CELLS_WITH_SMALL_INDICES)
    return maximum


def bottlenecks(table: pd.DataFrame) -> pd.DataFrame:
    """Say what stops you at each size.

    Parameters
    ----------
    table
        As from ``estimate``.

    Returns
    -------
    DataFrame
        One row per number of cells: ``kind``; for each machine of ``MACHINES`` "memory" where the
        peak is more than it has, else the work that takes the longest; and ``share of the time``,
        from 0 to 1, of the longest work, also where memory is named.
    """
    seconds = times(table)
    longest = seconds.idxmax(axis=1)
    share = seconds.max(axis=1) / seconds.sum(axis=1)
    fits = {
        f"{name} ({size} GiB)": table["memory MiB"] <= 1024 * size
        for name, size in MACHINES.items()
    }
    rows = {name: longest.where(fit, "memory") for name, fit in fits.items()}
    result = pd.DataFrame({"kind": table["kind"], **rows, "share of the time": share})
    return result.set_index(pd.Index(table["cells"], name="cells"))


def times(table: pd.DataFrame) -> pd.DataFrame:
    """Return the processor seconds of each kind of work."""
    names = {
        "training seconds": "training",
        "latent seconds": "latent space",
        "set-up seconds": "set-up",
    }
    return table[list(names)].rename(columns=names)
