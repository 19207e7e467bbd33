"""Sliders above a picture that follows them, and a picture with a sentence above it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from helpers import figures

# ipywidgets writes a slider's name beside it, and leaves the slider itself without one for those
# who listen. Of a list of values it tells them the place instead of the value. Sliders come up a
# moment after the picture.
NAME_SLIDERS = """<script>
(function name(left) {
    const sliders = [...document.querySelectorAll(".widget-hslider")];
    const named = sliders.map(slider => {
        const handle = slider.querySelector(".noUi-handle");
        const label = slider.querySelector(".widget-label");
        const value = slider.querySelector(".widget-readout");
        if (!handle || handle.hasAttribute("aria-label")) return Boolean(handle);
        handle.setAttribute("aria-label", label.textContent);
        const tell = () => {
            if (handle.getAttribute("aria-valuetext") !== value.textContent)
                handle.setAttribute("aria-valuetext", value.textContent);
        };
        new MutationObserver(tell).observe(handle, {attributeFilter: ["aria-valuetext"]});
        new MutationObserver(tell).observe(
            value, {childList: true, characterData: true, subtree: true}
        );
        tell();
        return true;
    });
    if (left && !(named.length && named.every(Boolean))) setTimeout(name, 100, left - 1);
})(100);
</script>"""


class Captioned:
    """A figure with a sentence above it, for below sliders.

    Parameters
    ----------
    caption
        The sentence.
    drawing
        The figure.
    """

    def __init__(self, caption: str, drawing: figures.DescribedFigure) -> None:
        self.caption = caption
        self.drawing = drawing

    def __repr__(self) -> str:
        return f"{self.caption} {self.drawing.alt}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        drawing = self.drawing._repr_mimebundle_()["text/html"]
        return {
            "text/html": f"<p>{html.escape(self.caption)}</p>{drawing}{NAME_SLIDERS}",
            "text/plain": repr(self),
        }


class Explorer:
    """Sliders above a picture.

    The picture is an output of its own, not a part of the widget: where widgets do not run (a
    stored notebook, a printed page) that of the first values stays.

    Parameters
    ----------
    sliders
        The sliders by name.
    look
        Takes the value of each slider by name, and returns what to show.
    """

    def __init__(
        self, sliders: Mapping[str, widgets.ValueWidget], look: Callable[..., Captioned]
    ) -> None:
        self.sliders = dict(sliders)
        self.look = look
        self.picture: Any = None
        for slider in self.sliders.values():
            slider.observe(self._renew, names="value")

    def shown(self) -> Captioned:
        """Return what the sliders say."""
        return self.look(**{name: slider.value for name, slider in self.sliders.items()})

    def _ipython_display_(self) -> None:
        display(widgets.VBox(list(self.sliders.values())))
        self.picture = display(self.shown(), display_id=True)

    def _renew(self, change: Any) -> None:
        if self.picture is not None:
            self.picture.update(self.shown())
