"""The class preset against the default on four data sets, seed by seed.

``python -m studies.presets`` makes these runs alone and prints them; ``make bench`` makes them with
everything else that it measures, and writes them down.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
from scvi.model.base import BaseModelClass

from helpers import environment, results, training
from helpers.data import datasets
from helpers.latent import clusters, neighbours
from helpers.loss import simulation
from helpers.paths import DATA
from helpers.proteins import protein_counts
from helpers.training import presets as training_presets
from helpers.training import runs as training_runs
from helpers.training import schedules, shared_models

# Pairs that are finished stay here until all is written, so that interrupted work goes on where it
# was.
PAIRS = DATA / "preset_pairs.csv"

PRESETS = ("default", "class")

# One draw of the ELBO of the held-out cells is off by some tenths of a nat, the mean of so many by
# less than a tenth.
ELBO_DRAWS = 20
KMEANS_SEEDS = (0, 1, 2)

# The class preset is as good as the default where its negative ELBO is higher by no more than this
# (nats per cell).
LIMIT = 1.0

# What is compared within a pair, as class minus default.
COMPARED = ("negative ELBO", "k-means ARI", "k-means NMI", "kNN accuracy")


# --- the data sets ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSet:
    """Cells to train on.

    Attributes
    ----------
    what
        What the cells are, for a reader.
    seeds
        The seeds to train with.
    model
        Makes the untrained model from a seed.
    labels
        Gives the type of each cell of the model's data, missing where it has none.
    """

    what: str
    seeds: tuple[int, ...]
    model: Callable[[int], BaseModelClass]
    labels: Callable[[ad.AnnData], pd.Series]


def pbmc_model(seed: int) -> BaseModelClass:
    """Return an untrained default SCVI on the blood cells that scanpy carries, with their genes as they are."""
    environment.prepare(seed)
    adata = datasets.load_pbmc()
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    return scvi.model.SCVI(adata)


def blood_model(seed: int) -> BaseModelClass:
    """Return the untrained SCVI of lesson 06b on the CITE-seq cells."""
    return training.blood_model("SCVI", seed)


def simulated_model(seed: int, n_cells: int = 20_000) -> BaseModelClass:
    """Return an untrained SCVI, of the kind of lesson 04, on simulated cells."""
    environment.prepare(seed)
    adata = simulation.cells(n_cells, seed=seed)
    scvi.model.SCVI.setup_anndata(adata, layer="counts", size_factor_key="size_factor")
    return scvi.model.SCVI(adata, n_latent=simulation.N_LATENT, gene_likelihood="nb")


def cell_types(adata: ad.AnnData) -> pd.Series:
    """Return the published type of each cell."""
    return pd.Series(adata.obs["cell_type"])


def gated(adata: ad.AnnData) -> pd.Series:
    """Return the group of each cell by its surface proteins, missing where it fits none."""
    groups = protein_counts.gate(adata)
    return groups.where(groups != protein_counts.NO_GROUP)


def no_types(adata: ad.AnnData) -> pd.Series:
    """Return that no cell has a type."""
    return pd.Series(None, index=adata.obs_names, dtype=object)


DATA_SETS = {
    "cortex": DataSet(
        "3,005 mouse cortex cells, 2,000 genes, published classes",
        (1, 2, 3, 4, 5),
        shared_models.cortex_model,
        cell_types,
    ),
    "PBMC": DataSet("700 blood cells, 765 genes, published types", (1, 2), pbmc_model, cell_types),
    "CITE-seq": DataSet(
        "400 blood cells, 2,000 genes, groups by surface proteins", (1, 2), blood_model, gated
    ),
    # The default run takes about seven minutes, so there is one.
    "simulated": DataSet(
        "20,000 simulated cells, 100 genes, no types", (1,), simulated_model, no_types
    ),
}


# --- a pair -------------------------------------------------------------------------------------


def pair(name: str, seed: int) -> pd.DataFrame:
    """Train with both presets in turn, and judge both on the same held-out cells.

    Parameters
    ----------
    name
        A key of ``DATA_SETS``.
    seed
        Seed of the initial weights and of the choice of held-out cells.

    Returns
    -------
    DataFrame
        A row a preset: ``data set``, ``seed``, ``preset``; what ``train_measured`` and ``judge``
        return.
    """
    # A machine that gets slower meanwhile would favour whoever goes first, so the two take turns.
    order = PRESETS if seed % 2 else PRESETS[::-1]
    models, costs = {}, {}
    for preset in order:
        models[preset] = DATA_SETS[name].model(seed)
        costs[preset] = train_measured(models[preset], preset)
    cells = held_out_by_all(list(models.values()))
    rows = [
        {"data set": name, "seed": seed, "preset": preset}
        | costs[preset]
        | judge(models[preset], cells, DATA_SETS[name].labels(models[preset].adata))
        for preset in PRESETS
    ]
    return pd.DataFrame(rows)


def train_measured(model: BaseModelClass, preset: str, **train_kwargs: Any) -> dict[str, float]:
    """Train a model without a progress bar.

    Parameters
    ----------
    model, preset, **train_kwargs
        As for ``training.train``.

    Returns
    -------
    dict
        ``CPU seconds`` and ``wall seconds`` of the training, ``epochs``, and the
        ``final KL weight``, which is 1 where the warm-up came to its end.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    quiet = train_kwargs | {"enable_progress_bar": False}
    # Keeping the progress would be measured as well.
    training.train(model, preset, folder=None, **quiet)
    return {
        "CPU seconds": time.process_time() - cpu,
        "wall seconds": time.perf_counter() - wall,
        "epochs": len(training.curves(model)),
        "final KL weight": float(model.loss_record_["kl_weight", "last"].iloc[-1]),
    }


