"""Maps of cells in two dimensions: PCA, t-SNE and UMAP."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scanpy as sc
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from helpers.latent import clusters, neighbours

# On the cortex cells 1,000 steps take twice as long, and change the shared neighbours by 0.002.
TSNE_STEPS = 500


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
    Van der Maaten and Hinton (2008), Journal of Machine Learning Research 9:2579. It starts
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


def require_same_cells(maps: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.floating]]:
    """Return maps as arrays, or raise unless they are maps of the same number of cells."""
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
