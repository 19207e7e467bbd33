"""What more cells cost in time and memory, measured up to 100,000 of them, for lesson 07b.

The cells are synthetic: their counts carry no biology, only their size matters here.
``helpers.scale.scaling`` estimates what more of them would cost.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import scipy.sparse as sp
import scvi
from lightning.pytorch.callbacks import Callback

from helpers import environment, processes, training
from helpers.paths import ROOT
from helpers.scale.scaling import GENES, ONE_IN, PRESETS
from studies import keeping
from studies.catalogue import Study

STUDY = Study(
    name="scaling",
    question="How do time and memory grow with the number of cells?",
    minutes=15,
    writes=("docs/results/scaling.csv",),
)

SIZES = (300, 1_000, 3_000, 10_000, 30_000, 100_000)
ROUNDS = (1, 2, 3)

# An epoch of few cells is soon over, so there are more of them: at least so many steps, and the
# first epoch is not counted.
MINIMUM_STEPS = 200


def synthetic_cells(n_cells: int, seed: int = 0) -> ad.AnnData:
    """Make cells that have the size of real ones and nothing else.

    Each has a count from 1 to 3 in a tenth of the genes, at random.

    Parameters
    ----------
    n_cells
        How many.
    seed
        Seed of the random numbers.

    Returns
    -------
    AnnData
        ``X`` and ``layers["counts"]``: counts, cells x 2,000 genes, CSR float32, a tenth not 0.
        The two are one matrix in memory; where ``X`` holds other values, it takes as much again.

    Raises
    ------
    ValueError
        If there is no cell to make.
    """
    if n_cells < 1:
        raise ValueError(f"There must be at least one cell, not {n_cells}.")
    random = np.random.default_rng(seed)
    values = n_cells * (GENES // ONE_IN)
    # One gene in each ten, so that the indices of a cell are sorted; nothing larger than the matrix
    # is made on the way.
    indices = random.integers(0, ONE_IN, (n_cells, GENES // ONE_IN), dtype=np.int32)
    indices += np.arange(0, GENES, ONE_IN, dtype=np.int32)
    counts = random.integers(1, 4, values, dtype=np.int8).astype(np.float32)
    ends = np.arange(0, values + 1, GENES // ONE_IN)
    matrix = sp.csr_matrix((counts, indices.ravel(), ends), shape=(n_cells, GENES))
    return ad.AnnData(
        matrix,
        layers={"counts": matrix},
        obs=pd.DataFrame(index=[f"synthetic cell {i + 1}" for i in range(n_cells)]),
        var=pd.DataFrame(index=[f"synthetic gene {i + 1}" for i in range(GENES)]),
    )


def measure(n_cells: int, preset: str = "default") -> dict[str, Any]:
    """Set up, train and ask a default SCVI in this process, and measure it.

    It is called in a process of its own.

    Parameters
    ----------
    n_cells
        How many synthetic cells.
    preset
        "default" or "class", which decides the size of a minibatch.

    Returns
    -------
    dict
        ``cells``, ``preset``; ``steps an epoch``; processor time in seconds: ``set-up seconds``
        (``setup_anndata`` and ``SCVI()``), ``epoch seconds`` (the median epoch), ``latent seconds``
        (``get_latent_representation`` of all cells); resident memory: ``import MiB`` before there
        are cells, and ``data MiB``, what they add.

    Notes
    -----
    It is trained with ``model.train`` itself. ``training.train`` would add what belongs to
    the kit: the curve of held-out cells, the record of the loss, and the key of the checkpoint,
    which reads all counts.
    """
    environment.prepare()
    before = _resident_mib()
    adata = synthetic_cells(n_cells)
    with_data = _resident_mib()
    length = training.run_length(n_cells, preset)
    steps = length["steps"] // length["epochs"]

    start = time.process_time()
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    model = scvi.model.SCVI(adata)
    set_up = time.process_time() - start

    clock = _EpochClock()
    model.train(
        max_epochs=1 + math.ceil(MINIMUM_STEPS / steps),
        batch_size=training.PRESETS[preset].get("batch_size", scvi.settings.batch_size),
        accelerator="cpu",
        enable_progress_bar=False,
        callbacks=[clock],
    )

    start = time.process_time()
    model.get_latent_representation()
    return {
        "cells": n_cells,
        "preset": preset,
        "steps an epoch": clock.steps,
        "set-up seconds": set_up,
        "epoch seconds": float(np.median(np.diff(clock.ends))),
        "latent seconds": time.process_time() - start,
        "import MiB": before,
        "data MiB": with_data - before,
    }


class _EpochClock(Callback):
    """Note the processor time at the end of each epoch in seconds, and how many steps it has."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.steps = 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Look at the clock."""
        self.ends.append(time.process_time())
        self.steps = trainer.num_training_batches


def _resident_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


def run(number: int, n_cells: int, preset: str) -> pd.DataFrame:
    """Measure one size in a process of its own, on one core.

    Parameters
    ----------
    number
        Which round it is.
    n_cells, preset
        As for ``measure``.

    Returns
    -------
    DataFrame
        One row: ``round``, what ``measure`` returned, and ``peak MiB``: the peak of the process
        above ``import MiB``.

    Raises
    ------
    subprocess.CalledProcessError
        If the process fails.
    """
    code = f"from studies import scaling; scaling.print_measured({n_cells}, {preset!r})"
    watched = processes.watch(
        [sys.executable, "-c", code],
        cores=1,
        cwd=ROOT,
        env=processes.kernel_variables(),
    )
    row = json.loads(watched["output"].splitlines()[-1])
    peak = watched["peak MiB"] - row["import MiB"]
    return pd.DataFrame([{"round": number, **row, "peak MiB": peak}])


def print_measured(n_cells: int, preset: str) -> None:
    """Print what ``measure`` returns as a line of JSON, for the process that waits for it."""
    print(json.dumps(measure(n_cells, preset)))


def main() -> int:
    """Measure what is missing and write the file; return the exit status."""
    keys = {"round": ROUNDS, "cells": SIZES, "preset": PRESETS}
    runs = keeping.make(STUDY.name, keys, run)
    what = (
        f"Default SCVI on one core, minibatches of the presets default and class, {min(SIZES):,} "
        f"to {max(SIZES):,} synthetic cells (random counts) x {GENES:,} genes, {1 / ONE_IN:.0%} "
        f"not 0, {len(ROUNDS)} rounds"
    )
    keeping.write(STUDY.name, runs, what, ("scvi-tools", "torch", "numpy"))
    return 0
