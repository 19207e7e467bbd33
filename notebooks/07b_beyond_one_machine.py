# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07b · Beyond one machine, for the model and for the class
#
# So far you had some thousand cells, one core, and yourself. Somebody else has millions of cells.
# Somebody has eight graphics cards. Somebody has 200 learners. What of what you know still holds,
# and what breaks first?
#
# What runs here is small. What takes longer was run before and kept in files; what is larger is
# estimated or computed. Each place says which.
#
# **You will be able to**
#
# - say what runs out first with more cells, time or memory;
# - train on counts that stay in a file, and name what that costs and where it bites;
# - say what several processes do with cells, steps and weights when they train one model;
# - compute what a class of 200 needs.
#
# **Time**: 50 minutes to read and run (half a minute of it is computing), 25 minutes for the quiz
# and the exercises. **Needs**: lessons [02](02_training.ipynb) and [04](04_loss.ipynb) (the KL
# weight). [03](03_hidden_layers.ipynb) explains idle modules.

# %%
import numpy as np
import scvi

from helpers import data, environment, figures, results
from helpers.scale import scaling, scaling_figures

environment.prepare(seed=0)

# %% [markdown]
# ## More cells: what runs out first?
#
# A default SCVI was measured with up to 100,000 made-up cells of 2,000 genes, on one core. Measured
# are one epoch, and the peak of memory: the most that the [process](../docs/glossary.md#process) (a
# program that runs) holds at any moment. The hours are epochs times seconds of an epoch.
#
# Memory is counted in [GiB](../docs/glossary.md#gib): 1 GiB = 1,024 MiB, about 1.07 GB.

# %%
print(results.origin("scaling"))
measured = scaling.load()

# %% [markdown]
# > **Predict.** A million cells on a laptop with 16 GiB of memory: is there enough memory? And how
# > long does a default training take on one core: an hour, a day, a week?
#
# Beyond what was measured, a straight line is drawn through it. Such rows are called *estimated*,
# and are no better than the line.

# %%
table = scaling.estimate(measured)
shown = table[["kind", "cells", "epochs"]].copy()
shown["seconds an epoch"] = table["epoch seconds"].map(figures.about)
shown["hours"] = (table["training seconds"] / 3600).map(figures.about)
shown["GiB"] = (table["memory MiB"] / 1024).map(figures.about)
shown

# %% [markdown]
# A million: about 2.5 GiB and half an hour, both estimated. Is such a run worth it? You will see
# below.
#
# No whole run stands behind the hours. One check: default runs of the 3,005 cortex cells were
# watched from the first epoch to the last.

# %%
whole = scaling.whole_runs()
same_size = table.query("cells == 3000")["training seconds"].item()
print(f"watched whole: {min(whole):.0f} to {max(whole):.0f} seconds")
print(f"epochs times seconds, 3,000 cells: {same_size:.0f} seconds")

# %% [markdown]
# A little less. (The runs that were watched also look at the held-out cells after each epoch.)
#
# The same table as a figure. *Set-up* is `setup_anndata` and `SCVI()`; *latent space* is computing
# all positions afterwards. Counts are [sparse](../docs/glossary.md#sparse) if only those that are
# not 0 are kept, each with its place; *dense* is with every 0 written out.

# %%
scaling_figures.plot(table)

# %% [markdown]
# ### How good is the line?
#
# Leave the largest size out, and predict it from smaller ones. *Reach*: how many times larger it
# is.
#
# > **Predict.** Time and memory, predicted from at most 10,000 cells: by how many percent are they
# > off at 100,000?

# %%
off = scaling.check_of_the_line(measured)
shown = off[["epoch seconds", "peak MiB"]].mul(100).round().astype(int).add_suffix(", error in %")
shown.insert(0, "reach", off["reach"].round(1))
shown

