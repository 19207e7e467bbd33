"""What maps keep and distort, recomputed."""

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from helpers.latent import embedding_figures, embedding_quality, neighbours
from helpers.training import minibatches


def distances(positions):
    return np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(axis=2))


def pairwise(positions):
    return distances(positions)[np.triu_indices(len(positions), 1)]


def test_trustworthiness_charges_false_neighbours_by_their_true_rank(positions, maps):
    """The formula of Venna and Kaski, cell by cell."""
    table, k, n = embedding_quality.faithfulness(maps, positions), 15, len(positions)
    ranks = distances(positions).argsort(axis=1).argsort(axis=1)  # the cell itself has rank 0
    for name, drawn in maps.items():
        nearest = distances(drawn).argsort(axis=1)[:, 1 : k + 1]
        penalty = sum(
            max(0, ranks[cell, other] - k) for cell in range(n) for other in nearest[cell]
        )
        expected = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty
        assert table.loc[name, "trustworthiness"] == pytest.approx(expected)


def test_neighbours_distances_and_labels_are_recomputed(positions, maps, classes):
    table = embedding_quality.faithfulness(maps, positions, classes)
    assert table.index.tolist() == ["original", *maps]
    for name, drawn in maps.items():
        row = table.loc[name]
        ranks = [rankdata(pairwise(each)) for each in (positions, drawn)]
        assert row["distances kept"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert row["neighbours kept"] == neighbours.shared(positions, drawn, 15)
        assert row["label accuracy"] == neighbours.label_accuracy(drawn, classes)
    original = table.loc["original"].tolist()
    assert original[:3] == pytest.approx([1, 1, 1])
    assert original[3] == neighbours.label_accuracy(positions, classes)
    assert "label accuracy" not in embedding_quality.faithfulness(maps, positions)


def test_a_map_without_relation_has_what_the_docstring_says(positions):
    unrelated = {"noise": np.random.default_rng(0).normal(size=(len(positions), 2))}
    row = embedding_quality.faithfulness(unrelated, positions).loc["noise"]
    assert row["trustworthiness"] == pytest.approx(0.5, abs=0.05)
    assert row["neighbours kept"] == pytest.approx(15 / 233, abs=0.02)
    assert row["distances kept"] == pytest.approx(0, abs=0.05)


def test_large_data_are_sampled_for_what_needs_all_pairs():
    numbers = np.random.default_rng(0)
    positions = numbers.normal(size=(1500, 3))
    drawn = positions[:, :2] + numbers.normal(size=(1500, 2))
    table = embedding_quality.faithfulness({"map": drawn}, positions).loc["map"]
    rows = minibatches.evenly_spaced(1500, 1000)
    sampled = embedding_quality.faithfulness({"map": drawn[rows]}, positions[rows]).loc["map"]
    for name in ("trustworthiness", "distances kept"):
        assert table[name] == pytest.approx(sampled[name])
    assert table["neighbours kept"] == neighbours.shared(drawn, positions)


def test_spread_is_the_median_distance_of_two_cells_relative_to_the_mean(positions, maps, classes):
    table = embedding_quality.spread_by_label(maps, positions, classes)
    assert table.columns.tolist() == ["cells", "original", *maps]
    assert table["cells"].to_dict() == classes.value_counts().to_dict()
    for name, drawn in ({"original": positions} | maps).items():
        spread = pd.Series(
            {
                label: np.median(pairwise(drawn[(classes == label).to_numpy()]))
                for label in table.index
            }
        )
        assert table[name].to_numpy() == pytest.approx(
            (spread / spread.mean()).to_numpy(), rel=1e-4
        )


def test_units_turns_numbers_of_cells_and_strays_do_not_change_the_spread():
    numbers = np.random.default_rng(0)
    one, other = numbers.normal(size=(400, 2)), 3 * numbers.normal(size=(600, 2)) + 20
    few, many = np.concatenate([one, other]), np.concatenate([one, one, one, other])
    labels = ["a"] * 400 + ["b"] * 600
    turned = 100 * few @ (np.array([[1, 1], [-1, 1]]) / np.sqrt(2)) - 3
    spread = embedding_quality.spread_by_label({"turned": turned}, few, labels)
    assert spread["turned"].tolist() == pytest.approx(spread["original"].tolist())
    assert spread["turned"]["b"] / spread["turned"]["a"] == pytest.approx(3, abs=0.15)
    again = embedding_quality.spread_by_label({"map": many}, many, ["a"] * 800 + labels)
    assert again["map"].tolist() == pytest.approx(spread["original"].tolist(), abs=0.02)
    assert again["cells"].tolist() == [1200, 600]
    few[::20] += 500
    strays = embedding_quality.spread_by_label({"map": few}, few, labels)
    assert strays["map"].tolist() == pytest.approx(spread["original"].tolist(), abs=0.05)


def test_large_labels_are_sampled_for_their_spread():
    numbers = np.random.default_rng(0)
    drawn, labels = numbers.normal(size=(1540, 2)), np.array(["a"] * 1500 + ["b"] * 40)
    rows = np.concatenate([minibatches.evenly_spaced(1500, 1000), np.arange(1500, 1540)])
    whole = embedding_quality.spread_by_label({"map": drawn}, drawn, labels)
    sampled = embedding_quality.spread_by_label({"map": drawn[rows]}, drawn[rows], labels[rows])
    assert whole["map"].tolist() == sampled["map"].tolist()


def test_a_lone_cell_has_no_spread(positions):
    labels = ["lone"] + ["a", "b"] * 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = embedding_quality.spread_by_label(
            {"map": positions[:21, :2]}, positions[:21], labels
        )
    assert table["map"].isna().to_dict() == {"a": False, "b": False, "lone": True}
    assert table["map"].mean() == pytest.approx(1)
    assert table["cells"]["lone"] == 1


def test_labels_of_identical_cells_have_no_spread(positions):
    still = np.ones((20, 2))
    with pytest.raises(ValueError, match=r"In 'still' the cells of each label.*\nWhat to do"):
        embedding_quality.spread_by_label({"still": still}, positions[:20], ["a", "b"] * 10)


def test_centres_are_compared_by_the_order_of_their_distances(positions, maps, classes):
    table = embedding_quality.centre_distances(maps, positions, classes)
    known = np.asarray(classes, dtype=str)
    names = sorted(set(known))

    def between(drawn):
        centres = np.array([drawn[known == name].astype(float).mean(axis=0) for name in names])
        return pairwise(centres)

    pairs = [f"{one} and {other}" for one, other in combinations(names, 2)]
    places = {name: rankdata(between(drawn)) for name, drawn in maps.items()}
    true = rankdata(between(positions))
    assert table.index.tolist() == list(maps)
    for name, row in table.iterrows():
        worst = pairs.index(row["most misplaced"])
        shift = np.abs(places[name] - true)
        assert row["rank correlation"] == pytest.approx(np.corrcoef(places[name], true)[0, 1])
        assert row["pairs"] == 45
        assert shift[worst] == shift.max()
        assert (row["in the original"], row["in the map"]) == (true[worst], places[name][worst])


def test_a_label_that_was_moved_is_named():
    numbers = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [1, 0], [3, 0], [7, 0]])
    labels = np.repeat(["a", "b", "c", "d"], 30)
    noise = 0.01 * numbers.normal(size=(120, 2))
    true = np.repeat(centres, 30, axis=0) + noise
    centres[1] = [14, 0]
    moved = np.repeat(centres, 30, axis=0) + noise
    table = embedding_quality.centre_distances({"moved": moved, "same": 5 * true}, true, labels)
    # True distances: ab 1, bc 2, ac 3, cd 4, bd 6, ad 7; then ac 3, cd 4, ad 7, bd 7, bc 11, ab 14.
    assert table.loc["moved", "most misplaced"] == "a and b"
    assert table.loc["moved", ["in the original", "in the map"]].tolist() == [1, 6]
    assert table.loc["same", "rank correlation"] == pytest.approx(1)


