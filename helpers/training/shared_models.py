"""The models that several lessons share.

``python -m helpers.training`` trains them once, so that every later lesson can load them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import scvi
from scvi.model.base import BaseModelClass

from helpers import environment
from helpers.data import datasets
from helpers.genes import selection
from helpers.training import checkpoints
from helpers.training.runs import load_checkpoint, load_or_train

# How the models of lesson 06 see the blood cells.
BLOOD_SETUP: dict[str, dict[str, Any]] = {
    "SCVI": {},
    "TOTALVI": {"protein_expression_obsm_key": "protein_expression"},
}


def cortex_model(seed: int = 0, gene_likelihood: str = "zinb") -> BaseModelClass:
    """Return the untrained model of lesson 02, or that of lesson 05b.

    It is a default SCVI on the 2,000 selected genes of the cortex cells.

    Parameters
    ----------
    seed
        Seed of the session, and so of the initial weights.
    gene_likelihood
        "zinb", scVI's default, or "nb", without extra zeros, as in lesson 05b and in an exercise
        of lesson 04.
    """
    environment.prepare(seed)
    adata = datasets.load_cortex()
    selection.select(adata)
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    return scvi.model.SCVI(adata, gene_likelihood=gene_likelihood)


def blood_model(
    kind: str = "TOTALVI", seed: int = 0, proteins: Sequence[str] | None = None
) -> BaseModelClass:
    """Return an untrained model of lesson 06.

    It is on 2,000 genes of the blood cells, with their batches.

    Parameters
    ----------
    kind
        "TOTALVI", which sees the proteins too, or "SCVI", which does not.
    seed
        Seed of the session, and so of the initial weights.
    proteins
        The proteins that it is given; all if left out.
    """
    environment.prepare(seed)
    blood = datasets.load_citeseq()
    selection.select(blood, batch_key="batch")
    if proteins is not None:
        blood.obsm["protein_expression"] = blood.obsm["protein_expression"][list(proteins)]
    family = getattr(scvi.model, kind)
    family.setup_anndata(blood, layer="counts", batch_key="batch", **BLOOD_SETUP[kind])
    return family(blood)


def main() -> int:
    """Train and store the models that lessons share.

    Return the exit status, 1 if one could not be stored.
    """
    start = time.perf_counter()
    # In a log, each step of a progress bar would be a line of its own.
    bar = sys.stdout.isatty()
    for lesson, build, preset in (
        ("02", cortex_model, "class"),
        ("05b", partial(cortex_model, gene_likelihood="nb"), "class"),
        ("06", partial(blood_model, "TOTALVI"), "few cells"),
        ("06b", partial(blood_model, "SCVI"), "few cells"),
    ):
        model = build()
        if load_checkpoint(model, preset) is None:
            name = type(model).__name__
            print(
                f"Training the {name} of lesson {lesson} (less than half a minute, once) ...",
                flush=True,
            )
            load_or_train(model, preset, enable_progress_bar=bar)
            if not checkpoints.path(model.train_settings_, checkpoints.FOLDER).exists():
                return 1
    print(f"checkpoints ready in {time.perf_counter() - start:.0f} s")
    return 0
