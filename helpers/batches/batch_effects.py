"""Compare the batch effect that a model has learned with the true one, gene by gene.

The cells are made so that their batch effect is known.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scvi

from helpers.batches.experiments import BATCHES
from helpers.expression import expected_fractions
from helpers.training import model_state

TRUE = ("true batch effect", "true class difference")
LEARNED = ("learned batch effect", "learned class difference")


def learned(model: scvi.model.SCVI) -> pd.Series:
    """Return what a model has learned as the batch effect.

    That is how its decoder's expected expression changes from one batch to the other.

    Parameters
    ----------
    model
        A trained SCVI that was set up with a ``batch_key`` of two batches.

    Returns
    -------
    Series
        For each gene the natural logarithm of its expected fraction in the second batch divided by
        that in the first (in alphabetical order), mean over all cells, less the mean over genes:
        only differences between genes can be known.

    Raises
    ------
    ValueError
        If the model is not trained, or knows another number of batches.
    """
    model_state.require_trained(model)
    first, second = _two_batches(model)
    change = np.log(_decode(model, second)) - np.log(_decode(model, first))
    return _centred(change.mean(axis=0), model.adata.var_names).rename(LEARNED[0])


def compare(model: scvi.model.SCVI, classes: tuple[str, str]) -> pd.DataFrame:
    """Compare what a model of simulated cells has learned with the truth, gene by gene.

    Parameters
    ----------
    model
        A trained SCVI, set up on cells made by ``experiments.simulate``, with or without
        ``batch_key``.
    classes
        Two classes: the second is compared with the first.

    Returns
    -------
    DataFrame
        One row per gene, natural logarithms of ratios, each column less its mean:

        ``true batch effect``
            Batch B against A: ln of the probability that a molecule is kept.
        ``true class difference``
            The second class against the first, in the counts before the batch effect.
        ``learned batch effect``
            See ``learned``; 0 for a model without ``batch_key``, which knows no batches.
        ``learned class difference``
            The second class against the first in the decoder's expected expression, with every cell
            decoded as if it were in each batch.

    Raises
    ------
    ValueError
        If the model is not trained, its cells were not made by ``experiments.simulate``, or they
        have no such classes.

    Notes
    -----
    The true class difference: ratio of the gene's fractions of all counts of a class, with
    one count added to each gene.
    """
    model_state.require_trained(model)
    adata = model.adata
    _require_truth(adata, classes)
    inside = [(adata.obs["cell_type"] == name).to_numpy() for name in classes]
    knows_batches = model.summary_stats["n_batch"] == len(BATCHES)
    decoded = (
        sum(_decode(model, batch) for batch in _two_batches(model)) / len(BATCHES)
        if knows_batches
        else _decode(model, None)
    )
    before = [np.asarray(adata.layers["before"][rows].sum(axis=0)).ravel() + 1 for rows in inside]
    ratios = {
        TRUE[0]: np.log(adata.var["true_kept"].to_numpy()),
        TRUE[1]: np.log(before[1]) - np.log(before[0]),
        LEARNED[0]: learned(model).to_numpy() if knows_batches else np.zeros(adata.n_vars),
        LEARNED[1]: np.log(decoded[inside[1]].mean(axis=0))
        - np.log(decoded[inside[0]].mean(axis=0)),
    }
    return pd.DataFrame({name: _centred(each, adata.var_names) for name, each in ratios.items()})


def attribution(table: pd.DataFrame) -> pd.DataFrame:
    """Tell what the learned batch effect and the learned class difference are made of.

    Parameters
    ----------
    table
        What ``compare`` returned.

    Returns
    -------
    DataFrame
        One row per learned quantity, one column per true one: by how much the learned one grows
        where the true one grows by 1 and the other true one stays. A perfect model has 1 where the
        two names agree, and 0 elsewhere.

    Notes
    -----
    The slopes of a linear regression over genes (least squares) of each learned quantity on
    both true ones.
    """
    slopes, *_ = np.linalg.lstsq(
        table[list(TRUE)].to_numpy(), table[list(LEARNED)].to_numpy(), rcond=None
    )
    return pd.DataFrame(slopes.T, index=list(LEARNED), columns=list(TRUE))


def _decode(model: scvi.model.SCVI, batch: str | None) -> np.ndarray:
    """Return each gene's expected fraction in each cell, as if the cell were of this batch.

    Cells x genes. The positions are drawn with the same random numbers at each call.
    """
    in_fractions = expected_fractions.in_fractions(model)
    with model_state.evaluating(model, seed=0):
        return np.asarray(
            in_fractions.get_normalized_expression(transform_batch=batch, return_numpy=True)
        )


def _two_batches(model: scvi.model.SCVI) -> tuple[str, str]:
    names = model.adata_manager.get_state_registry("batch").categorical_mapping
    if len(names) != len(BATCHES):
        raise ValueError(
            f"This model knows {len(names)} batch(es), and a batch effect is between two.\n"
            'What to do: train one with batch_key: experiments.train(adata, batch_key="batch").'
        )
    return names[0], names[1]


def _centred(values: np.ndarray, names: pd.Index) -> pd.Series:
    return pd.Series(values.astype(float) - values.mean(dtype=float), index=names)


def _require_truth(adata: ad.AnnData, classes: tuple[str, str]) -> None:
    if "true_kept" not in adata.var or "before" not in adata.layers:
        raise ValueError(
            "The batch effect of these cells is not known: it is only known of simulated batches. "
            "Make some: experiments.simulate(adata)."
        )
    there = set(adata.obs["cell_type"].astype(str))
    if missing := [name for name in classes if name not in there]:
        raise ValueError(
            f"No cells are of the class {missing[0]!r}. Classes: {', '.join(sorted(there))}."
        )
