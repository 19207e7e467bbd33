"""Clusters of cells, and how far they agree with classes that were given to the cells before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import sklearn
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from helpers.latent import neighbours

# From a few large clusters to more than twice as many as the cortex cells have classes.
RESOLUTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)

# k-means ends in the best of this many starts, which differ; one alone is often far from the best.
STARTS = 10


def graph(positions: ArrayLike, k: int = neighbours.NEIGHBOURS) -> ad.AnnData:
    """Join each cell to its nearest neighbours, as Leiden clustering and UMAP need it.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    k
        How many neighbours. ``sc.pp.neighbors`` counts the cell itself as one of them.

    Returns
    -------
    AnnData
        The cells without any counts, with the graph where scanpy looks for it.

    Raises
    ------
    ValueError
        If there are no more than ``k`` cells, or a position is not a finite number.
    """
    positions = neighbours.require_positions(positions, k)
    cells = ad.AnnData(obsm={"positions": positions.copy()})
    sc.pp.neighbors(cells, n_neighbors=k, use_rep="positions", random_state=0)
    return cells


def leiden(graph: ad.AnnData, resolution: float = 0.5, seed: int = 0) -> pd.Categorical:
    """Find groups of cells that are joined more to each other than to the rest (Leiden clustering).

    Parameters
    ----------
    graph
        What ``graph`` returned. It is not changed.
    resolution
        How fine: a higher value gives more and smaller clusters. It has no unit and no right value.
    seed
        Seed of the random numbers; another one gives slightly different clusters.

    Returns
    -------
    Categorical
        The cluster of each cell: "0" is the largest, "1" the next, and so on.

    Raises
    ------
    ValueError
        If the resolution is not above 0.
    KeyError
        If this is no graph of cells.

    Notes
    -----
    Traag, Waltman and van Eck (2019), Scientific Reports 9:5233, with modularity, in the form
    that scanpy recommends: igraph, two iterations.
    """
    _require_resolutions([resolution])
    if "connectivities" not in graph.obsp:
        raise KeyError(
            "Nothing says which cells are joined.\n"
            "What to do: pass what clusters.graph(positions) returns."
        )
    cells = ad.AnnData(obs=pd.DataFrame(index=graph.obs_names))
    sc.tl.leiden(
        cells,
        resolution,
        adjacency=graph.obsp["connectivities"],
        random_state=seed,
        flavor="igraph",
        n_iterations=2,
        directed=False,
    )
    return _by_size(cells.obs["leiden"].to_numpy())


def _by_size(found: NDArray) -> pd.Categorical:
    names, codes, sizes = np.unique(found, return_inverse=True, return_counts=True)
    ranks = np.empty(len(names), int)
    ranks[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
    return pd.Categorical.from_codes(ranks[codes], [str(rank) for rank in range(len(names))])


def agreement(labels: ArrayLike, classes: ArrayLike) -> pd.Series:
    """Tell how far clusters and classes are the same groups of cells, whatever they are called.

    Parameters
    ----------
    labels
        The cluster of each cell.
    classes
        The class of each cell.

    Returns
    -------
    Series
        ``ARI``, the adjusted Rand index: over all pairs of cells, how far clusters and classes
        agree on which are together; 1 is full agreement and 0 what chance would give. It can be
        below 0. Most pairs are in large classes, so it is these that decide. ``NMI``, the
        normalised mutual information: how much the one tells of the other, from 0 to 1. It is not
        corrected for chance, so that many clusters have some by chance alone.

    Raises
    ------
    ValueError
        If the numbers of cells differ, a cell has no cluster or no class, or there is only one
        class.

    Notes
    -----
    Hubert and Arabie (1985), Journal of Classification 2:193; NMI is the mutual information
    divided by the mean of the two entropies.
    """
    clusters, classes = _require_pair(labels, classes)
    return pd.Series(
        {
            "ARI": float(adjusted_rand_score(classes, clusters)),
            "NMI": float(normalized_mutual_info_score(classes, clusters)),
        }
    )


def confusion(labels: ArrayLike, classes: ArrayLike) -> pd.DataFrame:
    """Count the cells of each class in each cluster.

    Parameters
    ----------
    labels
        The cluster of each cell.
    classes
        The class of each cell.

    Returns
    -------
    DataFrame
        One row per cluster and one column per class, in numbers of cells. Clusters with the same
        main class (the one that most of their cells have) follow one another, the largest first, in
        the order of the columns.

    Raises
    ------
    ValueError
        As ``agreement``.
    """
    clusters, classes = _require_pair(labels, classes)
    table = pd.crosstab(
        pd.Series(clusters, name="cluster").to_numpy(),
        classes,
        rownames=["cluster"],
        colnames=["class"],
    )
    main = table.to_numpy().argmax(axis=1)
    return table.iloc[np.lexsort((-table.sum(axis=1).to_numpy(), main))]


def resolutions(
    representations: Mapping[str, ArrayLike],
    classes: ArrayLike,
    resolutions: Sequence[float] = RESOLUTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Cluster the same cells more and more finely, and compare each time with the classes.

    Parameters
    ----------
    representations
        Positions of the same cells by name (cells x dimensions).
    classes
        The class of each cell.
    resolutions
        The resolutions of Leiden clustering.
    seed
        Seed of Leiden clustering.

    Returns
    -------
    DataFrame
        One row per representation and resolution: ``representation``, ``resolution``, ``clusters``
        (how many), ``ARI`` and ``NMI`` (see ``agreement``).

    Raises
    ------
    ValueError
        If there is no representation or no resolution, a resolution is not above 0, the numbers of
        cells differ, there are no more than 15 cells, a cell has no class, there is only one class,
        or a position is not a finite number.
    """
    _require_resolutions(resolutions)
    rows = []
    for name, positions in _require_representations(representations, classes).items():
        joined = graph(positions)
        for resolution in resolutions:
            labels = leiden(joined, resolution, seed)
            rows.append(
                {
                    "representation": name,
                    "resolution": resolution,
                    "clusters": len(labels.categories),
                    **agreement(labels, classes),
                }
            )
    return pd.DataFrame(rows)


