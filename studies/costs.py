"""What set-up, single steps and lessons cost, and how good the class preset is.

All of it is measured on this machine and kept as JSON, from which a page and a picture are made.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import environment, paths, processes, training
from helpers.paths import RESULTS, ROOT
from studies import costs_page, keeping, presets
from studies.catalogue import Study

STUDY = Study(
    name="costs",
    question="What do set-up, steps and lessons cost, and is the class preset as good?",
    minutes=45,
    writes=("docs/results/costs.json", "docs/results/costs.md", "docs/results/costs.png"),
)

FILE = RESULTS / "costs.json"

# Each step is measured so often, all of them in turn, and the median counts: one slow moment of the
# machine is not in it.
ROUNDS = 3

# A step or lesson is marked where it takes more than so many times the CPU seconds of the last
# result, and so many more seconds: a step of a few hundredths of a second differs by a quarter from
# run to run.
SLOWER = 1.25
NOISE = 0.2

# What comes before a step, and the step: the calls of the lessons. Each runs in a process of its
# own.
PREPARE = "from helpers import environment; environment.prepare()"
CORTEX = f"{PREPARE}; from helpers import data, genes; adata = data.load_cortex()"
MODEL = (
    "from helpers import training; from helpers.training import shared_models; "
    "from helpers.expression import differential_expression; "
    "from helpers.latent import embeddings; "
    "model = training.load_or_train(shared_models.cortex_model())"
)
LATENT = f"{MODEL}; latent_space = model.get_latent_representation()"
STEPS = {
    "import scvi-tools": ("", "from helpers import training"),
    "load the cortex cells": (f"{PREPARE}; from helpers import data", "data.load_cortex()"),
    "select 2,000 genes": (CORTEX, "genes.select(adata)"),
    "latent representation": (MODEL, "model.get_latent_representation()"),
    "t-SNE": (LATENT, "embeddings.tsne(latent_space)"),
    "UMAP": (LATENT, "embeddings.umap(latent_space)"),
    "differential expression": (MODEL, 'differential_expression.one_vs_rest(model, "cell_type")'),
}

TIMED = """\
import time
{before}
cpu, wall = time.process_time(), time.perf_counter()
{work}
print("\\n", time.process_time() - cpu, time.perf_counter() - wall)
"""


# --- steps and lessons ----------------------------------------------------------------------------


def lesson_cost(lesson: Path, cores: int) -> dict[str, object]:
    """Run a lesson from a clean start, and measure it.

    Parameters
    ----------
    lesson
        The ``.ipynb`` of a lesson; it is not changed.
    cores
        How many processor cores it may use.

    Returns
    -------
    dict
        ``lesson``, ``cores``, and what ``processes.watch`` measures, with the start of the kernel.

    Raises
    ------
    subprocess.CalledProcessError
        If a cell of the lesson fails.
    """
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook"]
    with tempfile.TemporaryDirectory() as scratch:
        command += ["--log-level=ERROR", "--output-dir", scratch, str(lesson)]
        cost = processes.watch(command, cores)
    del cost["output"]
    return {"lesson": lesson.stem, "cores": cores, **cost}


def step_cost(name: str) -> dict[str, object]:
    """Run one step in a fresh process, and measure it.

    Parameters
    ----------
    name
        A key of ``STEPS``.

    Returns
    -------
    dict
        ``step``; ``CPU seconds`` and ``wall seconds`` of the step alone; ``peak MiB`` of the
        process, with what comes before the step.

    Raises
    ------
    subprocess.CalledProcessError
        If the step fails.
    """
    before, work = STEPS[name]
    code = TIMED.format(before=before, work=work)
    whole = processes.watch(
        [sys.executable, "-c", code], cwd=ROOT, env=processes.kernel_variables()
    )
    cpu, wall = map(float, whole["output"].splitlines()[-1].split())
    return {
        "step": name,
        "CPU seconds": cpu,
        "wall seconds": wall,
        "peak MiB": whole["peak MiB"],
    }


def step_costs() -> pd.DataFrame:
    """Return one row per step: the medians of ``ROUNDS`` runs of ``step_cost``."""
    rows = []
    for number in range(1, ROUNDS + 1):
        for name in STEPS:
            print(f"Measuring '{name}', round {number} of {ROUNDS} ...", flush=True)
            rows.append(step_cost(name))
    return pd.DataFrame(rows).groupby("step", sort=False).median().round(2).reset_index()


def lesson_costs() -> pd.DataFrame:
    """Return one row per lesson, run on one core, see ``lesson_cost``.

    A second core would have nothing to do: lessons use one thread.
    """
    rows = []
    for lesson in paths.lessons():
        print(f"Running {lesson.name} on one core ...", flush=True)
        rows.append(lesson_cost(lesson, cores=1))
    return pd.DataFrame(rows)


def set_up_cost() -> dict[str, object]:
    """Set up a fresh clone of the last commit, and measure it.

    Returns
    -------
    dict
        As from ``step_cost``; or ``step`` and ``not measured``, the reason. It needs the network,
        which may be away.
    """
    print("Setting up a fresh clone (some minutes) ...", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        clone = ["git", "clone", "--quiet", str(ROOT), "kit"]
        set_up = [sys.executable, "commands", "setup"]
        try:
            processes.watch(clone, cwd=scratch, stderr=subprocess.STDOUT)
            cost = processes.watch(set_up, cwd=Path(scratch, "kit"), stderr=subprocess.STDOUT)
        except OSError as error:
            return {"step": "set-up", "not measured": f"{error.filename}: {error.strerror}"}
        except subprocess.CalledProcessError as error:
            print(error.output)
            # The reason goes into a page, which names no folder of this machine.
            said = error.output.replace(scratch, "...").replace(str(ROOT), "...")
            return {"step": "set-up", "not measured": _reason(said)}
    del cost["output"]
    return {"step": "set-up", **cost}


def _reason(output: str) -> str:
    """Return the line in which a failed set-up or git says why."""
    said = [line for line in output.splitlines() if line.startswith(("setup: ", "fatal: "))]
    return said[-1] if said else "it failed without a word"


# --- all of it ----------------------------------------------------------------------------------


def gather(
    steps: pd.DataFrame, lessons: pd.DataFrame, pairs: pd.DataFrame, last: Path = FILE
) -> dict[str, Any]:
    """Gather all that was measured, with what it was measured with.

    Parameters
    ----------
    steps, lessons, pairs
        As from ``step_costs``, ``lesson_costs`` and ``presets.runs``.
    last
        The last results, to compare with.

    Returns
    -------
    dict
        What ``docs/results/costs.json`` holds: numbers, text, and lists of rows.
    """
    now = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} on {platform.machine()}",
        "versions": {name: importlib.metadata.version(name) for name in environment.PACKAGES},
        "presets": {preset: training.PRESETS[preset] for preset in presets.PRESETS},
        "data sets": {name: each.what for name, each in presets.DATA_SETS.items()},
        "steps": _rows(steps),
        "lessons": _rows(lessons),
        "preset runs": _rows(pairs.round(3)),
    }
    return now | {"comparison": compare_with_last(now, last)}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as JSON has it: a missing value is left out."""
    return [row.dropna().to_dict() for _, row in table.astype(object).iterrows()]


