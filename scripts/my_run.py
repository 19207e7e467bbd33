r"""Train scVI on your own cells and keep what comes out: lessons 01 to 05 in one script.

Change the lines in capitals, then run it with the Python of the kit: .venv/bin/python
scripts/my_run.py (Windows: .venv\Scripts\python scripts\my_run.py). If it is stopped, run it again:
a finished training is not repeated.
"""

from pathlib import Path

import anndata as ad
import numpy as np  # noqa: F401 -- for lines that repair
import scipy.sparse as sp  # noqa: F401 -- for lines that repair
import scvi

from helpers import data, environment, genes, training
from helpers.latent import clusters, embeddings
from helpers.own_data import (
    preflight,
    raw_counts,  # noqa: F401 -- for lines that repair
    reading,
    rehearsal,
    run_report,
    writing,
)

FILE = "my_cells.h5ad"  # .h5ad, .h5 or folder of 10x Genomics, .h5mu, .zarr, .loom, .csv, .tsv
GENES_IN = None  # only for a table of text: "rows" if each row is a gene
LAYER = None  # where the raw counts are: None for X, or the name of a layer
BATCH = None  # the column of obs with the batches, if there are any
LABEL = None  # the column of obs with what you know of the cells, if you know anything
PRESET = "class"  # "class": quick; "default": as long as scvi-tools trains by default
RESULTS = "my_run"  # the folder for what comes out

environment.prepare(seed=0)
adata = reading.read(FILE, GENES_IN)
# Repair here what the pre-flight report asks for, for example: adata.var_names_make_unique()

findings = preflight.check(adata, LAYER, BATCH, LABEL)
print(preflight.verdict(findings), preflight.text(findings), sep="\n")
preflight.require_ready(findings)

# Write them before the training, with what a file can hold: then the result can be written, too.
results = Path(RESULTS)
adata, changed = writing.writeable(adata)
rehearsal.make_room(adata)
writing.write(results / "cells.h5ad", adata)
print(*changed, sep="\n", end="\n" if changed else "")

# The training sees the selected genes; all genes stay in adata.
counts = adata.X if LAYER is None else adata.layers[LAYER]
selected = ad.AnnData(counts, obs=adata.obs, var=adata.var, layers={"counts": counts})
if selected.n_vars > 2000:
    genes.select(selected, batch_key=BATCH)
data.check_counts(selected, layer="counts", batch_key=BATCH)
scvi.model.SCVI.setup_anndata(selected, layer="counts", batch_key=BATCH)
model = training.load_or_train(scvi.model.SCVI(selected), PRESET)

latent_space = model.get_latent_representation()
found = clusters.leiden(clusters.graph(latent_space))
map_of_cells = embeddings.umap(latent_space)
for cells in (adata, selected):
    cells.obsm["X_scVI"], cells.obsm["X_umap"] = latent_space, map_of_cells
    cells.obs["scvi_cluster"] = found

writing.write(results / "cells.h5ad", adata)
model.save(str(results / "model"), overwrite=True, save_anndata=True)
page = run_report.write(results / "report.html", model, findings, FILE, label_key=LABEL)
print(f"The page about this run: {page.resolve()}")
