"""Figures of batch effects: how well batches are mixed, and what was learned as the effect."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import figures
from helpers.batches.batch_effects import LEARNED, TRUE, attribution
from helpers.batches.experiments import BETTER, RANDOM_POSITIONS
from helpers.figures import COLOURS

MIXING = ("kNN batch accuracy", "iLISI")
BIOLOGY = ("kNN class accuracy", "ARI")

# Readable from the back of a room.
LARGE = {"font.size": 13}


def plot_measures(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw how well batches are mixed (left), and how much of the classes is left (right).

    There is one row per method, and one dot per run.

    Parameters
    ----------
    table
        What ``experiments.measure`` returned, or several of them below one another: rows of the
        same name are runs of the same method.
    """
    methods = [name for name in table.index.unique() if name != RANDOM_POSITIONS]
    panels = [column for pair in zip(MIXING, BIOLOGY, strict=True) for column in pair]
    with figures.style(), mpl.rc_context(LARGE):
        figure = Figure(figsize=(10, 1.6 + 0.8 * len(methods)))
        for axes, column in zip(figure.subplots(2, 2, sharey=True).flat, panels, strict=True):
            mixing = column in MIXING
            for row, name in enumerate(methods):
                values = table.loc[[name], column]
                axes.plot([values.min(), values.max()], [row, row], color="0.6", linewidth=3)
                axes.plot(
                    values,
                    np.full(len(values), row),
                    "o" if mixing else "D",
                    markersize=9,
                    alpha=0.7,
                    color=COLOURS[0] if mixing else COLOURS[1],
                )
            if RANDOM_POSITIONS in table.index:
                nothing = table.loc[[RANDOM_POSITIONS], column].mean()
                axes.axvline(nothing, color="black", linestyle="--", label=RANDOM_POSITIONS)
            axes.grid(axis="y", linestyle=":", color="0.8")
            axes.set(
                xlim=(-0.04, 1.04),
                xlabel=f"{column}\n({BETTER[column]} is better)",
                yticks=range(len(methods)),
                yticklabels=methods,
                ylim=(len(methods) - 0.5, -0.5),
            )
        first, second = figure.axes[:2]
        first.set_title("are batches mixed?", weight="bold")
        second.set_title("are classes kept apart?", weight="bold")
        if RANDOM_POSITIONS in table.index:
            first.legend(loc="lower center", bbox_to_anchor=(0.5, 1.12))
        figure.tight_layout()
    means = table.groupby(level=0, sort=False)[list(panels)].mean()
    said = "; ".join(
        f"{name} {means.loc[name, panels[0]]:.2f} and {means.loc[name, panels[1]]:.2f}"
        for name in means.index
    )
    return figures.DescribedFigure(
        figure,
        f"Four dot charts with a row for each of {len(methods)} methods: on the left how well "
        "batches are mixed, on the right how well classes are kept apart. kNN batch accuracy "
        f"(lower is better) and kNN class accuracy (higher is better): {said}.",
    )


def plot_effects(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the learned batch effect against the true one, one point per gene.

    Beside it is what it has too much, against the class difference.

    Parameters
    ----------
    table
        What ``batch_effects.compare`` returned, of a model with ``batch_key``.
    """
    true_effect, difference = (table[name] for name in TRUE)
    effect = table[LEARNED[0]]
    slopes = attribution(table).loc[LEARNED[0]]
    with figures.style(), mpl.rc_context(LARGE):
        figure = Figure(figsize=(10, 4.8))
        left, right = figure.subplots(1, 2)
        for axes, x, y, slope, right_one, colour in (
            (left, true_effect, effect, slopes[TRUE[0]], 1, COLOURS[0]),
            (right, difference, effect - true_effect, slopes[TRUE[1]], 0, COLOURS[1]),
        ):
            axes.plot(x, y, "o", markersize=5, alpha=0.5, color=colour)
            ends = np.array([x.min(), x.max()])
            axes.plot(
                ends,
                right_one * ends,
                "--",
                color="black",
                label=f"would be right: slope {right_one}",
            )
            label = f"found: slope {slope:.2f}"
            axes.plot(ends, slope * ends, color="black", linewidth=2, label=label)
            axes.legend(loc="upper left")
        left.set(
            xlabel="true batch effect (ln of the ratio B / A)",
            ylabel="learned batch effect (ln)",
        )
        right.set(
            xlabel="true class difference (ln of the ratio)",
            ylabel="learned less true batch effect (ln)",
        )
        figure.tight_layout()
    return figures.DescribedFigure(
        figure,
        f"Two scatter plots of {len(table):,} genes. Left: the learned batch effect against the "
        f"true one, correlation {_tenths(effect.corr(true_effect))}, slope "
        f"{_tenths(slopes[TRUE[0]])}; 1 would be right. Right: what the learned effect has too "
        f"much against the true difference of two classes, slope {_tenths(slopes[TRUE[1]])}; 0 "
        "would be right.",
    )


def _tenths(value: float) -> str:
    """Round for the sentence of a figure: training makes further digits differ between machines."""
    # Adding 0 turns -0 into 0.
    return f"{round(value, 1) + 0:.1f}"
