"""scVI's default run of 400 epochs on the cortex cells, which lessons 02 and 04 show."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from helpers import training
from helpers.loss import loss_ledger
from helpers.training import shared_models
from studies import keeping
from studies.catalogue import Study

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

STUDY = Study(
    name="default_run",
    question="How do the parts of the loss go in 400 epochs of default training?",
    minutes=5,
    writes=("docs/results/default_run.csv",),
)

SEED = 0

# What is kept of ``loss_ledger.ledger``, in nats per cell; the rest can be computed from these.
COLUMNS = [
    "reconstruction",
    "kl",
    "kl_weight",
    "train_loss",
    "elbo",
    "held_out_reconstruction",
    "held_out_kl",
    "held_out_loss",
    "held_out_elbo",
]


def train(**train_kwargs: Any) -> BaseModelClass:
    """Return scVI after its default training on the cortex cells.

    Parameters
    ----------
    **train_kwargs
        As for ``training.train``, such as fewer ``max_epochs``: the warm-up takes 400 epochs
        however many are run, so these are then the first ones of the whole run.
    """
    return training.load_or_train(
        shared_models.cortex_model(SEED), preset="default", **train_kwargs
    )


def main() -> int:
    """Train the default run and write the file; return the exit status."""
    print("Training scVI for 400 epochs (about five minutes, once) ...", flush=True)
    # In a log, each step of a progress bar would be a line of its own.
    model = train(enable_progress_bar=sys.stdout.isatty())
    what = (
        f"SCVI on {model.adata.n_obs:,} cortex cells x {model.adata.n_vars:,} genes, default "
        f"training, seed {SEED}"
    )
    table = loss_ledger.ledger(model)[COLUMNS]
    packages = ("scvi-tools", "torch", "numpy")
    keeping.write(STUDY.name, table.reset_index(), what, packages)
    return 0
