"""Which genes differ between groups of cells, by a trained model and by a plain test."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from scvi import REGISTRY_KEYS

from helpers.expression import denoising, expected_fractions
from helpers.genes import log_normalisation
from helpers.latent import neighbours
from helpers.training import model_state

# scvi-tools' own: a difference smaller than this (log2, so 19 %) counts as none.
DELTA = 0.25

# scvi-tools adds this to both probabilities of a Bayes factor, which can therefore not exceed
# ln((1 + 1e-8) / 1e-8) = 18.42.
EPSILON = 1e-8

# scvi-tools draws 5,000 pairs of cells by default, which takes about 400 MB and six times as long.
# See one_vs_rest for what the fewer pairs change.
PAIRS = 800

# Which genes may come first: higher in nine of ten pairs of cells, and seen in at least one of ten
# cells of the class.
PROBABLE = 0.9
SEEN = 0.1

# Ranks are dense, cells x genes.
GENES_AT_ONCE = 500


def one_vs_rest(
    model: denoising.Model, class_key: str, delta: float = DELTA, seed: int = 0
) -> pd.DataFrame:
    """Compare each class with all other cells by the expression that the model expects.

    Parameters
    ----------
    model
        A trained model.
    class_key
        A column of ``obs`` of the model's data with a class for each cell.
    delta
        How large a log2 fold change must be to count.
    seed
        Seed of the random numbers. Those of the session stay as they are.

    Returns
    -------
    DataFrame
        One row per class and gene: classes in alphabetical order, and in each the genes that are
        higher in the class first.

        ``class``, ``gene``
            Their names, as text.
        ``probability``
            That the gene differs (see Notes), 0 to 1.
        ``Bayes factor``
            The log odds of that (nats), see ``bayes_factor``.
        ``log2 fold change``
            Median over pairs of cells; above 0 where the gene is higher in the class. 1 is twice as
            much.
        ``mean counts``, ``mean counts elsewhere``
            Per cell of the class, and per cell of all others.
        ``cells with counts``
            Share of the cells of the class with at least one count of the gene.

    Raises
    ------
    TypeError
        If the model is of another kind than SCVI, LinearSCVI or SCANVI.
    ValueError
        If the model was not trained or not on counts, if these were taken out of its data when they
        were minified, ``delta`` is not above 0, a cell has no class, there is only one class, or a
        class has a single cell.
    KeyError
        If ``obs`` has no such column.

    Notes
    -----
    ``model.differential_expression`` in ``mode="change"`` (Boyeau et al. 2019, bioRxiv 794289),
    which goes through pairs: a cell of the class and a cell of the others, at random. For each of
    the two it draws a position from the cell's posterior, and asks the decoder for the expected
    fraction of each gene, of all counts of the cell (with size factors too, whatever they stand
    for); no count is compared. The logarithm of their ratio is the log2 fold
    change (LFC) of this pair. The probability is the larger of two shares of pairs: those with LFC
    >= delta, and those with LFC < -delta. (``mode="vanilla"`` asks another question: in how many
    pairs is the first cell higher, by however little? Its Bayes factor is not this one.)

    So the probability does not grow with the number of cells, as the certainty of a test does. It
    says how often the gene tells two cells apart, and 1 would mean in every pair. With a few
    hundred pairs it is uncertain itself: 0.95 by 0.008.

    **The order.** The largest fold change alone could be that of a gene with hardly a count, or of
    a gene that some other class has too; the largest probability alone may belong to a small
    difference. So the genes that come first have a LFC above 0, a probability of at least
    ``PROBABLE``, and counts in at least ``SEEN`` of the cells of the class, by falling LFC. The
    others follow: first those with LFC above 0, by falling probability, then the rest by rising
    probability. The limits were chosen so that the order changes little from seed to seed.

    ``PAIRS`` pairs instead of the default of 5,000 keep the memory small. On the cortex cells 4.7
    to 4.9 of the top 5 genes of a class, and 19 of the top 20, are those of the default; two runs
    of the default with different seeds share 4.9 and 19.6.
    """
    denoising.require_expression(model)
    require_delta(delta)
    classes = require_classes(model.adata, class_key)
    # Values as they are in obs: scvi-tools compares with those, and would also take categories
    # without cells.
    groups = model.adata.obs[class_key].drop_duplicates().tolist()
    in_fractions = expected_fractions.in_fractions(model)
    with model_state.evaluating(model, seed):
        found = in_fractions.differential_expression(
            groupby=class_key,
            group1=groups,
            mode="change",
            delta=delta,
            # It would keep a column in the learner's obs.
            all_stats=False,
            silent=True,
            n_samples_overall=PAIRS,
        )
    table = pd.DataFrame(
        {
            "class": found["group1"].astype(str).to_numpy(),
            "gene": found.index.astype(str),
            "probability": found["proba_de"].to_numpy(),
            "Bayes factor": found["bayes_factor"].to_numpy(),
            "log2 fold change": found["lfc_median"].to_numpy(dtype=float),
        }
    )
    counts = sp.csr_matrix(model.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY))
    counted = _count(counts, model.adata.var_names, classes)
    return _ranked(table.merge(counted, on=["class", "gene"], validate="one_to_one"))


def require_delta(delta: float) -> None:
    """Raise, with what to give, unless this is a difference that can count."""
    if not delta > 0:
        raise ValueError(
            f"delta is {delta}; a difference that counts must be above 0. Give 0.25, or 1 for "
            "twice as much."
        )


def bayes_factor(probability: ArrayLike) -> NDArray[np.float64]:
    """Return the Bayes factor of a probability as scvi-tools computes it: the log odds.

    Parameters
    ----------
    probability
        That a gene differs, 0 to 1.

    Returns
    -------
    ndarray
        ln((p + e) / (1 - p + e)) with e = ``EPSILON``, in nats: 0 where p is 1/2, 3 where it is
        0.95, and never beyond 18.42, where p is 1. With 800 pairs the next below that is 6.7, for
        799 of them.

    Raises
    ------
    ValueError
        If a number is not a probability.

    Notes
    -----
    The ratio of the posterior probabilities of both hypotheses. That is the Bayes factor
    proper, the ratio of their likelihoods, where both were equally probable before (Kass and
    Raftery 1995, Journal of the American Statistical Association 90:773).
    """
    p = np.asarray(probability, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            "A probability is a number from 0 to 1. What to do: give the column 'probability'."
        )
    return np.log(p + EPSILON) - np.log(1 - p + EPSILON)


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of ``one_vs_rest`` with the genes in the order that is described there."""
    change, probability = table["log2 fold change"], table["probability"]
    higher = change > 0
    first = higher & (probability >= PROBABLE) & (table["cells with counts"] >= SEEN)
    order = pd.DataFrame(
        {
            "class": table["class"],
            "group": np.select([first, higher], [0, 1], default=2),
            # Lowest first.
            "place": np.select([first, higher], [-change, -probability], default=probability),
            "gene": table["gene"],
        }
    )
    return table.loc[order.sort_values(list(order)).index].reset_index(drop=True)


