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
# So far the cells came ready for use. Yours will not. This lesson takes a file with the usual
# faults, finds them before the training, repairs them, and goes the whole way of lessons 01 to 05
# in one script that you keep (with the kit, whose helpers it imports).
#
# **You will be able to**
#
# - read cells from the usual kinds of files;
# - tell from a report what must be repaired before a training, and what is yours to decide;
# - get raw counts back where only normalised values are left, and test whether they are right;
# - run one script from your file to a page about your run, and read that page.
#
# **Time**: 40 minutes to read and run, 25 minutes for the quiz and the exercises. **Needs**:
# lessons [01](01_genes.ipynb) to [05](05_latent_space.ipynb). [05c](05c_batches.ipynb) is useful.
#
# **With your own file.** Do the lesson once with our cells. Then go to *Your own file* near the
# end: four cells, and nothing of yours is changed.

# %%
from helpers import environment
from helpers.own_data import messy_data

environment.prepare(seed=0)
file = messy_data.write("../data/spoiled_cells.h5ad")
print(file.name)

# %% [markdown]
# These are 400 human blood cells, as a colleague might have left them. The cells are real. The
# faults were put in for this lesson. There are five.
#
# ## Read a file
#
# `reading.read` takes these kinds:
#
# | what you have | what to give |
# | --- | --- |
# | an AnnData or MuData file | `cells.h5ad`, `cells.zarr`, `cells.h5mu` |
# | the output of Cell Ranger (10x Genomics) | `filtered_feature_bc_matrix.h5`, or the folder with `matrix.mtx.gz` |
# | the output of STARsolo, kallisto or alevin | the folder with the `.mtx` file and its files of names |
# | a loom file (an older format for such tables) | `cells.loom` |
# | a table of text, names in the first row and column | `counts.csv`, `.tsv` or `.txt`, also with `.gz`; with `genes_in="rows"` if a row is a gene |
# | a Seurat object (R) | an `.h5ad` that you write in R: `zellkonverter::writeH5AD(as.SingleCellExperiment(object), "cells.h5ad", X_name = "counts")`. A merged object of Seurat 5 has a layer for each sample: before it, `object <- JoinLayers(object)`, and if that is not enough `object[["RNA"]] <- as(object[["RNA"]], Class = "Assay")` |
#
# Several samples? Read each one, and join them:
# `ad.concat({"first": one, "second": other}, label="sample", index_unique="-")`, after
# `import anndata as ad`.

# %%
from helpers.own_data import reading

adata = reading.read(file)
print(adata.n_obs, "cells x", adata.n_vars, "genes")
print("layers:", *[name for name in adata.layers if name])
print("columns about the cells:", *adata.obs)

# %% [markdown]
# The [AnnData](../docs/glossary.md#anndata) has a matrix `X`, a
# [layer](../docs/glossary.md#layer-of-anndata) called `umi`, and two columns about the cells:
# `day`, when a cell was measured, and `type`, what the proteins on its surface say it is. scVI will
# never see `type`; it is there to compare with. Here are two genes in three cells:

# %%
some = adata[:3, adata.var_names.isin(["B2M", "CD74"])]
for name, matrix in {"X": some.X.toarray(), "umi": some.layers["umi"]}.items():
    print(name, *matrix.round(1))

# %% [markdown]
# > **Predict.** Which of the two holds [counts](../docs/glossary.md#count)? And would scVI stop you
# > if you took the other one?
#
# ### You may think: "it trained, so the data were fine"
#
# Take the other one, `X`, and train. First only the preparation, on a copy. Python's warnings are
# caught, to print those about counts.

# %%
import warnings

import scvi

from helpers import genes, training

wrong = messy_data.with_values_as_counts(file)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    genes.select(wrong)
    scvi.model.SCVI.setup_anndata(wrong, layer="counts")
print(*[each.message for each in caught if "count data" in str(each.message)], sep="\n")

# %% [markdown]
# The first warning is scanpy's, the second scVI's. Neither stops you. Train on it (about ten
# seconds).

# %% tags=["nbval-ignore-output", "progress"]
fooled = scvi.model.SCVI(wrong)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    training.train(fooled)

# %%
of_values = training.curves(fooled)
del wrong, fooled  # to free their memory
training.plot_curves(of_values)

# %% [markdown]
# The loss falls as it should. Yet these were not counts. So a falling loss does not prove anything
# about the numbers. Remember where it ends; you will compare it later.
#
# ## Look before you train
#
# A pilot walks around the plane before each flight. Do the same: the
# [pre-flight report](../docs/glossary.md#pre-flight-report) looks at the cells as scVI would meet
# them, and changes nothing.

