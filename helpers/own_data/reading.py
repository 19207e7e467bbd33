"""Read the cells that a learner brings, whatever kind of file they are in."""

from __future__ import annotations

import difflib
import errno
import gzip
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

# A matrix with as many numbers as this takes 2 GB when it is written out, as a table of text is
# while it is read.
MOST_NUMBERS_OF_A_TABLE = 250_000_000

MATRIX_NAMES = ("matrix.mtx", "matrix.mtx.gz")


class ReadError(ValueError):
    """A file could not be read; the message says which one, why, and what to do."""


def read(path: Path | str, genes_in: str = "columns") -> ad.AnnData:
    """Read cells x genes from a file or folder.

    Parameters
    ----------
    path
        ``.h5ad`` (AnnData), ``.h5`` or a folder with ``matrix.mtx`` (10x Genomics Cell Ranger),
        ``.loom``, or a table of text: ``.csv``, ``.tsv`` or ``.txt``, also with ``.gz`` behind it.
        A table has names in its first row and first column.
    genes_in
        Only for a table of text: whether the genes are its "columns" or its "rows".

    Returns
    -------
    AnnData
        Cells x genes, as they are in the file: nothing is repaired. ``X`` of a table of text is CSR
        float32, of a loom file CSR. Of a 10x file with several kinds of features only the genes are
        kept, and ``uns["left_out"]`` says how many others there were.

    Raises
    ------
    ReadError
        If there is no such file, it is of a kind that is not known here, damaged, not readable for
        this user, or not what its name says.
    ValueError
        If ``genes_in`` is another word.
    """
    if genes_in not in ("columns", "rows"):
        raise ValueError(
            f"There is no genes_in={genes_in!r}.\nWhat to do: give 'columns' or 'rows'."
        )
    path = Path(path).expanduser()
    reader = _reader(path)
    try:
        with warnings.catch_warnings():
            # Names that are not unique, and older layouts: the pre-flight report says what there is
            # to say.
            warnings.simplefilter("ignore")
            adata = reader(path, genes_in) if reader is _read_table else reader(path)
    except ReadError:
        raise
    except MemoryError as error:
        raise ReadError(
            f"{path} does not fit into the memory of this machine.\n"
            "What to do: close other notebooks (Kernel > Shut Down All Kernels), or read it where "
            "there is more memory."
        ) from error
    # A file that is damaged, or not what its name says, fails inside HDF5, anndata, pandas or zlib
    # in many ways.
    except Exception as error:
        raise _explained(path, error) from error
    return adata


# --- which reader -------------------------------------------------------------------------------


def _reader(path: Path) -> Callable[..., ad.AnnData]:
    try:
        if not path.exists():
            raise _missing(path)
        if path.is_dir():
            return _reader_of_folder(path)
    except PermissionError as error:
        raise _explained(path, error) from error
    name = path.name.lower().removesuffix(".gz")
    for suffix, reader in READERS.items():
        if name.endswith(suffix):
            if path.suffix == ".gz" and reader is not _read_table:
                raise ReadError(
                    f"{path} is packed.\nWhat to do: unpack it first: gunzip {path.name}."
                )
            return reader
    if name.endswith(".mtx"):
        raise ReadError(
            f"{path} is a matrix without names.\n"
            "What to do: give the folder that it is in, with the files of genes and barcodes: "
            f"{path.parent}."
        )
    raise ReadError(
        f"{path} is of a kind that is not known here.\n"
        f"What to do: give a file that ends in {', '.join(READERS)}, or the folder with "
        f"{MATRIX_NAMES[0]}. From R write an .h5ad file first, of a Seurat object: "
        "zellkonverter::writeH5AD(as.SingleCellExperiment(object), 'cells.h5ad', X_name = "
        "'counts')."
    )


