"""How many hidden layers a scvi-tools model has, counted in the model itself.

``helpers.layers.model_anatomy`` says what counts as one.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from scvi.model.base import BaseModelClass

from helpers.layers.model_anatomy import read

SIZES = ["modules", "parameters"]


def hidden_layers(model: BaseModelClass) -> dict[str, int]:
    """Count the hidden layers of each network that trains.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    dict
        Hidden layers by network, in the order in which the networks run. The network that makes the
        sample from which the data are decoded is the ``encoder``; the one from there to the
        distribution of the data is the ``decoder``. Where there are several of a kind, and for all
        others, the name is that of the module's attribute.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        If there is nothing to trace, or no way to; the message says what to pass instead.
    """
    return read(model).hidden_layers


def module_table(model: BaseModelClass) -> pd.DataFrame:
    """Return every module that a model is made of, and what a training step does with it.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    DataFrame
        A row a leaf module, then a row for each bare parameter (one that such a module does not
        own): ``path``; ``network``; ``role`` (hidden, head, normalisation, activation, dropout,
        embedding, parameter; unknown if it never ran and nothing like it did); ``in`` and ``out``
        (columns); ``parameters``, which add up to those of the model; ``state`` (trained, frozen,
        ignored, idle). If some are trained only in part, there is also ``held``: how many
        parameters of each stay as they are.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    return read(model).table


def linear_layers(model: BaseModelClass) -> pd.DataFrame:
    """Count the learned linear maps of a model.

    The table tells what they are, and what a training step does with them.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    DataFrame
        A row a network and role (hidden, head), a column a state: how many there are. Layers in
        parallel branches are counted one by one, so there may be more hidden ones than
        ``hidden_layers`` says.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    table = module_table(model)
    linear = table[table["role"].isin(["hidden", "head"])]
    counts = linear.groupby(["network", "role", "state"], sort=False).size()
    return counts.unstack(fill_value=0).rename_axis(columns=None).sort_index()


def parameters_by_state(model: BaseModelClass) -> pd.DataFrame:
    """Add up the parameters of a model by what a training step does with them.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    DataFrame
        A row a state, and one for ``all``: ``parameters`` and their ``share`` (a text in per cent).
        Single numbers are counted: of a module that is trained in part, the others are frozen. What
        multiplies nothing but zeros, such as the weight of a category or gene that no cell has,
        counts as ignored.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    sizes = read(model).parameters.copy()
    sizes["all"] = sum(value.numel() for value in model.module.parameters())
    share = (sizes / sizes["all"]).map("{:.0%}".format)
    return pd.DataFrame({"parameters": sizes, "share": share})


def compare(models: dict[Any, BaseModelClass]) -> pd.DataFrame:
    """Put the sizes of several models side by side.

    Parameters
    ----------
    models
        scvi-tools models with their data, by what they are called.

    Returns
    -------
    DataFrame
        A row a model, in the order given: the hidden layers of each network (missing if it has no
        such network), ``modules`` (rows of its module table), ``parameters``, and how many ``more``
        they are than in the row before, also as a share.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``, and if there are no models.
    """
    if not models:
        raise ValueError("There are no models to compare. What to do: give {'SCVI': model, ...}.")
    rows = []
    for model in models.values():
        anatomy = read(model)
        size = anatomy.table["parameters"].sum()
        rows.append({**anatomy.hidden_layers, "modules": len(anatomy.table), "parameters": size})
    networks = list(dict.fromkeys(name for row in rows for name in row if name not in SIZES))
    table = pd.DataFrame(rows, index=list(models), columns=[*networks, *SIZES])
    # Not every model has every network.
    table = table.astype({name: "Int64" for name in networks if table[name].isna().any()})
    table["more"] = table["parameters"].diff().astype("Int64")
    grown = table["parameters"].pct_change().map("{:.1%}".format)
    return table.assign(**{"more, %": grown.where(table["more"].notna(), "")})