def compare(
    representations: Mapping[str, ArrayLike],
    classes: ArrayLike,
    seeds: Sequence[int] = (0, 1, 2),
) -> pd.DataFrame:
    """Tell in five ways how well classes are found again in each representation of the cells.

    Parameters
    ----------
    representations
        Positions of the same cells by name (cells x dimensions).
    classes
        The class of each cell. No representation may have been made with them.
    seeds
        Seeds of k-means and Leiden clustering.

    Returns
    -------
    DataFrame
        One row per representation; higher is better in all but the last columns:

        ``kNN class accuracy``
            See ``neighbours.label_accuracy``.
        ``silhouette``
            From -1 to 1: how much nearer a cell is to the cells of its class than to those of the
            nearest other class, mean over the cells (Rousseeuw 1987).
        ``k-means ARI``, ``k-means NMI``
            Agreement with the clusters of k-means, of which there are as many as classes; mean over
            the seeds.
        ``Leiden ARI``, ``Leiden NMI``
            Agreement with the clusters of Leiden; mean over the seeds.
        ``resolution``
            Where the Leiden ARI is highest, among ``RESOLUTIONS``; the Leiden columns are of this
            one.
        ``clusters``
            How many clusters Leiden found there; mean over the seeds.
        ``... range``
            How far the result differs between seeds: highest minus lowest.

    Raises
    ------
    ValueError
        If there is no representation or no seed, the numbers of cells differ, there are no more
        than 15 cells, a cell has no class, there is only one class or one cell a class, or a
        position is not a finite number.

    Notes
    -----
    Two representations need different resolutions for clusters equally fine, so one
    resolution for all would favour one of them. Each has the one that suits it best; this uses the
    classes, and flatters all of them in the same way.

    The seeds are those of the clustering. They do not tell how much another training of the same
    model would change; to see that, give the positions of several trainings.
    """
    if not len(seeds):
        raise ValueError("There is no seed.\nWhat to do: leave seeds out, or give at least one.")
    checked = _require_representations(representations, classes)
    names = neighbours.require_labels(classes, len(next(iter(checked.values()))))
    n_classes = len(np.unique(names))
    if n_classes == len(names):
        raise ValueError(
            f"There are as many classes as cells, {n_classes:,}, so that none has two.\n"
            "What to do: give classes, not the names of the cells."
        )
    rows = {
        name: {
            "kNN class accuracy": neighbours.label_accuracy(positions, names),
            "silhouette": silhouette(positions, names),
            **k_means_agreement(positions, names, seeds),
            **_best_leiden(positions, names, seeds),
        }
        for name, positions in checked.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("representation")


def silhouette(positions: NDArray, classes: NDArray) -> float:
    """Return how much nearer a cell is to its own class than to the next one, mean over the cells.

    See ``compare``.
    """
    # All distances at once would take 72 MB for the cortex cells; scikit-learn goes through them in
    # blocks of as many MiB as it is told.
    with sklearn.config_context(working_memory=16):
        return float(silhouette_score(positions, classes))


def k_means_agreement(
    positions: NDArray, classes: NDArray, seeds: Sequence[int]
) -> dict[str, float]:
    """Return the k-means rows of ``compare`` for one representation.

    They are the mean over the seeds, and the range.
    """
    n_classes = len(np.unique(classes))
    found = [
        KMeans(n_classes, n_init=STARTS, random_state=seed).fit_predict(positions) for seed in seeds
    ]
    return _summary("k-means", [agreement(labels, classes) for labels in found])


def _best_leiden(positions: NDArray, classes: NDArray, seeds: Sequence[int]) -> dict[str, float]:
    joined = graph(positions)
    tried = {
        resolution: [leiden(joined, resolution, seed) for seed in seeds]
        for resolution in RESOLUTIONS
    }
    scores = {
        resolution: [agreement(labels, classes) for labels in found]
        for resolution, found in tried.items()
    }
    best = max(
        scores, key=lambda resolution: np.mean([score["ARI"] for score in scores[resolution]])
    )
    return {
        **_summary("Leiden", scores[best]),
        "resolution": best,
        "clusters": float(np.mean([len(labels.categories) for labels in tried[best]])),
    }


def _summary(method: str, scores: Sequence[pd.Series]) -> dict[str, float]:
    table = pd.DataFrame(list(scores))
    means = {f"{method} {name}": float(table[name].mean()) for name in table}
    spreads = {f"{method} {name} range": float(np.ptp(table[name])) for name in table}
    return means | spreads


def _require_resolutions(resolutions: Sequence[float]) -> None:
    if not len(resolutions):
        raise ValueError("There is no resolution.\nWhat to do: give at least one, such as 0.5.")
    for resolution in resolutions:
        if not (np.isfinite(resolution) and resolution > 0):
            raise ValueError(
                f"The resolution is {resolution}, and must be above 0.\n"
                "What to do: try 0.1 for a few clusters, 1 for many."
            )


def _require_pair(
    labels: ArrayLike, classes: ArrayLike
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    # One cluster of all cells is a poor result, one class of all cells no question.
    clusters = pd.Series(np.asarray(labels, dtype=object))
    checked = neighbours.require_labels(classes, len(clusters))
    if clusters.isna().any():
        raise ValueError(
            f"{clusters.isna().sum():,} of {len(clusters):,} cells are in no cluster.\n"
            "What to do: leave these cells out of the clusters and of the classes."
        )
    return clusters.astype(str).to_numpy(dtype=str), checked


def _require_representations(
    representations: Mapping[str, ArrayLike], classes: ArrayLike
) -> dict[str, NDArray[np.floating]]:
    if not len(representations):
        raise ValueError(
            "There is no representation.\n"
            'What to do: give at least one by name, such as {"scVI": z}.'
        )
    checked = {
        name: neighbours.require_positions(positions, neighbours.NEIGHBOURS)
        for name, positions in representations.items()
    }
    for positions in checked.values():
        neighbours.require_labels(classes, len(positions))
    return checked
