"""One model trained in one and in two processes, for lesson 07b.

Two processes and a notebook take more memory than Binder has.
"""

from __future__ import annotations

import pandas as pd

from helpers.scale import ddp
from studies import keeping
from studies.catalogue import Study

STUDY = Study(
    name="ddp",
    question="Do two processes that share the cells learn what one process learns?",
    minutes=1,
    writes=("docs/results/ddp.csv",),
)

# How many processes, and how many cells are in a minibatch of each.
RUNS = {
    "one process, 128 cells": (1, 128),
    "two processes, 64 cells each": (2, 64),
    "two processes, 128 cells each": (2, 128),
}


def run(name: str) -> pd.DataFrame:
    """Make one run.

    Parameters
    ----------
    name
        A key of ``RUNS``.

    Returns
    -------
    DataFrame
        One row per process: ``run``, ``process``, and as from ``ddp.run``, with the numbers of the
        cells as text.
    """
    processes, batch_size = RUNS[name]
    table = ddp.run(processes, batch_size=batch_size).reset_index()
    table["cells"] = [" ".join(map(str, cells)) for cells in table["cells"]]
    return table.drop(columns="seconds").assign(run=name)


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    runs = keeping.make(STUDY.name, {"run": list(RUNS)}, run)
    what = "Two epochs of SCVI on 700 PBMCs x 765 genes in one and in two processes, seed 0"
    keeping.write(STUDY.name, runs, what, ("scvi-tools", "torch", "lightning", "numpy"))
    return 0