# %% tags=["nbval-ignore-output"]
from helpers.own_data import preflight

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
# - `repair`: it would fail, or give wrong results without a word.
#
# Where a line of Python repairs it, the last column has the line. *Time* and *memory* are estimates
# from the measurements of lesson 07b.
#
# What the report does *not* look at: cells that were dying, two cells in one droplet, RNA that
# floated in from other cells. "Ready" means that scVI can train on these numbers, not that each row
# is a good cell. For dying cells there is `sc.pp.calculate_qc_metrics`, for two cells in one
# droplet `sc.pp.scrublet`, which wants each sample by itself. RNA that floated in is a matter for
# CellBender or SoupX, which need the raw matrix of Cell Ranger, with the empty droplets. Use them
# first.
#
# ## Repair, and look again
#
# > **Predict.** The first thing to repair says `layer = 'umi'`. What will the report say of that
# > layer: is all well with it?

# %%
layer, batch_key, label_key = "umi", "day", "type"
report = preflight.check(adata, layer, batch_key, label_key)
report.loc[report["verdict"] != "ok", ["found", "verdict"]]

# %% [markdown]
# The layer has counts, and still a fault that no warning tells of. They are stored in 16 bits
# (`uint16`), which hold whole numbers up to 65,535. To select genes, scanpy squares the counts, and
# the square of 256 is one too many. It starts again at 0: an
# [overflow](../docs/glossary.md#overflow). Most other tools store counts in 32 bits, with room for
# fractions (`float32`).
#
# ### You may think: "how numbers are stored does not matter"
#
# Take a quarter of the genes (to save memory), and select 2,000 of them twice: from the same
# numbers, stored in 16 bits and as floats.

# %%
chosen = {}
for kind in ("uint16", "float32"):
    stored = adata[:, ::4].copy()
    stored.layers["counts"] = stored.layers["umi"].astype(kind)
    genes.select(stored)
    chosen[kind] = set(stored.var_names)
n_differ = len(chosen["float32"] - chosen["uint16"])
print("genes that differ, of 2,000: some, and fewer than 100:", 0 < n_differ < 100)

# %% [markdown]
# Now repair. Each line is from the report. The first appends `-1` to the duplicate name. The next
# keeps cells with at least one count. The last one stores the counts as floats, and only those that
# are not 0 ([sparse](../docs/glossary.md#sparse)). Run the report again after the last one: a
# repaired fault may have hidden another.

# %%
import numpy as np
import scipy.sparse as sp

adata.var_names_make_unique()
adata = adata[np.asarray(adata.layers["umi"].sum(axis=1)).ravel() > 0].copy()
adata.layers["umi"] = sp.csr_matrix(adata.layers["umi"], dtype="float32")
report = preflight.check(adata, layer, batch_key, label_key)
print(preflight.verdict(report), report.loc["batch and label", "found"])

# %% [markdown]
# Five faults: the counts were not in `X`, three droplets held no cell, two genes had one name, the
# layer overflowed, and the batches were not named.
#
# ### You may think: "`batch_key` makes any design good"
#
# The report also looks whether batch and label (what you know of the cells) can be told apart. Here
# they can: each type is in both batches. Suppose that the B cells had all come from day 1 and all
# others from day 2 (the first 2,000 genes are enough to see that):

# %%
confounded = adata[adata.obs["type"].notna(), :2000].copy()
confounded.obs["day"] = np.where(confounded.obs["type"] == "B cells", 1, 2)
unlucky = preflight.check(confounded, layer, batch_key, label_key)
print(unlucky.loc["batch and label", "found"])

# %% [markdown]
# That is [confounding](../docs/glossary.md#confounding), and no line of Python repairs it. Look for
# it before the experiment; afterwards you can only say so.
#
# ## If the counts are gone
#
# Many published files have only normalised values. The 700 blood cells that scanpy carries are such
# a file. Its `X` is scaled: each gene was brought to mean 0. Its `raw`, a place for an earlier
# state of the matrix, holds the logarithm of normalised counts.

# %%
import scanpy as sc

from helpers.own_data import raw_counts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the file has an older layout
    published = sc.datasets.pbmc68k_reduced()
print(preflight.check(published).loc["counts", "found"])

# %% [markdown]
# Scaled values are lost for scVI. But what was only divided by the total of the cell, with or
# without a logarithm, can often be recovered. In such values all counts of a cell are multiples of
# the smallest one. If that is a single molecule, you have them all.

# %%
recovered = raw_counts.recover(published.raw.X)
print("cells x genes:", recovered.shape)
print("first cell, counts above 0:", *recovered[0].data[:12].astype(int), "...")

