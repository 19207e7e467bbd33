"""Train a scvi-tools model in class time, see how it went, and keep the result.

``python -m helpers.training`` trains the models that lessons share once, so that every later lesson
can load them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import inspect
import math
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from scvi.model._utils import get_max_epochs_heuristic
from torch.nn import Dropout
from torch.optim.lr_scheduler import LambdaLR

from helpers import data, environment, figures, genes
from helpers.training import checkpoints, loss_recorder, resuming

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# Both presets ask for the validation curve, which `model.train()` leaves out. The look at the
# held-out cells draws random numbers, so from the second epoch on the run is as good as one without
# the curve, but not equal to it digit by digit.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"check_val_every_n_epoch": 1},
    # At least as good on held-out cells as the default run: measured with SCVI on 400 to 20,000
    # cells, for a twentieth of its time on the cortex cells and a sixth to a sixteenth on others
    # (docs/measurements.md). Half the minibatch makes twice the steps for a third more time. A
    # large learning rate makes up for the fewer epochs; its fall to 0 ends the jumps that large
    # steps make.
    "class": {
        "check_val_every_n_epoch": 1,
        "max_epochs": 14,
        "least_steps": 300,
        "batch_size": 64,
        "lr_rise": 0.1,
        "lr_fall": 0.4,
        "kl_warmup": 0.3,
        "plan_kwargs": {"lr": 0.015},
    },
    # For TOTALVI on some hundred cells, and for SCVI beside it. On the 400 blood cells the held-out
    # negative ELBO of TOTALVI ends 9 to 12 nats per cell below that of its default training, and
    # that of SCVI between 5 below and 29 above (docs/citeseq_runs.csv). TOTALVI would stop early,
    # and at another epoch on another processor.
    "few cells": {
        "check_val_every_n_epoch": 1,
        "max_epochs": 80,
        "batch_size": 64,
        "early_stopping": False,
        "plan_kwargs": {"lr": 4e-3, "n_epochs_kl_warmup": 30},
    },
}

# What a preset may say that ``model.train`` does not take: shares of the run.
LEARNING_RATE_SHARES = ("lr_rise", "lr_fall")
SHARES = (*LEARNING_RATE_SHARES, "kl_warmup")

# A caller who passes one of these to ``train`` looks after checkpoints, processes or the history,
# too.
OWN_BOOKS = {
    "ckpt_path",
    "devices",
    "enable_checkpointing",
    "logger",
    "plugins",
    "strategy",
    "trainer_config",
}

# How the models of lesson 06 see the blood cells.
BLOOD_SETUP: dict[str, dict[str, Any]] = {
    "SCVI": {},
    "TOTALVI": {"protein_expression_obsm_key": "protein_expression"},
}


def train(
    model: BaseModelClass,
    preset: str = "class",
    folder: Path | None = checkpoints.FOLDER,
    **train_kwargs: Any,
) -> None:
    """Train a model with scvi-tools' own ``model.train``, and note in the model how.

    Training that was interrupted goes on when the same model is trained again with the same
    settings, in this or another kernel, and ends bit for bit as without the interruption.

    Parameters
    ----------
    model
        A model that was not trained before.
    preset
        ``"default"``: what ``model.train()`` does, plus a validation curve. ``"class"``: as good on
        held-out cells in a twentieth of the time on the cortex cells (measured with SCVI on 400 to
        20,000 cells; fewer than about 1,500 cells get more epochs, so there it saves less; real
        batches mix less, see lesson 05c). ``"few cells"``: for TOTALVI on some hundred cells.
    folder
        Where the progress is kept until the training is over; None to keep none, where seconds are
        measured.
    **train_kwargs
        Further arguments of ``model.train``, and those of the class preset that it does not take:
        ``least_steps`` and the shares of the run in which the learning rate rises (``lr_rise``) and
        falls (``lr_fall``) and the KL weight rises (``kl_warmup``). They win over the preset.
        ``plan_kwargs`` are merged key by key. Those that the ``train`` of a model takes itself,
        such as the ``lr`` of TOTALVI, are given to it: it would drop them from ``plan_kwargs``
        without a word.

    Raises
    ------
    ValueError
        If the preset is unknown, a share of the run is not from 0 to 1, the model was trained
        before, the last minibatch would hold a single cell, or no cells would be held out though
        their curve is asked for.
    MemoryError
        If the training would not fit into the free memory.
    KeyboardInterrupt
        If the kernel is interrupted. The model is then as untrained as before.

    Notes
    -----
    ``model.train_settings_`` keeps preset, arguments, seed, versions and the checkpoint key, and
    ``model.loss_record_`` what each term added to the loss (see ``loss_recorder``). ``model.save``
    stores both with the model. Recording does not change the result.

    No progress is kept if an argument is an object, such as a callback, if the counts stay in a
    file, or if an argument of ``OWN_BOOKS`` is given.
    """
    settings = _settings(model, preset, train_kwargs)
    progress = _progress(model, settings, folder)
    _train(model, settings, progress)
    if progress is not None:
        progress.remove()


def _progress(
    model: BaseModelClass, settings: dict[str, Any], folder: Path | None
) -> resuming.Progress | None:
    """Return where the progress of a run is kept, or None where it cannot be."""
    own = OWN_BOOKS.intersection(settings["train_kwargs"])
    if folder is None or own or not checkpoints.is_repeatable(model, settings):
        return None
    return resuming.Progress(settings, folder)


def _train(
    model: BaseModelClass, settings: dict[str, Any], progress: resuming.Progress | None
) -> None:
    # A callback is the caller's own, who may look at what it noted; all else is kept as it was
    # asked for.
    callbacks = [*settings["train_kwargs"].get("callbacks", []), loss_recorder.LossRecorder(model)]
    kwargs = copy.deepcopy(
        {name: value for name, value in settings["train_kwargs"].items() if name != "callbacks"}
    )
    _require_whole_minibatches(model, kwargs)
    _require_cells_for_the_curve(kwargs)
    environment.require_memory(_memory(model, kwargs), f"Training {type(model).__name__}")
    # Set again, so that what ran between prepare() and here does not change the result.
    scvi.settings.seed = settings["seed"]
    rise, fall = (kwargs.pop(name, 0) for name in LEARNING_RATE_SHARES)
    if rise or fall:
        callbacks.append(LearningRateSchedule(rise, fall))
    with resuming.keeping(model, progress) as more:
        callbacks += more.pop("callbacks", [])
        model.train(**kwargs, **more, callbacks=callbacks)
    model.train_settings_ = settings


class LearningRateSchedule(Callback):
    """Let the learning rate rise at the start of a run and fall to 0 at its end, a little after each minibatch.

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
        """Take over the learning rate of each optimizer, at the epoch with which the run begins or goes on."""
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


