# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · How do I do this with my own data?
#
# So far the cells came ready for use. Yours will not. This lesson takes a file with the usual faults, finds them before the training, mends them, and goes the
# whole way of lessons 01 to 05 in one script that you keep.
#
# **You will be able to**
#
# - read cells from the usual kinds of files;
# - tell from a report what must be mended before a training, and what is yours to decide;
# - get raw counts back where only normalised values are left;
# - run one script from your file to a page about your run, and read that page.
#
# **Time**: 35 minutes to read and run, 10 minutes for the questions. **Needs**: lessons [02](02_training.ipynb) and [04](04_loss.ipynb). [05c](05c_batches.ipynb) is useful.
#
# **With your own file.** Go through the lesson once as it is. Then drag your file into the list of files on the left, put its name into the next cell, and go through it again.

# %%
from helpers import environment, spoiled_cells

environment.prepare(seed=0)
file = spoiled_cells.write("../data/my_cells.h5ad")
print(file.name)

# %% [markdown]
# These are the 400 human blood cells of lesson 06, without their proteins, as a colleague might have left them. The cells are real; the faults were put in for this lesson. There are five.
#
# ## Read a file
#
# `reading.read` takes these kinds:
#
# | what you have | what to give |
# | --- | --- |
# | an AnnData file | `cells.h5ad` |
# | the output of Cell Ranger (10x Genomics) | `filtered_feature_bc_matrix.h5`, or the folder with `matrix.mtx.gz` |
# | a loom file | `cells.loom` |
# | a table of text, names in the first row and column | `counts.csv`, `.tsv` or `.txt`, also with `.gz`; with `genes_in="rows"` if a row is a gene |
#
# From Seurat or SingleCellExperiment (R), write an `.h5ad` first.

# %%
from helpers import reading

adata = reading.read(file)
print(adata.n_obs, "cells x", adata.n_vars, "genes")
print("layers:", *[name for name in adata.layers if name])
print("columns about the cells:", *adata.obs)

# %% [markdown]
# The [AnnData](../docs/glossary.md#anndata) has a matrix `X`, a [layer](../docs/glossary.md#layer-of-anndata) called `umi`, and two columns about the cells.
#
# > **Predict.** Which of the two matrices holds the counts? And would scVI tell you if you took the wrong one?
#
# ### You may think: "it trained, so the data were fine"
#
# Take the wrong one, and train. First only the preparation, on a copy. Python's warnings are caught, to print them.

# %%
import warnings

import scvi

from helpers import genes, training

wrong = spoiled_cells.with_values_as_counts(file)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    genes.select(wrong)
    scvi.model.SCVI.setup_anndata(wrong, layer="counts")
print(*[each.message for each in caught if "count data" in str(each.message)], sep="\n")

# %% [markdown]
# Two warnings, easily lost among others. Nothing stops you. Now train on it (about ten seconds).

# %% tags=["nbval-ignore-output", "progress"]
fooled = scvi.model.SCVI(wrong)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    training.train(fooled)

# %%
curve = training.curves(fooled)["held-out cells"]
print("the loss fell:", curve.iloc[-1] < 0.9 * curve.iloc[0])

# %% [markdown]
# A fine curve. So a falling loss does not prove that the numbers were counts. Remember where it ended; you will compare it later.
#
# ## Look before you train
#
# A pilot walks around the plane before each flight. Do the same: the *pre-flight report* looks at the cells as scVI would meet them, and changes nothing.

# %% tags=["nbval-ignore-output"]
from helpers import preflight

layer, batch_key, label_key = None, None, None
report = preflight.check(adata, layer, batch_key, label_key)
report

# %%
print(preflight.verdict(report))

# %% [markdown]
# Each row is a check, with a verdict:
#
# - `ok`;
# - `decide`: it runs, but look whether you mean it;
# - `mend`: it would fail, or give wrong results without a word.
#
# Where a line of Python mends it, the last column has the line. *Time* and *memory* are estimates from the measurements of lesson 07b.
#
# ## Mend, and look again
#
# > **Predict.** The first thing to mend says `layer = 'umi'`. What will the report say of that layer: is all well with it?

# %%
layer, batch_key, label_key = "umi", "day", "type"
report = preflight.check(adata, layer, batch_key, label_key)
report.loc[report["verdict"] != "ok", ["found", "verdict"]]

