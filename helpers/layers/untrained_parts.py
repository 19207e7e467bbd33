"""What a model holds that never trains, and the setting that would make it train."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass
from torch import nn

from helpers.layers import learned_numbers
from helpers.layers.model_anatomy import ROUNDING, USED, Anatomy, read
from helpers.training import minibatches

# An argument of a constructor, and a value.
Setting = tuple[str, Any]


def unused(model: BaseModelClass) -> pd.DataFrame:
    """Return what is built and does not reach the loss, and which setting would make it train.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    DataFrame
        A row a part: its ``network``; its ``state`` (idle, ignored); the ``hidden layers`` in it
        (missing if it never ran and nothing like it did); its ``parameters``; and ``trains with``,
        a setting of the constructor under which it trains, found by building such a model (empty if
        no single setting does it).

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    return parts_that_never_train(model, read(model))


def _is_within(path: str, part: str) -> bool:
    return f"{path}.".startswith(f"{part}.")


def parts_that_never_train(model: BaseModelClass, anatomy: Anatomy) -> pd.DataFrame:
    """Return the table of ``unused``, for a model whose anatomy was read before."""
    rows = []
    for path, inside in unused_parts(anatomy):
        first = inside.iloc[0]
        # What never ran, and could not be tried as a whole, may have any number of them.
        known = first["state"] != "idle" or path in anatomy.trace.calls
        hidden = anatomy.hidden_layers_in(inside["path"]) if known else pd.NA
        rows.append([path, first["network"], first["state"], hidden, inside["parameters"].sum()])
    table = pd.DataFrame(rows, columns=["part", "network", "state", "hidden layers", "parameters"])
    settings = _settings_that_use(model, list(table["part"]))
    table["hidden layers"] = table["hidden layers"].astype("Int64")
    table["trains with"] = table["part"].map(settings).fillna("")
    return table


def unused_parts(anatomy: Anatomy) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the largest parts in which nothing reaches the loss, with their rows of the table.

    Parts without parameters are left out.
    """
    module, table = anatomy.trace.module, anatomy.table
    done: list[str] = []
    for path in [*(path for path, _ in module.named_modules() if path), *table["path"]]:
        inside = table.loc[[_is_within(each, path) for each in table["path"]]]
        covered = any(_is_within(path, part) for part in done)
        empty = not int(inside["parameters"].sum())
        if not (covered or empty or bool(inside["state"].isin(USED).any())):
            done.append(path)
            yield path, inside


def _settings_that_use(model: BaseModelClass, parts: list[str]) -> dict[str, str]:
    """Find, for parts that do not train, one setting of the constructor with which they do.

    Models that differ from this one in a single setting are built, until every part is explained or
    the settings are used up. To build a model may take long, as some learn a prior from the cells;
    to build its module does not. So each setting is first tried on the module alone, and models are
    built of those that promise something, and then of those that a module alone cannot be tried on.
    """
    found: dict[str, str] = {}
    if not parts:
        return found
    with isolate_rng(), warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        given = _given(model)
        settings = list(_other_settings(model, given))
        promised, unknown = _tried_on_the_module(model, given, settings, parts)
        for name, value in [*promised, *unknown]:
            wanted = [part for part in parts if part not in found]
            if not wanted:
                break
            if (name, value) in promised and not promised[name, value].intersection(wanted):
                continue
            # Some combinations do not exist; what cannot be built explains nothing.
            with contextlib.suppress(Exception):
                other = type(model)(model.adata, **{**given, name: value})
                used = _used(wanted, other.module, minibatches.minibatch(other))
                found |= dict.fromkeys(used, f"{name}={value!r}")
    return found


def _tried_on_the_module(
    model: BaseModelClass, given: dict[str, Any], settings: list[Setting], parts: list[str]
) -> tuple[dict[Setting, set[str]], list[Setting]]:
    """Return the settings that make a module like the model's use parts, and those not tried."""
    family, arguments = type(model.module), _arguments_of_the_module(model, given)
    known = inspect.signature(family.__init__).parameters
    batch = minibatches.minibatch(model)
    promised, unknown = {}, []
    for name, value in settings:
        used = None
        if name in known:
            with contextlib.suppress(Exception):
                used = _used(parts, family(**{**arguments, name: value}), batch)
        if used is None:
            unknown.append((name, value))
        elif used:
            promised[name, value] = used
    return promised, unknown


def _arguments_of_the_module(model: BaseModelClass, given: dict[str, Any]) -> dict[str, Any]:
    """Build the model once more, and return what its module is given."""
    family, arguments = type(model.module), {}
    original = family.__init__

    def noted(module: Any, *args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(original).bind(module, *args, **kwargs)
        if not arguments:
            _, *names = bound.signature.parameters
            for name in filter(bound.arguments.__contains__, names):
                more = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                arguments.update(bound.arguments[name] if more else {name: bound.arguments[name]})
        original(module, *args, **kwargs)

    own = "__init__" in vars(family)
    family.__init__ = noted
    try:
        type(model)(model.adata, **given)
    finally:
        if own:
            family.__init__ = original
        else:
            del family.__init__
    return arguments


def _used(parts: list[str], module: nn.Module, batch: dict[str, torch.Tensor]) -> set[str]:
    """Return in which of these parts of a module something reaches the loss."""
    gradients = learned_numbers.gradients(module.cpu().train(), batch)
    sizes = {name: float(value.abs().max()) for name, value in gradients.items()}
    enough = ROUNDING * max(sizes.values(), default=0.0)
    names = [name for name, size in sizes.items() if size > enough]
    return {part for part in parts if any(_is_within(name, part) for name in names)}


def _given(model: BaseModelClass) -> dict[str, Any]:
    """Return the arguments that the model was built with."""
    arguments = model.init_params_
    return arguments["non_kwargs"] | {
        name: value for more in arguments["kwargs"].values() for name, value in more.items()
    }


def _other_settings(model: BaseModelClass, given: dict[str, Any]) -> Iterator[Setting]:
    """Give each switch of the model, then of its module, in its other positions."""
    seen = set()
    for owner in (type(model), *type(model.module).__mro__):
        for name, parameter in inspect.signature(owner.__init__).parameters.items():
            if name in seen:
                continue
            seen.add(name)
            now = given.get(name, getattr(model.module, name, parameter.default))
            for value in _positions(inspect.formatannotation(parameter.annotation)):
                if value != now:
                    yield name, value


def _positions(annotation: str) -> list[Any]:
    """Read from an annotation which values a switch can take."""
    if annotation.strip("'\"") == "bool":
        return [True, False]
    literal = re.search(r"Literal\[(.*?)\]", annotation)
    return list(ast.literal_eval(f"[{literal[1]}]")) if literal else []
