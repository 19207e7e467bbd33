"""Train a model with a clock beside it, and judge it, so that models can be compared."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scvi.model.base import BaseModelClass

from helpers import environment
from helpers.latent import clusters, neighbours
from helpers.paths import ROOT
from helpers.training import loss_curves, model_state, runs

# One draw of the ELBO of the held-out cells is off by some tenths of a nat, the mean of so many by
# less than a tenth.
ELBO_DRAWS = 20
KMEANS_SEEDS = (0, 1, 2)

# What says how good a model is, in nats per held-out cell and from 0 to 1.
MEASURES = ("negative ELBO", "k-means ARI", "k-means NMI", "kNN accuracy")


# --- types of cells -----------------------------------------------------------------------------


def cell_types(adata: ad.AnnData) -> pd.Series:
    """Return the type of each cell, missing where it is not known."""
    if "cell_type" in adata.obs:
        return pd.Series(adata.obs["cell_type"])
    return pd.Series(None, index=adata.obs_names, dtype=object)


# --- train and judge ------------------------------------------------------------------------------


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
    runs.train(model, preset, folder=None, **quiet)
    return {
        "CPU seconds": time.process_time() - cpu,
        "wall seconds": time.perf_counter() - wall,
        "epochs": len(loss_curves.curves(model)),
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
    The seed alone decides which cells come first in the order that the split is made from.
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
    """Return the negative ELBO of some cells in nats per cell, the mean of ``ELBO_DRAWS`` draws."""
    with model_state.evaluating(model):
        # get_elbo returns the ELBO itself, of which higher is better.
        return -float(np.mean([float(model.get_elbo(indices=cells)) for _ in range(ELBO_DRAWS)]))


def agreement(positions: np.ndarray, labels: pd.Series) -> dict[str, float]:
    """Tell how well the types of the cells that have one are found again in a representation.

    Parameters
    ----------
    positions
        The position of each cell (cells x dimensions).
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
        return dict.fromkeys(MEASURES[1:], np.nan)
    types, inside = labels[known].astype(str).to_numpy(), positions[known]
    found = clusters.k_means_agreement(inside, types, KMEANS_SEEDS)
    return {
        "k-means ARI": found["k-means ARI"],
        "k-means NMI": found["k-means NMI"],
        "kNN accuracy": neighbours.label_accuracy(inside, types),
    }


# --- what decides a result ------------------------------------------------------------------------


def settings_key() -> str:
    """Name the versions and the code that decide a result, so that older runs are told apart."""
    versions = [importlib.metadata.version(name) for name in environment.PACKAGES]
    room = ROOT / "helpers" / "training"
    code = [file.read_text("utf-8") for file in (Path(__file__), *sorted(room.rglob("*.py")))]
    text = "\n".join([*versions, *code])
    return f"settings {hashlib.sha256(text.encode()).hexdigest()[:12]}"
