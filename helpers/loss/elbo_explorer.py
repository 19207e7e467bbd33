"""A slider through the epochs of a training run, and what the loss was made of in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import pandas as pd
from matplotlib.figure import Figure

from helpers import figures
from helpers.explorer import Captioned, Explorer
from helpers.figures import COLOURS
from helpers.loss import latent_dimensions, loss_ledger
from helpers.loss.elbo_figures import KL

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


def show(table: pd.DataFrame, dimensions: pd.DataFrame, epoch: int) -> Captioned:
    """Return the ledger of one epoch: the sum in numbers, and a drawing.

    Parameters
    ----------
    table
        What ``loss_ledger.ledger`` returned.
    dimensions
        What ``loss_ledger.kl_per_dimension`` returned.
    epoch
        Which epoch, from 1.
    """
    entry, added, now = (
        each.loc[epoch] for each in (table, loss_ledger.contributions(table), dimensions)
    )
    terms = " + ".join(f"{value:,.2f} ({name})" for name, value in added.items())
    used = int((now >= latent_dimensions.IN_USE).sum())
    return Captioned(
        f"Epoch {epoch}, KL weight {entry['kl_weight']:.3f}: {terms} = {added.sum():,.2f}; "
        f"train_loss is {entry['train_loss']:,.2f} nats per cell. In use: {used} of {len(now)} "
        "latent dimensions.",
        figures.DescribedFigure(
            # The same height in each epoch, so that bars can be compared while the slider moves.
            _draw(added, now, entry["kl_weight"], dimensions.to_numpy().max()),
            f"A stacked bar of the terms of the loss in epoch {epoch}, {added.sum():,.0f} nats per "
            f"cell in all, and below it a bar for the KL divergence of each of {len(now)} latent "
            f"dimensions, from {now.min():.2f} to {now.max():.2f} nats per cell.",
        ),
    )


def _draw(added: pd.Series, dimensions: pd.Series, kl_weight: float, highest: float) -> Figure:
    colours = [COLOURS[0], KL, *COLOURS[2:4], *COLOURS[5:]]
    with figures.style():
        figure = Figure(figsize=(7.2, 4.4))
        top, bottom = figure.subplots(2, height_ratios=(1, 3))
        left = 0.0
        for (name, value), colour in zip(added.items(), colours, strict=False):
            top.barh(0, value, left=left, color=colour, label=name)
            left += value
        top.set(xlabel="added to the loss (nats per cell)", yticks=[])
        top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(added))
        positions = dimensions.index.astype(int)
        bottom.bar(positions, dimensions, color=KL, alpha=0.4, label="KL divergence")
        bottom.bar(positions, dimensions * kl_weight, color=KL, label="× its weight")
        bottom.axhline(
            latent_dimensions.IN_USE,
            color="grey",
            linestyle="--",
            label=f"in use: more than {latent_dimensions.IN_USE} nats",
        )
        bottom.set(xlabel="latent dimension", ylabel="nats per cell", xticks=positions)
        bottom.set_ylim(0, 1.25 * max(highest, 2 * latent_dimensions.IN_USE))
        bottom.legend(loc="upper right", ncols=3)
        figure.tight_layout()
    return figure


def explore(model: BaseModelClass) -> Explorer:
    """Show a slider through the epochs, with the ledger and the latent dimensions in use.

    Parameters
    ----------
    model
        A model trained with ``training.train`` or a ``LossRecorder``.

    Returns
    -------
    Explorer
        Shown where it is the last line of a cell; it begins with the last epoch.

    Raises
    ------
    ValueError
        If the model was not trained, or not recorded.
    """
    table, dimensions = loss_ledger.ledger(model), loss_ledger.kl_per_dimension(model)
    slider = widgets.IntSlider(
        value=int(table.index[-1]),
        min=int(table.index[0]),
        max=int(table.index[-1]),
        description="epoch",
        continuous_update=False,
    )
    return Explorer({"epoch": slider}, lambda epoch: show(table, dimensions, epoch))
