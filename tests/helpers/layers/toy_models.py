"""Models of made-up cells, built in a moment: with covariates, and waiting for new batches."""

import numpy as np
import pandas as pd
import scvi

N_GENES = 30


def toy_cells(n_batches=3):
    """Return 60 cells of each batch x 30 genes, with labels, two covariates and a number."""
    adata = scvi.data.synthetic_iid(batch_size=60, n_genes=N_GENES, n_batches=n_batches, n_labels=3)
    adata.X = adata.X.astype("float32")
    cells = np.arange(adata.n_obs)
    adata.obs["donor"] = pd.Categorical(np.where(cells % 2, "d1", "d2"))
    adata.obs["site"] = pd.Categorical(np.array(["x", "y", "z"])[cells % 3])
    adata.obs["known"] = np.where(cells % 2, adata.obs["labels"].astype(str), "?")
    adata.obs["age"] = np.linspace(-1, 1, adata.n_obs)
    adata.obs["size"] = adata.X.sum(axis=1) / adata.X.sum(axis=1).mean()
    adata.layers["scaled"] = np.log1p(adata.X)
    return adata


def toy_model(family=scvi.model.SCVI, setup=None, adata=None, **parameters):
    adata = toy_cells() if adata is None else adata
    family.setup_anndata(adata, **{"batch_key": "batch", **(setup or {})})
    return family(adata, **parameters)


# As scvi-tools' guide asks for if new cells are to be mapped to the model.
TO_MAP_TO = {
    "n_layers": 2,
    "encode_covariates": True,
    "use_layer_norm": "both",
    "use_batch_norm": "none",
}


def waiting(family=scvi.model.SCVI, setup=None, freeze=None, **parameters):
    """Return a trained model that waits for the cells of two new batches."""
    reference = toy_model(family, setup, **parameters)
    reference.train(max_epochs=1, enable_progress_bar=False)
    query = toy_cells()
    new = np.where(np.arange(query.n_obs) % 2, "new 1", "new 2")
    query.obs["batch"] = pd.Categorical(new)
    return family.load_query_data(query, reference, **(freeze or {}))