def held_out_by_all(models: Sequence[BaseModelClass]) -> np.ndarray:
    """Return the rows of the cells that no model was trained on, sorted.

    Raises
    ------
    ValueError
        If there is no such cell.

    Notes
    -----
    ----- The seed alone decides which cells come first in the order that the split is made from.
    But where one or two training cells would be left for the last minibatch, scvi-tools holds them
    out as well, and this depends on the size of a minibatch.
    """
    cells = np.asarray(models[0].validation_indices)
    for model in models[1:]:
        cells = np.intersect1d(cells, model.validation_indices)
    if not len(cells):
        raise ValueError("No cell was held out by all models, so they cannot be compared.")
    return np.sort(cells)


def judge(model: BaseModelClass, cells: np.ndarray, labels: pd.Series) -> dict[str, object]:
    """Say how good a trained model is.

    Parameters
    ----------
    model
        A trained model.
    cells
        Rows of held-out cells, to which the negative ELBO belongs.
    labels
        The type of each cell, missing where it has none.

    Returns
    -------
    dict
        ``negative ELBO`` (nats per held-out cell; lower is better), what ``agreement`` returns, and
        ``held-out cells``: a digest of their names, so that only runs on the same cells are paired.
    """
    names = "\n".join(model.adata.obs_names[cells])
    digest = hashlib.sha256(names.encode()).hexdigest()[:12]
    return {
        "negative ELBO": negative_elbo(model, cells),
        **agreement(model.get_latent_representation(), labels),
        # In words, or a table that was kept as text could take the digest for a number.
        "held-out cells": f"{len(cells)} cells, {digest}",
    }


def negative_elbo(model: BaseModelClass, cells: np.ndarray) -> float:
    """Return the negative ELBO of some cells in nats per cell, mean over draws from their clouds."""
    with training.evaluating(model):
        # get_elbo returns the ELBO itself, of which higher is better.
        return -float(np.mean([float(model.get_elbo(indices=cells)) for _ in range(ELBO_DRAWS)]))


