"""Maps, and what they keep, recomputed from the definitions and where the truth is known."""

import random
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy.stats import rankdata
from sklearn.manifold import TSNE

from helpers.figures import COLOURS
from helpers.genes import log_normalisation
from helpers.latent import embeddings, neighbours
from helpers.training import minibatches


@pytest.fixture(scope="module")
def positions(whole_pbmc):
    return log_normalisation.principal_components(whole_pbmc[::3], 6).astype(float)


@pytest.fixture(scope="module")
def classes(whole_pbmc):
    return whole_pbmc[::3].obs["cell_type"]


@pytest.fixture(scope="module")
def maps(positions):
    return {
        "PCA": embeddings.pca(positions),
        "first two": positions[:, :2],
        "t-SNE": embeddings.tsne(positions),
    }


def distances(positions):
    return np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(axis=2))


def pairwise(positions):
    return distances(positions)[np.triu_indices(len(positions), 1)]


# --- maps ---------------------------------------------------------------------------------------


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
    embeddings.faithfulness(maps, positions, classes)
    embeddings.plot(maps, classes)
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


# --- what a map keeps ---------------------------------------------------------------------------


def test_trustworthiness_charges_false_neighbours_by_their_true_rank(positions, maps):
    """The formula of Venna and Kaski, cell by cell."""
    table, k, n = embeddings.faithfulness(maps, positions), 15, len(positions)
    ranks = distances(positions).argsort(axis=1).argsort(axis=1)  # the cell itself has rank 0
    for name, drawn in maps.items():
        nearest = distances(drawn).argsort(axis=1)[:, 1 : k + 1]
        penalty = sum(
            max(0, ranks[cell, other] - k) for cell in range(n) for other in nearest[cell]
        )
        expected = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty
        assert table.loc[name, "trustworthiness"] == pytest.approx(expected)


def test_neighbours_distances_and_labels_are_recomputed(positions, maps, classes):
    table = embeddings.faithfulness(maps, positions, classes)
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
    assert "label accuracy" not in embeddings.faithfulness(maps, positions)


def test_a_map_without_relation_has_what_the_docstring_says(positions):
    unrelated = {"noise": np.random.default_rng(0).normal(size=(len(positions), 2))}
    row = embeddings.faithfulness(unrelated, positions).loc["noise"]
    assert row["trustworthiness"] == pytest.approx(0.5, abs=0.05)
    assert row["neighbours kept"] == pytest.approx(15 / 233, abs=0.02)
    assert row["distances kept"] == pytest.approx(0, abs=0.05)


def test_large_data_are_sampled_for_what_needs_all_pairs():
    numbers = np.random.default_rng(0)
    positions = numbers.normal(size=(1500, 3))
    drawn = positions[:, :2] + numbers.normal(size=(1500, 2))
    table = embeddings.faithfulness({"map": drawn}, positions).loc["map"]
    rows = minibatches.evenly_spaced(1500, 1000)
    sampled = embeddings.faithfulness({"map": drawn[rows]}, positions[rows]).loc["map"]
    for name in ("trustworthiness", "distances kept"):
        assert table[name] == pytest.approx(sampled[name])
    assert table["neighbours kept"] == neighbours.shared(drawn, positions)


def test_spread_is_the_median_distance_of_two_cells_relative_to_the_mean(positions, maps, classes):
    table = embeddings.spread_by_label(maps, positions, classes)
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
    spread = embeddings.spread_by_label({"turned": turned}, few, labels)
    assert spread["turned"].tolist() == pytest.approx(spread["original"].tolist())
    assert spread["turned"]["b"] / spread["turned"]["a"] == pytest.approx(3, abs=0.15)
    again = embeddings.spread_by_label({"map": many}, many, ["a"] * 800 + labels)
    assert again["map"].tolist() == pytest.approx(spread["original"].tolist(), abs=0.02)
    assert again["cells"].tolist() == [1200, 600]
    few[::20] += 500
    strays = embeddings.spread_by_label({"map": few}, few, labels)
    assert strays["map"].tolist() == pytest.approx(spread["original"].tolist(), abs=0.05)


