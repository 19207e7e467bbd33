"""Which numbers of a model training changes: not which tensors, but which of their numbers.

In a tensor that the loss depends on, single numbers may stay as they are, for two reasons.

- They are *held*. The tensor was set not to learn (``requires_grad_(False)``), the optimiser of the
  training plan leaves it out, or hooks on it set parts of its gradient to 0. scvi-tools does this
  when a model is to map new cells (``load_query_data``): of a matrix, only the columns for new
  batches learn.
- Nothing *reaches* them. They multiply a column that is 0 in all cells, such as the code of a
  category that no cell has; or they are the row of such a category in a table.

Weight decay changes also what is held by a hook and what nothing reaches, because PyTorch adds it
to the gradient. With ``plan_kwargs={"weight_decay": 0.0}`` such numbers stay exactly as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass
from scvi.module.base import LossOutput
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from helpers.training import minibatches

Masks = dict[str, torch.Tensor]

# How many more minibatches are tried, to reach what the first one did not: a gradient that is
# nothing but rounding, as before a batch normalisation, is by chance exactly 0 now and then.
FEWEST, MOST = 6, 16
CELLS = 128

# How far the weights are moved to find what a learned 0 hides, in standard deviations of their
# tensor. All else stays about as it is.
NUDGE = 1e-3


def held(model: BaseModelClass) -> Masks:
    """Return which numbers of each parameter are held, whatever the loss says (of its shape)."""
    with isolate_rng():
        optimised = _optimised(model)
    return {
        name: _held_back(value)
        if value.requires_grad and (optimised is None or id(value) in optimised)
        else torch.ones(value.shape, dtype=torch.bool)
        for name, value in model.module.named_parameters()
    }


def _held_back(parameter: nn.Parameter) -> torch.Tensor:
    """Return which numbers the hooks on a parameter leave no gradient, of whichever sign."""
    with torch.inference_mode(False), torch.enable_grad():
        gradients = [
            _after_hooks(parameter, torch.full_like(parameter, sign)) for sign in (1.0, -1.0)
        ]
    return torch.stack([gradient.cpu() == 0 for gradient in gradients]).all(dim=0)


def _after_hooks(parameter: nn.Parameter, gradient: torch.Tensor) -> torch.Tensor:
    """Return what the hooks on a parameter make of a gradient."""
    (changed,) = torch.autograd.grad(parameter, parameter, gradient)
    # Those that run once the gradient is stored get the parameter that holds it. A copy does.
    copy = nn.Parameter(parameter.detach().clone())
    copy.grad = changed.clone()
    for hook in (parameter._post_accumulate_grad_hooks or {}).values():
        # Some look up what belongs to this very parameter, such as its optimiser.
        with contextlib.suppress(KeyError):
            hook(copy)
    return torch.zeros_like(copy) if copy.grad is None else copy.grad


def _optimised(model: BaseModelClass) -> set[int] | None:
    """Return the identities of the parameters that the optimiser gets; None if that is not known.

    The plan of the last training is asked again, as what is frozen may have changed since. A model
    that was not trained here has its default plan.
    """
    plan = getattr(getattr(model, "trainer", None), "lightning_module", None)
    # Plans may not be built without more arguments, or not give optimisers outside a training.
    with contextlib.suppress(Exception):
        if plan is None or plan.module is not model.module:
            plan = model._training_plan_cls(model.module)
        found = plan.configure_optimizers()
        optimisers = _optimisers_in(found)
        given = {
            id(value)
            for each in optimisers
            for group in each.param_groups
            for value in group["params"]
        }
        return given or None
    return None


def _optimisers_in(configured: object) -> Iterator[torch.optim.Optimizer]:
    if isinstance(configured, torch.optim.Optimizer):
        yield configured
    elif isinstance(configured, dict):
        yield from _optimisers_in(list(configured.values()))
    elif isinstance(configured, (list, tuple)):
        for each in configured:
            yield from _optimisers_in(each)


def reached(model: BaseModelClass, known: Masks, wanted: Masks) -> Masks:
    """Return which of the wanted numbers the loss depends on, in any of several minibatches.

    Parameters
    ----------
    model
        A scvi-tools model with its data.
    known
        By parameter, the numbers that one minibatch reached (of its shape).
    wanted
        By parameter, the numbers that are asked about. Parameters of which all are known already
        cost nothing.

    Returns
    -------
    dict
        By parameter of ``wanted``, those that were reached, the known ones included. The cells are
        all of the model, or a few thousand at even steps, and one of each category.
    """
    found = {
        name: known[name].clone() if name in known else torch.zeros_like(asked)
        for name, asked in wanted.items()
    }
    if _all_found(found, wanted):
        return found
    with isolate_rng(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        module = minibatches.copy_of_module(model).cpu().train()
        for cells in _cells_to_try(model):
            batch = minibatches.of_cells(model, cells)
            for name, gradient in _gradients_nearby(module, wanted, batch).items():
                if name in found:
                    found[name] = found[name] | (gradient != 0)
            if _all_found(found, wanted):
                break
    return found


def _all_found(found: Masks, wanted: Masks) -> bool:
    return all(bool(found[name][asked].all()) for name, asked in wanted.items())


def hidden_by_zeros(model: BaseModelClass, held: Masks, names: set[str]) -> dict[str, float]:
    """Return which parameters the loss depends on once the others are no longer exactly 0.

    A branch may start out multiplied by a learned 0. Its own gradient is 0 then, until that has
    changed.

    Parameters
    ----------
    model
        A scvi-tools model with its data.
    held
        What does not change, as ``held`` returns it.
    names
        The parameters that are asked about.

    Returns
    -------
    dict
        The largest derivative of each of them that has one.
    """
    with isolate_rng(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        module = minibatches.copy_of_module(model).cpu().train()
        free = {name: ~mask for name, mask in held.items()}
        found = _gradients_nearby(module, free, minibatches.minibatch(model))
        return {name: float(found[name].abs().max()) for name in names & found.keys()}


def _gradients_nearby(
    module: nn.Module, moving: Masks, batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the gradients of a minibatch once no weight is exactly 0, and no neuron is silent.

    Some weights may not be moved, such as those that must be probabilities; then they stay.
    """
    parameters = dict(module.named_parameters())
    start = {name: parameters[name].detach().clone() for name in moving}
    for size in (NUDGE, 0.0):
        with torch.no_grad():
            for name, which in moving.items():
                if start[name].is_floating_point():
                    noise = _noise_like(start[name], size)
                    parameters[name].copy_(start[name] + noise * which)
        with contextlib.suppress(Exception), NeuronsAwake():
            if found := gradients(module, batch):
                break
    else:
        found = {}
    with torch.no_grad():
        for name, value in start.items():
            parameters[name].copy_(value)
    return found


