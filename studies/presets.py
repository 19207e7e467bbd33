"""The class preset against the default on four data sets, seed by seed.

This study makes these runs alone and prints them; ``costs`` makes those that are missing with all
else that it measures, and writes them down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anndata as ad
import pandas as pd
import scvi
from scvi.model.base import BaseModelClass

from helpers import environment, training
from helpers.data import datasets
from helpers.loss import simulation
from helpers.proteins import protein_counts
from helpers.scale import evaluation
from helpers.training import shared_models
from studies import keeping
from studies.catalogue import Study

STUDY = Study(
    name="presets",
    question="Is the class preset as good as the default? (without the other costs)",
    minutes=20,
    writes=(),
)

PRESETS = ("default", "class")

# The class preset is as good as the default where its negative ELBO is higher by no more than this
# (nats per cell).
LIMIT = 1.0

# What is compared within a pair, as class minus default.
COMPARED = evaluation.MEASURES


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
    """Return an untrained default SCVI on the blood cells of scanpy, with all their genes."""
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


def gated(adata: ad.AnnData) -> pd.Series:
    """Return the group of each cell by its surface proteins, missing where it fits none."""
    groups = protein_counts.gate(adata)
    return groups.where(groups != protein_counts.NO_GROUP)


DATA_SETS = {
    "cortex": DataSet(
        "3,005 mouse cortex cells, 2,000 genes, published classes",
        (1, 2, 3, 4, 5),
        shared_models.cortex_model,
        evaluation.cell_types,
    ),
    "PBMC": DataSet(
        "700 blood cells, 765 genes, published types", (1, 2), pbmc_model, evaluation.cell_types
    ),
    "CITE-seq": DataSet(
        "400 blood cells, 2,000 genes, groups by surface proteins", (1, 2), blood_model, gated
    ),
    # The default run takes about seven minutes, so there is one.
    "simulated": DataSet(
        "20,000 simulated cells, 100 genes, no types",
        (1,),
        simulated_model,
        evaluation.cell_types,
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
        One row per preset: ``data set``, ``seed``, ``preset``; what ``evaluation.train_measured``
        and ``evaluation.judge`` return.
    """
    # A machine that gets slower meanwhile would favour whoever goes first, so the two take turns.
    order = PRESETS if seed % 2 else PRESETS[::-1]
    models, costs = {}, {}
    for preset in order:
        models[preset] = DATA_SETS[name].model(seed)
        costs[preset] = evaluation.train_measured(models[preset], preset)
    cells = evaluation.held_out_by_all(list(models.values()))
    rows = [
        {"data set": name, "seed": seed, "preset": preset}
        | costs[preset]
        | evaluation.judge(models[preset], cells, DATA_SETS[name].labels(models[preset].adata))
        for preset in PRESETS
    ]
    return pd.DataFrame(rows)


# --- all pairs ----------------------------------------------------------------------------------


def runs() -> pd.DataFrame:
    """Return the rows of ``pair`` for all data sets and seeds; make those that are missing."""
    key = evaluation.settings_key()
    done = pd.DataFrame()
    for name, data_set in DATA_SETS.items():
        done = keeping.make(
            STUDY.name,
            {"settings": [key], "data set": [name], "seed": data_set.seeds},
            lambda settings, name, seed: pair(name, seed).assign(settings=settings),
        )
    return done.query("settings == @key").drop(columns="settings").reset_index(drop=True)


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the two presets of each pair.

    Parameters
    ----------
    table
        As from ``runs``.

    Returns
    -------
    DataFrame
        One row per data set and seed: the columns of ``COMPARED`` as class minus default, and
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
        One row per data set: number of ``seeds``; ``mean``, ``lowest`` and ``highest`` of the
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

    They stay kept until the study ``costs`` has written them down.
    """
    table = runs()
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table.round(3))
        print(paired(table).round(3))
        print(verdicts(paired(table)).round(3))
    return 0
