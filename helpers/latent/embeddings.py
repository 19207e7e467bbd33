"""Maps of cells in two dimensions: how to draw them, what they keep, and what they distort."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.stats import rankdata, spearmanr
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from helpers import figures
from helpers.figures import COLOURS, about
from helpers.latent import clusters, neighbours
from helpers.training import minibatches

# All distances between 1,000 cells take 8 MB, between the 3,005 cortex cells 72 MB.
SAMPLE = 1000

# On the cortex cells 1,000 steps take twice as long, and change the shared neighbours by 0.002.
TSNE_STEPS = 500

ORIGINAL = "original"
CELLS = "cells"

MARKERS = ("o", "^", "s")
PANELS_IN_A_ROW = 3
FONT_SIZE = 12


# --- maps ---------------------------------------------------------------------------------------


def pca(positions: ArrayLike) -> NDArray[np.floating]:
    """Return the first two principal components: the flat view in which the cells differ most.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).

    Returns
    -------
    ndarray
        Cells x 2, in the unit of the positions. Each axis points to where its largest weight is
        positive.

    Raises
    ------
    ValueError
        If there are fewer than two cells or dimensions, or a position is not a finite number.
    """
    return PCA(2, svd_solver="full").fit_transform(_require_dimensions(positions))


def tsne(positions: ArrayLike, perplexity: float = 30) -> NDArray[np.floating]:
    """Return a t-SNE map, which keeps neighbours together and gives up large distances.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    perplexity
        About how many neighbours each cell attends to. It must be smaller than the number of cells.

    Returns
    -------
    ndarray
        Cells x 2, without a unit.

    Raises
    ------
    ValueError
        If the perplexity is not above 0, there are no more cells than it, there are fewer than two
        dimensions, or a position is not a finite number.

    Notes
    -----
    ----- Van der Maaten and Hinton (2008), Journal of Machine Learning Research 9:2579. It starts
    from the first two principal components, so that nothing is random: the same positions give the
    same map on the same machine.
    """
    positions = _require_dimensions(positions)
    if not 0 < perplexity < len(positions):
        raise ValueError(
            f"The perplexity is {perplexity:g}, and there are {len(positions):,} cells.\n"
            "What to do: choose a perplexity above 0 and below the number of cells, usually 5 to "
            "50."
        )
    return TSNE(
        2,
        perplexity=perplexity,
        init="pca",
        max_iter=TSNE_STEPS,
        n_jobs=1,
        random_state=0,
    ).fit_transform(positions)


def umap(positions: ArrayLike, seed: int = 0) -> NDArray[np.floating]:
    """Return a UMAP map, made from the same graph of neighbours as Leiden clusters.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    seed
        Seed of the random numbers; another one gives another map.

    Returns
    -------
    ndarray
        Cells x 2, without a unit.

    Raises
    ------
    ValueError
        If there are no more than 15 cells, fewer than two dimensions, or a position is not a finite
        number.

    Notes
    -----
    McInnes, Healy and Melville (2018), arXiv:1802.03426, as scanpy does it by default.
    """
    joined = clusters.graph(_require_dimensions(positions))
    sc.tl.umap(joined, random_state=seed)
    return np.asarray(joined.obsm["X_umap"])


# --- what a map keeps ---------------------------------------------------------------------------


def faithfulness(
    maps: Mapping[str, ArrayLike], positions: ArrayLike, labels: ArrayLike | None = None
) -> pd.DataFrame:
    """Tell what maps keep of the positions that they were made from, nearby and far away.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    positions
        What they were made from (cells x dimensions).
    labels
        A label a cell; adds a column.

    Returns
    -------
    DataFrame
        A row a map, after one for the positions themselves, which are as faithful as can be. From 0
        to 1, higher is better:

        ``trustworthiness``
            Are neighbours in the map neighbours in truth? A false neighbour costs the more, the
            farther away it really is. A map without any relation has about 0.5.
        ``neighbours kept``
            The share of a cell's 15 nearest neighbours that are among its 15 nearest in the map
            (``neighbours.shared``).
        ``distances kept``
            Are cells that are far apart in truth far apart in the map? Spearman's correlation of
            all distances between cells, 1 if their order is the same. A map without any relation
            has about 0.
        ``label accuracy``
            With labels only: ``neighbours.label_accuracy``.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells differ, there are no more
        than 31 cells, a position is not a finite number, or the labels are as
        ``neighbours.require_labels`` says.

    Notes
    -----
    ----- Trustworthiness with 15 neighbours: Venna and Kaski (2001), ICANN, Lecture Notes in
    Computer Science 2130:485. Neighbours and distances kept are two of the three measures of Kobak
    and Berens (2019), Nature Communications 10:5416.

    Trustworthiness and distances need all pairs of cells, so both are measured on 1,000 cells at
    even steps through the data; neighbours are then those among the 1,000, which are farther away
    than those among all.
    """
    positions, checked = _require_maps(maps, positions)
    # The formula of trustworthiness divides by 2 x cells - 3 x neighbours - 1, and takes fewer than
    # half of the cells for neighbours.
    neighbours.require_positions(positions, 2 * neighbours.NEIGHBOURS + 1)
    sample = minibatches.evenly_spaced(len(positions), SAMPLE)
    true_distances = pdist(positions[sample])
    rows = {}
    for name, drawn in ({ORIGINAL: positions} | checked).items():
        rows[name] = {
            "trustworthiness": trustworthiness(
                positions[sample], drawn[sample], n_neighbors=neighbours.NEIGHBOURS
            ),
            "neighbours kept": neighbours.shared(drawn, positions),
            "distances kept": spearmanr(true_distances, pdist(drawn[sample])).statistic,
        }
        if labels is not None:
            rows[name]["label accuracy"] = neighbours.label_accuracy(drawn, labels)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("map")


def spread_by_label(
    maps: Mapping[str, ArrayLike], positions: ArrayLike, labels: ArrayLike
) -> pd.DataFrame:
    """Tell whether a label that looks large in a map has cells that differ much, or only many cells.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    positions
        What they were made from (cells x dimensions).
    labels
        A label a cell.

    Returns
    -------
    DataFrame
        A row a label: ``cells`` (how many), then its spread in the ``original`` and in each map.
        The spread is how far apart two of its cells are, median over all pairs, divided by the mean
        of this over the labels: 1 is average, and maps without a unit can be compared. Missing for
        a label of one cell.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells differ, a position is not a
        finite number, no label has cells that differ, or the labels are as
        ``neighbours.require_labels`` says.

    Notes
    -----
    ----- A median, since a few cells of a label that lie among another, far away on the map, would
    decide a mean. Of pairs, since it is the same however the axes are turned. Of labels with more
    than 1,000 cells, 1,000 at even steps are used.
    """
    positions, checked = _require_maps(maps, positions)
    labels = neighbours.require_labels(labels, len(positions))
    sizes = pd.Series(labels).value_counts().sort_index()
    columns = {CELLS: sizes}
    for name, drawn in ({ORIGINAL: positions} | checked).items():
        spread = pd.Series({label: _spread(drawn[labels == label]) for label in sizes.index})
        if not spread.max() > 0:
            raise ValueError(
                f"In '{name}' the cells of each label are at one position, so there is no spread.\n"
                "What to do: give labels that several different cells share."
            )
        columns[name] = spread / spread.mean()
    return pd.DataFrame(columns).rename_axis("label")


def _spread(drawn: NDArray) -> float:
    if len(drawn) < 2:
        return np.nan
    return float(np.median(pdist(drawn[minibatches.evenly_spaced(len(drawn), SAMPLE)])))


def centre_distances(
    maps: Mapping[str, ArrayLike], positions: ArrayLike, labels: ArrayLike
) -> pd.DataFrame:
    """Tell whether labels that lie near each other in a map are near each other in truth.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    positions
        What they were made from (cells x dimensions).
    labels
        A label a cell, of at least three values.

    Returns
    -------
    DataFrame
        A row a map: ``rank correlation`` (Spearman's) of the distances between the labels' means in
        the map and in the original; ``pairs`` of labels; ``most misplaced``, the pair of labels
        whose place changes most when the pairs are ordered by distance; and its place,
        ``in the original`` and ``in the map`` (1 is the nearest pair).

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells differ, a position is not a
        finite number, there are fewer than three labels, or the labels are as
        ``neighbours.require_labels`` says.
    """
    positions, checked = _require_maps(maps, positions)
    labels = neighbours.require_labels(labels, len(positions))
    names = np.unique(labels)
    if len(names) < 3:
        raise ValueError(
            f"There are {len(names)} labels, and so a single distance between labels.\n"
            "What to do: give labels with three or more values."
        )
    pairs = [f"{one} and {other}" for one, other in combinations(names, 2)]
    original = _between_centres(positions, labels)
    rows = {}
    for name, drawn in checked.items():
        distances = _between_centres(drawn, labels)
        places = rankdata(original), rankdata(distances)
        worst = int(np.abs(places[1] - places[0]).argmax())
        rows[name] = {
            "rank correlation": spearmanr(original, distances).statistic,
            "pairs": len(pairs),
            "most misplaced": pairs[worst],
            "in the original": int(places[0][worst]),
            "in the map": int(places[1][worst]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("map")


def _between_centres(positions: NDArray, labels: NDArray) -> NDArray[np.floating]:
    return pdist(pd.DataFrame(positions.astype(float)).groupby(labels).mean().to_numpy())


# --- figures ------------------------------------------------------------------------------------


def plot(maps: Mapping[str, ArrayLike], labels: ArrayLike) -> figures.DescribedFigure:
    """Draw maps of the same cells side by side, coloured by label.

    A label is written on its cells where they lie together; below the maps if it lies among others
    in one of them.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    labels
        A label a cell, of 2 to 24 values; Categoricals keep their order.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells differ, there are no more
        than 15 cells, a position is not a finite number, there are more than 24 labels, or the
        labels are as ``neighbours.require_labels`` says.
    """
    checked = _require_same_cells(maps)
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
    """Say a share in quarters: finer steps would differ between processors, which draw other maps."""
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
        A number a cell.
    name
        What the number is, with its unit; written at the colour bar.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells or values differ, a
        position or value is not a finite number, or there are fewer than two cells.
    """
    checked = _require_same_cells(maps)
    n_cells = len(next(iter(checked.values())))
    values = np.asarray(values, dtype=float)
    if values.shape != (n_cells,):
        raise ValueError(
            f"There are values of the shape {values.shape}, and {n_cells:,} cells.\n"
            "What to do: give one number a cell, of the same cells in the same order."
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


# --- what cannot be drawn or compared -----------------------------------------------------------


def _require_dimensions(positions: ArrayLike) -> NDArray[np.floating]:
    positions = neighbours.require_positions(positions)
    if positions.shape[1] < 2:
        raise ValueError(
            f"The positions have {positions.shape[1]} dimension, and a map has two.\n"
            "What to do: give positions in two dimensions or more."
        )
    return positions


def _require_map(name: str, drawn: ArrayLike) -> NDArray[np.floating]:
    drawn = neighbours.require_positions(drawn)
    if drawn.shape[1] != 2:
        raise ValueError(
            f"'{name}' has {drawn.shape[1]} dimensions, and a map has two.\n"
            "What to do: pass what pca, tsne or umap returned."
        )
    return drawn


def _require_same_cells(maps: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.floating]]:
    if not len(maps):
        raise ValueError(
            "There is no map.\n"
            'What to do: give at least one by name, such as {"PCA": embeddings.pca(z)}.'
        )
    checked = {name: _require_map(name, drawn) for name, drawn in maps.items()}
    numbers = {name: len(drawn) for name, drawn in checked.items()}
    if len(set(numbers.values())) > 1:
        said = ", ".join(f"{name} {number:,}" for name, number in numbers.items())
        raise ValueError(
            f"The maps are of different numbers of cells: {said}.\n"
            "What to do: give maps of the same cells, in the same order."
        )
    return checked


def _require_maps(
    maps: Mapping[str, ArrayLike], positions: ArrayLike
) -> tuple[NDArray[np.floating], dict[str, NDArray[np.floating]]]:
    positions, checked = neighbours.require_positions(positions), _require_same_cells(maps)
    n_drawn = len(next(iter(checked.values())))
    if n_drawn != len(positions):
        raise ValueError(
            f"The maps are of {n_drawn:,} cells, and there are {len(positions):,} positions.\n"
            "What to do: give the positions that the maps were made from."
        )
    taken = {ORIGINAL, CELLS} & set(checked)
    if taken:
        raise ValueError(
            f"A map is called '{taken.pop()}', which names another column.\n"
            "What to do: give the map another name."
        )
    return positions, checked
