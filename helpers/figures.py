"""One look for all figures, and a text for those who cannot see them."""

from __future__ import annotations

import base64
import contextlib
import html
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito (2008), "Color Universal Design": eight colours that stay apart for colour-blind
# readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

# Perceptually uniform, readable without colour vision and in grey.
COLOUR_MAP = "viridis"


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
        image = f'<img src="data:image/png;base64,{base64.b64encode(self.png()).decode()}" alt="{html.escape(self.alt)}">'
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


def about(value: float, digits: int = 3) -> str:
    """Round to a number of significant digits, so that a text stays the same where the last digits differ between machines.

    >>> about(2857.9)
    '2,860'
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"
