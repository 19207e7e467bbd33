"""What the model and a plain test find, recomputed with other means."""

import inspect

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from scipy import stats

from helpers import data, training
from helpers.expression import differential_expression, marker_figures
from tests.helpers.expression.shared import CLASS, SHORT, counts_of, normalised
from tests.helpers.random_states import move_random_states, random_states
from tests.helpers.small_models import build, few


def by_gene(table):
    return table.set_index(["class", "gene"]).sort_index()


def test_delta_is_the_one_of_scvi_tools():
    signature = inspect.signature(scvi.model.SCVI.differential_expression)
    assert signature.parameters["delta"].default == differential_expression.DELTA


def test_the_bayes_factor_is_the_log_odds_as_scvi_tools_computes_it(model):
    found = model.differential_expression(
        groupby=CLASS, mode="change", all_stats=False, silent=True, n_samples_overall=20
    )
    # A few pairs, so that the certain cases are there too.
    assert {0.0, 1.0} & set(found["proba_de"])
    assert differential_expression.bayes_factor(found["proba_de"]) == pytest.approx(
        found["bayes_factor"].to_numpy(), abs=1e-12
    )


def test_the_bayes_factor_has_an_end():
    assert differential_expression.bayes_factor(0.5) == 0
    assert differential_expression.bayes_factor([0.95, 0.05]) == pytest.approx(
        [np.log(19), -np.log(19)], abs=1e-6
    )
    assert differential_expression.bayes_factor(1) == pytest.approx(np.log(1e8), abs=1e-7)
    assert differential_expression.bayes_factor(1) == pytest.approx(18.42, abs=0.005)
    assert differential_expression.bayes_factor(0) == -differential_expression.bayes_factor(1)
    assert differential_expression.bayes_factor(799 / 800) == pytest.approx(6.7, abs=0.05)
    for wrong in (1.1, -0.1, np.nan, [0.5, np.inf]):
        with pytest.raises(ValueError, match=r"from 0 to 1.*'probability'"):
            differential_expression.bayes_factor(wrong)


def test_what_the_model_finds_is_found_again_with_all_pairs_of_cells(model):
    table = by_gene(differential_expression.one_vs_rest(model, CLASS))
    torch.manual_seed(1)
    draws = [model.get_normalized_expression(return_numpy=True) for _ in range(4)]
    classes = model.adata.obs[CLASS].astype(str).to_numpy()
    for name in ("pyramidal CA1", "oligodendrocytes", "interneurons"):
        inside = classes == name
        change = np.concatenate(
            [np.log2(x[inside][:, None] / x[~inside][None]).reshape(-1, 40) for x in draws]
        )
        probability = np.maximum((change >= 0.25).mean(axis=0), (change < -0.25).mean(axis=0))
        found = table.loc[name].loc[model.adata.var_names]
        # Few cells and positions: the pairs of a cell are not independent.
        assert found["probability"].to_numpy() == pytest.approx(probability, abs=0.1)
        assert np.abs(found["probability"] - probability).mean() < 0.03
        middle = np.median(change, axis=0)
        assert found["log2 fold change"].to_numpy() == pytest.approx(middle, abs=0.6)
        assert stats.pearsonr(found["log2 fold change"], middle).statistic > 0.98


def test_the_columns_are_those_of_scvi_tools_with_fewer_pairs(model):
    with training.evaluating(model, 7):
        found = model.differential_expression(
            groupby=CLASS,
            # In the order of the cells, as the draws depend on it.
            group1=model.adata.obs[CLASS].drop_duplicates().tolist(),
            mode="change",
            delta=0.5,
            all_stats=False,
            silent=True,
            n_samples_overall=differential_expression.PAIRS,
        )
    found.index = pd.MultiIndex.from_arrays([found["group1"], found.index])
    table = by_gene(differential_expression.one_vs_rest(model, CLASS, delta=0.5, seed=7))
    assert len(table) == len(found) == 7 * 40
    for ours, theirs in (
        ("probability", "proba_de"),
        ("Bayes factor", "bayes_factor"),
        ("log2 fold change", "lfc_median"),
    ):
        assert (table[ours] == found.loc[table.index, theirs]).all()
    pairs = table["probability"] * differential_expression.PAIRS
    assert pairs.to_numpy() == pytest.approx(pairs.round().to_numpy())


def test_counts_are_averaged_over_the_class_and_over_the_others(model):
    table = by_gene(differential_expression.one_vs_rest(model, CLASS))
    counts = pd.DataFrame(counts_of(model.adata), columns=model.adata.var_names)
    classes = model.adata.obs[CLASS].to_numpy()
    for name in set(classes):
        inside, found = classes == name, table.loc[name].loc[counts.columns]
        for column, expected in (
            ("mean counts", counts[inside].mean()),
            ("mean counts elsewhere", counts[~inside].mean()),
            ("cells with counts", (counts[inside] > 0).mean()),
        ):
            assert found[column].to_numpy() == pytest.approx(expected.to_numpy())


