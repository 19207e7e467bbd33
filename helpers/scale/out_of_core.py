"""Train on more cells than fit into memory.

The counts stay in a .h5ad file, and each minibatch is read from there.

scvi-tools trains on an AnnData that was opened with ``backed="r"`` as on any other, in both version
tracks. Only ``X`` stays in the file then; layers are read into memory at once, so here the counts
are in ``X``.

``python -m helpers.scale.out_of_core FILE HOW`` trains one epoch in a fresh process, so that its
memory can be measured.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from scvi.data import AnnTorchDataset
from scvi.model.base import BaseModelClass

from helpers import environment
from helpers.data import count_checks, counts, datasets
from helpers.genes import selection

IN_MEMORY, FROM_FILE = HOW = ("in memory", "from the file")

# So many rows are looked at together when a file is checked: tens of MB.
BLOCK = 4096


# --- a large file -------------------------------------------------------------------------------


def copies_of_cortex(
    copies: int, n_genes: int = 2000, keep: float = 0.5, seed: int = 0
) -> Iterator[ad.AnnData]:
    """Make many cells from few: the cortex cells again and again, each time thinned at random.

    Parameters
    ----------
    copies
        How many times 3,005 cells.
    n_genes
        Highly variable genes to keep.
    keep
        Probability (0 to 1) that a molecule is kept, see ``counts.thin``.
    seed
        Seed of the first copy; the next one has the next seed.

    Yields
    ------
    AnnData
        One copy at a time: counts in ``X`` (3,005 x n_genes, CSR float32) and ``obs["cell_type"]``.
    """
    cortex = datasets.load_cortex(genes="packaged")
    selection.select(cortex, n_genes)
    for copy in range(copies):
        thinned = counts.thin(cortex, keep, seed + copy)
        names = f"copy {copy + 1}, " + cortex.obs_names.astype(str)
        yield ad.AnnData(
            thinned.X,
            obs=cortex.obs[["cell_type"]].set_axis(names),
            var=pd.DataFrame(index=cortex.var_names),
        )


def write(file: Path | str, pieces: Iterable[ad.AnnData]) -> Path:
    """Write pieces of data one below the other into one .h5ad file; one is in memory at a time.

    Parameters
    ----------
    file
        The file to write. It is there once it is complete, and not before.
    pieces
        Cells x genes with counts in ``X``; all with the same genes in the same order, each cell
        with a name of its own. ``obs`` is written, too; all else is left out.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If there is no piece, a piece holds no counts, genes differ between pieces, or two cells
        have the same name.

    Notes
    -----
    Rows are stored one after the other (CSR) and not compressed, so that single rows can be read.
    """
    file = Path(file)
    draft = file.with_name(file.name + ".draft")
    cells: list[pd.DataFrame] = []
    try:
        first = None
        for number, piece in enumerate(pieces, 1):
            with _saying(f"Piece {number}"):
                count_checks.check_counts(piece)
            rows = _rows(piece)
            if first is None:
                first = piece.var_names
                ad.AnnData(rows, var=pd.DataFrame(index=first)).write_h5ad(draft)
            elif not first.equals(piece.var_names):
                raise ValueError(
                    f"Piece {number} has other genes than piece 1, or another order of them. What "
                    "to do: piece = piece[:, genes].copy(), with the same genes for all pieces."
                )
            else:
                with h5py.File(draft, "r+") as store:
                    ad.io.sparse_dataset(store["X"]).append(rows)
            cells.append(piece.obs)
        if first is None:
            raise ValueError("There is nothing to write: no piece was given.")
        joined = pd.concat(cells)
        if not joined.index.is_unique:
            twice = joined.index[joined.index.duplicated()][0]
            raise ValueError(
                f"Two cells have the name '{twice}'. What to do: put the number of the piece "
                "before the names of its cells."
            )
        with h5py.File(draft, "r+") as store:
            ad.io.write_elem(store, "obs", joined)
            _shorten(store["X"])
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file


def _rows(piece: ad.AnnData) -> sp.csr_matrix:
    rows = sp.csr_matrix(piece.X, dtype=np.float32)
    # Positions are counted over all pieces; 32 bits would end at two thousand million counts.
    rows.indptr = rows.indptr.astype(np.int64)
    return rows


def _shorten(matrix: h5py.Group) -> None:
    """Count the positions of rows in 32 bits where they suffice, as SciPy does.

    Else it would copy the matrix for each minibatch in memory.
    """
    positions = matrix["indptr"][:]
    if positions[-1] <= np.iinfo(np.int32).max:
        del matrix["indptr"]
        matrix.create_dataset("indptr", data=positions.astype(np.int32))


@contextlib.contextmanager
def _saying(where: str) -> Iterator[None]:
    """Put before a complaint where in the data it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


# --- open it ------------------------------------------------------------------------------------


