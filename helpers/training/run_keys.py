"""A name for all that decides the outcome of a training run, or the reason why there is none."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from scvi.data import _constants
from scvi.model.base import BaseModelClass
from torch import nn

from helpers.training import fingerprints
from helpers.training.model_state import is_whole_in_pytorch

# A checkpoint from before there was a record of the loss lacks what the lessons need.
CONTENT = "with a record of the loss"

# What is shown while a model trains does not change what is learned.
SHOWN = {
    "enable_model_summary",
    "enable_progress_bar",
    "progress_bar_refresh_rate",
    "simple_progress_bar",
}

# What a model holds that says nothing about a training: random names, what a training leaves
# behind, and its cells and their registry, which are looked at by themselves.
NOT_DECISIVE = {
    "_adata",
    "_adata_manager",
    "_model_summary_string",
    "history_",
    "id",
    "is_trained_",
    "loss_record_",
    "registry_",
    "run_id_",
    "run_name_",
    "test_indices_",
    "train_indices_",
    "train_settings_",
    "trainer",
    "validation_indices_",
}


# Under these, scvi-tools notes a random number with each data set.
RANDOM = {_constants._SCVI_UUID_KEY, _constants._MANAGER_UUID_KEY}


def named(model: BaseModelClass, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the ``key`` of their run, or with None and ``why no key``.

    Parameters
    ----------
    model
        An untrained model.
    settings
        How it will be trained, with ``train_kwargs``.
    """
    why = _why_none(model, settings)
    if why is None:
        try:
            return settings | {"key": key(model, settings)}
        except fingerprints.NoFingerprintError as error:
            why = f"{error}, so this training cannot be told from another one in another kernel"
    return settings | {"key": None, "why no key": why}


def key(model: BaseModelClass, settings: dict[str, Any]) -> str:
    """Return a name for all that decides the outcome of a training run.

    Parameters
    ----------
    model
        An untrained model: its data, weights, parts, code and all that was set on it count.
    settings
        How it will be trained, with ``train_kwargs``.

    Returns
    -------
    str
        Sixteen hexadecimal digits, the same in every process.

    Raises
    ------
    NoFingerprintError
        If something that counts cannot be told from another one in another process.
    """
    kwargs = {name: each for name, each in settings["train_kwargs"].items() if name not in SHOWN}
    parts = {
        "content": CONTENT,
        "settings": {name: settings[name] for name in ("model", "preset", "seed", "versions")},
        "train_kwargs": kwargs,
        "session": {
            "batch size": scvi.settings.batch_size,
            # Such workers draw their random numbers once, and not in each epoch.
            "persistent workers": scvi.settings.dl_persistent_workers,
            "default dtype": torch.get_default_dtype(),
            "precision of products": torch.get_float32_matmul_precision(),
            "hooks of all modules": _global_hooks(),
        },
        "model": model,
        "shared weights": _shared_weights(model),
        "data": _data(model),
    }
    leave_out = {BaseModelClass: NOT_DECISIVE, dict: RANDOM}
    # A module sees the registered fields only; code of the user's own may look at all of the data.
    data = dict.fromkeys(("adata", "_adata", "adata_manager", "_adata_manager"), model.adata)
    return fingerprints.fingerprint(parts, leave_out, "scvi", if_asked_for=data)[:16]


def _global_hooks() -> dict[str, list[Any]]:
    """Return the functions that PyTorch calls for every module and optimizer."""
    homes = [vars(sys.modules[each.__module__]) for each in (nn.Module, torch.optim.Optimizer)]
    return {
        name: list(each.values())
        for home in homes
        for name, each in home.items()
        if name.startswith("_global_") and name.endswith("_hooks") and each
    }


def _shared_weights(model: BaseModelClass) -> list[list[str]]:
    """Return the names of weights that are one and the same.

    They do not train as two weights do that are only equal at first.
    """
    names: dict[int, list[str]] = {}
    for name, weight in model.module.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    return [each for each in names.values() if len(each) > 1]


def _data(model: BaseModelClass) -> dict[str, Any]:
    """Return what the model sees of its data: names, every registered field, and their registry."""
    fields = model.adata_manager.data_registry
    return {
        "cells": "\n".join(model.adata.obs_names),
        "genes": "\n".join(model.adata.var_names),
        "registry": model.registry,
        "fields": {name: model.adata_manager.get_from_registry(name) for name in fields},
    }


def _why_none(model: BaseModelClass, settings: dict[str, Any]) -> str | None:
    """Say why a run has no name whatever is in the model, or return None."""
    kwargs = settings["train_kwargs"]
    if kwargs.get("callbacks"):
        return "callbacks were given, which would see nothing of a training that was kept"
    if kwargs.get("ckpt_path"):
        return "it goes on from the file in ckpt_path, whose content may change"
    if settings["seed"] is None:
        return "scvi.settings.seed is None, so that no training is like another"
    if not is_whole_in_pytorch(model):
        return f"{type(model).__name__} keeps its weights outside PyTorch"
    if getattr(model, "_adata_manager", None) is None:
        return f"this {type(model).__name__} does not hold one set of cells"
    fields = model.adata_manager.data_registry
    if not all(is_in_memory(model.adata_manager.get_from_registry(name)) for name in fields):
        return "its cells stay in a file, whose content may change"
    return None


def is_in_memory(field: Any) -> bool:
    """Tell whether a registered field is in memory, and not in a file."""
    return sp.issparse(field) or isinstance(field, (np.ndarray, pd.DataFrame))
