"""Expression per 10,000 counts from models whose decoders have another scale."""

import numpy as np
import pandas as pd
import pytest

from helpers import training
from helpers.expression import denoising, differential_expression, expected_fractions
from tests.helpers.expression.shared import CLASS, SHORT, counts_of
from tests.helpers.random_states import random_states
from tests.helpers.small_models import build, few

SIZES = {"size_factor_key": "size"}


def trained(cells, setup, **parameters):
    counts = counts_of(cells)
    # Sizes that are no totals: the decoder has to make up for it, each gene by itself.
    cells.obs["size"] = counts.sum(axis=1) / counts.sum() * np.linspace(3, 30, len(counts))
    cells.obs[CLASS] = cells.obs[CLASS].astype(str)
    model = build(cells, setup=setup, n_latent=3, n_hidden=8, **parameters)
    model.train(**SHORT)
    return model


@pytest.fixture(scope="module")
def sized(whole_cortex):
    return trained(few(whole_cortex, 40), SIZES)


@pytest.fixture(scope="module")
def embedded(whole_cortex):
    return trained(few(whole_cortex, 40), {"batch_key": "chip"}, batch_representation="embedding")


def drawn(model, seed, n_draws):
    """Return the expected fractions at single positions: draws x cells x genes."""
    with training.evaluating(model, seed):
        scales = [model.get_normalized_expression(return_numpy=True) for _ in range(n_draws)]
    return np.stack([scale / scale.sum(axis=1, keepdims=True) for scale in scales])


def test_a_model_that_gives_fractions_is_asked_itself(model):
    states = random_states()
    assert expected_fractions.in_fractions(model) is model
    assert random_states() == states


def test_all_genes_add_up_to_the_library_size(sized):
    assert sized.get_normalized_expression().sum(axis=1).mean() > 10
    asked = expected_fractions.in_fractions(sized)
    table = asked.get_normalized_expression(library_size=1e4, n_samples=2)
    np.testing.assert_allclose(table.sum(axis=1), 1e4, rtol=1e-5)
    assert list(table.columns) == list(sized.adata.var_names)


@pytest.mark.parametrize("name", ["sized", "embedded"])
def test_what_is_asked_for_is_what_was_drawn(name, request):
    model = request.getfixturevalue(name)
    expected, names = drawn(model, 3, 2), model.adata.var_names
    asked, rows, genes = expected_fractions.in_fractions(model), [5, 2, 90], list(names[[7, 1]])
    with training.evaluating(model, 3):
        each = asked.get_normalized_expression(n_samples=2, return_mean=False, return_numpy=True)
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    with training.evaluating(model, 3):
        mean = asked.get_normalized_expression(
            indices=range(128), gene_list=genes, library_size=50, n_samples=2
        )
    np.testing.assert_allclose(mean, 50 * expected.mean(axis=0)[:, [1, 7]], rtol=1e-5)
    assert list(mean.columns) == list(names[[1, 7]])
    some = asked.get_normalized_expression(indices=rows)
    assert list(some.index) == list(model.adata.obs_names[rows])
    assert asked.get_normalized_expression(n_samples_overall=300, return_numpy=True).shape == (
        300,
        len(names),
    )


@pytest.mark.parametrize("name", ["sized", "embedded"])
def test_correlations_are_those_of_fractions(name, request):
    model = request.getfixturevalue(name)
    genes = list(model.adata.var_names[:3])
    found = denoising.correlations(model, genes, n_samples=3, seed=4)
    values = np.log1p(1e4 * drawn(model, 4, 3).mean(axis=0)[:, :3])
    expected = np.corrcoef(values, rowvar=False)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(found["denoised"], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["sized", "embedded"])
def test_classes_are_compared_by_fractions(name, request):
    model = request.getfixturevalue(name)
    table = differential_expression.one_vs_rest(model, CLASS).set_index(["class", "gene"])
    x, classes = drawn(model, 1, 8), model.adata.obs[CLASS].to_numpy()
    for each in ("pyramidal CA1", "oligodendrocytes"):
        inside = classes == each
        change = np.log2(x[:, inside][:, :, None] / x[:, ~inside][:, None]).reshape(-1, 40)
        found = table.loc[each].loc[model.adata.var_names, "log2 fold change"]
        assert found.to_numpy() == pytest.approx(np.median(change, axis=0), abs=0.1)


def test_a_scale_of_each_cell_of_its_own_changes_nothing(model):
    genes = list(model.adata.var_names[:4])
    expected = differential_expression.one_vs_rest(model, CLASS)
    denoised = denoising.correlations(model, genes)
    original, factors = model.get_normalized_expression, np.linspace(1, 400, 128)[:, None]

    def scaled(adata=None, indices=None, library_size=1, gene_list=None, **how):
        fractions = original(adata, indices, **how | {"return_numpy": True})
        return fractions * factors[range(128) if indices is None else indices]

    model.get_normalized_expression = scaled
    # Other draws of the same cells.
    found = differential_expression.one_vs_rest(model, CLASS)
    both = [table.set_index(["class", "gene"]).sort_index() for table in (expected, found)]
    change = both[1]["log2 fold change"] - both[0]["log2 fold change"]
    assert change.abs().mean() < 0.2
    pd.testing.assert_frame_equal(denoising.correlations(model, genes), denoised, atol=1e-4)


def test_the_batch_is_passed_on(whole_cortex):
    model = trained(few(whole_cortex, 40), SIZES | {"batch_key": "chip"})
    asked = expected_fractions.in_fractions(model)
    tables = []
    for batch in ("a", "b"):
        with training.evaluating(model, 0):
            tables.append(asked.get_normalized_expression(transform_batch=batch))
        np.testing.assert_allclose(tables[-1].sum(axis=1), 1, rtol=1e-5)
    assert (tables[0] != tables[1]).any(axis=None)


# --- counts ---------------------------------------------------------------------------------------


def minified(model, kind):
    centres, variances = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = centres, variances
    model.minify_adata(kind)
    return model


def test_counts_that_were_taken_out_are_not_taken_for_0(model):
    genes = list(model.adata.var_names[:3])
    minified(model, "latent_posterior_parameters")
    for ask in (
        lambda: differential_expression.one_vs_rest(model, CLASS),
        lambda: denoising.correlations(model, genes),
    ):
        with pytest.raises(ValueError, match=r"counts are gone.*with_counts"):
            ask()


def test_minified_data_may_keep_the_counts(model):
    genes = list(model.adata.var_names[:3])
    counted = ["class", "gene", "mean counts", "mean counts elsewhere", "cells with counts"]
    before = differential_expression.one_vs_rest(model, CLASS)[counted]
    correlated = denoising.correlations(model, genes)
    # Not what the model was given.
    model.adata.X = model.adata.X * 0
    minified(model, "latent_posterior_parameters_with_counts")
    after = differential_expression.one_vs_rest(model, CLASS)[counted]
    order = ["class", "gene"]
    pd.testing.assert_frame_equal(
        *(table.sort_values(order, ignore_index=True) for table in (before, after))
    )
    pd.testing.assert_frame_equal(denoising.correlations(model, genes), correlated, atol=1e-4)


def test_numbers_that_are_no_counts_are_refused(whole_cortex):
    model = trained(few(whole_cortex, 40), {}, gene_likelihood="normal")
    for ask in (
        lambda: differential_expression.one_vs_rest(model, CLASS),
        lambda: denoising.correlations(model, list(model.adata.var_names[:3])),
    ):
        with pytest.raises(ValueError, match=r"'normal'.*no counts[\s\S]*What to do"):
            ask()
