"""Batch effects: cells whose effect is known, ways to remove it, and what is then left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import harmonypy
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans

from helpers.data import count_checks
from helpers.genes import log_normalisation, selection
from helpers.latent import clusters, neighbours
from helpers.training import runs

BATCHES = ("A", "B")

# Two similar classes, whose difference a batch effect may swallow.
PAIR = ("pyramidal CA1", "pyramidal SS")

# Korsunsky et al. 2019 look at about 30 neighbours; the nearest 90 cells get a weight.
PERPLEXITY = 30

# What `measure` returns, and which way is good.
BETTER = {
    "kNN batch accuracy": "lower",
    "iLISI": "higher",
    "kNN class accuracy": "higher",
    "ARI": "higher",
    "silhouette": "higher",
}

RANDOM_POSITIONS = "random positions"


# --- cells with a known batch effect ------------------------------------------------------------


def simulate(
    adata: ad.AnnData,
    n_cells: int = 1200,
    n_genes: int = 500,
    strength: float = 0.8,
    only_in: Mapping[str, str] | None = None,
    seed: int = 0,
) -> ad.AnnData:
    """Divide real cells into two batches, and lose molecules in batch B.

    Each gene loses a share of its own.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]`` and ``obs["cell_type"]``. It is not changed.
    n_cells, n_genes
        How many cells to draw, and how many of their most variable genes to keep
        (``genes.select``).
    strength
        From 0 (no batch effect) to below 1: no gene loses more than this share of its molecules on
        average.
    only_in
        Classes that are in one batch alone, such as
        ``{"pyramidal CA1": "A", "pyramidal SS": "B"}``. Half of the cells of every other class are
        in each batch.
    seed
        Seed of all that is drawn. The same seed draws the same cells and the same effect, whatever
        ``only_in`` is.

    Returns
    -------
    AnnData
        ``X`` and ``layers["counts"]``: the counts with the batch effect, CSR float32.
        ``layers["before"]``: the real counts. ``obs["batch"]``: "A" or "B"; ``obs["cell_type"]``.
        The truth: ``var["true_kept"]``, with which probability a molecule of the gene is kept in
        batch B.

    Raises
    ------
    KeyError
        If ``obs`` has no ``cell_type``.
    ValueError
        If the counts are no counts, there are too few cells or genes, a class is missing, unknown
        or alone, ``strength`` is out of range, a batch has no cells, or a cell loses all counts.

    Notes
    -----
    A count of batch B becomes a draw from Binomial(count, p) with the p of its gene: each
    molecule is kept or lost by itself. ln p is uniform between ln(1 - strength) and 0. Only the
    differences of ln p between genes can be found again from fractions of a cell's counts: a factor
    common to all genes changes the library size alone.
    """
    neighbours.require_column(adata, "cell_type")
    _require_possible(adata, n_cells, n_genes, strength)
    random = np.random.default_rng(seed)
    small = adata[np.sort(random.choice(adata.n_obs, n_cells, replace=False))].copy()
    count_checks.check_counts(small, layer="counts")
    selection.select(small, n_genes)
    small.obs["batch"] = _assign(small.obs["cell_type"], only_in or {}, random)
    kept = np.exp(random.uniform(np.log1p(-strength), 0, n_genes))
    before = sp.csr_matrix(small.layers["counts"], dtype=np.float32)
    after = _thin(before, (small.obs["batch"] == "B").to_numpy(), kept, random)
    _require_counts_left(after)
    return ad.AnnData(
        after,
        obs=small.obs[["cell_type", "batch"]],
        var=pd.DataFrame({"true_kept": kept}, index=small.var_names),
        layers={"counts": after.copy(), "before": before},
    )


def _assign(
    classes: pd.Series, only_in: Mapping[str, str], random: np.random.Generator
) -> pd.Categorical:
    """Return the batch of each cell, half of a class in each unless it is in one alone."""
    names = classes.astype(str)
    for name, batch in only_in.items():
        if name not in set(names) or batch not in BATCHES:
            raise ValueError(
                f"only_in={{{name!r}: {batch!r}}} is not a class of these cells and a batch. "
                f"Classes: {', '.join(sorted(set(names)))}. Batches: {', '.join(BATCHES)}."
            )
    assigned = np.full(len(names), "A")
    for name in sorted(set(names)):
        cells = random.permutation(np.flatnonzero(names == name))
        of_b = {"A": 0, "B": len(cells)}.get(only_in.get(name, ""), len(cells) // 2)
        assigned[cells[:of_b]] = "B"
    if len(set(assigned)) < 2:
        raise ValueError(
            f"All cells are in batch {assigned[0]}, so there is nothing to compare.\n"
            "What to do: name fewer classes in only_in, or put some of them in the other batch."
        )
    return pd.Categorical(assigned, categories=BATCHES)


def _thin(
    counts: sp.csr_matrix, rows: NDArray[np.bool_], kept: np.ndarray, random: np.random.Generator
) -> sp.csr_matrix:
    """Keep each molecule of some cells with the probability of its gene."""
    thinned = counts.copy()
    entries = np.repeat(rows, np.diff(counts.indptr))
    thinned.data[entries] = random.binomial(
        counts.data[entries].astype(int), kept[counts.indices[entries]]
    )
    thinned.eliminate_zeros()
    return thinned


def _require_possible(adata: ad.AnnData, n_cells: int, n_genes: int, strength: float) -> None:
    for name, asked, there in (
        ("n_cells", n_cells, adata.n_obs),
        ("n_genes", n_genes, adata.n_vars),
    ):
        if not 2 <= asked <= there:
            raise ValueError(f"{name}={asked:,} is not between 2 and the {there:,} that there are.")
    if not 0 <= strength < 1:
        raise ValueError(
            f"strength={strength} is out of range.\n"
            "What to do: give 0 for no batch effect, or a share of lost molecules below 1, such "
            "as 0.8."
        )


def _require_counts_left(counts: sp.csr_matrix) -> None:
    empty = int((counts.getnnz(axis=1) == 0).sum())
    if empty:
        raise ValueError(
            f"{empty:,} of {counts.shape[0]:,} cells have no counts left in {counts.shape[1]:,} "
            "genes, and scVI needs at least one.\n"
            "What to do: keep more genes (n_genes), or lose fewer molecules (strength)."
        )


# --- representations ----------------------------------------------------------------------------


def harmony(
    positions: ArrayLike, adata: ad.AnnData, batch_key: str = "batch", seed: int = 0
) -> NDArray[np.floating]:
    """Move the cells of each batch towards those of the others.

    This is Harmony, which corrects positions and not counts.

    Parameters
    ----------
    positions
        Positions of the cells, such as ``log_normalisation.principal_components`` (cells x
        dimensions). They are not changed.
    adata
        The cells, in the same order.
    batch_key
        The column of ``obs`` with the batches.
    seed
        Seed of its clusters.

    Returns
    -------
    ndarray
        The corrected positions, of the same shape.

    Raises
    ------
    KeyError
        If ``obs`` has no such column.
    ValueError
        If a batch is missing, there is only one, or the number of positions is another one.

    Notes
    -----
    Korsunsky et al. 2019, Nature Methods 16:1289.
    """
    positions = np.asarray(positions, dtype=float)
    neighbours.require_column(adata, batch_key)
    neighbours.require_labels(adata.obs[batch_key], len(positions))
    with isolate_rng():
        corrected = harmonypy.run_harmony(
            positions, adata.obs, batch_key, verbose=False, random_state=seed, ncores=1
        )
    return np.asarray(corrected.Z_corr)


def train(
    adata: ad.AnnData,
    batch_key: str | None = None,
    layer: str = "counts",
    seed: int = 0,
    **train_kwargs: Any,
) -> scvi.model.SCVI:
    """Set up and train an SCVI on a copy of the cells.

    Parameters
    ----------
    adata
        Cells x genes. It is not changed; the copy is ``model.adata``.
    batch_key
        The column of ``obs`` with the batches; None if the model is not to know them.
    layer
        The layer with the counts.
    seed
        Seed of the initial weights and of the training. That of the session stays as it is.
    **train_kwargs
        As for ``training.train``, such as ``preset`` or ``max_epochs``.

    Raises
    ------
    ValueError
        If the layer holds no counts, or the column is missing, has gaps, or names one batch only.
    """
    count_checks.check_counts(adata, layer, batch_key)
    if batch_key is not None:
        neighbours.require_column(adata, batch_key)
    own = adata.copy()
    with isolate_rng():
        seed_of_the_session, scvi.settings.seed = scvi.settings.seed, seed
        try:
            scvi.model.SCVI.setup_anndata(own, layer=layer, batch_key=batch_key)
            model = scvi.model.SCVI(own)
            runs.train(model, **train_kwargs)
        finally:
            scvi.settings.seed = seed_of_the_session
    return model


def train_both(
    adata: ad.AnnData, batch_key: str = "batch", seed: int = 0, **train_kwargs: Any
) -> dict[str, scvi.model.SCVI]:
    """Train the same model twice, without and with ``batch_key``; all else is equal.

    Parameters
    ----------
    adata, batch_key, seed, **train_kwargs
        As for ``train``.

    Returns
    -------
    dict
        The models "scVI" and "scVI with batch_key".
    """
    return {
        "scVI": train(adata, seed=seed, **train_kwargs),
        "scVI with batch_key": train(adata, batch_key, seed=seed, **train_kwargs),
    }


# --- are the batches mixed, and is the biology still there? -------------------------------------


def measure(
    representations: Mapping[str, ArrayLike],
    adata: ad.AnnData,
    batch_key: str = "batch",
    class_key: str = "cell_type",
) -> pd.DataFrame:
    """Tell of each representation how well batches are mixed, and how well classes are kept apart.

    Parameters
    ----------
    representations
        Positions of the cells (cells x dimensions), by name.
    adata
        The cells, in the same order.
    batch_key, class_key
        The columns of ``obs`` with the batches and the classes.

    Returns
    -------
    DataFrame
        One row per representation. The last row, "random positions", is what a representation
        without any information gets.

        ``kNN batch accuracy``
            How often the 15 nearest neighbours give the batch away (0 to 1). Lower is better: cells
            of one kind are then mixed. Half is the least for two batches of equal size with the
            same kinds of cells. If the kinds differ between batches, a perfect representation has
            more.
        ``iLISI``
            How many batches are near a cell, from 0 (one) to 1 (all, equally). Higher is better,
            with the same reservation.
        ``kNN class accuracy``
            How often the 15 nearest neighbours give the class away (0 to 1). Higher is better.
        ``ARI``
            Agreement of k-means clusters, as many as classes, with the classes: adjusted Rand
            index, 1 if equal, 0 by chance. Higher is better.
        ``silhouette``
            How much nearer a cell is to its own class than to the next one (-1 to 1). Higher is
            better.

    Raises
    ------
    KeyError
        If ``obs`` has no such column.
    ValueError
        If there is only one batch or class, a label is missing, a batch has too few cells, or
        positions are not of these cells.

    Notes
    -----
    iLISI: Korsunsky et al. 2019, Nature Methods 16:1289, with perplexity 30; its median over
    cells, less 1, divided by the number of batches less 1, as in Luecken et al. 2022, Nature
    Methods 19:41.
    """
    batches, classes = (
        neighbours.require_column(adata, batch_key),
        neighbours.require_column(adata, class_key),
    )
    _require_large_batches(batches)
    width = max(
        (np.shape(each)[-1] for each in representations.values()),
        default=log_normalisation.N_COMPONENTS,
    )
    random = np.random.default_rng(0).normal(size=(adata.n_obs, width))
    rows = {
        name: _measure(np.asarray(positions, dtype=float), batches, classes)
        for name, positions in {**representations, RANDOM_POSITIONS: random}.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _measure(
    positions: np.ndarray, batches: NDArray[np.str_], classes: NDArray[np.str_]
) -> dict[str, float]:
    of_batches = neighbours.label_accuracy(positions, batches)
    found = KMeans(len(set(classes)), n_init=clusters.STARTS, random_state=0)
    return {
        "kNN batch accuracy": of_batches,
        "iLISI": ilisi(positions, batches),
        "kNN class accuracy": neighbours.label_accuracy(positions, classes),
        "ARI": float(clusters.agreement(found.fit_predict(positions), classes)["ARI"]),
        "silhouette": clusters.silhouette(positions, classes),
    }


def ilisi(positions: ArrayLike, batches: ArrayLike) -> float:
    """Return how many batches are near a cell, from 0 (one) to 1 (all, equally).

    See ``measure``.
    """
    table = pd.DataFrame({"batch": np.asarray(batches)})
    near = harmonypy.compute_lisi(np.asarray(positions), table, ["batch"], PERPLEXITY)
    return float((np.median(near) - 1) / (table["batch"].nunique() - 1))


def _require_large_batches(batches: NDArray[np.str_]) -> None:
    names, sizes = np.unique(batches, return_counts=True)
    if sizes.min() <= neighbours.NEIGHBOURS:
        raise ValueError(
            f"Batch {names[sizes.argmin()]} has {sizes.min()} cells, too few for "
            f"{neighbours.NEIGHBOURS} neighbours from it.\n"
            "What to do: leave the batch out, or take more of its cells."
        )
    if len(batches) <= 3 * PERPLEXITY:
        raise ValueError(
            f"There are {len(batches)} cells, and iLISI looks at the {3 * PERPLEXITY} nearest.\n"
            "What to do: take more cells."
        )