# %% [markdown]
# > **Predict.** How do you find out whether these are the true counts?
#
# That they are whole numbers does not prove it. In a cell where no gene has exactly one molecule,
# all would come back too small, and still be whole. But this file also keeps the total of each
# cell. So test it: normalise the recovered counts again, with the published totals. Do the
# published values come out?

# %%
totals = published.obs["n_counts"].to_numpy()[:, None]
again = np.log1p(recovered.multiply(1e4 / totals))
print("largest difference, below a thousandth:", abs(again - published.raw.X).max() < 0.001)

# %% [markdown]
# They do, for each gene in each cell. Where a file has no totals, trust the counts if there are
# thousands of genes: nearly every cell then has many genes with one molecule.
#
# Counts cannot be recovered from values that were corrected for batches, smoothed or scaled. Ask
# the authors for counts.
#
# ## The whole way, in one script
#
# Now lessons 01 to 05 in one go. The kit has a script for that, `scripts/my_run.py`. It has seven
# settings, in capitals. `run_script.write` fills them in, with the lines that repair.

# %%
from helpers.own_data import run_script

repairs = [
    "adata.var_names_make_unique()",
    "adata = adata[np.asarray(adata.layers['umi'].sum(axis=1)).ravel() > 0].copy()",
    "adata.layers['umi'] = sp.csr_matrix(adata.layers['umi'], dtype='float32')",
]
settings = {"FILE": str(file), "LAYER": layer, "BATCH": batch_key, "LABEL": label_key}
script = run_script.write("../data/my_run.py", repairs, RESULTS="../data/my_run", **settings)
print(script.read_text().partition('"""\n')[2])

# %% [markdown]
# Most of these lines you know. Those behind `else` are for a computer without the kit. Paths begin
# in the folder of the script. The report has gone this whole way with a few of the cells before it
# says "Ready". Keep this file with your results: it says what was done. The next cell runs it;
# `runpy` is Python's own way to run a file. It takes about half a minute. If it is stopped, run it
# again: the training resumes where it stopped.
#
# You can also run it in a terminal (File > New > Terminal), with the Python of the kit.

# %% tags=["nbval-ignore-output", "progress"]
import runpy

run = runpy.run_path(script)
model, findings = run["model"], run["findings"]

# %% [markdown]
# In the folder `data/my_run` there are now three things: your cells with all their genes, and with
# latent space, clusters and map (`cells.h5ad`); the trained model with the cells as it saw them
# (`model`; `scvi.model.SCVI.load` reads it); and a page about the run: `report.html`. Double-click
# on it in the list of files on the left. It is a single file, figures included, that opens in any
# browser, without a network.
#
# ## Read the page
#
# The page begins with verdicts. Here they are once more:

# %% tags=["nbval-ignore-output"]
from helpers.own_data import run_report

verdicts = run_report.verdicts(model, findings, label_key)
verdicts

# %% [markdown]
# `ok`, or what to look at. Not every verdict has to be `ok`: each is a question to you. The script
# trained with the quick class preset. For a result that you publish, compare it with
# `PRESET = "default"`, which also mixes real batches better (lesson 05c).

# %%
from helpers import layers, loss

print(layers.summary(model))
ledger = loss.ledger(model)
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
ends = {"values": of_values, "counts": training.curves(model)}
ends = {name: table["held-out cells"].iloc[-1] for name, table in ends.items()}
print("log-normalised values end lower:", ends["values"] < 0.9 * ends["counts"])

# %% [markdown]
# The wrong one! It describes *other numbers*, smaller and less spread, and smaller numbers cost
# fewer nats. A loss can only be compared between models of the same counts, the same genes and the
# same held-out cells (lesson 07).
#
# ## The answer

# %%
print(
    f"Repaired with {len(repairs)} lines, and by naming layer and batch: "
    f"{preflight.verdict(report)}"
)
print(f"From file to page: {len(script.read_text().splitlines())} lines, which you keep.")
print(f"On the page: {len(verdicts)} verdicts, each a question to you.")

