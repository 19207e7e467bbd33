r"""Train scVI on your own cells and keep what comes out: lessons 01 to 05 in one script.

Change the lines in capitals, then run it with the Python of the kit, from any folder:
.venv/bin/python scripts/my_run.py (Windows: .venv\Scripts\python scripts\my_run.py). If it is
stopped, run it again: a finished training is not repeated.

It also runs where the kit is not installed, with scvi-tools, scanpy, igraph and scikit-misc. Then
it reads .h5ad and 10x .h5 only, begins a training anew, and writes no page.
"""

from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
import scipy.sparse as sp
import scvi

try:
    from helpers import environment, genes, training
    from helpers.latent import clusters, embeddings
    from helpers.own_data import (
        preflight,
        raw_counts,  # noqa: F401 -- for lines that repair
        reading,
        rehearsal,
        run_report,
        writing,
    )

    with_kit = True
except ImportError:
    with_kit = False

FILE = "my_cells.h5ad"  # .h5ad, .h5 or folder of 10x Genomics, .h5mu, .zarr, .loom, .csv, .tsv
GENES_IN = None  # only for a table of text: "rows" if each row is a gene
LAYER = None  # where the raw counts are: None for X, or the name of a layer
BATCH = None  # the column of obs with the batches, if there are any
LABEL = None  # the column of obs with what you know of the cells, if you know anything
PRESET = "class"  # "class": quick; "default": as long as scvi-tools trains by default
RESULTS = "my_run"  # the folder for what comes out

# Paths begin in the folder of this script, wherever it is started; a file may also be named from
# the folder in which it is started.
here, kit_version = Path(__file__).resolve().parent, "0.1.0"
file, results = here / Path(FILE).expanduser(), here / Path(RESULTS).expanduser()
file = file if file.exists() else Path(FILE)

if with_kit:
    environment.prepare(seed=0)
    adata = reading.read(file, GENES_IN)
else:
    scvi.settings.seed = 0
    adata = sc.read_10x_h5(file) if file.suffix == ".h5" else ad.read_h5ad(file)
# Repair here what the pre-flight report asks for, for example: adata.var_names_make_unique()

if with_kit:
    findings = preflight.check(adata, LAYER, BATCH, LABEL)
    print(preflight.verdict(findings), preflight.text(findings), sep="\n")
    preflight.require_ready(findings)
    adata, changed = writing.writeable(adata)
    print(*changed, sep="\n", end="\n" if changed else "")
    rehearsal.make_room(adata)

counts = adata.X if LAYER is None else adata.layers[LAYER]
values = sp.csr_matrix(counts).data
if (values < 0).any() or (values != np.rint(values)).any():
    raise SystemExit("These are no counts. What to do: name the layer that holds them, LAYER = ...")

# Write the cells before the training: if that fails, it fails now.
results.mkdir(parents=True, exist_ok=True)
adata.write_h5ad(results / "cells.h5ad")

# The training sees the selected genes; all genes stay in adata.
selected = ad.AnnData(counts, obs=adata.obs, var=adata.var, layers={"counts": counts})
if selected.n_vars > 2000 and with_kit:
    genes.select(selected, batch_key=BATCH)
elif selected.n_vars > 2000:
    how = {"n_top_genes": 2000, "flavor": "seurat_v3", "layer": "counts", "subset": True}
    sc.pp.highly_variable_genes(selected, batch_key=BATCH, **how)
scvi.model.SCVI.setup_anndata(selected, layer="counts", batch_key=BATCH)
model = scvi.model.SCVI(selected)
if with_kit:
    training.load_or_train(model, PRESET)
else:
    quick = {"max_epochs": 60, "plan_kwargs": {"lr": 4e-3}} if PRESET == "class" else {}
    model.train(check_val_every_n_epoch=1, **quick)
model.save(str(results / "model"), overwrite=True, save_anndata=True)

latent_space = model.get_latent_representation()
if with_kit:
    found = clusters.leiden(clusters.graph(latent_space))
    map_of_cells = embeddings.umap(latent_space)
else:
    joined = ad.AnnData(latent_space)
    sc.pp.neighbors(joined, use_rep="X")
    sc.tl.leiden(joined, 0.5, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.umap(joined)
    found, map_of_cells = joined.obs["leiden"].to_numpy(), joined.obsm["X_umap"]
for cells in (adata, selected):
    cells.obsm["X_scVI"], cells.obsm["X_umap"] = latent_space, map_of_cells
    cells.obs["scvi_cluster"] = found
adata.write_h5ad(results / "cells.h5ad")
model.save(str(results / "model"), overwrite=True, save_anndata=True)

print(f"Run with scvi-tools {scvi.__version__} and the script of the teaching kit {kit_version}.")
print(f"Cells and model: {results}")
if with_kit:
    page = run_report.write(results / "report.html", model, findings, file, label_key=LABEL)
    print(f"The page about this run: {page.resolve()}")