def test_large_labels_are_sampled_for_their_spread():
    numbers = np.random.default_rng(0)
    drawn, labels = numbers.normal(size=(1540, 2)), np.array(["a"] * 1500 + ["b"] * 40)
    rows = np.concatenate([minibatches.evenly_spaced(1500, 1000), np.arange(1500, 1540)])
    whole = embeddings.spread_by_label({"map": drawn}, drawn, labels)
    sampled = embeddings.spread_by_label({"map": drawn[rows]}, drawn[rows], labels[rows])
    assert whole["map"].tolist() == sampled["map"].tolist()


def test_a_lone_cell_has_no_spread(positions):
    labels = ["lone"] + ["a", "b"] * 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = embeddings.spread_by_label({"map": positions[:21, :2]}, positions[:21], labels)
    assert table["map"].isna().to_dict() == {"a": False, "b": False, "lone": True}
    assert table["map"].mean() == pytest.approx(1)
    assert table["cells"]["lone"] == 1


def test_labels_of_identical_cells_have_no_spread(positions):
    still = np.ones((20, 2))
    with pytest.raises(ValueError, match=r"In 'still' the cells of each label.*\nWhat to do"):
        embeddings.spread_by_label({"still": still}, positions[:20], ["a", "b"] * 10)


def test_centres_are_compared_by_the_order_of_their_distances(positions, maps, classes):
    table = embeddings.centre_distances(maps, positions, classes)
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
    table = embeddings.centre_distances({"moved": moved, "same": 5 * true}, true, labels)
    # True distances: ab 1, bc 2, ac 3, cd 4, bd 6, ad 7; then ac 3, cd 4, ad 7, bd 7, bc 11, ab 14.
    assert table.loc["moved", "most misplaced"] == "a and b"
    assert table.loc["moved", ["in the original", "in the map"]].tolist() == [1, 6]
    assert table.loc["same", "rank correlation"] == pytest.approx(1)


def test_two_labels_have_a_single_distance(positions, maps):
    with pytest.raises(ValueError, match=r"There are 2 labels.*\nWhat to do"):
        embeddings.centre_distances(maps, positions, ["a", "b"] * 117)


# --- clumps -------------------------------------------------------------------------------------


# --- figures ------------------------------------------------------------------------------------


def drawn_points(axes):
    """Return position and colour of all points, in the order of drawing."""
    points = [collection.get_offsets() for collection in axes.collections]
    colours = [collection.get_facecolors() for collection in axes.collections]
    return np.concatenate(points), np.concatenate(colours)


def by_position(points):
    return {tuple(map(float, point)): number for number, point in enumerate(points)}


def written(axes):
    return {text.get_text().replace("\n", " "): text for text in axes.texts}


def clouds(n_labels, n_cells=40):
    """Simulate labels that lie apart, on a circle."""
    angles = 2 * np.pi * np.arange(n_labels) / n_labels
    centres = 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    numbers = np.random.default_rng(0)
    drawn = np.repeat(centres, n_cells, axis=0) + 0.3 * numbers.normal(size=(n_labels * n_cells, 2))
    return drawn, np.repeat([f"L{number:02}" for number in range(n_labels)], n_cells)


def test_every_cell_is_drawn_once_at_its_place_in_the_colour_of_its_label(maps, classes):
    labels = np.asarray(classes == classes.iloc[0]).astype(str)
    drawn = embeddings.plot(maps, labels)
    assert [axes.get_title() for axes in drawn.figure.axes] == list(maps)
    for axes, positions in zip(drawn.figure.axes, maps.values(), strict=True):
        points, colours = drawn_points(axes)
        place = by_position(points)
        assert len(points) == len(positions)
        for cell in range(len(positions)):
            expected = embeddings.to_rgba_array(COLOURS[["False", "True"].index(labels[cell])])[0]
            assert colours[place[tuple(map(float, positions[cell]))]] == pytest.approx(expected)


