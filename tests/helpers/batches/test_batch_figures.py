"""The figures of batch effects show and say the numbers."""

import numpy as np
import pandas as pd
import pytest

from helpers.batches import batch_figures, experiments

METHODS = ("PCA", "scVI", experiments.RANDOM_POSITIONS)


@pytest.fixture
def measures():
    """Return three made-up runs of two methods, and random positions."""
    numbers = np.random.default_rng(0)
    runs = [
        pd.DataFrame(
            numbers.uniform(0, 1, (len(METHODS), len(experiments.BETTER))),
            index=list(METHODS),
            columns=list(experiments.BETTER),
        )
        for _ in range(3)
    ]
    return pd.concat(runs)


def test_a_dot_a_run_in_the_row_of_its_method(measures):
    drawn = batch_figures.plot_measures(measures).figure
    columns = ["kNN batch accuracy", "kNN class accuracy", "iLISI", "ARI"]
    names = ["PCA", "scVI"]
    left = drawn.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == names
    for axes, column in zip(drawn.axes, columns, strict=True):
        assert axes.get_xlabel() == f"{column}\n({experiments.BETTER[column]} is better)"
        dots = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
        for row, (name, line) in enumerate(zip(names, dots, strict=True)):
            np.testing.assert_allclose(line.get_xdata(), measures.loc[name, column])
            assert set(line.get_ydata()) == {row}
        (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        expected = measures.loc[experiments.RANDOM_POSITIONS, column].mean()
        assert dashed.get_xdata()[0] == pytest.approx(expected)
        low, high = axes.get_ylim()
        assert low > 1 and high < 0  # the first method is on top


def test_the_sentence_has_the_means(measures):
    said = repr(batch_figures.plot_measures(measures))
    for name in METHODS:
        mixed, kept = measures.loc[name, ["kNN batch accuracy", "kNN class accuracy"]].mean()
        assert f"{name} {mixed:.2f} and {kept:.2f}" in said


def test_one_run_and_no_random_positions_will_do(measures):
    drawn = batch_figures.plot_measures(measures.iloc[:2])
    assert not any(line.get_linestyle() == "--" for line in drawn.figure.axes[0].lines)
    assert len(drawn.png()) > 1000


@pytest.fixture
def effects():
    """Return made-up effects: the learned one is the true one plus 0.6 of the class difference."""
    effect, difference = np.random.default_rng(1).normal(size=(2, 400))
    return pd.DataFrame(
        {
            "true batch effect": effect,
            "true class difference": difference,
            "learned batch effect": effect + 0.6 * difference,
            "learned class difference": 0.4 * difference,
        }
    )


def test_effects_are_drawn_against_both_truths(effects):
    drawn = batch_figures.plot_effects(effects)
    left, right = drawn.figure.axes
    np.testing.assert_array_equal(left.lines[0].get_xdata(), effects["true batch effect"])
    np.testing.assert_array_equal(left.lines[0].get_ydata(), effects["learned batch effect"])
    np.testing.assert_array_equal(right.lines[0].get_xdata(), effects["true class difference"])
    np.testing.assert_allclose(
        right.lines[0].get_ydata(), 0.6 * effects["true class difference"], atol=1e-9
    )
    # What would be right (dashed), then what was found.
    for axes, slopes in ((left, (1, 1)), (right, (0, 0.6))):
        for line, slope in zip(axes.lines[1:], slopes, strict=True):
            ends = np.asarray(line.get_xdata())
            np.testing.assert_allclose(line.get_ydata(), slope * ends, atol=1e-6)
            assert ends[0] < -2 and ends[1] > 2
    assert [line.get_linestyle() for line in left.lines[1:]] == ["--", "-"]


def test_the_sentence_about_effects_has_the_slopes(effects):
    said = repr(batch_figures.plot_effects(effects))
    correlation = effects["learned batch effect"].corr(effects["true batch effect"])
    assert "400 genes" in said
    assert f"correlation {correlation:.1f}, slope 1.0; 1 would be right" in said
    assert "slope 0.6; 0 would be right" in said


def test_a_slope_of_almost_nothing_is_no_minus_zero(effects):
    effects["learned batch effect"] -= 0.61 * effects["true class difference"]
    assert "slope 0.0; 0 would be right" in repr(batch_figures.plot_effects(effects))
