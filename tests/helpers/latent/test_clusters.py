"""Clusters, and how far they agree with classes, recomputed."""

import random
import tracemalloc
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from sklearn.cluster import KMeans

from helpers.genes import log_normalisation
from helpers.latent import clusters, neighbours


def clouds(sizes=(60, 40, 30), dimensions=3, distance=20.0):
    """Simulate separate clouds of cells, and say which cell is in which."""
    numbers = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = numbers.permutation(len(truth))
    centres = distance * np.arange(len(sizes))[:, None] * np.ones(dimensions)
    return (centres[truth] + numbers.normal(size=(len(truth), dimensions)))[order], truth[order]


@pytest.fixture(scope="module")
def positions(whole_pbmc):
    return log_normalisation.principal_components(whole_pbmc, 10)


@pytest.fixture(scope="module")
def classes(whole_pbmc):
    return whole_pbmc.obs["cell_type"]


@pytest.fixture(scope="module")
def joined(positions):
    return clusters.graph(positions)


@pytest.fixture(scope="module")
def compared(positions, classes):
    return clusters.compare({"ten": positions, "two": positions[:, :2]}, classes)


def test_separate_clouds_are_found_the_largest_first():
    positions, truth = clouds()
    # So low a resolution leaves each cloud in one piece.
    found = clusters.leiden(clusters.graph(positions, 20), 0.1)
    assert (np.asarray(found).astype(int) == truth).all()
    assert list(found.categories) == ["0", "1", "2"]


def test_the_largest_comes_first_wherever_it_is_in_the_data():
    positions, truth = clouds((30, 40, 60))
    found = clusters.leiden(clusters.graph(positions, 20), 0.1)
    assert (2 - np.asarray(found).astype(int) == truth).all()


def test_more_than_ten_clusters_keep_their_order(joined):
    found = clusters.leiden(joined, 3)
    sizes = pd.Series(found).value_counts(sort=False)
    assert len(sizes) > 10
    assert list(sizes.index) == [str(number) for number in range(len(sizes))]
    assert (sizes.to_numpy()[:-1] >= sizes.to_numpy()[1:]).all()


def test_clusters_are_those_of_scanpy(whole_pbmc, positions, joined):
    cells = whole_pbmc.copy()
    cells.obsm["X_pca"] = positions
    sc.pp.neighbors(cells, use_rep="X_pca")
    sc.tl.leiden(cells, 0.7, flavor="igraph", n_iterations=2, directed=False, random_state=5)
    ours = clusters.leiden(joined, 0.7, seed=5)
    assert clusters.agreement(ours, cells.obs["leiden"])["ARI"] == pytest.approx(1)


def test_half_is_the_resolution_and_0_the_seed_unless_others_are_given(joined):
    assert (clusters.leiden(joined) == clusters.leiden(joined, 0.5, 0)).all()


def test_a_higher_resolution_gives_more_clusters(joined):
    numbers = [len(clusters.leiden(joined, value).categories) for value in (0.05, 0.5, 3)]
    assert numbers == sorted(set(numbers))


def test_a_seed_repeats_and_another_differs(joined):
    found = [clusters.leiden(joined, 1.5, seed) for seed in range(5)]
    assert (found[1] == clusters.leiden(joined, 1.5, 1)).all()
    assert any((found[0] != other).any() for other in found[1:])


def test_each_cell_is_joined_to_its_nearest(positions):
    joined = clusters.graph(positions, 6).obsp["connectivities"].toarray() > 0
    assert (joined == joined.T).all()
    # Scanpy counts the cell itself.
    nearest = neighbours.nearest(positions, 5)
    expected = np.zeros_like(joined)
    np.put_along_axis(expected, nearest, True, axis=1)
    assert (joined == (expected | expected.T)).all()


def test_the_random_state_is_left_alone(positions, classes, joined):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    clusters.graph(positions)
    clusters.leiden(joined)
    clusters.compare({"two": positions[:, :2]}, classes, seeds=(0,))
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert (torch.get_rng_state() == before[2]).all()


def test_nothing_given_is_changed(whole_pbmc, positions, joined):
    before = positions.copy()
    own = clusters.graph(positions)
    own.obsm["positions"] += 1
    kept = joined.obsp["connectivities"].copy()
    clusters.leiden(joined)
    assert (positions == before).all()
    assert (joined.obsp["connectivities"] != kept).nnz == 0
    assert list(joined.obs.columns) == []


@pytest.mark.parametrize("resolution", [0, -1, np.nan, np.inf])
def test_resolutions_that_are_none_are_refused(joined, positions, classes, resolution):
    with pytest.raises(ValueError, match=r"must be above 0.\nWhat to do: try 0.1"):
        clusters.leiden(joined, resolution)
    with pytest.raises(ValueError, match=r"must be above 0"):
        clusters.resolutions({"a": positions}, classes, [0.5, resolution])


def test_cells_that_are_not_joined_are_refused(whole_pbmc):
    with pytest.raises(KeyError, match=r"which cells are joined.*clusters.graph\(positions\)"):
        clusters.leiden(whole_pbmc)


