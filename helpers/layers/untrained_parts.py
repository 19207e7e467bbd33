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
        a setting of the constructor under which it trains, found by building such modules (empty if
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

    To build a model may take long, as some learn a prior from the cells; to build its module does
    not. So a setting that the model hands on to its module is tried on that alone. Models are built
    with the settings that a module alone cannot be tried on, until every part is explained.
    """
    found: dict[str, str] = {}
    if not parts:
        return found
    with isolate_rng(), warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        modules = _Modules(model)
        batch = minibatches.minibatch(model)
        for build in (modules.module_with, modules.model_with):
            for name, value in _other_settings(model, modules.given):
                wanted = [part for part in parts if part not in found]
                if not wanted:
                    break
                # Some combinations do not exist; what cannot be built explains nothing.
                with contextlib.suppress(Exception):
                    used = _used(wanted, build(name, value), batch)
                    found |= dict.fromkeys(used, f"{name}={value!r}")
    return found


class _Modules:
    """Builds modules like that of a model, with one other setting.

    Parameters
    ----------
    model
        A scvi-tools model with its data. It is built once more, to see what its module is given.

    Attributes
    ----------
    given
        What the model was built with, by name.
    arguments
        What its module was given, by name.
    tried
        The settings that a module was built with.
    """

    def __init__(self, model: BaseModelClass) -> None:
        self.model = model
        self.family = type(model.module)
        self.parameters = inspect.signature(self.family.__init__).parameters
        self.given = _given(model)
        self.arguments: dict[str, Any] = {}
        self.tried: set[Setting] = set()
        with self._noting_arguments():
            _built_again(model, self.given)

    @contextlib.contextmanager
    def _noting_arguments(self) -> Iterator[None]:
        original, own = self.family.__init__, "__init__" in vars(self.family)

        def noted(module: Any, *args: Any, **kwargs: Any) -> None:
            bound = inspect.signature(original).bind(module, *args, **kwargs)
            for name, value in [*bound.arguments.items()][1:]:
                more = self.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                self.arguments |= value if more else {name: value}
            original(module, *args, **kwargs)

        self.family.__init__ = noted
        try:
            yield
        finally:
            if own:
                self.family.__init__ = original
            else:
                del self.family.__init__

    def module_with(self, name: str, value: Any) -> nn.Module:
        """Return a module like that of the model, but for one of its arguments.

        Raises
        ------
        ValueError
            If the model does not hand this setting on as it is, or the module cannot be built.
        """
        # What the model is not asked for, it hands on under the same name, or decides itself.
        own = name in self.given or name not in self.arguments
        if name not in self.parameters or not own or not self._is_handed_on(name):
            raise ValueError(f"The model does not hand {name} on to its module.")
        module = self.family(**{**self.arguments, name: value})
        self.tried.add((name, value))
        return module

    def _is_handed_on(self, name: str) -> bool:
        return bool(self.arguments.get(name) == self.given.get(name))

    def model_with(self, name: str, value: Any) -> nn.Module:
        """Return the module of a model that differs from this one in a setting.

        Raises
        ------
        ValueError
            If a module was tried with it before, or the model cannot be built.
        """
        if (name, value) in self.tried:
            raise ValueError(f"A module was tried with {name}={value!r}.")
        return minibatches.copy_of_module(_built_again(self.model, {**self.given, name: value}))


def _built_again(model: BaseModelClass, given: dict[str, Any]) -> BaseModelClass:
    """Build a model of the same data with these arguments.

    The data may have been registered for another model since; this one has them as they were.
    """

    class Again(type(model)):  # type: ignore[misc]
        def _get_most_recent_anndata_manager(self, *_: Any, **__: Any) -> Any:
            return model.adata_manager

    return Again(model.adata, **given)


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
