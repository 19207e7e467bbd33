"""Counts scaled to the same total in each cell, on a logarithmic scale.

Methods that have no model of counts work on these.
"""

from __future__ import annotations

from collections.abc import Iterable

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from helpers.data import count_checks

# To how many counts a cell is scaled, here and where the decoder is asked what it expects.
LIBRARY_SIZE = 10_000

# As many as scVI has latent dimensions by default, so that the two are compared at the same length.
N_COMPONENTS = 10


def log_counts(
    adata: ad.AnnData, layer: str = "counts", genes: Iterable[str] | None = None
) -> ad.AnnData:
    """Return log(1 + counts per 10,000).

    The 10,000 stand for all counts of these genes in the cell.

    Parameters
    ----------
    adata
        Cells x genes. It is not changed.
    layer
        The layer with the counts.
    genes
        The genes to keep and to scale by; all if left out.

    Returns
    -------
    AnnData
        New cells x genes with the values in ``X`` (CSR float32), the names of ``adata``, and
        nothing else.

    Raises
    ------
    ValueError
        If the layer is missing, or does not hold counts of every cell.
    KeyError
        If there is no such gene.
    """
    if genes is not None:
        genes = list(genes)
        require_genes(adata, genes)
        adata = adata[:, genes]
    count_checks.check_counts(adata, layer)
    normalised = ad.AnnData(
        sp.csr_matrix(adata.layers[layer], dtype=np.float32, copy=True),
        obs=pd.DataFrame(index=adata.obs_names),
        var=pd.DataFrame(index=adata.var_names),
    )
    sc.pp.normalize_total(normalised, target_sum=LIBRARY_SIZE)
    sc.pp.log1p(normalised)
    return normalised


def principal_components(
    adata: ad.AnnData, n_components: int = N_COMPONENTS, layer: str = "counts"
) -> NDArray[np.floating]:
    """Return the first principal components of the log-normalised counts.

    This is the usual representation without scVI.

    Parameters
    ----------
    adata
        Cells x genes. It is not changed.
    n_components
        How many components.
    layer
        The layer with the counts.

    Returns
    -------
    ndarray
        A position a cell (cells x ``n_components``).

    Raises
    ------
    ValueError
        If there are not more cells and more genes than components, or for the reasons of
        ``log_counts``.
    """
    if not 0 < n_components < min(adata.shape):
        raise ValueError(
            f"{n_components} components were asked for of {adata.n_obs:,} cells and "
            f"{adata.n_vars:,} genes.\n"
            "What to do: ask for at least 1, and for fewer than there are cells and genes."
        )
    values = log_counts(adata, layer).X
    # This solver takes a sparse matrix as it is; a dense copy would not fit a small machine.
    return PCA(n_components, svd_solver="arpack", random_state=0).fit_transform(values)


def require_genes(adata: ad.AnnData, genes: Iterable[str]) -> None:
    """Raise a ``KeyError`` that names the genes that are not in ``var_names``."""
    unknown = sorted({str(gene) for gene in genes if gene not in adata.var_names})
    if unknown:
        raise KeyError(
            f"{len(unknown)} genes are not in var_names: {', '.join(unknown[:10])}. "
            "What to do: leave them out, or take them from adata.var_names."
        )