# %% [markdown]
# Every error compares with something measured. In the first table, a million is a reach of 10, ten
# million of 100.
#
# Time is off by 7 % at most. Memory (above the import) is 18 % too low at 10, and 91 % too high at
# 100: the counts of 1,000 cells are lost among all else that the process holds. So take the memory
# of ten million as a rough size. It is not below 15 GiB: the counts alone take that (last sentence
# of the figure).
#
# ### What stops you?
#
# > **Predict.** A million cells: what stops you on Binder (2 GiB), what on a laptop (16 GiB)?

# %%
scaling.bottlenecks(table).round(3)

# %% [markdown]
# *Memory*: it does not fit. Otherwise the work that takes longest. Where training is named it takes
# 99 % of the time or more; setting up and computing positions hardly count. `kind` says which rows
# are estimated. Ten million on a laptop is close.
#
# ### You may think: "twice the cells, twice the time"
#
# From 20,000 cells on, you know it from lesson 02: the number of epochs falls as fast as the number
# of cells grows. But something else falls with it.
#
# > **Predict.** The KL warm-up takes 400 epochs (lesson 02). How large is the KL weight in the last
# > epoch with a million cells?

# %%
large = table.query("cells >= 10_000")
paid = (400 * large["epoch seconds"] / 3600).map(figures.about)
shown = large[["kind", "cells", "epochs", "final KL weight"]]
shown.assign(**{"hours of 400 epochs": paid})

# %% [markdown]
# The KL weight is arithmetic in every row. The hours are 400 times an epoch that was measured or
# estimated, as `kind` says.
#
# With a million cells the weight ends below 2 %, with ten million at 0: nearly a different loss
# (lesson 04). So this run is cheap because it leaves a part out. What you can do:
#
# - Shorten the warm-up. For 8 epochs: `plan_kwargs={"n_epochs_kl_warmup": 3}`. For a single epoch
#   count in steps: `{"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 20_000}`. (Without the `None`
#   the epochs win.)
# - Or pay for 400 epochs: about 21 hours for a million cells (estimated).
#
# ### How many cells fit?
#
# The time of a default run hardly grows until one epoch is left (between one and ten million
# cells); then it grows again. Memory always grows. How many cells fit, if nothing else takes
# memory?
#
# (Estimated. From 10.7 million of these cells on SciPy needs 8 bytes in place of 4 for each index;
# that is computed and added.)

# %%
for gibibytes in (2, 16, 64):
    most = scaling.largest_that_fits(measured, gibibytes)
    print(f"{gibibytes:3} GiB: roughly {figures.about(most, 1)} cells")

# %% [markdown]
# And real data are larger than these. The made-up cells have 2,000 genes from the start; yours have
# all genes until you have selected some. A cell with 2,000 counts that are not 0 takes 16 kB, at 8
# bytes each, so a million such cells take 16 GB *before* the selection. A second matrix with
# normalised values doubles that. So memory is the wall that you run into. What then?
#
# ## Cells that stay in the file
#
# A training step needs 128 cells. The others might as well stay on the disk. An
# [AnnData](../docs/glossary.md#anndata) can be opened so that its matrix stays in the file, and
# rows are read when somebody asks for them. It is then called [backed](../docs/glossary.md#backed).
#
# First, a file. It is made from the cortex cells: three copies, each without half of its molecules,
# lost at random, so no two are the same. The copies are written one after the other, so only one is
# in memory at a time.

# %%
import tempfile
from pathlib import Path

from helpers.scale import out_of_core

folder = tempfile.TemporaryDirectory()
pieces = out_of_core.copies_of_cortex(3)
file = out_of_core.write(Path(folder.name, "cells.h5ad"), pieces)
print(f"counts in memory: {out_of_core.bytes_in_memory(file) / 2**20:.0f} MiB")

# %%
from_file = out_of_core.open_counts(file)
print(f"{from_file.n_obs:,} cells x {from_file.n_vars:,} genes")
print("counts in memory:", not from_file.isbacked)

# %% [markdown]
# `open_counts` looks at the counts once, piece by piece: are they whole numbers, and has each cell
# at least one?
#
# > **Predict.** Which of the three lines of lesson 02 must change now?

