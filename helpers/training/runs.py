"""Train a scvi-tools model in class time, and keep the result.

Training that was interrupted goes on where it was; a run that is kept is not made again.
"""

from __future__ import annotations

import copy
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import scvi
from lightning.pytorch.callbacks import Callback
from scvi.model.base import BaseModelClass
from torch import nn

from helpers import environment
from helpers.training import checkpoints, loss_recorder, model_arguments, resuming, run_keys
from helpers.training.presets import LEARNING_RATE_SHARES, merge
from helpers.training.schedules import LearningRateSchedule, run_length
from helpers.training.training_checks import (
    DivergenceError,
    TrainingChecks,
    errors_not_printed,
    say,
)

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

# From here on no preset trains for more epochs because cells are few.
MANY_CELLS = 1_000_000


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
        falls (``lr_fall``) and the KL weight rises (``kl_warmup``). They win over the preset, None
        as well. ``plan_kwargs`` are merged key by key. Those that the ``train`` of a model takes
        itself, such as the ``lr`` of TOTALVI, are given to it: it would drop them from
        ``plan_kwargs`` without a word. What a preset says and the model does not take is left out,
        and that is said on stderr.

    Raises
    ------
    ValueError
        If the preset is unknown, a share of the run is not from 0 to 1, the run has no epochs, the
        model was trained before, the last minibatch would hold a single cell that batch
        normalisation cannot use, or no cells would be held out though their curve is asked for.
    DivergenceError
        If the loss or the weights became infinite or NaN: when, and what to do.
    MemoryError
        If the training would not fit into the free memory.
    KeyboardInterrupt
        If the kernel is interrupted. The model is then as untrained as before.

    Notes
    -----
    ``model.train_settings_`` keeps preset, arguments, seed, versions and the checkpoint key, and
    ``model.loss_record_`` what each term added to the loss (see ``loss_recorder``). ``model.save``
    stores both with the model. Recording does not change the result.

    No progress is kept of a run that has no key: with callbacks, with counts that stay in a file,
    with an argument or a part of the model that cannot be told from another one in another kernel.
    Nor is it if an argument of ``UNRESUMABLE_ARGS`` is given.
    """
    settings = _settings(model, preset, train_kwargs)
    progress = _progress(settings, folder)
    _train(model, settings, train_kwargs, progress)
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

    Notes
    -----
    The key of a checkpoint covers all that decides the result: data, weights, what is frozen, hooks
    and all other parts of the module, arguments, and the code of classes and functions that do not
    come with a package. Where one of them cannot be told from another one in another kernel, and
    with callbacks, no checkpoint is read or written, and stderr says why.
    """
    settings = _settings(model, preset, train_kwargs)
    if settings["key"] is None:
        _say_no_checkpoint(settings)
        _train(model, settings, train_kwargs, None)
    elif checkpoints.load(model, settings, folder) is None:
        progress = _progress(settings, folder)
        _train(model, settings, train_kwargs, progress)
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
        The model itself, now trained. None if there is no checkpoint with its key; if there is a
        damaged one, or the run has no key, that is said on stderr.
    """
    settings = _settings(model, preset, train_kwargs)
    if settings["key"] is None:
        _say_no_checkpoint(settings)
    return checkpoints.load(model, settings, folder)


def _say_no_checkpoint(settings: dict[str, Any]) -> None:
    say(
        f"No checkpoint is used for this training: {settings['why no key']}. What to do: do "
        "without it, or keep the trained model yourself, with model.save(folder)."
    )


def _progress(settings: dict[str, Any], folder: Path | None) -> resuming.Progress | None:
    """Return where the progress of a run is kept, or None where it cannot be."""
    own = UNRESUMABLE_ARGS.intersection(settings["train_kwargs"])
    if folder is None or own or settings["key"] is None:
        return None
    return resuming.Progress(settings, folder)


def _train(
    model: BaseModelClass,
    settings: dict[str, Any],
    asked: dict[str, Any],
    progress: resuming.Progress | None,
) -> None:
    # A callback is the caller's own, who may look at what it noted; all else is kept as it was
    # asked for.
    kwargs = copy.deepcopy(
        {name: value for name, value in settings["train_kwargs"].items() if name != "callbacks"}
    )
    environment.require_memory(_memory(model, kwargs), f"Training {type(model).__name__}")
    _say_what_is_left_out(settings)
    # Set again, so that what ran between prepare() and here does not change the result.
    scvi.settings.seed = settings["seed"]
    rise, fall = (kwargs.pop(name, 0) for name in LEARNING_RATE_SHARES)
    checks = TrainingChecks(model, asked)
    callbacks = [*(asked.get("callbacks") or []), checks, loss_recorder.LossRecorder(model)]
    if rise or fall:
        callbacks.append(LearningRateSchedule(rise, fall))
    if "callbacks" not in model_arguments.of_train(model):
        callbacks, progress = None, None
    try:
        with resuming.keeping(model, progress) as more, errors_not_printed():
            if callbacks is not None:
                more["callbacks"] = callbacks + more.get("callbacks", [])
                more["callbacks"].append(_AsItWas(more["callbacks"]))
            model.train(**kwargs, **more)
    except Exception as error:
        if checks.explanation is None or isinstance(error, DivergenceError):
            raise
        raise DivergenceError(checks.explanation) from error
    model.train_settings_ = settings


class _AsItWas(Callback):
    """Take out of a list of callbacks, once a training is over, what scvi-tools added to it.

    A model that trains in two phases, as VIVS, hands the same list to both, and the second would
    find two progress bars in it.
    """

    def __init__(self, callbacks: list[Callback]) -> None:
        self.callbacks = callbacks

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        del self.callbacks[self.callbacks.index(self) + 1 :]


def _say_what_is_left_out(settings: dict[str, Any]) -> None:
    left_out = settings.get("left out of the preset")
    if left_out:
        say(
            f"{settings['model']} does not take {', '.join(left_out)}: left out of the preset "
            f"'{settings['preset']}'."
        )


def _settings(model: BaseModelClass, preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all that decides the outcome of a training run, and a key made from it."""
    merged = merge(preset, train_kwargs)
    if model.is_trained:
        raise ValueError(
            "This model was trained before; training it further is another run. Make a new one "
            f"first: {type(model).__name__}(adata)."
        )
    length = run_length(_cells(model, train_kwargs), preset, **train_kwargs)
    if "max_epochs" in merged:
        merged["max_epochs"] = length["epochs"]
    if "kl_warmup" in merged:
        merged["plan_kwargs"] |= {"n_epochs_kl_warmup": length["warm-up"]}
    for name in ("least_steps", "kl_warmup"):
        merged.pop(name, None)
    merged, left_out = model_arguments.fit(model, merged, train_kwargs)
    settings = {
        "model": type(model).__name__,
        "preset": preset,
        "train_kwargs": merged,
        "seed": scvi.settings.seed,
        "versions": {
            name: importlib.metadata.version(name) for name in ("scvi-tools", "torch", "numpy")
        },
    }
    if left_out:
        settings["left out of the preset"] = left_out
    return run_keys.named(model, settings)


def _cells(model: BaseModelClass, train_kwargs: dict[str, Any]) -> int:
    """Return how many cells a model has.

    Where nobody knows they are taken to be many, so that the epochs of a preset are enough.
    """
    sources = [getattr(model, "adata", None), train_kwargs.get("datamodule")]
    known = [each.n_obs for each in sources if hasattr(each, "n_obs")]
    return known[0] if known else MANY_CELLS


def _memory(model: BaseModelClass, kwargs: dict[str, Any]) -> int:
    """Estimate the bytes that training adds.

    They are the minibatch's tensors, and eleven numbers a parameter: weight, gradient and Adam's
    two; the weight before the training; weight and Adam's two after the last epoch, and once more
    while they are written.
    """
    weights = model.module.parameters() if isinstance(model.module, nn.Module) else []
    parameters = sum(each.numel() for each in weights)
    # About forty arrays of cells x genes are alive in a step (likelihood and gradients), in 4-byte
    # floats.
    default = model_arguments.default_of(model, "batch_size") or scvi.settings.batch_size
    genes = getattr(getattr(model, "adata", None), "n_vars", 0)
    minibatch = (kwargs.get("batch_size") or default) * genes
    return 4 * (11 * parameters + 40 * minibatch)
