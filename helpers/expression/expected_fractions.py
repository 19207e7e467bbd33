"""Expected expression as fractions of a cell's counts, whatever the scale of a model's decoder.

``model.get_normalized_expression`` gives what the decoder calls the scale of each gene. Usually
these are fractions that add up to 1. But in a model with a ``size_factor_key`` they are the counts
that are expected at a size factor of 1, which add up to anything: times 10,000 they are no counts
per 10,000.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.training import minibatches, model_state

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# How many cells tell of what kind a model's expression is.
TRIED = 3

# Sums of some thousand 4-byte floats are as near to 1 as this.
NEAR_ONE = 1e-3


def in_fractions(model: BaseModelClass) -> BaseModelClass:
    """Return a model whose ``get_normalized_expression`` gives fractions of a cell's counts.

    Parameters
    ----------
    model
        A trained model of one kind of counts.

    Returns
    -------
    BaseModelClass
        The model itself if its genes add up to 1. Else a twin with the same data and weights, whose
        ``get_normalized_expression`` divides by the sum over all genes, draw by draw, before genes
        are chosen or means are taken. Its ``differential_expression`` asks that one. It also does
        what scvi-tools cannot: draw several positions where batches are embedded.
    """
    if _gives_fractions(model):
        return model
    twin = copy.copy(model)
    twin.get_normalized_expression = functools.partial(_fractions, model)
    return twin


def _gives_fractions(model: BaseModelClass) -> bool:
    """Try it on a few cells. The model and the session stay as they are."""
    few = minibatches.evenly_spaced(model.adata.n_obs, TRIED)
    with model_state.evaluating(model):
        try:
            drawn = model.get_normalized_expression(
                indices=few, n_samples=2, return_mean=False, return_numpy=True
            )
        except RuntimeError:
            # It cannot decode two positions at once. If it cannot decode one either, it will say so
            # when it is asked.
            return False
    return bool(np.allclose(drawn.sum(axis=-1), 1, atol=NEAR_ONE))


def _fractions(
    model: BaseModelClass,
    adata: Any = None,
    indices: Sequence[int] | None = None,
    *,
    gene_list: Sequence[str] | None = None,
    library_size: float = 1,
    n_samples: int = 1,
    n_samples_overall: int | None = None,
    return_mean: bool = True,
    return_numpy: bool = False,
    **others: Any,
) -> np.ndarray | pd.DataFrame:
    """Do what ``get_normalized_expression`` of scvi-tools does with these arguments."""
    names = model.adata.var_names
    rows = np.arange(model.adata.n_obs) if indices is None else np.asarray(indices)
    genes = slice(None) if gene_list is None else names.isin(gene_list)

    def draw(cells: np.ndarray) -> np.ndarray:
        scale = model.get_normalized_expression(adata, cells, return_numpy=True, **others)
        return library_size * (scale / scale.sum(axis=1, keepdims=True))[:, genes]

    if n_samples_overall is not None:
        drawn = draw(np.tile(rows, n_samples_overall // len(rows) + 1))
        # With the generator that scvi-tools draws from.
        return drawn[np.random.choice(len(drawn), n_samples_overall)]  # noqa: NPY002
    draws = [draw(rows) for _ in range(n_samples)]
    if n_samples > 1 and not return_mean:
        return np.stack(draws)
    mean = np.mean(draws, axis=0)
    if return_numpy:
        return mean
    return pd.DataFrame(mean, index=model.adata.obs_names[rows], columns=names[genes])
