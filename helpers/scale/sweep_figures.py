"""Figures of a sweep: every trial, and every architecture against the default, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from helpers import figures
from helpers.scale import sweep_results
from helpers.scale.sweep_results import ARCHITECTURE, BETTER, DEFAULT

MARKERS = "osD^v"

UNITS = {"negative ELBO": "nats per held-out cell"}


def plot_trials(trials: pd.DataFrame, column: str = "negative ELBO") -> figures.DescribedFigure:
    """Draw every trial above its seed, with the number of hidden layers as colour and marker.

    Parameters
    ----------
    trials
        As from ``results.load("architectures")``, of one budget, or from ``sweep.run``.
    column
        A key of ``sweep_results.BETTER``.
    """
    seeds = sorted(trials["seed"].unique())
    layers = sorted(trials["n_layers"].unique())
    with figures.style():
        figure = Figure(figsize=(7, 3.8))
        axes = figure.subplots()
        for shift, (number, these) in enumerate(trials.groupby("n_layers")):
            axes.plot(
                these["seed"] + 0.18 * (shift - (len(layers) - 1) / 2),
                these[column],
                MARKERS[shift % len(MARKERS)],
                color=figures.COLOURS[shift % len(figures.COLOURS)],
                alpha=0.8,
                label=_layers(number),
            )
        axes.set(xlabel="seed", xticks=seeds, ylabel="\n".join([column, *_units(column)]))
        axes.legend(title="hidden layers", loc="center left", bbox_to_anchor=(1, 0.5))
    by_seed = trials.groupby("seed")[column]
    span, between = (
        (by_seed.max() - by_seed.min()).mean(),
        by_seed.mean().max() - by_seed.mean().min(),
    )
    return figures.DescribedFigure(
        figure,
        f"Dot chart of the {column} of {len(trials)} trials above their {len(seeds)} seeds. The "
        f"means of the seeds lie up to {figures.about(between, 2)} apart; the trials of one seed "
        f"span {figures.about(span, 2)} on average.",
    )


def plot_differences(compared: Mapping[str, pd.DataFrame], column: str) -> figures.DescribedFigure:
    """Draw how much each architecture differs from the default: one row each, one dot per seed.

    Parameters
    ----------
    compared
        By name, one panel each: tables as from ``sweep_results.differences``.
    column
        A key of ``sweep_results.BETTER``.
    """
    rows = sorted(
        {tuple(key) for table in compared.values() for key in table[ARCHITECTURE].to_numpy()}
    )
    said = []
    with figures.style():
        figure = Figure(figsize=(1.4 + max(5, 3.4 * len(compared)), 1.2 + 0.36 * len(rows)))
        panels = figure.subplots(1, len(compared), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, table) in zip(panels, compared.items(), strict=True):
            verdicts = sweep_results.verdicts(table, column)
            for row, key in enumerate(rows):
                of_this = (table["n_layers"] == key[0]) & (table["n_hidden"] == key[1])
                values = table.loc[of_this, column]
                style = {
                    "color": figures.COLOURS[(key[0] - 1) % len(figures.COLOURS)],
                    "marker": MARKERS[(key[0] - 1) % len(MARKERS)],
                }
                axes.plot(values, [row] * len(values), linestyle="", alpha=0.6, **style)
                axes.plot(values.mean(), row, "|", color="black", markersize=16, markeredgewidth=2)
            axes.axvline(0, color="black", linestyle="--", linewidth=1)
            axes.grid(axis="y", linestyle=":", color="0.8")
            axes.set(
                xlabel=(
                    f"{column} less that of the default\n"
                    f"({'; '.join([*_units(column), BETTER[column]])} is better)"
                ),
                yticks=range(len(rows)),
                yticklabels=[f"{_layers(layers)} of {neurons}" for layers, neurons in rows],
                ylim=(len(rows) - 0.5, -0.5),
            )
            if len(compared) > 1:
                axes.set_title(name)
            words = [
                f"{_layers(found['n_layers'])} of {found['n_hidden']} {found['mean']:+.2g} "
                f"({found['verdict']})"
                for found in verdicts.reset_index().to_dict("records")
            ]
            said.append(f"{name}: {', '.join(words)}")
        figure.tight_layout()
    default = f"{_layers(DEFAULT['n_layers'])} of {DEFAULT['n_hidden']}"
    return figures.DescribedFigure(
        figure,
        f"Dot chart of the {' in '.join([column, *_units(column)])} of {len(rows)} architectures "
        f"less that of the default, {default}, one dot per seed; {BETTER[column]} is better. Means "
        f"over the seeds, and what the seeds say. {'. '.join(said)}.",
    )


def _units(column: str) -> list[str]:
    return [UNITS[column]] if column in UNITS else []


def _layers(number: int) -> str:
    return f"{number} layer" if number == 1 else f"{number} layers"
