"""Read a folder with a matrix (``.mtx``) and, in files of text beside it, names of genes and cells.

Cell Ranger, STARsolo, kallisto, alevin and others write such folders, with other names, packed or
not, and with cells in rows or in columns: which file names what is told by the number of its lines.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from helpers.own_data import feature_kinds, writing
from helpers.own_data.read_error import ReadError

MATRIX = re.compile(r"\.mtx(?:\.gz)?$", re.IGNORECASE)

# The matrix that Cell Ranger and most others call so; what is before it names the sample.
USUAL = re.compile(r"^(?P<sample>.*?)matrix\.mtx(?:\.gz)?$", re.IGNORECASE)

# How files with names of genes and of cells are called, in order of preference.
GENES = re.compile(r"feature|gene|quants_mat_cols", re.IGNORECASE)
CELLS = re.compile(r"barcode|cell|quants_mat_rows", re.IGNORECASE)
TEXT = re.compile(r"\.(?:tsv|txt|csv)(?:\.gz)?$", re.IGNORECASE)

# STARsolo and kallisto write molecules of three kinds apart; together they are all that was
# counted.
PARTS = ("spliced", "unspliced", "ambiguous")


@dataclass(frozen=True)
class Names:
    """A file with names, and its lines as a table."""

    file: Path
    table: pd.DataFrame


def matrices(folder: Path) -> list[Path]:
    """Return the files of matrices in a folder."""
    return sorted(each for each in folder.iterdir() if MATRIX.search(each.name))


def read(folder: Path) -> ad.AnnData:
    """Read cells x genes from such a folder.

    Raises
    ------
    ReadError
        If it holds several samples, or names of genes or cells are missing.
    """
    found = matrices(folder)
    usual = [file for file in found if USUAL.match(file.name)]
    _require_one_sample(folder, usual)
    parts = {
        file.name.split(".")[-3 if file.suffix == ".gz" else -2]: file
        for file in found
        if any(f".{part}.mtx" in f".{file.name}" for part in PARTS)
    }
    parts = {name: file for name, file in parts.items() if name in PARTS}
    if not usual and len(parts) > 1:
        return _of_parts(folder, parts)
    chosen = usual or [file for file in found if file not in parts.values()] or found
    if len(chosen) > 1:
        raise ReadError(
            f"The folder {folder} holds {len(chosen)} matrices: "
            f"{', '.join(file.name for file in chosen[:6])}.\n"
            "What to do: put the one with the counts of genes into a folder of its own, with the "
            "files of names."
        )
    adata = _with_names(folder, chosen[0], _matrix(chosen[0]))
    others = [file.name for file in found if file != chosen[0]]
    if others:
        adata.uns[writing.NOTES] = [f"{name} beside the matrix is left out." for name in others]
    return feature_kinds.genes_only(adata)


def _require_one_sample(folder: Path, usual: list[Path]) -> None:
    samples = sorted({USUAL.match(file.name)["sample"] for file in usual})
    if len(samples) > 1:
        raise ReadError(
            f"The folder {folder} holds {len(samples)} samples: {', '.join(samples)}.\n"
            "What to do: put the three files of each into a folder of its own, read each, and "
            "join them: ad.concat({'sample 1': one, 'sample 2': other}, label='sample', "
            "index_unique='-')."
        )


def _of_parts(folder: Path, parts: dict[str, Path]) -> ad.AnnData:
    whole = {name: _with_names(folder, file, _matrix(file)) for name, file in parts.items()}
    adata = next(iter(whole.values())).copy()
    adata.X = sp.csr_matrix(sum(each.X for each in whole.values()))
    for name, each in whole.items():
        adata.layers[name] = each.X
    return adata


def _matrix(file: Path) -> sp.coo_matrix:
    if file.stat().st_size == 0:
        raise ReadError(f"{file} is empty.\nWhat to do: copy or download it again.")
    # scipy 1.17 may return one of its new arrays, 1.11 a matrix.
    return sp.coo_matrix(scipy.io.mmread(file))


def _with_names(folder: Path, file: Path, matrix: sp.coo_matrix) -> ad.AnnData:
    match = USUAL.match(file.name)
    sample = match["sample"] if match else ""
    names = [_names(each) for each in sorted(folder.iterdir()) if TEXT.search(each.name)]
    of_sample = [each for each in names if each.file.name.startswith(sample)]
    prefix, names = (sample, of_sample) if of_sample else ("", names)
    genes_in_rows = _genes_in_rows(names, matrix.shape)
    n_cells, n_genes = matrix.shape[::-1] if genes_in_rows else matrix.shape
    genes, cells = _fitting(names, GENES, n_genes), _fitting(names, CELLS, n_cells)
    missing = [
        f"{prefix}{what} with {n:,} names"
        for what, n, table in (
            ("genes.tsv or features.tsv", n_genes, genes),
            ("barcodes.tsv", n_cells, cells),
        )
        if table is None
    ]
    if missing:
        listed = ", ".join(f"{each.file.name} {len(each.table):,} lines" for each in names)
        rows, columns = matrix.shape
        fix = (
            "copy the missing file into this folder"
            if len(names) < 2
            else "take the files that were written together with this matrix"
        )
        raise ReadError(
            f"The folder {folder} lacks {' and '.join(missing)}, for {file.name} of {rows:,} x "
            f"{columns:,}. Beside it: {listed or 'no file of names'}.\nWhat to do: {fix}."
        )
    counts = sp.csr_matrix(matrix.T if genes_in_rows else matrix, dtype=np.float32)
    return ad.AnnData(counts, obs=_cells(cells, n_cells), var=_genes(genes, names, n_genes))


def _names(file: Path) -> Names:
    opener = gzip.open if file.suffix == ".gz" else open
    separator = "," if ".csv" in file.name.lower() else "\t"
    with opener(file, "rb") as lines:
        if not lines.read(1):
            return Names(file, pd.DataFrame())
    # A gene may be called NA, and a barcode 1.
    how = {"header": None, "dtype": str, "keep_default_na": False, "quoting": 3}
    return Names(file, pd.read_csv(file, sep=separator, **how))


def _lines(table: pd.DataFrame, n: int) -> pd.DataFrame | None:
    """Return the lines that are names of n things, without a header; None if it does not fit."""
    if len(table) == n:
        return table
    if len(table) == n + 1 and table.shape[1]:
        return table.iloc[1:].set_axis(table.iloc[0].astype(str).tolist(), axis=1)
    return None


def _fitting(names: list[Names], called: re.Pattern[str], n: int) -> pd.DataFrame | None:
    fitting = [
        (each.file.name, table)
        for each in names
        if called.search(TEXT.sub("", _own_name(each.file)))
        and (table := _lines(each.table, n)) is not None
    ]
    # The table that says most; of files that say as much, the shortest name.
    best = max(fitting, key=lambda each: (each[1].shape[1], -len(each[0])), default=None)
    return None if best is None else best[1]


def _own_name(file: Path) -> str:
    """Return the name of a file without that of the matrix in front: cells_x_genes.barcodes."""
    return file.name.removeprefix("cells_x_genes.")


def _genes_in_rows(names: list[Names], shape: tuple[int, int]) -> bool:
    """Tell whether rows are genes; so it is where the names fit both ways, as most programs do."""

    def fits(n_genes: int, n_cells: int) -> int:
        found = (_fitting(names, GENES, n_genes), _fitting(names, CELLS, n_cells))
        return sum(table is not None for table in found)

    rows, columns = shape
    return fits(rows, columns) >= fits(columns, rows)


def _cells(table: pd.DataFrame, n: int) -> pd.DataFrame:
    index = table.iloc[:, 0].tolist()
    described = table.iloc[:, 1:] if _has_header(table) else table[[]]
    return described.set_axis(index) if n else described


def _has_header(table: pd.DataFrame) -> bool:
    return all(isinstance(name, str) for name in table.columns)


def _genes(table: pd.DataFrame, names: list[Names], n: int) -> pd.DataFrame:
    if not _has_header(table):
        labels = ["gene_ids", "names", "feature_types", "chromosome", "start", "end"]
        table = table.set_axis(
            [labels[i] if i < len(labels) else f"column {i}" for i in table.columns], axis=1
        )
    else:
        by_name = [name for name in ("gene_name", "gene_symbol") if name in table]
        table = table.rename(columns={name: "names" for name in by_name[:1]})
    if "names" in table:
        return table.drop(columns="names").set_axis(table["names"].tolist())
    # kallisto keeps the names of genes, beside their identifiers, in a file of its own.
    symbols = [
        each.table[0].tolist()
        for each in names
        if "genes.names" in each.file.name and len(each.table) == n
    ]
    identifiers = table.iloc[:, 0].tolist()
    if symbols:
        return pd.DataFrame({"gene_ids": identifiers}, index=symbols[0])
    return table.iloc[:, 1:].set_axis(identifiers)
