"""Genes that differ between classes, by the model and by a test of the counts."""

import inspect

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation, Text
from scipy import stats

from helpers import data, training
from helpers.expression import differential_expression
from tests.helpers.random_states import move_random_states, random_states
from tests.helpers.small_models import build, few

SHORT = {"max_epochs": 3, "enable_progress_bar": False}
# Long enough for classes to differ.
LONGER = SHORT | {"max_epochs": 80, "plan_kwargs": {"lr": 1e-2}}
CLASS = "cell_type"


@pytest.fixture(scope="module")
def kept(whole_cortex):
    """Train once; a test gets a copy of the cells and the same weights."""
    model = build(few(whole_cortex, 40), n_latent=3, n_hidden=16)
    model.train(**LONGER)
    return model.module.state_dict()


@pytest.fixture
def model(whole_cortex, kept):
    model = build(few(whole_cortex, 40), n_latent=3, n_hidden=16)
    model.module.load_state_dict(kept)
    model.module.eval()
    model.is_trained = True
    return model


@pytest.fixture
def cells(whole_cortex):
    return few(whole_cortex, 40)


def by_gene(table):
    return table.set_index(["class", "gene"]).sort_index()


def counts_of(adata):
    return adata.layers["counts"].toarray().astype(float)


def normalised(counts):
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


# --- the constants ------------------------------------------------------------------------------


def test_known_markers_are_named_genes_of_the_cortex_data(whole_cortex):
    assert set(differential_expression.KNOWN) == set(whole_cortex.obs[CLASS])
    genes = [gene for of_class in differential_expression.KNOWN.values() for gene in of_class]
    assert len(genes) == len(set(genes)) == 28
    assert whole_cortex.var.loc[genes, "symbol_known"].all()


def test_a_placeholder_is_what_the_data_call_a_gene_without_a_symbol(whole_cortex):
    names = pd.Series(whole_cortex.var_names, whole_cortex.var_names)
    assert (
        differential_expression._is_placeholder(names) == ~whole_cortex.var["symbol_known"]
    ).all()


def test_delta_is_the_one_of_scvi_tools():
    signature = inspect.signature(scvi.model.SCVI.differential_expression)
    assert signature.parameters["delta"].default == differential_expression.DELTA


# --- the Bayes factor ---------------------------------------------------------------------------


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


# --- by the model -------------------------------------------------------------------------------


def test_what_the_model_finds_is_found_again_with_all_pairs_of_cells(model):
    table = by_gene(differential_expression.of_each_class(model, CLASS))
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
    table = by_gene(differential_expression.of_each_class(model, CLASS, delta=0.5, seed=7))
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
    table = by_gene(differential_expression.of_each_class(model, CLASS))
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
        by_gene(differential_expression.of_each_class(model, CLASS, delta=delta))
        for delta in (0.1, 1.0)
    )
    assert (small["probability"] >= large["probability"]).all()
    assert (small["probability"] > large["probability"]).mean() > 0.5
    assert (small["log2 fold change"] == large["log2 fold change"]).all()


def test_it_hangs_on_the_seed_alone_and_leaves_model_and_session_as_they_were(model):
    columns, keys = list(model.adata.obs), list(model.adata.uns)
    first = differential_expression.of_each_class(model, CLASS)
    move_random_states()
    before = random_states()
    model.module.train()
    pd.testing.assert_frame_equal(
        differential_expression.of_each_class(model, CLASS), first, check_exact=True
    )
    assert model.module.training
    assert random_states() == before
    assert list(model.adata.obs) == columns
    assert list(model.adata.uns) == keys
    other = differential_expression.of_each_class(model, CLASS, seed=1)
    assert not by_gene(other)["probability"].equals(by_gene(first)["probability"])


def test_the_genes_are_in_the_order_that_is_described(model):
    table = differential_expression.of_each_class(model, CLASS)
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
    expected = differential_expression.of_each_class(model, CLASS)
    adata.obs["wide"] = adata.obs[CLASS].cat.add_categories(["nobody"])
    pd.testing.assert_frame_equal(differential_expression.of_each_class(model, "wide"), expected)
    adata.obs["number"] = np.where(adata.obs[CLASS] == "oligodendrocytes", 1, 2)
    table = differential_expression.of_each_class(model, "number")
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
    assert len(differential_expression.of_each_class(model, CLASS)) == 7 * 30


# --- by a test of the counts --------------------------------------------------------------------


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


# --- the top genes ------------------------------------------------------------------------------


def table_of(**genes):
    return pd.DataFrame(
        [(name.replace("_", " "), gene) for name, of_class in genes.items() for gene in of_class],
        columns=["class", "gene"],
    )


