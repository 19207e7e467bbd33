"""What learners bring and do, and what the kit says to it: one row per case."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
import scvi
import torch

from helpers import data, environment, genes, training
from helpers.data import cortex_text, source_table
from helpers.loss import loss_ledger
from helpers.own_data import preflight, reading, run_report
from helpers.paths import ROOT
from helpers.training import checkpoints, runs
from tests.bad_inputs.without_rights import without_rights
from tests.helpers.data import synthetic_cortex


@dataclass(frozen=True)
class Case:
    """Something that goes wrong around the lessons.

    Attributes
    ----------
    what
        What is wrong, in a few words.
    says
        What the answer must hold: what is wrong, where, and what to do.
    attempt
        Does it in an empty folder, and returns what the kit said.
    """

    what: str
    says: tuple[str, ...]
    attempt: Callable[[Path], str]


@dataclass(frozen=True)
class File:
    """A file in which something is wrong.

    Attributes
    ----------
    what, says
        As in ``Case``.
    make
        Makes it in an empty folder, and returns its path.
    forbidden
        Whether it is read by a user without rights.
    how
        What ``reading.read`` is given besides.
    """

    what: str
    says: tuple[str, ...]
    make: Callable[[Path], Path]
    forbidden: bool
    how: dict[str, Any]

    def read(self, path: Path) -> str:
        """Return why it was refused."""
        with without_rights() if self.forbidden else contextlib.nullcontext():
            return refusal(reading.read, path, **self.how)

    def attempt(self, folder: Path) -> str:
        """Make it, and return why it was refused."""
        return self.read(self.make(folder))


@dataclass(frozen=True)
class Cells:
    """Cells in which something is wrong.

    Attributes
    ----------
    what
        What is wrong, in a few words.
    check, verdict
        The row of the pre-flight report that finds it.
    says
        What the row must hold.
    spoil
        Changes the 700 blood cells, and returns them (and what ``preflight.check`` is given
        besides).
    """

    what: str
    check: str
    verdict: str
    says: tuple[str, ...]
    spoil: Callable[[ad.AnnData], Any]

    def spoilt(self, adata: ad.AnnData) -> tuple[ad.AnnData, dict[str, Any]]:
        """Return the spoilt cells, and the settings of the report."""
        result = self.spoil(adata)
        return result if isinstance(result, tuple) else (result, {})

    def attempt(self, folder: Path) -> str:
        """Return the row of the report as one text."""
        adata, settings = self.spoilt(data.load_pbmc())
        return said(preflight.check(adata, **settings), self.check, self.verdict)


def said(report: pd.DataFrame, check: str, verdict: str) -> str:
    """Return a row of the report as text: what was found, what to do, and how."""
    rows = report[(report.index == check) & (report["verdict"] == verdict)]
    return preflight.text(rows) if verdict != preflight.OK else " ".join(rows["found"])


# --- cells --------------------------------------------------------------------------------------

CELLS: list[Cells] = []


def cells(what: str, check: str, verdict: str, *says: str):
    """Add a case; the function spoils the cells."""

    def add(spoil: Callable[[ad.AnnData], Any]) -> Callable[[ad.AnnData], Any]:
        CELLS.append(Cells(what, check, verdict, says, spoil))
        return spoil

    return add


REPAIR, DECIDE, OK = preflight.REPAIR, preflight.DECIDE, preflight.OK


@cells("no cells", "size", REPAIR, "empty: 0 cells x 765 genes", "loosen the filter")
def no_cells(adata):
    return adata[:0].copy()


@cells("no genes", "size", REPAIR, "empty: 700 cells x 0 genes", "loosen the filter")
def no_genes(adata):
    return adata[:, :0].copy()


@cells(
    "one cell", "size", REPAIR, "1 cells x 765 genes", "no fewer than 16 cells", "Load all cells"
)
def one_cell(adata):
    return adata[:1].copy()


@cells("too few cells to hold any out", "size", REPAIR, "15 cells x 765 genes", "Load all cells")
def fifteen_cells(adata):
    return adata[:15].copy()


@cells("few cells", "size", DECIDE, "120 cells", "Take more cells, or PCA")
def few_cells(adata):
    return adata[:120].copy()


@cells("one gene", "size", REPAIR, "x 1 genes", "Load all cells and genes")
def one_gene(adata):
    most = np.asarray(adata.X.sum(axis=0)).argmax()
    adata = adata[:, [most]].copy()
    return adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()


@cells("100,000 genes", "genes", DECIDE, "100,000 are more than a genome has", "peaks")
def too_many_genes(adata):
    wide = sp.csr_matrix((adata.X.data, adata.X.indices, adata.X.indptr), shape=(700, 100_000))
    return ad.AnnData(wide, var=pd.DataFrame(index=[f"peak {i}" for i in range(100_000)]))


@cells(
    "cells and genes have changed places",
    "size",
    REPAIR,
    "look like genes",
    "adata = adata.T.copy()",
)
def turned(adata):
    return ad.AnnData(adata.X.T.tocsr(), obs=adata.var[[]], var=adata.obs[[]])


@cells(
    "cells without a count",
    "empty cells",
    REPAIR,
    "2 cells without any count in X",
    "cells with a count",
)
def empty_cells(adata):
    counts = adata.X.tolil()
    counts[[3, 5]] = 0
    adata.X = counts.tocsr()
    return adata


@cells(
    "nothing but zeros", "empty cells", REPAIR, "All 700 cells have no count", "Take another matrix"
)
def all_zero(adata):
    adata.X = sp.csr_matrix(adata.shape, dtype=np.float32)
    return adata


@cells("genes without a count", "empty genes", OK, "10 of 765 genes have no count", "not selected")
def empty_genes(adata):
    counts = adata.X.tolil()
    counts[:, :10] = 0
    adata.X = counts.tocsr()
    return adata


@cells("not a number (NaN)", "counts", REPAIR, "1 entries of X", "gene", "Find the step")
def not_a_number(adata):
    adata.X.data[7] = np.nan
    return adata


@cells("infinite", "counts", REPAIR, "Not a number or infinite: 1 entries of X", "Find the step")
def infinite(adata):
    adata.X.data[7] = np.inf
    return adata


@cells("negative (scaled)", "counts", REPAIR, "Negative", "scaled or centred", "layer = 'counts'")
def negative(adata):
    with np.errstate(all="ignore"):
        sc.pp.scale(adata, zero_center=True)
    return adata


@cells(
    "fractional", "counts", REPAIR, "Not whole numbers: 1 entries of X", "0.5 (cell", "raw counts"
)
def fractional(adata):
    adata.X.data[7] = 0.5
    del adata.layers["counts"]
    return adata


@cells("log-normalised, counts in a layer", "counts", REPAIR, "normalised", "layer = 'counts'")
def log_normalised(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@cells(
    "log-normalised, counts in raw", "counts", REPAIR, "normalised", "adata = adata.raw.to_adata()"
)
def counts_in_raw(adata):
    del adata.layers["counts"]
    adata.raw = adata.copy()
    return log_normalised(adata)


@cells("log-normalised, no counts left", "counts", REPAIR, "can be recovered", "raw_counts.recover")
def counts_gone(adata):
    del adata.layers["counts"]
    return log_normalised(adata)


@cells("too large for a 32-bit float", "counts", REPAIR, "17,000,001", "sums over many cells")
def too_large(adata):
    adata.X = adata.X.astype(np.int64)
    adata.X.data[7] = 17_000_001
    return adata


@cells("counts made into yes and no", "counts", DECIDE, "0 and 1 only", "PEAKVI")
def binary(adata):
    adata.X.data[:] = 1
    return adata


@cells(
    "text instead of numbers", "counts", REPAIR, "holds object, not numbers", "astype('float32')"
)
def text(adata):
    table = adata.X.toarray().astype(int).astype(str).astype(object)
    return ad.AnnData(table, obs=adata.obs, var=adata.var)


@cells("yes and no (bool)", "counts", REPAIR, "holds bool, not numbers", "astype('float32')")
def bools(adata):
    adata.X = adata.X.astype(bool)
    return adata


@cells("16 bits, squares overflow", "storage", REPAIR, "uint16", "overflows", "dtype='float32')")
def small_integers(adata):
    counts = adata.X.toarray().astype(np.uint16)
    counts[0, 0] = 300
    adata.X = counts
    return adata


@cells(
    "every 0 written out", "storage", DECIDE, "has every 0 written out", "sp.csr_matrix(adata.X)"
)
def dense(adata):
    adata.X = adata.X.toarray()
    return adata


@cells("sorted by gene (CSC)", "storage", DECIDE, "sorted by gene (CSC)", "sp.csr_matrix(adata.X)")
def by_gene(adata):
    adata.X = adata.X.tocsc()
    return adata


@cells("shallow cells", "depth", DECIDE, "30 cells have fewer than 200", "histogram")
def shallow(adata):
    counts = adata.X.tolil()
    counts[:30, 10:] = 0
    counts[:30, 0] = 5
    adata.X = counts.tocsr()
    return adata


@cells(
    "two genes with one name",
    "gene names",
    REPAIR,
    "more than once: 1",
    "HES4",
    "var_names_make_unique()",
)
def double_genes(adata):
    adata.var_names = [adata.var_names[0], *adata.var_names[:1], *adata.var_names[2:]]
    return adata


@cells(
    "two cells with one name", "cell names", REPAIR, "more than once: 1", "obs_names_make_unique()"
)
def double_cells(adata):
    adata.obs_names = [adata.obs_names[0], *adata.obs_names[:1], *adata.obs_names[2:]]
    return adata


@cells("names that are numbers", "gene names", REPAIR, "are int64, not text", "astype(str)")
def numbered(adata):
    # anndata makes text of them on the usual ways in; from other readers they come through.
    adata._var.index = pd.Index(np.arange(adata.n_vars))
    return adata


@cells("genes without a name", "gene names", REPAIR, "2 of 765 names are missing", "unnamed_")
def unnamed(adata):
    adata.var_names = pd.Index(["", None, *adata.var_names[2:]], dtype=object)
    return adata


@cells("no such layer", "counts", REPAIR, "no layer 'raw'", "'counts'", "adata.X.copy()")
def no_layer(adata):
    return adata, {"layer": "raw"}


@cells("no such batch column", "batches", REPAIR, "no column 'lane'", "'cell_type'", "batch_key=")
def no_batches(adata):
    return adata, {"batch_key": "lane"}


@cells("cells without a batch", "batches", REPAIR, "7 cells have no batch", "notna()")
def missing_batch(adata):
    adata.obs["day"] = pd.Series(["a", "b"] * 350, index=adata.obs_names).mask(np.arange(700) < 7)
    return adata, {"batch_key": "day"}


@cells("one batch for all", "batches", DECIDE, "has 1 batch", "batch_key = None")
def constant_batch(adata):
    adata.obs["day"] = "Monday"
    return adata, {"batch_key": "day"}


@cells("a number as batch", "batches", REPAIR, "So many numbers are not batches", "pd.cut")
def numeric_batch(adata):
    adata.obs["depth"] = np.asarray(adata.X.sum(axis=1)).ravel() / 3
    return adata, {"batch_key": "depth"}


@cells("a batch of a few cells", "batches", DECIDE, "fewer than 20 cells", "Join small batches")
def small_batch(adata):
    adata.obs["day"] = np.where(np.arange(700) < 5, "a", "b")
    return adata, {"batch_key": "day"}


@cells("batches that are not named", "batches", DECIDE, "obs['donor']", "batch_key = 'donor'")
def unnamed_batches(adata):
    adata.obs["donor"] = np.where(np.arange(700) % 2, "a", "b")
    return adata


@cells("batch and label are the same", "batch and label", DECIDE, "confounded", "100%", "05c")
def confounded(adata):
    adata.obs["day"] = np.where(adata.obs["cell_type"] == "CD19+ B", "a", "b")
    return adata, {"batch_key": "day", "label_key": "cell_type"}


@cells(
    "ill and well donors", "batch and label", DECIDE, "one value of obs['state']", "Compare donors"
)
def nested(adata):
    adata.obs["donor"] = [f"donor {i % 6}" for i in range(700)]
    adata.obs["state"] = np.where(np.arange(700) % 6 < 3, "ill", "well")
    return adata, {"batch_key": "donor", "label_key": "state"}


@cells("one label for all", "batch and label", DECIDE, "1 values", "label_key = None")
def one_label(adata):
    adata.obs["kind"] = "blood"
    return adata, {"label_key": "kind"}


@cells(
    "joined samples without a column", "batches", DECIDE, "end in 8 numbers", "adata.obs['sample']"
)
def joined(adata):
    return adata


@cells("normalised, then rounded", "depth", REPAIR, "the same total, 765", "raw counts")
def same_totals(adata):
    adata.X = sp.csr_matrix(np.ones(adata.shape, dtype=np.float32))
    adata.X.data[:2] = [2, 0]
    return adata


@cells("most cells hardly have counts", "depth", DECIDE, "empty droplets", "the filtered matrix")
def raw_matrix(adata):
    counts = adata.X.tolil()
    counts[:400, 10:] = 0
    counts[:400, 0] = 5
    adata.X = counts.tocsr()
    return adata


@cells("antibodies among the genes", "features", DECIDE, "Antibody Capture 5", "Keep the genes")
def antibodies(adata):
    kinds = np.where(np.arange(765) < 5, "Antibody Capture", "Gene Expression")
    adata.var["feature_types"] = kinds
    return adata


@cells(
    "log-normalised, all genes in raw", "counts", REPAIR, "raw holds more genes", "raw.to_adata()"
)
def wider_raw(adata):
    del adata.layers["counts"]
    adata = log_normalised(adata)
    adata.raw = adata.copy()
    adata = adata[:, :400].copy()
    sc.pp.scale(adata)
    return adata


@cells("no such label column", "batch and label", REPAIR, "no column 'kind'", "label_key=")
def no_labels(adata):
    return adata, {"label_key": "kind"}


# --- files --------------------------------------------------------------------------------------

FILES: list[File] = []


def file(what: str, *says: str, forbidden: bool = False, **how: Any):
    """Add a case; the function makes the file in a folder, and returns its path."""

    def add(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        FILES.append(File(what, says, make, forbidden, how))
        return make

    return add


def refusal(call: Callable[..., Any], *arguments: Any, **how: Any) -> str:
    """Return what an error said; that there is none is an error."""
    try:
        call(*arguments, **how)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was said")


def small() -> ad.AnnData:
    return data.load_pbmc()[:20, :30].copy()


def whole_h5ad(folder: Path) -> Path:
    small().write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


@file("a file that is not there", "no file cels.h5ad", "In this folder: cells.h5ad", "drag it")
def not_there(folder):
    whole_h5ad(folder)
    return folder / "cels.h5ad"


@file("a folder that is not there", "no folder", "Paths begin at", "give the path")
def no_folder(folder):
    return folder / "nowhere" / "cells.h5ad"


@file("a truncated file", "Cannot read", "not whole", "compare the sizes")
def truncated(folder):
    path = whole_h5ad(folder)
    path.write_bytes(path.read_bytes()[:-5000])
    return path


@file("damaged at its start", "not in the format of .h5ad files", "copy or download it again")
def damaged(folder):
    path = whole_h5ad(folder)
    path.write_bytes(b"0" * 100 + path.read_bytes()[100:])
    return path


@file("an empty file", "the file is empty", "copy or download it again")
def empty(folder):
    (folder / "cells.h5ad").touch()
    return folder / "cells.h5ad"


@file("a web page", "it is a web page", "login")
def web_page(folder):
    (folder / "cells.h5ad").write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    return folder / "cells.h5ad"


@file("another format under this name", "not in the format of .h5 files", "its own ending")
def renamed(folder):
    (folder / "matrix.h5").write_text("gene,cell\nA,1\n")
    return folder / "matrix.h5"


@file("HDF5 of another program", "laid out in no way that is known here", "In it: image", ".h5ad")
def other_hdf5(folder):
    with h5py.File(folder / "cells.h5", "w") as file:
        file["image"] = np.zeros((3, 3))
    return folder / "cells.h5"


@file("several samples in one folder", "holds 2 samples", "one_, two_", "ad.concat")
def two_samples(folder):
    for name in ("one_matrix.mtx.gz", "two_matrix.mtx.gz"):
        (folder / name).touch()
    return folder


@file("a folder with an empty matrix", "matrix.mtx is empty", "copy or download it again")
def empty_matrix(folder):
    for name in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        (folder / name).touch()
    return folder


@file("names of another matrix", "lacks genes.tsv or features.tsv with 3 names", "written together")
def names_of_another_matrix(folder):
    head = "%%MatrixMarket matrix coordinate integer general\n"
    (folder / "matrix.mtx").write_text(f"{head}3 2 1\n1 1 1\n")
    (folder / "barcodes.tsv").write_text("AAAC\nAAAG\n")
    (folder / "features.tsv").write_text("ACTB\nB2M\nCD3E\nCD4\nCD8A\n")
    return folder


@file("called .gz and not packed", "is called .gz and is not packed", "its own ending")
def not_packed(folder):
    (folder / "table.csv.gz").write_text("cell,A\nc1,1\n")
    return folder / "table.csv.gz"


@file("a format of R", "of a kind that is not known", "zellkonverter")
def from_r(folder):
    (folder / "cells.rds").write_bytes(b"X\n")
    return folder / "cells.rds"


@file("a packed .h5ad", "is packed", "gunzip cells.h5ad.gz")
def packed(folder):
    path = whole_h5ad(folder)
    (folder / "cells.h5ad.gz").write_bytes(gzip.compress(path.read_bytes()))
    return folder / "cells.h5ad.gz"


@file("no right to read", "may not be read by you", "give yourself the right", forbidden=True)
def unreadable(folder):
    path = whole_h5ad(folder)
    path.chmod(0)
    return path


@file("a folder without a matrix", "has no matrix.mtx", "In it: notes.txt", "give a folder with")
def no_matrix(folder):
    (folder / "notes.txt").touch()
    return folder


@file("a folder above the matrix", "has no matrix.mtx", "give one of these folders", "filtered")
def folder_above(folder):
    (folder / "filtered").mkdir()
    (folder / "filtered" / "matrix.mtx.gz").touch()
    return folder


@file("a matrix without its names", "a matrix without names", "give the folder")
def lone_matrix(folder):
    (folder / "matrix.mtx").touch()
    return folder / "matrix.mtx"


@file("a folder without the names of genes", "lacks genes.tsv", "copy the missing file")
def no_features(folder):
    (folder / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n1 1 0\n")
    (folder / "barcodes.tsv").write_text("AAAC\n")
    return folder


@file("a table with words", "Not only numbers", "column 'kind'", "'B cell'", "adata.obs")
def words(folder):
    (folder / "table.csv").write_text("cell,ACTB,kind\nc1,3,B cell\nc2,0,T cell\n")
    return folder / "table.csv"


@file("a table of one column", "it is no table", "comma or a tab")
def one_column(folder):
    (folder / "table.txt").write_text("ACTB\n3\n0\n")
    return folder / "table.txt"


@file("a ragged table", "damaged, or not what its name says", "line 3")
def ragged(folder):
    (folder / "table.csv").write_text("cell,A,B\nc1,1,2\nc2,1,2,3\n")
    return folder / "table.csv"


@file("a packed table that ends early", "ends too early", "compare the sizes")
def short_gzip(folder):
    whole = gzip.compress(("cell,A\n" + "c,1\n" * 2000).encode())
    (folder / "table.csv.gz").write_bytes(whole[: len(whole) // 2])
    return folder / "table.csv.gz"


@file("a table in another encoding", "damaged, or not what its name says", "utf-8")
def other_encoding(folder):
    (folder / "table.csv").write_bytes("cell,é\nc1,1\n".encode("latin-1"))
    return folder / "table.csv"


@file(
    "a word for genes_in that is none", "genes_in='lines'", "'columns' or 'rows'", genes_in="lines"
)
def no_orientation(folder):
    return whole_h5ad(folder)


@file("a damaged loom file", "Cannot read", "copy or download it again")
def damaged_loom(folder):
    path = whole_h5ad(folder).rename(folder / "cells.loom")
    path.write_bytes(path.read_bytes()[:-5000])
    return path


# --- environment --------------------------------------------------------------------------------

ENVIRONMENT: list[Case] = []


def environment_case(what: str, *says: str):
    """Add a case; the function does it in a folder, and returns what was said."""

    def add(attempt: Callable[[Path], str]) -> Callable[[Path], str]:
        ENVIRONMENT.append(Case(what, says, attempt))
        return attempt

    return add


def new_process(code: str, **variables: str) -> subprocess.Popen[str]:
    """Start Python code as a notebook's kernel would; what it says can be read."""
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", f"from helpers import environment\nenvironment.prepare()\n{code}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_a_new_process(code: str, **variables: str) -> str:
    """Run Python code as a notebook's kernel would, and return all that it said."""
    return "".join(new_process(code, **variables).communicate())


