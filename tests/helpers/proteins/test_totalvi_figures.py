"""The figures of TotalVI show and say what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from helpers.proteins import totalvi, totalvi_figures
from helpers.proteins.protein_counts import NO_GROUP
from tests.helpers.spied_training import QUIET, build, small_citeseq


@pytest.fixture(scope="module")
def model():
    setup = {"protein_expression_obsm_key": "protein_expression", "batch_key": "batch"}
    model = build(small_citeseq(), "TOTALVI", setup, empirical_protein_background_prior=False)
    model.train(max_epochs=40, n_epochs_kl_warmup=5, early_stopping=False, **QUIET)
    return model


@pytest.fixture(scope="module")
def counts(model):
    return model.adata.obsm["protein_expression"]


@pytest.fixture(scope="module")
def cells(counts):
    """Return the cell with most CD19, and one with few."""
    return {
        "a B cell": counts["CD19"].idxmax(),
        "another cell": counts.index[counts["CD19"] == 3][0],
    }


@pytest.fixture(scope="module")
def mixture(model, cells):
    return totalvi_figures.plot_mixture(model, "CD19", cells)


@pytest.fixture
def tables():
    """Return made-up descriptions of six cells and two proteins."""
    names = [f"cell {number}" for number in range(6)]
    one = pd.DataFrame(
        {
            "count": [0, 2, 4, 300, 900, 50],
            "probability of foreground": [0.01, 0.02, 0.1, 0.97, 0.99, 0.6],
            "denoised": [0.1, 0.0, 3.0, 250.0, 1000.0, 20.0],
        },
        index=names,
    )
    other = one.iloc[::-1].set_axis(names)
    return {"CD19": one, "CD4": other}


@pytest.fixture
def groups():
    labels = ["T", "T", "T", "B", "B", NO_GROUP]
    return pd.Series(labels, index=[f"cell {number}" for number in range(6)])


def areas_of(axes):
    """Return the area under each filled curve, over ln(1 + count)."""
    found = {}
    for area in axes.collections:
        x, y = area.get_paths()[0].vertices.T
        top = pd.Series(y, index=x).groupby(level=0).max()
        found[area.get_label()] = np.trapezoid(top, np.log1p(top.index))
    return found


def test_the_areas_are_the_probabilities_of_the_components(mixture, model, cells):
    for axes, cell in zip(mixture.figure.axes, cells.values(), strict=True):
        table = totalvi.count_distribution(model, "CD19", cell, totalvi_figures.DRAWS)
        found = areas_of(axes)
        assert list(found) == ["background", "foreground"]
        # What lies left of 0 on the axis is not drawn.
        for name, area in found.items():
            drawn = table[name].sum() - table[name][0] / 2
            assert area == pytest.approx(drawn, abs=0.03)


def test_the_measured_count_is_marked_and_named(mixture, counts, cells):
    for axes, cell in zip(mixture.figure.axes, cells.values(), strict=True):
        (line,) = axes.lines
        measured = counts.loc[cell, "CD19"]
        assert set(line.get_xdata()) == {measured}
        assert axes.texts[0].get_text() == f"measured: {measured:,.0f}"
        assert f"{measured:,.0f} measured" in mixture.alt


def test_a_panel_says_whose_it_is_and_how_probable_the_foreground(mixture, model, cells):
    for axes, (label, cell) in zip(mixture.figure.axes, cells.items(), strict=True):
        table = totalvi.count_distribution(model, "CD19", cell, totalvi_figures.DRAWS)
        share = table["foreground"].sum()
        title = axes.get_title(loc="left")
        assert title.startswith(f"{label}: foreground ")
        if 0.01 <= share <= 0.99:
            assert title.endswith(f" {100 * share:.0f} %")
        else:
            assert title.endswith(" over 99 %" if share > 0.5 else " under 1 %")
        assert f"{label}: " in mixture.alt


@pytest.mark.parametrize(
    ("probability", "exact", "said"),
    [
        (0.001, "under 1 %", "below 10 %"),
        (0.04, "4 %", "below 10 %"),
        (0.62, "62 %", "about 60 %"),
        (0.97, "97 %", "above 90 %"),
        (0.999, "over 99 %", "above 90 %"),
    ],
)
def test_probabilities_are_said_so_that_they_hold_elsewhere(
    probability, exact, said, monkeypatch, model, cells
):
    def made_up(model, protein, cell, n_samples):
        return pd.DataFrame(
            {"background": [1 - probability, 0.0], "foreground": [0.0, probability]},
            index=pd.Index([0, 1], name="count"),
        )

    monkeypatch.setattr(totalvi, "count_distribution", made_up)
    shown = totalvi_figures.plot_mixture(model, "CD19", cells)
    assert shown.figure.axes[0].get_title(loc="left") == f"a B cell: foreground {exact}"
    assert f"probability of the foreground {said}" in shown.alt


def test_no_cells_are_refused(model):
    with pytest.raises(ValueError, match="no cell to draw"):
        totalvi_figures.plot_mixture(model, "CD19", {})
    with pytest.raises(KeyError, match="no cell 'Bob'"):
        totalvi_figures.plot_mixture(model, "CD19", {"a cell": "Bob"})
    with pytest.raises(KeyError, match="no protein 'CD20'"):
        totalvi_figures.plot_mixture(model, "CD20", {"a cell": model.adata.obs_names[0]})


def test_each_cell_is_a_point_of_its_group(tables, groups):
    shown = totalvi_figures.plot_foreground(tables, groups)
    panels = np.reshape(shown.figure.axes, (2, 2))
    for row, column in zip(panels, ("probability of foreground", "denoised"), strict=True):
        for axes, (protein, table) in zip(row, tables.items(), strict=True):
            points = {line.get_label(): line for line in axes.lines if line.get_marker() != "None"}
            assert sorted(points) == sorted(set(groups))
            for name, line in points.items():
                expected = table[groups == name]
                assert list(line.get_xdata()) == list(expected["count"])
                assert list(line.get_ydata()) == list(expected[column])
            if column != "denoised":
                assert axes.get_title(loc="left") == protein
    looks = {(line.get_color(), line.get_marker()) for line in panels[0, 0].lines}
    assert len(looks) == 3
    assert len({marker for _, marker in looks}) == 3
    labels = [text.get_text() for text in panels[0, 1].get_legend().get_texts()]
    assert sorted(labels) == sorted(set(groups))


def test_the_sentence_says_which_groups_have_the_protein(tables, groups):
    said = totalvi_figures.plot_foreground(tables, groups).alt
    assert "of 6 cells" in said
    assert (
        "CD19: above one half in most cells of B; the median count of the cells below is about 2"
        in said
    )
    # The same cells the other way round.
    assert "CD4: above one half in most cells of T; " in said


def test_cells_without_a_label_are_refused(tables, groups):
    with pytest.raises(ValueError, match="1 cells have no group, the first is 'cell 2'"):
        totalvi_figures.plot_foreground(tables, groups.drop("cell 2"))
    with pytest.raises(ValueError, match="There is no table"):
        totalvi_figures.plot_foreground({}, groups)


def test_counts_are_written_on_the_axes_from_nought(tables, groups):
    shown = totalvi_figures.plot_foreground(tables, groups)
    shown.png()
    bottom = shown.figure.axes[2]
    for axis in (bottom.xaxis, bottom.yaxis):
        texts = [label.get_text() for label in axis.get_ticklabels()]
        assert texts[0] == "0"
        assert [float(text.replace(",", "")) for text in texts] == sorted(axis.get_ticklocs())
    # As far apart as their logarithms.
    x = [bottom.transData.transform((count, 0))[0] for count in (0, 9, 99, 999)]
    assert np.diff(x) == pytest.approx(np.diff(x)[0])
