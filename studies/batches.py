"""Ways to remove batch effects, tried on four designs with three seeds each; lesson 05c shows them.

Each row is a design, seed and method: what ``experiments.measure`` returns and, for models of
simulated batches, the slopes of ``batch_effects.attribution``:

``batch effect found``
    How much of the true batch effect is in the learned one; 1 is right.
``class difference in the batch effect``
    How much of the true difference between the two pyramidal classes is in the learned batch
    effect; 0 is right.
``batch effect in the class difference``
    How much of the true batch effect is in the learned difference of the two classes; 0 is right.
``class difference found``
    How much of the true difference of the two classes is in the learned one. 1 is right, but a
    model makes the differences of genes with few counts smaller: compare with the row "scVI, before
    the effect".
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scvi

from helpers import environment, genes
from helpers.batches import batch_effects, experiments
from helpers.data import datasets
from helpers.genes import log_normalisation
from helpers.proteins import protein_counts
from studies import keeping
from studies.catalogue import Study

STUDY = Study(
    name="batches",
    question="Which way removes a batch effect, and what does it take along?",
    minutes=10,
    writes=("docs/results/batches.csv",),
)

SEEDS = (0, 1, 2)

# In which batch alone each class of the pair is when a design is confounded.
ONLY_IN = dict(zip(experiments.PAIR, "AB", strict=True))

BALANCED, CONFOUNDED, FULLY_CONFOUNDED, REAL = DESIGNS = (
    "balanced",
    "two classes confounded",
    "fully confounded",
    "real PBMCs",
)

# The 370 PBMCs make three minibatches an epoch, and the cortex cells nine.
REAL_GENES, REAL_EPOCHS = 1000, 200

# The slopes of `batch_effects.attribution`, row by row.
ATTRIBUTION = (
    "batch effect found",
    "class difference in the batch effect",
    "batch effect in the class difference",
    "class difference found",
)
COLUMNS = (*experiments.BETTER, *ATTRIBUTION)


def cells(design: str, seed: int) -> ad.AnnData:
    """Return the cells of a design.

    They have ``layers["counts"]``, ``obs["batch"]`` and ``obs["cell_type"]``.

    Parameters
    ----------
    design
        "balanced": 1,200 cortex cells with half of each class in each simulated batch. "two classes
        confounded": the same cells, but all pyramidal CA1 cells are in batch A and all pyramidal SS
        cells in batch B; the five other classes are in both. "fully confounded": cells of these two
        classes alone, so that class and batch are the same. "real PBMCs": the 370 blood cells in
        two real batches that fit a protein gate, with its group as ``cell_type``.
    seed
        As for ``experiments.simulate``; the real cells are always the same.

    Raises
    ------
    ValueError
        If there is no such design.
    """
    if design not in DESIGNS:
        raise ValueError(f"There is no design '{design}'. Designs: {', '.join(DESIGNS)}.")
    if design == REAL:
        adata = datasets.load_citeseq()
        adata.obs["cell_type"] = protein_counts.gate(adata)
        adata = adata[adata.obs["cell_type"] != protein_counts.NO_GROUP].copy()
        genes.select(adata, REAL_GENES)
        return adata
    adata = datasets.load_cortex(genes="packaged")
    if design == FULLY_CONFOUNDED:
        adata = adata[adata.obs["cell_type"].isin(experiments.PAIR)]
    return experiments.simulate(adata, only_in=None if design == BALANCED else ONLY_IN, seed=seed)


def without_training(design: str, adata: ad.AnnData, seed: int) -> dict[str, np.ndarray]:
    """Return the representations that need no training, by method."""
    positions = log_normalisation.principal_components(adata)
    before = (
        {}
        if design == REAL
        else {
            "PCA, before the effect": log_normalisation.principal_components(adata, layer="before")
        }
    )
    return before | {"PCA": positions, "Harmony": experiments.harmony(positions, adata, seed=seed)}


def models(design: str, adata: ad.AnnData, seed: int) -> dict[str, scvi.model.SCVI]:
    """Return the trained models of a design, by method."""
    quiet = {"seed": seed, "enable_progress_bar": False}
    if design != REAL:
        before = experiments.train(adata, layer="before", **quiet)
        return {"scVI, before the effect": before} | experiments.train_both(adata, **quiet)
    others = {
        "default training": {"preset": "default"},
        "class preset": {},
        "100 epochs": {"max_epochs": 100},
    }
    return experiments.train_both(adata, max_epochs=REAL_EPOCHS, **quiet) | {
        f"scVI with batch_key, {name}": experiments.train(adata, "batch", **training, **quiet)
        for name, training in others.items()
    }


def run(design: str, seed: int) -> pd.DataFrame:
    """Try every method on a design.

    Parameters
    ----------
    design
        See ``cells``.
    seed
        Seed of the simulation and of all methods.

    Returns
    -------
    DataFrame
        One row per method: ``design``, ``seed``, ``method`` and ``COLUMNS``.
    """
    adata = cells(design, seed)
    trained = models(design, adata, seed)
    representations = without_training(design, adata, seed) | {
        name: model.get_latent_representation() for name, model in trained.items()
    }
    table = experiments.measure(representations, adata)
    if design != REAL:
        for name, model in trained.items():
            slopes = batch_effects.attribution(batch_effects.compare(model, experiments.PAIR))
            table.loc[name, list(ATTRIBUTION)] = slopes.to_numpy().ravel()
    table = table.reset_index().assign(design=design, seed=seed)
    return table.reindex(columns=["design", "seed", "method", *COLUMNS])


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    environment.prepare()
    runs = keeping.make(STUDY.name, {"design": DESIGNS, "seed": SEEDS}, run)
    what = (
        "PCA, Harmony and SCVI (class preset) on 1,200 cortex cells x 500 genes with simulated "
        f"batches, and on 370 PBMCs x {REAL_GENES:,} genes with real ones, seeds "
        f"{', '.join(map(str, SEEDS))}"
    )
    packages = ("scvi-tools", "torch", "numpy", "harmonypy")
    keeping.write(STUDY.name, runs, what, packages)
    return 0
