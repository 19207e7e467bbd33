"""Train a scvi-tools model in class time, see how it went, and keep the result.

``python -m helpers.training`` trains the models that lessons share once, so that every later lesson can
load them.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.metadata
import inspect
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from scvi.model._utils import get_max_epochs_heuristic
from torch.nn import Dropout

from helpers import data, environment, figures, genes, loss_record

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

FOLDER = data.FOLDER / "checkpoints"

# Both presets ask for the validation curve, which `model.train()` leaves out. The look at the
# held-out cells draws random numbers, so from the second epoch on the run is as good as one without
# the curve, but not equal to it digit by digit.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"check_val_every_n_epoch": 1},
    # On the cortex cells: the held-out negative ELBO of the default run within 1 nat per cell, at a
    # tenth of its time. The higher learning rate makes up for the fewer epochs; the shorter warm-up
    # lets the KL weight reach 1 long before the end.
    "class": {
        "check_val_every_n_epoch": 1,
        "max_epochs": 40,
        "plan_kwargs": {"lr": 6e-3, "n_epochs_kl_warmup": 15},
    },
    # For some hundred cells, which make so few minibatches of 128 that 40 epochs are hardly any steps. On the 400 blood cells the
    # held-out negative ELBO of TOTALVI ends 9 to 12 nats per cell below that of its default training, and that of SCVI
    # between 5 below and 29 above (docs/citeseq_runs.csv). TOTALVI would stop early, and at another epoch on another processor.
    "few cells": {
        "check_val_every_n_epoch": 1,
        "max_epochs": 80,
        "batch_size": 64,
        "early_stopping": False,
        "plan_kwargs": {"lr": 4e-3, "n_epochs_kl_warmup": 30},
    },
}

# How the models of lesson 06 see the blood cells.
BLOOD_SETUP: dict[str, dict[str, Any]] = {
    "SCVI": {},
    "TOTALVI": {"protein_expression_obsm_key": "protein_expression"},
}


def train(model: BaseModelClass, preset: str = "class", **train_kwargs: Any) -> None:
    """Train a model with scvi-tools' own ``model.train``, and note in the model how.

    Parameters
    ----------
    model
        A model that was not trained before.
    preset
        ``"default"``: what ``model.train()`` does, plus a validation curve. ``"class"``: as good on
        held-out cells in a tenth of the time (measured on the cortex cells). ``"few cells"``: for some hundred cells.
    **train_kwargs
        Further arguments of ``model.train``; they win over the preset. ``plan_kwargs`` are merged
        key by key. Those that the ``train`` of a model takes itself, such as the ``lr`` of TOTALVI, are given to it: it would
        drop them from ``plan_kwargs`` without a word.

    Raises
    ------
    ValueError
        If the preset is unknown, the model was trained before, the last minibatch would hold a single
        cell, or no cells would be held out though their curve is asked for.
    MemoryError
        If the training would not fit into the free memory.

    Notes
    -----
    ``model.train_settings_`` keeps preset, arguments, seed, versions and the checkpoint key, and
    ``model.loss_record_`` what each term added to the loss (see ``loss_record``). ``model.save``
    stores both with the model. Recording does not change the result.
    """
    settings = _settings(model, preset, train_kwargs)
    kwargs = copy.deepcopy(settings["train_kwargs"])
    _require_whole_minibatches(model, kwargs)
    _require_cells_for_the_curve(kwargs)
    environment.require_memory(_memory(model, kwargs), f"Training {type(model).__name__}")
    # Set again, so that what ran between prepare() and here does not change the result.
    scvi.settings.seed = settings["seed"]
    recorder = loss_record.LossRecorder(model)
    model.train(**kwargs | {"callbacks": [*kwargs.get("callbacks", []), recorder]})
    model.train_settings_ = settings


def _settings(model: BaseModelClass, preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all that decides the outcome of a training run, and a key made from it."""
    if preset not in PRESETS:
        raise ValueError(f"There is no preset '{preset}'. Presets: {', '.join(PRESETS)}.")
    if model.is_trained:
        raise ValueError(
            f"This model was trained before; training it further is another run. Make a new one first: {type(model).__name__}(adata)."
        )
    merged = PRESETS[preset] | train_kwargs
    if "plan_kwargs" in train_kwargs:
        merged["plan_kwargs"] = PRESETS[preset].get("plan_kwargs", {}) | train_kwargs["plan_kwargs"]
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
    # Whether a progress bar is shown does not change what is learned.
    decisive = {name: value for name, value in merged.items() if name != "enable_progress_bar"}
    # A checkpoint from before there was a record of the loss lacks what the lessons need.
    digest = hashlib.sha256(b"with a record of the loss")
    for choices in (
        settings | {"train_kwargs": decisive},
        model.registry["setup_args"],
        model.init_params_,
    ):
        digest.update(json.dumps(choices, sort_keys=True, default=repr).encode())
    _add_data(digest, model)
    # The initial weights stand for the seed that the model was made with.
    for name, weights in model.module.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.detach().cpu().numpy().tobytes())
    return settings | {"key": digest.hexdigest()[:16]}


