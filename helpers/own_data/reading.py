"""Read the cells that a learner brings, whatever kind of file they are in."""

from __future__ import annotations

import codecs
import csv
import difflib
import errno
import gzip
import itertools
import re
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from helpers.own_data import hdf5_files, matrix_folders, orientation, writing
from helpers.own_data.read_error import ReadError

# A matrix with as many numbers as this takes 2 GB when it is written out, as a table of text is
# while it is read.
MOST_NUMBERS_OF_A_TABLE = 250_000_000
MATRIX_NAME = "matrix.mtx"

MATRIX_FILE = matrix_folders.MATRIX

# What HDF5 says of a way to compress that it does not know.
MISSING_FILTER = re.compile(
    r"filter[^\n]*(?:not registered|not available|unavailable)[^\n]*|[^\n]*\bplugin\b[^\n]*", re.I
)

# How a file ends that holds another, which has to be taken out first.
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z", ".rar")

# A table of text begins at the latest after so many lines that say something about it.
MOST_LINES_ABOVE = 50


def read(path: Path | str, genes_in: str | None = None) -> ad.AnnData:
    """Read cells x genes from a file or folder.

    Parameters
    ----------
    path
        ``.h5ad`` or ``.zarr`` (AnnData), ``.h5mu`` (MuData), ``.h5`` (10x Genomics Cell Ranger,
        CellBender), ``.loom``; a folder with a matrix in ``.mtx`` (Cell Ranger, STARsolo, kallisto,
        alevin); or a table of text: ``.csv``, ``.tsv`` or ``.txt``, also with ``.gz`` behind it. A
        table has names in its first row and first column.
    genes_in
        Only for a table of text: whether the genes are its "columns" or its "rows"; None for
        columns, if nobody has looked.

    Returns
    -------
    AnnData
        Cells x genes, as they are in the file: no count and no name is repaired. ``X`` of a table
        of text is CSR float32, of a loom file its main matrix as CSR. Of a file with several kinds
        of features only the genes are kept, and ``uns["left_out"]`` says how many others there
        were. What a file cannot hold when it is written again, such as a column called "_index",
        is given another form; ``uns["notes_on_reading"]`` says what was, and what could not be
        read.

    Raises
    ------
    ReadError
        If there is no such file, it is of a kind that is not known here, damaged, not readable for
        this user, or not what its name says.
    ValueError
        If ``genes_in`` is another word.
    """
    if genes_in not in (None, "columns", "rows"):
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
    if genes_in and reader is _read_table:
        adata.uns[orientation.NOTE] = genes_in
    adata, changed = writing.writeable(adata)
    if notes := [*adata.uns.get(writing.NOTES, []), *changed]:
        adata.uns[writing.NOTES] = notes
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
    name = path.name.lower()
    packed = next((ending for ending in PACKED if name.endswith(ending)), "")
    for suffix, reader in READERS.items():
        if name.removesuffix(packed).endswith(suffix) and (
            not packed or (packed == ".gz" and reader is _read_table)
        ):
            return reader
    if MATRIX_FILE.search(name):
        raise ReadError(
            f"{path} is a matrix without names.\n"
            "What to do: give the folder that it is in, with the files of genes and barcodes: "
            f"{path.parent}."
        )
    if packed:
        how = f"gunzip {path.name}" if packed == ".gz" else "with the program for such files"
        raise ReadError(f"{path} is packed.\nWhat to do: unpack it first: {how}.")
    if h5py.is_hdf5(path):
        return hdf5_files.read
    raise ReadError(
        f"{path} is of a kind that is not known here.\n"
        f"What to do: give a file that ends in {', '.join(READERS)}, or the folder with "
        f"{MATRIX_NAME}. From R write an .h5ad file first, of a Seurat object: "
        "zellkonverter::writeH5AD(as.SingleCellExperiment(object), 'cells.h5ad', X_name = "
        "'counts')."
    )


