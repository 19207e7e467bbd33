"""How many hidden layers, and how many neurons: two sweeps with Ray, which lesson 07 shows.

Each row is a trial: the ``negative ELBO`` in nats per held-out cell, the measures of the latent
space for all cells, and the ``CPU seconds`` of the training. ``helpers.scale.sweep_results`` draws
the conclusions.
"""

from __future__ import annotations

import sys

import pandas as pd

from helpers.scale import sweep
from helpers.scale.sweep_results import ARCHITECTURE, BETTER, BUDGETS, KEYS, LONG, SHORT, cells
from studies import keeping
from studies.catalogue import Study

STUDY = Study(
    name="architectures",
    question="How many hidden layers and neurons should the cortex cells have?",
    minutes=60,
    writes=("docs/results/architectures.csv",),
    extra="sweep",
)

LAYERS = [1, 2, 3]
NEURONS = [64, 128, 256]
SEEDS = {SHORT: [1, 2, 3, 4, 5, 6, 7, 8], LONG: [1, 2, 3, 4, 5]}

COLUMNS = [
    "budget",
    *KEYS,
    *BETTER,
    "hidden layers",
    "trained parameters",
    "CPU seconds",
    "epochs",
    "held-out cells",
]


def search_space(budget: str) -> dict[str, dict[str, object]]:
    """Return what is tried with a budget, as ``sweep.run`` takes it."""
    return {
        "model_params": {"n_layers": LAYERS, "n_hidden": NEURONS, "seed": SEEDS[budget]},
        "train_params": BUDGETS[budget],
    }


def main() -> int:
    """Make all trials that are missing and write the file; return the exit status."""
    adata = cells()
    tables = [sweep.run(adata, search_space(budget)).assign(budget=budget) for budget in BUDGETS]
    trials = pd.concat(tables, ignore_index=True)
    failed = trials[trials["problem"] != ""]
    if len(failed):
        print(failed[[*ARCHITECTURE, "seed", "problem"]].to_string(), file=sys.stderr)
        print("Nothing was written. The same command tries these again.", file=sys.stderr)
        return 1
    seeds = " and ".join(
        f"{budget} with seeds {each[0]} to {each[-1]}" for budget, each in SEEDS.items()
    )
    what = (
        f"SCVI on the cortex cells x 2,000 genes, {LAYERS[0]} to {LAYERS[-1]} hidden layers of "
        f"{NEURONS[0]} to {NEURONS[-1]} neurons, {seeds}"
    )
    keeping.write(STUDY.name, trials[COLUMNS], what, ("scvi-tools", "torch", "numpy", "ray"))
    return 0
