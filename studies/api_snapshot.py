"""Take down what the installed libraries are in the things that the kit relies on.

It is compared with that of another time or version track.

``python -m studies.api_snapshot FILE`` writes it into a JSON file. Each snapshot needs a process of
its own: what a library says when it is imported, it says once. Nothing is written down that another
processor or a busy machine would change.
"""

from __future__ import annotations

import contextlib
import inspect
import json
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
    import torchinfo
    from scvi.model.base import BaseModelClass

    from helpers import environment, genes, training
    from helpers.data import datasets
    from helpers.layers import architecture, model_map
    from studies import api_names

Snapshot = dict[str, dict[str, Any]]


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
    names, called = api_names.used(files_of_the_kit())
    methods = {name: thing for subject in SUBJECTS for name, thing in _methods(subject)}
    called += [*methods.values(), scvi.train.Trainer]
    found: Snapshot = {
        "versions": api_names.versions(),
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


def files_of_the_kit() -> list[Path]:
    """Return what may use the libraries: lessons, and all code but the commands."""
    folders = ("helpers", "studies", "publishing")
    code = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return sorted([*code, *(ROOT / "notebooks").glob("*.py")])


# --- how it is asked -----------------------------------------------------------------------------

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

    Its file is left out, since nobody else looks for it there.
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