def _reader_of_folder(path: Path) -> Callable[..., ad.AnnData]:
    inside = sorted(each.name for each in path.iterdir())
    if any(name.endswith(MATRIX_NAMES) for name in inside):
        return _read_10x_folder
    below = sorted({each.parent for name in MATRIX_NAMES for each in path.glob(f"*/{name}")})
    if below:
        fix = "give one of these folders: " + ", ".join(str(each) for each in below)
    else:
        fix = f"give a folder with {MATRIX_NAMES[0]}, or a file"
    listed = ", ".join(inside[:8]) + (" ..." if len(inside) > 8 else "") or "nothing"
    raise ReadError(
        f"The folder {path} has no {MATRIX_NAMES[0]}. In it: {listed}.\nWhat to do: {fix}."
    )


def _missing(path: Path) -> ReadError:
    parent = path.parent
    if not parent.is_dir():
        return ReadError(
            f"There is no file {path}, and no folder {parent}. Paths begin at {Path.cwd()}.\n"
            "What to do: give the path from there, or the whole path."
        )
    names = sorted(each.name for each in parent.iterdir())
    similar = difflib.get_close_matches(path.name, names, n=3) or names[:5]
    listed = f" In this folder: {', '.join(similar)}." if similar else " This folder is empty."
    return ReadError(
        f"There is no file {path.name} in {parent.resolve()}.{listed}\n"
        "What to do: check the name, or upload the file: drag it from your computer into the list "
        "of files of JupyterLab."
    )