def _reader_of_folder(path: Path) -> Callable[..., ad.AnnData]:
    inside = sorted(each.name for each in path.iterdir())
    if any(name in inside for name in (".zgroup", "zarr.json", ".zattrs")):
        return hdf5_files.read_zarr
    if matrix_folders.matrices(path):
        return matrix_folders.read
    below = sorted({each.parent for each in path.glob("*/*") if MATRIX_FILE.search(each.name)})
    endings = tuple(ending for ending, reader in READERS.items() if reader is hdf5_files.read)
    files = [each for each in inside if each.lower().endswith(endings)]
    if below:
        fix = "give one of these folders: " + ", ".join(str(each) for each in below)
    elif files:
        fix = "give one of these files: " + ", ".join(str(path / each) for each in files[:5])
    else:
        fix = f"give a folder with {MATRIX_NAME}, or a file"
    listed = ", ".join(inside[:8]) + (" ..." if len(inside) > 8 else "") or "nothing"
    raise ReadError(f"The folder {path} has no {MATRIX_NAME}. In it: {listed}.\nWhat to do: {fix}.")


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
    elif (
        path.is_file()
        and READERS.get(path.suffix.lower()) is hdf5_files.read
        and not (h5py.is_hdf5(path))
    ):
        why = f"it is not in the format of {path.suffix} files (HDF5), or damaged at its start"
        fix = "copy or download it again; if it was renamed, give it its own ending back"
    elif missing := MISSING_FILTER.search(_chain(error)):
        why = f"it is compressed in a way that is not known here ({missing[0]})"
        fix = (
            "install the package hdf5plugin, which knows more ways; or open it where it was made, "
            "and save it with compression='gzip'"
        )
    elif isinstance(error, ImportError):
        why = f"it takes a package that is not installed ({error})"
        fix = "install that package; or open it where it was made, and save it as .h5ad"
    elif _read_by_others(path):
        why = f"it is whole, but laid out in a way that is not known here ({_last(error)})"
        fix = "open it where it was made, and save it as .h5ad"
    else:
        why = f"it is damaged, or not what its name says ({_last(error)})"
        fix = "copy or download it again; or open it where it was made, and save it as .h5ad"
    return ReadError(f"Cannot read {path}: {why}.\nWhat to do: {fix}.")


