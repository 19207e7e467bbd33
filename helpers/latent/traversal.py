"""Walk through the latent space along one dimension, and see what the decoder expects on the way.

All other dimensions keep the values of the cell where the walk starts: a latent traversal (Higgins
et al. 2017, "beta-VAE", International Conference on Learning Representations).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scvi
import torch
from numpy.typing import ArrayLike, NDArray
from scvi import REGISTRY_KEYS
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from helpers.genes import log_normalisation
from helpers.latent import neighbours
from helpers.loss import baselines
from helpers.training import minibatches, model_state

Model = scvi.model.SCVI | scvi.model.LinearSCVI

STEPS = 41

# A path ends at these percentiles of the cells, so that a single far cell does not stretch it.
ENDS = (1, 99)

# A position has a cell near it if its nearest cell is no farther than that of this percentage of
# the cells.
NEAR = 99

# In counts per 10,000, added before ratios are taken: without it the genes that change most would
# be those that are never seen.
FLOOR = 1.0

# What the decoder is given besides a position and a library size, by scvi-tools' names.
GIVEN = {
    "batch_index": REGISTRY_KEYS.BATCH_KEY,
    "cont_covs": REGISTRY_KEYS.CONT_COVS_KEY,
    "cat_covs": REGISTRY_KEYS.CAT_COVS_KEY,
    "y": REGISTRY_KEYS.LABELS_KEY,
}

SUPPORTED = "What to do: pass a trained model of scvi.model.SCVI or scvi.model.LinearSCVI."


# --- the path -----------------------------------------------------------------------------------


def path(
    model: Model,
    cell: int | str,
    dimension: int,
    steps: int = STEPS,
) -> pd.DataFrame:
    """Return positions along one latent dimension, through the position of a cell.

    Parameters
    ----------
    model
        A trained model.
    cell
        The cell to start from: its row, or its name in ``obs_names``. Its position is the centre of
        its posterior distribution: the mean.
    dimension
        Which latent dimension, from 1 as in ``latent_dimensions.dimensions_in_use``.
    steps
        How many positions.

    Returns
    -------
    DataFrame
        One row per step (``steps`` x latent dimensions, these from 1). The index has the values
        along the dimension, rising evenly from the 1st to the 99th percentile of the cells, or from
        the cell itself if it lies outside. The value nearest to the cell's own is replaced by that,
        so that the cell is on the path. All other columns are those of the cell.

    Raises
    ------
    TypeError
        If the model is of another kind than SCVI or LinearSCVI, or ``cell`` is neither a row nor a
        name.
    ValueError
        If the model was not trained or does not describe counts as fractions of a library size, if
        there is no such row or dimension, or if there are fewer than three steps.
    KeyError
        If no cell, or more than one, has this name.
    """
    latent, row = centres(model), _row(model, cell)
    n_latent = latent.shape[1]
    if dimension not in range(1, n_latent + 1):
        raise ValueError(
            f"There is no latent dimension {dimension}: this model has {n_latent}, from 1 to "
            f"{n_latent}."
        )
    if steps < 3:
        raise ValueError(f"A path of {steps} steps does not lead anywhere; give 3 or more.")
    column = latent[:, dimension - 1]
    own = column[row]
    low, high = np.percentile(column, ENDS)
    values = np.linspace(min(low, own), max(high, own), steps, dtype=latent.dtype)
    # The ends stay where they are, unless the cell is one of them.
    if low < own < high:
        values[np.clip(np.abs(values - own).argmin(), 1, steps - 2)] = own
    walked = np.tile(latent[row], (steps, 1))
    walked[:, dimension - 1] = values
    return pd.DataFrame(
        walked,
        index=pd.Index(values, name=f"dimension {dimension}"),
        columns=pd.RangeIndex(1, n_latent + 1, name="latent dimension"),
    )


def centres(model: Model) -> NDArray[np.floating]:
    """Return the mean of each cell's posterior distribution (cells x latent dimensions).

    The same as ``model.get_latent_representation()``, also while the model is in training mode; the
    random numbers of the session stay as they are.

    Raises
    ------
    TypeError, ValueError
        As for ``path``.
    """
    _require_decoder(model)
    with model_state.evaluating(model), torch.inference_mode():
        return np.asarray(model.get_latent_representation())


def _row(model: Model, cell: int | str) -> int:
    """Return the row of a cell that is given by its row or by its name."""
    names = model.adata.obs_names
    if isinstance(cell, str):
        rows = np.flatnonzero(names == cell)
        if len(rows) != 1:
            raise KeyError(
                f"{len(rows) or 'No'} cells of this model's data are named '{cell}'; the names "
                f"look like '{names[0]}'. What to do: give a row number, or a name from "
                "adata.obs_names that only one cell has."
            )
        return int(rows[0])
    if not isinstance(cell, (int, np.integer)):
        raise TypeError(f"A cell is given by its row or its name, not as {type(cell).__name__}.")
    if not 0 <= cell < len(names):
        raise ValueError(
            f"There is no cell in row {cell}: this model's data have {len(names):,} cells, in rows "
            f"0 to {len(names) - 1:,}."
        )
    return int(cell)


def _require_decoder(model: Model) -> None:
    if not isinstance(model, Model):
        raise TypeError(
            f"A {type(model).__name__} does not have a decoder of the kind that is walked through "
            f"here, from one latent space to the fractions of one kind of counts. {SUPPORTED}"
        )
    minibatches.require_traceable(model)
    model_state.require_trained(model)
    module = model.module
    if module.gene_likelihood not in baselines.COUNT_LIKELIHOODS or module.use_size_factor_key:
        raise ValueError(
            "The decoder of this model does not give fractions of a library size, so that there "
            "are no counts per 10,000. What to do: make a model without size_factor_key and with "
            f"gene_likelihood={' or '.join(map(repr, baselines.COUNT_LIKELIHOODS))}."
        )
    if module.latent_distribution != "normal":
        raise ValueError(
            "The dimensions of this model's latent space add up to 1, so that none can change "
            "alone. What to do: make a model with latent_distribution='normal', the default."
        )


# --- what the decoder expects -------------------------------------------------------------------


def expected(
    model: Model,
    positions: pd.DataFrame | ArrayLike,
    genes: Sequence[str],
    cell: int | str,
    library_size: float = log_normalisation.LIBRARY_SIZE,
) -> pd.DataFrame:
    """Return the expression that the model's decoder expects at positions of the latent space.

    Parameters
    ----------
    model
        A trained model.
    positions
        Positions (steps x latent dimensions), such as a ``path``.
    genes
        Names of genes of the model; one that is named twice counts once.
    cell
        The cell whose batch and covariates the decoder is given, as for ``path``.
    library_size
        Counts in the whole cell.

    Returns
    -------
    DataFrame
        One row per position, with the index of ``positions``, one column per gene (``steps`` x
        genes): the mean of the gene's count in a cell with ``library_size`` counts, before the
        extra zeros of a zero-inflated likelihood.

    Raises
    ------
    TypeError, ValueError
        As for ``path``, and if the positions are not rows with a finite number for each latent
        dimension.
    KeyError
        As for ``path``, and if the model does not know one of the genes.

    Notes
    -----
    ``model.get_normalized_expression`` gives the same for a position that it draws from the
    cell's posterior at random, another at each call; here the positions are yours.
    """
    _require_decoder(model)
    row, genes = _row(model, cell), _require_genes(model, genes)
    z = _require_positions(positions, model.module.n_latent)
    with model_state.evaluating(model), torch.inference_mode():
        (tensors,) = model._make_data_loader(adata=model.adata, indices=[row])
        given = {name: tensors.get(key) for name, key in GIVEN.items()}
        likelihood = model.module.generative(
            z=torch.tensor(z, dtype=torch.float32),
            # Means are proportional to it, and fractions do not depend on it.
            library=torch.zeros(len(z), 1),
            **{name: each.expand(len(z), -1) for name, each in given.items() if each is not None},
        )["px"]
        fractions = likelihood.get_normalized("scale").cpu().numpy()
    columns = model.adata.var_names.get_indexer(genes)
    index = positions.index if isinstance(positions, pd.DataFrame) else None
    return pd.DataFrame(library_size * fractions[:, columns], index=index, columns=genes)


def _require_positions(positions: pd.DataFrame | ArrayLike, n_latent: int) -> NDArray[np.floating]:
    z = np.asarray(positions)
    if z.ndim != 2 or z.shape[1] != n_latent or not np.isfinite(z).all():
        raise ValueError(
            f"Positions are rows of {n_latent} finite numbers, one for each latent dimension; "
            f"these have the shape {z.shape}. What to do: pass what traversal.path returned, or "
            "rows of model.get_latent_representation()."
        )
    return z


def _require_genes(model: Model, genes: Sequence[str]) -> list[str]:
    if isinstance(genes, str) or not len(genes):
        raise ValueError('Give the genes as a list with at least one name, such as ["Plp1"].')
    known = model.adata.var_names
    missing = [gene for gene in genes if gene not in known]
    if missing:
        raise KeyError(
            f"This model does not know {', '.join(map(repr, missing))}: it was made with "
            f"{len(known):,} genes. What to do: look up the spelling in model.adata.var_names; "
            "genes that were not selected are not there."
        )
    return list(dict.fromkeys(genes))


def responders(
    model: Model,
    cell: int | str,
    dimension: int,
    n: int = 5,
    genes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the genes whose expected expression changes most from one end of a path to the other.

    Parameters
    ----------
    model, cell, dimension
        As for ``path``.
    n
        How many genes; all if there are fewer.
    genes
        Names of genes to choose from; all of the model if left out.

    Returns
    -------
    DataFrame
        One row per gene, that with the largest change first: ``lowest value`` and
        ``highest value``, the expected counts per 10,000 at the two ends of the path, and
        ``log2 ratio``, the logarithm of highest value / lowest value after 1 was added to each. So
        a gene that goes from 0.01 to 0.1 counts per 10,000 hardly changes, and one that goes from
        10 to 100 does.

    Raises
    ------
    TypeError, ValueError, KeyError
        As for ``path``, and a KeyError if the model does not know one of the genes.
    """
    ends = path(model, cell, dimension, steps=3).iloc[[0, -1]]
    table = expected(
        model, ends, model.adata.var_names if genes is None else genes, cell
    ).T.set_axis(["lowest value", "highest value"], axis=1)
    table["log2 ratio"] = np.log2(
        (table["highest value"] + FLOOR) / (table["lowest value"] + FLOOR)
    )
    return table.sort_values("log2 ratio", key=np.abs, ascending=False, kind="stable").head(n)


