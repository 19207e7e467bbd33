"""Genes that are known to vary with no other, and what denoising makes of them."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy import stats

from helpers import data, figures, training
from helpers.expression import denoising
from tests.helpers.random_states import move_random_states, random_states
from tests.helpers.small_models import build, few

SHORT = {"max_epochs": 3, "enable_progress_bar": False}


@pytest.fixture(scope="module")
def cells(whole_cortex):
    return denoising.with_shuffled_genes(whole_cortex, n_genes=60, n_shuffled=10, n_cells=300)


@pytest.fixture
def model(cells):
    model = build(cells.copy(), n_latent=3, n_hidden=16)
    model.train(**SHORT)
    return model


def shuffled(adata):
    return list(adata.var_names[adata.var["shuffled"]])


def fractions_of_real(adata):
    """Return what each shuffled gene has in a cell, per count in the real genes of the cell."""
    counts = adata.layers["counts"].toarray().astype(float)
    mask = adata.var["shuffled"].to_numpy()
    return counts[:, mask] / counts[:, ~mask].sum(axis=1, keepdims=True)


# --- the cells ----------------------------------------------------------------------------------


def test_real_genes_and_the_totals_of_shuffled_ones_stay(whole_cortex, cells):
    assert cells.shape == (300, 60)
    original = whole_cortex[cells.obs_names, cells.var_names].copy()
    pd.testing.assert_frame_equal(cells.obs, original.obs)
    counts, before = cells.layers["counts"].toarray(), original.layers["counts"].toarray()
    mask = cells.var["shuffled"].to_numpy()
    assert mask.sum() == 10
    assert (counts[:, ~mask] == before[:, ~mask]).all()
    assert (counts[:, mask].sum(axis=0) == before[:, mask].sum(axis=0)).all()
    assert (counts[:, mask] != before[:, mask]).any(axis=0).all()
    assert "symbol_known" in cells.var
    assert (cells.layers["counts"] != cells.X).nnz == 0
    assert cells.X is not cells.layers["counts"]
    assert sp.issparse(cells.X) and cells.X.dtype == np.float32


def test_the_genes_are_those_with_most_counts_in_all_cells(whole_cortex, cells):
    total = pd.Series(np.asarray(whole_cortex.X.sum(axis=0)).ravel(), whole_cortex.var_names)
    assert set(cells.var_names) == set(total.nlargest(60).index)
    assert list(cells.var_names) == [g for g in whole_cortex.var_names if g in cells.var_names]
    assert cells.obs_names.is_unique


def test_a_molecule_of_a_shuffled_gene_goes_into_a_cell_in_proportion_to_its_real_counts(cells):
    counts = cells.layers["counts"].toarray().astype(float)
    mask = cells.var["shuffled"].to_numpy()
    real = counts[:, ~mask].sum(axis=1)
    for gene in np.flatnonzero(mask):
        expected = counts[:, gene].sum() * real / real.sum()
        # Pearson's test of a multinomial; all of ten genes would fail it by chance once in a
        # thousand.
        assert stats.chisquare(counts[:, gene], expected).pvalue > 1e-4


def test_a_shuffled_gene_varies_with_nothing(cells):
    fractions = fractions_of_real(cells)
    others = pd.get_dummies(cells.obs["cell_type"]).to_numpy(dtype=float)
    library = cells.layers["counts"].toarray().sum(axis=1)
    everything = np.column_stack([fractions, others, library])
    found = np.corrcoef(everything, rowvar=False)[:10]
    np.fill_diagonal(found, 0)
    # 4.5 standard errors of 300 cells.
    assert np.abs(found).max() < 4.5 / np.sqrt(300)
    # The real counts of the same genes do vary with others.
    assert np.abs(found).mean() < 0.06


def test_the_cells_hang_on_the_seed_alone_and_the_source_stays(whole_cortex, cells):
    before = whole_cortex.layers["counts"].copy()
    columns = list(whole_cortex.var)
    states = random_states()
    again = denoising.with_shuffled_genes(whole_cortex, 60, 10, 300)
    other = denoising.with_shuffled_genes(whole_cortex, 60, 10, 300, seed=1)
    assert random_states() == states
    assert (again.X != cells.X).nnz == 0
    assert list(again.obs_names) == list(cells.obs_names)
    assert shuffled(again) == shuffled(cells)
    assert list(other.obs_names) != list(cells.obs_names)
    assert shuffled(other) != shuffled(cells)
    assert (whole_cortex.layers["counts"] != before).nnz == 0
    assert list(whole_cortex.var) == columns


def test_all_cells_and_the_fewest_genes_can_be_taken(whole_cortex):
    small = whole_cortex[:50, :4].copy()
    taken = denoising.with_shuffled_genes(small, n_genes=4, n_shuffled=2, n_cells=50)
    assert list(taken.obs_names) == list(small.obs_names)
    assert taken.var["shuffled"].sum() == 2


def test_cells_that_cannot_be_made_are_refused(whole_cortex):
    make, small = denoising.with_shuffled_genes, whole_cortex[:50, :20].copy()
    few_genes = {"n_genes": 10, "n_shuffled": 3}
    with pytest.raises(ValueError, match=r"51 cells and 10 genes.*there are 50 and 20"):
        make(small, n_cells=51, **few_genes)
    with pytest.raises(ValueError, match="at least 3 cells"):
        make(small, n_cells=2, **few_genes)
    with pytest.raises(ValueError, match="21 genes were asked for"):
        make(small, n_cells=50, n_genes=21, n_shuffled=3)
    for n_shuffled in (1, 9):
        with pytest.raises(ValueError, match="n_shuffled from 2 to 8"):
            make(small, n_cells=50, n_genes=10, n_shuffled=n_shuffled)
    unseen = small.copy()
    unseen.layers["counts"] = sp.csr_matrix(unseen.layers["counts"].toarray() * (np.arange(20) < 5))
    with pytest.raises(ValueError, match=rf"No count of {small.var_names[5]}.* in these 50 cells"):
        make(unseen, n_cells=50, **few_genes)
    empty = small.copy()
    empty.layers["counts"] = sp.csr_matrix(
        empty.layers["counts"].toarray() * (np.arange(50)[:, None] > 2)
    )
    with pytest.raises(ValueError, match="3 of 50 cells have no counts"):
        make(empty, n_cells=50, **few_genes)
    for factor in (0.5, -1):
        changed = small.copy()
        changed.layers["counts"] = changed.layers["counts"] * factor
        with pytest.raises(ValueError, match="not counts, and only whole"):
            make(changed, n_cells=50, **few_genes)
    del small.layers["counts"]
    with pytest.raises(ValueError, match=r"no layers\[\"counts\"\].*\n.*helpers\.data"):
        make(small, n_cells=50, **few_genes)


# --- the correlations ---------------------------------------------------------------------------


def expected_expression(model, seed=0, **kwargs):
    torch.manual_seed(seed)
    return model.get_normalized_expression(library_size=1e4, **kwargs)


def test_correlations_are_recomputed_pair_by_pair(model):
    # Not in the order of the model.
    genes = [*shuffled(model.adata)[::-1][:4], "Malat1"]
    table = denoising.correlations(model, genes)
    assert len(table) == 10
    counts = model.adata.to_df("counts").astype(float)
    normalised = np.log1p(1e4 * counts.div(counts.sum(axis=1), axis=0))
    expected = np.log1p(expected_expression(model))
    for _, pair in table.iterrows():
        one, other = pair["gene"], pair["other gene"]
        assert genes.index(one) < genes.index(other)
        assert pair["counts"] == pytest.approx(
            stats.pearsonr(normalised[one], normalised[other]).statistic, abs=1e-6
        )
        assert pair["denoised"] == pytest.approx(
            stats.pearsonr(expected[one], expected[other]).statistic, abs=1e-4
        )


def test_some_cells_are_chosen_by_rows_or_by_a_mask(model):
    genes = shuffled(model.adata)[:4]
    mask = (model.adata.obs["cell_type"] == "pyramidal CA1").to_numpy()
    rows = np.flatnonzero(mask)
    by_rows = denoising.correlations(model, genes, rows)
    for cells in (mask, pd.Series(mask, model.adata.obs_names), rows.tolist()):
        pd.testing.assert_frame_equal(denoising.correlations(model, genes, cells), by_rows)
    expected = np.log1p(expected_expression(model, indices=rows)[genes])
    assert by_rows["denoised"].to_numpy() == pytest.approx(
        np.corrcoef(expected.T)[np.triu_indices(4, 1)], abs=1e-4
    )
    counts = model.adata.layers["counts"].toarray()[rows].astype(float)
    normalised = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    columns = model.adata.var_names.get_indexer(genes)
    assert by_rows["counts"].to_numpy() == pytest.approx(
        np.corrcoef(normalised[:, columns].T)[np.triu_indices(4, 1)], abs=1e-6
    )


def test_several_positions_of_a_cell_are_averaged(model):
    genes = shuffled(model.adata)[:4]
    found = denoising.correlations(model, genes, n_samples=5, seed=3)
    expected = np.log1p(expected_expression(model, seed=3, n_samples=5)[genes])
    assert found["denoised"].to_numpy() == pytest.approx(
        np.corrcoef(expected.T)[np.triu_indices(4, 1)], abs=1e-4
    )
    once = denoising.correlations(model, genes, seed=3)
    assert (once["denoised"] != found["denoised"]).all()
    assert (once["counts"] == found["counts"]).all()


def test_it_hangs_on_the_seed_alone_and_leaves_model_and_session_as_they_were(model):
    genes = shuffled(model.adata)
    columns = list(model.adata.obs)
    first = denoising.correlations(model, genes)
    move_random_states()
    before = random_states()
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    # With dropout and batch normalisation in training mode, but for one part.
    model.module.train()
    model.module.decoder.eval()
    modes = [part.training for part in model.module.modules()]
    pd.testing.assert_frame_equal(denoising.correlations(model, genes), first, check_exact=True)
    assert [part.training for part in model.module.modules()] == modes
    assert random_states() == before
    assert all((model.module.state_dict()[name] == value).all() for name, value in weights.items())
    assert list(model.adata.obs) == columns
    assert (denoising.correlations(model, genes, seed=1)["denoised"] != first["denoised"]).any()


def test_denoising_invents_correlations_between_genes_that_have_none(whole_cortex):
    cells = denoising.with_shuffled_genes(whole_cortex, n_genes=100, n_shuffled=20, n_cells=600)
    model = build(cells)
    training.train(model, max_epochs=20, enable_progress_bar=False)
    table = denoising.correlations(model, shuffled(cells))
    assert len(table) == 190
    assert (table["counts"].abs() > 0.5).sum() == 0
    assert (table["denoised"].abs() > 0.5).mean() > 0.2


@pytest.mark.parametrize("kind", ["LinearSCVI", "SCANVI"])
def test_other_models_of_counts_can_be_asked(whole_cortex, kind):
    adata = few(whole_cortex, 30)
    model = build(adata, kind, setup={"batch_key": "chip"}, n_hidden=8)
    model.train(**SHORT)
    table = denoising.correlations(model, list(adata.var_names[:3]))
    assert (table[["counts", "denoised"]].abs().to_numpy() < 1 + 1e-9).all()


# --- errors -------------------------------------------------------------------------------------


def test_models_that_give_no_expression_of_genes_alone_are_refused(cells):
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        denoising.correlations(build(cells.copy()), shuffled(cells))
    blood = few(data.load_citeseq(), 50)
    with pytest.raises(TypeError, match=r"TOTALVI.*\n.*scvi\.model\.SCVI"):
        denoising.correlations(build(blood, "TOTALVI"), list(blood.var_names[:2]))


def test_genes_and_cells_that_have_no_correlation_are_refused(model):
    names = list(model.adata.var_names)
    with pytest.raises(KeyError, match=r"does not know Nope, Neither.*var_names"):
        denoising.correlations(model, ["Nope", names[0], "Neither"])
    with pytest.raises(ValueError, match="1 genes were given, 1 of them different"):
        denoising.correlations(model, names[0])
    with pytest.raises(ValueError, match="3 genes were given, 2 of them different"):
        denoising.correlations(model, [names[0], names[1], names[0]])
    with pytest.raises(ValueError, match=r"over 2 cells says nothing.*\n.*at least 3"):
        denoising.correlations(model, names[:2], [0, 1])
    with pytest.raises(ValueError, match="over 0 cells"):
        denoising.correlations(model, names[:2], np.zeros(300, bool))
    with pytest.raises(IndexError):
        denoising.correlations(model, names[:2], [0, 1, 300])


def test_a_gene_that_does_not_vary_is_named_rather_than_given_nan(model):
    names = list(model.adata.var_names)
    unseen = model.adata.layers["counts"].toarray()
    unseen[:50, 3] = 0
    model.adata.layers["counts"] = sp.csr_matrix(unseen)
    with pytest.raises(ValueError, match=rf"No count of {names[3]} in these 50 cells"):
        denoising.correlations(model, names[:5], np.arange(50))
    for weights in model.module.decoder.parameters():
        weights.data.zero_()
    with pytest.raises(ValueError, match=rf"In the denoised, {names[0]}, {names[1]} is the same"):
        denoising.correlations(model, names[:2])


# --- the figure ---------------------------------------------------------------------------------


def test_the_figure_shows_and_says_the_shares():
    table = pd.DataFrame(
        {"counts": [0.12, -0.21, 0.31, 0.01, 0.02], "denoised": [0.92, -0.93, -0.61, 0.12, 0.47]}
    )
    drawn = denoising.plot(table)
    for axes, name in zip(drawn.figure.axes, table, strict=True):
        for bar in axes.patches:
            low, width = bar.get_x(), bar.get_width()
            inside = ((table[name] >= low - 1e-9) & (table[name] < low + width - 1e-9)).sum()
            assert bar.get_height() == inside
        assert sum(bar.get_height() for bar in axes.patches) == 5
        assert [line.get_xdata()[0] for line in axes.lines] == [0]
        assert name in axes.get_title(loc="left")
    assert isinstance(drawn, figures.DescribedFigure)
    assert "correlations of 5 pairs" in drawn.alt
    assert "In the counts fewer than a third of the pairs" in drawn.alt
    assert (
        "In the denoised more than a third of the pairs are beyond plus or minus 0.5" in drawn.alt
    )
