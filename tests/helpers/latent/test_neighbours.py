"""Neighbours, recomputed from all distances, and what has to come out where it is known."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from helpers.genes import log_normalisation
from helpers.latent import neighbours


@pytest.fixture(scope="module")
def positions(whole_pbmc):
    return log_normalisation.principal_components(whole_pbmc[::3], 5).astype(float)


@pytest.fixture(scope="module")
def classes(whole_pbmc):
    return whole_pbmc[::3].obs["cell_type"]


def ordered(positions):
    """Return the rows of all other cells for each cell, the nearest first."""
    distances = np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(axis=1)[:, :-1]


@pytest.mark.parametrize("k", [1, 4, 15])
def test_nearest_are_those_of_all_distances(positions, k):
    assert (neighbours.nearest(positions, k) == ordered(positions)[:, :k]).all()


def test_a_cell_is_not_its_own_neighbour_even_beside_a_twin():
    twins = np.repeat(np.arange(4.0), 2)[:, None]
    assert neighbours.nearest(twins, 1).ravel().tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_a_representation_shares_all_neighbours_with_its_rotation_and_scaling(positions):
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    assert neighbours.shared(positions, 3 * positions @ turned - 7) == 1


def test_shared_neighbours_are_counted(positions):
    other, k = positions[:, :2], 6
    here, there = ordered(positions)[:, :k], ordered(other)[:, :k]
    common = [len(set(one) & set(two)) for one, two in zip(here, there, strict=True)]
    assert neighbours.shared(positions, other, k) == pytest.approx(np.mean(common) / k)
    assert neighbours.shared(other, positions, k) == pytest.approx(np.mean(common) / k)


def test_positions_without_relation_share_what_chance_gives():
    numbers = np.random.default_rng(0)
    one, other = numbers.normal(size=(2, 1000, 3))
    assert neighbours.shared(one, other, 20) == pytest.approx(20 / 999, abs=0.003)


def test_label_accuracy_is_that_of_a_vote_without_the_cell_itself(positions, classes):
    # An odd vote of two labels knows no tie.
    labels = (classes == classes.iloc[0]).to_numpy()
    votes = labels[ordered(positions)[:, :7]]
    guessed = [Counter(vote).most_common(1)[0][0] for vote in votes]
    assert neighbours.label_accuracy(positions, labels, 7) == np.mean(guessed == labels)


def test_of_equally_frequent_labels_the_first_is_guessed():
    line = np.array([[0.0], [1], [3]])
    assert neighbours.label_accuracy(line, ["a", "b", "c"], 2) == 0
    # "b" has one neighbour "a" and one "c".
    assert neighbours.label_accuracy(line, ["a", "a", "c"], 2) == pytest.approx(2 / 3)


def test_separate_labels_are_all_guessed_and_a_lone_one_never():
    line = np.concatenate([np.arange(20), 100 + np.arange(20)])[:, None]
    assert neighbours.label_accuracy(line, [0] * 20 + [1] * 20) == 1
    assert neighbours.label_accuracy(line, [2] + [0] * 19 + [1] * 20) == 39 / 40


def test_by_default_as_many_neighbours_as_scanpy_joins(positions, classes):
    assert neighbours.nearest(positions).shape == (len(positions), 15)
    assert neighbours.shared(positions, positions[:, :2]) == neighbours.shared(
        positions, positions[:, :2], 15
    )
    assert neighbours.label_accuracy(positions, classes) == neighbours.label_accuracy(
        positions, classes, 15
    )


@pytest.mark.parametrize("kind", [list, np.asarray, pd.Series, pd.Categorical])
def test_labels_become_text_in_the_order_of_the_cells(kind):
    assert neighbours.require_labels(kind([10, 9, 10]), 3).tolist() == ["10", "9", "10"]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
@pytest.mark.parametrize("kind", [list, lambda values: pd.Series(values, index=[7, 8, 9])])
def test_missing_labels_are_refused_however_they_are_missing(missing, kind):
    with pytest.raises(ValueError, match=r"1 of 3 cells have no label.\nWhat to do: leave"):
        neighbours.require_labels(kind(["a", "b", missing]), 3)


def test_labels_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match=r"There are 2 labels and 3 positions.\nWhat to do"):
        neighbours.require_labels(["a", "b"], 3)
    with pytest.raises(ValueError, match=r"All cells have the same label, 'a'.*\nWhat to do"):
        neighbours.require_labels(["a", "a"], 2)


def test_labels_are_checked_before_they_are_guessed(positions):
    with pytest.raises(ValueError, match="labels and"):
        neighbours.label_accuracy(positions, ["a", "b"])


def test_positions_that_have_no_neighbours_are_refused(positions):
    for function in (
        lambda given, k: neighbours.nearest(given, k),
        lambda given, k: neighbours.shared(given, given, k),
        lambda given, k: neighbours.label_accuracy(given, ["a", "b"] * (len(given) // 2), k),
    ):
        with pytest.raises(ValueError, match=r"neighbours is 4, and the number of cells 4.*\nWhat"):
            function(positions[:4], 4)
        assert function(positions[:4], 3) is not None
    with pytest.raises(ValueError, match="number of cells 0"):
        neighbours.require_positions(np.empty((0, 2)))
    with pytest.raises(ValueError, match="number of cells 1"):
        neighbours.require_positions(positions[:1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_that_are_no_numbers_are_refused(positions, value):
    broken = positions.copy()
    broken[[3, 5], 1] = value
    with pytest.raises(ValueError, match=r"2 of 234 .*, the first in row 3.\nWhat to do: look"):
        neighbours.nearest(broken)


def test_something_else_than_a_table_is_refused(positions):
    with pytest.raises(ValueError, match=r"shape \(234,\)"):
        neighbours.nearest(positions[:, 0])


def test_representations_of_different_cells_are_refused(positions):
    with pytest.raises(ValueError, match=r"of 233 and 234 cells.\nWhat to do: give two"):
        neighbours.shared(positions[1:], positions)
