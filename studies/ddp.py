"""One model trained in one and in two processes, made once and kept.

Two processes and a notebook take more memory than Binder has.

``python -m studies.ddp_runs`` (``make process-runs``) makes the runs and writes
``docs/process_runs.csv``.
"""

from __future__ import annotations

import sys

import pandas as pd

from helpers import results
from helpers.paths import DOCS
from helpers.scale import ddp

FILE = DOCS / "process_runs.csv"

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
        A row a process: ``run``, ``process``, and as from ``ddp.run``, with the numbers of the
        cells as text.
    """
    processes, batch_size = RUNS[name]
    table = ddp.run(processes, batch_size=batch_size).reset_index()
    table["cells"] = [" ".join(map(str, cells)) for cells in table["cells"]]
    return table.drop(columns="seconds").assign(run=name)


def load() -> dict[str, pd.DataFrame]:
    """Return the kept runs by name, each as from ``ddp.run``, without ``seconds``."""
    table = results.load(FILE, dtype={"weights": str, "running averages": str})
    table["cells"] = [tuple(map(int, cells.split())) for cells in table["cells"]]
    return {
        str(name): rows.drop(columns="run").set_index("process")
        for name, rows in table.groupby("run", sort=False)
    }


def origin() -> str:
    """Return one line that says how the kept runs were made: cells, model and versions."""
    return results.origin(FILE)


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    runs = results.make(FILE, {"run": list(RUNS)}, run)
    what = "Two epochs of SCVI on 700 PBMCs x 765 genes in one and in two processes, seed 0"
    results.write(
        FILE, runs, what, ("scvi-tools", "torch", "lightning", "numpy"), "make process-runs"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
