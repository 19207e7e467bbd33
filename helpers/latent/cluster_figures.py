"""Draw how clusters of cells agree with classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import figures
from helpers.figures import COLOURS, about

MARKERS = ("o", "s", "^", "D", "v", "P")


def plot_confusion(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``confusion``.

    Each field has its number of cells, on the colour of its share of the cluster.
    """
    numbers = table.to_numpy()
    shares = numbers / numbers.sum(axis=1, keepdims=True)
    with figures.style():
        figure = Figure(figsize=(0.95 * table.shape[1] + 2.2, 0.42 * table.shape[0] + 2))
        axes = figure.subplots()
        image = axes.imshow(shares, cmap=figures.COLOUR_MAP, vmin=0, vmax=1, aspect="auto")
        for (row, column), number in np.ndenumerate(numbers):
            if number:
                colour = "black" if shares[row, column] > 0.5 else "white"
                axes.text(
                    column, row, f"{number:,}", ha="center", va="center", color=colour, size=12
                )
        axes.set_xticks(range(table.shape[1]), table.columns, rotation=35, ha="right", size=12)
        axes.set_yticks(range(table.shape[0]), table.index, size=12)
        axes.tick_params(length=0)
        axes.set_ylabel("cluster", size=12)
        bar = figure.colorbar(image, ax=axes)
        bar.set_label("share of the cluster's cells", size=12)
    main = table.columns[numbers.argmax(axis=1)]
    several = [name for name in table.columns if (main == name).sum() > 1]
    none = [name for name in table.columns if name not in main]
    own = numbers.max(axis=1).sum() / numbers.sum()
    said = f"{100 * own:.0f} % of the cells have the main class of their cluster."
    if several:
        said += f" Main class of more than one cluster: {', '.join(several)}."
    if none:
        said += f" Main class of no cluster: {', '.join(none)}."
    return figures.DescribedFigure(
        figure,
        f"Heat map of {numbers.sum():,} cells, a row for each of {table.shape[0]} clusters, a "
        f"column for each of {table.shape[1]} classes. {said}",
    )


def plot_resolutions(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``resolutions``.

    It shows the number of clusters and both agreements, against the resolution.
    """
    panels = {"clusters": "number of clusters", "ARI": "ARI (1 is best)", "NMI": "NMI (1 is best)"}
    runs = dict(tuple(table.groupby("representation", sort=False)))
    with figures.style():
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        columns = figure.subplots(1, len(panels))
        for axes, (column, label) in zip(columns, panels.items(), strict=True):
            for number, (name, run) in enumerate(runs.items()):
                axes.plot(
                    run["resolution"],
                    run[column],
                    marker=MARKERS[number % len(MARKERS)],
                    color=COLOURS[number % len(COLOURS)],
                    label=name,
                )
            axes.set_xscale("log")
            ticks = sorted(set(table["resolution"]))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], rotation=90)
            axes.set_xticks([], minor=True)
            axes.tick_params(labelsize=11)
            axes.set_xlabel("resolution (no unit; logarithmic)", size=11)
            axes.set_ylabel(label, size=12)
            axes.set_ylim(0, None if column == "clusters" else 1)
        columns[0].yaxis.get_major_locator().set_params(integer=True)
        figure.legend(
            *columns[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=min(len(runs), 3),
            fontsize=12,
        )
    said = []
    for name, run in runs.items():
        first, last = run.loc[run["resolution"].idxmin()], run.loc[run["resolution"].idxmax()]
        said.append(
            f"{name}: from about {about(first['clusters'], 1)} to about "
            f"{about(last['clusters'], 1)} clusters, highest ARI {run['ARI'].max():.1f}"
        )
    return figures.DescribedFigure(
        figure,
        "Three line charts against the resolution of Leiden clustering, from "
        f"{table['resolution'].min():g} to {table['resolution'].max():g}: number of clusters, ARI "
        f"and NMI. {'; '.join(said)}.",
    )