# %% [markdown]
# The layer has counts, and still a fault that no warning tells of. They are stored in 16 bits, which hold numbers up to 65,535. To select genes, scanpy squares the counts, and
# the square of a few hundred does not fit. It starts again at 0: an [overflow](../docs/glossary.md#overflow).
#
# ### You may think: "how numbers are stored does not matter"
#
# Select the genes twice, with the same numbers, stored in 16 bits and as floats.

# %%
chosen = {}
for kind in ("uint16", "float32"):
    stored = reading.read(file)
    stored.var_names_make_unique()
    stored.layers["counts"] = stored.layers["umi"].astype(kind)
    genes.select(stored)
    chosen[kind] = set(stored.var_names)
print("genes that differ:", len(chosen["float32"] - chosen["uint16"]), "of 2,000")

# %% [markdown]
# Now mend. Each line is from the report. Run the report again after the last one: a mended fault may have hidden another.

# %%
import numpy as np
import scipy.sparse as sp

adata.var_names_make_unique()
adata = adata[np.asarray(adata.layers["umi"].sum(axis=1)).ravel() > 0].copy()
adata.layers["umi"] = sp.csr_matrix(adata.layers["umi"], dtype="float32")
report = preflight.check(adata, layer, batch_key, label_key)
print(preflight.verdict(report))

# %% [markdown]
# Five faults: the counts were not in `X`, three droplets held no cell, two genes had one name, the layer overflowed, and the batches were not named.
#
# ### You may think: "`batch_key` makes any design good"
#
# The report also looks whether batch and label can be told apart. Here they can. Suppose that the B cells had all come from day 1 and all others from day 2:

# %%
confounded = adata[adata.obs["type"].notna()].copy()
confounded.obs["day"] = np.where(confounded.obs["type"] == "B cells", 1, 2)
unlucky = preflight.check(confounded, layer, batch_key, label_key)
print(unlucky.loc["batch and label", "found"])

# %% [markdown]
# That is [confounding](../docs/glossary.md#confounding), and no line of Python mends it. Look for it before the experiment; afterwards you can only say so.
#
# ## If the counts are gone
#
# Many published files have only normalised values. The 700 blood cells that scanpy carries are such a file: `X` is scaled, `raw` log-normalised.

# %%
import scanpy as sc

from helpers import raw_counts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the file has an older layout
    scaled = sc.datasets.pbmc68k_reduced()
print(preflight.check(scaled).loc["counts", "found"])

# %% [markdown]
# Scaled values are lost for scVI. But what was only divided by the total of the cell, with or without a logarithm, can be turned back. In such values all counts of a cell are multiples
# of the smallest one, and that is a single molecule.
#
# > **Predict.** How do you find out whether the numbers that come back are the true counts?

# %%
recovered = raw_counts.recover(scaled.raw.X)
whole = recovered.data == np.rint(recovered.data)
print("cells x genes:", recovered.shape, "· largest count:", int(recovered.max()))
totals = recovered.sum(axis=1).A1
known = scaled.obs["n_counts"].to_numpy()
print("no total above the published one:", (totals <= known).all())

# %% [markdown]
# That *all* values come out as whole numbers, within a tenth of a molecule, is the proof: `recover` raises an error if one does not. The file also keeps the total of each cell, of all
# genes. The recovered counts, of some of the genes, never exceed it.
#
# Values that were corrected for batches, smoothed or scaled cannot be turned back. Ask the authors for counts.
#
# ## The whole way, in one script
#
# Now lessons 01 to 05 in one go. The kit has a script for that, `scripts/my_run.py`. It has five settings, in capitals; `run_script.write` fills them in, with the lines that mend.

# %%
from helpers import run_script

mending = [
    "adata.var_names_make_unique()",
    "adata = adata[np.asarray(adata.layers['umi'].sum(axis=1)).ravel() > 0].copy()",
    "adata.layers['umi'] = sp.csr_matrix(adata.layers['umi'], dtype='float32')",
]
settings = {"FILE": str(file), "LAYER": layer, "BATCH": batch_key, "LABEL": label_key}
script = run_script.write("../data/my_run.py", mending, RESULTS="../data/my_run", **settings)
print(script.read_text().partition('"""\n')[2])

# %% [markdown]
# Some fifty lines, most of which you know. Keep this file with your results: it says what was done. Run it here, or in a terminal, in this folder:
# `../.venv/bin/python ../data/my_run.py`. It takes about half a minute. If it is stopped, run it again.

# %% tags=["nbval-ignore-output", "progress"]
import runpy

run = runpy.run_path(script)
model, findings = run["model"], run["findings"]

