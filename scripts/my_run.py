r"""Train scVI on your own cells and keep what comes out: lessons 01 to 05 in one script.

Change the lines in capitals, then run it with the Python of the kit: .venv/bin/python scripts/my_run.py
(Windows: .venv\Scripts\python scripts\my_run.py). If it is stopped, run it again: a finished training is not repeated.
"""

from pathlib import Path

import numpy as np  # noqa: F401 -- for lines that mend
import scipy.sparse as sp  # noqa: F401 -- for lines that mend
import scvi

from helpers import (
    clusters,
    embeddings,
    environment,
    genes,
    preflight,
    raw_counts,  # noqa: F401 -- for lines that mend
    reading,
    run_report,
    training,
)

FILE = "my_cells.h5ad"  # .h5ad, .h5 or folder of 10x Genomics, .loom, .csv, .tsv
LAYER = None  # where the raw counts are: None for X, or the name of a layer
BATCH = None  # the column of obs with the batches, if there are any
LABEL = None  # the column of obs with what you know of the cells, if you know anything
RESULTS = "my_run"  # the folder for what comes out

environment.prepare(seed=0)
adata = reading.read(FILE)
# Mend here what the pre-flight report asks for, for example: adata.var_names_make_unique()

findings = preflight.check(adata, LAYER, BATCH, LABEL)
print(findings.to_string(), preflight.verdict(findings), sep="\n\n")
preflight.require_ready(findings)

adata.layers["counts"] = adata.X.copy() if LAYER is None else adata.layers[LAYER]
if adata.n_vars > 2000:
    genes.select(adata, batch_key=BATCH)
scvi.model.SCVI.setup_anndata(adata, layer="counts", batch_key=BATCH)
model = training.load_or_train(scvi.model.SCVI(adata))

adata.obsm["X_scVI"] = model.get_latent_representation()
adata.obs["cluster"] = clusters.leiden(clusters.graph(adata.obsm["X_scVI"]))
adata.obsm["X_umap"] = embeddings.umap(adata.obsm["X_scVI"])

results = Path(RESULTS)
results.mkdir(parents=True, exist_ok=True)
adata.write_h5ad(results / "cells.h5ad")
model.save(str(results / "model"), overwrite=True)
page = run_report.write(results / "report.html", model, findings, FILE, label_key=LABEL)
print(f"Report: {page.resolve()}")
