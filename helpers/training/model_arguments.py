"""What the training of a model can be told, read from its own code.

Models differ: one takes the learning rate in ``train``, another in ``plan_kwargs``, a third not at
all. What a preset says reaches the model where the model takes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import scvi
from lightning.pytorch import LightningModule
from scvi.model.base import BaseModelClass

from helpers.training.presets import LEARNING_RATE_SHARES, asked_of_the_plan


def fit(
    model: BaseModelClass, merged: dict[str, Any], asked: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Put the arguments of a training where the model takes them.

    Parameters
    ----------
    model
        The model that will be trained.
    merged
        What ``presets.merge`` returned: all arguments, with those of the plan in ``plan_kwargs``.
    asked
        Those of them that the caller gave: they reach the model in any case.

    Returns
    -------
    tuple
        The arguments for ``model.train``, and the names of those of the preset that the model does
        not take. What ``train`` takes itself is not left in ``plan_kwargs``, where it would be
        overwritten without a word.
    """
    takes = of_train(model)
    of_its_plan = of_plan(model) if "plan_kwargs" in takes else frozenset()
    asked_plan = asked_of_the_plan(asked)
    train, plan, left_out = {}, {}, []
    for name, value in merged["plan_kwargs"].items():
        if name in takes:
            train[name] = value
        elif name in asked_plan or name in of_its_plan:
            plan[name] = value
        else:
            left_out.append(name)
    for name, value in merged.items():
        # The course of the learning rate is set from a callback.
        if name in asked or ("callbacks" if name in LEARNING_RATE_SHARES else name) in takes:
            train[name] = value
        elif name != "plan_kwargs":
            left_out.append(name)
    train.pop("plan_kwargs", None)
    return train | ({"plan_kwargs": plan} if plan else {}), left_out


def of_train(model: BaseModelClass) -> frozenset[str]:
    """Return the names of the arguments that ``model.train`` takes, or hands on to its trainer."""
    own = [vars(model)["train"]] if "train" in vars(model) else []
    names, hands_on = _names([*own, *_defined(type(model), "train")])
    if hands_on:
        names |= _names(_defined(scvi.train.Trainer, "__init__"))[0]
    return frozenset(names)


def of_plan(model: BaseModelClass) -> frozenset[str]:
    """Return the names of the arguments that the training plan of a model takes."""
    plan = plan_class(model)
    return frozenset(_names(_defined(plan, "__init__"))[0] if plan else ())


def plan_class(model: BaseModelClass) -> type[LightningModule] | None:
    """Return the class of the training plan of a model, or None if it cannot be found.

    It is one that the code of ``train`` names itself, or else the one that the model declares.
    """
    for function in _defined(type(model), "train")[:1]:
        code = getattr(inspect.unwrap(function), "__code__", None)
        names = getattr(inspect.unwrap(function), "__globals__", {})
        for each in (names.get(name) for name in (code.co_names if code else ())):
            if inspect.isclass(each) and issubclass(each, LightningModule):
                return each
    return getattr(model, "_training_plan_cls", None)


def default_of(model: BaseModelClass, name: str) -> Any:
    """Return the default of an argument of ``model.train``, or None if it has none."""
    for function in _defined(type(model), "train"):
        parameter = inspect.signature(function).parameters.get(name)
        if parameter is not None:
            return None if parameter.default is parameter.empty else parameter.default
    return None


def _defined(kind: type, name: str) -> list[Callable[..., Any]]:
    """Return what a class and those that it is derived from call by a name, in Python's order."""
    found = [vars(each)[name] for each in kind.__mro__ if name in vars(each)]
    return [each for each in found if not getattr(each, "__isabstractmethod__", False)]


def _names(functions: Iterable[Callable[..., Any]]) -> tuple[set[str], bool]:
    """Return the arguments that functions of one name take, each from the one that it calls.

    And whether the last one that is called takes others, too, and hands them on.
    """
    names: set[str] = set()
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names |= {parameter.name for parameter in parameters if parameter.kind in named}
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return names, False
        # One that mentions no function of its own name does not call that of its parent.
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None and function.__name__ not in code.co_names:
            break
    return names, True
