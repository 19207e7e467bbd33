"""A slider through the epochs of a training run, and what the loss was made of in each."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from helpers import elbo, figures
from helpers.elbo_figures import KL
from helpers.figures import COLOURS

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


class Epoch:
    """The ledger of one epoch: the sum in numbers, and a drawing.

    Parameters
    ----------
    table
        What ``elbo.ledger`` returned.
    dimensions
        What ``elbo.kl_per_dimension`` returned.
    epoch
        Which epoch, from 1.
    """

    def __init__(self, table: pd.DataFrame, dimensions: pd.DataFrame, epoch: int) -> None:
        self.entry = table.loc[epoch]
        self.added = elbo.contributions(table).loc[epoch]
        self.dimensions = dimensions.loc[epoch]
        self.most = dimensions.to_numpy().max()
        self.used = int((self.dimensions >= elbo.IN_USE).sum())
        self.drawing = figures.DescribedFigure(self._draw(), self._say())

    @property
    def caption(self) -> str:
        """The sum of the epoch, in numbers."""
        terms = " + ".join(f"{value:,.2f} ({name})" for name, value in self.added.items())
        return (
            f"Epoch {self.entry.name}, KL weight {self.entry['kl_weight']:.3f}: {terms} = {self.added.sum():,.2f}; "
            f"train_loss is {self.entry['train_loss']:,.2f} nats per cell. In use: {self.used} of {len(self.dimensions)} latent dimensions."
        )

    def _say(self) -> str:
        return (
            f"A stacked bar of the terms of the loss in epoch {self.entry.name}, {self.added.sum():,.0f} nats per cell in all, and below it a bar "
            f"for the KL divergence of each of {len(self.dimensions)} latent dimensions, from {self.dimensions.min():.2f} to {self.dimensions.max():.2f} nats per cell."
        )

    def _draw(self) -> Figure:
        colours = [COLOURS[0], KL, *COLOURS[2:4], *COLOURS[5:]]
        with figures.style():
            figure = Figure(figsize=(7.2, 4.4))
            top, bottom = figure.subplots(2, height_ratios=(1, 3))
            left = 0.0
            for (name, value), colour in zip(self.added.items(), colours, strict=False):
                top.barh(0, value, left=left, color=colour, label=name)
                left += value
            top.set(xlabel="added to the loss (nats per cell)", yticks=[])
            top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(self.added))
            positions = self.dimensions.index.astype(int)
            weighted = self.dimensions * self.entry["kl_weight"]
            bottom.bar(positions, self.dimensions, color=KL, alpha=0.4, label="KL divergence")
            bottom.bar(positions, weighted, color=KL, label="× its weight")
            bottom.axhline(elbo.IN_USE, color="grey", linewidth=0.8, linestyle="--")
            bottom.set(xlabel="latent dimension", ylabel="nats per cell", xticks=positions)
            # The same height in each epoch, so that bars can be compared while the slider moves.
            bottom.set_ylim(0, 1.05 * max(self.most, 2 * elbo.IN_USE))
            bottom.legend(loc="upper right", ncols=2)
            figure.tight_layout()
        return figure

    def __repr__(self) -> str:
        return f"{self.caption} {self.drawing.alt}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        drawing = self.drawing._repr_mimebundle_()["text/html"]
        return {
            "text/html": f"<p>{html.escape(self.caption)}</p>{drawing}",
            "text/plain": repr(self),
        }


class Explorer:
    """A slider above the picture of an epoch.

    The picture is an output of its own, not a part of the widget: where widgets do not run (a
    stored notebook, a printed page) that of the last epoch stays.

    Parameters
    ----------
    table, dimensions
        As for ``Epoch``.
    """

    def __init__(self, table: pd.DataFrame, dimensions: pd.DataFrame) -> None:
        self.table = table
        self.dimensions = dimensions
        self.slider = widgets.IntSlider(
            value=int(table.index[-1]),
            min=int(table.index[0]),
            max=int(table.index[-1]),
            description="epoch",
            continuous_update=False,
        )
        self.picture: Any = None
        self.slider.observe(self._renew, names="value")

    def shown(self) -> Epoch:
        """Return the epoch that the slider says."""
        return Epoch(self.table, self.dimensions, self.slider.value)

    def _ipython_display_(self) -> None:
        display(self.slider)
        self.picture = display(self.shown(), display_id=True)

    def _renew(self, change: Any) -> None:
        if self.picture is not None:
            self.picture.update(self.shown())


def explore(model: BaseModelClass) -> Explorer:
    """Show a slider through the epochs of a model's training, with the ledger and the latent dimensions in use.

    Parameters
    ----------
    model
        A model trained with ``training.train`` or a ``LossRecorder``.

    Returns
    -------
    Explorer
        Shown where it is the last line of a cell.

    Raises
    ------
    ValueError
        If the model was not trained, or not recorded.
    """
    return Explorer(elbo.ledger(model), elbo.kl_per_dimension(model))