def _last(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _chain(error: BaseException | None) -> str:
    """Return what an error says, and those that it came from."""
    return "" if error is None else f"{error}\n{_chain(error.__cause__ or error.__context__)}"


def _read_by_others(path: Path) -> bool:
    """Tell whether a plain reader, which knows nothing of cells, reads all that is in a file."""
    try:
        if path.is_dir():
            for file in matrix_folders.matrices(path):
                scipy.io.mmread(file)
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:
                file.visititems(lambda name, item: item[()] if hasattr(item, "shape") else None)
        else:
            pd.read_csv(path, sep=None, engine="python")
    except Exception:  # whatever is damaged
        return False
    return True


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


# --- the readers --------------------------------------------------------------------------------


def _read_table(path: Path, genes_in: str | None) -> ad.AnnData:
    encoding = _encoding(path)
    with _opener(path)(path, "rt", encoding=encoding, newline="") as file:
        first = list(itertools.islice(file, MOST_LINES_ABOVE + 2))
    separator, above = _layout(path, first)
    header = next(csv.reader(first[above:], delimiter=separator, skipinitialspace=separator == " "))
    if len(header) * _lines(path) > MOST_NUMBERS_OF_A_TABLE:
        raise ReadError(
            f"{path} holds about {len(header) * _lines(path):,} numbers as text, too "
            "many to read at once.\n"
            "What to do: save it as .h5ad where it was made, or as a folder with matrix.mtx; "
            "sparse counts take a twentieth."
        )
    # The header by itself: pandas would rename what is there twice. And a name may be NA.
    table = pd.read_csv(
        path,
        sep=separator,
        encoding=encoding,
        converters={0: "={}".format},  # pandas takes a name such as NA for none
        header=None,
        skiprows=above + 1,
        skipinitialspace=separator == " ",
    ).set_index(0)
    table.index = pd.Index([name[1:] for name in table.index])
    # R leaves out the name of the column of names.
    names = header if len(header) == table.shape[1] else header[1:]
    if names[-1:] == [""] and table.iloc[:, -1].isna().all():  # a comma at the end of each line
        names, table = names[:-1], table.iloc[:, :-1]
    _require_names(path, table, names)
    _require_numbers(path, table, names)
    if genes_in == "rows":
        rows, columns = pd.Index(names), table.index
        values = table.to_numpy(dtype=np.float32).T
    else:
        rows, columns = table.index, pd.Index(names)
        values = table.to_numpy(dtype=np.float32)
    adata = ad.AnnData(
        sp.csr_matrix(values), obs=pd.DataFrame(index=rows), var=pd.DataFrame(index=columns)
    )
    if above:
        text = " / ".join(line.strip() for line in first[:above])
        adata.uns[writing.NOTES] = [f"{above} lines above the table are left out: {text[:300]}"]
    return adata


def _encoding(path: Path) -> str:
    """Return the encoding of a text: UTF-8, or UTF-16 where it begins with its mark."""
    with _opener(path)(path, "rb") as file:
        start = file.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _layout(path: Path, lines: list[str]) -> tuple[str, int]:
    """Return what is between values, and how many lines are above the table.

    The table begins with the first line behind which all have as many values, or one more. What is
    above has fewer.
    """
    found: list[tuple[int, str, int]] = []
    for separator in "\t,; ":
        numbers = [
            len(next(csv.reader([line.strip("\r\n")], delimiter=separator), ()))
            if separator != " "
            else len(line.split())
            for line in lines
        ]
        for above, width in enumerate(numbers[:-1]):
            below = {*numbers[above + 1 :]} - {0}
            shorter = max(numbers[:above], default=0) < width
            if shorter and len(below) == 1 and below <= {width, width + 1} and min(below) > 1:
                found.append((min(below), separator, above))
                break
    if found:
        return max(found, key=lambda each: each[0])[1:]
    separator = max("\t,;", key=lines[0].count) if lines else ","
    if lines and separator in lines[0]:
        return separator, 0
    raise ReadError(
        f"Cannot read {path}: its first line holds one value, so it is no table.\n"
        "What to do: save it with a comma or a tab between values."
    )


def _require_names(path: Path, table: pd.DataFrame, names: list[str]) -> None:
    if len(names) != table.shape[1]:
        raise ReadError(
            f"Cannot read {path}: its first line has {len(names)} names, and the others "
            f"{table.shape[1]} values each.\n"
            "What to do: give each column one name, and each line one in front."
        )
    for what, given in (("first line", pd.Index(names)), ("first column", table.index)):
        numbers = pd.to_numeric(pd.Series(given), errors="coerce").notna().all()
        if numbers and not given.is_unique:
            raise ReadError(
                f"Cannot read {path}: its {what} holds numbers, and some of them twice, where "
                "names should be.\n"
                "What to do: save it with the names of genes and cells in its first line and first "
                "column."
            )


def _require_numbers(path: Path, table: pd.DataFrame, names: list[str]) -> None:
    words = [
        number
        for number, kind in enumerate(table.dtypes)
        if not pd.api.types.is_numeric_dtype(kind)
    ]
    if not words:
        return
    column = table.iloc[:, words[0]]
    wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    where = f"column {names[words[0]]!r}" + (
        f", row {wrong.index[0]!r}: {wrong.iloc[0]!r}" if len(wrong) else ""
    )
    raise ReadError(
        f"Not only numbers in {path}: {len(words)} of {table.shape[1]} columns, the first is "
        f"{where}.\n"
        "What to do: keep only names and counts in the table. Put what describes a cell into "
        "a table of its own, and add it later: adata.obs['batch'] = ..."
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
    ".h5ad": hdf5_files.read,
    ".h5mu": hdf5_files.read,
    ".h5": hdf5_files.read,
    ".hdf5": hdf5_files.read,
    ".loom": hdf5_files.read,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".txt": _read_table,
}
