"""Models of each kind on a few real cells, built in a moment."""

import numpy as np
import pandas as pd
import scvi

N_CELLS = 128


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