def test_labels_are_drawn_in_turns():
    positions, labels = clouds(4)
    points, colours = drawn_points(embeddings.plot({"map": positions}, labels).figure.axes[0])
    changes = (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 0).sum()
    assert changes > 60  # 3 if drawn label by label
    again, _ = drawn_points(embeddings.plot({"map": positions}, labels).figure.axes[0])
    assert (points == again).all()


def test_twelve_labels_differ_in_colour_or_marker_and_are_drawn_in_turns():
    positions, labels = clouds(12)
    axes = embeddings.plot({"map": positions}, labels).figure.axes[0]
    looks = {}
    for collection in axes.collections:
        shape = collection.get_paths()[0].vertices.round(6).tobytes()
        colours = collection.get_facecolors()
        for point, colour in zip(collection.get_offsets(), colours, strict=True):
            cell = np.abs(positions - point).sum(axis=1).argmin()
            looks.setdefault(labels[cell], set()).add((shape, tuple(colour)))
    assert all(len(look) == 1 for look in looks.values())
    assert len(set.union(*looks.values())) == 12
    assert len(axes.collections) > 10
    assert sum(len(each.get_offsets()) for each in axes.collections) == len(labels)


def test_names_are_written_on_their_cells():
    positions, labels = clouds(6)
    drawn = embeddings.plot({"map": positions}, labels)
    drawn.figure.draw_without_rendering()
    axes = drawn.figure.axes[0]
    names = written(axes)
    assert sorted(names) == sorted(set(labels))
    for name, text in names.items():
        place = axes.transData.inverted().transform(
            text.get_window_extent().get_points().mean(axis=0)
        )
        middle = np.median(positions[labels == name], axis=0)
        assert np.abs(place - middle).max() < 1.5
    assert not drawn.figure.legends


def test_a_label_with_a_few_strays_is_still_named():
    positions, labels = clouds(4)
    labels[::10] = np.roll(labels, 40)[::10]
    drawn = embeddings.plot({"map": positions}, labels)
    assert sorted(written(drawn.figure.axes[0])) == sorted(set(labels))


