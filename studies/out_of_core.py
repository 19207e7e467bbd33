"""What training takes with the counts in memory and with the counts in a file, for lesson 07b.

Each row is a number of cells and a way to hold the counts, see ``out_of_core_costs.measure``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from helpers.scale import out_of_core, out_of_core_costs
from studies import keeping
from studies.catalogue import Study

STUDY = Study(
    name="out_of_core",
    question="What does training from a file save in memory, and cost in time?",
    minutes=5,
    writes=("docs/results/out_of_core.csv",),
)

# How many times the 3,005 cortex cells: 9,015 to 120,200 cells.
COPIES = (3, 10, 20, 40)


def run(copies: int) -> pd.DataFrame:
    """Measure both ways on a file that is made for it.

    Parameters
    ----------
    copies
        How many times the cortex cells.

    Returns
    -------
    DataFrame
        ``copies``, and as from ``out_of_core_costs.compare``.
    """
    with tempfile.TemporaryDirectory() as folder:
        pieces = out_of_core.copies_of_cortex(copies)
        file = out_of_core.write(Path(folder, "cells.h5ad"), pieces)
        return out_of_core_costs.compare(file).assign(copies=copies)


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    runs = keeping.make(STUDY.name, {"copies": COPIES}, run)
    what = (
        "One epoch of SCVI on thinned copies of the cortex cells x 2,000 genes, counts in memory "
        "and in a .h5ad file, one thread, file in the cache of the system"
    )
    keeping.write(STUDY.name, runs, what, ("scvi-tools", "torch", "anndata", "h5py"))
    return 0