# %% tags=["nbval-ignore-output"]
scvi.model.SCVI.setup_anndata(from_file)
model = scvi.model.SCVI(from_file)
model.train(max_epochs=1, enable_progress_bar=False)

# %% [markdown]
# Only one word: `layer="counts"` is gone, because here the counts are in `X` (you will see why).
# scvi-tools asks for rows by their number, and does not mind where they come from.
#
# > **Predict.** Is it the same model as one that was trained in memory, with the same seed?
#
# `out_of_core.train` makes those three calls, with a seed.

# %%
in_memory = out_of_core.load_counts(file)
usual = out_of_core.train(in_memory, seed=0)
model = out_of_core.train(from_file, seed=0)
for name, each in {"in memory": usual, "from the file": model}.items():
    loss = each.history["elbo_validation"].iloc[-1, 0]
    print(f"{name}: about {figures.about(loss, 2)} nats per cell")
print("the same weights:", out_of_core.same_weights(usual, model))

# %% [markdown]
# As good, as far as these digits say, but not the same. Why? A file likes to be read from front to
# back. So scvi-tools sorts the rows of each [minibatch](../docs/glossary.md#minibatch) by their
# number. The minibatches hold the same cells, in another order. But dropout and the draws from the
# clouds are random numbers, and they now fall on other cells.
#
# That can be tested. Sort the rows in memory, too:

# %%
with out_of_core.rows_in_order():
    sorted_rows = out_of_core.train(in_memory, seed=0)
print("the same weights:", out_of_core.same_weights(sorted_rows, model))

# %% [markdown]
# Bit by bit the same. In this run the file changes nothing but that order.
#
# ### You may think: "positions come in the order in which I ask for them"
#
# > **Predict.** You ask for the positions of cells 700, 3 and 512. Which row is the first of the
# > answer?

# %%
asked = [700, 3, 512]
every = model.get_latent_representation()
given = model.get_latent_representation(indices=asked)
print("as I asked:", np.allclose(given, every[asked], atol=1e-4))
print("sorted:    ", np.allclose(given, every[sorted(asked)], atol=1e-4))

# %% [markdown]
# **Beware.** The answer is sorted within each minibatch of 128 cells, and nothing says so. In
# memory it comes as you asked. `model.validation_indices` is not sorted either! From a file, ask
# for cells in ascending order, or for all of them.
#
# ### You may think: "the counts may be in a layer, as always"
#
# Only `X` stays in the file. Layers are read into memory when the file is opened, silently. So here
# the counts are in `X`, and `open_counts` refuses a file with layers:

# %%
small = data.load_pbmc()
small.write_h5ad(Path(folder.name, "with_layers.h5ad"))
try:
    out_of_core.open_counts(Path(folder.name, "with_layers.h5ad"))
except ValueError as error:
    print(error)

# %% [markdown]
# ## What it costs
#
# > **Predict.** The peak of memory with ten times the cells: in memory, and from the file?
#
# One epoch was measured in a fresh process each, with up to 120,200 cells. (Another program than
# above: this one also reads a file.)

# %%
from helpers.scale import out_of_core_costs

print(results.origin("out_of_core"))
kept = results.load("out_of_core")
kept.pivot(index="cells", columns="how", values=["peak MiB", "CPU seconds"]).round().astype(int)

# %%
out_of_core_costs.plot(kept)

# %%
out_of_core_costs.growth(kept).round(2)

# %% [markdown]
# In memory, each MiB of counts costs (at least) one MiB. From the file it costs 0.04: for each cell
# something stays in memory, such as its name and where its row begins.
#
# > **Predict.** And the time? How many percent more?

# %%
seconds = kept.pivot(index="cells", columns="how", values="CPU seconds")
more = seconds["from the file"] / seconds["in memory"] - 1
(100 * more).round().astype(int).rename("more time, in %")