def open_counts(file: Path | str) -> ad.AnnData:
    """Open a .h5ad file for training, and leave its counts where they are.

    Parameters
    ----------
    file
        A .h5ad file with counts in ``X``, stored by rows.

    Returns
    -------
    AnnData
        Backed by the file: ``X`` is read when it is asked for. Close it with
        ``adata.file.close()``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no .h5ad file or cut off, its counts are not in ``X`` or not stored by rows, it has
        layers (they would be read into memory), or a cell has no counts or something else than
        counts.
    """
    file = Path(file)
    _require_rows_in_x(file)
    adata = ad.read_h5ad(file, backed="r")
    try:
        for start in range(0, adata.n_obs, BLOCK):
            end = min(start + BLOCK, adata.n_obs)
            with _saying(f"{file.name}, cells {start:,} to {end - 1:,}"):
                count_checks.check_counts(adata[start:end].to_memory())
    except BaseException:
        # Whoever holds the error would hold the file open, too.
        adata.file.close()
        raise
    return adata


def load_counts(file: Path | str) -> ad.AnnData:
    """Read the same file into memory, as is usual.

    Raises
    ------
    FileNotFoundError, ValueError
        As for ``open_counts``, but the counts are not looked at.
    MemoryError
        If it would not fit into the free memory.
    """
    environment.require_memory(bytes_in_memory(file), f"Reading {Path(file).name}")
    return ad.read_h5ad(file)


def bytes_in_memory(file: Path | str) -> int:
    """Return how many bytes ``X`` takes in memory, from what the file says about it.

    Raises
    ------
    FileNotFoundError, ValueError
        As for ``open_counts``, but the counts are not looked at.
    """
    file = Path(file)
    _require_rows_in_x(file)
    with h5py.File(file) as store:
        matrix = store["X"]
        parts = matrix.values() if isinstance(matrix, h5py.Group) else [matrix]
        return sum(part.size * part.dtype.itemsize for part in parts)


def _require_rows_in_x(file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file}. What to do: look for it in another folder, or write it with "
            "out_of_core.write."
        )
    try:
        with h5py.File(file) as store:
            how = store["X"].attrs["encoding-type"] if "X" in store else None
            layers = list(store.get("layers", ()))
            named = "obs" in store and "var" in store
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{file.name} cannot be read as a .h5ad file: it is something else, or was cut off "
            f"while it was copied. What to do: copy or write it again. (h5py: {error})"
        ) from error
    if not named:
        raise ValueError(
            f"{file.name} is an HDF5 file, but no .h5ad file: it has no obs or no var. Write it "
            "with adata.write_h5ad."
        )
    if layers:
        raise ValueError(
            f"{file.name} has layers ({', '.join(layers)}), which are read into memory as a whole "
            "when it is opened. What to do: write a file with the counts in X and without layers, "
            "see out_of_core.write."
        )
    if how == "csc_matrix":
        raise ValueError(
            f"X of {file.name} is stored by columns (CSC), so that each minibatch would read all "
            "of it. What to do: store it by rows, see out_of_core.write, or in memory: adata.X = "
            "adata.X.tocsr()."
        )
    if how not in ("csr_matrix", "array"):
        raise ValueError(
            f"{file.name} has no matrix in X. What to do: write a file with the counts in X."
        )


# --- train --------------------------------------------------------------------------------------


def train(adata: ad.AnnData, epochs: int = 1, seed: int = 0) -> scvi.model.SCVI:
    """Train an SCVI on counts in ``X``, wherever they are: in memory or in a file.

    Parameters
    ----------
    adata
        From ``open_counts`` or ``load_counts``.
    epochs
        Epochs to train; a tenth of the cells is held out.
    seed
        Seed of initial weights, held-out cells and minibatches.
    """
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata)
    model.train(max_epochs=epochs, check_val_every_n_epoch=1, enable_progress_bar=False)
    return model


def same_weights(model: BaseModelClass, other: BaseModelClass) -> bool:
    """Tell whether two models have the same parameters, bit by bit."""
    return all(
        torch.equal(weights, those)
        for weights, those in zip(model.module.parameters(), other.module.parameters(), strict=True)
    )


@contextlib.contextmanager
def rows_in_order() -> Iterator[None]:
    """Inside this block, read the rows of a minibatch from memory in the order of a file.

    Notes
    -----
    From a file scvi-tools reads the rows of each minibatch in ascending order, from memory in
    the order that was drawn. The cells of each minibatch are the same; but random numbers (dropout,
    latent positions that are drawn) fall on other cells.
    """
    read = AnnTorchDataset.__getitem__

    def in_order(dataset: AnnTorchDataset, indexes: int | list[int] | slice | np.ndarray):
        return read(
            dataset, np.sort(indexes) if isinstance(indexes, list | np.ndarray) else indexes
        )

    AnnTorchDataset.__getitem__ = in_order
    try:
        yield
    finally:
        AnnTorchDataset.__getitem__ = read


def main(arguments: list[str]) -> int:
    """Train one epoch here on a file, and print how long it took; return the exit status.

    The time includes ``setup_anndata`` and ``SCVI()``.
    """
    file, how = arguments
    environment.prepare()
    adata = {IN_MEMORY: load_counts, FROM_FILE: open_counts}[how](file)
    start = time.process_time()
    model = train(adata)
    seconds = time.process_time() - start
    held_out = float(model.history["elbo_validation"].iloc[-1, 0])
    print(json.dumps({"CPU seconds": seconds, "negative ELBO": held_out, "cells": adata.n_obs}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
