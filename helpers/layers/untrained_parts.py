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
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass

from helpers.layers.model_anatomy import USED, Anatomy, read


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

    Models that differ from this one in a single setting are built and traced, until every part is
    explained or the settings are used up.
    """
    found: dict[str, str] = {}
    if not parts:
        return found
    with isolate_rng(), warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        given = _given(model)
        for name, value in _other_settings(model, given):
            # Some combinations do not exist; what cannot be built explains nothing.
            with contextlib.suppress(Exception):
                table = read(type(model)(model.adata, **{**given, name: value})).table
                used = table.loc[table["state"].isin(USED), "path"]
                for part in parts:
                    if any(_is_within(path, part) for path in used):
                        found.setdefault(part, f"{name}={value!r}")
            if len(found) == len(parts):
                break
    return found


def _given(model: BaseModelClass) -> dict[str, Any]:
    """Return the arguments that the model was built with."""
    arguments = model.init_params_
    return arguments["non_kwargs"] | {
        name: value for more in arguments["kwargs"].values() for name, value in more.items()
    }


def _other_settings(model: BaseModelClass, given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
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
