"""Counts of surface proteins: background and foreground, gates, and the RNA of the same genes.

Every cell has counts of every protein: antibody that floats about or sticks by accident, the
*background*. Cells that carry the protein have more, the *foreground*.
"""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from helpers.latent import neighbours

KEY = "protein_expression"

# What a cell of a group must have (True) and must not have (False), as such cells are told apart in
# the laboratory.
GATES: dict[str, dict[str, bool]] = {
    "B cells": {"CD19": True, "CD3": False, "CD14": False},
    "CD4 T cells": {"CD3": True, "CD4": True, "CD8a": False, "CD14": False, "CD19": False},
    "CD8 T cells": {"CD3": True, "CD8a": True, "CD4": False, "CD14": False, "CD19": False},
    "NK cells": {"CD56": True, "CD3": False, "CD14": False, "CD19": False},
    "monocytes": {"CD14": True, "CD3": False, "CD19": False},
}
NO_GROUP = "no group"

# The gene from which a protein is made. CD3 is made of the products of several genes, of which this
# is one. CD45RA and CD45RO are two forms of the product of one gene. CD15 is a sugar, which several
# enzymes build, and has no gene.
GENES = {
    "CD3": "CD3E",
    "CD4": "CD4",
    "CD8a": "CD8A",
    "CD14": "CD14",
    "CD16": "FCGR3A",
    "CD56": "NCAM1",
    "CD19": "CD19",
    "CD25": "IL2RA",
    "CD45RA": "PTPRC",
    "CD45RO": "PTPRC",
    "PD-1": "PDCD1",
    "TIGIT": "TIGIT",
    "CD127": "IL7R",
}

# Fewer cells of a batch do not show two humps.
MIN_CELLS = 50

# Two humps count as apart if between their tops the fitted curve falls below this share of the
# lower one.
VALLEY = 0.8


def thresholds(adata: ad.AnnData, batch_key: str = "batch") -> pd.DataFrame:
    """Find, for each protein and batch, the count that divides background from foreground.

    Parameters
    ----------
    adata
        Cells with ``obsm["protein_expression"]``, a DataFrame of counts (cells x proteins).
    batch_key
        The column of ``obs`` with the batches. Each is looked at by itself: the same protein has
        other counts in another batch.

    Returns
    -------
    DataFrame
        One row per protein and batch: ``background`` and ``foreground``, a typical count of each;
        ``threshold``, the count from which on the foreground is the more probable of the two;
        ``above``, the share of cells with more than that. Where there are no two humps,
        ``threshold`` and ``above`` are missing (NaN).

    Raises
    ------
    KeyError
        If there are no proteins, or no such column.
    ValueError
        If a count is missing or negative, or a batch has fewer than 50 cells.

    Notes
    -----
    A mixture of two normal distributions of ln(1 + count), fitted to each protein and batch
    (scikit-learn's GaussianMixture). There are two humps if the fitted curve has a valley between
    the two means, lower than 80 % of the lower hump.
    """
    return thresholds_of(require_proteins(adata), require_batches(adata, batch_key))


def thresholds_of(table: pd.DataFrame, batches: NDArray[np.str_]) -> pd.DataFrame:
    """Return the table of ``thresholds`` for counts (cells x proteins) and each cell's batch."""
    rows = {
        (protein, batch): _divide(table.loc[batches == batch, protein].to_numpy(float))
        for protein in table
        for batch in sorted(set(batches))
    }
    found = pd.DataFrame.from_dict(rows, orient="index")
    return found.set_axis(pd.MultiIndex.from_tuples(rows, names=["protein", "batch"]))


def _divide(counts: NDArray[np.float64]) -> dict[str, float]:
    logged = np.log1p(counts)[:, None]
    mixture = GaussianMixture(2, n_init=5, random_state=0).fit(logged)
    low, high = np.argsort(mixture.means_.ravel())
    tops = mixture.means_.ravel()[[low, high]]
    between = np.linspace(*tops, 501)[:, None]
    height = np.exp(mixture.score_samples(between))
    upper = mixture.predict_proba(between)[:, high] > 0.5
    apart = height.min() < VALLEY * min(height[0], height[-1]) and upper.any() and not upper[0]
    # The first of the fine steps at which the foreground is the more probable one.
    threshold = float(np.expm1(between[upper.argmax(), 0])) if apart else np.nan
    return {
        "background": float(np.expm1(tops[0])),
        "foreground": float(np.expm1(tops[1])),
        "threshold": threshold,
        "above": float((counts > threshold).mean()) if apart else np.nan,
    }


