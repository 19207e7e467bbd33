"""Train a scvi-tools model in class time, and keep the result.

Training that was interrupted goes on where it was; a run that is kept is not made again.
"""

from __future__ import annotations

import copy
import importlib.metadata
import inspect
import math
import sys
from pathlib import Path
from typing import Any

import scvi
from scvi.model.base import BaseModelClass

from helpers import environment
from helpers.training import checkpoints, loss_recorder, resuming
from helpers.training.presets import LEARNING_RATE_SHARES, merge
from helpers.training.schedules import LearningRateSchedule, run_length

# A caller who passes one of these to ``train`` looks after checkpoints, processes or the history,
# too.
UNRESUMABLE_ARGS = {
    "ckpt_path",
    "devices",
    "enable_checkpointing",
    "logger",
    "plugins",
    "strategy",
    "trainer_config",
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
    file, or if an argument of ``UNRESUMABLE_ARGS`` is given.
    """
    settings = _settings(model, preset, train_kwargs)
    progress = _progress(model, settings, folder)
    _train(model, settings, progress)
    if progress is not None:
        progress.remove()


def load_or_train(
    model: BaseModelClass,
    preset: str = "class",
    folder: Path = checkpoints.FOLDER,
    **train_kwargs: Any,
) -> BaseModelClass:
    """Return the model trained: from its checkpoint if there is one, else trained now and stored.

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


def _progress(
    model: BaseModelClass, settings: dict[str, Any], folder: Path | None
) -> resuming.Progress | None:
    """Return where the progress of a run is kept, or None where it cannot be."""
    own = UNRESUMABLE_ARGS.intersection(settings["train_kwargs"])
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


def _settings(model: BaseModelClass, preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all that decides the outcome of a training run, and a key made from it."""
    merged = merge(preset, train_kwargs)
    if model.is_trained:
        raise ValueError(
            "This model was trained before; training it further is another run. Make a new one "
            f"first: {type(model).__name__}(adata)."
        )
    length = run_length(model.adata.n_obs, preset, **train_kwargs)
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


def _where_train_takes_them(model: BaseModelClass, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Move out of ``plan_kwargs`` what ``model.train`` takes itself.

    It would overwrite these with its own defaults.
    """
    plan = train_kwargs.get("plan_kwargs") or {}
    own = {name: plan[name] for name in plan if name in inspect.signature(model.train).parameters}
    if not own:
        return train_kwargs
    rest = {name: value for name, value in plan.items() if name not in own}
    return own | train_kwargs | {"plan_kwargs": rest}


def _require_whole_minibatches(model: BaseModelClass, kwargs: dict[str, Any]) -> None:
    """Raise where a minibatch would have one cell, which batch normalisation cannot use.

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

    They are the minibatch's tensors, and eleven numbers a parameter: weight, gradient and Adam's
    two; the weight before the training; weight and Adam's two after the last epoch, and once more
    while they are written.
    """
    parameters = sum(weights.numel() for weights in model.module.parameters())
    # About forty arrays of cells x genes are alive in a step (likelihood and gradients), in 4-byte
    # floats.
    minibatch = kwargs.get("batch_size", scvi.settings.batch_size) * model.adata.n_vars
    return 4 * (11 * parameters + 40 * minibatch)
