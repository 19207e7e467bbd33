"""Run cells through a trained module, and read numbers of each cell from what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.module.base import LossOutput
from torch import nn

from helpers.training import minibatches, model_state

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# The tensors of a minibatch by the names of their fields, and what a module returns from inference
# and from its generative part, by its names.
Minibatch = dict[str, torch.Tensor]
Outputs = dict[str, Any]
Read = Callable[[Minibatch, Outputs, Outputs, LossOutput], dict[str, np.ndarray]]

DESCRIBED = (
    "What to do: use SCVI, LinearSCVI or SCANVI as scvi-tools makes them, or for a TOTALVI "
    "totalvi.by_hand; what any loss was made of in training is in loss.ledger(model)."
)

# How far a sum of some thousand 4-byte floats may be off, as a share of it.
ROUNDING = 2e-6


def numbers(tensor: torch.Tensor, kind: type[np.floating] = np.float64) -> np.ndarray:
    """Return a tensor as 8-byte floats, so that sums of thousands of terms stay exact."""
    return tensor.numpy().astype(kind)


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


def require_whole(loss: LossOutput, model: str) -> None:
    """Raise unless the terms of the cells are all that a module's loss holds.

    Parameters
    ----------
    loss
        What a module returned for a minibatch, with a KL weight of 1.
    model
        What to call the model.

    Raises
    ------
    ValueError
        If the loss is not the mean over the cells of their reconstruction losses and KL
        divergences: if it has further terms, or weights, or is no mean.
    """
    terms = {**loss.reconstruction_loss, **loss.kl_local}
    n_cells = loss.n_obs_minibatch
    odd = [name for name, term in terms.items() if term.shape != (n_cells,)]
    if odd:
        raise ValueError(
            f"The {model} does not report {', '.join(odd)} cell by cell, so its loss is not that "
            f"of single cells. {DESCRIBED}"
        )
    whole, mean = float(loss.loss), float(total(terms).mean())
    size = sum(float(term.abs().mean()) for term in terms.values())
    # Not ``>``: what is no number is no rounding either.
    if not abs(whole - mean) <= ROUNDING * (1 + size):
        further = [name for name, term in loss.kl_global.items() if bool((term != 0).any())]
        raise ValueError(
            f"The loss of this {model} is not the mean over the cells of its reconstruction loss + "
            f"KL divergence: in a minibatch of {n_cells:,} cells that is off by "
            f"{whole - mean:+.3g} nats per cell. It has further terms"
            f"{' (' + ', '.join(further) + ')' if further else ''} or weights, which are not "
            f"worked out here. {DESCRIBED}"
        )


def run(
    model: BaseModelClass,
    cells: Sequence[int] | None,
    read: Read,
    dropout: bool = False,
    parts: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Run cells through a copy of the trained module, and return what is read, one row per cell.

    The model and the session's random numbers stay as they are. What the ``parts`` of the module
    put out on the way is added, by their names, to what its generative part returned.
    """
    minibatches.require_traceable(model)
    model_state.require_trained(model)
    positions = _positions(model, cells)
    module = minibatches.copy_of_module(model).cpu().eval()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.train(dropout)
    put_out = _put_out(module, parts)
    rows = []
    with isolate_rng(), torch.inference_mode():
        torch.manual_seed(0)
        for tensors, (inference, generative, loss) in _passes(model, module, positions):
            rows.append(read(tensors, inference, {**generative, **put_out}, loss))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _put_out(module: nn.Module, parts: Sequence[str]) -> Outputs:
    """Return a dictionary that holds what each part put out last, by its name."""
    found: Outputs = {}

    def note(name: str) -> Callable[..., None]:
        return lambda part, args, output: found.update({name: output})

    for name in parts:
        module.get_submodule(name).register_forward_hook(note(name))
    return found


def _passes(
    model: BaseModelClass, module: nn.Module, positions: np.ndarray
) -> Iterator[tuple[Minibatch, tuple[Outputs, Outputs, LossOutput]]]:
    """Give minibatches, and what the module returned for each.

    A module that cannot be run so is no fault of the caller: the reason is passed on.
    """
    try:
        # A weight of 1: the ELBO, whatever was in force in training.
        weighed = "kl_weight" in inspect.signature(module.loss).parameters
        for tensors in model._make_data_loader(adata=model.adata, indices=positions):
            outputs = module(tensors, loss_kwargs={"kl_weight": 1.0} if weighed else {})
            if not (len(outputs) == 3 and isinstance(outputs[-1], LossOutput)):
                raise TypeError("it returned no LossOutput")
            yield tensors, outputs
    except Exception as error:
        raise minibatches.UntraceableModelError(
            f"{type(model).__name__} could not be run on its cells in the usual way ({error}). "
            f"{minibatches.FOLLOWED}"
        ) from error


def by_cell(
    model: BaseModelClass,
    cells: Sequence[int] | None,
    read: Read,
    dropout: bool = False,
    parts: Sequence[str] = (),
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
    parts
        Names of parts of the module. What they put out is added to what is read from the generative
        part, by these names.

    Returns
    -------
    DataFrame
        The columns, by name of the cell. Each cell's position is drawn once, always with the same
        random numbers.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        If the model cannot be run, was not trained, or a cell is not there.
    """
    columns = run(model, cells, read, dropout, parts)
    return pd.DataFrame(columns, index=model.adata.obs_names[_positions(model, cells)])
