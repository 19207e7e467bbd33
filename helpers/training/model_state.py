"""Whether a model was trained, and how to ask it without changing it or the session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass
from scvi.module.base import PyroBaseModuleClass
from torch import nn


def require_trained(model: BaseModelClass) -> None:
    """Raise, with what to do, unless a model was trained."""
    if not model.is_trained:
        raise ValueError(
            f"This {type(model).__name__} was not trained, so it says nothing yet. What to do: "
            "training.train(model)."
        )


def require_held_out(model: BaseModelClass) -> None:
    """Raise, with what to do, unless a model was trained and held some cells out."""
    require_trained(model)
    if model.validation_indices is None or len(model.validation_indices) == 0:
        raise ValueError(
            f"This {type(model).__name__} held no cells out: it was trained on all of them. What "
            "to do: train a new one without train_size=1."
        )


def is_whole_in_pytorch(model: BaseModelClass) -> bool:
    """Tell whether the weights of a model are those of its PyTorch module, and no others.

    Pyro has a store of its own for parameters, JAX keeps them in objects of its own.
    """
    return isinstance(model.module, nn.Module) and not isinstance(model.module, PyroBaseModuleClass)


@contextlib.contextmanager
def evaluating(model: BaseModelClass, seed: int = 0) -> Iterator[None]:
    """Ask a model inside this block without dropout and with random numbers from a seed.

    The model and the session are left as they were.

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
