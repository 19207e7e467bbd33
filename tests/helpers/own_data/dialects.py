"""Small files in the dialects in which people keep counts, each made from the same cells."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import loompy
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.io
import scipy.sparse as sp

ENDED, MENDED, REFUSED = "ended", "mended", "refused"


@dataclass(frozen=True)
class Dialect:
    """A kind of file.

    Attributes
    ----------
    name
        What writes such files.
    outcome
        ``ENDED``: the report asks for no repair. ``MENDED``: the lines of the report repair it.
        ``REFUSED``: it cannot be used, and ``says`` is in the answer.
    make
        Makes it of the cells in a folder, and returns its path.
    says
        What reading or the report must say.
    settings
        What ``preflight.check`` is given.
    genes_in
        What ``reading.read`` is given.
    """

    name: str
    outcome: str
    make: Callable[[ad.AnnData, Path], Path]
    says: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    genes_in: str | None = None


DIALECTS: list[Dialect] = []


def dialect(name: str, outcome: str = ENDED, *says: str, genes_in: str | None = None, **settings):
    """Add a dialect; the function makes the file."""

    def add(make: Callable[[ad.AnnData, Path], Path]) -> Callable[[ad.AnnData, Path], Path]:
        DIALECTS.append(Dialect(name, outcome, make, says, settings, genes_in))
        return make

    return add


def h5ad(adata: ad.AnnData, folder: Path, **how: Any) -> Path:
    adata.write_h5ad(folder / "cells.h5ad", **how)
    return folder / "cells.h5ad"


def log_normalised(adata: ad.AnnData) -> sp.csr_matrix:
    values = ad.AnnData(adata.X.copy())
    sc.pp.normalize_total(values, target_sum=1e4)
    sc.pp.log1p(values)
    return values.X


# --- AnnData ------------------------------------------------------------------------------------


@dialect("h5ad of today")
def of_today(adata, folder):
    return h5ad(adata, folder)


@dialect("h5ad, packed with gzip")
def packed_with_gzip(adata, folder):
    return h5ad(adata, folder, compression="gzip")


@dialect("h5ad, packed with lzf")
def packed_with_lzf(adata, folder):
    return h5ad(adata, folder, compression="lzf")


@dialect("h5ad, every 0 written out")
def dense(adata, folder):
    adata.X = adata.X.toarray()
    return h5ad(adata, folder)


@dialect("h5ad, sorted by gene", MENDED, "sorted by gene")
def by_gene(adata, folder):
    adata.X = adata.X.tocsc()
    return h5ad(adata, folder)


@dialect("h5ad of integers")
def integers(adata, folder):
    adata.X = adata.X.astype(np.int64)
    return h5ad(adata, folder)


@dialect("h5ad of float16, every 0 written out", MENDED, "holds float16", "astype('float32')")
def float16(adata, folder):
    adata.X = adata.X.toarray().astype("float16")
    return h5ad(adata, folder)


@dialect("h5ad of float16, sparse", ENDED, "was stored as float16")
def sparse_float16(adata, folder):
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        values = file["X/data"][:].astype("float16")
        del file["X/data"]
        file["X/data"] = values
    return path


@dialect("h5ad of anndata 0.6")
def before_groups(adata, folder):
    """Tables were arrays of records, and sparse matrices had other marks."""
    with h5py.File(folder / "cells.h5ad", "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"] = "csr"
        group.attrs["h5sparse_shape"] = adata.shape
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(adata.X, name)
        for name, names in (("obs", adata.obs_names), ("var", adata.var_names)):
            file[name] = np.array([(each.encode(),) for each in names], dtype=[("index", "S32")])
    return folder / "cells.h5ad"


@dialect("h5ad of anndata 0.7")
def old_categories(adata, folder):
    """Categories were kept beside the columns."""
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        codes, categories = obs["kind/codes"][:], obs["kind/categories"][:]
        del obs["kind"]
        obs["kind"] = codes
        obs["__categories/kind"] = categories.astype("S").astype(h5py.string_dtype())
        obs["kind"].attrs["categories"] = obs["__categories/kind"].ref
        obs.attrs["encoding-version"] = "0.1.0"
    return path


@dialect("h5ad with names as pandas 3 stores them")
def nullable_names(adata, folder):
    adata.obs.index = pd.Index(list(adata.obs_names), dtype="string")
    with ad.settings.override(allow_write_nullable_strings=True):
        return h5ad(adata, folder)


@dialect("h5ad of SeuratDisk", MENDED, "_index", "index_of_file", "raw.to_adata()")
def seurat_disk(adata, folder):
    """Names are in a column that is called _index, in var and in raw.var."""
    adata.var.index.name = "index"
    adata.raw = adata.copy()
    adata.X = log_normalised(adata)
    adata.var["features"] = adata.var_names
    adata.raw.var["features"] = adata.var_names
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        for var in (file["var"], file["raw/var"]):
            var.move("features", "_index")
            var.attrs["column-order"] = ["_index"]
    return path


@dialect("h5ad of sceasy", MENDED, "adata.raw.to_adata()")
def sceasy(adata, folder):
    adata.raw = adata.copy()
    adata.X = log_normalised(adata)
    return h5ad(adata, folder)


@dialect("h5ad of zellkonverter", MENDED, "layer = 'counts'")
def zellkonverter(adata, folder):
    adata.layers["counts"] = adata.X.copy()
    adata.X = log_normalised(adata)
    adata.uns["X_name"] = "logcounts"
    return h5ad(adata, folder)


@dialect("h5ad of anndataR", MENDED, "There is no matrix in X", "layer = 'counts'")
def anndata_r(adata, folder):
    adata.layers["counts"] = adata.X.copy()
    adata.X = None
    return h5ad(adata, folder)


@dialect("h5ad of CELLxGENE", MENDED, "adata.raw.to_adata()")
def cellxgene(adata, folder):
    adata.var["feature_name"] = adata.var_names.tolist()
    adata.var["feature_biotype"] = "gene"
    adata.var["feature_is_filtered"] = False
    adata.raw = adata.copy()
    adata.X = log_normalised(adata)
    adata.obs["is_primary_data"] = True
    adata.uns["schema_version"] = "5.2.0"
    return h5ad(adata, folder)


@dialect("h5ad of normalised values only", MENDED, "raw_counts.recover")
def counts_gone(adata, folder):
    adata.X = log_normalised(adata)
    return h5ad(adata, folder)


@dialect("h5ad of scaled values only", REFUSED, "Negative", "Go back to the raw counts")
def scaled(adata, folder):
    adata.X = log_normalised(adata)
    sc.pp.scale(adata)
    return h5ad(adata, folder)


@dialect("h5ad of counts per million, rounded", REFUSED, "normalised and rounded", "raw counts")
def rounded_cpm(adata, folder, target=1e6):
    totals = np.asarray(adata.X.sum(axis=1))
    adata.X = sp.csr_matrix(np.rint(adata.X.multiply(target / totals).tocsr()))
    return h5ad(adata, folder)


@dialect("h5ad of counts per 10,000, rounded", REFUSED, "normalised and rounded", "raw counts")
def rounded_ten_thousand(adata, folder):
    return rounded_cpm(adata, folder, 1e4)


@dialect("h5ad of scVelo, X spliced only", MENDED, "may be a part", "layer = 'matrix'")
def spliced(adata, folder):
    adata.layers["matrix"] = adata.X.copy()
    adata.X.data = np.ceil(adata.X.data / 2)
    adata.layers["spliced"] = adata.X.copy()
    return h5ad(adata, folder)


@dialect("h5ad with a slash in a name", ENDED, "obs['a/b'] is kept as obs['a_b']")
def slash(adata, folder):
    adata.obs["a_b"] = np.arange(adata.n_obs)
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        file["obs"].move("a_b", "a/b")
        order = [name.replace("a_b", "a/b") for name in file["obs"].attrs["column-order"]]
        file["obs"].attrs["column-order"] = order
    return path


@dialect("h5ad with a part of an unknown kind", ENDED, "uns['extra'] is left out")
def unknown_part(adata, folder):
    adata.uns["extra"], adata.uns["kept"] = np.arange(3), {"inner": "word"}
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        file["uns/extra"].attrs["encoding-type"] = "something-new"
    return path


@dialect("h5ad that takes a package that is missing", ENDED, "obsm['tcr'] is left out")
def missing_package(adata, folder):
    """Of T cell receptors, lists of different lengths are kept with the package awkward."""
    adata.obsm["tcr"] = np.zeros((adata.n_obs, 2))
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        del file["obsm/tcr"]
        group = file["obsm"].create_group("tcr")
        group.attrs.update(
            {"encoding-type": "awkward-array", "encoding-version": "0.1.0", "length": 60}
        )
        group.attrs["form"] = "{}"
    return path


@dialect("h5ad, packed in an unknown way", REFUSED, "compressed in a way", "hdf5plugin")
def unknown_filter(adata, folder):
    path = h5ad(adata, folder)
    with h5py.File(path, "r+") as file:
        values = file["X/data"][:]
        del file["X/data"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((len(values),))
        how.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((len(values),))
        made = h5py.h5d.create(file["X"].id, b"data", h5py.h5t.IEEE_F32LE, space, how)
        made.write_direct_chunk((0,), b"packed", 0)
    return path


@dialect("h5ad of a multiome, GEX and ATAC", MENDED, "GEX 90, ATAC 10", "== 'GEX'")
def gex(adata, folder):
    adata.var["feature_types"] = ["GEX"] * 90 + ["ATAC"] * 10
    return h5ad(adata, folder)


@dialect("h5ad with numbers as names", MENDED, "called by numbers", "adata.var['symbol']")
def numbered(adata, folder):
    adata.var["symbol"] = adata.var_names.tolist()
    adata.var_names = [str(i) for i in range(adata.n_vars)]
    return h5ad(adata, folder)


@dialect("h5ad of zebrafish, turned", MENDED, "adata = adata.T.copy()")
def turned(adata, folder):
    adata.var_names = [f"fish{i}" for i in range(adata.n_vars)]
    adata.obs_names = [f"s{i}" for i in range(adata.n_obs)]
    return h5ad(adata.T.copy(), folder)


@dialect("h5ad with batches of yes and no", ENDED, batch_key="treated", label_key="kind")
def yes_no(adata, folder):
    adata.obs["treated"] = np.arange(adata.n_obs) % 2 == 0
    return h5ad(adata, folder)


@dialect("h5ad with an apostrophe in a column", MENDED, "have no batch", batch_key="patient's id")
def apostrophe(adata, folder):
    adata.obs["patient's id"] = ["a", None, "b"] * (adata.n_obs // 3)
    return h5ad(adata, folder)


@dialect("h5ad with the results of scanpy", ENDED)
def with_results(adata, folder):
    adata.obsm["X_umap"] = np.ones((adata.n_obs, 2))
    adata.uns["log1p"] = {"base": None}
    adata.uns["colours/of"] = np.array(["red"])
    try:
        return h5ad(adata, folder)
    except ValueError:  # anndata 0.13 writes no slash
        del adata.uns["colours/of"]
        return h5ad(adata, folder)


@dialect("h5ad that is called .h5")
def other_ending(adata, folder):
    return h5ad(adata, folder).rename(folder / "cells.h5")


@dialect("h5ad.gz", REFUSED, "is packed", "gunzip cells.h5ad.gz")
def packed_file(adata, folder):
    path = folder / "cells.h5ad.gz"
    path.write_bytes(gzip.compress(h5ad(adata, folder).read_bytes()))
    return path


@dialect("zarr of AnnData")
def zarr_folder(adata, folder):
    adata.write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


@dialect("h5mu of genes and proteins", ENDED, "left out: prot 3")
def mudata_file(adata, folder):
    import mudata

    proteins = ad.AnnData(np.ones((adata.n_obs, 3), "float32"), obs=adata.obs[[]].copy())
    mudata.MuData({"rna": adata, "prot": proteins}).write(folder / "cells.h5mu")
    return folder / "cells.h5mu"


@dialect("h5Seurat", REFUSED, "Seurat object of R", "SeuratDisk::Convert")
def h5_seurat(adata, folder):
    with h5py.File(folder / "cells.h5seurat", "w") as file:
        for name in ("assays", "cell.names", "meta.data"):
            file.create_group(name)
    return folder / "cells.h5seurat"


@dialect("rds of R", REFUSED, "of a kind that is not known", "zellkonverter::writeH5AD")
def rds(adata, folder):
    (folder / "cells.rds").write_bytes(gzip.compress(b"X\n"))
    return folder / "cells.rds"


# --- 10x Genomics, HDF5 -------------------------------------------------------------------------


def write_10x(adata: ad.AnnData, folder: Path, name: str = "cells.h5", **features: Any) -> Path:
    """Write the layout of Cell Ranger 3 and later: genes x cells, one cell after the other."""
    n = adata.n_vars
    described = {
        "id": [f"ENSG{i:011}" for i in range(n)],
        "name": list(adata.var_names),
        "feature_type": ["Gene Expression"] * n,
        "genome": ["GRCh38"] * n,
    }
    with h5py.File(folder / name, "w") as file:
        matrix = file.create_group("matrix")
        _write_matrix(adata, matrix)
        described = {key: value for key, value in (described | features).items() if value}
        for key, values in described.items():
            matrix[f"features/{key}"] = np.array(values, dtype="S")
        matrix["features/_all_tag_keys"] = np.array(["genome"], dtype="S")
    return folder / name


def _write_matrix(adata: ad.AnnData, group: h5py.Group) -> None:
    for name in ("data", "indices", "indptr"):
        values = getattr(adata.X, name)
        group[name] = values.astype(np.int32) if name == "data" else values
    group["shape"] = adata.shape[::-1]
    group["barcodes"] = np.array(adata.obs_names, dtype="S")


@dialect("10x h5 of Cell Ranger 3 and later")
def ten_x(adata, folder):
    return write_10x(adata, folder)


@dialect("10x h5 that is called .hdf5")
def ten_x_hdf5(adata, folder):
    return write_10x(adata, folder, "cells.hdf5")


@dialect("10x h5 with antibodies", ENDED, "left out: Antibody Capture 10")
def ten_x_antibodies(adata, folder):
    return write_10x(
        adata, folder, feature_type=["Gene Expression"] * 90 + ["Antibody Capture"] * 10
    )


@dialect("10x h5 of a multiome", ENDED, "left out: Peaks 10")
def ten_x_multiome(adata, folder):
    kinds = ["Gene Expression"] * 90 + ["Peaks"] * 10
    return write_10x(adata, folder, feature_type=kinds, interval=["chr1:1-2"] * 100)


@dialect("10x h5 of peaks only", REFUSED, "No feature is a gene", "'Peaks' only", "PEAKVI")
def ten_x_peaks(adata, folder):
    return write_10x(adata, folder, feature_type=["Peaks"] * adata.n_vars)


@dialect("10x h5 of two species", MENDED, "GRCh38 60, mm10 40", "== 'GRCh38'")
def ten_x_species(adata, folder):
    return write_10x(adata, folder, genome=["GRCh38"] * 60 + ["mm10"] * 40)


@dialect("10x h5 of Flex, by probe")
def ten_x_flex(adata, folder):
    n = adata.n_vars
    path = write_10x(adata, folder, gene_id=[f"ENSG{i:011}" for i in range(n)])
    with h5py.File(path, "r+") as file:
        file["matrix/filtered_barcodes"] = np.ones(adata.n_obs, dtype=bool)
    return path


@dialect("10x h5 of Cell Ranger 2")
def ten_x_legacy(adata, folder):
    with h5py.File(folder / "cells.h5", "w") as file:
        _write_genome(adata, file.create_group("GRCh38"))
    return folder / "cells.h5"


def _write_genome(adata: ad.AnnData, group: h5py.Group) -> None:
    _write_matrix(adata, group)
    group["genes"] = np.array([f"ENSG{i:011}" for i in range(adata.n_vars)], dtype="S")
    group["gene_names"] = np.array(adata.var_names, dtype="S")


@dialect("10x h5 of Cell Ranger 2, two genomes", MENDED, "hg19 60, mm10 40", "== 'hg19'")
def ten_x_legacy_species(adata, folder):
    with h5py.File(folder / "cells.h5", "w") as file:
        _write_genome(adata[:, :60].copy(), file.create_group("hg19"))
        _write_genome(adata[:30, 60:].copy(), file.create_group("mm10"))
    return folder / "cells.h5"


@dialect("h5 of CellBender 0.2")
def cellbender(adata, folder):
    """What it learned lies beside the matrix, of other lengths; there is no kind of feature."""
    path = write_10x(adata, folder, feature_type=None)
    with h5py.File(path, "r+") as file:
        file["matrix/latent_cell_probability"] = np.ones(adata.n_obs + 7)
        file["matrix/features/ambient_expression"] = np.ones(3)
    return path


@dialect("h5 of CellBender 0.3")
def cellbender_3(adata, folder):
    path = write_10x(adata, folder)
    with h5py.File(path, "r+") as file:
        file["global_latents/ambient_expression"] = np.ones(adata.n_vars)
        file["metadata/estimator"] = np.array(["mckp"], dtype="S")
        file["droplet_latents/cell_probability"] = np.ones(adata.n_obs)
    return path


# --- folders with a matrix ----------------------------------------------------------------------


def write_folder(
    adata: ad.AnnData,
    folder: Path,
    matrix: str = "matrix.mtx",
    genes: str = "genes.tsv",
    cells: str = "barcodes.tsv",
    columns: int = 2,
    cells_in_rows: bool = False,
) -> Path:
    """Write the three files; each is packed if its name ends in .gz."""
    counts = sp.coo_matrix(adata.X if cells_in_rows else adata.X.T).astype(int)
    plain = folder / matrix.removesuffix(".gz")
    scipy.io.mmwrite(plain, counts)
    if matrix.endswith(".gz"):
        (folder / matrix).write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    described = pd.DataFrame(
        {
            "id": [f"ENSG{i:011}" for i in range(adata.n_vars)],
            "name": adata.var_names,
            "kind": "Gene Expression",
        }
    )
    described = described[["name"]] if columns == 1 else described.iloc[:, :columns]
    how = {"sep": "\t", "header": False, "index": False}
    described.to_csv(folder / genes, **how)
    pd.DataFrame(adata.obs_names).to_csv(folder / cells, **how)
    return folder


PACKED = {"matrix": "matrix.mtx.gz", "cells": "barcodes.tsv.gz"}


@dialect("folder of Cell Ranger 3 and later")
def folder_of_today(adata, folder):
    return write_folder(adata, folder, genes="features.tsv.gz", columns=3, **PACKED)


@dialect("folder of Cell Ranger 2")
def old_folder(adata, folder):
    return write_folder(adata, folder)


@dialect("folder of Cell Ranger 3, two columns of features")
def two_columns(adata, folder):
    return write_folder(adata, folder, genes="features.tsv.gz", **PACKED)


@dialect("folder of Cell Ranger 3, one column of features")
def one_column(adata, folder):
    return write_folder(adata, folder, genes="features.tsv.gz", columns=1, **PACKED)


@dialect("folder of Cell Ranger 2, one column of genes")
def old_column(adata, folder):
    return write_folder(adata, folder, columns=1)


@dialect("folder of Cell Ranger 2, packed")
def old_packed(adata, folder):
    return write_folder(adata, folder, genes="genes.tsv.gz", **PACKED)


@dialect("folder of GEO, with a prefix, partly packed")
def with_prefix(adata, folder):
    names = {"matrix": "GSM1_a_matrix.mtx.gz", "cells": "GSM1_a_barcodes.tsv.gz"}
    return write_folder(adata, folder, genes="GSM1_a_genes.tsv", **names)


@dialect("folder of STARsolo", ENDED, "UniqueAndMult-EM.mtx beside the matrix is left out")
def star_solo(adata, folder):
    scipy.io.mmwrite(folder / "UniqueAndMult-EM.mtx", sp.coo_matrix(adata.X.T) * 1.5)
    return write_folder(adata, folder, genes="features.tsv", columns=3)


@dialect("folder of STARsolo, three kinds of molecules")
def star_velocyto(adata, folder):
    half = adata.copy()
    half.X.data = np.floor(adata.X.data / 2)
    write_folder(half, folder, "spliced.mtx", "features.tsv", columns=3)
    for name, part in (("unspliced", adata.X - half.X), ("ambiguous", 0 * half.X)):
        scipy.io.mmwrite(folder / f"{name}.mtx", sp.coo_matrix(part.T).astype(int))
    return folder


@dialect("folder of kallisto | bustools")
def kallisto(adata, folder):
    prefix = "cells_x_genes"
    write_folder(
        adata,
        folder,
        f"{prefix}.mtx",
        f"{prefix}.genes.names.txt",
        f"{prefix}.barcodes.txt",
        1,
        True,
    )
    identifiers = [f"ENSG{i:011}.1" for i in range(adata.n_vars)]
    (folder / f"{prefix}.genes.txt").write_text("\n".join(identifiers) + "\n")
    return folder


@dialect("folder of alevin-fry")
def alevin_fry(adata, folder):
    names = ("quants_mat.mtx", "quants_mat_cols.txt", "quants_mat_rows.txt")
    return write_folder(adata, folder, *names, columns=1, cells_in_rows=True)


@dialect("folder of Parse")
def parse(adata, folder):
    """Names are tables with a header."""
    scipy.io.mmwrite(folder / "count_matrix.mtx", sp.coo_matrix(adata.X).astype(int))
    described = {"gene_id": [f"ENSG{i}" for i in range(adata.n_vars)], "gene_name": adata.var_names}
    pd.DataFrame(described).assign(genome="hg38").to_csv(folder / "all_genes.csv", index=False)
    cells = pd.DataFrame({"bc_wells": adata.obs_names, "sample": "a"})
    cells.to_csv(folder / "cell_metadata.csv", index=False)
    return folder


@dialect("folder of BUS tools, as many cells as genes")
def square(adata, folder):
    return write_folder(adata[:, :60].copy(), folder)


@dialect("folder of Visium", REFUSED, "give one of these files", "filtered_feature_bc_matrix.h5")
def visium(adata, folder):
    write_10x(adata, folder, "filtered_feature_bc_matrix.h5")
    (folder / "spatial").mkdir()
    return folder


@dialect("matrix alone", REFUSED, "a matrix without names", "give the folder")
def alone(adata, folder):
    return write_folder(adata, folder) / "matrix.mtx"


# --- loom ---------------------------------------------------------------------------------------


def loom(adata: ad.AnnData, folder: Path, genes: dict, cells: dict, layers=None) -> Path:
    path = folder / "cells.loom"
    loompy.create(str(path), {"": adata.X.T.toarray(), **(layers or {})}, genes, cells)
    return path


def names_in_loom(adata, genes="Gene", cells="CellID"):
    return {genes: adata.var_names.to_numpy(str)}, {cells: adata.obs_names.to_numpy(str)}


@dialect("loom of loompy")
def of_loompy(adata, folder):
    return loom(adata, folder, *names_in_loom(adata))


@dialect("loom of anndata")
def of_anndata(adata, folder):
    """It calls names as the index of its tables is called."""
    return loom(adata, folder, *names_in_loom(adata, "index", "barcode_of_cell"))


@dialect("loom of velocyto")
def velocyto(adata, folder):
    half = np.floor(adata.X.T.toarray() / 2)
    layers = {"spliced": half, "unspliced": adata.X.T.toarray() - half}
    return loom(adata, folder, *names_in_loom(adata), layers)


@dialect("loom of SCENIC, with maps")
def scenic(adata, folder):
    genes, cells = names_in_loom(adata)
    cells["Embedding"] = np.zeros((adata.n_obs, 2))
    return loom(adata, folder, genes, cells)


@dialect("loom of loomR")
def loom_r(adata, folder):
    """It has no number of the version where loompy looks for it."""
    path = loom(adata, folder, *names_in_loom(adata, "gene_names", "cell_names"))
    with h5py.File(path, "r+") as file:
        if "attrs" in file:
            del file["attrs"]
        for name in list(file.attrs):
            del file.attrs[name]
        for name in ("row_graphs", "col_graphs"):
            if name in file:
                del file[name]
    return path


@dialect("loom with other words for names")
def loom_words(adata, folder):
    genes, cells = names_in_loom(adata, "symbol_of_gene", "droplet")
    genes["biotype"] = np.array(["protein_coding"] * adata.n_vars)
    return loom(adata, folder, genes, cells)


# --- tables of text -----------------------------------------------------------------------------


def table(adata: ad.AnnData, folder: Path, name: str = "cells.csv", **how: Any) -> Path:
    adata.to_df().astype(int).to_csv(folder / name, **how)
    return folder / name


@dialect("csv")
def csv_file(adata, folder):
    return table(adata, folder)


@dialect("tsv, packed")
def tsv_packed(adata, folder):
    return table(adata, folder, "cells.tsv.gz", sep="\t")


@dialect("csv with semicolons, as of Excel in Europe")
def semicolons(adata, folder):
    return table(adata, folder, sep=";", encoding="utf-8-sig", lineterminator="\r\n")


@dialect("text of Excel (UTF-16)")
def utf16(adata, folder):
    return table(adata, folder, "cells.txt", sep="\t", encoding="utf-16")


@dialect("csv, genes in rows", MENDED, "Turn the table")
def genes_in_rows(adata, folder):
    adata.to_df().astype(int).T.to_csv(folder / "cells.csv")
    return folder / "cells.csv"


@dialect("csv, genes in rows, and said so", genes_in="rows")
def said_in_rows(adata, folder):
    return genes_in_rows(adata, folder)


@dialect("csv of an unknown species, genes in rows", MENDED, "as if a row were a gene")
def unknown_species(adata, folder):
    adata.var_names = [f"fish{i}" for i in range(adata.n_vars)]
    adata.obs_names = [f"s{i}" for i in range(adata.n_obs)]
    return genes_in_rows(adata, folder)


@dialect("text of R (write.table)", genes_in="rows")
def of_r(adata, folder):
    """Names are in quotes, blanks lie between values, and the header has a name fewer."""
    text = adata.to_df().astype(int).T.to_csv(sep=" ", quoting=2, quotechar='"')
    (folder / "cells.txt").write_text(text.removeprefix('"" '))
    return folder / "cells.txt"


@dialect("csv with remarks above", ENDED, "2 lines above the table are left out")
def remarks(adata, folder):
    text = adata.to_df().astype(int).to_csv()
    (folder / "cells.csv").write_text('# made by us, "today"\n# counts, raw\n' + text)
    return folder / "cells.csv"


@dialect("csv with a marked header")
def marked(adata, folder):
    text = adata.to_df().astype(int).to_csv(index_label="#cell")
    (folder / "cells.csv").write_text(text)
    return folder / "cells.csv"


@dialect("csv with a gene twice", MENDED, "more than once: 1", "var_names_make_unique()")
def twice(adata, folder):
    adata.var_names = [adata.var_names[0], *adata.var_names[:1], *adata.var_names[2:]]
    return table(adata, folder)


@dialect("csv with a gene that is called NA")
def called_na(adata, folder):
    adata.var_names = ["NA", *adata.var_names[1:]]
    adata.obs_names = ["NULL", *adata.obs_names[1:]]
    return table(adata, folder)


@dialect("csv with a comma at the end of each line")
def trailing(adata, folder):
    text = adata.to_df().astype(int).to_csv().replace("\n", ",\n")
    (folder / "cells.csv").write_text(text)
    return folder / "cells.csv"


@dialect("csv of fractions that are whole")
def fractions(adata, folder):
    adata.to_df().to_csv(folder / "cells.csv", float_format="%.1f")
    return folder / "cells.csv"


@dialect("csv without names", REFUSED, "first line holds numbers", "names of genes")
def without_names(adata, folder):
    return table(adata, folder, header=False, index=False)


@dialect("csv with words", REFUSED, "Not only numbers", "column 'kind'", "adata.obs")
def with_words(adata, folder):
    adata.to_df().assign(kind="B cell").to_csv(folder / "cells.csv")
    return folder / "cells.csv"


@dialect("csv in a zip", REFUSED, "is packed", "unpack it first")
def zipped(adata, folder):
    return table(adata, folder, "cells.csv.zip")
