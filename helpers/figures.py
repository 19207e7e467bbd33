"""One look for all figures, and a text for those who cannot see them."""

from __future__ import annotations

import base64
import contextlib
import html
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from PIL import Image

# Okabe and Ito (2008), "Color Universal Design": eight colours that stay apart for colour-blind
# readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

# Perceptually uniform, readable without colour vision and in grey.
COLOUR_MAP = "viridis"


COUNTS = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


class DescribedFigure:
    """A figure and the sentence that says what it shows.

    Jupyter shows the picture with the sentence as its alternative text; as plain text the figure
    *is* the sentence, so that a test of the stored outputs compares what the figure says.

    Parameters
    ----------
    figure
        A matplotlib figure.
    alt
        The sentence, made from the data of the figure.

    Raises
    ------
    ValueError
        If the sentence is empty.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        if not alt.strip():
            raise ValueError("A figure needs a sentence that says what it shows.")
        self.figure = figure
        self.alt = alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # JupyterLab ignores alternative text beside image/png, so the picture travels inside HTML.
        image = (
            f'<img src="data:image/png;base64,{base64.b64encode(self.png()).decode()}" '
            f'alt="{html.escape(self.alt)}">'
        )
        return {"text/html": image, "text/plain": self.alt}

    def png(self) -> bytes:
        """Return the picture as PNG at 100 dots per inch, in 256 colours."""
        drawn, stored = io.BytesIO(), io.BytesIO()
        with style():
            self.figure.savefig(drawn, format="png", dpi=100, bbox_inches="tight")
        # A third of the size, and thousands of points stay in a notebook of less than 1 MB.
        Image.open(drawn).convert("RGB").quantize(256).save(stored, format="png")
        return stored.getvalue()


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with the kit's style inside this block, and leave the learner's own settings alone."""
    with mpl.rc_context(
        {
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": mpl.cycler(color=COLOURS),
            "figure.facecolor": "white",
            "legend.frameon": False,
            "font.size": 10,
        }
    ):
        yield


def count_axis(axes: Axes, which: str) -> None:
    """Make an axis one of ln(1 + count), which has room for 0, with counts as its labels.

    Parameters
    ----------
    axes
        With all that is drawn there and on axes that share this one, so that limits and labels fit.
    which
        "x" or "y".
    """
    get, put, scale = (
        getattr(axes, f"{call}_{which}{what}")
        for call, what in (("get", "lim"), ("set", "lim"), ("set", "scale"))
    )
    axis = getattr(axes, f"{which}axis")
    alike = getattr(axes, f"get_shared_{which}_axes")()
    if getattr(axes, f"get_autoscale{which}_on")():
        # ln(1 + count) has no value from -1 down, where the usual margin would reach.
        drawn = max(getattr(each.dataLim, f"{which}1") for each in alike.get_siblings(axes))
        put(-0.4, np.expm1(1.04 * np.log1p(drawn)))
    scale("function", functions=(np.log1p, np.expm1))
    shown = [count for count in COUNTS if count <= get()[1]]
    # Every second one is enough where there are many.
    axis.set_ticks(shown if len(shown) < 7 else [0, *shown[1::2]])
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.tick_params(labelsize=11)


def about(value: float, digits: int = 3) -> str:
    """Round to a number of significant digits.

    So a text stays the same where the last digits differ between machines.

    >>> about(2857.9)
    '2,860'
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"