def above(adata: ad.AnnData, proteins: Sequence[str], batch_key: str = "batch") -> pd.DataFrame:
    """Return whether each cell's count of each protein is above the threshold of its batch.

    Parameters
    ----------
    adata, batch_key
        As for ``thresholds``.
    proteins
        Names of proteins.

    Returns
    -------
    DataFrame
        True or False, cells x proteins.

    Raises
    ------
    KeyError, ValueError
        As for ``thresholds``, and if a protein is missing or has no two humps in a batch.
    """
    table = require_proteins(adata, proteins)[list(proteins)]
    batches = require_batches(adata, batch_key)
    limits = _limits(table, batches)
    missing = np.argwhere(limits.isna().to_numpy())
    if len(missing):
        row, column = missing[0]
        raise ValueError(
            f"The counts of {limits.index[row]} in batch {limits.columns[column]} have no two "
            "humps, so there is no threshold between them.\n"
            "What to do: leave the protein out, or look at it with protein_figures.plot_histogram."
        )
    return _is_above(table, limits, batches)


def _limits(table: pd.DataFrame, batches: NDArray[np.str_]) -> pd.DataFrame:
    """Return the thresholds, proteins x batches."""
    return thresholds_of(table, batches)["threshold"].unstack("batch").loc[list(table)]


def _is_above(table: pd.DataFrame, limits: pd.DataFrame, batches: NDArray[np.str_]) -> pd.DataFrame:
    of_cells = limits.loc[list(table), batches].T.set_axis(table.index)
    return pd.DataFrame(table > of_cells)


def rules() -> pd.DataFrame:
    """Return the gates as a table.

    It has one row per group, one column per protein, "+" for above the threshold and "-" for below
    it.
    """
    signs = {
        group: {protein: "+" if there else "-" for protein, there in rule.items()}
        for group, rule in GATES.items()
    }
    table = pd.DataFrame.from_dict(signs, orient="index").fillna("").rename_axis("group")
    # By the number of the protein, not as text: CD3 before CD14.
    return table.sort_index(axis=1, key=lambda names: names.str.extract(r"(\d+)")[0].astype(int))


def gate(adata: ad.AnnData, batch_key: str = "batch") -> pd.Series:
    """Divide blood cells into groups by their surface proteins, without a look at the RNA.

    Parameters
    ----------
    adata, batch_key
        As for ``thresholds``; blood cells with the proteins of ``rules``.

    Returns
    -------
    Series
        The group of each cell, by its name; "no group" where no rule holds. No cell fits two rules.

    Raises
    ------
    KeyError, ValueError
        As for ``above``.
    """
    there = above(adata, list(rules().columns), batch_key)
    groups = pd.Series(NO_GROUP, index=adata.obs_names)
    for group, rule in GATES.items():
        groups[(there[list(rule)] == pd.Series(rule)).all(axis=1)] = group
    return groups.astype(pd.CategoricalDtype([*GATES, NO_GROUP]))


def centred_log_ratio(adata: ad.AnnData) -> pd.DataFrame:
    """Return ln(1 + count) less its mean in the cell, cells x proteins.

    This is the usual way to normalise protein counts.

    Parameters
    ----------
    adata
        As for ``thresholds``.

    Raises
    ------
    KeyError, ValueError
        As for ``thresholds``.

    Notes
    -----
    Stoeckius et al. 2017, Nature Methods 14:865.
    """
    logged = np.log1p(require_proteins(adata))
    return logged.sub(logged.mean(axis=1), axis=0)


