"""Draw maps of cells, coloured by label or by a number."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from helpers import figures
from helpers.figures import COLOURS, about
from helpers.latent import neighbours
from helpers.latent.embeddings import require_same_cells

MARKERS = ("o", "^", "s")
PANELS_IN_A_ROW = 3
FONT_SIZE = 12


def plot_labels(maps: Mapping[str, ArrayLike], labels: ArrayLike) -> figures.DescribedFigure:
    """Draw maps of the same cells side by side, coloured by label.

    A label is written on its cells where they lie together; below the maps if it lies among others
    in one of them.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    labels
        One label per cell, of 2 to 24 values; Categoricals keep their order.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells differ, there are no more
        than 15 cells, a position is not a finite number, there are more than 24 labels, or the
        labels are as ``neighbours.require_labels`` says.
    """
    checked = require_same_cells(maps)
    n_cells = len(next(iter(checked.values())))
    text = neighbours.require_labels(labels, n_cells)
    names = _in_order(labels, text)
    if len(names) > len(COLOURS) * len(MARKERS):
        raise ValueError(
            f"There are {len(names)} labels; more than {len(COLOURS) * len(MARKERS)} cannot be "
            "told apart.\n"
            "What to do: colour by coarser labels, or draw some of the cells."
        )
    codes = pd.Categorical(text, names).codes.astype(int)
    colours = to_rgba_array([COLOURS[code % len(COLOURS)] for code in codes])
    markers = codes // len(COLOURS)
    with figures.style():
        figure, panels = _panels(checked)
        for axes, drawn in zip(panels, checked.values(), strict=True):
            # In turns, where there are several markers, so that none lies on top of all others.
            for rows in np.array_split(_shuffled(n_cells), 20 if markers.any() else 1):
                for number in np.unique(markers[rows]):
                    of_marker = rows[markers[rows] == number]
                    axes.scatter(
                        *drawn[of_marker].T,
                        s=_size(n_cells),
                        c=colours[of_marker],
                        marker=MARKERS[number],
                        linewidths=0,
                    )
        written = [_centres(drawn, codes, names) for drawn in checked.values()]
        if any(len(centres) < len(names) for centres in written):
            _add_legend(figure, names)
        # Names are moved apart by their size on the page, so the panels must have theirs.
        figure.draw_without_rendering()
        for axes, centres in zip(panels, written, strict=True):
            _write_names(axes, centres)
    sizes = "; ".join(f"{name}: {(text == name).sum():,}" for name in names)
    found = ", ".join(
        f"{name}: {_at_least(neighbours.label_accuracy(drawn, text))}"
        for name, drawn in checked.items()
    )
    return figures.DescribedFigure(
        figure,
        f"{_count(checked)} of {n_cells:,} cells, coloured by label. Cells of each label: {sizes}. "
        f"Share of cells whose neighbours on the map have mostly their label. {found}.",
    )


def _at_least(share: float) -> str:
    """Say a share in quarters, since another processor draws a slightly different map."""
    quarters = int(4 * share)
    return f"at least {quarters / 4:g}" if quarters else "less than 0.25"


def plot_values(
    maps: Mapping[str, ArrayLike], values: ArrayLike, name: str
) -> figures.DescribedFigure:
    """Draw maps of the same cells side by side, coloured by a number per cell.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    values
        One number per cell.
    name
        What the number is, with its unit; written at the colour bar.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells or values differ, a
        position or value is not a finite number, or there are fewer than two cells.
    """
    checked = require_same_cells(maps)
    n_cells = len(next(iter(checked.values())))
    values = np.asarray(values, dtype=float)
    if values.shape != (n_cells,):
        raise ValueError(
            f"There are values of the shape {values.shape}, and {n_cells:,} cells.\n"
            "What to do: give one number per cell, of the same cells in the same order."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{(~np.isfinite(values)).sum():,} of {n_cells:,} values are not finite numbers.\n"
            "What to do: leave these cells out of the values and of the maps."
        )
    rows = _shuffled(n_cells)
    with figures.style():
        figure, panels = _panels(checked)
        for axes, drawn in zip(panels, checked.values(), strict=True):
            axes.scatter(
                *drawn[rows].T,
                s=_size(n_cells),
                c=values[rows],
                cmap=figures.COLOUR_MAP,
                linewidths=0,
            )
        # All panels show the same values, so the bar of the last is that of all.
        bar = figure.colorbar(panels[-1].collections[0], ax=panels, fraction=0.04, pad=0.02)
        bar.set_label(name, size=FONT_SIZE)
        bar.ax.tick_params(labelsize=FONT_SIZE)
    return figures.DescribedFigure(
        figure,
        f"{_count(checked)} of {n_cells:,} cells, coloured by {name}, from "
        f"{about(values.min(), 2)} to {about(values.max(), 2)}, median "
        f"{about(float(np.median(values)), 2)}: {', '.join(checked)}.",
    )


def _count(maps: Mapping[str, NDArray]) -> str:
    return f"{len(maps)} maps" if len(maps) > 1 else "Map"


def _panels(maps: Mapping[str, NDArray]) -> tuple[Figure, list[Axes]]:
    """Return a figure with an empty panel for each map, titled and scaled."""
    columns = min(len(maps), PANELS_IN_A_ROW)
    rows = -(-len(maps) // columns)
    side = 3.6 if columns > 1 else 5.4
    figure = Figure(figsize=(side * columns, (side + 0.3) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(maps) :]:
        axes.remove()
    panels = list(grid[: len(maps)])
    for axes, (name, drawn) in zip(panels, maps.items(), strict=True):
        axes.set_title(name, fontsize=FONT_SIZE + 1)
        axes.set_xlabel("axis 1 (no unit)", fontsize=FONT_SIZE)
        axes.set_ylabel("axis 2 (no unit)", fontsize=FONT_SIZE)
        axes.set(xticks=[], yticks=[])
        low, high = drawn.min(axis=0), drawn.max(axis=0)
        margin = 0.06 * np.maximum(high - low, 1e-9)
        axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
        axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    return figure, panels


def _size(n_cells: int) -> float:
    return float(np.clip(20000 / n_cells, 6, 40))


def _shuffled(n_cells: int) -> NDArray[np.intp]:
    # In the order of the data, the last label would hide the others.
    return np.random.default_rng(0).permutation(n_cells)


def _in_order(labels: ArrayLike, text: NDArray[np.str_]) -> list[str]:
    categories = getattr(getattr(labels, "cat", labels), "categories", None)
    names = np.unique(text) if categories is None else map(str, categories)
    present = set(text)
    return [str(name) for name in names if name in present]


def _centres(drawn: NDArray, codes: NDArray, names: Sequence[str]) -> dict[str, NDArray]:
    """Return a position in the middle of each label whose cells lie together."""
    around = codes[neighbours.nearest(drawn)]
    centres = {}
    for code, name in enumerate(names):
        own = codes == code
        # Where labels are mixed at random, a cell finds its own as often as there are such cells. A
        # label that does not come half the way from there to 1 has no place of its own.
        if (around[own] == code).mean() > (1 + own.mean()) / 2:
            cells = drawn[own]
            middle = np.median(cells, axis=0)
            centres[name] = cells[((cells - middle) ** 2).sum(axis=1).argmin()]
    return centres


def _write_names(axes: Axes, centres: Mapping[str, NDArray]) -> None:
    """Write names at their positions, moved up or down as far as they would hide one another."""
    if not centres:
        return
    lines = {
        name: textwrap.wrap(name.replace("_", "_ "), 12, break_long_words=False) for name in centres
    }
    frame = axes.get_window_extent()
    point = axes.figure.dpi / 72
    boxes = np.array(
        [
            (0.7 * FONT_SIZE * max(map(len, wrapped)), 1.3 * FONT_SIZE * len(wrapped))
            for wrapped in lines.values()
        ]
    )
    boxes *= point
    places = axes.transData.transform(np.array(list(centres.values())))
    inside = np.minimum(boxes / 2, [frame.width / 2, frame.height / 2])
    lowest = np.array([frame.x0, frame.y0]) + inside
    highest = np.array([frame.x1, frame.y1]) - inside
    places = np.clip(places, lowest, highest)
    for _ in range(200):
        moved = False
        for one, other in combinations(range(len(places)), 2):
            gap = np.abs(places[one] - places[other]) - (boxes[one] + boxes[other]) / 2
            if (gap < -0.5).all():
                up, down = (one, other) if places[one, 1] >= places[other, 1] else (other, one)
                places[up, 1] -= gap[1] / 2
                places[down, 1] += gap[1] / 2
                moved = True
        places = np.clip(places, lowest, highest)
        if not moved:
            break
    for wrapped, place in zip(
        lines.values(), axes.transAxes.inverted().transform(places), strict=True
    ):
        axes.text(
            *place,
            "\n".join(wrapped).replace("_ ", "_"),
            transform=axes.transAxes,
            ha="center",
            va="center",
            fontsize=FONT_SIZE,
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def _add_legend(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[code // len(COLOURS)],
            color=COLOURS[code % len(COLOURS)],
            markersize=9,
            label=name,
        )
        for code, name in enumerate(names)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(names), 4),
        fontsize=FONT_SIZE,
    )