# %% [markdown]
# 11 to 28 % more: rows are looked up in the file, one by one. **But** the system still had this
# file in its cache (a copy in free memory). From a slow disk it takes longer, and CPU seconds do
# not even count the waiting. Copy the file to a local disk first, and do not compress it: every row
# would unpack a whole block.
#
# Is it like that on your machine, too? The next cell takes the kept rows for a file as large as
# yours. With `LIVE = True` it measures yours, in a quarter of a minute.
#
# <details><summary>How much memory that takes</summary>
#
# The fresh processes come one after the other, and each takes what the table says for 9,015 cells,
# beside this notebook. `LIVE = True` also starts two processes at the same time further down.
# Binder has 2 GiB for all of it, and a class may have little more. So the switch is off at first.
#
# </details>

# %%
LIVE = False

here = out_of_core_costs.compare(file) if LIVE else kept.query("copies == 3")
peak = here.set_index("how")["peak MiB"]
print("less memory from the file:", bool(peak["from the file"] < peak["in memory"]))

# %% [markdown]
# What does not work from a file: choosing genes as in lesson 01 (choose them while you write the
# pieces), and `differential_expression`, which stops with an error about `sum`. Load the cells that
# you want to compare.
#
# <details><summary>Other loaders for large data</summary>
#
# | loader | scvi-tools | needs |
# | --- | --- | --- |
# | `CollectionAdapter`, several files as one | 1.4 and 1.5 | counts in a layer, which `.h5ad` files keep in memory: nothing is saved |
# | `AnnbatchDataModule` | 1.5 only | the package `annbatch`, and the data in its format |
# | `MappedCollectionDataModule`, `TileDBDataModule` | 1.4 and 1.5 | the packages `lamindb` or `tiledbsoma`, and data in such a store |
#
# The other loaders are not tested in this kit.
#
# </details>
#
# ## Several processes, one model
#
# Now the other wall: time. One process trains on one graphics card, or on one core. Why not two?
#
# The usual way is [distributed data parallel](../docs/glossary.md#distributed-data-parallel) (DDP).
# Each process has a whole copy of the model. In each step,
#
# 1. each process takes a minibatch of its own,
# 2. computes in which direction its weights should move, the
#    [gradient](../docs/glossary.md#gradient),
# 3. and all processes take the mean of their gradients, and move by that.
#
# All start with the same weights and move alike. Whether two processes are faster was not measured:
# 700 cells, as below, are far too few. The gain must pay for sending the gradients in each step.
#
# `train` takes two more words for it: `devices=2, strategy="ddp"` (one word of it changes further
# down). Try it here:

# %%
import warnings

ddp = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "log_save_dir": folder.name}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        usual.train(max_epochs=1, **ddp)
    except Exception as error:
        print(type(error).__name__)
        print(str(error).split(". ")[0])

# %% [markdown]
# ### You may think: "then it works in a notebook, somehow"
#
# Each process starts the whole program anew, from the first line. A notebook cannot be started from
# its first line by others. So DDP wants a script, started as `python train.py`. (Officially,
# scvi-tools supports several devices only on NVIDIA cards.)
#
# <details><summary>And <code>ddp_notebook</code>?</summary>
#
# For notebooks scvi-tools recommends `strategy="ddp_notebook_find_unused_parameters_true"`. It
# copies the running process. With the processor it works. But the model afterwards does not know
# which cells were held out: `train_indices` is `None`. And it stops with an error once something
# has used a graphics card.
#
# </details>
#
# `ddp.run` starts such scripts for you, lets them talk to each other on this machine only, and
# stops all if one dies. They train on the 700 blood cells, for two epochs. Their answers are kept
# in a file.

# %%
from helpers.scale import ddp

print(results.origin("ddp"))
runs = ddp.load()
one, two, large = runs

# %% [markdown]
# 630 cells to train on. One process has minibatches of 128, so 5 steps an epoch.
#
# > **Predict.** Two processes with minibatches of 64 each: how many steps has each?
#
# (`LIVE = True` above trains both afresh.)

# %%
if LIVE:
    runs[one] = ddp.run(1, batch_size=128)
    runs[two] = ddp.run(2, batch_size=64)
ddp.summary({one: runs[one], two: runs[two]})