def test_a_larger_delta_is_met_by_fewer_pairs(model):
    small, large = (
        by_gene(differential_expression.one_vs_rest(model, CLASS, delta=delta))
        for delta in (0.1, 1.0)
    )
    assert (small["probability"] >= large["probability"]).all()
    assert (small["probability"] > large["probability"]).mean() > 0.5
    assert (small["log2 fold change"] == large["log2 fold change"]).all()


def test_it_hangs_on_the_seed_alone_and_leaves_model_and_session_as_they_were(model):
    columns, keys = list(model.adata.obs), list(model.adata.uns)
    first = differential_expression.one_vs_rest(model, CLASS)
    move_random_states()
    before = random_states()
    model.module.train()
    pd.testing.assert_frame_equal(
        differential_expression.one_vs_rest(model, CLASS), first, check_exact=True
    )
    assert model.module.training
    assert random_states() == before
    assert list(model.adata.obs) == columns
    assert list(model.adata.uns) == keys
    other = differential_expression.one_vs_rest(model, CLASS, seed=1)
    assert not by_gene(other)["probability"].equals(by_gene(first)["probability"])


def test_the_genes_are_in_the_order_that_is_described(model):
    table = differential_expression.one_vs_rest(model, CLASS)
    assert list(table["class"].drop_duplicates()) == sorted(set(model.adata.obs[CLASS]))
    for _, genes in table.groupby("class"):
        change, probability = genes["log2 fold change"], genes["probability"]
        group = np.where(change > 0, 1, 2)
        group[(change > 0) & (probability >= 0.9) & (genes["cells with counts"] >= 0.1)] = 0
        assert (np.diff(group) >= 0).all()
        assert change[group == 0].is_monotonic_decreasing
        assert probability[group == 1].is_monotonic_decreasing
        assert probability[group == 2].is_monotonic_increasing


def test_neither_hardly_counted_nor_shared_nor_lower_genes_come_first():
    table = pd.DataFrame(
        [
            ("lower", 0.99, -8.0, 0.9),
            ("unsure", 0.6, 6.0, 0.9),
            ("hardly counted", 0.99, 9.0, 0.05),
            ("small", 0.999, 0.5, 0.9),
            ("large", 0.95, 3.0, 0.9),
            ("not lower for sure", 0.5, -0.1, 0.9),
            ("at the limits", 0.9, 1.0, 0.1),
        ],
        columns=["gene", "probability", "log2 fold change", "cells with counts"],
    ).assign(**{"class": "a"})
    two = pd.concat([table.assign(**{"class": "b"}), table])
    expected = ["large", "at the limits", "small", "hardly counted", "unsure"]
    ranked = differential_expression._ranked(two.reset_index(drop=True))
    assert list(ranked["gene"]) == [*expected, "not lower for sure", "lower"] * 2
    assert list(ranked["class"]) == ["a"] * 7 + ["b"] * 7


def test_classes_may_be_numbers_and_categories_may_be_empty(model):
    adata = model.adata
    expected = differential_expression.one_vs_rest(model, CLASS)
    adata.obs["wide"] = adata.obs[CLASS].cat.add_categories(["nobody"])
    pd.testing.assert_frame_equal(differential_expression.one_vs_rest(model, "wide"), expected)
    adata.obs["number"] = np.where(adata.obs[CLASS] == "oligodendrocytes", 1, 2)
    table = differential_expression.one_vs_rest(model, "number")
    assert list(table["class"].drop_duplicates()) == ["1", "2"]
    named = by_gene(expected).loc["oligodendrocytes"]["mean counts"]
    pd.testing.assert_series_equal(by_gene(table).loc["1"]["mean counts"], named)
    assert list(differential_expression.wilcoxon(adata, "number")["class"].drop_duplicates()) == [
        "1",
        "2",
    ]


def test_a_model_with_batches_can_be_asked(whole_cortex):
    model = build(few(whole_cortex, 30), "SCANVI", setup={"batch_key": "chip"}, n_hidden=8)
    model.train(**SHORT)
    assert len(differential_expression.one_vs_rest(model, CLASS)) == 7 * 30


def test_the_wilcoxon_test_is_recomputed_with_scipy(cells):
    table = by_gene(differential_expression.wilcoxon(cells, CLASS))
    values, classes = normalised(counts_of(cells)), cells.obs[CLASS].to_numpy()
    for name in set(classes):
        inside = classes == name
        tests = [stats.ranksums(column[inside], column[~inside]) for column in values.T]
        found = table.loc[name].loc[cells.var_names]
        assert found["score"].to_numpy() == pytest.approx(
            [test.statistic for test in tests], abs=1e-3
        )
        adjusted = stats.false_discovery_control([test.pvalue for test in tests])
        assert found["adjusted p value"].to_numpy() == pytest.approx(adjusted, rel=1e-2, abs=1e-12)
        # scanpy adds a little to both, so that none is 0.
        own, others = (np.expm1(values[rows].mean(axis=0)) + 1e-9 for rows in (inside, ~inside))
        assert found["log2 fold change"].to_numpy() == pytest.approx(
            np.log2(own / others), abs=1e-3
        )
        assert found["mean counts"].to_numpy() == pytest.approx(
            counts_of(cells)[inside].mean(axis=0)
        )


