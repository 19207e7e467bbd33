"""Take down what the installed libraries are in the things that the kit relies on.

To be compared with another time or version track.

``python -m studies.api_snapshot FILE`` writes it into a JSON file. Each snapshot needs a process of
its own: what a library says when it is imported, it says once. Nothing is written down that another
processor or a busy machine would change.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import inspect
import json
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.paths import ROOT

with warnings.catch_warnings(record=True) as SAID_ON_IMPORT:
    warnings.simplefilter("always")
    import anndata as ad
    import harmonypy  # noqa: F401 -- for what it says
    import numpy as np
    import pandas as pd
    import scanpy  # noqa: F401
    import scvi
    import torch
    import torchinfo
    from ipywidgets import Widget
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import Version
    from scvi.model.base import BaseModelClass
    from scvi.module.base import BaseModuleClass

    from helpers import environment, genes, training
    from helpers.data import datasets
    from helpers.layers import architecture, model_map

Snapshot = dict[str, dict[str, Any]]


# What the kit takes from these packages is looked up by name, and the defaults of what can be
# called are written down.
PACKAGES = ("anndata", "harmonypy", "lightning", "mudata", "scanpy", "scvi", "torch", "torchinfo")

# Newer torch is allowed than the one that a snapshot was taken with (requirements/tested.txt), so
# of this only the names.
NAMES_ALONE = ("torch",)

# Warnings that depend on the processors, the graphics card or the job scheduler,
OF_THE_MACHINE = re.compile("does not have many workers|available but not used|srun|Tensor Cores")
# on when memory is cleared, or on whether Python had compiled a file before.
OF_THE_MOMENT = (ResourceWarning, SyntaxWarning)

# Numbers of the history that change smoothly with the weights, unlike an accuracy.
SMOOTH = re.compile("loss|elbo|kl_")

EPOCHS = 2
# As many of the blood cells' 14,520 genes as TOTALVI needs to show all of its parts.
N_GENES = 400
# After gene number 79 there is a gap in the ranking, of 2 %: other processors, which rank by up to
# 0.2 % otherwise, choose the same.
N_SELECTED = 79
CELL_NUMBERS = (400, 700, 3_005, 20_000, 30_000, 1_000_000)


@dataclass(frozen=True)
class Subject:
    """A model that is looked at.

    Attributes
    ----------
    kind
        The name of its class in ``scvi.model``.
    cells
        Gives its cells.
    registered, built, trained
        What it is set up, built and trained with, besides defaults.
    """

    kind: str
    cells: Callable[[], ad.AnnData]
    registered: dict[str, Any] = field(default_factory=dict)
    built: dict[str, Any] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Any:
        """The class."""
        return getattr(scvi.model, self.kind)


def _blood() -> ad.AnnData:
    blood = datasets.load_citeseq()
    totals = np.asarray(blood.layers["counts"].sum(axis=0)).ravel()
    return blood[:, np.sort(np.argsort(-totals, kind="stable")[:N_GENES])].copy()


TYPES = {"labels_key": "cell_type"}
SUBJECTS = (
    Subject("SCVI", datasets.load_pbmc),
    Subject("LinearSCVI", datasets.load_pbmc),
    Subject("SCANVI", datasets.load_pbmc, {**TYPES, "unlabeled_category": "unknown"}),
    # By default it holds out no cells, and so has no curve of them.
    Subject("CondSCVI", datasets.load_pbmc, TYPES, trained={"train_size": 0.9}),
    Subject("PEAKVI", datasets.load_pbmc),
    Subject(
        "TOTALVI",
        _blood,
        {"protein_expression_obsm_key": "protein_expression", "batch_key": "batch"},
        # Fitted priors of the proteins take seconds, and change no part.
        {"empirical_protein_background_prior": False},
    ),
)


def take() -> Snapshot:
    """Take a snapshot of the libraries that are installed here.

    Returns
    -------
    dict
        For each kind of thing what there is, by where it is:

        ``versions``
            Of all packages that the kit and its tests stand on.
        ``models``
            Which scvi-tools exports.
        ``names``
            What helpers and lessons use of ``PACKAGES``, private names among them: class, function,
            ... or "missing".
        ``methods``
            Of each model: its module, its training plan, and what it is asked for, as the function
            that does it.
        ``defaults``
            Of each of these functions, and of what the kit calls by name: each parameter with its
            default.
        ``modules``
            Of each model: class, role, columns, parameters and state of each module.
        ``history keys``
            What training writes down.
        ``tables``
            Columns and dtypes of what a model returns.
        ``warnings``
            Each text that was raised, with the stages in which it was. No filter of the kit or of a
            library applies.
        ``epochs``
            How many a model is trained for by default, by number of cells.
        ``selected genes``
            Which genes ``seurat_v3`` chooses.
        ``numbers``
            Of a short training with seed 0. Other processors change their last digits.
    """
    said = _Said()
    said.add("import", SAID_ON_IMPORT)
    names, called = names_used(sorted([*ROOT.glob("helpers/*.py"), *ROOT.glob("notebooks/*.py")]))
    methods = {name: thing for subject in SUBJECTS for name, thing in _methods(subject)}
    called += [*methods.values(), scvi.train.Trainer]
    found: Snapshot = {
        "versions": versions(),
        "models": dict.fromkeys(sorted(model_map.exported_models()), "exported"),
        "names": names,
        "methods": {name: _function(thing) for name, thing in methods.items()},
        "defaults": dict(sorted((_function(thing), dict(_parameters(thing))) for thing in called)),
    }
    kinds = ("modules", "history keys", "tables", "numbers")
    found |= {kind: {} for kind in kinds}
    for subject in SUBJECTS:
        for kind, entries in _run(subject, said).items():
            found[kind] |= entries
    found["epochs"] = {f"{cells:,} cells": training.default_epochs(cells) for cells in CELL_NUMBERS}
    found["selected genes"] = _selected_genes(said)
    found["warnings"] = said.stages()
    return found


# --- what is installed, and what the kit takes from it --------------------------------------------


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


def names_used(files: Iterable[Path]) -> tuple[dict[str, str], list[Any]]:
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
    # scvi.autotune imports Ray, which comes with `make lab-sweep` alone.
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
        if re.match("_[^_]", node.attr) and first not in ("self", "cls"):
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
    loss = torch.nn.functional.binary_cross_entropy(
        torch.rand(1, requires_grad=True), torch.ones(1)
    )
    owners = {
        "of a model": BaseModelClass,
        "of the class SCVI": scvi.model.SCVI,
        "of a module": BaseModuleClass,
        "of a widget": Widget,
        "of a node that PyTorch keeps for gradients": loss.grad_fn,
    }
    return next((owner for owner, thing in owners.items() if hasattr(thing, name)), "missing")


METHODS = "(get|differential)_|setup_anndata$|train$"


def _methods(subject: Subject) -> Iterator[tuple[str, Any]]:
    """Yield what decides how a model of scvi-tools is built, trained and asked, by name."""
    family = subject.family
    yield f"{subject.kind}, the model", family
    yield f"{subject.kind}, its module", family._module_cls
    yield f"{subject.kind}, its training plan", family._training_plan_cls
    for name in filter(re.compile(METHODS).match, dir(family)):
        if callable(getattr(family, name)):
            yield f"{subject.kind}.{name}", getattr(family, name)


def _function(thing: Any) -> str:
    """Name a function by its package and class.

    Not by its file, in which nobody else looks for it.
    """
    package = (getattr(thing, "__module__", None) or "").partition(".")[0]
    return f"{package} {getattr(thing, '__qualname__', type(thing).__name__)}()"


def _parameters(thing: Any) -> Iterator[tuple[str, str]]:
    try:
        signature = inspect.signature(thing)
    except ValueError:  # written in C
        return
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            yield f"*{name}", "any others"
        elif name != "self":
            required = parameter.default is parameter.empty
            yield name, "to be given" if required else _text(parameter.default)


def _text(value: Any) -> str:
    """Write a value without what differs from run to run."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


