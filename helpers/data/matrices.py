"""The matrices of an AnnData: how they are called, and whether they hold counts."""

from __future__ import annotations

from typing import Any

import anndata as ad
import h5py
import numpy as np
import scipy.sparse as sp


def matrix_name(layer: str | None) -> str:
    """Return how the matrix with the counts is written in Python behind ``adata.``."""
    return "X" if layer is None else f"layers[{layer!r}]"


def layers(adata: ad.AnnData) -> dict[str, Any]:
    """Return the named layers; anndata 0.13 lists X among them, as None."""
    return {name: matrix for name, matrix in adata.layers.items() if name is not None}


def in_memory(matrix: Any) -> Any:
    """Return a matrix itself, or, if it stays in a file, what is in the file."""
    if isinstance(matrix, h5py.Dataset):
        return matrix[:]
    return matrix.to_memory() if hasattr(matrix, "to_memory") else matrix


def by_cell(matrix: Any) -> sp.csr_matrix:
    """Return a matrix of numbers as CSR, without a copy where it is that already.

    Numbers of 16 bits with a fraction, which scipy does not take, are held in 32 bits.
    """
    matrix = in_memory(matrix)
    return sp.csr_matrix(matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix)


def are_counts(matrix: Any) -> bool:
    """Tell whether a matrix holds whole numbers of 0 or more, and not only zeros."""
    if not np.issubdtype(matrix.dtype, np.number):
        return False
    values = by_cell(matrix).data
    return bool(values.any() and (values >= 0).all() and (values == np.rint(values)).all())
