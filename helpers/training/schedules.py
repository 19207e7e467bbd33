"""How long a run is, and what learning rate and KL weight are at each of its steps."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import scvi
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from scvi.train._trainingplans import _compute_kl_weight

from helpers import figures
from helpers.training.presets import LEARNING_RATE_SHARES, PRESETS, merge
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
    minibatches = _minibatches(n_cells, merged)
    accumulated = merged.get("accumulate_grad_batches") or 1
    most = _minibatches_of_steps(merged.get("max_steps", -1), minibatches, accumulated)
    epochs = merged.get("max_epochs") or default_epochs(n_cells)
    if "max_epochs" in PRESETS[preset] and "max_epochs" not in train_kwargs:
        needed = math.ceil(merged.get("least_steps", 0) / minibatches)
        epochs = max(epochs, min(needed, default_epochs(n_cells)))
        # Whoever asks for more steps than the preset makes is not stopped by its epochs.
        epochs = epochs if most is None else math.ceil(most / minibatches)
    steps = epochs * minibatches if most is None else min(epochs * minibatches, most)
    warm_up = (merged["plan_kwargs"] | merged).get("n_epochs_kl_warmup")
    if "kl_warmup" in merged and warm_up is None:
        warm_up = round(merged["kl_warmup"] * math.ceil(steps / minibatches))
    return {"epochs": epochs, "steps": steps, "warm-up": warm_up}


def _minibatches(n_cells: int, merged: dict[str, Any]) -> int:
    """Return how many minibatches an epoch has."""
    splitting = merged.get("datasplitter_kwargs") or {}
    chosen = (merged | splitting).get("external_indexing")
    share = merged.get("train_size") or 0.9
    trained_on = len(chosen[0]) if chosen else math.ceil(share * n_cells)
    minibatches = trained_on / (merged.get("batch_size") or scvi.settings.batch_size)
    return max(1, (math.floor if splitting.get("drop_last") else math.ceil)(minibatches))


def _minibatches_of_steps(max_steps: int, minibatches: int, accumulated: int) -> int | None:
    """Return after how many minibatches so many steps are made, or None if they have no limit.

    A step takes as many minibatches as are accumulated, but ends with its epoch.
    """
    if max_steps < 0:
        return None
    epochs, rest = divmod(max_steps, math.ceil(minibatches / accumulated))
    return epochs * minibatches + rest * accumulated


class LearningRateSchedule(Callback):
    """Let the learning rate rise at the start of a run and fall to 0 at its end, step by step.

    What else sets the learning rate has its effect as well, and the two are multiplied: between
    epochs, where scvi-tools lowers the rate on a plateau, the rate is as it would be without this
    schedule. A scheduler of the training plan that acts at each step is left to itself.

    Parameters
    ----------
    rise, fall
        Shares of the run, from 0 to 1. Between the two the learning rate is what the training plan
        says.
    """

    def __init__(self, rise: float, fall: float) -> None:
        self.rise = rise
        self.fall = fall
        self.groups: list[dict[str, Any]] = []
        self.rates: list[float] = []
        self.steps, self.done = 1, 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over the learning rate of each optimizer, where the run begins or goes on."""
        why = _why_no_schedule(trainer, pl_module)
        if why:
            print(f"The learning rate neither rises nor falls: {why}.", file=sys.stderr)
            return
        self.steps = _steps(trainer, pl_module)
        self.done = trainer.current_epoch * trainer.num_training_batches
        self.groups = parameter_groups(trainer)
        for group in self.groups:
            # Where a run goes on, its optimizers were noted with the rate of the next step.
            group["lr"] = group.get(FULL_RATE, group["lr"])
            group.setdefault("initial_lr", group["lr"])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin with the rate that was left after the epoch before."""
        for group in self.groups:
            group[FULL_RATE] = group["lr"]
        self._set(self._share())

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate of the next step; between epochs, the full one."""
        for group, rate in zip(self.groups, self.rates, strict=True):
            # Somebody else changed the rate of this step.
            if group["lr"] != rate:
                group[FULL_RATE] *= group["lr"] / rate if rate else 1
        self.done += 1
        self._set(1 if batch_idx + 1 >= trainer.num_training_batches else self._share())

    def _share(self) -> float:
        return lr_share((self.done + 1) / self.steps, self.rise, self.fall)

    def _set(self, share: float) -> None:
        for group in self.groups:
            group["lr"] = group[FULL_RATE] * share
        self.rates = [group["lr"] for group in self.groups]


# Where a group of weights notes its learning rate without rise and fall.
FULL_RATE = "full_lr"


def parameter_groups(trainer: Any) -> list[dict[str, Any]]:
    """Return the groups of weights, each with its learning rate, of all optimizers of a run."""
    return [group for each in trainer.optimizers for group in each.param_groups]


def _steps(trainer: Any, plan: Any) -> int:
    """Return the number of minibatches after which a run ends."""
    minibatches, max_steps = trainer.num_training_batches, trainer.max_steps
    if not plan.automatic_optimization:
        # Such a plan makes one step with each of its optimizers.
        max_steps //= max(1, len(trainer.optimizers))
    most = _minibatches_of_steps(max_steps, minibatches, trainer.accumulate_grad_batches)
    in_epochs = trainer.max_epochs * minibatches
    return in_epochs if most is None else min(in_epochs, most)


def _why_no_schedule(trainer: Any, plan: Any) -> str | None:
    """Say why the learning rate cannot be set from outside, or return None."""
    if any(config.interval == "step" for config in trainer.lr_scheduler_configs):
        return "the training plan has a scheduler that sets it at each step"
    weights = {id(weight) for weight in plan.module.parameters()}
    groups = parameter_groups(trainer)
    if not any(id(weight) in weights for group in groups for weight in group["params"]):
        return "this model is trained by an optimizer of its own, which PyTorch does not know"
    return None


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


# What the training plan of scvi-tools lets choose of the weight of the KL divergence.
KL_WEIGHT_CHOICES = ("n_epochs_kl_warmup", "n_steps_kl_warmup", "max_kl_weight", "min_kl_weight")


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
    minibatches = _minibatches(n_cells, settings)
    plan = settings["plan_kwargs"] | {"n_epochs_kl_warmup": length["warm-up"]}
    shares = [settings.get(name, 0) for name in LEARNING_RATE_SHARES]
    rates = [plan["lr"] * lr_share((step + 1) / len(steps), *shares) for step in steps]
    chosen = {name: plan[name] for name in KL_WEIGHT_CHOICES if name in plan}
    weights = [kl_weight(step // minibatches, step, **chosen) for step in steps]
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