def compare_with_last(now: Mapping[str, Any], last: Path) -> dict[str, Any]:
    """Compare with the last results, if there are any.

    Returns
    -------
    dict
        ``with``, what the last results were measured with, and ``rows``, see ``compare``; or
        ``none``, why nothing is compared.
    """
    if not last.exists():
        return {"none": "There is no earlier result."}
    try:
        before = json.loads(last.read_text("utf-8"))
        versions = before["versions"]
        origin = (
            f"{before['date']}, Python {before['python']}, {before['platform']}, "
            f"scvi-tools {versions['scvi-tools']}, torch {versions['torch']}"
        )
        rows = compare(now, before)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = (
            f"The earlier result is damaged and cannot be read ({type(error).__name__}), so "
            "nothing is compared with it."
        )
        print(reason, file=sys.stderr)
        return {"none": reason}
    if not rows:
        return {"none": "The earlier result has no step and no lesson in common with this one."}
    return {"with": origin, "rows": rows}


def compare(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare the CPU seconds of each step and lesson that is in both results.

    Parameters
    ----------
    now, before
        As from ``gather``.

    Returns
    -------
    list of dict
        ``what``; CPU seconds ``before`` and ``now``; their ``ratio``; and ``slower``, whether that
        is above ``SLOWER`` and no ``NOISE``.
    """
    old, new = _cpu_seconds(before), _cpu_seconds(now)
    return [
        {
            "what": what,
            "before": old[what],
            "now": seconds,
            "ratio": round(seconds / old[what], 2),
            "slower": seconds > max(SLOWER * old[what], old[what] + NOISE),
        }
        for what, seconds in new.items()
        if old.get(what)
    ]


def _cpu_seconds(measured: Mapping[str, Any]) -> dict[str, float]:
    steps = {row["step"]: row.get("CPU seconds", 0) for row in measured["steps"]}
    lessons = {
        f"{row['lesson']}, cores: {row['cores']}": row["CPU seconds"] for row in measured["lessons"]
    }
    return {what: float(seconds) for what, seconds in (steps | lessons).items() if seconds}


def write(measured: Mapping[str, Any], file: Path = FILE) -> None:
    """Write results as JSON, page and picture, side by side; the JSON whole or not at all.

    Parameters
    ----------
    measured
        As from ``gather``.
    file
        Where the JSON goes; page and picture have its name with other endings.
    """
    text = json.dumps(measured, indent=1, allow_nan=False) + "\n"
    # The page is made from what the file will say, so that it can be made again from that.
    measured = json.loads(text)
    page, picture = costs_page.page(measured), costs_page.figure(measured).png()
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
    file.with_suffix(".png").write_bytes(picture)
    file.with_suffix(".md").write_text(page, encoding="utf-8")


def main() -> int:
    """Measure everything and write it; return the exit status."""
    pairs = presets.runs()
    # A pair that cannot be compared is better known before half an hour of lessons.
    presets.paired(pairs)
    steps, lessons = step_costs(), lesson_costs()
    steps = pd.concat([pd.DataFrame([set_up_cost()]), steps], ignore_index=True)
    measured = gather(steps, lessons, pairs)
    write(measured)
    keeping.discard(presets.STUDY.name)
    print(costs_page.page(measured))
    return 0