# %% [markdown]
# Read the file, look before you train, repair with a line where a line can repair, and decide the
# rest. Then run the script, and read the page before you believe the map.
#
# ## Your own file
#
# Four cells, in a new notebook in this folder (File > New > Notebook). Put the whole path of your
# file into the first. Nothing of yours is changed: the results go to a folder of their own.
#
# ```python
# from helpers import environment
# from helpers.own_data import preflight, reading, run_script
#
# environment.prepare(seed=0)
# file = "/home/me/mine.h5ad"
# adata = reading.read(file)
# ```
#
# ```python
# layer, batch_key, label_key = None, None, None
# preflight.check(adata, layer, batch_key, label_key)
# ```
#
# ```python
# repairs = []  # the lines of the report, as text
# ```
#
# ```python
# settings = {"FILE": file, "LAYER": layer, "BATCH": batch_key, "LABEL": label_key}
# run_script.write("../data/mine.py", repairs, RESULTS="../data/mine", **settings)
# # then: import runpy; runpy.run_path("../data/mine.py")
# ```
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | It trained, so the data were fine. | You are warned of values that are not counts, and the training runs all the same. |
# | How numbers are stored does not matter. | In 16 bits the squares of counts overflow, and other genes are selected, without a word. |
# | `batch_key` makes any design good. | If batch and kind of cell are the same, nothing does. |
# | Normalised values are lost for scVI. | Where they were only divided by the total, the counts can often be recovered, and tested if the totals are known. |
# | The lower loss has the better model. | Only for the same counts, genes and held-out cells. |
#
# ## Check yourself
#
# Six questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("08")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("08")

# %% [markdown]
# ### Exercise 1 · Sixteen bits with a sign
#
# In `uint16` the square of 256 is the first one too many. Another file stores its counts as
# `int16`. These are 16 bits as well, but half of the numbers are below 0: it goes from -32,768 to
# 32,767. What is the smallest count whose square is too large? One number is enough.

# %% tags=["exercise"]
smallest = ...

# %% tags=["check"]
check.too_large_to_square(smallest)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# smallest = 182
# ```
#
# 181 squared is 32,761, and 182 squared is 33,124. One gene with 182 molecules in one cell is
# enough to spoil the selection, and no warning tells of it.
#
# </details>

# %% [markdown]
# ### Exercise 2 · A table that lies on its side
#
# Many published tables have a row for each gene. The first line of the next cell writes such a
# table, with 300 genes of your cells. Read it with `reading.read`, so that `from_text` has cells in
# its rows, as scVI wants it. Predict first what `preflight.check` says of it if you read it without
# any thought.

# %% tags=["exercise"]
adata[:, :300].to_df("umi").T.to_csv("../data/genes_in_rows.csv")
from_text = ...

# %% tags=["check"]
check.table_the_right_way(from_text, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# adata[:, :300].to_df("umi").T.to_csv("../data/genes_in_rows.csv")
# from_text = reading.read("../data/genes_in_rows.csv", genes_in="rows")
# ```
#
# Without `genes_in="rows"` the report finds that cells and genes have changed places, and has the
# line that turns the table: `adata = adata.T.copy()`. That would be right as well.
#
# </details>

# %% [markdown]
# ### Exercise 3 · Counts by their totals
#
# `raw_counts.recover` does not know the totals of the cells, so it has to guess which value is one
# molecule. You know them. Write a function that gets `values` (cells × genes, a NumPy array, each
# ln(1 + 10,000 × count / total)) and `totals` (one per cell), and returns the counts: an array of
# whole numbers. Zeros are written out here, so no sparse matrix is needed.


# %% tags=["exercise"]
def counts_from(values, totals):
    return ...


# %% tags=["check"]
check.counts_by_their_totals(counts_from, published=published)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def counts_from(values, totals):
#     per_ten_thousand = np.expm1(values)
#     return np.rint(per_ten_thousand * totals[:, None] / 1e4)
# ```
#
# `totals[:, None]` has one row per cell and one column, so each row is multiplied by the total of
# its cell. With known totals no guess is needed. A cell without a single molecule of any gene comes
# out right as well.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Eight mice, two days
#
# Plan an experiment before there are data. Four mice fit into a day, and each day is a
# [batch](../docs/glossary.md#batch). Give each mouse a day, 1 or 2, so that neither treatment nor
# sex is [confounded](../docs/glossary.md#confounding) with the day. `days` is a list of eight
# numbers, in the order of this table. Many answers are right.
#
# | mouse | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
# | --- | --- | --- | --- | --- | --- | --- | --- | --- |
# | treatment | drug | drug | drug | drug | none | none | none | none |
# | sex | female | female | male | male | female | female | male | male |

# %% tags=["exercise"]
days = ...

# %% tags=["check"]
check.plan_of_days(days)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# days = [1, 2, 1, 2, 1, 2, 1, 2]
# ```
#
# Mice with the same treatment and the same sex come in pairs; one of each pair goes to each day. So
# each day is a small experiment of its own, and `batch_key` can take the day away.
#
# </details>

# %% [markdown]
# That is the way from the first cell to your own. What the words mean is in the
# [glossary](../docs/glossary.md).
