"""Models of each kind on a few real cells, built in a moment."""

import numpy as np
import pandas as pd
import scvi

from helpers import genes

N_CELLS = 128

# Enough to train something on 700 cells in a second or two.
SHORT = {"max_epochs": 2, "enable_progress_bar": False}


def few(whole, n_genes):
    """Return cells at even steps with the genes that have most counts, and made-up covariates."""
    rows = np.linspace(0, whole.n_obs - 1, N_CELLS).astype(int)
    genes = np.sort(np.asarray(whole.layers["counts"].sum(axis=0)).ravel().argsort()[-n_genes:])
    adata = whole[rows, genes].copy()
    numbers = np.random.default_rng(0)
    adata.obs["chip"] = pd.Categorical(numbers.choice(["a", "b"], N_CELLS))
    adata.obs["plate"] = pd.Categorical(numbers.choice(["p", "q", "r"], N_CELLS))
    adata.obs["age"] = numbers.normal(size=N_CELLS)
    adata.obs["type"] = pd.Categorical(numbers.choice(["x", "y", "z"], N_CELLS))
    adata.obs["known"] = adata.obs["type"].astype(str).where(numbers.random(N_CELLS) < 0.5, "?")
    adata.obs["subtype"] = adata.obs["type"].astype(str) + numbers.choice(["1", "2"], N_CELLS)
    return adata


SETUP = {
    "SCANVI": {"labels_key": "type", "unlabeled_category": "?"},
    "TOTALVI": {"protein_expression_obsm_key": "protein_expression"},
    "CondSCVI": {"labels_key": "type"},
}
# Fitting the priors of the proteins takes longer than all the rest, and changes no layer.
BUILD = {"TOTALVI": {"empirical_protein_background_prior": False}}


def build(adata, kind="SCVI", setup=None, **parameters):
    family = getattr(scvi.model, kind)
    family.setup_anndata(adata, layer="counts", **SETUP.get(kind, {}) | (setup or {}))
    return family(adata, **BUILD.get(kind, {}) | parameters)


def on_two_chips(pbmc):
    """Keep 200 genes of the 700 blood cells, in place, with a made-up batch, and return them."""
    genes.select(pbmc, 200)
    pbmc.obs["chip"] = pd.Categorical(["a", "b"] * 350)
    return pbmc


def new_model(adata, seed=0, batch_key=None, **parameters):
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(adata, layer="counts", batch_key=batch_key)
    return scvi.model.SCVI(adata, **parameters)