def _explained(path: Path, error: BaseException) -> ReadError:
    """Say in a learner's words why a file could not be read."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return ReadError(
            f"{path} may not be read by you.\n"
            "What to do: close it in other programs, give yourself the right to read it, or copy "
            "it into a folder of your own."
        )
    start = b"" if path.is_dir() else _start(path)
    if not path.is_dir() and path.stat().st_size == 0:
        why, fix = "the file is empty", "copy or download it again"
    elif start.lstrip()[:1] == b"<":
        why = "it is a web page, not data"
        fix = (
            "download it again; where a login is needed, a page with the login comes instead of "
            "the file"
        )
    elif isinstance(error, gzip.BadGzipFile):
        why, fix = "it is called .gz and is not packed", "give it its own ending back"
    elif isinstance(error, EOFError | zlib.error) or "truncated" in str(error):
        why, fix = (
            "it ends too early, so it is not whole",
            "copy or download it again, and compare the sizes",
        )
    elif path.suffix in (".h5ad", ".h5", ".loom") and not h5py.is_hdf5(path):
        why = f"it is not in the format of {path.suffix} files (HDF5), or damaged at its start"
        fix = "copy or download it again; if it was renamed, give it its own ending back"
    else:
        last = (str(error).strip() or type(error).__name__).splitlines()[0]
        why = f"it is damaged, or not what its name says ({last})"
        fix = "copy or download it again; or open it where it was made, and save it as .h5ad"
    return ReadError(f"Cannot read {path}: {why}.\nWhat to do: {fix}.")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


# --- the readers --------------------------------------------------------------------------------


def _read_h5ad(path: Path) -> ad.AnnData:
    return ad.read_h5ad(path)


def _read_10x_h5(path: Path) -> ad.AnnData:
    return _genes_only(sc.read_10x_h5(path, gex_only=False))


def _read_10x_folder(path: Path) -> ad.AnnData:
    matrices = sorted(each.name for each in path.iterdir() if each.name.endswith(MATRIX_NAMES))
    prefixes = sorted({name.split("matrix.mtx")[0] for name in matrices})
    if len(prefixes) > 1:
        raise ReadError(
            f"The folder {path} holds {len(prefixes)} samples: {', '.join(prefixes)}.\n"
            "What to do: put the three files of each into a folder of its own, read each, and "
            "join them: ad.concat({'sample 1': one, 'sample 2': other}, label='sample', "
            "index_unique='-')."
        )
    _require_names(path, prefixes[0], packed=matrices[0].endswith(".gz"))
    return _genes_only(
        sc.read_10x_mtx(path, gex_only=False, make_unique=False, prefix=prefixes[0] or None)
    )


def _require_names(path: Path, prefix: str, packed: bool) -> None:
    """Raise unless the names of genes and cells are where scanpy looks.

    That is features.tsv.gz beside a packed matrix, and genes.tsv beside another.
    """
    needed = ("features.tsv.gz", "barcodes.tsv.gz") if packed else ("genes.tsv", "barcodes.tsv")
    missing = [f"{prefix}{name}" for name in needed if not (path / f"{prefix}{name}").exists()]
    if not missing:
        return
    if not packed and (path / f"{prefix}features.tsv").exists():
        fix = (
            f"pack the three files, as Cell Ranger does: gzip {path}/{prefix}*.tsv "
            f"{path}/{prefix}*.mtx"
        )
    elif packed and (path / f"{prefix}genes.tsv.gz").exists():
        fix = f"unpack the three files, as Cell Ranger 2 left them: gunzip {path}/{prefix}*.gz"
    else:
        fix = "copy the missing file into this folder"
    raise ReadError(f"The folder {path} lacks {' and '.join(missing)}.\nWhat to do: {fix}.")


def _genes_only(adata: ad.AnnData) -> ad.AnnData:
    """Keep the genes of a 10x file.

    Antibodies, guides and peaks are other features, and scVI is for genes.
    """
    kinds = adata.var.get("feature_types")
    if kinds is None or (kinds == "Gene Expression").all():
        return adata
    genes = adata[:, (kinds == "Gene Expression").to_numpy()].copy()
    genes.uns["left_out"] = {
        str(kind): int(n) for kind, n in kinds.value_counts().items() if kind != "Gene Expression"
    }
    return genes


def _read_loom(path: Path) -> ad.AnnData:
    # Loom files call their names as they like; these are the two customs.
    with h5py.File(path) as file:
        cells = next((name for name in ("CellID", "obs_names") if name in file["col_attrs"]), "")
        genes = next((name for name in ("Gene", "var_names") if name in file["row_attrs"]), "")
    return ad.io.read_loom(path, sparse=True, obs_names=cells, var_names=genes)


def _read_table(path: Path, genes_in: str) -> ad.AnnData:
    # Tab, comma or semicolon: whichever is most frequent in the first line.
    with _opener(path)(path, "rt", encoding="utf-8") as file:
        first = file.readline()
    separator = max("\t,;", key=first.count)
    if not first.count(separator):
        raise ReadError(
            f"Cannot read {path}: its first line holds one value, so it is no table.\n"
            "What to do: save it with a comma or a tab between values."
        )
    if first.count(separator) * _lines(path) > MOST_NUMBERS_OF_A_TABLE:
        raise ReadError(
            f"{path} holds about {first.count(separator) * _lines(path):,} numbers as text, too "
            "many to read at once.\n"
            "What to do: save it as .h5ad where it was made, or as a folder with matrix.mtx; "
            "sparse counts take a twentieth."
        )
    table = pd.read_csv(path, sep=separator, index_col=0, encoding="utf-8")
    words = [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if words:
        column = table[words[0]]
        wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        where = f"column {words[0]!r}" + (
            f", row {wrong.index[0]!r}: {wrong.iloc[0]!r}" if len(wrong) else ""
        )
        raise ReadError(
            f"Not only numbers in {path}: {len(words)} of {table.shape[1]} columns, the first is "
            f"{where}.\n"
            "What to do: keep only names and counts in the table. Put what describes a cell into "
            "a table of its own, and add it later: adata.obs['batch'] = ..."
        )
    if genes_in == "rows":
        table = table.T
    counts = sp.csr_matrix(table.to_numpy(dtype=np.float32))
    return ad.AnnData(
        counts,
        obs=pd.DataFrame(index=table.index.astype(str)),
        var=pd.DataFrame(index=table.columns.astype(str)),
    )


def _lines(path: Path) -> int:
    """Return about how many lines a file has, from its size and its second line.

    Packed files hold about five times their size.
    """
    with _opener(path)(path, "rb") as file:
        file.readline()
        second = len(file.readline())
    return (5 if path.suffix == ".gz" else 1) * path.stat().st_size // max(second, 1)


def _opener(path: Path) -> Callable[..., Any]:
    return gzip.open if path.suffix == ".gz" else Path.open


READERS: dict[str, Callable[..., ad.AnnData]] = {
    ".h5ad": _read_h5ad,
    ".h5": _read_10x_h5,
    ".loom": _read_loom,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".txt": _read_table,
}
