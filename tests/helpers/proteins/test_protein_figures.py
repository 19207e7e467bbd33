"""The figures of proteins show every cell, and say their numbers."""

import re

import numpy as np

from helpers.proteins import protein_counts, protein_figures


def test_the_histogram_shows_every_cell_and_says_its_numbers(blood):
    drawn = protein_figures.plot_histogram(blood, "CD3")
    panels = drawn.figure.axes
    assert [round(sum(bar.get_height() for bar in axes.patches)) for axes in panels] == [200, 200]
    found = protein_counts.thresholds(blood).loc["CD3"]
    lines = [axes.lines[0].get_xdata()[0] for axes in panels]
    np.testing.assert_allclose(lines, found["threshold"])
    assert re.search(r"Batch 5k: background around 13, .* threshold of 100", drawn.alt)
    assert drawn.png().startswith(b"\x89PNG")


def test_a_histogram_without_a_second_hump_says_so(blood):
    drawn = protein_figures.plot_histogram(blood, "CD25")
    assert drawn.alt.count("one hump, so no threshold") == 2
    assert not any(axes.lines for axes in drawn.figure.axes)


def test_the_scatter_plot_has_each_cell_at_its_counts(blood):
    groups = protein_counts.gate(blood)
    drawn = protein_figures.plot_beside_rna(blood, "CD4", groups)
    lines = {line.get_label(): line for line in drawn.figure.axes[0].lines}
    rna = blood[:, "CD4"].X.toarray().ravel()
    for name, line in lines.items():
        cells = (groups == name).to_numpy()
        np.testing.assert_array_equal(np.rint(line.get_xdata()), rna[cells])
        counts = blood.obsm["protein_expression"]["CD4"][cells]
        np.testing.assert_array_equal(line.get_ydata(), counts)
    without = (rna[(groups == "CD4 T cells").to_numpy()] == 0).mean()
    assert f"CD4 T cells {100 * without:.0f} %" in drawn.alt