# %% [markdown]
# - In this epoch each process sees half of the cells, and no cell is seen by both. The next epoch
#   deals anew. (Of an odd number, one cell is given twice.)
# - A step takes 2 × 64 = 128 cells, as before. So there are as many steps as before, and each
#   process computes half of each.
# - Afterwards the *weights* of both are equal, bit by bit.
#
# > **Predict.** And the loss? Is it that of one process?

# %%
for name in (one, two):
    loss = runs[name]["training loss"].iloc[0]
    print(f"{name}: about {figures.about(loss, 2)} nats per cell")

# %% [markdown]
# The same to two digits, with one seed. The weights are not those of one process: batch
# normalisation sees 64 cells instead of 128, and random numbers fall elsewhere.
#
# ### You may think: "all processes end with the same model"
#
# Look at the last column of the table. The *running averages* of
# [batch normalisation](../docs/glossary.md#batch-normalisation) differ. They are not weights.
# Before each step they are copied from the first process to the others; then each adds what its
# own cells say. So the held-out loss depends (a little) on whom you ask:

# %%
held_out = runs[two]["held-out loss"]
print("exactly equal:", held_out.nunique() == 1)
print("equal to 1 in 10,000:", bool(np.ptp(held_out) / held_out.mean() < 1e-4))

# %% [markdown]
# What counts is the first process. Save its model, and no other.
#
# ### You may think: "two processes, same settings, same result"
#
# Keep minibatches of 128 in *each* of two processes.
#
# > **Predict.** How many steps are in an epoch now? Is the loss after two epochs higher or lower?

# %%
for name in (one, large):
    steps = runs[name]["steps an epoch"].iloc[0]
    loss = runs[name]["training loss"].iloc[0]
    print(f"{name}: {steps} steps an epoch, about {figures.about(loss, 2)} nats per cell")

# %% [markdown]
# A step takes 256 cells, so there are fewer steps, and in these two epochs they learned less. With
# eight processes, an epoch of these cells would be a single step! So make minibatches smaller, or
# train more epochs.
#
# > **Predict.** SCVI with plain `strategy="ddp"` stops in the second step, also in a script. Lesson
# > 03 told you why. Do you remember?

# %%
from helpers import layers

parts = layers.parameters_by_state(usual)
parts

# %% [markdown]
# *Idle* parts never run, so they get no gradient, and plain DDP waits for one.
# `strategy="ddp_find_unused_parameters_true"` looks in each step which parts were used. That is
# what `helpers.scale.ddp` takes.
#
# Two things more that scvi-tools does with DDP, and says at most in a warning:
# [early stopping](../docs/glossary.md#early-stopping) is switched off; and a folder
# `lightning_logs` with the history appears where you started the script (`log_save_dir` puts it
# elsewhere).
#
# And each process of your script loads all the data: eight take about eight times the memory.
# Counts in a file should avoid most of it; that was not tried with DDP.
#
# Not tried here: graphics cards, and several computers. For them Lightning takes
# `devices=8, num_nodes=2` and the same script, started on each computer by the scheduler of your
# cluster (the program that hands out its computers).
#
# ## A class of 200
#
# [JupyterHub](../docs/glossary.md#jupyterhub) gives everybody who logs in a JupyterLab of their
# own, on a [cluster of computers](../docs/glossary.md#cluster-of-computers), in the browser. Nobody
# installs anything. How large must the cluster be?
#
# Each lesson was run on one core and watched (`make study ARGS=costs`). Start from there.
#
# > **Predict.** How much memory does one learner need? And 200?

# %%
from helpers.scale import classroom

lessons_measured = classroom.load()
classroom.memory(lessons_measured)