# %% [markdown]
# In the folder `data/my_run` there are now three things: the cells with their latent space, clusters and map (`cells.h5ad`), the trained model (`model`), and a page about the run:
# `report.html`. Double-click on it in the list of files on the left. It is a single file, figures included, that opens in any browser, without a network.
#
# ## Read the page
#
# The page begins with verdicts. Here they are once more:

# %% tags=["nbval-ignore-output"]
from helpers import run_report

verdicts = run_report.verdicts(model, findings, "type")
verdicts

# %% [markdown]
# Read them as you read the pre-flight report: not every verdict has to be `ok`. Each is a question to you.

# %%
from helpers import architecture, elbo

print(architecture.summary(model))
ledger = elbo.ledger(model)
print("KL weight at the end:", ledger["kl_weight"].iloc[-1])
print("the parts add up to the loss:", bool(ledger["residual"].abs().max() < 0.01))

# %% [markdown]
# The two questions of this course, answered for your model: the hidden layers, and the loss.
#
# ### You may think: "the lower loss has the better model"
#
# You have two models of the same cells: one of log-normalised values, one of counts.
#
# > **Predict.** Which ended with the lower negative ELBO?

# %%
on_counts = training.curves(model)["held-out cells"]
print("log-normalised values end lower:", curve.iloc[-1] < on_counts.iloc[-1])

# %% [markdown]
# The wrong one! It describes *other numbers*, smaller and less spread, and smaller numbers cost fewer nats. A loss can only be compared between models of the same counts, the same genes and the same
# held-out cells (lesson 07).
#
# ## The answer

# %%
print(
    f"Mended with {len(mending)} lines, and by naming layer and batch: {preflight.verdict(report)}"
)
print(f"From file to page: {len(script.read_text().splitlines())} lines, which you keep.")
print(f"On the page: {len(verdicts)} verdicts, each a question to you.")

# %% [markdown]
# Read the file, look before you train, mend with a line where a line can mend, and decide the rest. Then run the script, and read the page before you believe the map.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | It trained, so the data were fine. | scVI warns of values that are no counts, and trains on them all the same. |
# | How numbers are stored does not matter. | In 16 bits the squares of counts overflow, and other genes are selected, without a word. |
# | `batch_key` makes any design good. | If batch and kind of cell are the same, nothing does. |
# | Normalised values are lost for scVI. | Those that were only divided by the total can be turned back, and the result proves itself. |
# | The lower loss has the better model. | Only for the same counts, genes and held-out cells. |
#
# ## Check yourself
#
# <details><summary>1. <code>X</code> of your file holds 0.69, 1.1, 1.39 and so on, and there is no layer. What do you do?</summary>
#
# These are ln(2), ln(3) and ln(4): ln(1 + count), not even divided by a total. `raw_counts.recover` turns them back; the pre-flight report says so.
#
# </details>
#
# <details><summary>2. The report says <code>decide</code> about 12 cells with fewer than 200 counts. Why does it not drop them for you?</summary>
#
# Because it cannot know. They may be empty droplets, or small cells with little RNA, such as platelets. Look at them: at their genes, and at a histogram of the totals.
#
# </details>
#
# <details><summary>3. You set <code>BATCH</code> to the column with the number of counts of each cell. What does the report say?</summary>
#
# `mend`: so many values are no batches. scVI would give each value weights of its own, from one or two cells.
#
# </details>
#
# <details><summary>4. Your run ends with "falls by about 3 nats: train longer". Is the run useless?</summary>
#
# No. The latent space is usable, and may still get a little better. Train longer, and see whether what you found stays.
#
# </details>
#
# <details><summary>5. A colleague sends you a folder with a trained model. Why not simply load it?</summary>
#
# A model file of scvi-tools can run any code when it is loaded. Load only what you trust; better, ask for the script and the counts, and train it yourself.
#
# </details>
#
# **Try it.** Use your own file: change `file` in the first cell to its name, set `layer`, `batch_key` and `label_key`, and go down again. No file at hand? Take a table of text. In a new cell:
#
# ```python
# some = adata[:, :300]
# some.to_df("umi").T.to_csv("../data/table.csv")
# table = reading.read("../data/table.csv")
# preflight.check(table)
# ```
#
# <details><summary>What to look for</summary>
#
# The report finds that cells and genes have changed places, and has the line that turns the table. `reading.read("../data/table.csv", genes_in="rows")` reads it right at once.
#
# </details>
#
# This was the last lesson. What the words mean is in the [glossary](../docs/glossary.md).
