"""What the kit takes from the libraries, by name, and which versions of them are installed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import inspect
import platform
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch
import scvi
import torch
from anndata import AnnData
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets import Widget
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from scvi.model.base import BaseModelClass
from scvi.module.base import BaseModuleClass

# What the kit takes from these packages is looked up by name, and the defaults of what can be
# called are written down.
PACKAGES = ("anndata", "harmonypy", "lightning", "mudata", "scanpy", "scvi", "torch", "torchinfo")

# Newer torch is allowed than the one that a snapshot was taken with (requirements/tested.txt), so
# of this only the names.
NAMES_ALONE = ("torch",)


def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that the kit and its tests stand on."""
    found = {"Python": platform.python_version()}
    waiting = [("scvi-teaching-kit", frozenset({"test", "sweep"}))]
    seen = set()
    while waiting:
        package, extras = waiting.pop()
        name = canonicalize_name(package)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = Version(importlib.metadata.version(name)).public
            # torch brings the libraries of a graphics card on some machines, and alone decides on
            # them.
            waiting += () if name == "torch" else _required(name, extras)
    del found["scvi-teaching-kit"]
    return dict(sorted(found.items()))


def _required(package: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield what a package asks for here, with the extras of that."""
    for line in importlib.metadata.requires(package) or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            yield needed.name, frozenset(needed.extras)


def used(files: Iterable[Path]) -> tuple[dict[str, str], list[Any]]:
    """Look up what Python files use of ``PACKAGES``.

    Parameters
    ----------
    files
        Helpers and lessons.

    Returns
    -------
    dict, list
        What each name stands for: "class", "module", ..., or "missing". And all that can be called,
        but for ``NAMES_ALONE``.
    """
    dotted, private = set(), set()
    for file in files:
        found = _Names(ast.parse(file.read_text("utf-8")))
        dotted |= found.dotted
        private |= found.private
    # scvi.autotune imports Ray, which comes with `make lab ARGS=--sweep` alone.
    dotted = {name for name in dotted if not name.startswith("scvi.autotune")}
    things = {name: _resolve(name) for name in sorted(dotted)}
    kinds = {name: _kind(thing) for name, thing in things.items()}
    kinds |= {f"a private member, {name}": _owner(name) for name in sorted(private)}
    called = [
        thing
        for name, thing in things.items()
        if callable(thing) and name.partition(".")[0] not in NAMES_ALONE
    ]
    return kinds, called


class _Names(ast.NodeVisitor):
    """The full names from ``PACKAGES`` that a file uses, and private members of others' objects."""

    def __init__(self, tree: ast.Module) -> None:
        self.dotted: set[str] = set()
        self.private: set[str] = set()
        self.imported: dict[str, str] = {}
        self.own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            if name.name.partition(".")[0] in PACKAGES:
                root = name.name if name.asname else name.name.partition(".")[0]
                self.imported[name.asname or root] = root
                self.dotted.add(name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and node.module.partition(".")[0] in PACKAGES:
            for name in node.names:
                self.imported[name.asname or name.name] = f"{node.module}.{name.name}"
                self.dotted.add(f"{node.module}.{name.name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        first, *rest = ast.unparse(node).split(".")
        if first in self.imported and all(part.isidentifier() for part in rest):
            self.dotted.add(".".join([self.imported[first], *rest]))
            return
        if re.match("_[^_]", node.attr) and first not in {"self", "cls", *self.own}:
            self.private.add(node.attr)
        self.generic_visit(node)


MISSING = object()


def _resolve(name: str) -> Any:
    """Return what a full name stands for: from the longest part of it that can be imported on."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError):
            thing = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                thing = getattr(thing, part, MISSING)
            return thing
    return MISSING


def _kind(thing: Any) -> str:
    if thing is MISSING:
        return "missing"
    if inspect.isclass(thing):
        return "class"
    if inspect.ismodule(thing):
        return "module"
    return "can be called" if callable(thing) else type(thing).__name__


def _owner(name: str) -> str:
    """Say which of the objects that the kit handles has a private member."""
    weight = torch.nn.Parameter(torch.rand(1))
    loss = torch.nn.functional.binary_cross_entropy(weight, torch.ones(1))
    trainer = lightning.pytorch.Trainer(logger=False, enable_checkpointing=False)
    owners = {
        "of a model": BaseModelClass,
        "of the class SCVI": scvi.model.SCVI,
        "of a module": BaseModuleClass,
        "of early stopping": scvi.train.LoudEarlyStopping(monitor="loss", warmup_epochs=0),
        "of Lightning's loop over epochs": trainer.fit_loop,
        "of IPython's shell": InteractiveShell,
        "of a widget": Widget,
        "of a node that PyTorch keeps for gradients": loss.grad_fn,
        "of one that joins tensors": torch.cat([weight, weight]).grad_fn,
        "of a parameter": weight,
        "of cells x genes": AnnData,
    }
    return next((owner for owner, thing in owners.items() if hasattr(thing, name)), "missing")
