"""A figure of what more cells cost in time and memory, measured and estimated."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from helpers import figures
from helpers.scale import scaling


def plot(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw time (left) and memory (right) against the number of cells.

    Filled markers are measured, hollow ones estimated.

    Parameters
    ----------
    table
        As from ``estimate``.
    """
    with figures.style():
        figure = Figure(figsize=(10, 4.8))
        left, right = figure.subplots(1, 2)
        markers = zip(scaling.times(table).items(), figures.COLOURS, "os^", strict=False)
        for (name, seconds), colour, marker in markers:
            _draw(left, table, seconds, name, colour, marker)
        _draw(right, table, table["memory MiB"] / 1024, "peak in training", figures.COLOURS[0], "o")
        for name, dashes, colour in (
            ("dense", ":", figures.COLOURS[3]),
            ("sparse", "--", figures.COLOURS[2]),
        ):
            size = table[f"{name} MiB"] / 1024
            right.plot(
                table["cells"], size, dashes, color=colour, label=f"the counts alone, {name}"
            )
        for name, size in scaling.MACHINES.items():
            right.axhline(size, color="0.4", linewidth=1)
            right.annotate(
                f"{name}, {size} GiB",
                (table["cells"].min(), size),
                xytext=(0, 2),
                textcoords="offset points",
            )
        for axes, label in ((left, "processor time (seconds)"), (right, "memory (GiB)")):
            axes.set(xscale="log", yscale="log", xlabel="cells", ylabel=label)
            axes.xaxis.set_major_formatter(lambda cells, _: _count(cells))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.12g}")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_minor_locator(NullLocator())
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.26))
        kinds = [
            Line2D([], [], color="black", marker="o", linestyle="", label=scaling.MEASURED),
            Line2D(
                [],
                [],
                color="black",
                marker="o",
                linestyle="",
                label=scaling.ESTIMATED,
                fillstyle="none",
            ),
        ]
        figure.legend(handles=kinds, loc="upper center", ncols=2)
        figure.tight_layout()
    return figures.DescribedFigure(figure, _said(table))


def _draw(
    axes: Axes, table: pd.DataFrame, values: pd.Series, label: str, colour: str, marker: str
) -> None:
    """Draw a line, with filled markers where it was measured and hollow ones beyond."""
    axes.plot(table["cells"], values, color=colour, linewidth=1)
    for kind, inside in ((scaling.MEASURED, colour), (scaling.ESTIMATED, "white")):
        chosen = table["kind"] == kind
        axes.plot(
            table.loc[chosen, "cells"],
            values[chosen],
            marker,
            color=colour,
            markerfacecolor=inside,
            label=label if kind == scaling.MEASURED else None,
        )


def _said(table: pd.DataFrame) -> str:
    first, last = table.iloc[0], table.iloc[-1]
    times = ", ".join(
        f"{name} from {duration(seconds.iloc[0])} to {duration(seconds.iloc[-1])}"
        for name, seconds in scaling.times(table).items()
    )
    limits = []
    for name, size in scaling.MACHINES.items():
        fitting = table.loc[table["memory MiB"] <= 1024 * size, "cells"]
        up_to = f"up to {_count(fitting.max())} cells" if len(fitting) else "none"
        limits.append(f"{up_to} fit into {size} GiB ({name})")
    return (
        f"Two charts with logarithmic axes from {_count(first['cells'])} to "
        f"{_count(last['cells'])} cells, {(table['kind'] == scaling.MEASURED).sum()} sizes "
        f"measured and {(table['kind'] == scaling.ESTIMATED).sum()} estimated. Processor time on "
        f"one core: {times}. The "
        f"peak of the memory goes from {figures.about(first['memory MiB'] / 1024, 2)} to "
        f"{figures.about(last['memory MiB'] / 1024, 2)} GiB; of these sizes "
        f"{' and '.join(limits)}. The counts of the largest take "
        f"{figures.about(last['sparse MiB'] / 1024, 2)} GiB sparse and "
        f"{figures.about(last['dense MiB'] / 1024, 2)} GiB dense."
    )


def _count(cells: float) -> str:
    return f"{cells / 1e6:g} million" if cells >= 1e6 else f"{cells:,.0f}"


def duration(seconds: float) -> str:
    """Round a time, in the unit that reads best."""
    for name, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{figures.about(seconds / size, 2)} {name}"
    return f"{figures.about(seconds, 2)} s"
