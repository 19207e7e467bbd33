"""What the lessons cost, and whether the class preset is as good as the default.

``python -m helpers.measurements`` (``make bench``) measures both on this machine and writes ``docs/measurements.md``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from helpers import data, environment, kept_runs, training

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "measurements.md"

# Runs that are finished stay here, so that an interrupted measurement goes on where it was.
PRESET_RUNS = data.FOLDER / "preset_runs.csv"

SEEDS = (1, 2, 3)
PRESETS = ("default", "class")


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
        ``lesson``, ``cores``, ``seconds`` (wall clock, with the start of the kernel), ``CPU seconds`` and ``peak MiB`` (resident
        memory of the kernel, read twenty times a second).

    Raises
    ------
    subprocess.CalledProcessError
        If a cell of the lesson fails.
    """
    peak, cpu = 0, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "nbconvert",
            "--execute",
            "--to",
            "notebook",
            "--log-level=ERROR",
        ]
        command += ["--output-dir", scratch, str(lesson)]
        start = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            if hasattr(os, "sched_getaffinity"):  # macOS cannot tie a process to a core
                allowed = sorted(os.sched_getaffinity(0))[:cores]
                psutil.Process(process.pid).cpu_affinity(allowed)
            while process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        peak = max(peak, child.memory_info().rss)
                        times = child.cpu_times()
                        cpu = max(cpu, times.user + times.system)
                time.sleep(0.05)
        seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {
        "lesson": lesson.stem,
        "cores": cores,
        "seconds": round(seconds),
        "CPU seconds": round(cpu),
        "peak MiB": round(peak / 2**20),
    }


def preset_run(preset: str, seed: int) -> dict[str, object]:
    """Train the cortex model once.

    Parameters
    ----------
    preset
        One of ``PRESETS``.
    seed
        Seed of the initial weights and of the choice of held-out cells.

    Returns
    -------
    dict
        ``preset``, ``seed``, ``CPU seconds``, ``negative ELBO`` of the held-out cells (nats per cell), and ``ARI``: how far seven
        k-means clusters of the latent representation agree with the published classes (adjusted Rand index, 1 is perfect).
    """
    model = training.cortex_model(seed)
    start = time.process_time()
    training.train(model, preset, enable_progress_bar=False)
    seconds = time.process_time() - start
    classes = model.adata.obs["cell_type"]
    clusters = KMeans(classes.nunique(), n_init=10, random_state=0).fit_predict(
        model.get_latent_representation()
    )
    return {
        "preset": preset,
        "seed": seed,
        "CPU seconds": round(seconds),
        "negative ELBO": round(float(training.curves(model)["held-out cells"].iloc[-1]), 1),
        "ARI": round(float(adjusted_rand_score(classes, clusters)), 2),
    }


def preset_runs() -> pd.DataFrame:
    """Return a row a preset and seed, running those that are not in ``data/preset_runs.csv`` yet."""
    return kept_runs.make(
        PRESET_RUNS,
        {"seed": SEEDS, "preset": PRESETS},
        lambda seed, preset: pd.DataFrame([preset_run(preset, seed)]),
    )


def report(lessons: pd.DataFrame, presets: pd.DataFrame) -> str:
    """Write the measurements as a page, with the paired differences computed from them."""
    paired = presets.pivot(
        index="seed", columns="preset", values=["negative ELBO", "CPU seconds", "ARI"]
    )
    difference = paired["negative ELBO"]["class"] - paired["negative ELBO"]["default"]
    saved = paired["CPU seconds"]["default"].mean() / paired["CPU seconds"]["class"].mean()
    table = presets.set_index(["seed", "preset"]).sort_index().reset_index()
    versions = environment.check().loc[list(environment.PACKAGES), "found"]
    return "\n".join(
        [
            "# Measurements",
            "",
            "Written by `make bench`; do not edit. Measured on one machine: look at the order of magnitude, not at the last digit.",
            "",
            f"Python {platform.python_version()}, {platform.system()} on {platform.machine()}, "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
            + ".",
            "",
            "## What a lesson costs",
            "",
            "From a clean start, with the kernel's own start and all imports.",
            "",
            lessons.to_markdown(index=False),
            "",
            "## The class preset against the default",
            "",
            "The same seed holds out the same cells, so compare rows of one seed. Splits differ by more than presets do.",
            "",
            table.to_markdown(index=False),
            "",
            f"The negative ELBO of the held-out cells (nats per cell, lower is better) with the class preset is {difference.mean():+.1f} on "
            f"average over {len(difference)} seeds, between {difference.min():+.1f} and {difference.max():+.1f}. "
            f"It takes {saved:.0f} times fewer CPU seconds.",
            "",
        ]
    )


def main() -> int:
    """Measure everything and write the report; return the exit status."""
    rows = []
    for lesson in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cores in (1, 2):
            print(f"Running {lesson.name} on {cores} core(s) ...", flush=True)
            rows.append(lesson_cost(lesson, cores))
    text = report(pd.DataFrame(rows), preset_runs())
    REPORT.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
