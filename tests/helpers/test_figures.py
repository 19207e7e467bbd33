"""Every figure can be seen, and read aloud."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from helpers import figures


@pytest.fixture
def figure():
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot([1, 2], [3, 4])
    return figure


def test_jupyter_gets_picture_and_sentence(figure):
    described = figures.DescribedFigure(figure, 'Line from 3 to 4 "units" & more.')
    bundle = described._repr_mimebundle_()
    assert bundle["text/plain"] == repr(described) == 'Line from 3 to 4 "units" & more.'
    assert 'src="data:image/png;base64,iVBOR' in bundle["text/html"]
    assert 'alt="Line from 3 to 4 &quot;units&quot; &amp; more."' in bundle["text/html"]


def test_the_same_figure_gives_the_same_bytes(figure):
    described = figures.DescribedFigure(figure, "Line from 3 to 4.")
    assert described.png() == described.png()
    assert described.png().startswith(b"\x89PNG")


def test_a_figure_without_a_sentence_is_refused(figure):
    with pytest.raises(ValueError, match="sentence"):
        figures.DescribedFigure(figure, " ")


def test_the_learners_own_settings_stay():
    before = mpl.rcParams["font.size"]
    with figures.style():
        assert mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["font.size"] == before


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in mpl.colors.to_rgb(colour)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_the_first_two_colours_stand_out_from_white():
    """Lines and bars need a contrast of 3:1 (WCAG 2.2, 1.4.11)."""
    for colour in figures.COLOURS[:2]:
        assert 1.05 / (luminance(colour) + 0.05) >= 3


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (2857.9, 3, "2,860"),
        (2831.3, 3, "2,830"),
        (1.4156, 2, "1.4"),
        (0.00123, 2, "0.0012"),
        (0, 3, "0"),
        (-41.26, 2, "-41"),
        (59049, 2, "59,000"),
        (99.96, 3, "100"),
    ],
)
def test_about_rounds_to_significant_digits(value, digits, text):
    assert figures.about(value, digits) == text


@pytest.mark.parametrize("which", ["x", "y"])
def test_a_count_axis_has_room_for_nought_and_all_counts(which):
    counts = [0, 1, 10, 2500]
    figure = Figure()
    axes = figure.subplots()
    axes.plot(*((counts, [0] * 4) if which == "x" else ([0] * 4, counts)), "o")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.count_axis(axes, which)
        figures.DescribedFigure(figure, "four points").png()
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    assert -1 < low < 0 and 2500 < high < 4000
    axis = axes.xaxis if which == "x" else axes.yaxis
    labels = [label.get_text() for label in axis.get_ticklabels()]
    assert labels[0] == "0" and "1,000" in labels
    places = [axes.transData.transform([(n, n)])[0]["xy".index(which)] for n in (0, 9, 99, 999)]
    assert np.diff(places) == pytest.approx(np.diff(places)[0])


def test_a_count_axis_keeps_limits_that_were_set():
    axes = Figure().subplots()
    axes.plot([1, 5], [0, 0])
    axes.set_xlim(0, 100)
    figures.count_axis(axes, "x")
    assert axes.get_xlim() == (0, 100)


def test_count_axes_that_are_shared_show_the_points_of_all():
    panels = Figure().subplots(1, 2, sharey=True)
    for axes, highest in zip(panels, (10, 900), strict=True):
        axes.plot([0], [highest], "o")
    for axes in panels:
        figures.count_axis(axes, "y")
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert 900 < panels[0].get_ylim()[1] < 1300