# %% [markdown]
# In MiB. The margin is for what learners try out. Two numbers go to the hub: what is set aside for
# a learner whatever happens (the *guarantee*: one kernel), and what a learner may use at most (the
# *limit*: two kernels, because nobody remembers to shut the first one down).
#
# A computer of the cluster is called a *node*. A quarter of a core is set aside for each learner.
#
# > **Predict.** A node with 4 cores and 16 GiB: what is full first, its memory or its cores?
#
# `by memory`, `by CPU`: how many fit. Kubernetes (the program that runs such a cluster) also limits
# the programs on a node; 100 learners are taken as the most. Half a core and 1.5 GiB of each node
# are left to the system (assumed).

# %%
nodes = classroom.nodes(lessons_measured, learners=200)
nodes[["cores", "GiB", "by memory", "by CPU", "learners a node"]]

# %% [markdown]
# Memory. So many nodes of each size hold the class:

# %%
nodes[["cores", "GiB", "nodes", "GiB together"]]

# %% [markdown]
# ### You may think: "200 learners need 200 cores"
#
# > **Predict.** All 200 press *Run All* at the same moment, and share 50 cores. How long do they
# > wait for the lesson that takes longest?

# %%
classroom.waiting(lessons_measured, learners=200).max().rename("seconds")

# %% [markdown]
# It happens when a teacher says: run it now. (Not counted: 200 servers that start, and that all
# read from the same disks.) Otherwise learners spread out: a lesson takes 20 to 50 minutes to read,
# and less than a minute to compute. Memory is what decides here, too: it is taken while somebody
# reads.
#
# These numbers are also what the hub is given, in a file that is written from them. `guarantee`:
# set aside. `limit`: the most.

# %%
lines = classroom.VALUES.read_text("utf-8").splitlines()
print("\n".join(lines[3:15]))

# %% [markdown]
# How to build the [image](../docs/glossary.md#image) (all packages and lessons in one file, which
# each learner's server starts from), say who can log in, and start the hub: see the
# [guide](../docs/jupyterhub.md). These files were checked, but no image was built and no hub was
# started with them. Try it with a few learners first.
#
# One line matters more than all others. Nobody gets in before you say who may: in the file stands
# an *authenticator* (the part that asks who you are) that does not exist, so that the hub refuses
# to start.
#
# ## The answer

# %%
most = scaling.largest_that_fits(measured, 16)
weight = table.query("cells == 1_000_000")["final KL weight"].item()
growth = out_of_core_costs.growth(kept)["from the file"]
print(f"16 GiB hold roughly {figures.about(most, 1)} cells in memory.")
print(f"A default run of a million cells ends with a KL weight of {weight:.4f}.")
print(f"From a file, 1,000 MiB more counts take {growth * 1000:.0f} MiB more memory.")

# %%
asked = classroom.memory(lessons_measured).loc["rounded up", "one kernel"]
together = nodes["GiB together"]
print("Two processes end with equal weights:", runs[two]["weights"].nunique() == 1)
print(f"For 200 learners {200 * asked / 1024:.0f} GiB are set aside;")
print(f"the nodes have {together.min()} to {together.max()} GiB together.")

# %% [markdown]
# Memory runs out before time does, and a default run of many cells leaves a part of the loss out.
# If the counts stay in a file, memory hardly grows with the cells, and the model is the same apart
# from the order of rows. Several processes share the cells of each step and end with equal
# weights; keep the cells of a step the same, or there are fewer steps. A class is bound by memory
# as well.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | Twice the cells, twice the time. | From 20,000 cells on the epochs fall as the cells grow, and the KL weight does not arrive. Memory always grows. |
# | Training from a file needs another program. | The same three lines, without `layer=`. Counts must be in `X`, stored by rows. |
# | Positions come in the order in which I ask. | From a file they come sorted within each minibatch, without a word. |
# | DDP works in a notebook, somehow. | It wants a script, because each process starts it anew. |
# | All processes end with the same model. | Equal weights, other running averages. The first process counts. |
# | Two processes, same settings, same result. | Twice the cells in a step, half the steps. |
# | 200 learners need 200 cores. | They need memory. Reading takes no core. |
#
# ## Check yourself
#
# Six questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("07b")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("07b")