def beside_rna(adata: ad.AnnData, batch_key: str = "batch") -> pd.DataFrame:
    """Compare proteins with the RNA of the genes that they are made from, in the same cells.

    Parameters
    ----------
    adata
        As for ``thresholds``, with ``layers["counts"]`` of all genes, not of a selection.
    batch_key
        The column of ``obs`` with the batches.

    Returns
    -------
    DataFrame
        One row per protein of ``GENES`` whose counts have two humps: ``gene``;
        ``cells with the protein``, how many are above the threshold; ``of these, with RNA``, the
        share in which at least one molecule of the gene was counted; ``of the others, with RNA``;
        ``rank correlation`` of the two counts over all cells (Spearman, the mean over the batches).

    Raises
    ------
    KeyError, ValueError
        As for ``thresholds``, and if a gene is missing.
    """
    table, batches = require_proteins(adata), require_batches(adata, batch_key)
    limits = _limits(table[[name for name in GENES if name in table]], batches).dropna()
    named = list(limits.index)
    there = _is_above(table[named], limits, batches)
    rows = {}
    for protein in named:
        rna, is_there = rna_of(adata, protein), there[protein].to_numpy()
        ranks = [
            table.loc[batches == batch, protein].corr(rna[batches == batch], method="spearman")
            for batch in sorted(set(batches))
        ]
        rows[protein] = {
            "gene": GENES[protein],
            "cells with the protein": int(is_there.sum()),
            "of these, with RNA": float((rna[is_there] > 0).mean()),
            "of the others, with RNA": float((rna[~is_there] > 0).mean()),
            "rank correlation": float(np.mean(ranks)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("protein")


def rna_of(adata: ad.AnnData, protein: str) -> pd.Series:
    """Return the counts of a protein's gene, one row per cell."""
    gene = GENES.get(protein)
    if gene is None:
        raise KeyError(f"No gene is known for {protein}. Known: {', '.join(GENES)}.")
    if gene not in adata.var_names:
        raise KeyError(
            f"The gene {gene} of the protein {protein} is not among these {adata.n_vars:,} genes.\n"
            "What to do: give all genes, such as data.load_citeseq() before genes.select."
        )
    counts = adata[:, gene].layers["counts"]
    return pd.Series(np.asarray(counts.todense()).ravel(), index=adata.obs_names)


def require_proteins(adata: ad.AnnData, names: Sequence[str] = ()) -> pd.DataFrame:
    """Return the counts of the proteins (cells x proteins), or raise unless they are there."""
    table = adata.obsm.get(KEY)
    if not isinstance(table, pd.DataFrame):
        raise KeyError(
            f"obsm['{KEY}'] with a DataFrame of protein counts is needed. Load it: "
            "data.load_citeseq()."
        )
    if missing := [name for name in names if name not in table]:
        raise KeyError(
            f"obsm['{KEY}'] has no protein {', '.join(missing)}. Proteins: "
            f"{', '.join(map(str, table))}."
        )
    values = table.to_numpy(float)
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            f"obsm['{KEY}'] has counts that are missing or negative. What to do: "
            "data.check_proteins(adata) says where."
        )
    return table


def require_groups(groups: pd.Series, cells: pd.Index) -> pd.Series:
    """Return the group of each cell as text, in the order of the cells.

    Parameters
    ----------
    groups
        The group of cells by name, as ``gate`` returns it.
    cells
        Names of the cells.

    Raises
    ------
    TypeError
        If ``groups`` is no Series.
    ValueError
        If a cell has no group, or two.
    """
    if not isinstance(groups, pd.Series):
        raise TypeError(
            f"groups is a {type(groups).__name__}. What to do: give a pandas Series with the group "
            "of each cell, by name of the cell."
        )
    if not groups.index.is_unique:
        raise ValueError(
            f"groups names the cell '{groups.index[groups.index.duplicated()][0]}' more than once. "
            "What to do: give each cell one group."
        )
    labels = groups.astype(object).reindex(cells)
    without = cells[labels.isna()]
    if len(without):
        raise ValueError(
            f"{len(without):,} cells have no group, the first is '{without[0]}'. What to do: give "
            f"a Series by name of the cell, with the label '{NO_GROUP}' where there is none."
        )
    return labels.astype(str)


def require_batches(adata: ad.AnnData, batch_key: str) -> NDArray[np.str_]:
    """Return the batch of each cell, or raise unless each batch has enough cells."""
    column = neighbours.column(adata, batch_key)
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"{missing.sum():,} cells have no batch in obs['{batch_key}']. What to do: leave these "
            "cells out."
        )
    batches = column.astype(str).to_numpy(dtype=str)
    names, sizes = np.unique(batches, return_counts=True)
    if sizes.min() < MIN_CELLS:
        raise ValueError(
            f"Batch {names[sizes.argmin()]} has {sizes.min()} cells; with fewer than {MIN_CELLS} "
            "two humps cannot be told from one.\n"
            "What to do: leave the batch out, or take more of its cells."
        )
    return batches
