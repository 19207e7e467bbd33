"""What the report says of the matrix and its names is so."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
import scvi

from helpers.own_data import preflight


def test_the_numbers_are_those_of_the_cells(pbmc):
    report = preflight.check(pbmc)["found"]
    totals = pbmc.X.sum(axis=1).A1
    assert report["size"] == "700 cells x 765 genes"
    zeros = 1 - np.count_nonzero(pbmc.X.toarray()) / pbmc.X.toarray().size
    assert (
        report["counts"]
        == f"Whole numbers from 0 to {pbmc.X.max():.0f} in X, {zeros:.0%} of them 0."
    )
    assert f"from {totals.min():.0f} to {totals.max():,.0f}" in report["depth"]


def test_a_file_that_stays_on_the_disk_is_looked_at(pbmc, tmp_path):
    pbmc.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    report = preflight.check(backed)
    assert report.loc["storage", "line of Python"] == "adata = adata.to_memory()"
    assert report.loc["counts", "verdict"] == preflight.OK
    backed.file.close()


@pytest.mark.parametrize(
    ("cells", "genes", "turned"),
    [
        ("CTRL_ACGTACGTACGTACGT-1", "ENSG00000000003", False),
        ("ENSMUSG00000000001", "ACGTACGTACGTACGT-1", True),
        ("ENSG00000000003", "sample_1", True),
        ("first_{}", "GSM1:ACGTACGTACGTACGTx", True),
        ("cell {}", "gene {}", False),
    ],
)
def test_cells_and_genes_that_changed_places_are_seen_by_their_names(cells, genes, turned, pbmc):
    """Names differ by a number behind them, as barcodes and identifiers do not.

    Their form is what counts.
    """
    few = ad.AnnData(pbmc.X[:500, :50].copy())
    few.obs_names = [f"{cells}.{i}" for i in range(few.n_obs)]
    few.var_names = [f"{genes}.{i}" for i in range(few.n_vars)]
    assert (preflight.check(few).loc["size", "verdict"] == preflight.REPAIR) == turned


def selected(adata, counts):
    """Return the genes that scanpy selects from counts stored in some way."""
    cells = ad.AnnData(counts, var=adata.var[[]])
    sc.pp.highly_variable_genes(cells, n_top_genes=300, flavor="seurat_v3")
    return set(cells.var_names[cells.var["highly_variable"]])


def test_what_is_said_of_small_integers_is_so(cortex):
    """Written out, other genes are selected from them.

    Sparse, the same, and the report has nothing to say.
    """
    few = cortex[::3, :1000].copy()
    rows = np.asarray(few.X.sum(axis=1)).ravel() > 0
    few = few[rows].copy()
    truth = selected(few, few.X)
    for store, verdict in ((lambda x: x.toarray(), preflight.REPAIR), (lambda x: x, preflight.OK)):
        counts = store(few.X.astype(np.uint16))
        assert (selected(few, counts) == truth) == (verdict == preflight.OK)
        report = preflight.check(ad.AnnData(counts, var=few.var[[]]))
        assert set(report.loc[report.index == "storage", "verdict"]) <= {verdict}
        assert ("storage" in report.index) == (verdict == preflight.REPAIR)


@pytest.mark.parametrize("target", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("genes", [slice(None), slice(None, None, 3)], ids=["all", "a third"])
def test_normalised_and_rounded_values_are_no_counts(target, genes, pbmc, blood):
    for cells in (pbmc, blood):
        assert preflight.check(cells).loc["depth", "verdict"] == preflight.OK
        values = cells.X.multiply(target / cells.X.sum(axis=1)).tocsr()
        values.data = np.rint(values.data).astype(np.float32)
        values.eliminate_zeros()
        rounded = ad.AnnData(values, var=cells.var[[]])[:, genes].copy()
        row = preflight.check(rounded).loc["depth"]
        assert row["verdict"] == preflight.REPAIR
        assert "normalised and rounded" in row["found"]


def test_synthetic_counts_are_ready():
    """Their totals are nearly equal, and single molecules are rare: that alone is no fault."""
    adata = scvi.data.synthetic_iid()
    assert preflight.verdict(preflight.check(adata, None, "batch", "labels")) == "Ready."


def test_new_arrays_of_scipy_are_made_matrices(pbmc):
    pbmc.X = sp.csr_array(pbmc.X)
    names = {"adata": pbmc, "sp": sp}
    exec(preflight.check(pbmc).loc["storage", "line of Python"], names)
    preflight.require_ready(preflight.check(names["adata"]))


def test_part_of_the_counts_is_told_from_all(pbmc):
    pbmc.layers["matrix"] = pbmc.layers.pop("counts")
    pbmc.X.data = np.ceil(pbmc.X.data / 2)
    rows = preflight.check(pbmc).loc[["counts"]]
    assert list(rows["line of Python"]) == ["", "layer = 'matrix'"]
    assert (preflight.check(pbmc, "matrix").loc[["counts"], "verdict"] == preflight.OK).all()
