"""Every figure can be seen, and read aloud."""

import matplotlib as mpl
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
