"""The architecture of a model in words."""

from __future__ import annotations

import pandas as pd
from scvi.model.base import BaseModelClass

from helpers.layers.model_anatomy import Anatomy, read
from helpers.layers.untrained_parts import parts_that_never_train


def summary(model: BaseModelClass) -> str:
    """Say what the summary of the model leaves out: its hidden layers, and where dropout is.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    str
        Two sentences, one a line.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    anatomy = read(model)
    return f"{trained_layers(anatomy)}\n{dropout(anatomy)}"


def explain(model: BaseModelClass) -> str:
    """Say how many hidden layers there are, where dropout is, and what never trains and why.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    str
        A few sentences, one a line.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    anatomy = read(model)
    parts = parts_that_never_train(model, anatomy).groupby(
        ["network", "state", "trains with"], sort=False
    )
    return "\n".join(
        [
            trained_layers(anatomy),
            dropout(anatomy),
            *(_why_unused(alike) for _, alike in parts),
            *frozen(anatomy),
            *_unreached(anatomy),
        ]
    )


def trained_layers(anatomy: Anatomy) -> str:
    """Say how many hidden layers each network has, and how wide they are."""
    parts = []
    for network, number in anatomy.hidden_layers.items():
        rows = anatomy.rows(network=network, role="hidden")
        widths = map(str, anatomy.widths(network=network))
        text = [f"{number}" if number else "none" if parts else "no"]
        if not parts:
            text.append("hidden layer" if number == 1 else "hidden layers")
        text += [f"of {size}"] if (size := " or ".join(widths)) else []
        text.append(f"in {_the(network)}")
        if len(rows) > number:
            text.append(f"({len(rows)} such layers, in branches side by side)")
        parts.append(" ".join(text))
    layers = anatomy.rows().query("role in ('hidden', 'head')")
    whole = layers["state"].eq("trained").all() and not anatomy.partly_trained
    does = "trains" if whole else "uses"
    return f"{anatomy.model} {does} {_listing(parts) or 'no network, only bare parameters'}."


def _why_unused(parts: pd.DataFrame) -> str:
    """Say what parts are, and why they do not train; one setting would use all of them."""
    one = len(parts) == 1
    hidden = parts["hidden layers"].sum(skipna=False)
    inside = []
    if pd.isna(hidden):
        inside = ["hidden layers unknown"]
    elif hidden:
        inside = [f"{hidden} hidden layer" + ("" if hidden == 1 else "s")]
    inside.append(f"{parts['parameters'].sum():,} parameters")
    if parts["state"].iloc[0] == "idle":
        does = "is built and never runs" if one else "are built and never run"
    else:
        does = (
            f"{'runs' if one else 'run'}, but nothing of {'it' if one else 'them'} reaches the loss"
        )
    setting = parts["trains with"].iloc[0]
    why = f"; {'it' if one else 'they'} would train with {setting}" if setting else ""
    return f"{_listing(list(parts['part']))} ({', '.join(inside)}) {does}{why}."


def frozen(anatomy: Anatomy) -> list[str]:
    """Say which numbers are used and held as they are, if any are."""
    sentences = []
    if size := anatomy.parameters.get("frozen", 0):
        where = _networks(anatomy, anatomy.numbers["frozen"] > 0)
        sentences.append(
            f"{size:,} parameters in {where} are frozen: they are used, and stay as they are."
        )
    if partly := anatomy.partly_trained:
        inside = anatomy.numbers.loc[partly]
        sentences.append(
            f"Modules that are trained in part: {len(partly)}, with {inside['trained'].sum():,} of "
            f"their {inside.to_numpy().sum():,} parameters. The gradient of the others is set to "
            "0: they stay as they are if weight_decay is 0."
        )
    return sentences


def _unreached(anatomy: Anatomy) -> list[str]:
    """Say how many single numbers in what is used do not reach the loss, if any do not."""
    unreached = anatomy.numbers["ignored"].where(anatomy.is_used.to_numpy(), 0)
    if not unreached.any():
        return []
    return [
        f"{unreached.sum():,} parameters in {_networks(anatomy, unreached > 0)} are single numbers "
        "of larger ones, and nothing of them reaches the loss, as of the weights of a category "
        "that no cell has."
    ]


def _networks(anatomy: Anatomy, rows: pd.Series) -> str:
    """Name the networks of some rows of the table."""
    names = anatomy.table["network"][rows.to_numpy()].replace("", "the model").unique()
    return _listing([_the(name) for name in names])


def dropout(anatomy: Anatomy) -> str:
    """Say where dropout is, and how much of it."""
    found = {
        (f"{anatomy.trace.module.get_submodule(path).p:g}", network): None
        for path, network in anatomy.rows(role="dropout")[["path", "network"]].to_numpy()
    }
    if not found:
        return "There is no dropout."
    rates = _listing([f"{rate} in {_the(network)}" for rate, network in found])
    return f"Dropout is {rates}, and nowhere else."


def _the(network: str) -> str:
    return f"the {network}" if network in ("encoder", "decoder") else network


def _listing(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
