"""Cells as a model gets them in training, and a copy of its module to try them on."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.data._constants import ADATA_MINIFY_TYPE
from scvi.model.base import BaseModelClass
from scvi.module.base import BaseModuleClass, PyroBaseModuleClass
from torch import nn
from torch.distributions import Distribution

FOLLOWED = (
    "Models in plain PyTorch with a training step of the usual form can be followed: pass one "
    "such as SCVI or TOTALVI."
)


class UntraceableModelError(RuntimeError):
    """The model's training step cannot be followed, so nothing is said about its layers."""


def evenly_spaced(n_cells: int, maximum: int) -> np.ndarray:
    """Return positions of cells at even steps through the data, from the first to the last.

    Parameters
    ----------
    n_cells
        How many cells there are.
    maximum
        How many to take; all if there are fewer.

    Returns
    -------
    ndarray of int
        The positions, in order.
    """
    return np.linspace(0, n_cells - 1, min(maximum, n_cells)).round().astype(int)


def minibatch(model: BaseModelClass, n_cells: int = 128) -> dict[str, torch.Tensor]:
    """Return cells as the model gets them in training, taken at even steps through the data.

    Parameters
    ----------
    model
        A scvi-tools model with its data.
    n_cells
        How many cells; all if there are fewer.

    Returns
    -------
    dict
        The tensors of the minibatch, cells x columns each.

    Raises
    ------
    TypeError
        If this is no scvi-tools model.
    ValueError
        If the model has no data, or only minified data.
    UntraceableModelError
        If the model runs outside PyTorch or reads its data in a way of its own.
    """
    require_traceable(model)
    return of_cells(model, evenly_spaced(model.adata.n_obs, n_cells))


def of_cells(model: BaseModelClass, indices: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the minibatch of the cells at these positions; raises as ``minibatch``."""
    try:
        # PyTorch's loader draws a random number, even where it does not shuffle.
        with isolate_rng():
            loader = model._make_data_loader(
                adata=model.adata, indices=indices, batch_size=len(indices)
            )
            batch = next(iter(loader))
        return {name: tensor for name, tensor in batch.items() if tensor is not None}
    except Exception as error:
        raise UntraceableModelError(
            f"{type(model).__name__} reads its data in a way of its own, so no minibatch could be "
            f"taken ({error}). {FOLLOWED}"
        ) from error


def require_traceable(model: Any) -> None:
    """Raise, with what to do, unless the training step of this model can be followed."""
    if inspect.isclass(model) and issubclass(model, BaseModelClass):
        raise TypeError(
            f"This is the class {model.__name__}, not a model. Build one and pass that: "
            f"{model.__name__}(adata)."
        )
    if isinstance(model, nn.Module):
        raise TypeError(
            f"This is a PyTorch module ({type(model).__name__}). Pass the model that it belongs "
            "to: model, not model.module."
        )
    if not isinstance(model, BaseModelClass):
        raise TypeError(
            f"This is a {type(model).__name__}, not a scvi-tools model. Pass a model such as "
            "scvi.model.SCVI(adata)."
        )
    name = type(model).__name__
    if getattr(model, "adata", None) is None or getattr(model, "module", None) is None:
        raise ValueError(
            f"This {name} does not hold one set of cells that could be run. Register them and "
            f"build it with them: {name}.setup_anndata(adata, ...), then {name}(adata); or "
            f"{name}.load(folder, adata=adata)."
        )
    require_counts(model)
    if not isinstance(model.module, nn.Module):
        raise UntraceableModelError(
            f"{name} is not written in PyTorch: its module is a {type(model.module).__module__}."
            f"{type(model.module).__name__}. {FOLLOWED}"
        )
    if isinstance(model.module, PyroBaseModuleClass):
        raise UntraceableModelError(
            f"{name} is written in Pyro, which hides the training step. {FOLLOWED}"
        )
    if not isinstance(model.module, BaseModuleClass):
        raise UntraceableModelError(
            f"The module of {name} is a {type(model.module).__name__}, which is not divided into "
            f"inference, generative part and loss as others of scvi-tools are. {FOLLOWED}"
        )


def require_counts(model: BaseModelClass) -> None:
    """Raise, with what to do, if the counts of a model's data were taken out when minified."""
    if getattr(model, "minified_data_type", None) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
        name = type(model).__name__
        raise ValueError(
            f"The data of this {name} are minified: the counts are gone, and they are needed here. "
            f"Load the model with the full data: {name}.load(folder, adata=adata). Or keep them: "
            f'model.minify_adata("{ADATA_MINIFY_TYPE.LATENT_POSTERIOR_WITH_COUNTS}").'
        )


def copy_of_module(model: BaseModelClass) -> nn.Module:
    """Return a copy of ``model.module`` that may be run without a change to the model.

    Parameters
    ----------
    model
        A scvi-tools model.

    Returns
    -------
    Module
        The copy, with the same numbers. It encodes counts, where that of a model with minified data
        takes the positions that were kept.
    """
    # Some modules keep a result of their last training step, which PyTorch refuses to copy with its
    # history.
    results = {
        id(tensor): tensor.detach()
        for part in model.module.modules()
        for tensor in tensors_in(vars(part))
        if tensor.grad_fn is not None
    }
    module = copy.deepcopy(model.module, results)
    if getattr(module, "minified_data_type", None) is not None:
        module.minified_data_type = None
    return module


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Give the tensors in nested containers and dataclasses, and those that distributions hold."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, Distribution):
        # Not by their names in ``arg_constraints``, which not every distribution declares. It may
        # hold other distributions.
        yield from tensors_in(vars(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from tensors_in(getattr(value, each.name, None))
