"""What is said about a count matrix agrees with the matrix."""

import numpy as np
import pytest

from helpers import figures
from helpers.data import counts


def test_per_cell_agrees_with_the_dense_matrix(pbmc):
    dense = pbmc.layers["counts"].toarray()
    table = counts.per_cell(pbmc)
    assert (table["library size"] == dense.sum(axis=1)).all()
    assert (table["genes seen"] == (dense > 0).sum(axis=1)).all()
    assert np.allclose(table["share of zeros"], (dense == 0).mean(axis=1))
    assert counts.share_of_zeros(pbmc) == pytest.approx((dense == 0).mean())


def test_stored_zeros_are_zeros(pbmc):
    """A sparse matrix may store a zero; it is still one."""
    before = counts.share_of_zeros(pbmc)
    pbmc.layers["counts"].data[0] = 0
    assert counts.share_of_zeros(pbmc) == pytest.approx(before + 1 / (pbmc.n_obs * pbmc.n_vars))


def test_thinning_is_binomial(pbmc):
    before, after = pbmc.layers["counts"], counts.thin(pbmc, keep=0.3).layers["counts"]
    assert (after > before).nnz == 0
    assert (after.data == np.rint(after.data)).all()
    total, kept = before.sum(), after.sum()
    # Five standard deviations of a binomial.
    assert abs(kept - 0.3 * total) < 5 * np.sqrt(total * 0.3 * 0.7)
    assert counts.share_of_zeros(counts.thin(pbmc, keep=0.3)) > counts.share_of_zeros(pbmc)


def test_thinning_nothing_changes_nothing(pbmc):
    assert (counts.thin(pbmc, keep=1).layers["counts"] != pbmc.layers["counts"]).nnz == 0


def test_thinning_leaves_the_original_alone(pbmc):
    total = pbmc.layers["counts"].sum()
    counts.thin(pbmc, keep=0.1)
    assert pbmc.layers["counts"].sum() == total


def test_figures_say_what_the_data_say(cortex):
    inside = (cortex.obs["cell_type"] == "oligodendrocytes").to_numpy()
    plp1 = np.asarray(cortex[:, "Plp1"].layers["counts"].todense()).ravel()
    histogram = counts.plot_gene(cortex, "Plp1", "oligodendrocytes")
    assert f"median {np.median(plp1[inside]):.0f}" in histogram.alt
    for group in histogram.figure.axes[0].containers:
        assert sum(bar.get_height() for bar in group) == pytest.approx(100)
    axes = counts.plot_library_sizes(cortex).figure.axes[0]
    assert len(axes.get_yticklabels()) == 7
    black = figures.COLOURS[6]
    medians = [line.get_xdata()[0] for line in axes.lines if line.get_color() == black]
    assert len(medians) == 7
    assert counts.per_cell(cortex)["library size"][inside].median() in medians


def test_matrix_picture_shows_the_whole_matrix(pbmc):
    figure = counts.plot_matrix(pbmc, cells=700, genes=765)
    drawn = figure.figure.axes[0].images[0].get_array()
    assert drawn.sum() == pbmc.layers["counts"].sum()
    assert f"{pbmc.layers['counts'].max():,.0f}" in figure.alt


def test_an_unknown_gene_is_refused(pbmc):
    with pytest.raises(KeyError, match="NoSuchGene"):
        counts.plot_gene(pbmc, "NoSuchGene", "Dendritic")
