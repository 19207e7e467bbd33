"""How long a run is, and what learning rate and KL weight are at each of its steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import scvi
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from scvi.train._trainingplans import _compute_kl_weight
from torch.optim.lr_scheduler import LambdaLR

from helpers import figures
from helpers.training.presets import merge
from helpers.training.scvi_defaults import default_epochs


def run_length(n_cells: int, preset: str = "class", **train_kwargs: Any) -> dict[str, Any]:
    """Return how long a preset trains and warms up for a number of cells.

    Parameters
    ----------
    n_cells
        Cells in the data; a tenth is held out, or what ``train_size`` says.
    preset, **train_kwargs
        As for ``train``. Where the epochs of a preset are fewer than ``least_steps`` steps, there
        are more epochs, but never more than scvi-tools' own default. ``kl_warmup`` is the share of
        the epochs in which the KL weight rises to 1.

    Returns
    -------
    dict
        ``epochs``, ``steps`` (minibatches in all epochs), and ``warm-up`` in epochs (None: as
        scvi-tools does it).
    """
    merged = merge(preset, train_kwargs)
    trained_on = math.ceil((merged.get("train_size") or 0.9) * n_cells)
    minibatches = math.ceil(trained_on / merged.get("batch_size", scvi.settings.batch_size))
    epochs = merged.get("max_epochs") or default_epochs(n_cells)
    if "max_epochs" not in train_kwargs:
        needed = math.ceil(merged.get("least_steps", 0) / minibatches)
        epochs = max(epochs, min(needed, default_epochs(n_cells)))
    warm_up = merged.get("plan_kwargs", {}).get("n_epochs_kl_warmup")
    if warm_up is None and "kl_warmup" in merged:
        warm_up = round(merged["kl_warmup"] * epochs)
    return {"epochs": epochs, "steps": epochs * minibatches, "warm-up": warm_up}


class LearningRateSchedule(Callback):
    """Let the learning rate rise at the start of a run and fall to 0 at its end, step by step.

    Parameters
    ----------
    rise, fall
        Shares of the run, from 0 to 1. Between the two the learning rate is what the training plan
        says.
    """

    def __init__(self, rise: float, fall: float) -> None:
        self.rise = rise
        self.fall = fall
        self.schedules: list[LambdaLR] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over the learning rate of each optimizer, where the run begins or goes on."""
        steps = trainer.max_epochs * trainer.num_training_batches
        done = trainer.current_epoch * trainer.num_training_batches

        def share(step: int) -> float:
            return lr_share((step + 1) / steps, self.rise, self.fall)

        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        rates = [group["lr"] for group in groups]
        self.schedules = [LambdaLR(optimizer, share, done - 1) for optimizer in trainer.optimizers]
        if done:
            # What else sets the rate, such as the plateau of TOTALVI, may have done so since the
            # last step.
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Set the learning rate of the next step."""
        for schedule in self.schedules:
            schedule.step()


def lr_share(done: float, rise: float, fall: float) -> float:
    """Return the share of the full learning rate with which a step is made.

    Parameters
    ----------
    done
        The share of the run that is over once the step is made, from 0 to 1.
    rise, fall
        The shares of the run in which the learning rate rises and falls.
    """
    rising = done / rise if rise else 1
    falling = (1 - done) / fall if fall else 1
    return max(0.0, min(1.0, rising, falling))


def kl_weight(
    epoch: int,
    step: int,
    n_epochs_kl_warmup: int | None,
    n_steps_kl_warmup: int | None = None,
    max_kl_weight: float = 1.0,
    min_kl_weight: float = 0.0,
) -> float:
    """Return the weight of the KL divergence at a step, computed by scvi-tools itself.

    Parameters
    ----------
    epoch, step
        Numbers of the epoch and of the step, both from 0.
    n_epochs_kl_warmup, n_steps_kl_warmup, max_kl_weight, min_kl_weight
        As for the training plan of scvi-tools.
    """
    return float(
        _compute_kl_weight(
            epoch, step, n_epochs_kl_warmup, n_steps_kl_warmup, max_kl_weight, min_kl_weight
        )
    )


def schedule(n_cells: int, **train_kwargs: Any) -> pd.DataFrame:
    """Return the course that the class preset sets before a run: what is large when.

    Parameters
    ----------
    n_cells
        Cells in the data; a tenth is held out.
    **train_kwargs
        As for ``train``.

    Returns
    -------
    DataFrame
        One row per step, indexed by the epochs that are over when it is made: ``learning rate`` and
        ``KL weight``.
    """
    settings, length = merge("class", train_kwargs), run_length(n_cells, "class", **train_kwargs)
    steps = np.arange(length["steps"])
    minibatches = length["steps"] // length["epochs"]
    rates = [
        settings["plan_kwargs"]["lr"]
        * lr_share((step + 1) / len(steps), settings["lr_rise"], settings["lr_fall"])
        for step in steps
    ]
    warm_up = length["warm-up"]
    weights = np.minimum(steps // minibatches / warm_up, 1) if warm_up else 1.0
    index = pd.Index(steps / minibatches, name="epochs")
    return pd.DataFrame({"learning rate": rates, "KL weight": weights}, index=index)


def plot_schedule(n_cells: int) -> figures.DescribedFigure:
    """Draw the table of ``schedule`` against the epoch."""
    table = schedule(n_cells)
    length = run_length(n_cells)
    with figures.style():
        figure = Figure(figsize=(6.4, 3.6))
        panels = figure.subplots(2, sharex=True)
        for axes, column, colour in zip(panels, table.columns, figures.COLOURS, strict=False):
            axes.plot(table.index, table[column], color=colour)
            axes.set(ylabel=column, ylim=(0, None))
        panels[-1].set(xlabel="epochs done")
    rate = table["learning rate"]
    full = table.index[rate == rate.max()]
    return figures.DescribedFigure(
        figure,
        f"Two line charts against {length['epochs']} epochs. The learning rate rises to "
        f"{rate.max():g} in epoch {int(full[0]) + 1}, stays there until epoch {int(full[-1]) + 1} "
        "and falls to 0. The KL weight rises from 0 by the same amount each epoch to 1 in epoch "
        f"{length['warm-up'] + 1} and stays there.",
    )