def test_two_labels_have_a_single_distance(positions, maps):
    with pytest.raises(ValueError, match=r"There are 2 labels.*\nWhat to do"):
        embedding_quality.centre_distances(maps, positions, ["a", "b"] * 117)


FUNCTIONS = {
    "faithfulness": lambda maps, positions, labels: embedding_quality.faithfulness(
        maps, positions, labels
    ),
    "spread": lambda maps, positions, labels: embedding_quality.spread_by_label(
        maps, positions, labels
    ),
    "centres": lambda maps, positions, labels: embedding_quality.centre_distances(
        maps, positions, labels
    ),
    "plot": lambda maps, positions, labels: embedding_figures.plot_labels(maps, labels),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_maps_and_labels_are_refused(name, positions, classes):
    function, drawn = FUNCTIONS[name], positions[:, :2]
    with pytest.raises(ValueError, match=r"There is no map.\nWhat to do"):
        function({}, positions, classes)
    with pytest.raises(
        ValueError, match=r"'cube' has 3 dimensions, and a map has two.\nWhat to do"
    ):
        function({"cube": positions[:, :3]}, positions, classes)
    with pytest.raises(ValueError, match=r"different numbers of cells: a 234, b 233.\nWhat to do"):
        function({"a": drawn, "b": drawn[1:]}, positions, classes)
    with pytest.raises(ValueError, match="1 of 234 positions are not finite"):
        function({"a": np.where(np.arange(234)[:, None] == 3, np.nan, drawn)}, positions, classes)
    with pytest.raises(ValueError, match="There are 233 labels and 234 positions"):
        function({"a": drawn}, positions, classes[1:])
    with pytest.raises(ValueError, match="1 of 234 cells have no label"):
        function({"a": drawn}, positions, classes.astype(object).where(np.arange(234) != 3))
    with pytest.raises(ValueError, match="All cells have the same label"):
        function({"a": drawn}, positions, ["a"] * 234)
    with pytest.raises(ValueError, match="number of cells 1;"):
        function({"a": drawn[:1]}, positions[:1], ["a"])
    if name != "plot":
        with pytest.raises(ValueError, match=r"of 234 cells, .* 233 positions.\nWhat to do"):
            function({"a": drawn}, positions[1:], classes)
        for taken in ("original", "cells"):
            with pytest.raises(ValueError, match=rf"A map is called '{taken}'.*\nWhat to do"):
                function({taken: drawn}, positions, classes)


def test_faithfulness_needs_twice_as_many_cells_as_neighbours(positions):
    few = positions[:31]
    with pytest.raises(ValueError, match="number of cells 31;"):
        embedding_quality.faithfulness({"a": few[:, :2]}, few)
    enough = embedding_quality.faithfulness({"a": positions[:32, :2]}, positions[:32])
    assert np.isfinite(enough.to_numpy()).all()
