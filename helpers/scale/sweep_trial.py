"""What one trial of a sweep does, in a process of its own, on whichever machine Ray has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata as ad
import pandas as pd
import ray
import scvi
from ray import tune

from helpers import environment
from helpers.layers import model_anatomy
from studies import presets

# Ray looks for this one while a trial runs; it is what scvi-tools calls the negative ELBO of the
# held-out cells.
METRIC = "elbo_validation"

# What a trial reports at its end, in the order of the table.
MEASURES = (
    "negative ELBO",
    "k-means ARI",
    "k-means NMI",
    "kNN accuracy",
    "hidden layers",
    "trained parameters",
    "CPU seconds",
    "wall seconds",
    "epochs",
    "held-out cells",
)


def types(adata: ad.AnnData) -> pd.Series:
    """Return the type of each cell, missing where it is not known."""
    known = "cell_type" in adata.obs
    return presets.cell_types(adata) if known else presets.no_types(adata)


class Trial(scvi.model.SCVI):
    """SCVI that is built from a seed, trains with a preset of the kit, and reports to Ray how good it became.

    ``scvi.autotune`` builds one in each trial, and calls its ``train``.

    Parameters
    ----------
    adata
        Cells that were registered with ``Trial.setup_anndata``, with their types in
        ``obs["cell_type"]`` if they are known.
    seed
        Seed of the initial weights, of the choice of held-out cells and of the training.
    **model_params
        As for ``SCVI``.
    """

    def __init__(self, adata: ad.AnnData, seed: int = 0, **model_params: Any) -> None:
        environment.prepare(seed)
        super().__init__(adata, **model_params)

    def train(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, callbacks: Sequence[Any], preset: str = "class", **train_params: Any
    ) -> None:
        """Train, judge, and report ``MEASURES``.

        Parameters
        ----------
        callbacks
            What reports each epoch to Ray.
        preset, **train_params
            As for ``training.train``.
        """
        # It would take the history of the run out of the model, and into files of its own.
        train_params.pop("logger", None)
        # training.train calls the model's own train, which from here on is that of scvi-tools.
        self.train = super().train
        costs = presets.train_measured(self, preset, callbacks=callbacks, **train_params)
        anatomy = model_anatomy.read(self)
        report = {
            **costs,
            **presets.judge(self, self.validation_indices, types(self.adata)),
            "hidden layers": str(anatomy.hidden_layers),
            "trained parameters": int(anatomy.parameters["trained"]),
        }
        report = {name: report[name] for name in MEASURES}
        node = ray.get_runtime_context().get_node_id()
        tune.report(report | {METRIC: report["negative ELBO"], "node": node})