def test_blocks_of_genes_change_nothing(cells, monkeypatch):
    expected = differential_expression.wilcoxon(cells, CLASS)
    monkeypatch.setattr(differential_expression, "GENES_AT_ONCE", 7)
    pd.testing.assert_frame_equal(differential_expression.wilcoxon(cells, CLASS), expected)


def test_the_test_puts_what_is_higher_in_a_class_first(cells):
    table = differential_expression.wilcoxon(cells, CLASS)
    assert list(table["class"].drop_duplicates()) == sorted(set(cells.obs[CLASS]))
    for _, genes in table.groupby("class"):
        assert genes["score"].is_monotonic_decreasing
        assert genes["mean counts"].iloc[0] > genes["mean counts elsewhere"].iloc[0]


def test_genes_choose_what_is_tested_and_what_is_normalised_by(cells):
    genes = list(cells.var_names[[30, 3, 4, 5, 6]])
    subset = cells[:, sorted(genes, key=list(cells.var_names).index)].copy()
    by_subset = differential_expression.wilcoxon(subset, CLASS)
    pd.testing.assert_frame_equal(
        differential_expression.wilcoxon(cells, CLASS, genes=genes), by_subset
    )
    assert set(by_subset["gene"]) == set(genes)
    whole = by_gene(differential_expression.wilcoxon(cells, CLASS)).loc[by_gene(by_subset).index]
    assert not np.allclose(whole["score"], by_gene(by_subset)["score"], atol=0.01)


def test_the_layer_can_be_chosen_and_the_cells_stay(cells):
    expected = differential_expression.wilcoxon(cells, CLASS)
    cells.layers["raw"] = cells.layers["counts"].copy()
    cells.layers["counts"] = cells.layers["counts"] * 0
    cells.X = cells.layers["raw"] * 3
    before, columns, states = counts_of(cells), list(cells.obs), random_states()
    pd.testing.assert_frame_equal(
        differential_expression.wilcoxon(cells, CLASS, layer="raw"), expected
    )
    assert (counts_of(cells) == before).all()
    assert (cells.layers["raw"] * 3 != cells.X).nnz == 0
    assert list(cells.obs) == columns and "rank_genes_groups" not in cells.uns
    assert random_states() == states


def test_models_that_cannot_be_asked_are_refused(model, cells):
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        differential_expression.one_vs_rest(build(cells), CLASS)
    blood = few(data.load_citeseq(), 50)
    with pytest.raises(TypeError, match="TOTALVI"):
        differential_expression.one_vs_rest(build(blood, "TOTALVI"), "batch")
    for delta in (0, -1, np.nan):
        with pytest.raises(ValueError, match="must be above 0"):
            differential_expression.one_vs_rest(model, CLASS, delta=delta)


def test_classes_that_cannot_be_compared_are_refused(model):
    adata = model.adata
    column = adata.obs[CLASS].astype(str)
    adata.obs["gap"] = column.where(np.arange(128) > 2)
    adata.obs["one"] = "all"
    adata.obs["single"] = column.where(np.arange(128) > 0, "lonely")
    asks = (
        lambda key: differential_expression.one_vs_rest(model, key),
        lambda key: differential_expression.wilcoxon(adata, key),
        lambda key: marker_figures.dot_plot(adata, {"microglia": [adata.var_names[0]]}, key),
    )
    for ask in asks:
        with pytest.raises(KeyError, match=r"no column 'nope'\. Columns: cell_type"):
            ask("nope")
        with pytest.raises(ValueError, match="3 of 128 cells have no label"):
            ask("gap")
        with pytest.raises(ValueError, match="same label, 'all'"):
            ask("one")
        with pytest.raises(
            ValueError, match=r"'lonely' has a single cell.*\n.*leave this cell out"
        ):
            ask("single")


def test_counts_that_cannot_be_tested_are_refused(cells):
    genes = {"microglia": [cells.var_names[0]]}
    with pytest.raises(KeyError, match="2 genes are not in var_names: Neither, Nope"):
        differential_expression.wilcoxon(
            cells, CLASS, genes=["Nope", cells.var_names[0], "Neither"]
        )
    with pytest.raises(ValueError, match=r"no layer .*raw.*Layers: .*counts"):
        differential_expression.wilcoxon(cells, CLASS, layer="raw")
    empty = cells.copy()
    empty.layers["counts"] = sp.csr_matrix(counts_of(cells) * (np.arange(128)[:, None] > 3))
    for ask in (
        differential_expression.wilcoxon,
        lambda cells, key: marker_figures.dot_plot(cells, genes, key),
    ):
        with pytest.raises(ValueError, match="4 cells without any count"):
            ask(empty, CLASS)
        with pytest.raises(ValueError, match=r"no layer .*counts.*Layers: none"):
            ask(ad.AnnData(cells.X, obs=cells.obs, var=cells.var), CLASS)
