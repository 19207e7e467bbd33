"""Drawings of clusters show the numbers that they were given."""

import numpy as np
import pandas as pd

from helpers import figures
from helpers.latent import cluster_figures, clusters


def test_heat_map_shows_shares_of_the_cluster_and_numbers_of_cells():
    table = pd.DataFrame(
        [[1200, 0, 300], [0, 40, 10], [60, 0, 0]],
        index=["0", "1", "2"],
        columns=["a", "b", "c"],
    )
    drawn = cluster_figures.plot_confusion(table)
    axes = drawn.figure.axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [
        [0.8, 0, 0.2],
        [0, 0.8, 0.2],
        [1, 0, 0],
    ]
    assert axes.images[0].get_clim() == (0, 1)
    written = {(text.get_position()[::-1], text.get_text()) for text in axes.texts}
    assert written == {
        ((0, 0), "1,200"), ((0, 2), "300"), ((1, 1), "40"), ((1, 2), "10"), ((2, 0), "60")
    }  # fmt: skip
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "1", "2"]
    assert "1,610 cells, a row for each of 3 clusters, a column for each of 3 classes" in drawn.alt
    assert "81 % of the cells have the main class of their cluster." in drawn.alt
    assert "more than one cluster: a. Main class of no cluster: c." in drawn.alt
    assert drawn.png().startswith(b"\x89PNG")


def test_heat_map_of_clusters_that_are_the_classes_says_no_more():
    table = clusters.confusion(["0", "0", "1"], ["a", "a", "b"])
    assert cluster_figures.plot_confusion(table).alt.endswith(
        "100 % of the cells have the main class of their cluster."
    )


def test_colours_mean_the_same_whatever_the_largest_share():
    table = pd.DataFrame([[6, 4], [4, 6]], index=["0", "1"], columns=["a", "b"])
    assert cluster_figures.plot_confusion(table).figure.axes[0].images[0].get_clim() == (0, 1)


def test_numbers_stand_out_from_their_field():
    table = pd.DataFrame([[9, 1], [1, 9]], index=["0", "1"], columns=["a", "b"])
    texts = cluster_figures.plot_confusion(table).figure.axes[0].texts
    assert [text.get_color() for text in texts] == ["black", "white", "white", "black"]


def test_resolutions_are_drawn_a_line_a_representation():
    table = pd.DataFrame(
        {
            "representation": ["b", "b", "a", "a"],
            "resolution": [0.1, 1, 0.1, 1],
            "clusters": [4, 17, 2, 9],
            "ARI": [0.8, 0.3, 0.72, 0.4],
            "NMI": [0.7, 0.5, 0.6, 0.55],
        }
    )
    drawn = cluster_figures.plot_resolutions(table)
    for axes, column in zip(drawn.figure.axes, ["clusters", "ARI", "NMI"], strict=True):
        assert [line.get_label() for line in axes.lines] == ["b", "a"]
        for line, rows in zip(axes.lines, [[0, 1], [2, 3]], strict=True):
            assert list(line.get_xdata()) == [0.1, 1]
            assert list(line.get_ydata()) == table[column][rows].tolist()
        assert len({str(line.get_marker()) for line in axes.lines}) == 2
        assert "resolution" in axes.get_xlabel()
    assert [text.get_text() for text in drawn.figure.legends[0].get_texts()] == ["b", "a"]
    assert "from 0.1 to 1: number of clusters, ARI and NMI." in drawn.alt
    assert (
        "b: from about 4 to about 20 clusters, highest ARI 0.8; a: from about 2 to about 9"
        in drawn.alt
    )
    assert drawn.png().startswith(b"\x89PNG")


def test_texts_of_figures_are_rounded():
    """What a figure says must not hang on digits that differ between machines."""
    table = pd.DataFrame(
        {
            "representation": ["a", "a"],
            "resolution": [0.1, 1],
            "clusters": [13, 16],
            "ARI": [0.8123, 0.3],
            "NMI": [0.7, 0.5],
        }
    )
    shown = cluster_figures.plot_resolutions(table)
    assert isinstance(shown, figures.DescribedFigure)
    assert "from about 10 to about 20 clusters, highest ARI 0.8." in shown.alt