ONE = table_of(x=["unnamed_1", "A", "B", "C", "D"], y=["D", "unnamed_1", "C", "B", "A"])
OTHER = table_of(x=["C", "B", "A", "D", "unnamed_1"], y=["A", "B", "C", "D", "unnamed_1"])


def test_the_top_genes_are_the_first_of_each_class():
    found = differential_expression.top(ONE, 3)
    assert list(found.index) == ["x", "y"] and list(found.columns) == [1, 2, 3]
    assert list(found.loc["x"]) == ["unnamed_1", "A", "B"]
    assert list(found.loc["y"]) == ["D", "unnamed_1", "C"]
    assert list(differential_expression.top(ONE, 3, named=True).loc["x"]) == ["A", "B", "C"]
    assert list(differential_expression.top(ONE, 3, named=True).loc["y"]) == ["D", "C", "B"]
    assert differential_expression.top(ONE).shape == (2, 5)
    for n, named in ((6, False), (5, True), (0, False)):
        with pytest.raises(ValueError, match=f"no {n} .*genes in each class"):
            differential_expression.top(ONE, n, named=named)


def test_agreement_is_counted_by_hand():
    known = {"x": ("A", "C", "Nope"), "z": ("A",)}
    found = differential_expression.agreement({"one": ONE, "other": OTHER}, known, n=2)
    assert list(found.columns) == [
        "known markers",
        "one: known",
        "other: known",
        "one: unnamed",
        "other: unnamed",
        "shared",
    ]
    # Named: one A, B and D, C; other C, B and A, B.
    assert list(found.loc["x"]) == [2, 1, 1, 1, 0, 1]
    assert list(found.loc["y"]) == [0, 0, 0, 1, 0, 0]
    every = differential_expression.agreement({"one": ONE, "other": OTHER}, known, n=2, named=False)
    # All: one unnamed_1, A and D, unnamed_1; other as before.
    assert list(every.loc["x"]) == [2, 1, 1, 1, 0, 0]
    three = differential_expression.agreement(
        {"one": ONE, "other": OTHER, "again": ONE}, known, n=3
    )
    assert list(three["shared"]) == [3, 2]


def test_real_tables_can_be_compared(model):
    tables = {
        "scVI": differential_expression.of_each_class(model, CLASS),
        "Wilcoxon": differential_expression.wilcoxon(model.adata, CLASS),
    }
    found = differential_expression.agreement(tables, n=3)
    assert list(found.index) == sorted(differential_expression.KNOWN)
    available = {
        name: sum(gene in model.adata.var_names for gene in genes)
        for name, genes in differential_expression.KNOWN.items()
    }
    assert found["known markers"].to_dict() == available
    for method in tables:
        assert (found[f"{method}: known"] <= found["known markers"]).all()
    columns = ["class", "gene", "log2 fold change", "mean counts", "cells with counts"]
    for table in tables.values():
        assert set(columns) <= set(table)


def test_tables_that_cannot_be_compared_are_refused():
    fewer = ONE[ONE["gene"] != "D"]
    with pytest.raises(ValueError, match=r"2 tables of 2 different.*\n.*same cells and genes"):
        differential_expression.agreement({"one": ONE, "fewer": fewer}, {"x": ("A",)}, n=2)
    with pytest.raises(ValueError, match="2 different"):
        differential_expression.agreement(
            {"a": ONE, "b": ONE[ONE["class"] == "x"]}, {"x": ("A",)}, n=2
        )
    with pytest.raises(ValueError, match="0 tables"):
        differential_expression.agreement({}, n=2)
    for known in ({}, {"x": ("Nope",)}, {"z": ("A",)}):
        with pytest.raises(ValueError, match=r"No class .* known marker.*\n.*known="):
            differential_expression.agreement({"one": ONE}, known, n=2)


# --- bad input ----------------------------------------------------------------------------------


def test_models_that_cannot_be_asked_are_refused(model, cells):
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        differential_expression.of_each_class(build(cells), CLASS)
    blood = few(data.load_citeseq(), 50)
    with pytest.raises(TypeError, match="TOTALVI"):
        differential_expression.of_each_class(build(blood, "TOTALVI"), "batch")
    for delta in (0, -1, np.nan):
        with pytest.raises(ValueError, match="must be above 0"):
            differential_expression.of_each_class(model, CLASS, delta=delta)


