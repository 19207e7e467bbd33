"""The steps of ``seurat_v3`` are what scanpy computes, and what they mean."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from helpers import genes


@pytest.fixture
def table(cortex):
    table = genes.mean_and_variance(cortex)
    table["expected variance"] = genes.expected_variance(table)
    return table


def test_mean_and_variance_are_those_of_numpy(pbmc):
    table = genes.mean_and_variance(pbmc)
    dense = pbmc.layers["counts"].toarray().astype(float)
    assert np.allclose(table["mean"], dense.mean(axis=0))
    assert np.allclose(table["variance"], dense.var(axis=0, ddof=1))


def test_standardised_variance_is_that_of_the_clipped_standardised_counts(cortex, table):
    """Recomputed from the definition, count by count, for a few genes."""
    some = table.index[[0, 736, 2000, 3394]]
    dense = cortex[:, some].layers["counts"].toarray().astype(float)
    mean, spread = (
        table.loc[some, "mean"].to_numpy(),
        np.sqrt(table.loc[some, "expected variance"].to_numpy()),
    )
    standardised = np.minimum((dense - mean) / spread, np.sqrt(cortex.n_obs))
    expected = (standardised**2).sum(axis=0) / (cortex.n_obs - 1)
    assert np.allclose(genes.standardised_variance(cortex, table)[some], expected)


def test_without_the_limit_it_is_the_ratio_of_the_variances(cortex, table):
    ratio = table["variance"] / table["expected variance"]
    assert np.allclose(genes.standardised_variance(cortex, table, clip=False), ratio)


@pytest.mark.parametrize("n_top_genes", [50, 500, 2000])
def test_the_steps_select_what_scanpy_selects(n_top_genes, cortex, table):
    ours = genes.standardised_variance(cortex, table).nlargest(n_top_genes).index
    genes.select(cortex, n_top_genes)
    assert set(cortex.var_names) == set(ours)


def test_a_gene_without_counts_changes_nothing_for_the_others(cortex, table):
    """The full cortex has such genes."""
    silent = cortex[:, :2].copy()
    silent.layers["counts"] *= 0
    silent.var_names = ["silent 1", "silent 2"]
    more = ad.concat([silent, cortex], axis="var")
    steps = genes.mean_and_variance(more)
    steps["expected variance"] = genes.expected_variance(steps)
    pd.testing.assert_frame_equal(steps[2:], table, check_index_type=False)
    assert (steps["expected variance"][:2] == 1).all()
    standardised = genes.standardised_variance(more, steps)
    assert (standardised[:2] == 0).all()
    ours = standardised.nlargest(500).index
    genes.select(more, 500)
    assert set(more.var_names) == set(ours)


def test_select_is_the_call_of_the_lesson(cortex):
    line = cortex.copy()
    sc.pp.highly_variable_genes(
        line, n_top_genes=2000, subset=True, layer="counts", flavor="seurat_v3"
    )
    genes.select(cortex)
    assert list(cortex.var_names) == list(line.var_names)
    assert cortex.layers["counts"].shape == (3005, 2000)


def test_flavours_are_those_of_scanpy_and_leave_the_data_alone(pbmc):
    before = pbmc.layers["counts"].copy()
    selected = genes.compare_flavours(pbmc, n_top_genes=100)
    assert (pbmc.layers["counts"] != before).nnz == 0
    assert (selected.sum() == 100).all()
    assert selected.index.equals(pbmc.var_names)
    genes.select(pbmc, 100)
    assert set(selected.index[selected["seurat_v3"]]) == set(pbmc.var_names)


def test_each_flavour_selects_by_name_whatever_the_order_of_genes(pbmc):
    """Some flavours return a table without names; a selection must not land on the wrong genes."""
    selected = genes.compare_flavours(pbmc, n_top_genes=60)
    shuffled = pbmc[:, np.random.default_rng(0).permutation(pbmc.n_vars)].copy()
    again = genes.compare_flavours(shuffled, n_top_genes=60)
    pd.testing.assert_frame_equal(again.loc[pbmc.var_names], selected)


def test_overlap_counts_shared_genes():
    selected = pd.DataFrame(
        {"a": [True, True, False], "b": [True, False, True]}, index=["x", "y", "z"]
    )
    assert genes.overlap(selected).to_dict() == {"a": {"a": 2, "b": 1}, "b": {"a": 1, "b": 2}}
    assert "a and b share 1" in genes.plot_overlap(selected).alt


def test_the_figure_says_which_genes_lie_above_the_curve(table):
    without = genes.plot_mean_variance(table.drop(columns="expected variance")).alt
    assert "curve" not in without
    said = genes.plot_mean_variance(table, label=("Malat1", "Plp1")).alt
    assert said.startswith(without)
    above = table["variance"] > table["expected variance"]
    assert above["Plp1"] and not above["Malat1"]
    assert "Malat1 below, Plp1 above" in said
    number = int(said.split("about ")[1].split(" ")[0].replace(",", ""))
    assert abs(number - above.sum()) <= 50


def test_accuracy_is_high_for_markers_and_at_chance_for_noise(cortex):
    known = ["Plp1", "Mbp", "Cnp", "Clu", "Slc1a2", "Snap25", "Hpca", "B2m", "Bsg", "Neurod6"]
    markers = pd.Index([*known, *cortex.var_names[500:530]])
    good = genes.class_accuracy(cortex, markers)
    labels = cortex.obs["cell_type"].to_numpy().copy()
    np.random.default_rng(0).shuffle(labels)
    cortex.obs["cell_type"] = pd.Categorical(labels)
    chance = genes.class_accuracy(cortex, markers)
    assert good > 0.75
    assert chance < 0.45


def test_selection_by_batch_ignores_what_only_differs_between_batches():
    """Synthetic counts, all Poisson.

    The first gene has three times as many in one batch as in the other.
    """
    random = np.random.default_rng(0)
    rates = np.repeat(random.uniform(1, 20, (1, 300)), 600, axis=0)
    rates[:, 0] = np.repeat([4.0, 12.0], 300)
    counts = sp.csr_matrix(random.poisson(rates).astype(np.float32))
    batch = pd.DataFrame({"batch": np.repeat(["A", "B"], 300)}, index=map(str, range(600)))
    together = ad.AnnData(counts, obs=batch, layers={"counts": counts.copy()})
    apart = together.copy()
    genes.select(together, 10)
    genes.select(apart, 10, batch_key="batch")
    assert "0" in together.var_names
    assert "0" not in apart.var_names
    assert together.n_vars == apart.n_vars == 10


def in_batches(adata, *sizes):
    """Name so many cells after one another a batch."""
    adata = adata[: sum(sizes)].copy()
    adata.obs["batch"] = np.repeat([f"batch {i}" for i in range(len(sizes))], sizes)
    return adata


@pytest.mark.parametrize("few", [1, 2, 3, 15, 40])
def test_batch_too_small_for_a_curve_is_left_out_of_the_ranking_and_named(few, blood):
    """Its cells stay; genes are those of the large batch by itself."""
    blood.layers["counts"] = blood.X.copy()
    adata = in_batches(blood, 400 - few, few)
    with pytest.warns(UserWarning, match=rf"1 of 2 batches .*batch 1 {few} cells; .*others only"):
        genes.select(adata, batch_key="batch")
    large = in_batches(blood, 400 - few)
    genes.select(large, batch_key="batch")
    assert set(adata.var_names) == set(large.var_names)
    assert adata.shape == (400, 2000)


def test_small_batches_are_ranked_as_one(blood):
    blood.layers["counts"] = blood.X.copy()
    adata = in_batches(blood, *[20] * 20)
    with pytest.warns(UserWarning, match=r"20 of 20 batches .*ranked as one batch"):
        genes.select(adata, batch_key="batch")
    blood = in_batches(blood, 400)
    genes.select(blood, batch_key="batch")
    assert set(adata.var_names) == set(blood.var_names)


@pytest.mark.parametrize("cells", [1, 2, 3])
@pytest.mark.parametrize("batch_key", [None, "batch"])
def test_too_few_cells_are_said_and_do_not_end_python(cells, batch_key, blood):
    blood.layers["counts"] = blood.X.copy()
    adata = in_batches(blood, *[1] * cells)
    with pytest.raises(ValueError, match=r"curve of the expected variance[^$]*What to do: drop"):
        genes.select(adata, batch_key=batch_key)