@environment_case("scikit-misc is missing", "scikit-misc is missing", "run `make lab` again")
def no_scikit_misc(folder):
    return in_a_new_process("import sys; sys.modules['skmisc'] = None\nfrom helpers import genes")


@environment_case("another version of a package", "1.0", ">=1.11", "run `make lab` again")
def other_version(folder):
    (folder / "scanpy-1.0.dist-info").mkdir()
    (folder / "scanpy-1.0.dist-info" / "METADATA").write_text("Name: scanpy\nVersion: 1.0\n")
    return in_a_new_process(
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "print(environment.check().loc[['scanpy']].to_string(index=False, header=False))"
    )


@environment_case("a lesson has too little memory", "needs about", "are free", "close other")
def little_memory(folder):
    return in_a_new_process(
        "from helpers.training import runs, shared_models\n"
        "runs.train(shared_models.cortex_model(), max_epochs=1)",
        MEM_LIMIT="1000",
    )


@environment_case("no network for the data", "Cannot fetch 'cortex'", "check the network")
def no_network(folder):
    return in_a_new_process(
        "import pathlib\n"
        "from helpers import data\n"
        f"data.load_cortex(pathlib.Path({str(folder)!r}))",
        PIP_NO_INDEX="1",
        PIP_CONFIG_FILE=os.devnull,
    )


