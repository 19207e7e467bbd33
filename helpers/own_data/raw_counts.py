"""Get raw counts back from values that were made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from helpers.data import matrices

# How the logarithm is undone. Most packages take ln(1 + x); some take other bases.
INVERSES: dict[str, Callable[[NDArray], NDArray]] = {
    "normalised": lambda values: values,
    "normalised, and ln(1 + x) taken": np.expm1,
    "normalised, and log2(1 + x) taken": lambda values: np.exp2(values) - 1,
    "normalised, and log10(1 + x) taken": lambda values: np.power(10.0, values) - 1,
}

# Values are mostly stored with seven digits, so a count of 10,000 comes back to within a few
# hundredths.
TOLERANCE = 0.1

# Enough to see that a way does not fit, before the whole matrix is tried.
CELLS_TO_TRY = 20


def recover(matrix: Any) -> sp.csr_matrix:
    """Return the counts from which normalised values were made.

    Parameters
    ----------
    matrix
        Cells x genes, dense or sparse: counts that were multiplied by a number of their cell (such
        as 10,000 / total), with or without log(1 + x) of that.

    Returns
    -------
    csr_matrix
        Counts, cells x genes, float32.

    Raises
    ------
    ValueError
        If the values cannot have been made in such a way: scaled to mean 0, corrected for batches
        or for background, smoothed, or already counts.

    Notes
    -----
    In such values all counts of a cell are multiples of its smallest one, which is taken for
    a single molecule. They come out as whole numbers in every cell, which other values do not. But
    if in some cell no gene has exactly one molecule, its counts come out too small by a factor, and
    are still whole. With thousands of genes nearly every cell has hundreds with one; with a few
    genes look at a cell's published total.
    """
    made_by = how_made(matrix)
    if made_by is None:
        raise ValueError(
            "These values are not counts that were normalised cell by cell, with or without a "
            "logarithm, so the counts cannot be recovered from them.\n"
            "What to do: go back to the file of counts."
        )
    values = _stored(matrix)
    return sp.csr_matrix(
        (
            np.rint(_in_molecules(values, made_by)).astype(np.float32),
            values.indices.copy(),
            values.indptr.copy(),
        ),
        shape=values.shape,
    )


def how_made(matrix: Any) -> str | None:
    """Tell how values were made from counts.

    The answer is a key of ``INVERSES``; None if it was in no such way, or if they are counts.

    Parameters
    ----------
    matrix
        Cells x genes, dense or sparse.
    """
    if not np.issubdtype(matrix.dtype, np.floating) or 0 in matrix.shape:
        return None
    few = _stored(matrix[:CELLS_TO_TRY])
    fitting = [name for name in INVERSES if _fits(few, name)]
    if not fitting:
        return None
    values = _stored(matrix)
    if _mostly_whole(values):
        return None
    return next((name for name in fitting if _fits(values, name)), None)


def _stored(matrix: Any) -> sp.csr_matrix:
    """Return a sparse copy that stores no 0."""
    values = sp.csr_matrix(matrices.by_cell(matrix), dtype=np.float64, copy=True)
    values.eliminate_zeros()
    return values


def _mostly_whole(values: sp.csr_matrix) -> bool:
    """Tell whether most cells hold whole numbers.

    Then these are counts, with something wrong in the other cells.
    """
    of_cell = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
    fractional = np.unique(of_cell[values.data != np.rint(values.data)])
    return len(fractional) < values.shape[0] / 2


def candidates(adata: ad.AnnData) -> Iterator[tuple[str, str]]:
    """Yield the matrices from which counts can be recovered, and how their values were made.

    A matrix is named as it is written in Python behind ``adata.``.

    Parameters
    ----------
    adata
        Cells x genes. ``raw`` is looked at if it has the same genes in the same order.
    """
    found = {"X": adata.X}
    if adata.raw is not None and adata.raw.var_names.equals(adata.var_names):
        found["raw.X"] = adata.raw.X
    found |= {matrices.matrix_name(name): each for name, each in matrices.layers(adata).items()}
    for name, matrix in found.items():
        if matrix is not None and (way := how_made(matrices.in_memory(matrix))):
            yield name, way


def _fits(values: sp.csr_matrix, made_by: str) -> bool:
    if not np.isfinite(values.data).all() or (values.data < 0).any() or not values.nnz:
        return False
    molecules = _in_molecules(values, made_by)
    return bool(
        np.isfinite(molecules).all() and (np.abs(molecules - np.rint(molecules)) < TOLERANCE).all()
    )


def _in_molecules(values: sp.csr_matrix, made_by: str) -> NDArray[np.float64]:
    """Return the stored values as numbers of molecules.

    The smallest one of a cell that is above 0 is taken for a single molecule.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        amounts = INVERSES[made_by](values.data)
        of_cell = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
        smallest = np.full(values.shape[0], np.inf)
        above = amounts > 0
        np.minimum.at(smallest, of_cell[above], amounts[above])
        molecules = amounts / smallest[of_cell]
        # The smallest value alone has few digits; with all values of the cell, one molecule is
        # known better.
        sums = [np.bincount(of_cell, weights=each) for each in (amounts, np.rint(molecules))]
        return amounts / (sums[0] / sums[1])[of_cell]