def lengths(n_cells: int, preset: str = "class", **train_kwargs: Any) -> dict[str, Any]:
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
    merged = _merge(preset, train_kwargs)
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


def shape(n_cells: int, **train_kwargs: Any) -> pd.DataFrame:
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
        A row a step, indexed by the epochs that are over when it is made: ``learning rate`` and
        ``KL weight``.
    """
    settings, length = _merge("class", train_kwargs), lengths(n_cells, "class", **train_kwargs)
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


def plot_shape(n_cells: int) -> figures.DescribedFigure:
    """Draw the table of ``shape`` against the epoch."""
    table = shape(n_cells)
    length = lengths(n_cells)
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


def _settings(model: BaseModelClass, preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all that decides the outcome of a training run, and a key made from it."""
    merged = _merge(preset, train_kwargs)
    if model.is_trained:
        raise ValueError(
            "This model was trained before; training it further is another run. Make a new one "
            f"first: {type(model).__name__}(adata)."
        )
    length = lengths(model.adata.n_obs, preset, **train_kwargs)
    if "max_epochs" in merged:
        merged["max_epochs"] = length["epochs"]
    if length["warm-up"] is not None:
        merged["plan_kwargs"] = merged.get("plan_kwargs", {}) | {
            "n_epochs_kl_warmup": length["warm-up"]
        }
    for name in ("least_steps", "kl_warmup"):
        merged.pop(name, None)
    merged = _where_train_takes_them(model, merged)
    settings = {
        "model": type(model).__name__,
        "preset": preset,
        "train_kwargs": merged,
        "seed": scvi.settings.seed,
        "versions": {
            name: importlib.metadata.version(name) for name in ("scvi-tools", "torch", "numpy")
        },
    }
    return settings | {"key": checkpoints.key(model, settings)}


