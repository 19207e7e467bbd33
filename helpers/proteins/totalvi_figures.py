"""Figures of what TotalVI says about a protein.

They show its likelihood in single cells, and all cells at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import figures
from helpers.figures import COLOURS, about
from helpers.proteins import protein_counts, protein_figures, totalvi
from helpers.proteins.protein_counts import NO_GROUP

if TYPE_CHECKING:
    import scvi

# One colour for each thing, in all figures.
BACKGROUND, FOREGROUND = COLOURS[5], COLOURS[1]

# Draws from a cell's posterior: enough for a smooth curve.
DRAWS = 100


def plot_mixture(
    model: scvi.model.TOTALVI, protein: str, cells: Mapping[str, str]
) -> figures.DescribedFigure:
    """Draw how probable each count of a protein is in some cells, and the count that was measured.

    Parameters
    ----------
    model
        A trained model.
    protein
        Its name.
    cells
        Names of cells, by what to call them.

    Returns
    -------
    DescribedFigure
        A panel a cell. The two areas are the two components of the mixture, each as large as it is
        probable; together they are 1. Means over 100 draws from the cell's posterior.

    Raises
    ------
    TypeError, KeyError, ValueError
        As for ``totalvi.count_distribution``, and if there are no cells.

    Notes
    -----
    The axis is one of ln(1 + count). The height of a curve is the probability of a count
    divided by the room that the count takes there, so that areas are probabilities.
    """
    if not cells:
        raise ValueError("There is no cell to draw. What to do: give {'B cell': name of a cell}.")
    curves = {
        label: totalvi.count_distribution(model, protein, cell, DRAWS)
        for label, cell in cells.items()
    }
    counts = totalvi.protein_counts(model)[protein]
    measured = {label: float(counts[cell]) for label, cell in cells.items()}
    largest = max(curve.index[-1] for curve in curves.values())
    with figures.style():
        figure = Figure(figsize=(7.6, 1.0 + 2.3 * len(cells)))
        panels = figure.subplots(len(cells), sharex=True, squeeze=False)[:, 0]
        for axes, (label, curve) in zip(panels, curves.items(), strict=True):
            _draw_mixture(axes, curve, measured[label])
            share = _per_cent(curve["foreground"].sum())
            axes.set_title(f"{label}: foreground {share}", fontsize=13, loc="left")
            axes.set_xlim(-0.4, largest)
        panels[-1].set_xlabel(f"count of {protein} (logarithmic, with 0)", fontsize=12)
        panels[0].legend(fontsize=12, loc="upper left", bbox_to_anchor=(1, 1))
        figure.tight_layout()
    return figures.DescribedFigure(figure, _say_mixture(protein, curves, measured))


def _draw_mixture(axes: Axes, curve: pd.DataFrame, measured: float) -> None:
    counts = curve.index.to_numpy()
    heights = curve.div(np.log1p(counts + 0.5) - np.log1p(counts - 0.5), axis=0)
    looks = {"background": (BACKGROUND, ""), "foreground": (FOREGROUND, "//")}
    for name, (colour, hatch) in looks.items():
        axes.fill_between(
            counts,
            heights[name],
            facecolor=colour,
            edgecolor="white",
            hatch=hatch,
            linewidth=0,
            alpha=0.7,
            label=name,
        )
    axes.axvline(measured, color="black", linestyle="--", linewidth=1.5)
    # On the side with more room.
    left = np.log1p(measured) > np.log1p(counts[-1]) / 2
    axes.annotate(
        f"measured: {measured:,.0f}",
        (measured, 0.95),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if left else 6, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        fontsize=12,
    )
    axes.set_ylim(0, 1.25 * heights.to_numpy().max())
    axes.set_yticks([])
    axes.set_ylabel("probability\n(areas: 1 in all)", fontsize=12)
    figures.count_axis(axes, "x")


def _per_cent(probability: float) -> str:
    if probability < 0.01:
        return "under 1 %"
    return "over 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _say_mixture(
    protein: str, curves: Mapping[str, pd.DataFrame], measured: Mapping[str, float]
) -> str:
    said = [
        f"{label}: {measured[label]:,.0f} measured, probability of the foreground "
        f"{_share(curve['foreground'].sum())}"
        for label, curve in curves.items()
    ]
    return (
        f"The probability of each count of {protein} in {len(curves)} cells, as two areas for "
        f"background and foreground. {'; '.join(said)}."
    )


def _share(probability: float) -> str:
    """Say a probability so that it stays the same where the training ends a little differently."""
    if probability > 0.9:
        return "above 90 %"
    return "below 10 %" if probability < 0.1 else f"about {about(100 * probability, 1)} %"


def plot_foreground(
    tables: Mapping[str, pd.DataFrame], groups: pd.Series
) -> figures.DescribedFigure:
    """Draw what the model makes of the measured counts of some proteins, one point per cell.

    Parameters
    ----------
    tables
        What ``totalvi.describe_protein`` returned, by protein.
    groups
        The group of each cell, by name of the cell.

    Returns
    -------
    DescribedFigure
        One column per protein. Above: probability of the foreground against the measured count.
        Below: the denoised protein against it, with a line where both are equal.

    Raises
    ------
    ValueError
        If there is no table, or a cell has no group.
    """
    if not tables:
        raise ValueError(
            "There is no table. What to do: give {'CD19': totalvi.describe_protein(...)}."
        )
    labels = {
        protein: protein_counts.require_groups(groups, table.index)
        for protein, table in tables.items()
    }
    with figures.style():
        figure = Figure(figsize=(1.9 + 3.6 * len(tables), 6.8))
        panels = figure.subplots(2, len(tables), squeeze=False, sharex="col", sharey="row")
        for (top, bottom), (protein, table) in zip(panels.T, tables.items(), strict=True):
            for axes, column in ((top, "probability of foreground"), (bottom, "denoised")):
                protein_figures.draw_groups(axes, table["count"], table[column], labels[protein])
                axes.tick_params(labelsize=11)
            top.set_title(protein, fontsize=13, loc="left")
            bottom.axline((0, 0), (1, 1), color="0.5", linestyle="--", linewidth=1, zorder=0)
            bottom.set_xlabel("measured count", fontsize=12)
        for axes in panels.ravel():
            figures.count_axis(axes, "x")
        for axes in panels[1]:
            figures.count_axis(axes, "y")
        panels[0, 0].set_ylabel("probability of foreground", fontsize=12)
        panels[1, 0].set_ylabel("denoised\n(dashed: equal to the count)", fontsize=12)
        panels[0, -1].legend(
            loc="upper left", bbox_to_anchor=(1, 1), fontsize=12, markerscale=1.6, handletextpad=0.2
        )
        figure.tight_layout()
    return figures.DescribedFigure(figure, _say_foreground(tables, labels))


def _say_foreground(tables: Mapping[str, pd.DataFrame], labels: Mapping[str, pd.Series]) -> str:
    said = []
    for protein, table in tables.items():
        sure = table["probability of foreground"] > 0.5
        most = sure.groupby(labels[protein]).mean()
        named = [str(name) for name in most.index[most > 0.5] if name != NO_GROUP]
        without = table.loc[~sure, "count"].median()
        said.append(
            f"{protein}: above one half in most cells of {', '.join(named) or 'no group'}; the "
            f"median count of the cells below is about {about(without, 1)}"
        )
    return (
        f"Scatter plots of {len(next(iter(tables.values())))} cells: probability of the "
        f"foreground, and the denoised protein, against the measured count. {'. '.join(said)}."
    )
