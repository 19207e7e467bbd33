"""What torchinfo lists of a model in three usual ways, beside what a training step uses."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torchinfo
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass

from helpers.layers import architecture
from helpers.training import minibatches

# Deeper than the modules of any model of scvi-tools.
ALL_LEVELS = 20


def compare(model: BaseModelClass, default_depth: int = 3) -> pd.DataFrame:
    """List a model's modules at torchinfo's default depth, at all depths, and with real cells.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.
    default_depth
        How many levels torchinfo prints unless told otherwise.

    Returns
    -------
    DataFrame
        A row a leaf module: its ``path``; how ``default``, ``all levels`` and ``with cells`` list
        it (``Linear: 3-4`` is the fourth module on level 3), empty where they do not; and what
        happens to it ``in training``, as ``architecture.module_table`` finds.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``architecture.hidden_layers``.
    """
    table = architecture.module_table(model)
    table = table[table["role"] != "parameter"]
    # torchinfo runs the module that it is given: a copy, so that this one stays as it is.
    module = minibatches.copy_of_module(model)
    with isolate_rng():
        built = torchinfo.summary(module, depth=ALL_LEVELS, verbose=0)
        cells = [minibatches.minibatch(model, n_cells=8)]
        ran = torchinfo.summary(module, input_data=cells, depth=ALL_LEVELS, verbose=0)
    labels = {
        "default": _labels(built, default_depth),
        "all levels": _labels(built, ALL_LEVELS),
        "with cells": _labels(ran, ALL_LEVELS),
    }
    columns = {name: table["path"].map(shown).fillna("") for name, shown in labels.items()}
    listings = pd.DataFrame({"path": table["path"], **columns, "in training": table["state"]})
    return listings.set_index("path")


def count_linear(listings: pd.DataFrame) -> pd.Series:
    """Count the modules of the class ``Linear`` in each listing.

    Parameters
    ----------
    listings
        A row a module, as ``compare`` returns it.

    Returns
    -------
    Series
        A number for each listing.
    """
    listed = listings.drop(columns="in training")
    return listed.apply(lambda labels: labels.str.startswith("Linear").sum()).rename("Linear")


def _labels(summary: torchinfo.ModelStatistics, depth: int) -> dict[str, str]:
    """Return what torchinfo prints for each module down to a depth, by path."""
    return {
        _path(layer): f"{layer.class_name}: {layer.depth}-{layer.depth_index}"
        for layer in summary.summary_list
        if layer.depth <= depth
    }


def _path(layer: Any) -> str:
    names = []
    while layer is not None and layer.depth:
        names.append(layer.var_name)
        layer = layer.parent_info
    return ".".join(reversed(names))
