"""Small models, trained in a moment, and a spy that notes every loss of their training."""

import contextlib
import functools
import math

import numpy as np
import pandas as pd
import scvi

from helpers import data, genes

QUIET = {"enable_progress_bar": False}
EVERY = {"check_val_every_n_epoch": 1} | QUIET


# --- small models -------------------------------------------------------------------------------


def small_pbmc(whole):
    """Return 700 cells x 200 genes with a made-up batch, and cell types of which half are known."""
    adata = whole.copy()
    genes.select(adata, 200)
    adata.obs["chip"] = pd.Categorical(["a", "b"] * 350)
    known = np.random.default_rng(0).random(adata.n_obs) < 0.5
    adata.obs["known"] = np.where(known, adata.obs["cell_type"].astype(str), "?")
    return adata


def small_citeseq():
    """Return 400 cells x 200 genes and 14 proteins with a made-up batch."""
    adata = data.load_citeseq()
    genes.select(adata, 200)
    adata.obs["chip"] = pd.Categorical(["a", "b"] * 200)
    return adata


def build(adata, kind="SCVI", setup=None, **parameters):
    """Return an untrained model with its own copy of the cells, always with the same weights."""
    scvi.settings.seed = 0
    family = getattr(scvi.model, kind)
    adata = adata.copy()
    family.setup_anndata(adata, layer="counts", **setup or {})
    return family(adata, **parameters)


def build_totalvi(adata):
    setup = {"protein_expression_obsm_key": "protein_expression", "batch_key": "chip"}
    # Fitting the priors of the proteins takes longer than all the rest, and is not looked at here.
    return build(adata, "TOTALVI", setup, empirical_protein_background_prior=False)


# --- the spy ------------------------------------------------------------------------------------


@contextlib.contextmanager
def spied(model):
    """Yield a list that fills with what the module's own ``loss`` returned, call by call.

    Neither a hook nor Lightning takes part: the method itself is replaced on this module.
    """
    calls = []
    original = model.module.loss

    # Training plans read from the method's signature whether it takes a KL weight.
    @functools.wraps(original)
    def loss(tensors, inference, generative, *args, **kwargs):
        output = original(tensors, inference, generative, *args, **kwargs)
        terms = output.reconstruction_loss | output.kl_local
        centre, width = (
            part.detach().double() for part in (inference["qz"].loc, inference["qz"].scale)
        )
        calls.append(
            {
                # Not module.training: scvi-tools leaves that off when a model is trained further.
                "training": output.loss.requires_grad,
                "cells": len(tensors["X"]),
                "batch": tensors["batch"].flatten().numpy(),
                # A number, because a training plan may add to the tensor later.
                "loss": output.loss.item(),
                "kl_weight": float(kwargs.get("kl_weight", math.nan)),
                "terms": {
                    name: term.detach().double().mean().item() for name, term in terms.items()
                }
                | (
                    {}
                    if output.classification_loss is None
                    else {"classification_loss": output.classification_loss.item()}
                ),
                "kl per dimension": ((width**2 + centre**2 - 1) / 2 - width.log()).mean(0).numpy(),
            }
        )
        return output

    model.module.loss = loss
    try:
        yield calls
    finally:
        del model.module.loss


def in_epochs(calls, minibatches):
    """Number the calls of one training run.

    Epochs count from 1, steps from 0; the trial run of the validation is dropped.
    """
    step, numbered = 0, []
    for call in calls:
        if call["training"]:
            numbered.append(call | {"epoch": step // minibatches + 1, "step": step})
            step += 1
        elif step:
            numbered.append(call | {"epoch": (step - 1) // minibatches + 1, "step": step - 1})
    return numbered


def mean_over_cells(calls, read):
    """Return the mean of a number, each minibatch counted by its cells, epoch by epoch."""
    table = pd.DataFrame(
        [{"epoch": c["epoch"], "cells": c["cells"], "value": read(c) * c["cells"]} for c in calls]
    )
    sums = table.groupby("epoch").sum()
    return sums["value"] / sums["cells"]


def minibatches_of(model, batch_size):
    return math.ceil(len(model.train_indices) / batch_size)


def of_kind(calls, cells):
    return [call for call in calls if call["training"] == (cells == "training")]