# --- the cells near the path --------------------------------------------------------------------


def nearest_cells(latent: ArrayLike, positions: pd.DataFrame | ArrayLike) -> pd.DataFrame:
    """Return the real cell nearest to each position, and whether it is near.

    Where no cell is near, the decoder was not trained: what it expects there is extrapolated. An
    embedding of the cells, such as t-SNE or UMAP, has no place for a new position; a drawing can
    show the nearest cell in its stead.

    Parameters
    ----------
    latent
        The positions of all cells (cells x latent dimensions), as from ``centres``.
    positions
        Positions (steps x latent dimensions), such as a ``path``.

    Returns
    -------
    DataFrame
        One row per position, with the index of ``positions``: ``row``, the row of the nearest cell;
        ``distance``, the Euclidean distance to it, in units of the typical one, which is the median
        distance of a cell from its nearest neighbour; and ``near``, whether this is no more than
        that of 99 % of the cells.

    Raises
    ------
    ValueError
        If there are fewer than two cells, most of them lie on one another, or positions are not
        rows with a finite number for each latent dimension.
    """
    neighbour = neighbours.nearest(latent, k=1)[:, 0]
    latent = np.asarray(latent)
    steps = _require_positions(positions, latent.shape[1])
    own = np.linalg.norm(latent - latent[neighbour], axis=1)
    typical = np.median(own)
    if typical == 0:
        raise ValueError(
            "At least half of the cells lie exactly where another cell is, so there is no typical "
            "distance between neighbours. What to do: look for cells that are twice in the data."
        )
    found = NearestNeighbors(n_neighbors=1).fit(latent).kneighbors(steps, return_distance=False)
    rows = found[:, 0]
    distance = np.linalg.norm(steps - latent[rows], axis=1)
    return pd.DataFrame(
        {
            "row": rows,
            "distance": distance / typical,
            "near": distance <= np.percentile(own, NEAR),
        },
        index=positions.index if isinstance(positions, pd.DataFrame) else None,
    )


def typical_cells(latent: ArrayLike, classes: ArrayLike) -> pd.Series:
    """Return the most typical cell of each class: the one nearest to all others of its class.

    Parameters
    ----------
    latent
        The positions of all cells (cells x latent dimensions), as from ``centres``.
    classes
        A class a cell, two or more in all.

    Returns
    -------
    Series
        The row of the medoid, the cell with the smallest sum of Euclidean distances to the others;
        the index has the classes in alphabetical order.

    Raises
    ------
    ValueError
        If the numbers of cells differ, a cell has no class, or all have the same.
    """
    latent = np.asarray(latent)
    labels = neighbours.require_labels(classes, len(latent))
    medoids = {}
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        # A few rows at a time: all distances at once would take cells x cells numbers.
        sums = pairwise_distances_chunked(
            latent[rows], reduce_func=lambda block, _: block.sum(axis=1), working_memory=4
        )
        medoids[str(name)] = int(rows[np.concatenate(list(sums)).argmin()])
    return pd.Series(medoids, name="row")
