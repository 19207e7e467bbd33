"""What the report says of cells is so. (Each problem, and its repair, is in tests/bad_inputs.)"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from helpers import data, environment, training
from helpers.own_data import messy_data, preflight, reading
from helpers.scale import scaling

CHECKS = ["size", "counts", "depth", "cell names", "gene names", "batches", "memory", "time"]


def test_the_report_has_a_row_a_check(pbmc):
    report = preflight.check(pbmc)
    assert list(report.index) == CHECKS
    assert list(report.columns) == ["found", "verdict", "what to do", "line of Python"]


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


def test_batches_are_counted(blood):
    found = preflight.check(blood, batch_key="batch").loc["batches", "found"]
    assert "2 batches: 10k 200, 5k 200 cells" in found


def test_labels_are_counted_in_batches(pbmc):
    """Against a count by hand."""
    pbmc.obs["day"] = np.where(
        pbmc.obs["cell_type"] == "Dendritic", "a", np.where(np.arange(700) % 2, "a", "b")
    )
    table = preflight.shared_labels(pbmc, "day", "cell_type")
    for label, row in table.iterrows():
        cells = pbmc.obs[pbmc.obs["cell_type"] == label]
        assert row["cells"] == len(cells)
        assert row["batches"] == len(set(cells["day"]))
    report = preflight.check(pbmc, batch_key="day", label_key="cell_type").loc["batch and label"]
    alone = table[table["batches"] == 1]
    assert list(alone.index) == ["Dendritic"]
    assert "1 of 10 values" in report["found"]
    assert f"{alone['cells'].sum() / 700:.0%} of the cells" in report["found"]
    assert report["verdict"] == preflight.DECIDE


def test_cells_without_a_label_are_left_out(pbmc):
    pbmc.obs["kind"] = pd.Series(["x", None] * 350, index=pbmc.obs_names)
    pbmc.obs["day"] = np.where(np.arange(700) % 4 < 2, "a", "b")
    table = preflight.shared_labels(pbmc, "day", "kind")
    assert table.loc["x", "cells"] == 350
    assert len(table) == 1


@pytest.mark.parametrize("n_cells", [50, 3005, 400_000])
def test_costs_are_those_of_the_measured_lines(n_cells):
    table = preflight.expected(n_cells)
    for preset in scaling.PRESETS:
        assert table.loc[preset, "epochs"] == training.run_length(n_cells, preset)["epochs"]
    assert table.loc["default", "seconds"] > table.loc["class", "seconds"] > 0


def test_too_little_memory_is_to_mend(pbmc, monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda: 10_000_000)
    row = preflight.check(pbmc).loc["memory"]
    assert row["verdict"] == preflight.REPAIR
    assert "0.0 GB are free" in row["found"]
    assert "Close other notebooks" in row["what to do"]


def test_a_file_that_stays_on_the_disk_is_looked_at(pbmc, tmp_path):
    pbmc.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    report = preflight.check(backed)
    assert report.loc["storage", "line of Python"] == "adata = adata.to_memory()"
    assert report.loc["counts", "verdict"] == preflight.OK
    backed.file.close()


def test_the_verdict_counts(pbmc, blood):
    few = preflight.check(blood, batch_key="batch")
    assert preflight.verdict(few) == "Ready."
    report = preflight.check(pbmc).assign(verdict=["repair", "repair", "decide", *["ok"] * 5])
    assert preflight.verdict(report) == "Not ready: 2 to repair, 1 thing to decide."
    report["verdict"] = ["decide", "decide", *["ok"] * 6]
    assert preflight.verdict(report) == "Ready, with 2 things to decide."
    preflight.require_ready(report)


def test_the_spoiled_file_has_the_problems_that_it_says(tmp_path, whole_blood):
    adata = preflight_cells(tmp_path)
    assert adata.n_obs == whole_blood.n_obs + messy_data.EMPTY_DROPLETS
    counts = adata.layers["umi"]
    assert counts.dtype == np.uint16
    np.testing.assert_array_equal(counts[:400], whole_blood.X.toarray())
    assert counts[400:].sum() == 0
    assert adata.var_names[0] == adata.var_names[1]
    report = preflight.check(adata, "umi", "day", "type")
    wrong = report[report["verdict"] != preflight.OK]
    assert list(wrong.index) == ["empty cells", "storage", "gene names"]


@pytest.mark.filterwarnings("ignore:Variable names")
def preflight_cells(folder):
    return reading.read(messy_data.write(folder / "my_cells.h5ad"))


def test_what_stops_scvi_stops_the_report_too(pbmc):
    """check_counts and the report agree, as one is made of the other."""
    pbmc.X.data[3] = -1
    report = preflight.check(pbmc)
    with pytest.raises(ValueError) as caught:
        data.check_counts(pbmc)
    assert report.loc["counts", "found"] in str(caught.value)


def two_batches(sizes):
    """Cells by batch and label: {(batch, label): cells}."""
    rows = [key for key, n in sizes.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["batch", "label"]).set_index(
        pd.RangeIndex(len(rows)).astype(str)
    )
    return ad.AnnData(np.ones((len(rows), 3), dtype=np.float32), obs=obs)


@pytest.mark.parametrize(
    ("sizes", "alone"),
    [
        ({("a", "x"): 99, ("b", "x"): 1, ("a", "y"): 50, ("b", "y"): 150}, ["x"]),
        ({("a", "x"): 90, ("b", "x"): 10, ("a", "y"): 50, ("b", "y"): 150}, []),
        # Batch b is so small that few cells of any label can be in it.
        ({("a", "x"): 97, ("b", "x"): 3, ("a", "y"): 970, ("b", "y"): 30}, []),
        ({("a", "x"): 100, ("a", "y"): 500, ("b", "y"): 10}, ["x"]),
    ],
    ids=["a stray cell", "a tenth", "a small batch", "none in a small batch"],
)
def test_a_label_that_is_nearly_in_one_batch_counts_as_such(sizes, alone):
    table = preflight.shared_labels(two_batches(sizes), "batch", "label")
    assert list(table.index[table["in one batch"]]) == alone


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


def test_a_finding_is_a_line_with_its_fix(pbmc):
    pbmc.X.data[3] = -1
    text = preflight.text(preflight.check(pbmc))
    assert text.startswith("- repair: Negative: 1 entries of X")
    assert "layer = 'counts'" in text
    assert preflight.text(preflight.check(pbmc, "counts", None).iloc[:2]) == ""


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


def test_a_file_of_the_learner_is_not_overwritten_by_the_spoiled_one(pbmc, tmp_path):
    mine = tmp_path / "mine.h5ad"
    pbmc.write_h5ad(mine)
    before = mine.read_bytes()
    with pytest.raises(FileExistsError, match=r"left as it is[^$]*What to do: give another name"):
        messy_data.write(mine)
    assert mine.read_bytes() == before
    spoiled = messy_data.write(tmp_path / "spoiled.h5ad")
    assert messy_data.write(spoiled) == spoiled
