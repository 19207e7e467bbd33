"""How a training went: the negative ELBO of training and held-out cells, epoch by epoch."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from scvi.model.base import BaseModelClass

from helpers import figures
from helpers.training.loss_recorder import HELD_OUT, logged_column
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
        One row per epoch (from 1), columns ``training cells`` and ``held-out cells``. Where the
        held-out cells were not looked at in an epoch, their value is missing.

    Raises
    ------
    ValueError
        If the model was not trained, reports no ELBO, or has no validation curve; or if nobody
        knows any more in which epochs it looked at its held-out cells.
    """
    require_trained(model)
    history = model.history or {}
    trained = logged_column(history, "elbo_train")
    held_out = logged_column(history, "elbo_validation")
    if trained is None:
        raise ValueError(
            f"This {type(model).__name__} reports no ELBO, so it has no curve of it. What to do: "
            "look at what it does report, model.history."
        )
    if held_out is None:
        raise ValueError(
            "This model has no validation curve. Train it with training.train(model), or with "
            "model.train(check_val_every_n_epoch=1)."
        )
    epochs = pd.RangeIndex(1, len(trained) + 1, name="epoch")
    values = pd.Series(held_out.to_numpy(), index=_epochs_of_looks(model, trained, held_out))
    return pd.DataFrame(
        {"training cells": trained.to_numpy(), "held-out cells": values.reindex(epochs)},
        index=epochs,
    )


def _epochs_of_looks(
    model: BaseModelClass, trained: pd.Series, held_out: pd.Series
) -> pd.Index | pd.Series:
    """Return the epoch, from 1, of each look at the held-out cells.

    scvi-tools numbers the epochs of a first training. If the model is trained further, it numbers
    the looks of that training one after the other, however many epochs lie between them.
    """
    if len(trained) == len(held_out):
        return pd.RangeIndex(1, len(trained) + 1)
    record = getattr(model, "loss_record_", None)
    if record is not None:
        noted = record["epoch"][record["cells"] == HELD_OUT]
        if len(noted) == len(held_out):
            return noted.astype(int)
    # The trainer of the last training still has its own numbers.
    logger = getattr(getattr(model, "trainer", None), "logger", None)
    last = getattr(logger, "history", None) or {}
    of_last = [logged_column(last, name) for name in ("elbo_train", "elbo_validation")]
    n_last, looks = (0 if each is None else len(each) for each in of_last)
    before = held_out.index[: len(held_out) - looks]
    after = [] if of_last[1] is None else of_last[1].index + len(trained) - n_last
    found = pd.Index([*before, *after]) + 1
    if not found.is_unique or not found.is_monotonic_increasing or found[-1] > len(trained):
        raise ValueError(
            "This model was trained several times, and scvi-tools does not note in which epochs it "
            "looked at the held-out cells. What to do: train a new one with training.train(model)."
        )
    return found


def plot_curves(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``curves``: negative ELBO (nats per cell) against epoch."""
    held_out, trained = table["held-out cells"].dropna(), table["training cells"]
    with figures.style():
        figure = Figure(figsize=(6.4, 3.6))
        axes = figure.subplots()
        for column, colour, dashes in zip(
            table.columns, figures.COLOURS, ("-", "--"), strict=False
        ):
            known = table[column].dropna()
            axes.plot(known.index, known, dashes, color=colour, label=column)
        axes.set(xlabel="epoch", ylabel="negative ELBO (nats per cell)")
        axes.legend()
        # A far larger first value of the held-out cells would flatten all that follows.
        if held_out.iloc[0] > 1.1 * trained.iloc[0]:
            axes.set_ylim(top=1.02 * trained.iloc[0])
            axes.text(
                0.13,
                0.97,
                f"held-out cells at epoch {held_out.index[0]}: {figures.about(held_out.iloc[0])}",
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
