"""The genes and the cells divide the same loss."""

import numpy as np
import pytest
import scvi

from helpers.loss import attribution, terms_by_hand
from tests.helpers.loss.test_terms_by_hand import scipy_reconstruction, with_outputs


def test_genes_and_cells_divide_the_same_loss(trained):
    costs, table = attribution.attribute_loss(trained), terms_by_hand.by_hand(trained)
    counts = trained.adata.layers["counts"].toarray()
    genes = costs.genes.loc[trained.adata.var_names]
    cells = costs.cells.loc[trained.adata.obs_names]
    assert costs.genes["reconstruction"].sum() == pytest.approx(
        costs.cells["reconstruction"].mean()
    )
    assert costs.genes["share"].sum() == pytest.approx(1)
    np.testing.assert_allclose(
        genes["share"], genes["reconstruction"] / genes["reconstruction"].sum()
    )
    np.testing.assert_allclose(genes["mean_count"], counts.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(cells["library_size"], counts.sum(axis=1))
    np.testing.assert_allclose(cells["reconstruction"], table["reconstruction"], rtol=1e-4)
    np.testing.assert_allclose(cells["kl"], table["kl"], rtol=1e-4)
    np.testing.assert_allclose(cells["loss"], table["reconstruction"] + table["kl"], rtol=1e-4)
    np.testing.assert_array_equal(cells["genes_seen"], (counts > 0).sum(axis=1))
    assert costs.genes["reconstruction"].is_monotonic_decreasing
    assert costs.cells["loss"].is_monotonic_decreasing


def test_genes_cost_what_scipy_says(trained, monkeypatch):
    costs, given = with_outputs(trained, monkeypatch, attribution.attribute_loss)
    expected = np.mean(
        np.concatenate(
            [scipy_reconstruction(tensors["X"].numpy(), out["px"]) for tensors, _, out in given]
        ),
        axis=0,
    )
    found = costs.genes.loc[trained.adata.var_names, "reconstruction"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_some_cells_divide_their_own_loss(trained):
    cells = trained.validation_indices
    costs = attribution.attribute_loss(trained, cells)
    counts = trained.adata.layers["counts"].toarray()[cells]
    assert costs.genes["reconstruction"].sum() == pytest.approx(
        costs.cells["reconstruction"].mean()
    )
    genes = costs.genes.loc[trained.adata.var_names]
    np.testing.assert_allclose(genes["mean_count"], counts.mean(axis=0), rtol=1e-6)


def test_a_gene_that_the_decoder_does_not_know_becomes_the_dearest(trained):
    before = attribution.attribute_loss(trained).genes
    counts = trained.adata.layers["counts"].toarray()
    # Counted in most cells, but not among the ten dearest.
    often = (counts > 0).mean(axis=0) > 0.5
    gene = next(name for name in before.index[10:] if often[trained.adata.var_names.get_loc(name)])
    position = trained.adata.var_names.get_loc(gene)
    kept = trained.module.px_r.data.clone()
    try:
        # A dispersion of e^-15 says that the count is almost always 0.
        trained.module.px_r.data[position] = -15
        after = attribution.attribute_loss(trained).genes
    finally:
        trained.module.px_r.data = kept
    assert after.index[0] == gene
    others = [name for name in before.index if name != gene]
    np.testing.assert_allclose(
        after.loc[others, "reconstruction"], before.loc[others, "reconstruction"], rtol=1e-6
    )


def test_a_cell_with_shuffled_counts_becomes_dear(trained, tmp_path):
    before = attribution.attribute_loss(trained).cells
    position = 350
    other = trained.adata.copy()
    counts = other.layers["counts"].toarray()
    counts[position] = np.random.default_rng(0).permutation(counts[position])
    other.layers["counts"] = type(other.layers["counts"])(counts)
    trained.save(str(tmp_path / "model"))
    costs = attribution.attribute_loss(
        scvi.model.SCVI.load(str(tmp_path / "model"), adata=other)
    ).cells
    name, others = other.obs_names[position], other.obs_names.delete(position)
    assert costs.loc[name, "library_size"] == before.loc[name, "library_size"]
    assert costs.loc[name, "loss"] > 1.5 * before.loc[name, "loss"]
    per_count = costs["loss"] / costs["library_size"]
    assert per_count.rank(ascending=False)[name] <= 35
    np.testing.assert_allclose(costs.loc[others, "loss"], before.loc[others, "loss"], rtol=1e-5)