def agreement(positions: np.ndarray, labels: pd.Series) -> dict[str, float]:
    """Tell how well the types of the cells that have one are found again in a representation.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    labels
        The type of each cell, missing where it has none.

    Returns
    -------
    dict
        ``k-means ARI`` and ``k-means NMI`` (with as many clusters as types, mean over
        ``KMEANS_SEEDS``), and ``kNN accuracy``: how often most of a cell's 15 nearest other cells
        are of its type. All missing where no cell has a type.
    """
    known = labels.notna().to_numpy()
    if not known.any():
        return dict.fromkeys(COMPARED[1:], np.nan)
    types, inside = labels[known].astype(str).to_numpy(), positions[known]
    found = clusters.k_means_agreement(inside, types, KMEANS_SEEDS)
    return {
        "k-means ARI": found["k-means ARI"],
        "k-means NMI": found["k-means NMI"],
        "kNN accuracy": neighbours.label_accuracy(inside, types),
    }


# --- all pairs ----------------------------------------------------------------------------------


def runs() -> pd.DataFrame:
    """Return the rows of ``pair`` for all data sets and seeds, making those that are not kept yet."""
    key = settings_key()
    done = pd.DataFrame()
    for name, data_set in DATA_SETS.items():
        done = results.make(
            PAIRS,
            {"settings": [key], "data set": [name], "seed": data_set.seeds},
            lambda settings, name, seed: pair(name, seed).assign(settings=settings),
        )
    return done.query("settings == @key").drop(columns="settings").reset_index(drop=True)


def settings_key() -> str:
    """Name versions and the code that trains, so that runs kept from before a change are not taken for new ones."""
    versions = [importlib.metadata.version(name) for name in environment.PACKAGES]
    code = [inspect.getsource(each) for each in (training_presets, schedules, training_runs)]
    text = "\n".join([*versions, *code])
    return f"settings {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the two presets of each pair.

    Parameters
    ----------
    table
        As from ``runs``.

    Returns
    -------
    DataFrame
        A row a data set and seed: the columns of ``COMPARED`` as class minus default, and
        ``CPU ratio``: CPU seconds of the default over those of the class preset.

    Raises
    ------
    ValueError
        If a run has no partner, or the two of a pair were judged on different cells.
    """
    by_preset = {
        preset: table[table["preset"] == preset].set_index(["data set", "seed"])
        for preset in PRESETS
    }
    default, quick = by_preset["default"], by_preset["class"]
    alone = default.index.symmetric_difference(quick.index)
    if len(alone):
        raise ValueError(f"There is only one preset for {_listed(alone)}.")
    quick = quick.loc[default.index]
    unequal = default.index[default["held-out cells"] != quick["held-out cells"]]
    if len(unequal):
        raise ValueError(
            f"The two presets were judged on different held-out cells for {_listed(unequal)}, so "
            "their difference says nothing."
        )
    columns = list(COMPARED)
    differences = quick[columns].astype(float) - default[columns].astype(float)
    ratio = default["CPU seconds"] / quick["CPU seconds"]
    return differences.assign(**{"CPU ratio": ratio}).reset_index()


def _listed(pairs: pd.Index) -> str:
    return ", ".join(f"{name} with seed {seed}" for name, seed in pairs)


def verdicts(differences: pd.DataFrame) -> pd.DataFrame:
    """Say for each data set whether the class preset is as good as the default.

    Parameters
    ----------
    differences
        As from ``paired``.

    Returns
    -------
    DataFrame
        A row a data set: number of ``seeds``; ``mean``, ``lowest`` and ``highest`` of the
        differences in negative ELBO (nats per cell); ``reached``, whether the mean is at most
        ``LIMIT``; and the mean of each other column of ``paired``.
    """
    by_data_set = differences.groupby("data set", sort=False)
    elbo = by_data_set["negative ELBO"].agg(["size", "mean", "min", "max"])
    elbo.columns = ["seeds", "mean", "lowest", "highest"]
    return elbo.assign(reached=elbo["mean"] <= LIMIT).join(
        by_data_set[[*COMPARED[1:], "CPU ratio"]].mean()
    )


def main() -> int:
    """Make all pairs and print them; return the exit status.

    They stay kept until ``make bench`` has written them down.
    """
    table = runs()
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table.round(3))
        print(paired(table).round(3))
        print(verdicts(paired(table)).round(3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
