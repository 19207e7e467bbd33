"""scVI's default run on the cortex cells, made once and kept, so that nobody waits for its 400 epochs.

``python -m studies.default_run`` (``make reference-run``) trains it and writes
``docs/reference_run.csv``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pandas as pd

from helpers import results, training
from helpers.loss import loss_ledger
from helpers.paths import DOCS

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

FILE = DOCS / "reference_run.csv"

SEED = 0

# What the file keeps of the ledger; the rest can be computed from these.
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
    return training.load_or_train(training.cortex_model(SEED), preset="default", **train_kwargs)


def load() -> pd.DataFrame:
    """Return the kept run: some columns of ``loss_ledger.ledger``, a row an epoch, in nats per cell."""
    return results.load(FILE, index_col="epoch")


def origin() -> str:
    """Return one line that says how the kept run was made: model, seed and versions."""
    return results.origin(FILE)


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
    results.write(FILE, table.reset_index(), what, packages, "make reference-run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
