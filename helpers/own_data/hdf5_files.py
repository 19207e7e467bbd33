"""Read files of HDF5, told apart by what is in them: AnnData, MuData, 10x Genomics and loom."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.own_data import feature_kinds, orientation, writing
from helpers.own_data.read_error import ReadError

# By these names of attributes a loom file calls its cells and genes; there is no rule, so the first
# with text of which no value is there twice is taken where none of them is.
LOOM_CELLS = ("CellID", "obs_names", "cell_names", "CellName", "barcode", "barcodes", "cell_id")
LOOM_GENES = ("Gene", "var_names", "gene_names", "gene_name", "Symbol", "gene_symbols", "gene")


def read(path: Path) -> ad.AnnData:
    """Read the cells of an HDF5 file, whatever its ending is.

    Raises
    ------
    ReadError
        If it is of a kind that is not known here, or holds no genes.
    """
    # Some files are compressed in ways that h5py learns from this package, where it is installed.
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401
    with h5py.File(path) as file:
        reader = _reader(file)
    return reader(path)


def _reader(file: h5py.File) -> Callable[[Path], ad.AnnData]:
    names = set(file)
    if {"matrix", "row_attrs", "col_attrs"} <= names:
        return read_loom
    if "mod" in names:
        return _read_mudata
    if {"obs", "var"} <= names:
        return _read_anndata
    if _groups_of_10x(file):
        return _read_10x
    if {"cell.names", "meta.data", "assays"} & names:
        raise ReadError(
            f"{file.filename} is a Seurat object of R (h5Seurat).\n"
            "What to do: in R, make an .h5ad of it: SeuratDisk::Convert("
            f"'{Path(file.filename).name}', dest = 'h5ad')."
        )
    raise ReadError(
        f"{file.filename} is HDF5, but laid out in no way that is known here: neither AnnData, 10x "
        f"Genomics nor loom. In it: {', '.join(sorted(names)[:8]) or 'nothing'}.\n"
        "What to do: open it with the program that wrote it, and save it as .h5ad."
    )


# --- AnnData and MuData -------------------------------------------------------------------------


def _read_anndata(path: Path) -> ad.AnnData:
    try:
        return ad.read_h5ad(path)
    except Exception as error:  # anndata refuses a whole file for one part of it
        with h5py.File(path) as file:
            return in_parts(file, error)


def read_zarr(path: Path) -> ad.AnnData:
    """Read a folder that AnnData wrote with zarr."""
    import zarr

    group = zarr.open_group(str(path), mode="r")
    if "mod" in group:
        return _of_modalities(group["mod"], path)
    try:
        return ad.read_zarr(path)
    except Exception as error:  # as above
        return in_parts(group, error)


def in_parts(group: Any, error: Exception) -> ad.AnnData:
    """Read an AnnData part by part, and note in ``uns`` what cannot be read.

    Parameters
    ----------
    group
        The group of the file that holds it.
    error
        Why it could not be read as a whole; raised again if counts or names cannot be read either.
    """
    notes: list[str] = []
    if not isinstance(group["obs"], h5py.Group) and not hasattr(group["obs"], "keys"):
        raise error  # a layout of before 2020, which has no parts
    try:
        parts = {name: _frame(group[name], name, notes) for name in ("obs", "var")}
        adata = ad.AnnData(_element(group["X"], "X", notes) if "X" in group else None, **parts)
    except Exception as again:
        raise error from again
    for where in writing.MAPPINGS:
        for name, value in _mapping(group[where], where, notes).items() if where in group else ():
            getattr(adata, where)[name] = value
    if "raw" in group:
        with _noting("raw", notes):
            raw = group["raw"]
            adata.raw = ad.AnnData(
                _element(raw["X"], "raw.X", notes),
                obs=adata.obs[[]],
                var=_frame(raw["var"], "raw.var", notes),
            )
    adata.uns[writing.NOTES] = notes
    return adata


@contextlib.contextmanager
def _noting(where: str, notes: list[str]):
    """Note that a part is left out if it cannot be read."""
    try:
        yield
    except Exception as error:  # whatever keeps one part from being read
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        notes.append(f"{where} is left out: it cannot be read here ({why}).")


def _element(element: Any, where: str, notes: list[str]) -> Any:
    try:
        return ad.io.read_elem(element)
    except ValueError:
        # scipy has no sparse matrix of 16 bits with a fraction.
        kind = str(element.attrs.get("encoding-type", ""))
        if kind not in ("csr_matrix", "csc_matrix") or element["data"].dtype != np.float16:
            raise
    notes.append(f"{where} was stored as float16, and is read as float32.")
    form = sp.csr_matrix if kind == "csr_matrix" else sp.csc_matrix
    arrays = (element[name][:] for name in ("data", "indices", "indptr"))
    data, indices, indptr = arrays
    return form((data.astype(np.float32), indices, indptr), shape=tuple(element.attrs["shape"]))


def _mapping(group: Any, where: str, notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in group:
        place, value = f"{where}[{name!r}]", group[name]
        inner = "encoding-type" not in value.attrs or value.attrs["encoding-type"] == "dict"
        with _noting(place, notes):
            if inner and hasattr(value, "keys"):
                found[name] = _mapping(value, place, notes)
            else:
                found[name] = _element(value, place, notes)
    return found


def _frame(group: Any, where: str, notes: list[str]) -> pd.DataFrame:
    try:
        return ad.io.read_elem(group)
    except Exception:  # one column is enough
        index = ad.io.read_elem(group[group.attrs["_index"]])
    columns = {}
    for name in group.attrs["column-order"]:
        with _noting(f"{where}[{name!r}]", notes):
            columns[str(name)] = pd.Series(ad.io.read_elem(group[name])).array
    return pd.DataFrame(columns, index=pd.Index(index))


def _read_mudata(path: Path) -> ad.AnnData:
    with h5py.File(path) as file:
        return _of_modalities(file["mod"], path)


def _of_modalities(group: Any, path: Path) -> ad.AnnData:
    names = [str(name) for name in group]
    genes = feature_kinds.names_of_genes(pd.Series(names))
    if not genes and len(names) > 1:
        raise ReadError(
            f"{path} holds {len(names)} kinds of measurements, and none is called rna: "
            f"{', '.join(names)}.\n"
            "What to do: save the one with the genes as .h5ad: mudata.read(path)['...']"
            ".write_h5ad('genes.h5ad')."
        )
    name = genes[0] if genes else names[0]
    try:
        adata = ad.io.read_elem(group[name])
    except Exception as error:  # as for AnnData
        adata = in_parts(group[name], error)
    adata.uns["left_out"] = {
        other: _length(group[other]["var"]) for other in names if other != name
    }
    if not adata.uns["left_out"]:
        del adata.uns["left_out"]
    return adata


def _length(frame: Any) -> int:
    return len(ad.io.read_elem(frame[frame.attrs["_index"]]))


# --- 10x Genomics -------------------------------------------------------------------------------


def _groups_of_10x(file: h5py.File) -> list[str]:
    """Return the groups with a matrix: one since Cell Ranger 3, before that one for a genome."""
    needed = {"barcodes", "data", "indices", "indptr", "shape"}
    return [
        name for name, group in file.items() if isinstance(group, h5py.Group) and needed <= {*group}
    ]


def _read_10x(path: Path) -> ad.AnnData:
    with h5py.File(path) as file:
        parts = {name: _of_10x(file[name]) for name in _groups_of_10x(file)}
    if len(parts) == 1:
        return feature_kinds.genes_only(next(iter(parts.values())))
    # Before Cell Ranger 3 each genome has its own cells; one droplet may be in several.
    cells = pd.Index(sorted(set().union(*(part.obs_names for part in parts.values()))))
    for genome, part in parts.items():
        part.var["genome"] = genome
    blocks = [
        _rows_of(len(cells), cells.get_indexer(part.obs_names)) @ part.X for part in parts.values()
    ]
    return ad.AnnData(
        sp.csr_matrix(sp.hstack(blocks)),
        obs=pd.DataFrame(index=cells),
        var=pd.concat([part.var for part in parts.values()]),
    )


def _rows_of(n_rows: int, rows: np.ndarray) -> sp.csr_matrix:
    """Return a matrix that puts row i where ``rows[i]`` says."""
    one = np.ones(len(rows), dtype=np.float32)
    return sp.csr_matrix((one, (rows, np.arange(len(rows)))), shape=(n_rows, len(rows)))


def _of_10x(group: h5py.Group) -> ad.AnnData:
    n_genes, n_cells = (int(number) for number in group["shape"][:])
    counts = sp.csr_matrix(
        (group["data"][:].astype(np.float32), group["indices"][:], group["indptr"][:]),
        shape=(n_cells, n_genes),
    )
    features = group.get("features", group)
    described = {
        name: _text(values[:])
        for name, values in features.items()
        if isinstance(values, h5py.Dataset) and values.shape == (n_genes,) and name[0] != "_"
        if name not in ("data", "indices")
    }
    names = next(described.pop(name) for name in ("name", "gene_names", "id") if name in described)
    # Of probes (Flex) the identifier is that of the probe.
    if "gene_id" in described:
        described |= {"gene_ids": described.pop("gene_id"), "probe_ids": described.pop("id", names)}
    renamed = {"id": "gene_ids", "genes": "gene_ids", "feature_type": "feature_types"}
    var = pd.DataFrame(
        {renamed.get(name, name): values for name, values in described.items()},
        index=pd.Index(names),
    )
    return ad.AnnData(counts, obs=pd.DataFrame(index=_text(group["barcodes"][:])), var=var)


def _text(values: np.ndarray) -> np.ndarray:
    """Return an array of bytes as text, and others as they are."""
    return values.astype("S").astype(str).astype(object) if values.dtype.kind in "SO" else values


# --- loom ---------------------------------------------------------------------------------------


def read_loom(path: Path) -> ad.AnnData:
    """Read a loom file: X is its main matrix, which holds all counts."""
    with h5py.File(path) as file:
        cells = _attribute(file["col_attrs"], LOOM_CELLS)
        genes = _attribute(file["row_attrs"], LOOM_GENES)
        if not (len(file["col_attrs"]) and len(file["row_attrs"])):
            raise ReadError(
                f"{path} says nothing about its cells or genes, not even their names.\n"
                "What to do: write it again where it was made, with names."
            )
        graphs = [name for name in ("col_graphs", "row_graphs") if len(file.get(name, ()))]
    # What loompy asks for beyond that, such as a number of the version, changes nothing here.
    adata = ad.io.read_loom(
        path, sparse=True, X_name="", obs_names=cells, var_names=genes, validate=False
    )
    if graphs:
        adata.uns[writing.NOTES] = [f"{name} is left out." for name in graphs]
    return adata


def _attribute(attributes: h5py.Group, usual: Iterable[str]) -> str:
    """Return the attribute with the names of cells or genes; empty if there is none."""
    for name in usual:
        if name in attributes:
            return name
    texts = {
        name: pd.Index(_text(values[:]))
        for name, values in attributes.items()
        if isinstance(values, h5py.Dataset) and values.ndim == 1 and values.dtype.kind in "SO"
    }
    whole = [name for name, values in texts.items() if values.is_unique]
    return next(
        (name for name in whole if orientation.like_genes(texts[name])), whole[0] if whole else ""
    )
