"""What scvi-tools picks where nothing is chosen, asked from scvi-tools itself."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import scvi
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from scvi.model._utils import get_max_epochs_heuristic
from scvi.model.base import BaseModelClass
from torch.nn import Dropout

from helpers import figures

MEANINGS = {
    "n_hidden": "hidden neurons in each hidden layer",
    "n_latent": "latent dimensions: numbers that describe a cell",
    "n_layers": "hidden layers in the encoder of z, and in the decoder (that of l has one)",
    "dropout_rate": "share of hidden neurons set to 0 at random in a step",
    "dispersion": "whether a gene's dispersion is shared by all cells",
    "gene_likelihood": "distribution that a count is drawn from",
    "latent_distribution": "shape of the cloud of positions that a cell is encoded as",
    "max_epochs": "passes through the training cells",
    "train_size": "share of cells to train on; the rest is held out",
    "batch_size": "cells in a minibatch",
    "early_stopping": "whether to stop when the held-out negative ELBO stalls",
    "lr": "learning rate: size of a step",
    "n_epochs_kl_warmup": "epochs until the KL weight reaches its maximum",
}


def defaults(model_class: type[BaseModelClass], n_cells: int) -> pd.DataFrame:
    """Read from scvi-tools itself what you get if you choose nothing.

    Parameters
    ----------
    model_class
        A scvi-tools model class, such as ``scvi.model.SCVI``.
    n_cells
        Number of cells; the default number of epochs depends on it.

    Returns
    -------
    DataFrame
        One row per setting: ``default``, ``set in`` (the call that takes it), ``meaning``.
    """
    signatures = {
        f"{model_class.__name__}()": model_class.__init__,
        "train()": model_class.train,
        "train(plan_kwargs=...)": model_class._training_plan_cls.__init__,
    }
    rows = []
    for call, function in signatures.items():
        for name, parameter in inspect.signature(function).parameters.items():
            if name in MEANINGS:
                rows.append(
                    {
                        "setting": name,
                        "default": parameter.default,
                        "set in": call,
                        "meaning": MEANINGS[name],
                    }
                )
    table = pd.DataFrame(rows).set_index("setting").astype({"default": object})
    table.loc["max_epochs", "default"] = default_epochs(n_cells)
    table.loc["train_size", "default"] = (
        0.9 if table.loc["train_size", "default"] is None else table.loc["train_size", "default"]
    )
    return table


def default_epochs(n_cells: int) -> int:
    """Return the number of epochs that ``model.train()`` picks for a number of cells.

    It is asked from scvi-tools, not computed here.
    """
    return get_max_epochs_heuristic(n_cells)


def plot_default_epochs() -> figures.DescribedFigure:
    """Draw the default number of epochs, and of their minibatches, against the number of cells."""
    cells = np.unique(np.geomspace(100, 1_000_000, 200).astype(int))
    epochs = np.array([default_epochs(int(n)) for n in cells])
    minibatches = epochs * np.ceil(0.9 * cells / scvi.settings.batch_size)
    last = cells[epochs == epochs.max()].max()
    with figures.style():
        figure = Figure(figsize=(6.4, 4.2))
        top, bottom = figure.subplots(2, sharex=True)
        top.plot(cells, epochs, color=figures.COLOURS[0])
        top.set(ylabel="epochs", ylim=(0, None))
        bottom.plot(cells, minibatches, color=figures.COLOURS[1])
        bottom.set(xscale="log", yscale="log", xlabel="cells", ylabel="minibatches")
        bottom.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        bottom.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return figures.DescribedFigure(
        figure,
        f"Two line charts against the number of cells. Epochs stay at {epochs.max()} up to about "
        f"{figures.about(last, 2)} cells and then fall to {epochs[-1]} at {cells[-1]:,}. "
        f"Minibatches rise from {figures.about(minibatches[0])} at {cells[0]} cells to about "
        f"{figures.about(float(np.median(minibatches[cells > last])), 2)} and then stay near it.",
    )


def dropout(model: BaseModelClass) -> pd.Series:
    """Return the dropout rate of each dropout module, indexed by its path in the model."""
    rates = {
        path: module.p
        for path, module in model.module.named_modules()
        if isinstance(module, Dropout)
    }
    return pd.Series(rates, name="dropout rate", dtype=float)
