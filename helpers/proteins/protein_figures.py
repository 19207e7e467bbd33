"""Draw the counts of proteins: how many cells have which, and beside the RNA."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import figures
from helpers.proteins.protein_counts import (
    GENES,
    NO_GROUP,
    require_batches,
    require_groups,
    require_proteins,
    rna_of,
    thresholds_of,
)

MARKERS = "osD^vP*X"


def plot_histogram(
    adata: ad.AnnData, protein: str, batch_key: str = "batch"
) -> figures.DescribedFigure:
    """Draw how many cells have which count of a protein, one panel per batch, with thresholds.

    Parameters
    ----------
    adata, batch_key
        As for ``thresholds``.
    protein
        Its name.

    Raises
    ------
    KeyError, ValueError
        As for ``thresholds``, and if there is no such protein.
    """
    table = require_proteins(adata, [protein])
    batches = require_batches(adata, batch_key)
    found = thresholds_of(table[[protein]], batches).loc[protein]
    edges = np.expm1(np.linspace(0, np.log1p(table[protein].max()) * 1.02, 31))
    said = []
    with figures.style():
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        panels = figure.subplots(len(found), sharex=True, squeeze=False)[:, 0]
        for axes, (batch, row) in zip(panels, found.iterrows(), strict=True):
            axes.hist(table.loc[batches == batch, protein], edges, color=figures.COLOURS[0])
            axes.set_title(f"batch {batch}", fontsize=13, loc="left")
            axes.set_ylabel("cells", fontsize=12)
            said.append(_say_humps(batch, row))
            if np.isnan(row["threshold"]):
                continue
            axes.axvline(row["threshold"], color=figures.COLOURS[1], linestyle="--")
            top = axes.get_ylim()[1]
            axes.set_ylim(top=1.25 * top)
            for name in ("background", "foreground"):
                axes.text(row[name], 1.1 * top, name, ha="center", fontsize=12)
        for axes in panels:
            figures.count_axis(axes, "x")
        panels[-1].set_xlabel(
            f"{protein} counts in a cell (logarithmic; dashed: threshold)", fontsize=12
        )
    return figures.DescribedFigure(
        figure, f"Histograms of the counts of {protein} in {len(table):,} cells. {' '.join(said)}"
    )


def _say_humps(batch: str, row: pd.Series) -> str:
    if np.isnan(row["threshold"]):
        return f"Batch {batch}: one hump, so no threshold."
    return (
        f"Batch {batch}: background around {figures.about(row['background'], 2)}, foreground "
        f"around {figures.about(row['foreground'], 2)}, {figures.about(100 * row['above'], 2)} % "
        f"of the cells above the threshold of {figures.about(row['threshold'], 2)}."
    )


def plot_beside_rna(adata: ad.AnnData, protein: str, groups: pd.Series) -> figures.DescribedFigure:
    """Draw the counts of a protein against those of its gene's RNA, one point per cell.

    Parameters
    ----------
    adata
        As for ``beside_rna``.
    protein
        A key of ``GENES``.
    groups
        The group of each cell, as ``gate`` returns it.

    Raises
    ------
    KeyError, ValueError
        If there is no such protein or gene, or the groups are not of these cells.
    """
    counts, rna = require_proteins(adata, [protein])[protein], rna_of(adata, protein)
    labels = require_groups(groups, adata.obs_names)
    # Whole numbers lie on top of one another; spread out, all cells can be seen.
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, adata.n_obs)
    with figures.style():
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        axes = figure.subplots()
        draw_groups(axes, rna + spread, counts, labels)
        axes.set_xlabel(
            f"RNA counts of the gene {GENES[protein]} in a cell (points spread sideways)",
            fontsize=12,
        )
        axes.set_ylabel(f"counts of the protein {protein}\n(logarithmic)", fontsize=12)
        axes.xaxis.get_major_locator().set_params(integer=True)
        figures.count_axis(axes, "y")
        figure.legend(loc="outside right upper", fontsize=12)
    without = (rna == 0).groupby(labels).mean().drop(NO_GROUP, errors="ignore")
    said = [f"{name} {figures.about(100 * share, 2)} %" for name, share in without.items()]
    return figures.DescribedFigure(
        figure,
        f"Scatter plot of {adata.n_obs:,} cells: counts of the protein {protein} against RNA "
        f"counts of its gene {GENES[protein]}. Cells without any RNA count: {', '.join(said)}.",
    )


def draw_groups(axes: Axes, x: pd.Series, y: pd.Series, labels: pd.Series) -> None:
    """Draw one point per cell, with a colour and a marker for each group.

    Cells of no group are behind the others, in grey.
    """
    nowhere = (labels == NO_GROUP).to_numpy()
    if nowhere.any():
        axes.plot(x[nowhere], y[nowhere], "x", color="0.6", markersize=5, label=NO_GROUP)
    for number, name in enumerate(sorted(set(labels) - {NO_GROUP})):
        cells = (labels == name).to_numpy()
        axes.plot(
            x[cells],
            y[cells],
            MARKERS[number % len(MARKERS)],
            color=figures.COLOURS[number % 7],
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.4,
            alpha=0.8,
            label=name,
        )