def test_too_few_cells_and_missing_numbers_are_refused():
    positions, _ = clouds()
    for few in (positions[:1], positions[:15]):
        with pytest.raises(ValueError, match="neighbours is 15"):
            clusters.graph(few)
    positions[3] = np.nan
    with pytest.raises(ValueError, match="the first in row 3"):
        clusters.graph(positions)


def test_ari_is_that_of_counted_pairs(joined, classes):
    rows = slice(None, None, 10)
    labels, known = np.asarray(clusters.leiden(joined))[rows], np.asarray(classes)[rows]
    pairs = list(combinations(range(len(known)), 2))
    both = sum(labels[i] == labels[j] and known[i] == known[j] for i, j in pairs)
    of_labels, of_known = (
        sum(comb(int(size), 2) for size in pd.Series(groups).value_counts())
        for groups in (labels, known)
    )
    chance = of_labels * of_known / len(pairs)
    expected = (both - chance) / ((of_labels + of_known) / 2 - chance)
    assert clusters.agreement(labels, known)["ARI"] == pytest.approx(expected)


def test_nmi_is_mutual_information_over_the_mean_of_the_entropies(joined, classes):
    labels = clusters.leiden(joined)
    joint = pd.crosstab(np.asarray(labels), np.asarray(classes), normalize=True).to_numpy()
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)

    def entropy(shares):
        shares = shares[shares > 0]
        return -(shares * np.log(shares)).sum()

    mutual = entropy(rows) + entropy(columns) - entropy(joint.ravel())
    expected = mutual / ((entropy(rows) + entropy(columns)) / 2)
    assert clusters.agreement(labels, classes)["NMI"] == pytest.approx(expected)


def test_names_of_clusters_do_not_matter_and_one_cluster_agrees_with_nothing(classes):
    renamed = classes.cat.rename_categories(lambda name: f"{len(name)} {name[::-1]}")
    assert clusters.agreement(renamed, classes).tolist() == pytest.approx([1, 1])
    assert clusters.agreement(["0"] * len(classes), classes).tolist() == pytest.approx([0, 0])
    numbers = np.random.default_rng(0)
    shuffled = [numbers.permutation(np.asarray(classes)) for _ in range(30)]
    by_chance = [clusters.agreement(labels, classes)["ARI"] for labels in shuffled]
    assert np.mean(by_chance) == pytest.approx(0, abs=0.005)


def test_labels_that_cannot_be_compared_are_refused():
    for function in (clusters.agreement, clusters.confusion):
        with pytest.raises(ValueError, match="There are 2 labels and 3 positions"):
            function(["0", "1", "1"], ["a", "b"])
        with pytest.raises(ValueError, match="1 of 2 cells have no label"):
            function(["0", "1"], ["a", None])
        with pytest.raises(ValueError, match=r"1 of 2 cells are in no cluster.\nWhat to do"):
            function(["0", np.nan], ["a", "b"])
        with pytest.raises(ValueError, match="All cells have the same label"):
            function(["0", "1"], ["a", "a"])


def test_confusion_counts_cells_and_puts_clusters_beside_their_class():
    labels = ["0"] * 6 + ["1"] * 4 + ["2"] * 5 + ["10"] * 2
    classes = ["b"] * 6 + ["a"] * 3 + ["b"] + ["a"] * 4 + ["c"] + ["b"] * 2
    table = clusters.confusion(labels, classes)
    assert table.index.tolist() == ["2", "1", "0", "10"]
    assert table.columns.tolist() == ["a", "b", "c"]
    assert table.to_numpy().tolist() == [[4, 0, 1], [3, 1, 0], [0, 6, 0], [0, 2, 0]]


def test_confusion_of_real_clusters_holds_every_cell(joined, classes):
    labels = clusters.leiden(joined)
    table = clusters.confusion(labels, classes)
    assert table.sum().to_dict() == classes.value_counts().to_dict()
    assert table.sum(axis=1).to_dict() == pd.Series(labels).value_counts().to_dict()


def test_each_resolution_is_clustered_and_compared(positions, joined, classes):
    table = clusters.resolutions(
        {"ten": positions, "two": positions[:, :2]}, classes, [0.2, 1], seed=3
    )
    assert table.columns.tolist() == ["representation", "resolution", "clusters", "ARI", "NMI"]
    assert table["representation"].tolist() == ["ten", "ten", "two", "two"]
    assert table["resolution"].tolist() == [0.2, 1, 0.2, 1]
    for row, (graph, resolution) in enumerate(
        [
            (joined, 0.2),
            (joined, 1),
            *((clusters.graph(positions[:, :2]), value) for value in (0.2, 1)),
        ]
    ):
        labels = clusters.leiden(graph, resolution, seed=3)
        assert table.loc[row, "clusters"] == len(set(labels))
        assert (
            table.loc[row, ["ARI", "NMI"]].tolist() == clusters.agreement(labels, classes).tolist()
        )