@environment_case(
    "genes are selected before there are counts", "no layer 'counts'", "adata.X.copy()"
)
def no_counts_yet(folder):
    adata = data.load_pbmc()
    del adata.layers["counts"]
    return refusal(genes.select, adata)


def untrained() -> scvi.model.SCVI:
    """Return a small model, each time with the same weights."""
    environment.prepare(seed=0)
    adata = data.load_pbmc()
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    return scvi.model.SCVI(adata, n_hidden=8)


@environment_case(
    "the ledger is asked before the training", "was not trained", "training.train(model)"
)
def ledger_first(folder):
    return refusal(loss_ledger.ledger, untrained())


@environment_case(
    "the curve is asked before the training", "was not trained", "training.train(model)"
)
def curve_first(folder):
    return refusal(training.curves, untrained())


@environment_case("a training cell is run twice", "was trained before", "SCVI(adata)")
def trained_twice(folder):
    model = untrained()
    training.train(model, max_epochs=1, enable_progress_bar=False)
    return refusal(training.train, model, max_epochs=1)


@environment_case("a last minibatch of one cell", "a last minibatch of one cell", "batch_size=129")
def last_minibatch(folder):
    return refusal(training.train, untrained(), "default", train_size=0.5493)


@environment_case("no cells held out", "holds no cells out", "leave train_size out")
def none_held_out(folder):
    return refusal(training.train, untrained(), train_size=1)