def _noise_like(value: torch.Tensor, size: float) -> torch.Tensor:
    """Return noise of a size in standard deviations of a tensor; of 1, if all its numbers agree."""
    spread = value.std(correction=0) if value.numel() else torch.zeros(())
    return torch.randn_like(value) * size * torch.where(spread > 0, spread, 1.0)


def gradients(module: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the gradient of each parameter that the loss of a minibatch may depend on.

    What is frozen takes part. If the loss is no number, there are none.
    """
    for value in module.parameters():
        if value.is_floating_point():
            value.requires_grad_()
    module.zero_grad(set_to_none=True)
    loss = next(part.loss for part in module(batch) if isinstance(part, LossOutput)).sum()
    if not torch.isfinite(loss):
        return {}
    loss.backward()
    return {
        name: value.grad.to_dense()
        for name, value in module.named_parameters()
        if value.grad is not None
    }


class NeuronsAwake(TorchFunctionMode):
    """Inside this block no neuron is silent.

    One that no cell activates now may be activated after some training.
    """

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = getattr(function, "__name__", "").strip("_")
        if name == "relu":
            # Not below 0, as before: some models take it for a rate.
            return functional.softplus(args[0])
        if name == "dropout":
            return args[0]
        return function(*args, **(kwargs or {}))


def _cells_to_try(model: BaseModelClass) -> Iterator[np.ndarray]:
    """Give the positions of the cells of each minibatch, all about as large."""
    few = minibatches.evenly_spaced(model.adata.n_obs, (MOST - 1) * CELLS)
    chosen = np.union1d(few, _one_of_each(model)[:CELLS])
    # None has fewer cells than usual, if there are as many.
    parts = max(1, len(chosen) // CELLS)
    for number in range(max(parts, FEWEST)):
        yield chosen[number % parts :: parts]


def _one_of_each(model: BaseModelClass) -> np.ndarray:
    """Return the position of a cell of each registered category."""
    manager = model.adata_manager
    found = [np.empty(0, dtype=int)]
    for key, field in manager.registry["field_registries"].items():
        if CATEGORICAL & field["state_registry"].keys():
            codes = np.asarray(manager.get_from_registry(key))
            for column in codes.reshape(len(codes), -1).T:
                found.append(np.unique(column, return_index=True)[1])
    return np.unique(np.concatenate(found))


# What scvi-tools registers of one column of categories, and of several.
CATEGORICAL = {"categorical_mapping", "mappings"}
