"""The figures show the numbers that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation, Text

from helpers.expression import differential_expression, marker_figures, marker_genes
from tests.helpers.expression.shared import CLASS, counts_of, normalised
from tests.helpers.expression.test_marker_genes import ONE


def margins(cells, name):
    """Return in how many more cells of a class each gene is seen, and both shares."""
    seen = pd.DataFrame(counts_of(cells) > 0, columns=cells.var_names)
    share = seen.groupby(cells.obs[CLASS].to_numpy()).mean()
    own, others = share.loc[name], share.drop(index=name).max()
    return pd.DataFrame({"margin": own - others, "own": own, "others": others})


@pytest.fixture
def chosen(cells):
    """Pick genes that differ in how specific they are, in no order of it."""
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
    drawn = marker_figures.dot_plot(cells, chosen, CLASS)
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
    said = marker_figures.dot_plot(cells, chosen, CLASS).alt
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
    first = marker_genes.top(differential_expression.wilcoxon(cells, CLASS), 2)
    by_name = {name: list(genes) for name, genes in first.iterrows()}
    from_table = marker_figures.dot_plot(cells, first, CLASS)
    assert from_table.alt == marker_figures.dot_plot(cells, by_name, CLASS).alt
    assert len(from_table.figure.axes[0].get_xticklabels()) == 14


def test_genes_and_classes_that_cannot_be_drawn_are_refused(cells, chosen):
    with pytest.raises(KeyError, match="1 genes are not in var_names: Nope"):
        marker_figures.dot_plot(cells, {"microglia": ["Nope"]}, CLASS)
    with pytest.raises(ValueError, match="Classes without cells: nobody; genes: 7"):
        marker_figures.dot_plot(cells, chosen | {"nobody": [cells.var_names[0]]}, CLASS)
    for nothing in ({}, {"microglia": []}):
        with pytest.raises(ValueError, match="genes: 0"):
            marker_figures.dot_plot(cells, nothing, CLASS)


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
    drawn = marker_figures.volcano(two, "x", delta=0.4, n=5)
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
    drawn = marker_figures.volcano(many, "x", n=5)
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
    said = marker_figures.volcano(many, "x", n=5).alt
    assert "55 genes of x" in said
    assert up > down and "more genes are higher than lower" in said
    twice = int((many["log2 fold change"].head(5) > 1).sum())
    assert f"The first 5 of the table are labelled; {twice} of them are more than twice" in said
    turned = many.assign(**{"log2 fold change": -many["log2 fold change"]})
    assert "not more genes are higher" in marker_figures.volcano(turned, "x", n=5).alt


def test_tables_without_the_class_or_the_bayes_factor_are_refused(many):
    with pytest.raises(KeyError, match=r"no class 'z'\. Classes: x"):
        marker_figures.volcano(many, "z")
    with pytest.raises(KeyError, match=r"no column 'Bayes factor'.*one_vs_rest"):
        marker_figures.volcano(ONE, "x")