def _where_train_takes_them(model: BaseModelClass, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Move out of ``plan_kwargs`` what ``model.train`` takes itself and would overwrite there with its own defaults."""
    plan = train_kwargs.get("plan_kwargs") or {}
    own = {name: plan[name] for name in plan if name in inspect.signature(model.train).parameters}
    if not own:
        return train_kwargs
    rest = {name: value for name, value in plan.items() if name not in own}
    return own | train_kwargs | {"plan_kwargs": rest}


def _add_data(digest: Any, model: BaseModelClass) -> None:
    """Add what the model sees of its data: names, and every registered field."""
    digest.update("\n".join([*model.adata.obs_names, *model.adata.var_names]).encode())
    for name in sorted(model.adata_manager.data_registry):
        field = model.adata_manager.get_from_registry(name)
        if sp.issparse(field):
            field = field.tocsr()
            parts = [field.indptr, field.indices, field.data]
        else:
            parts = [np.asarray(field)]
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())


def _require_whole_minibatches(model: BaseModelClass, kwargs: dict[str, Any]) -> None:
    """Batch normalisation cannot use a minibatch of one cell; with its own default split scvi-tools avoids it, else it does not."""
    if not kwargs.get("train_size"):
        return
    batch_size = kwargs.get("batch_size", scvi.settings.batch_size)
    cells = math.ceil(kwargs["train_size"] * model.adata.n_obs)
    if cells % batch_size == 1:
        raise ValueError(
            f"{cells:,} training cells in minibatches of {batch_size} leave a last minibatch of one cell, which batch normalisation "
            f"cannot use. What to do: pass batch_size={batch_size + 1}, or leave out train_size."
        )


def _require_cells_for_the_curve(kwargs: dict[str, Any]) -> None:
    """Without this, Lightning says that it found no data loader."""
    if kwargs.get("train_size") == 1 and kwargs.get("check_val_every_n_epoch"):
        raise ValueError(
            "train_size=1 holds no cells out, and the presets ask for the curve of held-out cells. "
            "What to do: leave train_size out, or pass check_val_every_n_epoch=None as well."
        )


def _memory(model: BaseModelClass, kwargs: dict[str, Any]) -> int:
    """Estimate the bytes that training adds: four numbers a parameter (weight, gradient, Adam's two), and the minibatch's tensors."""
    parameters = sum(weights.numel() for weights in model.module.parameters())
    # About forty arrays of cells x genes are alive in a step (likelihood and gradients), in 4-byte
    # floats.
    minibatch = kwargs.get("batch_size", scvi.settings.batch_size) * model.adata.n_vars
    return 4 * (4 * parameters + 40 * minibatch)


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
    """Return the number of epochs that ``model.train()`` picks for a number of cells; asked from scvi-tools, not computed here."""
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
        f"Two line charts against the number of cells. Epochs stay at {epochs.max()} up to about {figures.about(last, 2)} cells and then "
        f"fall to {epochs[-1]} at {cells[-1]:,}. Minibatches rise from {figures.about(minibatches[0])} at {cells[0]} cells to "
        f"about {figures.about(float(np.median(minibatches[cells > last])), 2)} and then stay near it.",
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
            f"This {type(model).__name__} was not trained, so it says nothing yet. What to do: training.train(model)."
        )


def require_held_out(model: BaseModelClass) -> None:
    """Raise, with what to do, unless a model was trained and left some cells out of its training."""
    require_trained(model)
    if model.validation_indices is None or len(model.validation_indices) == 0:
        raise ValueError(
            f"This {type(model).__name__} held no cells out: it was trained on all of them. What to do: train a new one without train_size=1."
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
        If the model has no validation curve.
    """
    history = model.history or {}
    if "elbo_validation" not in history:
        raise ValueError(
            "This model has no validation curve. Train it with training.train(model), or with model.train(check_val_every_n_epoch=1)."
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


def save_checkpoint(model: BaseModelClass, folder: Path = FOLDER) -> Path:
    """Store a trained model under a key made from data, parameters, seed and versions.

    Parameters
    ----------
    model
        A model trained with ``train``.
    folder
        Where checkpoints are kept.

    Returns
    -------
    Path
        The folder of this checkpoint. It appears whole or not at all.

    Raises
    ------
    ValueError
        If the model was not trained with ``train``.
    """
    settings = getattr(model, "train_settings_", None)
    if settings is None:
        raise ValueError(
            "Only a model trained with training.train(model) can be kept: its settings make the key of the checkpoint."
        )
    target = _checkpoint_folder(settings, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
        whole = Path(scratch) / target.name
        model.save(str(whole), save_anndata=False)
        shutil.rmtree(target, ignore_errors=True)
        # Another notebook may have put its equal checkpoint here in the meantime; one of the two is
        # enough.
        with contextlib.suppress(OSError):
            whole.rename(target)
    return target


def load_checkpoint(
    model: BaseModelClass, preset: str = "class", folder: Path = FOLDER, **train_kwargs: Any
) -> BaseModelClass | None:
    """Return the trained twin of an untrained model, or None if there is no checkpoint with its key.

    Parameters
    ----------
    model
        An untrained model: its data, parameters and initial weights are part of the key.
    preset, **train_kwargs
        As for ``train``.
    folder
        Where checkpoints are kept.
    """
    target = _checkpoint_folder(_settings(model, preset, train_kwargs), folder)
    if not (target / "model.pt").exists():
        return None
    try:
        return type(model).load(str(target), adata=model.adata)
    except (
        Exception
    ) as error:  # a damaged file fails inside PyTorch in many ways; all have the same cure
        print(
            f"The checkpoint {target.name} cannot be read ({error}); it is left aside.",
            file=sys.stderr,
        )
        return None


def load_or_train(
    model: BaseModelClass, preset: str = "class", folder: Path = FOLDER, **train_kwargs: Any
) -> BaseModelClass:
    """Return a trained model: the checkpoint if there is one with this key, else the model itself, trained and stored.

    Parameters
    ----------
    model
        An untrained model.
    preset, **train_kwargs
        As for ``train``.
    folder
        Where checkpoints are kept.
    """
    trained = load_checkpoint(model, preset, folder, **train_kwargs)
    if trained is None:
        train(model, preset, **train_kwargs)
        save_checkpoint(model, folder)
        trained = model
    return trained


def _checkpoint_folder(settings: dict[str, Any], folder: Path) -> Path:
    return folder / f"{settings['model']}-{settings['key']}"


def cortex_model(seed: int = 0) -> BaseModelClass:
    """Return the untrained model of lesson 02: default SCVI on the 2,000 selected genes of the cortex cells."""
    environment.prepare(seed)
    adata = data.load_cortex()
    genes.select(adata)
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    return scvi.model.SCVI(adata)


def blood_model(
    kind: str = "TOTALVI", seed: int = 0, proteins: Sequence[str] | None = None
) -> BaseModelClass:
    """Return an untrained model of lesson 06: on 2,000 genes of the blood cells, with their batches.

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
    """Train and store the models that lessons share; return the exit status."""
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
            print(f"Training the {name} of lesson {lesson} (half a minute, once) ...", flush=True)
            train(model, preset, enable_progress_bar=bar)
            save_checkpoint(model)
    print(f"checkpoints ready in {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
