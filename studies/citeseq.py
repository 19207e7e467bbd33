"""TotalVI against models of the RNA alone on the 400 blood cells, three seeds each, made once and kept.

``python -m studies.citeseq`` (``make citeseq-runs``) makes them and writes
``docs/citeseq_runs.csv``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from scvi.model.base import BaseModelClass

from helpers import data, environment, genes, results, training
from helpers.batches import experiments
from helpers.genes import log_normalisation
from helpers.latent import clusters, neighbours
from helpers.paths import DOCS
from helpers.proteins import protein_counts

FILE = DOCS / "citeseq_runs.csv"

SEEDS = (0, 1, 2)

# Which part of the cells a method sees, and how a model is trained; None where there is nothing to
# train.
SCVI, TOTALVI, HIDDEN = "scVI", "TotalVI", "TotalVI, gate proteins hidden"
METHODS: dict[str, str | None] = {
    "PCA": None,
    "Harmony": None,
    "proteins alone": None,
    SCVI: "few cells",
    TOTALVI: "few cells",
    HIDDEN: "few cells",
    "scVI, default training": "default",
    "TotalVI, default training": "default",
}

# What `run` measures, beside the negative ELBO.
COLUMNS = (
    "kNN group accuracy",
    "CD8 T cells found",
    "k-means ARI",
    "k-means NMI",
    "Leiden ARI",
    "Leiden NMI",
    "kNN batch accuracy",
    "iLISI",
)


def build(method: str, seed: int) -> BaseModelClass:
    """Return the untrained model of a method.

    Parameters
    ----------
    method
        A key of ``METHODS`` that is trained. "TotalVI, gate proteins hidden" sees only those
        proteins of which no gate makes use, so that the groups are news to it.
    seed
        Seed of the session, and so of the initial weights.
    """
    if method == HIDDEN:
        gates = set(protein_counts.rules())
        shown = [
            name for name in data.load_citeseq().obsm["protein_expression"] if name not in gates
        ]
        return training.blood_model("TOTALVI", seed, shown)
    return training.blood_model("SCVI" if method.startswith(SCVI) else "TOTALVI", seed)


def run(method: str, seed: int) -> pd.DataFrame:
    """Run a method, and measure how far its positions show the groups and hide the batches.

    Parameters
    ----------
    method
        A key of ``METHODS``. "PCA" and "Harmony" see the RNA, "proteins alone" the centred
        log-ratios of all proteins.
    seed
        Seed of initial weights, held-out cells and minibatches.

    Returns
    -------
    DataFrame
        One row: ``method``, ``seed``, ``COLUMNS`` and ``negative ELBO``, see ``load``.
    """
    environment.prepare(seed)
    preset = METHODS[method]
    row: dict[str, object] = {"method": method, "seed": seed}
    blood = data.load_citeseq()
    if preset is None:
        positions = _without_training(method, blood, seed)
    else:
        model = build(method, seed)
        training.train(model, preset, enable_progress_bar=False)
        positions = model.get_latent_representation()
        row["negative ELBO"] = training.curves(model)["held-out cells"].iloc[-1]
    row |= measure(positions, blood, seed)
    return pd.DataFrame([row]).reindex(columns=["method", "seed", *COLUMNS, "negative ELBO"])


def _without_training(method: str, blood: ad.AnnData, seed: int) -> np.ndarray:
    if method == "proteins alone":
        return protein_counts.centred_log_ratio(blood).to_numpy()
    of_batches = blood.copy()
    genes.select(of_batches, batch_key="batch")
    positions = log_normalisation.principal_components(of_batches)
    return positions if method == "PCA" else experiments.harmony(positions, blood, seed=seed)


def measure(positions: np.ndarray, blood: ad.AnnData, seed: int = 0) -> dict[str, float]:
    """Tell how well positions show the groups of the protein gates, and how far they hide the batches.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    blood
        The cells, in the same order, with all proteins.
    seed
        Seed of k-means and Leiden clustering.

    Returns
    -------
    dict
        ``COLUMNS``: those of groups on the cells that fit a gate, those of batches on all cells.
        Agreement with clusters is as in ``clusters.compare``. ``CD8 T cells found``: the share of
        CD8 T cells whose neighbours are mostly CD8 T cells.
    """
    groups = protein_counts.gate(blood)
    gated = (groups != protein_counts.NO_GROUP).to_numpy()
    names, inside = groups[gated].astype(str).to_numpy(), positions[gated]
    agreement = clusters.compare({"": inside}, names, seeds=[seed]).iloc[0]
    guessed = neighbours.knn_predict(inside, names)
    cd8 = names == "CD8 T cells"
    return {
        "kNN group accuracy": float(agreement["kNN class accuracy"]),
        "CD8 T cells found": float((guessed[cd8] == names[cd8]).mean()),
        **{name: float(agreement[name]) for name in COLUMNS[2:6]},
        "kNN batch accuracy": neighbours.label_accuracy(positions, blood.obs["batch"]),
        "iLISI": experiments.ilisi(positions, blood.obs["batch"]),
    }


def load() -> pd.DataFrame:
    """Return the kept runs.

    Returns
    -------
    DataFrame
        A row a method and seed: what ``measure`` returned, and ``negative ELBO``: of the held-out
        cells, in nats per cell, where a model was trained. Compare it between runs of the same
        model, the same data and the same seed only.
    """
    return results.load(FILE)


def origin() -> str:
    """Return one line that says how the kept runs were made: cells, models, seeds and versions."""
    return results.origin(FILE)


def summary(columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return the kept runs as text.

    Mean over the seeds, and in brackets the lowest and the highest.

    Parameters
    ----------
    columns
        Which columns of ``load``; methods without any of them are left out.
    """
    return results.spread(load(), columns)


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    runs = results.make(FILE, {"method": list(METHODS), "seed": SEEDS}, run)
    what = (
        f"SCVI, TOTALVI and rivals on 400 PBMCs x 2,000 genes, seeds {', '.join(map(str, SEEDS))}"
    )
    packages = ("scvi-tools", "torch", "numpy", "harmonypy")
    results.write(FILE, runs, what, packages, "make citeseq-runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
