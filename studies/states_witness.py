"""Whether training changes what the anatomy of a model says it trains, number by number.

The anatomy (``helpers.layers.model_anatomy``) reads the states from gradients. Here the model is
trained, and each number is compared with what it was before: an independent witness.
"""

from __future__ import annotations

import inspect
import warnings

import pandas as pd
import torch
from scvi.model.base import BaseModelClass

from helpers.layers import learned_numbers, model_anatomy

# What has a gradient of nothing but rounding, such as a bias before a batch normalisation, now and
# then stays as it is by chance.
BY_CHANCE = 0.02


def witness(model: BaseModelClass, max_epochs: int = 2) -> pd.DataFrame:
    """Train a model without weight decay, and compare what changes with what its anatomy said.

    Parameters
    ----------
    model
        A scvi-tools model with its data. It is trained.
    max_epochs
        Passes through its training cells.

    Returns
    -------
    DataFrame
        A row a module or bare parameter that has parameters, by ``path``: its ``state`` and
        ``parameters``; how many of them are ``said to train`` and how many ``changed``; how many of
        the former did not (``not changed``), and how many changed that were not said to (``not
        said``); and whether the two agree (``agrees``): all that changed was said to, and all but
        one in 50 of what was said to changed.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``model_anatomy.read``.

    Notes
    -----
    A training plan may also change parameters without a gradient, as ``CellAssign`` does, which
    keeps them above a minimum. That shows here as a disagreement.
    """
    anatomy = model_anatomy.read(model)
    before = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    train_what_learns(model, max_epochs)
    numbers = []
    for name, value in model.module.named_parameters():
        changed = (value.detach() != before[name]).cpu()
        said = anatomy.learned.get(name, torch.zeros_like(changed))
        masks = {
            "parameters": torch.ones_like(changed),
            "said to train": said,
            "changed": changed,
            "not changed": said & ~changed,
            "not said": changed & ~said,
        }
        numbers.append({column: int(mask.sum()) for column, mask in masks.items()})
    rows = anatomy.table.set_index("path")["state"]
    names = [name for name, _ in model.module.named_parameters()]
    paths = pd.Index([_row_of(name, rows.index) for name in names], name="path")
    table = pd.DataFrame(numbers, index=paths).groupby("path", sort=False).sum()
    few = table["not changed"] <= BY_CHANCE * table["said to train"]
    table["agrees"] = few & table["not said"].eq(0)
    table.insert(0, "state", rows)
    return table


def _row_of(name: str, paths: pd.Index) -> str:
    """Return which row of the table of modules counts a parameter."""
    return name if name in paths else name.rpartition(".")[0]


def train_what_learns(model: BaseModelClass, max_epochs: int) -> None:
    """Train a model as its own ``train`` does, but so that each number moves that has a gradient.

    There is no weight decay, which moves others too. The optimiser's steps are of about the same
    size however small a gradient is, and no neuron is silent in all cells by chance.
    """
    plan = {"weight_decay": 0.0, "eps": 1e-8, "lr": 3e-4}
    quiet = {"enable_progress_bar": False}
    # Some take the settings of their plan as arguments, which then have the last word.
    wanted = {"max_epochs": max_epochs, "accelerator": "cpu", "batch_size": 32, **plan, **quiet}
    takes = inspect.signature(model.train).parameters
    passed_on = quiet if any(each.kind is each.VAR_KEYWORD for each in takes.values()) else {}
    wanted = {name: value for name, value in wanted.items() if name in {*takes, *passed_on}}
    with warnings.catch_warnings(), learned_numbers.NeuronsAwake():
        warnings.simplefilter("ignore")
        model.train(**wanted, plan_kwargs=plan)