# %% [markdown]
# ### Exercise 1 · What counts take
#
# Before you load a large file, compute how much memory its counts take. Write a function that
# returns GiB. The counts are sparse, of 32-bit floats; places are 32-bit whole numbers. `share` is
# the share of the counts that are not 0, from 0 to 1.


# %% tags=["exercise"]
def gib_of_counts(n_cells, n_genes, share):
    return ...


# %% tags=["check"]
check.size_of_counts(gib_of_counts, counts=in_memory.X)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def gib_of_counts(n_cells, n_genes, share):
#     not_zero = n_cells * n_genes * share
#     return not_zero * (4 + 4) / 2**30
# ```
#
# 4 bytes for the count and 4 for the number of its gene. Where each cell begins is noted as well, 4
# bytes per cell: next to nothing. For ten million cells of 2,000 genes, a tenth not 0, you get the
# 15 GiB of the figure. The training takes more than the counts alone.
#
# </details>

# %% [markdown]
# ### Exercise 2 · A warm-up that ends
#
# You have 250,000 cells, and train with the defaults of scvi-tools: 32 epochs. Choose the length of
# the KL warm-up, `n_epochs_kl_warmup`. The weight should rise over at least three epochs, and be 1
# in at least half of the epochs. Many answers are right.

# %% tags=["exercise"]
warmup_epochs = ...

# %% tags=["check"]
check.warm_up_that_ends(warmup_epochs)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# warmup_epochs = 10
# ```
#
# Any whole number from 3 to 16 meets the two requirements. In the training it is
# `model.train(plan_kwargs={"n_epochs_kl_warmup": 10})`. Which of them is best for your cells, the
# negative ELBO of the held-out cells tells (lesson 04).
#
# </details>

# %% [markdown]
# ### Exercise 3 · Rows in your order
#
# You want to put the positions of `model.validation_indices` beside the types of these cells. But
# `model` reads its counts from a file, and the positions come in a different order from the one
# that you ask for. Write a function that returns the positions of the cells with the numbers
# `indices`, a row each, *in the order of* `indices`.


# %% tags=["exercise"]
def positions(indices):
    return ...


# %% tags=["check"]
check.rows_as_asked(positions, model=model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def positions(indices):
#     order = np.argsort(indices)
#     in_order = model.get_latent_representation(indices=np.asarray(indices)[order])
#     found = np.empty_like(in_order)
#     found[order] = in_order
#     return found
# ```
#
# Ask in ascending order, then put each row where its cell was asked for.
# `model.get_latent_representation()[indices]` is right as well, and shorter: it computes all cells.
# With three cells you would see the mistake. With hundreds you would see types that look random.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Computers for 80 learners
#
# Choose a cluster for a class of 80: how many cores and how many GiB a node has, and how many such
# nodes there are. All 80 must find a place. If all press *Run All* at once, nobody should wait
# longer than two minutes. And there is money for 160 GiB of memory together. Many answers are
# right.

# %% tags=["exercise"]
cores = ...
gib = ...
n_nodes = ...

# %% tags=["check"]
check.computers_for_a_class(cores, gib, n_nodes, lessons_measured=lessons_measured)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# cores, gib, n_nodes = 8, 32, 5
# ```
#
# `classroom.nodes(lessons_measured, learners=80)` shows how many nodes of usual sizes it takes.
# With 4 GiB for each core, memory is full first. On nodes with much more memory for each core, the
# cores are.
#
# </details>

# %% [markdown]
# At the end, close the file and remove it:

# %%
from_file.file.close()
folder.cleanup()

# %% [markdown]
# **Further.** What does a file that is compressed cost? In new cells (about twenty seconds):
#
# ```python
# with tempfile.TemporaryDirectory() as place:
#     one = next(out_of_core.copies_of_cortex(1))
#     for how in (None, "gzip"):
#         one.write_h5ad(Path(place, "one.h5ad"), compression=how)
#         taken = out_of_core_costs.measure(Path(place, "one.h5ad"), "from the file")
#         print(how, taken["CPU seconds"])
# ```
#
# Next: lesson 08 brings in your own data.
