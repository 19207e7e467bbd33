"""Colours can be told apart by those who see fewer, and letters stand out from their ground."""

import itertools
import re

import matplotlib as mpl
import numpy as np
import pytest

from helpers import figures
from helpers.loss import elbo_figures
from helpers.practice import quizzes

# Machado, Oliveira and Fernandes (2009), "A physiologically-based model for simulation of color
# vision deficiency", IEEE Transactions on Visualization and Computer Graphics 15, 1291-1298: their
# matrices for linear RGB where one kind of cone is missing.
SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}

# Linear sRGB to CIE XYZ (IEC 61966-2-1).
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

# CIE 1976 distance in L*a*b*. About 2.3 can just be noticed where two areas touch; lines and small
# marks that lie apart need several times that.
APART = 15
# Where the difference is written out as well.
BESIDE_WORDS = 10
# Neighbours among eleven steps of a colour map, which come with a scale beside them.
STEP_APART = 5


def linear(colour) -> np.ndarray:
    parts = np.array(mpl.colors.to_rgb(colour))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(colour, seen_by: str) -> np.ndarray:
    """L*, a* and b* of a colour as somebody sees it; white is 100, 0, 0."""
    seen = TO_XYZ @ np.clip(SEEN_BY[seen_by] @ linear(colour), 0, 1) / TO_XYZ.sum(axis=1)
    root = np.where(seen > (6 / 29) ** 3, np.cbrt(seen), seen / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def distance(first, second, seen_by: str) -> float:
    return float(np.linalg.norm(lab(first, seen_by) - lab(second, seen_by)))


def contrast(first, second) -> float:
    """Contrast of two colours, WCAG 2.2."""
    dark, light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (first, second))
    return (light + 0.05) / (dark + 0.05)


def test_the_measures_know_what_is_known():
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)
    assert lab("red", "all cones") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    # Red and green of the same lightness are far apart for most, and close for those without one
    # cone.
    pair = ("#c00000", "#407800")
    assert distance(*pair, "all cones") > 80
    assert distance(*pair, "deuteranopia") < 40


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_any_two_colours_of_figures_can_be_told_apart(seen_by):
    distances = {
        pair: distance(*pair, seen_by) for pair in itertools.combinations(figures.COLOURS, 2)
    }
    assert min(distances.values()) > APART, min(distances, key=distances.get)


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_terms_of_the_loss_can_be_told_apart(seen_by):
    terms = (
        elbo_figures.RECONSTRUCTION,
        elbo_figures.KL,
        elbo_figures.WEIGHT,
        elbo_figures.HELD_OUT,
    )
    for pair in itertools.combinations(terms, 2):
        assert distance(*pair, seen_by) > APART, pair


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_more_is_lighter_in_the_colour_map(seen_by):
    colours = mpl.colormaps[figures.COLOUR_MAP](np.linspace(0, 1, 11))
    lightness = [lab(colour, seen_by)[0] for colour in colours]
    assert (np.diff(lightness) > 2).all()
    assert all(distance(*pair, seen_by) > STEP_APART for pair in itertools.pairwise(colours))


def test_colours_that_stand_out_from_white_come_first():
    """Lines and marks need 3:1 (WCAG 2.2, 1.4.11).

    The others are for areas, or have an edge or a label.
    """
    faint = [number for number, each in enumerate(figures.COLOURS) if contrast(each, "white") < 3]
    assert faint == [4, 5, 7]


def test_the_quiz_can_be_read():
    """Text 4.5:1, edges and the mark of the focus 3:1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colours = quizzes.COLOURS
    rules = dict(re.findall(r"^(\.Quiz[^{]*) \{([^}]*)\}", quizzes.LOOK, flags=re.MULTILINE))
    button = colour_of(rules[".Quiz .MCButton"], "color")
    answered = ".Quiz .MCButton.correctButton, .Quiz .MCButton.incorrectButton"
    chosen = colour_of(rules[answered], "color")
    feedback = rules[".Quiz .Feedback"]
    for text, ground in (
        (colours["--jq-text-color"], colours["--jq-multiple-choice-bg"]),
        (button, colours["--jq-mc-button-bg"]),
        (chosen, colours["--jq-correct-color"]),
        (chosen, colours["--jq-incorrect-color"]),
        (colour_of(feedback, "color"), colour_of(feedback, "background")),
    ):
        assert contrast(text, ground) >= 4.5, (text, ground)
    focus = colour_of(rules[".Quiz .MCButton:focus-within"], "outline")
    for edge in (colours["--jq-mc-button-border"], focus):
        assert contrast(edge, "white") >= 3, edge


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_right_and_wrong_can_be_told_apart(seen_by):
    """They are written out, too; the colours help at a glance."""
    right, wrong = (quizzes.COLOURS[f"--jq-{name}-color"] for name in ("correct", "incorrect"))
    assert distance(right, wrong, seen_by) > BESIDE_WORDS


def colour_of(rule: str, name: str) -> str:
    """Return the colour that a CSS rule gives."""
    return re.findall(rf"(?:^|[ ;]){name}: [^;]*?(#[0-9a-f]{{6}})", rule)[0]