def test_neighbours_and_silhouette_are_recomputed(compared, positions, classes):
    known = np.asarray(classes)
    distances = np.sqrt(((positions[:, None] - positions[None]).astype(float) ** 2).sum(axis=2))
    silhouettes = []
    for cell, own in enumerate(known):
        means = {
            name: distances[cell, (known == name) & (np.arange(len(known)) != cell)].mean()
            for name in set(known)
        }
        within, beyond = means.pop(own), min(value for name, value in means.items() if name != own)
        silhouettes.append((beyond - within) / max(beyond, within))
    assert compared.loc["ten", "silhouette"] == pytest.approx(np.mean(silhouettes), abs=1e-4)
    for name, given in {"ten": positions, "two": positions[:, :2]}.items():
        expected = neighbours.label_accuracy(given, classes)
        assert compared.loc[name, "kNN class accuracy"] == expected


def test_k_means_has_as_many_clusters_as_classes_and_is_averaged_over_seeds(positions, classes):
    row = clusters.compare({"a": positions}, classes, seeds=(4, 9)).loc["a"]
    scores = pd.DataFrame(
        [
            clusters.agreement(
                KMeans(10, n_init=10, random_state=seed).fit_predict(positions), classes
            )
            for seed in (4, 9)
        ]
    )
    for name in ("ARI", "NMI"):
        assert row[f"k-means {name}"] == pytest.approx(scores[name].mean())
        assert row[f"k-means {name} range"] == pytest.approx(
            scores[name].max() - scores[name].min()
        )


def test_leiden_has_the_resolution_that_suits_each_representation(positions, classes):
    given = {"ten": positions, "two": positions[:, :2]}
    table = clusters.compare(given, classes, seeds=(4, 9))
    scores = pd.concat([clusters.resolutions(given, classes, seed=seed) for seed in (4, 9)])
    grouped = scores.groupby(["representation", "resolution"])
    for name in given:
        means = grouped.mean().loc[name]
        best = means["ARI"].idxmax()
        spread = (grouped.max() - grouped.min()).loc[(name, best)]
        row = table.loc[name]
        assert row["resolution"] == best
        assert row["clusters"] == pytest.approx(means.loc[best, "clusters"])
        for score in ("ARI", "NMI"):
            assert row[f"Leiden {score}"] == pytest.approx(means.loc[best, score])
            assert row[f"Leiden {score} range"] == pytest.approx(spread[score])


def test_the_best_resolution_is_that_of_the_highest_ari(positions, joined):
    """Of one large class, which decides the ARI, and many small ones, which decide the NMI."""
    coarse, fine = (np.asarray(clusters.leiden(joined, value)) for value in (0.05, 3))
    uneven = np.where(coarse == "0", "large", fine)
    scores = clusters.resolutions({"a": positions}, uneven).set_index("resolution")
    best = scores["ARI"].idxmax()
    assert best != scores["NMI"].idxmax()
    assert clusters.compare({"a": positions}, uneven, seeds=(0,)).loc["a", "resolution"] == best


def test_separate_classes_are_found_again_by_all_and_shuffled_ones_by_none():
    positions, truth = clouds((300, 200, 250))
    names = np.array(["a", "b", "c"])[truth]
    good = clusters.compare({"clouds": positions}, names, seeds=(0,)).loc["clouds"]
    assert good["kNN class accuracy"] == 1
    assert good["silhouette"] > 0.8
    assert good[["k-means ARI", "k-means NMI", "Leiden ARI"]].tolist() == pytest.approx([1, 1, 1])
    shuffled = np.random.default_rng(1).permutation(names)
    bad = clusters.compare({"clouds": positions}, shuffled, seeds=(0,)).loc["clouds"]
    assert bad[["silhouette", "k-means ARI", "Leiden ARI"]].abs().max() < 0.05


def test_no_table_of_all_distances_is_held():
    positions, truth = clouds((1500, 1000, 500))
    tracemalloc.start()
    clusters.compare({"a": positions}, truth, seeds=(0,))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 45e6  # the table would take 72 MB


def test_what_cannot_be_compared_is_refused(positions, classes):
    for function in (clusters.compare, clusters.resolutions):
        with pytest.raises(ValueError, match=r"There is no representation.\nWhat to do"):
            function({}, classes)
        with pytest.raises(ValueError, match="There are 700 labels and 699 positions"):
            function({"a": positions, "b": positions[1:]}, classes)
        with pytest.raises(ValueError, match="neighbours is 15, and the number of cells 1;"):
            function({"a": positions[:1]}, classes[:1])
        with pytest.raises(ValueError, match="All cells have the same label"):
            function({"a": positions}, ["a"] * 700)
        with pytest.raises(ValueError, match="1 of 700 cells have no label"):
            function({"a": positions}, classes.astype(object).where(np.arange(700) != 3))
        with pytest.raises(ValueError, match="the first in row 0"):
            function({"a": np.full_like(positions, np.nan)}, classes)
    with pytest.raises(ValueError, match=r"There is no seed.\nWhat to do"):
        clusters.compare({"a": positions}, classes, seeds=())
    with pytest.raises(ValueError, match=r"as many classes as cells, 700.*\nWhat to do"):
        clusters.compare({"a": positions}, [f"cell {number}" for number in range(700)])
    with pytest.raises(ValueError, match=r"There is no resolution.\nWhat to do"):
        clusters.resolutions({"a": positions}, classes, [])
