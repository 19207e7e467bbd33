"""Which way a table lies: whether its rows are cells, as scVI takes them to be."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd

from helpers.data import matrices

BARCODE = re.compile(r"^(?:.*[_:-])?[ACGT]{10,}x?(?:[-_.:].*)?$")

# Identifiers of genes: Ensembl, fly, worm, yeast, thale cress, malaria, rice, and those that NCBI
# numbers.
GENE_ID = re.compile(
    r"^(?:ENS[A-Z]*G\d{6,}|FBgn\d{7}|WBGene\d{8}|Y[A-P][LR]\d{3}[WC]|AT[1-5CM]G\d{5}|PF3D7_\d+|"
    r"Os\d{2}g\d{7}|LOC\d{4,})",
    re.IGNORECASE,
)

# Genes of nearly every cell, in mouse and man, by which names of genes are told from names of
# cells.
COMMON_GENES = frozenset(
    [
        "actb",
        "b2m",
        "calm1",
        "eef1a1",
        "ftl1",
        "fth1",
        "gapdh",
        "malat1",
        "rpl10",
        "rplp0",
        "rps18",
        "tmsb4x",
    ]
)

# Totals of genes differ by thousands, those of cells by tens. Where the totals of rows spread so
# much more than those of columns, and there are enough of both, rows are genes.
SPREAD = 1.5
ENOUGH = 30

# The least standard deviation of the logarithm of totals of genes, that of the hundred with most
# counts. Where all are made alike, as synthetic ones, it is a tenth of that, and tells nothing.
OF_GENES = 0.5

# The note in uns by which somebody says which way a table lies, whatever it looks like.
NOTE = "genes_in"


def turned_by_names(adata: ad.AnnData) -> bool:
    """Tell whether the names of cells and genes seem to have changed places."""
    return _share(BARCODE, adata.var_names) > 0.5 or (
        like_genes(adata.obs_names) and not like_genes(adata.var_names)
    )


def turned_by_numbers(adata: ad.AnnData) -> bool:
    """Tell whether rows look like genes by their totals, where no names tell."""
    known = like_genes(adata.var_names) or _share(BARCODE, adata.obs_names) > 0.5
    matrix = adata.X if adata.X is not None else next(iter(matrices.layers(adata).values()), None)
    if known or NOTE in adata.uns or min(adata.shape) < ENOUGH or matrix is None:
        return False
    if not np.issubdtype(matrix.dtype, np.number):
        return False
    matrix = matrices.in_memory(matrix)
    totals = (np.asarray(matrix.sum(axis=axis), dtype=float).ravel() for axis in (1, 0))
    rows, columns = (np.std(np.log1p(each[each > 0])) for each in totals)
    return bool(rows > max(OF_GENES, SPREAD * columns))


def _share(pattern: re.Pattern[str], names: pd.Index) -> float:
    # Not astype(str): pandas 3 leaves a missing name missing.
    few = [str(name) for name in names[:1000]]
    return float(np.mean([bool(pattern.match(name)) for name in few])) if few else 0.0


def like_genes(names: pd.Index) -> bool:
    """Tell whether names are those of genes: some that nearly every cell has, or identifiers."""
    known = COMMON_GENES & {str(name).lower() for name in names}
    return len(known) >= 2 or _share(GENE_ID, names) > 0.5
