"""Run cells through a trained module, and read numbers of each cell from what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.module.base import LossOutput
from torch import nn

from helpers import training
from helpers.training import minibatches

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# The tensors of a minibatch by the names of their fields, and what a module returns from inference
# and from its generative part, by its names.
Minibatch = dict[str, torch.Tensor]
Outputs = dict[str, Any]
Read = Callable[[Minibatch, Outputs, Outputs, LossOutput], dict[str, np.ndarray]]


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as 8-byte floats, so that sums of thousands of terms stay exact."""
    return tensor.numpy().astype(float)


def total(parts: dict[str, torch.Tensor]) -> np.ndarray:
    """Add a module's terms of one kind, cell by cell."""
    return np.sum([numbers(part) for part in parts.values()], axis=0)


def _positions(model: BaseModelClass, cells: Sequence[int] | None) -> np.ndarray:
    """Return the positions of cells, checked."""
    if cells is None:
        return np.arange(model.adata.n_obs)
    n_cells = model.adata.n_obs
    positions = np.asarray(cells)
    if positions.shape == (n_cells,) and positions.dtype == bool:
        positions = np.flatnonzero(positions)
    if positions.size == 0:
        raise ValueError("No cells were given. Pass positions, such as model.validation_indices.")
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise ValueError(
            "Cells are chosen by a list of positions, such as model.validation_indices, or by a "
            f"mask with {n_cells:,} times True or False."
        )
    missing = positions[(positions < 0) | (positions >= n_cells)]
    if missing.size:
        raise ValueError(
            f"There is no cell at position {missing[0]}: this model's data have {n_cells:,} cells, "
            f"from 0 to {n_cells - 1:,}."
        )
    return positions


def run(
    model: BaseModelClass,
    cells: Sequence[int] | None,
    read: Read,
    dropout: bool = False,
) -> dict[str, np.ndarray]:
    """Run cells through a copy of the trained module, and return what is read, one row per cell.

    The model and the session's random numbers stay as they are.
    """
    minibatches.require_traceable(model)
    training.require_trained(model)
    positions = _positions(model, cells)
    module = minibatches.copy_of_module(model).cpu().eval()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.train(dropout)
    rows = []
    with isolate_rng(), torch.inference_mode():
        torch.manual_seed(0)
        for tensors in model._make_data_loader(adata=model.adata, indices=positions):
            # The weight of 1: the ELBO, whatever was in force in training.
            outputs = module(tensors, loss_kwargs={"kl_weight": 1.0})
            rows.append(read(tensors, *outputs))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def by_cell(
    model: BaseModelClass, cells: Sequence[int] | None, read: Read, dropout: bool = False
) -> pd.DataFrame:
    """Run cells through the trained module, and return a table of what is read, one row per cell.

    Parameters
    ----------
    model
        A trained model. It and the session's random numbers stay as they are.
    cells
        Positions of cells; all if None.
    read
        Takes a minibatch and what the module returned for it (from inference, from its generative
        part, and its loss with a KL weight of 1), and returns columns by name.
    dropout
        Whether dropout is on, as in training.

    Returns
    -------
    DataFrame
        The columns, by name of the cell. Each cell's position is drawn once, always with the same
        random numbers.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be run, was not trained, or a cell is not there.
    """
    columns = run(model, cells, read, dropout)
    return pd.DataFrame(columns, index=model.adata.obs_names[_positions(model, cells)])
