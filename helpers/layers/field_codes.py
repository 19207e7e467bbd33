"""Follow the codes of categories, such as the batch, from a minibatch to where they enter a model.

PyTorch's record of a step begins at numbers that have a gradient. A code is a whole number and has
none: it reaches a layer as columns of zeros and ones, or picks a row of learned numbers. Here every
operation is watched. What is made of codes alone is remembered with the names of their fields, and
where it meets numbers that have a gradient, it is given one too. So PyTorch's record goes on to the
columns, however they were made, and their fields are known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from scvi.data import fields
from scvi.model.base import BaseModelClass
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from helpers.training.minibatches import tensors_in

Fields = tuple[str, ...]


class CodesFollowed(TorchFunctionMode):
    """Inside this block, codes are followed and every tensor that an operation is given is noted.

    Parameters
    ----------
    batch
        The tensors of the minibatch. Those of whole numbers are codes.
    note_use
        Takes each tensor that an operation is given.

    Attributes
    ----------
    columns
        The fields of the columns that stand for codes, by what begins PyTorch's record at them.
    picked
        The fields of the codes that an operation was given beside numbers with a gradient, such as
        the rows to look up, by the operation in PyTorch's record.
    """

    def __init__(
        self, batch: Mapping[str, torch.Tensor], note_use: Callable[[torch.Tensor], None]
    ) -> None:
        super().__init__()
        self.note_use = note_use
        self.columns: dict[int, Fields] = {}
        self.picked: dict[Any, Fields] = {}
        # By identity; the tensors are kept, or another one could get the identity of a lost one.
        self.known: dict[int, tuple[torch.Tensor, Fields]] = {
            id(tensor): (tensor, (name,))
            for name, tensor in batch.items()
            if not tensor.is_floating_point()
        }
        self.followed: dict[tuple[int, int], torch.Tensor] = {}

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in([args, kwargs]))
        names = tuple(dict.fromkeys(name for each in given for name in self._fields(each)))
        learned = any(each.requires_grad for each in given)
        result, followed = self._called(function, args, kwargs, follow=bool(names) and learned)
        made = list(tensors_in(result))
        # To ask for the device or the shape of a tensor is not to use its numbers.
        for each in given if made else ():
            self.note_use(each)
        passed_on = names and not followed and not _only_the_shape(function)
        for each in made if passed_on else ():
            if each.grad_fn is not None:
                self.picked.setdefault(each.grad_fn, names)
            elif not learned:
                self.known[id(each)] = each, names
        return result

    def _called(
        self, function: Callable, args: tuple, kwargs: dict, follow: bool
    ) -> tuple[Any, bool]:
        if follow:
            # What picks rows, or says which of two to take, cannot be replaced by columns.
            with contextlib.suppress(Exception):
                more_args, more_kwargs = tree_map(self._with_gradient, (args, kwargs))
                return function(*more_args, **more_kwargs), True
        return function(*args, **kwargs), False

    def _fields(self, tensor: torch.Tensor) -> Fields:
        return self.known[id(tensor)][1] if id(tensor) in self.known else ()

    def _with_gradient(self, value: Any) -> Any:
        """Return what was made of codes as columns with a gradient, and all else as it is."""
        if not isinstance(value, torch.Tensor) or not self._fields(value):
            return value
        # Not kept by identity alone: a tensor may have been changed in place since.
        key = id(value), value._version
        if key not in self.followed:
            real = value if value.is_floating_point() else value.to(torch.get_default_dtype())
            self.followed[key] = real.detach().requires_grad_()
            self.columns[id(self.followed[key])] = self._fields(value)
        return self.followed[key]


def _only_the_shape(function: Callable) -> bool:
    """Whether an operation makes new numbers for a tensor, as ``zeros_like`` does."""
    name = getattr(function, "__name__", "")
    return name.endswith("_like") or name.startswith("new_")


def covariates(model: BaseModelClass) -> dict[str, int | None]:
    """Return the fields that are registered as columns about the cells, not as their data.

    Parameters
    ----------
    model
        A scvi-tools model with its data.

    Returns
    -------
    dict
        The number of categories by field; None for numbers, and for several columns in one field.
    """
    of_cells = (
        fields.CategoricalObsField,
        fields.CategoricalJointObsField,
        fields.NumericalObsField,
        fields.NumericalJointObsField,
    )
    found = {}
    for field in model.adata_manager.fields:
        if isinstance(getattr(field, "adata_field", field), of_cells):
            state = model.adata_manager.get_state_registry(field.registry_key)
            # A cell without a label has none of them.
            known = len(state.get("categorical_mapping", ())) - ("unlabeled_category" in state)
            found[field.registry_key] = known if known > 0 else None
    return found