def wilcoxon(
    adata: ad.AnnData,
    class_key: str,
    layer: str = "counts",
    genes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compare each class with all other cells by a Wilcoxon test of the log-normalised counts.

    Parameters
    ----------
    adata
        Cells x genes; it is not changed.
    class_key
        A column of ``obs`` with a class for each cell.
    layer
        The layer with the counts.
    genes
        Names of the genes to test and to normalise by, such as ``model.adata.var_names``. All if
        left out.

    Returns
    -------
    DataFrame
        One row per class and gene: classes in alphabetical order, and in each the genes by falling
        score, so that those that are higher in the class come first.

        ``class``, ``gene``
            Their names, as text.
        ``score``
            The test's z: how far the sum of ranks lies from what it would be without a difference,
            in standard deviations. It grows with the number of cells.
        ``adjusted p value``
            Two-sided, adjusted for the number of genes (Benjamini and Hochberg 1995, Journal of the
            Royal Statistical Society B 57:289).
        ``log2 fold change``
            As scanpy computes it, from means of logarithms; above 0 where the gene is higher in the
            class.
        ``mean counts``, ``mean counts elsewhere``, ``cells with counts``
            As in ``one_vs_rest``.

    Raises
    ------
    ValueError
        If a cell has no class, there is only one class, a class has a single cell, or the layer is
        missing or does not hold counts of every cell.
    KeyError
        If there is no such column, layer or gene.

    Notes
    -----
    ``scanpy.tl.rank_genes_groups`` on log(1 + counts per 10,000), where 10,000 stands for all
    counts of these genes in the cell. As by default there, the standard deviation is not corrected
    for ties: many cells have the same 0, and the scores of rarely seen genes lie too near to 0.
    """
    classes = require_classes(adata, class_key)
    values = log_normalisation.log_counts(adata, layer, genes)
    values.obs["class"] = pd.Categorical(classes)
    parts = []
    for start in range(0, values.n_vars, GENES_AT_ONCE):
        part = values[:, start : start + GENES_AT_ONCE].copy()
        sc.tl.rank_genes_groups(part, "class", method="wilcoxon")
        parts.append(sc.get.rank_genes_groups_df(part, group=None))
    found = pd.concat(parts)
    table = pd.DataFrame(
        {
            "class": found["group"].astype(str).to_numpy(),
            "gene": found["names"].astype(str).to_numpy(),
            "score": found["scores"].to_numpy(dtype=float),
            "adjusted p value": found["pvals"].to_numpy(dtype=float),
            "log2 fold change": found["logfoldchanges"].to_numpy(dtype=float),
        }
    )
    # All genes of a class together, not block by block.
    table["adjusted p value"] = table.groupby("class")["adjusted p value"].transform(
        false_discovery_control
    )
    counts = sp.csr_matrix(adata[:, values.var_names].layers[layer])
    counted = _count(counts, values.var_names, classes)
    table = table.merge(counted, on=["class", "gene"], validate="one_to_one")
    return table.sort_values(
        ["class", "score", "gene"], ascending=[True, False, True], ignore_index=True
    )


def _count(counts: sp.csr_matrix, genes: pd.Index, classes: NDArray[np.str_]) -> pd.DataFrame:
    """Return what was counted of each gene in each class."""
    names, code = np.unique(classes, return_inverse=True)
    # One row per class, 1 where the cell is of the class.
    member = sp.csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))))
    cells = np.asarray(member.sum(axis=1))
    total = (member @ counts).toarray()
    seen = (member @ (counts != 0)).toarray()
    shape = total.shape
    return pd.DataFrame(
        {
            "class": np.repeat(names, shape[1]),
            "gene": np.tile(np.asarray(genes, dtype=str), shape[0]),
            "mean counts": (total / cells).ravel(),
            "mean counts elsewhere": ((total.sum(axis=0) - total) / (len(code) - cells)).ravel(),
            "cells with counts": (seen / cells).ravel(),
        }
    )


def require_classes(adata: ad.AnnData, class_key: str) -> NDArray[np.str_]:
    """Return the class of each cell, or raise unless there are two cells of each to compare."""
    classes = neighbours.require_column(adata, class_key)
    names, cells = np.unique(classes, return_counts=True)
    if cells.min() < 2:
        raise ValueError(
            f"The class '{names[cells.argmin()]}' has a single cell, which shows no spread to "
            "compare with.\n"
            "What to do: leave this cell out, or give it another class."
        )
    return classes
