"""Drawings of maps: every cell once, and names that can be read."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba_array

from helpers.figures import COLOURS
from helpers.latent import embedding_figures, neighbours


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
    drawn = embedding_figures.plot_labels(maps, labels)
    assert [axes.get_title() for axes in drawn.figure.axes] == list(maps)
    for axes, positions in zip(drawn.figure.axes, maps.values(), strict=True):
        points, colours = drawn_points(axes)
        place = by_position(points)
        assert len(points) == len(positions)
        for cell in range(len(positions)):
            expected = to_rgba_array(COLOURS[["False", "True"].index(labels[cell])])[0]
            assert colours[place[tuple(map(float, positions[cell]))]] == pytest.approx(expected)


def test_labels_are_drawn_in_turns():
    positions, labels = clouds(4)
    points, colours = drawn_points(
        embedding_figures.plot_labels({"map": positions}, labels).figure.axes[0]
    )
    changes = (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 0).sum()
    assert changes > 60  # 3 if drawn label by label
    again, _ = drawn_points(
        embedding_figures.plot_labels({"map": positions}, labels).figure.axes[0]
    )
    assert (points == again).all()


def test_twelve_labels_differ_in_colour_or_marker_and_are_drawn_in_turns():
    positions, labels = clouds(12)
    axes = embedding_figures.plot_labels({"map": positions}, labels).figure.axes[0]
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
    drawn = embedding_figures.plot_labels({"map": positions}, labels)
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
    drawn = embedding_figures.plot_labels({"map": positions}, labels)
    assert sorted(written(drawn.figure.axes[0])) == sorted(set(labels))


def test_names_do_not_hide_one_another():
    numbers = np.random.default_rng(0)
    positions = np.repeat([[0, 0], [0.5, 0.2], [1, 0], [9, 9], [9.4, 9]], 40, axis=0)
    positions = positions + 0.02 * numbers.normal(size=(200, 2))
    labels = np.repeat(
        ["long name one", "long name two", "another_name", "corner", "corner too"], 40
    )
    figure = embedding_figures.plot_labels({"map": positions, "again": positions}, labels).figure
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
    figure = embedding_figures.plot_labels(maps, batches).figure
    assert all(not axes.texts for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    colours = [line.get_color() for line in figure.legends[0].get_lines()]
    assert colours == list(COLOURS[:2])


def test_categories_keep_their_order_and_absent_ones_are_left_out():
    positions, labels = clouds(3)
    kept = pd.Series(pd.Categorical(labels, ["L02", "absent", "L00", "L01"]))
    for given in (kept, kept.array):
        assert (
            "L02: 40; L00: 40; L01: 40."
            in embedding_figures.plot_labels({"map": positions}, given).alt
        )


def test_the_text_says_cells_a_label_and_how_far_labels_lie_together(maps, classes):
    drawn = embedding_figures.plot_labels(maps, classes)
    assert drawn.alt.startswith("3 maps of 234 cells, coloured by label.")
    for name, size in classes.value_counts().items():
        assert f"{name}: {size}" in drawn.alt
    for name, positions in maps.items():
        accuracy = neighbours.label_accuracy(positions, classes)
        said = max(quarter for quarter in (0.25, 0.5, 0.75, 1) if quarter <= accuracy)
        assert f"{name}: at least {said:g}" in drawn.alt
    assert embedding_figures.plot_labels({"PCA": maps["PCA"]}, classes).alt.startswith(
        "Map of 234 cells"
    )
    mixed = np.random.default_rng(0).normal(size=(234, 2))
    assert "mixed: less than 0.25" in embedding_figures.plot_labels({"mixed": mixed}, classes).alt
    assert drawn.png().startswith(b"\x89PNG")


def test_axes_say_that_they_have_no_unit_and_have_no_ticks(maps, classes):
    for drawn in (
        embedding_figures.plot_labels(maps, classes),
        embedding_figures.plot_values(maps, np.arange(234), "rank"),
    ):
        for axes in drawn.figure.axes[:3]:
            assert "no unit" in axes.get_xlabel()
            assert "no unit" in axes.get_ylabel()
            assert not len(axes.get_xticks())
            assert not len(axes.get_yticks())


def test_at_most_three_panels_stand_in_a_row(maps, classes):
    five = {f"map {number}": maps["PCA"] for number in range(5)}
    figure = embedding_figures.plot_labels(five, classes).figure
    figure.draw_without_rendering()
    tops = [round(axes.get_window_extent().y1) for axes in figure.axes]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == [3, 2]


def test_values_colour_their_cells_on_one_scale(maps):
    values = np.random.default_rng(0).gamma(2, size=234)
    drawn = embedding_figures.plot_values(maps, values, "Plp1 (log counts)")
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
    said = embedding_figures.plot_values({"UMAP": positions}, values, "counts").alt
    assert said == "Map of 160 cells, coloured by counts, from 0 to 7.7, median 3.8: UMAP."


def test_too_many_labels_are_refused():
    positions, labels = clouds(25, 3)
    with pytest.raises(ValueError, match=r"There are 25 labels; more than 24.*\nWhat to do"):
        embedding_figures.plot_labels({"map": positions}, labels)
    assert embedding_figures.plot_labels({"map": positions[:72]}, labels[:72]).figure.axes


def test_bad_values_are_refused(maps):
    for values in (np.arange(233), np.ones((234, 2))):
        with pytest.raises(ValueError, match=r"values of the shape .* 234 cells.\nWhat to do"):
            embedding_figures.plot_values(maps, values, "rank")
    with pytest.raises(ValueError, match=r"1 of 234 values are not finite numbers.\nWhat to do"):
        embedding_figures.plot_values(maps, np.where(np.arange(234) == 3, np.nan, 1), "rank")
    with pytest.raises(ValueError, match="There is no map"):
        embedding_figures.plot_values({}, [], "rank")
    with pytest.raises(ValueError, match="number of cells 1;"):
        embedding_figures.plot_values({"a": maps["PCA"][:1]}, [1], "rank")