@environment_case("a page in a folder that is not yours", "Cannot write", "a folder of your own")
def page_nowhere(folder):
    folder.chmod(0o555)
    with without_rights():
        return refusal(run_report._replace, folder / "report.html", "text")


def kept_in(folder: Path) -> Path:
    """Train a small model for an epoch, and keep it."""
    model = untrained()
    training.train(model, max_epochs=1, folder=None, enable_progress_bar=False)
    return checkpoints.save(model, folder)


def said_on_loading(folder: Path) -> str:
    """Return what is said when the checkpoint of the small model is looked for.

    That it is not used is checked.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        found = runs.load_checkpoint(untrained(), folder=folder, max_epochs=1)
    assert found is None
    return said.getvalue()


@environment_case("a checkpoint that is not whole", "cannot be read", "is damaged", "left aside")
def short_checkpoint(folder):
    kept = kept_in(folder)
    kept.write_bytes(kept.read_bytes()[:-1000])
    return said_on_loading(folder)


@environment_case("code in place of a checkpoint", "cannot be read", "left aside")
def code_as_checkpoint(folder):
    kept = kept_in(folder)
    kept.write_bytes(pickle.dumps(Touch(folder / "code ran")))
    said = said_on_loading(folder)
    assert not (folder / "code ran").exists()
    return said


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@environment_case(
    "a model from somebody else that runs code", "asks to run", "nothing was run", "ask"
)
def model_with_code(folder):
    torch.save({"attr_dict": Touch(folder / "code ran")}, folder / "model.pt")
    said = refusal(checkpoints.load_model, folder, data.load_pbmc())
    assert not (folder / "code ran").exists()
    return said


LONG_TRAINING = """
import pathlib
import scvi
from helpers import data, training
from helpers.training import resuming
resuming.SECONDS_BETWEEN_SAVES = 0
adata = data.load_pbmc()
scvi.model.SCVI.setup_anndata(adata, layer="counts")
model = scvi.model.SCVI(adata, n_hidden=8)
folder = pathlib.Path({folder!r})
training.load_or_train(model, max_epochs={epochs}, folder=folder, enable_progress_bar=False)
print("epochs in the history:", len(model.history["elbo_train"]))
"""


@contextlib.contextmanager
def another_kernel_at_work(folder: Path) -> Iterator[subprocess.Popen]:
    """Train the model in another process, and enter the block when that has kept an epoch.

    Then kill it.
    """
    kernel = new_process(training_in(folder))
    while not list(folder.glob(".*.progress")):
        assert kernel.poll() is None, "the training was over before it could be killed"
        time.sleep(0.01)
    try:
        yield kernel
    finally:
        kernel.kill()
        kernel.communicate()


def training_in(folder: Path) -> str:
    return LONG_TRAINING.format(epochs=60, folder=str(folder))


@environment_case("a kernel is killed in the middle of a training", "Going on after", "history: 60")
def killed_training(folder):
    with another_kernel_at_work(folder):
        pass
    return in_a_new_process(training_in(folder))


@environment_case("two kernels train the same model", "Another kernel trains this same model")
def two_kernels(folder):
    with another_kernel_at_work(folder) as kernel:
        kernel.send_signal(signal.SIGSTOP)
        return in_a_new_process(training_in(folder))


@environment_case("the text of the full cortex ends early", "line", "What to do")
def short_text(folder):
    file = synthetic_cortex.write(folder / "text.txt", cells=20, genes=4100)
    file.write_bytes(file.read_bytes()[:-500])
    return refusal(cortex_text.read, file)


@environment_case("another file than the full cortex", "md5", "What to do")
def wrong_text(folder):
    (folder / "downloads").mkdir()
    name = source_table.SOURCES["cortex_all"].members[0]
    (folder / "downloads" / name).write_text("another file")
    return refusal(data.load_cortex, folder, genes="all")
