"""The figure of what more cells cost shows its table, and says it."""

import numpy as np
import pytest

from helpers.scale import scaling, scaling_figures
from tests.helpers.scale.runs_on_lines import linear


def test_measured_markers_are_filled_and_estimated_ones_hollow():
    table = scaling.estimate(linear())
    figure = scaling_figures.plot(table).figure
    left, right = figure.axes
    drawn = {}
    for axes, columns in (
        (left, ["training seconds", "latent seconds", "set-up seconds"]),
        (right, ["memory MiB"]),
    ):
        marked = [line for line in axes.lines if line.get_marker() in "os^"]
        assert len(marked) == 2 * len(columns)
        for column, (filled, hollow) in zip(
            columns, zip(marked[::2], marked[1::2], strict=True), strict=True
        ):
            assert filled.get_markerfacecolor() == filled.get_color()
            assert hollow.get_markerfacecolor() == "white" != hollow.get_color()
            scale = 1024 if column == "memory MiB" else 1
            for line, rows in ((filled, table[:6]), (hollow, table[6:])):
                np.testing.assert_array_equal(line.get_xdata(), rows["cells"])
                np.testing.assert_allclose(line.get_ydata(), rows[column] / scale)
            drawn[column] = filled.get_label()
    assert list(drawn.values()) == ["training", "latent space", "set-up", "peak in training"]
    for axes, label in ((left, "processor time (seconds)"), (right, "memory (GiB)")):
        assert axes.get_ylabel() == label and axes.get_xlabel() == "cells"
        assert axes.get_xscale() == axes.get_yscale() == "log"
    level = [line.get_ydata()[0] for line in right.lines if len(set(line.get_ydata())) == 1]
    assert level == [2, 16]
    assert scaling_figures.plot(table).png().startswith(b"\x89PNG")


def test_the_sentence_is_made_from_the_table():
    table = scaling.estimate(linear(), [1_000_000, 10_000_000])
    said = scaling_figures.plot(table).alt
    training_seconds = 400 * (0.02 + 0.3 * 0.19)
    for part in (
        "from 300 to 10 million cells, 6 sizes measured and 2 estimated",
        f"training from {training_seconds:.0f} s to 32 min",
        "set-up from 0.4 s to 10 s",
        "up to 100,000 cells fit into 2 GiB (Binder)",
        "up to 1 million cells fit into 16 GiB (laptop)",
        "take 15 GiB sparse and 75 GiB dense",
    ):
        assert part in said
    table["memory MiB"] = 3000.0
    assert "none fit into 2 GiB (Binder)" in scaling_figures.plot(table).alt


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0123, "0.012 s"), (59, "59 s"), (61, "1 min"), (5400, "1.5 h")]
)
def test_a_time_has_the_unit_that_reads_best(seconds, said):
    assert scaling_figures.duration(seconds) == said
