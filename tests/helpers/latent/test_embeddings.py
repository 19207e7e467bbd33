"""Maps of cells in two dimensions are those of scikit-learn and scanpy."""

import random

import numpy as np
import pytest
import scanpy as sc
import torch
from sklearn.manifold import TSNE

from helpers.latent import embedding_figures, embedding_quality, embeddings, neighbours


def test_pca_is_the_projection_on_the_directions_of_largest_variance(positions):
    numbers = np.random.default_rng(0)
    turned = positions @ np.linalg.qr(numbers.normal(size=(6, 6)))[0]
    centred = turned - turned.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    drawn = embeddings.pca(turned)
    assert drawn == pytest.approx(centred @ axes)
    assert drawn.var(axis=0, ddof=1) == pytest.approx(values[::-1][:2])


def test_pca_does_not_flip_when_cells_are_left_out(positions):
    whole = embeddings.pca(positions)
    for start in range(5):
        some = np.arange(len(positions)) % 5 != start
        drawn = embeddings.pca(positions[some])
        assert (np.sum(drawn * whole[some], axis=0) > 0).all()


def test_tsne_is_that_of_scikit_learn_and_keeps_what_a_longer_run_keeps(positions):
    drawn = embeddings.tsne(positions, 20)
    longer = TSNE(2, perplexity=20, init="pca", max_iter=1500).fit_transform(positions)
    kept = [neighbours.shared(each, positions) for each in (drawn, longer)]
    assert drawn.shape == (len(positions), 2)
    assert kept[0] == pytest.approx(kept[1], abs=0.02)
    assert neighbours.shared(drawn, longer) > 0.8


def test_tsne_starts_from_pca_and_so_keeps_the_order_of_a_row_of_clouds():
    numbers = np.random.default_rng(0)
    places = np.repeat([0, 60, 20, 80, 40], 40)
    drawn = embeddings.tsne(np.stack([places, 0 * places], axis=1) + numbers.normal(size=(200, 2)))
    middles = [drawn[places == place, 0].mean() for place in (0, 20, 40, 60, 80)]
    assert middles in (sorted(middles), sorted(middles, reverse=True))


def test_perplexity_is_thirty_unless_given_and_matters(positions):
    drawn = embeddings.tsne(positions)
    assert (drawn == embeddings.tsne(positions, 30)).all()
    assert not np.allclose(drawn, embeddings.tsne(positions, 5))


def test_umap_is_that_of_scanpy(whole_pbmc, positions):
    cells = whole_pbmc[::3].copy()
    cells.obsm["X_pca"] = positions
    sc.pp.neighbors(cells, use_rep="X_pca")
    sc.tl.umap(cells, random_state=4)
    assert embeddings.umap(positions, seed=4) == pytest.approx(cells.obsm["X_umap"])
    sc.tl.umap(cells)
    assert embeddings.umap(positions) == pytest.approx(cells.obsm["X_umap"])
    assert not np.allclose(embeddings.umap(positions, seed=1), cells.obsm["X_umap"], atol=0.1)


def test_maps_repeat_and_leave_random_state_and_positions_alone(positions, maps, classes):
    before = positions.copy()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for make in (embeddings.pca, embeddings.tsne, embeddings.umap):
        assert (make(positions) == make(positions)).all()
    embedding_quality.faithfulness(maps, positions, classes)
    embedding_figures.plot_labels(maps, classes)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert (torch.get_rng_state() == states[2]).all()
    assert (positions == before).all()


def test_positions_that_cannot_be_mapped_are_refused(positions):
    for make in (embeddings.pca, embeddings.tsne, embeddings.umap):
        with pytest.raises(ValueError, match=r"have 1 dimension, and a map has two.\nWhat to do"):
            make(positions[:, :1])
        with pytest.raises(ValueError, match="number of cells 1;"):
            make(positions[:1])
        with pytest.raises(ValueError, match="1 of 234 positions are not finite"):
            make(np.where(np.arange(234)[:, None] == 7, np.nan, positions))
    with pytest.raises(ValueError, match="neighbours is 15, and the number of cells 15;"):
        embeddings.umap(positions[:15])


@pytest.mark.parametrize("perplexity", [0, -1, 20, 21])
def test_perplexities_that_cannot_be_are_refused(positions, perplexity):
    with pytest.raises(ValueError, match=rf"perplexity is {perplexity}, .* 20 cells.\nWhat to do"):
        embeddings.tsne(positions[:20], perplexity)
    assert embeddings.tsne(positions[:20], 19).shape == (20, 2)
