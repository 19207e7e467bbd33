"""Write cells so that nothing is lost: what a file cannot hold is given another form, or named."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.scratch import scratch_folder

# The parts of an AnnData that hold something by name.
MAPPINGS = ("uns", "obsm", "varm", "obsp", "varp", "layers")

# In a note that says that something is lost.
LOST = "is left out"

# What no file can hold; None is a value like others.
LEFT_OUT = object()

# Under this name of uns is said what was changed, or left out, when a file was read.
NOTES = "notes_on_reading"


def write(path: Path | str, adata: ad.AnnData) -> list[str]:
    """Write cells to an ``.h5ad`` file, whole or not at all.

    Parameters
    ----------
    path
        The file to write. One that is there is replaced by a whole one only.
    adata
        Cells x genes. They are not changed.

    Returns
    -------
    list
        What had to be changed, or left out, so that a file can hold it: a sentence each.
    """
    path = Path(path)
    adata, notes = writeable(adata)
    with scratch_folder(path.parent) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # text is stored as categories
        draft = scratch / path.name
        adata.write_h5ad(draft)
        draft.replace(path)
    return notes


def writeable(adata: ad.AnnData) -> tuple[ad.AnnData, list[str]]:
    """Return cells that a file can hold, and what had to change for that.

    Parameters
    ----------
    adata
        Cells x genes. They are not changed.

    Returns
    -------
    AnnData
        A copy that shares the matrices. Each part was tried: what can be written stays as it is.
    list
        What was changed, or left out: a sentence each. That text is stored as categories, or as
        objects, is not said, as no value changes.
    """
    notes: list[str] = []
    raw = adata.raw
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice, which are no matter here
        kept = ad.AnnData(
            adata.X,
            obs=_frame(adata.obs, "obs", notes),
            var=_frame(adata.var, "var", notes),
            **{name: _mapping(getattr(adata, name), name, notes) for name in MAPPINGS},
        )
        if raw is not None:
            frame = _frame(raw.var, "raw.var", notes)
            varm = _mapping(raw.varm, "raw.varm", notes)
            kept.raw = ad.AnnData(raw.X, obs=kept.obs[[]], var=frame, varm=varm)
    return kept, notes


def _can_be_written(value: Any) -> bool:
    """Try it, in a file that is in memory only; a matrix of numbers always can."""
    if sp.issparse(value) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf"):
        return True
    with (
        h5py.File("trial", "w", driver="core", backing_store=False) as file,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            ad.io.write_elem(file, "value", value)
        except Exception:  # anndata, h5py and pandas refuse in many ways
            return False
    return True


def _frame(table: pd.DataFrame, where: str, notes: list[str]) -> pd.DataFrame:
    """Return a table that can be written, cell by cell the same."""
    index = pd.Index(_plain(table.index), name=_index_name(table))
    columns: dict[str, Any] = {}
    for number, name in enumerate(table.columns):
        column = table.iloc[:, number]
        new = _free_name(name, columns)
        if new != name:
            notes.append(f"{where}[{name!r}] is kept as {where}[{new!r}].")
        values = _column(column)
        if values is None:
            notes.append(f"{where}[{name!r}] is left out: a file cannot hold its values.")
            continue
        if not _is_text(column) and values is not column and not _same(column, values):
            notes.append(f"{where}[{name!r}] is kept as text.")
        columns[new] = values.array
    return pd.DataFrame(columns, index=index)


def _index_name(table: pd.DataFrame) -> str | None:
    name = table.index.name
    # A name that a column has, too, is refused where the two differ.
    if name is None or str(name) in map(str, table.columns) or str(name) == "_index":
        return None
    return str(name).replace("/", "_")


def _plain(index: pd.Index) -> list[Any]:
    """Return names as plain objects: pandas finds out itself how it keeps them."""
    return [
        None if name is None or name is pd.NA else str(name) if isinstance(name, str) else name
        for name in index
    ]


def _free_name(name: Any, taken: Iterable[str]) -> str:
    """Return a name that a file can hold, and that nothing has yet."""
    new = str(name).replace("/", "_")
    new = "index_of_file" if new == "_index" else new or "unnamed"
    free, number = new, 1
    while free in taken:
        free, number = f"{new}-{number}", number + 1
    return free


def _is_text(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _is_text(pd.Series(column.cat.categories))
    return pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty")


def _same(column: pd.Series, values: pd.Series) -> bool:
    return column.astype(object).tolist() == values.astype(object).tolist()


def _column(column: pd.Series) -> pd.Series | None:
    """Return a column that can be written: itself, or its values as text; None if neither."""
    text = _is_text(column)
    if not (text and column.dtype != "category") and _can_be_written(_alone(column)):
        return column
    ordered = isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.ordered
    try:
        categories = (
            [str(each) for each in column.cat.categories]
            if isinstance(column.dtype, pd.CategoricalDtype)
            else None
        )
        values = column.astype(object).map(str, na_action="ignore")
        as_text = pd.Series(
            pd.Categorical(
                [None if pd.isna(each) else each for each in values],
                categories=categories,
                ordered=bool(ordered),
            )
        )
    except (TypeError, ValueError):
        return None
    return as_text if _can_be_written(_alone(as_text)) else None


def _alone(column: pd.Series) -> pd.DataFrame:
    """Return a table of this column only, with names that any file can hold."""
    return pd.DataFrame({"column": column.array})


def _mapping(mapping: Mapping[Any, Any], where: str, notes: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in mapping.items():
        if name is None:  # anndata 0.13 lists X among the layers
            continue
        new = str(name).replace("/", "_")
        place = f"{where}[{name!r}]"
        result = _value(value, place, notes)
        if result is LEFT_OUT:
            notes.append(f"{place} is left out: a file cannot hold it.")
            continue
        if new != name:
            notes.append(f"{place} is kept as {where}[{new!r}].")
        kept[new] = result
    return kept


def _value(value: Any, place: str, notes: list[str]) -> Any:
    """Return a value that can be written, or ``LEFT_OUT``."""
    if _can_be_written({"value": value}):
        return value
    if isinstance(value, Mapping):
        return _mapping(value, place, notes)
    if isinstance(value, pd.DataFrame):
        return _frame(value, place, notes)
    if isinstance(value, list | tuple | set):
        return np.array([str(each) for each in value])
    return LEFT_OUT