# --- what a model does ----------------------------------------------------------------------------


class _Said:
    """The warnings that were raised, each with the stages in which it was."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            yield
        self.add(stage, raised)

    def add(self, stage: str, raised: Iterable[warnings.WarningMessage]) -> None:
        for warning in raised:
            text = normalised(str(warning.message))
            if issubclass(warning.category, OF_THE_MOMENT) or OF_THE_MACHINE.search(text):
                continue
            stages = self.found.setdefault(f"{warning.category.__name__}: {text}", [])
            if stage not in stages:
                stages.append(stage)

    def stages(self) -> dict[str, str]:
        return {text: ", ".join(stages) for text, stages in sorted(self.found.items())}


def normalised(message: str) -> str:
    """Return the text of a warning in one line, without what differs between machines and runs.

    Parameters
    ----------
    message
        As it was raised.

    Returns
    -------
    str
        Without colours, with ``…`` for addresses in memory and for folders.
    """
    message = re.sub(r"\x1b\[[0-9;]*m", "", message)
    message = re.sub("0x[0-9a-f]+", "…", message)
    message = re.sub(r"(?<![\w.:/])(/|[A-Z]:\\)[^\s'\"`]*[/\\]", "…/", message)
    return " ".join(message.split())


def _run(subject: Subject, said: _Said) -> Snapshot:
    """Set a model up, build it, look at it, train it, and ask it for results."""
    name = subject.kind
    environment.prepare(seed=0)
    adata = subject.cells()
    with said.during(f"{name}.setup_anndata"):
        subject.family.setup_anndata(adata, layer="counts", **subject.registered)
    with said.during(f"{name}()"):
        model = subject.family(adata, **subject.built)
    modules = {f"{name}: {where}": what for where, what in _modules(model)}
    with said.during(f"{name}.train"):
        model.train(
            max_epochs=EPOCHS,
            check_val_every_n_epoch=1,
            accelerator="cpu",
            enable_progress_bar=False,
            **subject.trained,
        )
    tables = {f"{name}: {where}": what for where, what in _tables(model, said)}
    history, numbers = {}, {}
    for key, table in model.history.items():
        column = pd.DataFrame(table).iloc[:, 0]
        history[f"{name}: {key}"] = f"{len(column)} rows, by {column.index.name}"
        if SMOOTH.search(key):
            numbers[f"{name}: {key} at the end"] = _rounded(column.iloc[-1])
    latent = np.abs(model.get_latent_representation())
    numbers[f"{name}: latent space, mean size"] = _rounded(latent.mean())
    return {"modules": modules, "history keys": history, "tables": tables, "numbers": numbers}


def _rounded(value: Any) -> float:
    return float(f"{float(value):.6g}")


def _modules(model: BaseModelClass) -> Iterator[tuple[str, str]]:
    for row in architecture.module_table(model).to_dict("records"):
        path = row["path"]
        kind = dict(model.module.named_modules()).get(path)
        columns = f"{_number(row['in'])} to {_number(row['out'])}"
        what = "bare parameter" if kind is None else type(kind).__name__
        yield (
            path,
            f"{what} in {row['network'] or 'no network'}, {row['role']}, {columns}, "
            f"{row['parameters']:,} parameters, {row['state']}",
        )
    total = sum(value.numel() for value in model.module.parameters())
    yield "all", f"{total:,} parameters"
    counted = torchinfo.summary(model.module, verbose=0)
    yield "all, by torchinfo", f"{counted.total_params:,} parameters"


def _number(columns: Any) -> str:
    return "?" if pd.isna(columns) else str(columns)


# What lessons ask a trained model for; which of these a model has differs.
QUESTIONS: dict[str, dict[str, Any]] = {
    "get_normalized_expression": {},
    "differential_expression": {"mode": "change", "n_samples_overall": 100, "silent": True},
    "get_latent_representation": {},
    "get_reconstruction_error": {},
    "get_elbo": {},
}


def _tables(model: BaseModelClass, said: _Said) -> Iterator[tuple[str, str]]:
    """Ask the model for what lessons ask it for, and yield what each column is."""
    half = np.arange(model.adata.n_obs) < model.adata.n_obs // 2
    for question, options in QUESTIONS.items():
        method = getattr(model, question, None)
        if method is None:
            continue
        if question == "differential_expression":
            options = options | {"idx1": half, "idx2": ~half}
        with said.during(f"{type(model).__name__}.{question}"):
            answer = method(**options)
        for position, part in enumerate(answer if isinstance(answer, tuple) else (answer,)):
            where = f"{question}[{position}]" if isinstance(answer, tuple) else question
            yield from _described(where, part)


def _described(where: str, answer: Any) -> Iterator[tuple[str, str]]:
    if isinstance(answer, pd.DataFrame):
        yield f"{where}, index", str(answer.index.dtype)
        if answer.shape[1] > 100:  # one column per gene
            kinds = sorted({str(kind) for kind in answer.dtypes})
            yield where, f"{len(answer)} x {answer.shape[1]}, {', '.join(kinds)}"
        else:
            for column, kind in answer.dtypes.items():
                yield f"{where}, column {column}", str(kind)
    elif isinstance(answer, np.ndarray):
        yield where, f"{' x '.join(map(str, answer.shape))}, {answer.dtype}"
    elif isinstance(answer, dict):
        yield from ((f"{where}, key {key}", type(value).__name__) for key, value in answer.items())
    else:
        yield where, type(answer).__name__


def _selected_genes(said: _Said) -> dict[str, str]:
    with said.during("reading and choosing cells"):
        pbmc = datasets.load_pbmc()[::2].copy()
    pbmc = datasets.load_pbmc()
    with said.during("scanpy.pp.highly_variable_genes"):
        genes.select(pbmc, N_SELECTED)
    return dict.fromkeys(sorted(pbmc.var_names), "selected")


def main(file: Path) -> int:
    """Take a snapshot and write it; return the exit status."""
    file.write_text(json.dumps(take(), ensure_ascii=False), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
