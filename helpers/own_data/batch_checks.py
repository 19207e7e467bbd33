"""What scVI would meet in the batches, and whether they can be told apart from the labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

import anndata as ad
import pandas as pd

from helpers.data import protein_checks
from helpers.own_data.findings import DECIDE, REPAIR, Finding

# A batch of fewer cells says little about its batch effect: as many as the kit asks for where
# TotalVI starts from a batch.
FEW_CELLS_IN_A_BATCH = protein_checks.FEWEST_CELLS

# More batches than this are rather something else: a number, or the names of the cells.
MANY_BATCHES = 100

BATCH_NAMES = re.compile(
    r"batch|sample|orig\.?ident|donor|patient|subject|individual|animal|mouse|day|date|lane|"
    r"channel|gem|chip|plate|well|pool|library|dataset|study|experiment|protocol|replicate|\brun",
    re.IGNORECASE,
)

# Cell Ranger joins samples and tells them apart by a number behind the barcode.
SAMPLE_NUMBER = re.compile(r"^[ACGT]{10,}-(\d+)$")

# A label of which more than this share of cells is in one batch is as good as in that batch alone;
# one stray cell changes nothing.
NEARLY_ALL = 0.95


def of_batches(adata: ad.AnnData, batch_key: str | None) -> Iterator[Finding]:
    """Say how many batches there are, how large they are, and which column may name them."""
    if batch_key is None:
        yield _of_unnamed_batches(adata)
        return
    batches = pd.Series(adata.obs[batch_key])
    sizes = batches.value_counts()
    sizes = sizes[sizes > 0]
    listed = ", ".join(f"{name} {size:,}" for name, size in sizes.head(8).items())
    found = (
        f"obs['{batch_key}'] has {len(sizes):,} {'batch' if len(sizes) == 1 else 'batches'}: "
        f"{listed}{' ...' if len(sizes) > 8 else ''} cells."
    )
    if len(sizes) == 1:
        yield Finding(
            "batches",
            found,
            DECIDE,
            "Leave it out: one batch has nothing to be compared with",
            "batch_key = None",
        )
    elif len(sizes) > max(2, adata.n_obs // FEW_CELLS_IN_A_BATCH):
        kind = "numbers" if pd.api.types.is_float_dtype(batches) else "different values"
        yield Finding(
            "batches",
            f"{found} So many {kind} are not batches: scVI would give each its own weights.",
            REPAIR,
            "Name a column with a few batches, or put these values into groups first: pd.cut(...)",
        )
    elif sizes.min() < FEW_CELLS_IN_A_BATCH:
        yield Finding(
            "batches",
            f"{found} A batch of fewer than {FEW_CELLS_IN_A_BATCH} cells says little about its "
            "effect.",
            DECIDE,
            "Join small batches that were handled together, or leave them out",
        )
    else:
        yield Finding("batches", found)


def _of_unnamed_batches(adata: ad.AnnData) -> Finding:
    likely = [
        name
        for name in adata.obs.columns
        if BATCH_NAMES.search(str(name)) and 1 < adata.obs[name].nunique() <= MANY_BATCHES
    ]
    numbers = [
        found[1] for name in map(str, adata.obs_names) if (found := SAMPLE_NUMBER.match(name))
    ]
    if not likely and len(numbers) == adata.n_obs and len(set(numbers)) > 1:
        return Finding(
            "batches",
            f"No batches are named, but the names of the cells end in {len(set(numbers))} numbers, "
            "as those of joined samples do.",
            DECIDE,
            "Make a column of them, and name it: batch_key = 'sample'",
            "adata.obs['sample'] = adata.obs_names.str.rsplit('-', n=1).str[-1]",
        )
    if not likely:
        return Finding("batches", "No batches are named, and no column of obs looks like one.")
    return Finding(
        "batches",
        f"No batches are named, but obs['{likely[0]}'] looks like some "
        f"({adata.obs[likely[0]].nunique()} values).",
        DECIDE,
        "If its cells were handled apart, name it",
        f"batch_key = {likely[0]!r}",
    )


def of_labels(adata: ad.AnnData, batch_key: str | None, label_key: str | None) -> Iterator[Finding]:
    """Say how many labels there are, and whether batches and labels can be told apart."""
    if label_key is None:
        return
    if label_key not in adata.obs:
        yield Finding(
            "batch and label",
            f"There is no column '{label_key}' in obs. Columns: "
            f"{', '.join(map(str, adata.obs)) or 'none'}.",
            REPAIR,
            "Name the one with what you know of the cells: label_key=...",
        )
        return
    labels = adata.obs[label_key]
    found = (
        f"obs['{label_key}'] has {labels.nunique():,} values, and {labels.isna().sum():,} cells "
        "have none."
    )
    if labels.nunique() < 2:
        yield Finding(
            "batch and label",
            found,
            DECIDE,
            "One value says nothing; leave it out",
            "label_key = None",
        )
    elif batch_key is None or adata.obs[batch_key].nunique() < 2:
        yield Finding("batch and label", f"{found} There are no two batches to compare it with.")
    else:
        yield _of_design(adata, batch_key, label_key)


def _of_design(adata: ad.AnnData, batch_key: str, label_key: str) -> Finding:
    """Say whether batches and labels can be told apart.

    They can if each label is in more than one batch, and batches have more than one label.
    """
    table = shared_labels(adata, batch_key, label_key)
    alone = table[table["in one batch"]]
    if len(alone):
        share = alone["cells"].sum() / table["cells"].sum()
        names = ", ".join(map(str, alone.index[:4])) + (" ..." if len(alone) > 4 else "")
        whole = "Batch and label are confounded: no" if len(alone) == len(table) else "For these no"
        return Finding(
            "batch and label",
            f"{len(alone)} of {len(table)} values of obs['{label_key}'] are in one batch only, or "
            f"nearly so ({names}), {share:.0%} of the cells. {whole} method can tell the batch "
            "from the biology (lesson 05c).",
            DECIDE,
            "Do not compare them across batches; better, get cells of each kind in each batch",
        )
    labels_of_batch = adata.obs.groupby(adata.obs[batch_key].astype(str))[label_key].nunique()
    if (labels_of_batch <= 1).all():
        return Finding(
            "batch and label",
            f"Each of the {len(labels_of_batch)} batches has one value of obs['{label_key}'] only, "
            "as with donors who are ill or well. What differs between values also differs between "
            "batches, and batch_key takes some of it away (lesson 05c).",
            DECIDE,
            "Compare donors, not cells; and train without batch_key as well",
        )
    return Finding(
        "batch and label",
        f"Each of the {len(table)} values of obs['{label_key}'] is in at least two batches.",
    )


def shared_labels(adata: ad.AnnData, batch_key: str, label_key: str) -> pd.DataFrame:
    """Count in how many batches each label is.

    Parameters
    ----------
    adata
        Cells x genes.
    batch_key, label_key
        Columns of ``obs``. Cells without a label are left out.

    Returns
    -------
    DataFrame
        One row per label: ``cells``; ``batches``, how many batches have at least one cell of it;
        and ``in one batch``, whether one batch has all of them, or more than 95 % of them though it
        has less than 80 % of all cells.
    """
    table = pd.crosstab(_as_text(adata.obs[label_key]), _as_text(adata.obs[batch_key]))
    largest = table.max(axis=1) / table.sum(axis=1)
    share = table.to_numpy().sum(axis=0) / table.to_numpy().sum()
    of_all = share[table.to_numpy().argmax(axis=1)]
    return pd.DataFrame(
        {
            "cells": table.sum(axis=1),
            "batches": (table > 0).sum(axis=1),
            "in one batch": (largest == 1) | ((largest > NEARLY_ALL) & (of_all < 0.8)),
        }
    )


def _as_text(column: pd.Series) -> pd.Series:
    """Return values as text, whatever they are, and those that are missing as missing."""
    return column.astype(object).map(str, na_action="ignore")
