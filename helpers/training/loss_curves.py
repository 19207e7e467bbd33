"""How a training went: the negative ELBO of training and held-out cells, epoch by epoch."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from scvi.model.base import BaseModelClass

from helpers import figures
from helpers.training.model_state import require_trained


def curves(model: BaseModelClass) -> pd.DataFrame:
    """Return the negative ELBO of training and held-out cells, in nats per cell.

    Parameters
    ----------
    model
        A trained model.

    Returns
    -------
    DataFrame
        One row per epoch (from 1), columns ``training cells`` and ``held-out cells``.

    Raises
    ------
    ValueError
        If the model was not trained, or has no validation curve.
    """
    require_trained(model)
    history = model.history or {}
    if "elbo_validation" not in history:
        raise ValueError(
            "This model has no validation curve. Train it with training.train(model), or with "
            "model.train(check_val_every_n_epoch=1)."
        )
    table = pd.DataFrame(
        {
            "training cells": history["elbo_train"].iloc[:, 0].to_numpy(dtype=float),
            "held-out cells": history["elbo_validation"].iloc[:, 0].to_numpy(dtype=float),
        }
    )
    table.index = pd.RangeIndex(1, len(table) + 1, name="epoch")
    return table


def plot_curves(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``curves``: negative ELBO (nats per cell) against epoch."""
    held_out, trained = table["held-out cells"], table["training cells"]
    with figures.style():
        figure = Figure(figsize=(6.4, 3.6))
        axes = figure.subplots()
        for column, colour, dashes in zip(
            table.columns, figures.COLOURS, ("-", "--"), strict=False
        ):
            axes.plot(table.index, table[column], dashes, color=colour, label=column)
        axes.set(xlabel="epoch", ylabel="negative ELBO (nats per cell)")
        axes.legend()
        # A far larger first value of the held-out cells would flatten all that follows.
        if held_out.iloc[0] > 1.1 * trained.iloc[0]:
            axes.set_ylim(top=1.02 * trained.iloc[0])
            axes.text(
                0.13,
                0.97,
                f"held-out cells at epoch 1: {figures.about(held_out.iloc[0])}",
                va="top",
                transform=axes.transAxes,
                color=figures.COLOURS[1],
            )
    side = "below" if trained.iloc[-1] < held_out.iloc[-1] else "above"
    return figures.DescribedFigure(
        figure,
        f"Line chart of the negative ELBO against {len(table)} epochs. For held-out cells it goes "
        f"from {figures.about(held_out.iloc[0])} to {figures.about(held_out.iloc[-1])} nats per "
        f"cell; for training cells it starts at {figures.about(trained.iloc[0])} and ends {side} "
        f"the held-out cells.",
    )
