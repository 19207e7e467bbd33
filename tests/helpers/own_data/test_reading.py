"""The same counts come out of every kind of file."""

import gzip

import anndata as ad
import h5py
import loompy
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from helpers.own_data import reading


@pytest.fixture
def few(pbmc):
    adata = ad.AnnData(
        pbmc.X[:40, :25].copy(), obs=pbmc.obs[[]].iloc[:40], var=pbmc.var[[]].iloc[:25]
    )
    assert adata.X.nnz
    return adata


def write_h5ad(adata, folder):
    adata.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def write_10x_h5(adata, folder, kinds=None):
    """Write the layout of Cell Ranger 3 and later: genes x cells, compressed by cell."""
    counts = sp.csc_matrix(adata.X.T).astype(np.int32)
    kinds = kinds or ["Gene Expression"] * adata.n_vars
    with h5py.File(folder / "filtered.h5", "w") as file:
        matrix = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            matrix[name] = getattr(counts, name)
        matrix["shape"] = counts.shape
        matrix["barcodes"] = np.array(adata.obs_names, dtype="S")
        features = matrix.create_group("features")
        for name, values in {
            "id": [f"ENSG{i}" for i in range(adata.n_vars)],
            "name": list(adata.var_names),
            "feature_type": kinds,
            "genome": ["GRCh38"] * adata.n_vars,
        }.items():
            features[name] = np.array(values, dtype="S")
    return folder / "filtered.h5"


def write_10x_folder(adata, folder, version=3, prefix=""):
    packed = version == 3
    columns = {"id": [f"ENSG{i}" for i in range(adata.n_vars)], "name": adata.var_names}
    if packed:
        columns["kind"] = "Gene Expression"
    names = {
        "features" if packed else "genes": pd.DataFrame(columns),
        "barcodes": pd.DataFrame(adata.obs_names),
    }
    for name, table in names.items():
        path = folder / f"{prefix}{name}.tsv{'.gz' if packed else ''}"
        table.to_csv(path, sep="\t", header=False, index=False)
    path = folder / f"{prefix}matrix.mtx"
    scipy.io.mmwrite(path, sp.coo_matrix(adata.X.T).astype(int))
    if packed:
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return folder


def write_loom(adata, folder, cells="CellID", genes="Gene"):
    names = ({genes: adata.var_names.to_numpy(str)}, {cells: adata.obs_names.to_numpy(str)})
    loompy.create(str(folder / "cells.loom"), adata.X.T.toarray(), *names)
    return folder / "cells.loom"


def write_table(adata, folder, name="table.csv", separator=","):
    adata.to_df().to_csv(folder / name, sep=separator)
    return folder / name


WRITERS = {
    "h5ad": write_h5ad,
    "10x h5": write_10x_h5,
    "10x folder": write_10x_folder,
    "10x folder of Cell Ranger 2": lambda adata, folder: write_10x_folder(adata, folder, version=2),
    "10x folder with a prefix": lambda adata, folder: write_10x_folder(
        adata, folder, prefix="sample1_"
    ),
    "loom": write_loom,
    "loom of anndata": lambda adata, folder: write_loom(adata, folder, "obs_names", "var_names"),
    "csv": write_table,
    "packed csv": lambda adata, folder: write_table(adata, folder, "table.csv.gz"),
    "tsv": lambda adata, folder: write_table(adata, folder, "table.tsv", "\t"),
    "txt with semicolons": lambda adata, folder: write_table(adata, folder, "table.txt", ";"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_each_kind_of_file_gives_the_same_cells(write, few, tmp_path):
    read = reading.read(write(few, tmp_path))
    assert read.shape == few.shape
    assert list(read.obs_names) == list(few.obs_names)
    assert list(read.var_names) == list(few.var_names)
    np.testing.assert_array_equal(sp.csr_matrix(read.X).toarray(), few.X.toarray())


def test_a_path_may_be_text(few, tmp_path):
    assert reading.read(str(write_h5ad(few, tmp_path))).shape == few.shape


def test_a_table_with_genes_as_rows_is_turned(few, tmp_path):
    few.to_df().T.to_csv(tmp_path / "table.csv")
    read = reading.read(tmp_path / "table.csv", genes_in="rows")
    assert list(read.var_names) == list(few.var_names)
    np.testing.assert_array_equal(read.X.toarray(), few.X.toarray())


def test_a_table_of_another_system_is_read(few, tmp_path):
    """Spreadsheets put a mark before the first name; Windows ends a line with two characters."""
    text = few.to_df().to_csv(lineterminator="\r\n")
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = reading.read(tmp_path / "table.csv")
    assert list(read.var_names) == list(few.var_names)


def test_names_outside_ascii_are_kept(few, tmp_path):
    few.obs_names = [f"Zelle {i} µß細" for i in range(few.n_obs)]
    for write in (write_h5ad, write_table):
        assert list(reading.read(write(few, tmp_path)).obs_names) == list(few.obs_names)


def test_only_genes_of_a_10x_file_are_kept_and_the_rest_is_counted(few, tmp_path):
    kinds = ["Antibody Capture"] * 3 + ["Gene Expression"] * 20 + ["CRISPR Guide Capture"] * 2
    read = reading.read(write_10x_h5(few, tmp_path, kinds))
    assert list(read.var_names) == list(few.var_names[3:23])
    assert read.uns["left_out"] == {"Antibody Capture": 3, "CRISPR Guide Capture": 2}


def test_equal_names_stay_equal(few, tmp_path):
    """What is not unique is for the pre-flight report to say; a reader that renames hides it."""
    few.var_names = ["same", "same", *few.var_names[2:]]
    for write in (write_h5ad, write_10x_h5, write_10x_folder):
        assert list(reading.read(write(few, tmp_path)).var_names[:2]) == ["same", "same"]


def test_a_table_that_is_too_large_is_refused_before_it_is_read(few, tmp_path, monkeypatch):
    path = write_table(few, tmp_path)
    numbers = few.n_obs * few.n_vars
    monkeypatch.setattr(reading, "MOST_NUMBERS_OF_A_TABLE", 2 * numbers)
    reading.read(path)
    monkeypatch.setattr(reading, "MOST_NUMBERS_OF_A_TABLE", numbers // 2)
    with pytest.raises(
        reading.ReadError, match=r"too many to read at once[^$]*What to do: save it as .h5ad"
    ):
        reading.read(path)
