"""Whether the tools for anatomy and loss are right for every model that scvi-tools exports.

Each model is built with its defaults on a hundred real cells. What a tool says is held against a
witness that knows nothing of the tool; where a tool has nothing to say, its reason is kept.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.utils.capture import capture_output
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass

from helpers import environment, markdown
from helpers.data import datasets
from helpers.layers import architecture, architecture_drawing, descriptions, model_map
from helpers.loss import loss_ledger, terms_by_hand
from helpers.paths import RESULTS
from helpers.proteins import totalvi
from helpers.training import checkpoints, model_arguments, runs
from helpers.training.minibatches import UntraceableModelError
from studies import keeping, states_witness
from studies.catalogue import Study

STUDY = Study(
    name="conformance",
    question="Are the tools for layers and loss right for every model of scvi-tools?",
    minutes=10,
    writes=("docs/results/conformance.csv", "docs/results/conformance.md"),
    both_tracks=True,
)

FILE, PAGE = RESULTS / "conformance.csv", RESULTS / "conformance.md"

EPOCHS = 3
N_GENES = 150

# 4-byte floats; a ledger or a recomputed loss that is off by more than this share is wrong.
ROUNDING = 1e-4

RIGHT, PARTLY, REFUSED, WRONG = "right", "partly", "refused", "WRONG"

TOOLS = {
    "layers": "`hidden_layers` counts the layers of each network",
    "states": (
        "`module_table` says which numbers train; two epochs without weight decay change\n  these "
        "and no others"
    ),
    "ledger": "the terms of `ledger` add up to the loss that scvi-tools logs",
    "by hand": "`by_hand` gives for each cell what the module gives",
    "drawing": "`draw` makes a figure with a description",
    "resume": "a training that breaks off goes on, and ends bit for bit as without the break",
    "save and load": "`load_or_train` and `load_model` give back the weights that were trained",
}


# Numbers that training changes without a gradient, which is all that the anatomy sees.
CHANGED_BY_THE_PLAN = {
    ("CellAssign", "delta_log"): "the training plan keeps these numbers above a minimum by hand",
    ("VIVS", "xy_module.dense1, xy_module.norm1, xy_module.dense_out"): (
        "trained in a second phase; what is read is the first"
    ),
}

BY_HAND = {"TOTALVI": totalvi.by_hand}


class AnswerError(Exception):
    """Ends the look at one tool with what is to be kept of it."""

    def __init__(self, verdict: str, note: str = "") -> None:
        super().__init__(note)
        self.verdict, self.note = verdict, note


class _BrokenOffError(RuntimeError):
    """Ends a training on purpose."""


# --- one model ----------------------------------------------------------------------------------


def look_at(name: str) -> pd.DataFrame:
    """Try each tool on a model, and return one row per tool: verdict, note and seconds."""
    rows = []
    with isolate_rng(), warnings.catch_warnings(), capture_output():
        warnings.simplefilter("ignore")
        try:
            subject = _Subject(name)
        except AnswerError as answer:
            rows = [(tool, answer.verdict, answer.note, 0.0) for tool in TOOLS]
        else:
            for tool, look in LOOKS.items():
                start = time.perf_counter()
                verdict, note = _asked(look, subject)
                rows.append((tool, verdict, note, time.perf_counter() - start))
    table = pd.DataFrame(rows, columns=["tool", "verdict", "note", "seconds"])
    return table.assign(model=name, version=importlib.metadata.version("scvi-tools"))


def _asked(look: Callable[[_Subject], str], subject: _Subject) -> tuple[str, str]:
    try:
        return RIGHT, look(subject)
    except AnswerError as answer:
        return answer.verdict, answer.note
    except (ValueError, TypeError, UntraceableModelError) as error:
        # A refusal says what is wrong. Anything else that is raised is a fault of the tool.
        return REFUSED, re.sub(r"\S*/model\.pt", "model.pt", str(error).partition(". ")[0])
    except Exception as error:
        return WRONG, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


class _Subject:
    """A model, made as often as it is needed, always with the same weights."""

    def __init__(self, name: str) -> None:
        if name in model_map.NO_RECIPE:
            raise AnswerError(REFUSED, f"not tried: {model_map.NO_RECIPE[name]}")
        self.name = name
        self._trained: BaseModelClass | None = None
        try:
            self.new()
        except Exception as error:
            raise AnswerError(REFUSED, f"not built: {str(error).partition('. ')[0]}") from None

    def new(self) -> BaseModelClass:
        environment.prepare(seed=0)
        return model_map.build(self.name, _cells())

    def settings(self) -> dict[str, Any]:
        """Return a short training; the warm-up ends in it, where the model takes one."""
        model, warm_up = self.new(), {"n_epochs_kl_warmup": 2}
        if "n_epochs_kl_warmup" in model_arguments.of_train(model):
            return {"max_epochs": EPOCHS, **warm_up}
        if "n_epochs_kl_warmup" in model_arguments.of_plan(model):
            return {"max_epochs": EPOCHS, "plan_kwargs": warm_up}
        return {"max_epochs": EPOCHS}

    def trained(self) -> BaseModelClass:
        if self._trained is None:
            model = self.new()
            runs.train(model, "default", folder=None, **self.settings())
            self._trained = model
        return self._trained


def _layers(subject: _Subject) -> str:
    counted = architecture.hidden_layers(subject.new())
    return ", ".join(f"{network} {layers}" for network, layers in counted.items())


def _states(subject: _Subject) -> str:
    table = states_witness.witness(subject.new()).reset_index()
    off = ", ".join(table.loc[~table["agrees"], "path"].head(3))
    if off:
        why = CHANGED_BY_THE_PLAN.get((subject.name, off))
        raise AnswerError(PARTLY if why else WRONG, f"{off}: {why}" if why else off)
    return f"{int(table['changed'].sum()):,} numbers changed"


def _ledger(subject: _Subject) -> str:
    table = loss_ledger.ledger(subject.trained())
    worst = float((table["residual"] / table["train_loss"]).abs().max())
    if worst > ROUNDING:
        raise AnswerError(PARTLY, f"says that up to {worst:.1%} of the loss has no name")
    return f"off by at most {worst:.0e} of the loss"


def _by_hand(subject: _Subject) -> str:
    table = BY_HAND.get(subject.name, terms_by_hand.by_hand)(subject.trained())
    pairs = [name for name in table if f"{name}_of_module" in table]
    worst = max(
        float((table[name] - table[f"{name}_of_module"]).abs().max() / table[name].abs().max())
        for name in pairs
    )
    if worst > ROUNDING:
        raise AnswerError(WRONG, f"off by {worst:.1e} of the largest value")
    return f"off by at most {worst:.0e} of the largest value"


def _drawing(subject: _Subject) -> str:
    drawn = architecture_drawing.draw(subject.new())
    if not drawn.alt:
        raise AnswerError(WRONG, "no description")
    descriptions.explain(subject.new())
    return ""


def _resume(subject: _Subject) -> str:
    whole, model = subject.trained(), subject.new()
    settings = subject.settings()
    with tempfile.TemporaryDirectory() as folder:
        with _broken_off(epoch=EPOCHS - 1), contextlib.suppress(_BrokenOffError):
            runs.train(model, "default", folder=Path(folder), **settings)
        if not any(Path(folder).iterdir()):
            raise AnswerError(REFUSED, "no progress is kept: the run cannot be repeated")
        model = subject.new()
        runs.train(model, "default", folder=Path(folder), **settings)
    _require_equal(whole, model)
    return ""


@contextlib.contextmanager
def _broken_off(epoch: int) -> Iterator[None]:
    """Let any training end with an error when it begins an epoch, counted from 0."""
    original = _FitLoop.advance

    def advance(loop: Any) -> None:
        if loop.trainer.current_epoch == epoch:
            raise _BrokenOffError
        original(loop)

    _FitLoop.advance = advance
    try:
        yield
    finally:
        _FitLoop.advance = original


def _save_and_load(subject: _Subject) -> str:
    model = subject.trained()
    settings = subject.settings()
    with tempfile.TemporaryDirectory() as folder:
        model.save(str(Path(folder, "model")), overwrite=True)
        loaded = checkpoints.load_model(Path(folder, "model"), model.adata)
        _require_equal(model, loaded)
        kept = subject.new()
        runs.load_or_train(kept, "default", folder=Path(folder), **settings)
        again = subject.new()
        found = runs.load_checkpoint(again, "default", folder=Path(folder), **settings)
        if found is None:
            raise AnswerError(REFUSED, "load_or_train keeps no checkpoint; model.save does")
        _require_equal(kept, again)
    return ""


def _require_equal(one: BaseModelClass, other: BaseModelClass) -> None:
    weights, others = one.module.state_dict(), other.module.state_dict()
    off = [
        name
        for name in weights
        if not torch.equal(torch.nan_to_num(weights[name]), torch.nan_to_num(others[name]))
    ]
    if off:
        raise AnswerError(WRONG, f"other weights in {off[0]}")
    lengths = [
        {name: len(column) for name, column in model.history.items()} for model in (one, other)
    ]
    if lengths[0] != lengths[1]:
        raise AnswerError(WRONG, "another history")


LOOKS: dict[str, Callable[[_Subject], str]] = {
    "layers": _layers,
    "states": _states,
    "ledger": _ledger,
    "by hand": _by_hand,
    "drawing": _drawing,
    "resume": _resume,
    "save and load": _save_and_load,
}


@functools.cache
def _cells() -> model_map.Cells:
    """Return the cells with the genes that have most counts: widths do not matter here.

    Each recipe copies what it takes.
    """
    return model_map.some_cells(
        *(_most_counted(load()) for load in (datasets.load_cortex, datasets.load_citeseq))
    )


def _most_counted(adata: Any) -> Any:
    totals = np.asarray(adata.layers["counts"].sum(axis=0)).ravel()
    return adata[:, np.sort(np.argsort(-totals, kind="stable")[:N_GENES])].copy()


# --- the page -----------------------------------------------------------------------------------


def page(table: pd.DataFrame) -> str:
    """Write what was found as a page.

    Parameters
    ----------
    table
        One row per version of scvi-tools, model and tool.

    Returns
    -------
    str
        Markdown: what is asked, the counts, and for each version one row per model.
    """
    parts = [
        "# Every model of scvi-tools, and what the kit says of it",
        f"{keeping.written_by(STUDY.name)} Each model is built with its\ndefaults on "
        f"{model_map.N_CELLS} real cells x {N_GENES} genes and trained for {EPOCHS} epochs. What a "
        "tool says\nis held against a witness that does not use it.",
        "\n".join(f"- **{tool}**: {question}." for tool, question in TOOLS.items()),
    ]
    for version, rows in table.groupby("version", sort=True):
        parts += [f"## scvi-tools {version}", _counts(rows), _verdicts(rows), "Why not:"]
        parts.append(_notes(rows[rows["verdict"] != RIGHT]))
    return "\n\n".join(parts) + "\n"


def _counts(rows: pd.DataFrame) -> str:
    counted = rows["verdict"].value_counts()
    said = ", ".join(f"{counted[verdict]} {verdict}" for verdict in counted.index)
    return f"{rows['model'].nunique()} models, {len(rows)} answers: {said}."


def _verdicts(rows: pd.DataFrame) -> str:
    wide = rows.pivot(index="model", columns="tool", values="verdict")[list(TOOLS)]
    wide = wide.sort_index(key=lambda names: names.str.lower())
    return markdown.table(["model", *TOOLS], wide.reset_index().to_numpy())


def _notes(rows: pd.DataFrame) -> str:
    """Return one line per model and reason, with the tools that gave it."""
    lines = []
    for (model, note), same in rows.groupby(["model", "note"], sort=False):
        lines.append([model, ", ".join(same["tool"]), note])
    return markdown.table(["model", "tools", "reason"], lines)


def main() -> int:
    """Look at every model with this version of scvi-tools, and write table and page.

    Return 1 if a tool was wrong in silence.
    """
    version = importlib.metadata.version("scvi-tools")
    found = keeping.make(STUDY.name, {"version": [version], "model": _names()}, _one)
    others = pd.DataFrame()
    if FILE.exists():
        kept = pd.read_csv(FILE, comment="#", keep_default_na=False, dtype={"version": str})
        others = kept[kept["version"] != version]
    table = pd.concat([others, found], ignore_index=True).fillna({"note": ""})
    keeping.write(STUDY.name, table, "Models as scvi-tools exports them, seed 0", ("torch",))
    PAGE.write_text(page(table), "utf-8")
    print(f"{PAGE.name} is written")
    return int((found["verdict"] == WRONG).any())


def _names() -> list[str]:
    return sorted(model_map.exported_models(), key=str.lower)


def _one(version: str, name: str) -> pd.DataFrame:
    return look_at(name)