def test_names_do_not_hide_one_another():
    numbers = np.random.default_rng(0)
    positions = np.repeat([[0, 0], [0.5, 0.2], [1, 0], [9, 9], [9.4, 9]], 40, axis=0)
    positions = positions + 0.02 * numbers.normal(size=(200, 2))
    labels = np.repeat(
        ["long name one", "long name two", "another_name", "corner", "corner too"], 40
    )
    figure = embeddings.plot({"map": positions, "again": positions}, labels).figure
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == 5
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
        frame = axes.get_window_extent()
        for box in boxes:
            assert frame.x0 - 2 < box.x0
            assert box.x1 < frame.x1 + 2
            assert frame.y0 - 2 < box.y0
            assert box.y1 < frame.y1 + 2


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_mixed_labels_are_named_below_and_not_on_the_cells(maps, share):
    batches = np.where(np.random.default_rng(0).random(234) < share, "one", "two")
    figure = embeddings.plot(maps, batches).figure
    assert all(not axes.texts for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    colours = [line.get_color() for line in figure.legends[0].get_lines()]
    assert colours == list(COLOURS[:2])


def test_categories_keep_their_order_and_absent_ones_are_left_out():
    positions, labels = clouds(3)
    kept = pd.Series(pd.Categorical(labels, ["L02", "absent", "L00", "L01"]))
    for given in (kept, kept.array):
        assert "L02: 40; L00: 40; L01: 40." in embeddings.plot({"map": positions}, given).alt


def test_the_text_says_cells_a_label_and_how_far_labels_lie_together(maps, classes):
    drawn = embeddings.plot(maps, classes)
    assert drawn.alt.startswith("3 maps of 234 cells, coloured by label.")
    for name, size in classes.value_counts().items():
        assert f"{name}: {size}" in drawn.alt
    for name, positions in maps.items():
        accuracy = neighbours.label_accuracy(positions, classes)
        said = max(quarter for quarter in (0.25, 0.5, 0.75, 1) if quarter <= accuracy)
        assert f"{name}: at least {said:g}" in drawn.alt
    assert embeddings.plot({"PCA": maps["PCA"]}, classes).alt.startswith("Map of 234 cells")
    mixed = np.random.default_rng(0).normal(size=(234, 2))
    assert "mixed: less than 0.25" in embeddings.plot({"mixed": mixed}, classes).alt
    assert drawn.png().startswith(b"\x89PNG")


def test_axes_say_that_they_have_no_unit_and_have_no_ticks(maps, classes):
    for drawn in (
        embeddings.plot(maps, classes),
        embeddings.plot_values(maps, np.arange(234), "rank"),
    ):
        for axes in drawn.figure.axes[:3]:
            assert "no unit" in axes.get_xlabel()
            assert "no unit" in axes.get_ylabel()
            assert not len(axes.get_xticks())
            assert not len(axes.get_yticks())


def test_at_most_three_panels_stand_in_a_row(maps, classes):
    five = {f"map {number}": maps["PCA"] for number in range(5)}
    figure = embeddings.plot(five, classes).figure
    figure.draw_without_rendering()
    tops = [round(axes.get_window_extent().y1) for axes in figure.axes]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == [3, 2]


def test_values_colour_their_cells_on_one_scale(maps):
    values = np.random.default_rng(0).gamma(2, size=234)
    drawn = embeddings.plot_values(maps, values, "Plp1 (log counts)")
    *panels, bar = drawn.figure.axes
    for axes, positions in zip(panels, maps.values(), strict=True):
        points = axes.collections[0]
        place = by_position(points.get_offsets())
        shown = np.asarray(points.get_array())
        assert [shown[place[tuple(map(float, each))]] for each in positions] == values.tolist()
        assert points.get_clim() == (values.min(), values.max())
        assert points.get_cmap().name == "viridis"
    assert bar.get_ylabel() == "Plp1 (log counts)"
    shown = np.asarray(panels[0].collections[0].get_array())
    assert not (shown == values).all()
    assert drawn.png().startswith(b"\x89PNG")


def test_the_text_of_values_says_their_range():
    positions, _ = clouds(4)
    values = np.linspace(0, 7.654, 160)
    said = embeddings.plot_values({"UMAP": positions}, values, "counts").alt
    assert said == "Map of 160 cells, coloured by counts, from 0 to 7.7, median 3.8: UMAP."


# --- what cannot be drawn or compared -----------------------------------------------------------


FUNCTIONS = {
    "faithfulness": lambda maps, positions, labels: embeddings.faithfulness(
        maps, positions, labels
    ),
    "spread": lambda maps, positions, labels: embeddings.spread_by_label(maps, positions, labels),
    "centres": lambda maps, positions, labels: embeddings.centre_distances(maps, positions, labels),
    "plot": lambda maps, positions, labels: embeddings.plot(maps, labels),
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
        embeddings.faithfulness({"a": few[:, :2]}, few)
    enough = embeddings.faithfulness({"a": positions[:32, :2]}, positions[:32])
    assert np.isfinite(enough.to_numpy()).all()


def test_too_many_labels_are_refused():
    positions, labels = clouds(25, 3)
    with pytest.raises(ValueError, match=r"There are 25 labels; more than 24.*\nWhat to do"):
        embeddings.plot({"map": positions}, labels)
    assert embeddings.plot({"map": positions[:72]}, labels[:72]).figure.axes


def test_bad_values_are_refused(maps):
    for values in (np.arange(233), np.ones((234, 2))):
        with pytest.raises(ValueError, match=r"values of the shape .* 234 cells.\nWhat to do"):
            embeddings.plot_values(maps, values, "rank")
    with pytest.raises(ValueError, match=r"1 of 234 values are not finite numbers.\nWhat to do"):
        embeddings.plot_values(maps, np.where(np.arange(234) == 3, np.nan, 1), "rank")
    with pytest.raises(ValueError, match="There is no map"):
        embeddings.plot_values({}, [], "rank")
    with pytest.raises(ValueError, match="number of cells 1;"):
        embeddings.plot_values({"a": maps["PCA"][:1]}, [1], "rank")
