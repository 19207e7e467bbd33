"""Which cells lie next to which: the part of a representation that most methods use."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

# As many as scanpy joins by default when it builds the graph for clustering and UMAP.
NEIGHBOURS = 15


def nearest(positions: ArrayLike, k: int = NEIGHBOURS) -> NDArray[np.intp]:
    """Return the nearest cells of each cell, by Euclidean distance.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    k
        How many neighbours.

    Returns
    -------
    ndarray
        The rows of the neighbours (cells x ``k``), the nearest first. A cell is not its own
        neighbour.

    Raises
    ------
    ValueError
        If there are no more than ``k`` cells, or a position is not a finite number.
    """
    positions = require_positions(positions, k)
    return NearestNeighbors(n_neighbors=k).fit(positions).kneighbors(return_distance=False)


def shared(one: ArrayLike, other: ArrayLike, k: int = NEIGHBOURS) -> float:
    """Return how many of a cell's nearest neighbours are the same in two representations.

    Parameters
    ----------
    one, other
        Positions of the same cells in the same order (cells x dimensions, which may differ).
    k
        How many neighbours.

    Returns
    -------
    float
        From 0 (none) to 1 (all), mean over the cells. Positions without any relation share
        ``k`` / (cells - 1).

    Raises
    ------
    ValueError
        If the representations are of different numbers of cells, if these are no more than ``k``,
        or if a position is not a finite number.
    """
    if len(np.asarray(one)) != len(np.asarray(other)):
        raise ValueError(
            f"The representations are of {len(np.asarray(one)):,} and {len(np.asarray(other)):,} "
            "cells.\n"
            "What to do: give two representations of the same cells, in the same order."
        )
    pairs = zip(nearest(one, k), nearest(other, k), strict=True)
    return float(np.mean([np.isin(here, there).mean() for here, there in pairs]))


def knn_predict(positions: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> NDArray[np.str_]:
    """Guess each cell's label from its neighbours.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    labels
        One label per cell.
    k
        How many neighbours vote. The most frequent label among them is the guess (of two equally
        frequent ones, the first in the alphabet); the cell itself has no vote.

    Returns
    -------
    ndarray
        The guessed label of each cell. ``clusters.confusion(guessed, labels)`` counts which label
        is taken for which.

    Raises
    ------
    ValueError
        If there are no more than ``k`` cells, if the numbers of labels and of positions differ, if
        a label is missing or there is only one, or if a position is not a finite number.
    """
    positions = require_positions(positions, k)
    labels = require_labels(labels, len(positions))
    # Without cells to guess, scikit-learn guesses those that it knows, each from the others.
    return KNeighborsClassifier(n_neighbors=k).fit(positions, labels).predict(None)


def label_accuracy(positions: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> float:
    """Return how often the label that ``knn_predict`` gives a cell is its own: a share from 0 to 1.

    With cell types as labels, high is good: cells of a type lie together. With batches as labels,
    low is good: cells of all batches are mixed. Guessing the largest label for every cell would
    reach that label's share of the cells.

    Parameters
    ----------
    positions, labels, k
        As for ``knn_predict``, and so are the errors.
    """
    return float((knn_predict(positions, labels, k) == np.asarray(labels, dtype=str)).mean())


def require_labels(labels: ArrayLike, n_cells: int) -> NDArray[np.str_]:
    """Return labels as text, or raise if they cannot be compared with a representation.

    Parameters
    ----------
    labels
        One label per cell, such as a column of ``obs``.
    n_cells
        How many cells the representation has.

    Raises
    ------
    ValueError
        If the number of labels is another one, a label is missing, or all are the same.
    """
    # As objects: NumPy would make the text "nan" of a missing value among words.
    column = pd.Series(np.asarray(labels, dtype=object))
    if len(column) != n_cells:
        raise ValueError(
            f"There are {len(column):,} labels and {n_cells:,} positions.\n"
            "What to do: take both from the same cells, for example with the same rows of adata."
        )
    if column.isna().any():
        raise ValueError(
            f"{column.isna().sum():,} of {n_cells:,} cells have no label.\n"
            "What to do: leave these cells out of the positions and of the labels."
        )
    if column.nunique() < 2:
        raise ValueError(
            f"All cells have the same label, {column.iloc[0]!r}, so there is nothing to tell "
            "apart.\n"
            "What to do: give labels with two or more values."
        )
    return column.astype(str).to_numpy(dtype=str)


def require_column(adata: ad.AnnData, key: str) -> NDArray[np.str_]:
    """Return the labels in a column of ``obs``; raise as ``column`` and ``require_labels`` do."""
    return require_labels(column(adata, key), adata.n_obs)


def column(adata: ad.AnnData, key: str) -> pd.Series:
    """Return a column of ``obs``, or raise a ``KeyError`` that names those that there are."""
    if key not in adata.obs:
        raise KeyError(f"obs has no column '{key}'. Columns: {', '.join(adata.obs.columns)}.")
    return pd.Series(adata.obs[key])


def require_positions(positions: ArrayLike, k: int = 1) -> NDArray[np.floating]:
    """Return positions as an array, or raise if ``k`` neighbours of each cell cannot be found.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    k
        How many neighbours.

    Raises
    ------
    ValueError
        If this is no table of cells x dimensions, a position is not a finite number, or there are
        no more than ``k`` cells.
    """
    positions = np.asarray(positions)
    if positions.ndim != 2:
        raise ValueError(
            f"Positions have the shape {positions.shape}; one row per cell and one column per "
            "dimension is needed."
        )
    if not np.isfinite(positions).all():
        rows = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise ValueError(
            f"{len(rows):,} of {len(positions):,} positions are not finite numbers, the first in "
            f"row {rows[0]}.\n"
            "What to do: look for cells without counts, and for a training that gave NaN."
        )
    if len(positions) <= k:
        raise ValueError(
            f"The number of neighbours is {k}, and the number of cells {len(positions)}; a cell is "
            "not its own neighbour.\n"
            "What to do: use more cells, or a smaller k."
        )
    return positions