def test_classes_that_cannot_be_compared_are_refused(model):
    adata = model.adata
    column = adata.obs[CLASS].astype(str)
    adata.obs["gap"] = column.where(np.arange(128) > 2)
    adata.obs["one"] = "all"
    adata.obs["single"] = column.where(np.arange(128) > 0, "lonely")
    asks = (
        lambda key: differential_expression.of_each_class(model, key),
        lambda key: differential_expression.wilcoxon(adata, key),
        lambda key: differential_expression.dot_plot(
            adata, {"microglia": [adata.var_names[0]]}, key
        ),
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
        lambda cells, key: differential_expression.dot_plot(cells, genes, key),
    ):
        with pytest.raises(ValueError, match="4 cells without any count"):
            ask(empty, CLASS)
        with pytest.raises(ValueError, match=r"no layer .*counts.*Layers: none"):
            ask(ad.AnnData(cells.X, obs=cells.obs, var=cells.var), CLASS)


# --- the figures --------------------------------------------------------------------------------


def margins(cells, name):
    """Return in how many more cells of a class than of any other each gene is seen, and both shares."""
    seen = pd.DataFrame(counts_of(cells) > 0, columns=cells.var_names)
    share = seen.groupby(cells.obs[CLASS].to_numpy()).mean()
    own, others = share.loc[name], share.drop(index=name).max()
    return pd.DataFrame({"margin": own - others, "own": own, "others": others})


@pytest.fixture
def chosen(cells):
    """Pick genes that differ in how specific they are, neither the most nor the least specific first."""
    picked = {}
    for name, number in (("oligodendrocytes", 3), ("microglia", 1), ("pyramidal CA1", 2)):
        genes = margins(cells, name)["margin"].sort_values(kind="stable").index
        picked[name] = [genes[20], genes[-1], genes[0]][:number]
    return picked


def test_the_dots_show_shares_and_means(cells, chosen):
    # A gene that is not drawn takes nearly all counts: a single count of another is a small value,
    # and still a count.
    drawn_genes = {gene for genes in chosen.values() for gene in genes}
    other = next(gene for gene in cells.var_names if gene not in drawn_genes)
    counts = counts_of(cells)
    counts[:, cells.var_names.get_loc(other)] += 100_000
    cells.layers["counts"] = sp.csr_matrix(counts)
    drawn = differential_expression.dot_plot(cells, chosen, CLASS)
    axes, bar = drawn.figure.axes
    columns = [gene for genes in chosen.values() for gene in genes]
    assert [label.get_text() for label in axes.get_xticklabels()] == columns
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows[:3] == list(chosen) and sorted(rows) == sorted(set(cells.obs[CLASS]))
    dots = axes.collections[0]
    x, y = np.asarray(dots.get_offsets()).T.astype(int)
    counts, level = counts_of(cells), normalised(counts_of(cells))
    place = cells.var_names.get_indexer(columns)
    sizes, colours = np.asarray(dots.get_sizes()), np.asarray(dots.get_array()).ravel()
    largest = sizes.max()
    classes = cells.obs[CLASS].to_numpy()
    share = np.array(
        [(counts[classes == rows[b], place[a]] > 0).mean() for a, b in zip(x, y, strict=True)]
    )
    assert sizes / largest == pytest.approx(share / share.max())
    mean = [level[classes == rows[b], place[a]].mean() for a, b in zip(x, y, strict=True)]
    assert colours == pytest.approx(mean, abs=1e-4)
    assert len(x) == 6 * 7
    # The first class is on top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [line.get_xdata()[0] for line in axes.lines] == [2.5, 3.5]
    # The legend is drawn to the same scale as the dots.
    legend = [float(text.get_text().rstrip("%")) / 100 for text in axes.get_legend().get_texts()]
    drawn_sizes = [each.get_sizes()[0] for each in axes.collections[1:]]
    assert drawn_sizes == pytest.approx([share * largest / sizes.max() * 260 for share in legend])
    assert largest == pytest.approx(260 * share.max())
    assert "log(1 + counts per 10,000)" in bar.get_ylabel()
    assert not plt.get_fignums()


def test_the_dot_plot_names_the_most_specific_gene_of_each_class(cells, chosen):
    said = differential_expression.dot_plot(cells, chosen, CLASS).alt
    for name, genes in chosen.items():
        found = margins(cells, name).loc[genes]
        best = found["margin"].idxmax()
        assert name != "oligodendrocytes" or found["margin"].max() > 0.1
        own, others = found.loc[best, ["own", "others"]]
        assert (
            f"{name}: {best}, in {own:.0%} of the cells and in at most {others:.0%} of another "
            "class." in said
        )
    assert "6 genes in 7 classes" in said