def _merge(preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a preset, with those that were given in their place."""
    if preset not in PRESETS:
        raise ValueError(f"There is no preset '{preset}'. Presets: {', '.join(PRESETS)}.")
    merged = PRESETS[preset] | train_kwargs
    for name in SHARES:
        if not 0 <= merged.get(name, 0) <= 1:
            raise ValueError(
                f"{name} is a share of the run, from 0 to 1, not {merged[name]}. For the tenth: "
                f"{name}=0.1."
            )
    if "plan_kwargs" in PRESETS[preset]:
        merged["plan_kwargs"] = PRESETS[preset]["plan_kwargs"] | train_kwargs.get("plan_kwargs", {})
    return merged


def _where_train_takes_them(model: BaseModelClass, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Move out of ``plan_kwargs`` what ``model.train`` takes itself and would overwrite there with its own defaults."""
    plan = train_kwargs.get("plan_kwargs") or {}
    own = {name: plan[name] for name in plan if name in inspect.signature(model.train).parameters}
    if not own:
        return train_kwargs
    rest = {name: value for name, value in plan.items() if name not in own}
    return own | train_kwargs | {"plan_kwargs": rest}


def _require_whole_minibatches(model: BaseModelClass, kwargs: dict[str, Any]) -> None:
    """Batch normalisation cannot use a minibatch of one cell.

    With its own default split scvi-tools avoids it, else it does not.
    """
    if not kwargs.get("train_size"):
        return
    batch_size = kwargs.get("batch_size", scvi.settings.batch_size)
    cells = math.ceil(kwargs["train_size"] * model.adata.n_obs)
    if cells % batch_size == 1:
        raise ValueError(
            f"{cells:,} training cells in minibatches of {batch_size} leave a last minibatch of "
            "one cell, which batch normalisation cannot use. What to do: pass "
            f"batch_size={batch_size + 1}, or leave out train_size."
        )


def _require_cells_for_the_curve(kwargs: dict[str, Any]) -> None:
    """Without this, Lightning says that it found no data loader."""
    if kwargs.get("train_size") == 1 and kwargs.get("check_val_every_n_epoch"):
        raise ValueError(
            "train_size=1 holds no cells out, and the presets ask for the curve of held-out cells. "
            "What to do: leave train_size out, or pass check_val_every_n_epoch=None as well."
        )


def _memory(model: BaseModelClass, kwargs: dict[str, Any]) -> int:
    """Estimate the bytes that training adds.

    Eleven numbers a parameter, and the minibatch's tensors.

    The eleven: weight, gradient and Adam's two; the weight before the training; weight and Adam's
    two after the last epoch, and once more while they are written.
    """
    parameters = sum(weights.numel() for weights in model.module.parameters())
    # About forty arrays of cells x genes are alive in a step (likelihood and gradients), in 4-byte
    # floats.
    minibatch = kwargs.get("batch_size", scvi.settings.batch_size) * model.adata.n_vars
    return 4 * (11 * parameters + 40 * minibatch)


# --- what a model was built and trained with ----------------------------------------------------


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
        A row a setting: ``default``, ``set in`` (the call that takes it), ``meaning``.
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


MEANINGS = {
    "n_hidden": "hidden neurons in each hidden layer",
    "n_latent": "latent dimensions: numbers that describe a cell",
    "n_layers": "hidden layers in each encoder, and in the decoder",
    "dropout_rate": "share of hidden neurons set to 0 at random in a step",
    "dispersion": "whether a gene's dispersion is shared by all cells",
    "gene_likelihood": "distribution that a count is drawn from",
    "latent_distribution": "shape of the cloud of positions that a cell is encoded as",
    "max_epochs": "passes through the training cells",
    "train_size": "share of cells to train on; the rest is held out",
    "batch_size": "cells in a minibatch",
    "early_stopping": "whether to stop when the held-out loss stalls",
    "lr": "learning rate: size of a step",
    "n_epochs_kl_warmup": "epochs until the KL weight reaches its maximum",
}


def default_epochs(n_cells: int) -> int:
    """Return the number of epochs that ``model.train()`` picks for a number of cells.

    Asked from scvi-tools, not computed here.
    """
    return get_max_epochs_heuristic(n_cells)


def plot_default_epochs() -> figures.DescribedFigure:
    """Draw the default number of epochs, and the minibatches that it makes, against the number of cells."""
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


def require_trained(model: BaseModelClass) -> None:
    """Raise, with what to do, unless a model was trained."""
    if not model.is_trained:
        raise ValueError(
            f"This {type(model).__name__} was not trained, so it says nothing yet. What to do: "
            "training.train(model)."
        )


def require_held_out(model: BaseModelClass) -> None:
    """Raise, with what to do, unless a model was trained and left some cells out of its training."""
    require_trained(model)
    if model.validation_indices is None or len(model.validation_indices) == 0:
        raise ValueError(
            f"This {type(model).__name__} held no cells out: it was trained on all of them. What "
            "to do: train a new one without train_size=1."
        )


# --- how the training went ----------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(model: BaseModelClass, seed: int = 0) -> Iterator[None]:
    """Ask a model inside this block without dropout and with random numbers from a seed, and leave it and the session as they were.

    Parameters
    ----------
    model
        A scvi-tools model.
    seed
        Seed of the random numbers of NumPy and PyTorch inside the block.
    """
    modes = {part: part.training for part in model.module.modules()}
    model.module.eval()
    try:
        with isolate_rng():
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002 -- the generator that scvi-tools draws from
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def curves(model: BaseModelClass) -> pd.DataFrame:
    """Return the negative ELBO of training and held-out cells, in nats per cell.

    Parameters
    ----------
    model
        A trained model.

    Returns
    -------
    DataFrame
        A row an epoch (from 1), columns ``training cells`` and ``held-out cells``.

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


# --- checkpoints --------------------------------------------------------------------------------


def save_checkpoint(model: BaseModelClass, folder: Path = checkpoints.FOLDER) -> Path:
    """Store a trained model under a key made from data, parameters, seed and versions, see ``checkpoints.save``."""
    return checkpoints.save(model, folder)


def load_checkpoint(
    model: BaseModelClass,
    preset: str = "class",
    folder: Path = checkpoints.FOLDER,
    **train_kwargs: Any,
) -> BaseModelClass | None:
    """Give an untrained model what is kept of its training.

    Parameters
    ----------
    model
        An untrained model: its data, parameters and initial weights are part of the key.
    preset, **train_kwargs
        As for ``train``.
    folder
        Where checkpoints are kept.

    Returns
    -------
    BaseModelClass or None
        The model itself, now trained. None if there is no checkpoint with its key, or a damaged
        one, which is said on stderr.
    """
    return checkpoints.load(model, _settings(model, preset, train_kwargs), folder)


def load_or_train(
    model: BaseModelClass,
    preset: str = "class",
    folder: Path = checkpoints.FOLDER,
    **train_kwargs: Any,
) -> BaseModelClass:
    """Return the model trained: from the checkpoint if there is one with its key, else trained now and stored.

    Parameters
    ----------
    model
        An untrained model.
    preset, **train_kwargs
        As for ``train``.
    folder
        Where checkpoints are kept. If it cannot be written to, that is said on stderr; the model is
        trained all the same.
    """
    settings = _settings(model, preset, train_kwargs)
    if checkpoints.load(model, settings, folder) is None:
        progress = _progress(model, settings, folder)
        _train(model, settings, progress)
        try:
            checkpoints.save(model, folder)
        except OSError as error:
            print(
                f"The model is trained, but cannot be kept in {folder} "
                f"({error.strerror or error}), so the next lesson will train it again. What to do: "
                "make room on the disk, or make the folder writable, and run "
                "training.save_checkpoint(model).",
                file=sys.stderr,
            )
        else:
            if progress is not None:
                progress.remove()
    return model


def cortex_model(seed: int = 0) -> BaseModelClass:
    """Return the untrained model of lesson 02.

    Default SCVI on the 2,000 selected genes of the cortex cells.
    """
    environment.prepare(seed)
    adata = data.load_cortex()
    genes.select(adata)
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    return scvi.model.SCVI(adata)


def blood_model(
    kind: str = "TOTALVI", seed: int = 0, proteins: Sequence[str] | None = None
) -> BaseModelClass:
    """Return an untrained model of lesson 06.

    On 2,000 genes of the blood cells, with their batches.

    Parameters
    ----------
    kind
        "TOTALVI", which sees the proteins too, or "SCVI", which does not.
    seed
        Seed of the session, and so of the initial weights.
    proteins
        The proteins that it is given; all if left out.
    """
    environment.prepare(seed)
    blood = data.load_citeseq()
    genes.select(blood, batch_key="batch")
    if proteins is not None:
        blood.obsm["protein_expression"] = blood.obsm["protein_expression"][list(proteins)]
    family = getattr(scvi.model, kind)
    family.setup_anndata(blood, layer="counts", batch_key="batch", **BLOOD_SETUP[kind])
    return family(blood)


def main() -> int:
    """Train and store the models that lessons share.

    Return the exit status, 1 if one could not be stored.
    """
    start = time.perf_counter()
    # In a log, each step of a progress bar would be a line of its own.
    bar = sys.stdout.isatty()
    for lesson, build, preset in (
        ("02", cortex_model, "class"),
        ("06", partial(blood_model, "TOTALVI"), "few cells"),
        ("06b", partial(blood_model, "SCVI"), "few cells"),
    ):
        model = build()
        if load_checkpoint(model, preset) is None:
            name = type(model).__name__
            print(
                f"Training the {name} of lesson {lesson} (less than half a minute, once) ...",
                flush=True,
            )
            load_or_train(model, preset, enable_progress_bar=bar)
            if not checkpoints.path(model.train_settings_, checkpoints.FOLDER).exists():
                return 1
    print(f"checkpoints ready in {time.perf_counter() - start:.0f} s")
    return 0
