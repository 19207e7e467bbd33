"""What maps of cells in two dimensions keep, and what they distort."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.stats import rankdata, spearmanr
from sklearn.manifold import trustworthiness

from helpers.latent import neighbours
from helpers.latent.embeddings import require_same_cells
from helpers.training import minibatches

# All distances between 1,000 cells take 8 MB, between the 3,005 cortex cells 72 MB.
SAMPLE = 1000
ORIGINAL = "original"
CELLS = "cells"


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
        One label per cell; adds a column.

    Returns
    -------
    DataFrame
        One row per map, after one for the positions themselves, which are as faithful as can be.
        From 0 to 1, higher is better:

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
    Trustworthiness with 15 neighbours: Venna and Kaski (2001), ICANN, Lecture Notes in
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
    """Tell whether a label that looks large in a map has cells that differ, or only many cells.

    Parameters
    ----------
    maps
        Maps by name (cells x 2).
    positions
        What they were made from (cells x dimensions).
    labels
        One label per cell.

    Returns
    -------
    DataFrame
        One row per label: ``cells`` (how many), then its spread in the ``original`` and in each
        map. The spread is how far apart two of its cells are, median over all pairs, divided by the
        mean of this over the labels: 1 is average, and maps without a unit can be compared. Missing
        for a label of one cell.

    Raises
    ------
    ValueError
        If there is no map, a map is not cells x 2, the numbers of cells differ, a position is not a
        finite number, no label has cells that differ, or the labels are as
        ``neighbours.require_labels`` says.

    Notes
    -----
    A median, since a few cells of a label that lie among another, far away on the map, would
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
        One label per cell, of at least three values.

    Returns
    -------
    DataFrame
        One row per map: ``rank correlation`` (Spearman's) of the distances between the labels'
        means in the map and in the original; ``pairs`` of labels; ``most misplaced``, the pair of
        labels whose place changes most when the pairs are ordered by distance; and its place,
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


def _require_maps(
    maps: Mapping[str, ArrayLike], positions: ArrayLike
) -> tuple[NDArray[np.floating], dict[str, NDArray[np.floating]]]:
    positions, checked = neighbours.require_positions(positions), require_same_cells(maps)
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