def test_the_dot_plot_takes_what_top_returns(cells):
    first = differential_expression.top(differential_expression.wilcoxon(cells, CLASS), 2)
    by_name = {name: list(genes) for name, genes in first.iterrows()}
    from_table = differential_expression.dot_plot(cells, first, CLASS)
    assert from_table.alt == differential_expression.dot_plot(cells, by_name, CLASS).alt
    assert len(from_table.figure.axes[0].get_xticklabels()) == 14


def test_genes_and_classes_that_cannot_be_drawn_are_refused(cells, chosen):
    with pytest.raises(KeyError, match="1 genes are not in var_names: Nope"):
        differential_expression.dot_plot(cells, {"microglia": ["Nope"]}, CLASS)
    with pytest.raises(ValueError, match="Classes without cells: nobody; genes: 7"):
        differential_expression.dot_plot(cells, chosen | {"nobody": [cells.var_names[0]]}, CLASS)
    for nothing in ({}, {"microglia": []}):
        with pytest.raises(ValueError, match="genes: 0"):
            differential_expression.dot_plot(cells, nothing, CLASS)


@pytest.fixture
def many():
    """Draw up a table in which several of the first genes lie on top of each other."""
    numbers = np.random.default_rng(0)
    # A name to the right of the first would cover the last.
    change = np.r_[[2.0, 2.99, 2.98, 3.0, 2.2], numbers.normal(0, 0.5, 50)]
    probability = np.r_[[0.95, 0.99, 0.99, 0.989, 0.95], numbers.uniform(0.3, 0.92, 50)]
    return pd.DataFrame(
        {
            "class": "x",
            "gene": [f"a gene {number}" for number in range(55)],
            "probability": probability,
            "Bayes factor": differential_expression.bayes_factor(probability),
            "log2 fold change": change,
        }
    )


def test_the_volcano_shows_every_gene_of_the_class_and_labels_the_first(many):
    two = pd.concat([many.assign(**{"class": "y", "log2 fold change": 9.0}), many])
    drawn = differential_expression.volcano(two, "x", delta=0.4, n=5)
    (axes,) = drawn.figure.axes
    points = np.asarray(axes.lines[0].get_xydata())
    assert points == pytest.approx(many[["log2 fold change", "Bayes factor"]].to_numpy())
    first = np.asarray(axes.lines[1].get_xydata())
    assert first == pytest.approx(points[:5])
    uprights = [line.get_xdata()[0] for line in axes.lines[2:4]]
    assert uprights == [-0.4, 0.4]
    assert axes.lines[4].get_ydata()[0] == pytest.approx(np.log(9), abs=1e-6)
    labels = {text.get_text(): text.xy for text in axes.texts if isinstance(text, Annotation)}
    assert list(labels) == list(many["gene"][:5])
    assert np.array(list(labels.values())) == pytest.approx(points[:5])
    assert "±0.4" in axes.get_xlabel() and "0.9" in axes.get_ylabel()
    assert to_rgba(axes.lines[1].get_color()) != to_rgba(axes.lines[0].get_color())


def test_no_label_of_the_volcano_covers_another_or_a_labelled_point(many):
    drawn = differential_expression.volcano(many, "x", n=5)
    drawn.png()
    (axes,) = drawn.figure.axes
    drawn.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 5
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    pixels = axes.transData.transform(many[["log2 fold change", "Bayes factor"]].to_numpy()[:5])
    assert not any(box.contains(x, y) for box in boxes for x, y in pixels)


def test_the_volcano_says_how_many_genes_differ(many):
    sure = many["probability"] >= 0.9
    up = int((sure & (many["log2 fold change"] > 0)).sum())
    down = int((sure & (many["log2 fold change"] < 0)).sum())
    assert up >= 5 and down >= 1
    said = differential_expression.volcano(many, "x", n=5).alt
    assert "55 genes of x" in said
    assert up > down and "more genes are higher than lower" in said
    twice = int((many["log2 fold change"].head(5) > 1).sum())
    assert f"The first 5 of the table are labelled; {twice} of them are more than twice" in said
    turned = many.assign(**{"log2 fold change": -many["log2 fold change"]})
    assert "not more genes are higher" in differential_expression.volcano(turned, "x", n=5).alt


def test_tables_without_the_class_or_the_bayes_factor_are_refused(many):
    with pytest.raises(KeyError, match=r"no class 'z'\. Classes: x"):
        differential_expression.volcano(many, "z")
    with pytest.raises(KeyError, match=r"no column 'Bayes factor'.*of_each_class"):
        differential_expression.volcano(ONE, "x")
