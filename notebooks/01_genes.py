# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Which 2,000 genes, and why these?
#
# Many pages about scVI contain this line, or one much like it:
#
# ```python
# sc.pp.highly_variable_genes(adata, n_top_genes=2000, subset=True, layer="counts", flavor="seurat_v3")
# ```
#
# In this lesson you find out what it computes. You do it yourself, step by step, and compare. (The
# official introduction and the pages about integration add `batch_key=...`. Then each batch is
# looked at by itself: lesson 06.)
#
# **You will be able to**
#
# - explain why a gene's variance has to be compared with its mean;
# - compute what `seurat_v3` computes, and check it against scanpy;
# - compare ways to select genes, and say what `subset=True` throws away.
#
# **Time**: 25 minutes to read and run, 25 minutes for the quiz and the exercises. **Needs**: lesson
# 00, or the words *count* and *library size*.

# %%
import numpy as np
import pandas as pd
import scanpy as sc

from helpers import data, environment, genes
from helpers.data import counts

environment.prepare(seed=0)
adata = data.load_cortex()

# %% [markdown]
# ## Why select genes at all?
#
# A gene with the same count in all cells tells nothing about how cells differ. It still costs the
# model time and [weights](../docs/glossary.md#weight). So you keep the genes that vary from cell to
# cell, the [highly variable genes](../docs/glossary.md#highly-variable-gene).
#
# ## Which genes vary?
#
# [Variance](../docs/glossary.md#variance) measures how far counts spread around their mean.
#
# > **Predict.** Take the genes with the largest variance. What will they have in common?

# %%
table = genes.mean_and_variance(adata)
table.nlargest(6, "variance").round(0).astype(int)

# %% [markdown]
# > **Predict.** Now look at the genes with the largest mean. How many of the six do you meet again?

# %%
table.nlargest(6, "mean").round(0).astype(int)

# %% [markdown]
# ### You may think: "The genes with the largest variance vary most"
#
# Large counts spread more, simply because they are large. The variance follows the mean.

# %%
genes.plot_mean_variance(table, label=("Malat1", "Plp1", "Actb"))

# %% [markdown]
# The dashed line is the spread that chance alone gives to molecules that are caught independently
# (the [Poisson distribution](../docs/glossary.md#poisson-distribution): variance equals mean). All
# genes lie above it. Two things lift them: cells differ in what they express, and they differ in
# library size. So lying above this line is not enough. The question is which genes vary more than
# *other genes of the same mean*.
#
# ## What `seurat_v3` does, in four steps
#
# **Step 1** was the mean and the variance of each gene.
#
# **Step 2.** Draw a smooth curve through the cloud: the variance that a gene of this mean usually
# has.
#
# > **Predict.** *Malat1*, *Plp1* and *Actb* all have large counts. Which of them will lie above the
# > curve?

# %%
table["expected variance"] = genes.expected_variance(table)
genes.plot_mean_variance(table, label=("Malat1", "Plp1", "Actb"))

# %% [markdown]
# **Step 3.** Divide by what is usual. For each count, subtract the mean and divide by the root of
# the expected variance. The variance of the result is the
# [standardised variance](../docs/glossary.md#standardised-variance): 1 is usual, 4 is four times as
# much.

# %%
table["standardised variance"] = genes.standardised_variance(adata, table)
three = table.loc[["Malat1", "Plp1", "Actb"]]
three[["mean", "variance", "standardised variance"]].round(1)

# %% [markdown]
# *Plp1* lies above the curve: oligodendrocytes are full of it, and other cells are not.
# *Actb* is a housekeeping gene: all cells need it, and it varies less than usual.
# *Malat1* has the largest mean of all, and still varies less than usual.
#
# **Step 4.** Sort, and keep the first 2,000.

# %%
ours = table["standardised variance"].nlargest(2000).index
known = table[adata.var["symbol_known"]]
print(", ".join(sorted(known.nlargest(8, "standardised variance").index)))

# %% [markdown]
# These eight vary most among the genes with a known name. Many belong to one class of cells. Look
# at two of them:

# %%
per_class = adata[:, ["Atp1a2", "Cldn11", "Actb"]].to_df(layer="counts").astype(int)
per_class.groupby(adata.obs["cell_type"], observed=True).mean().round(1)

# %% [markdown]
# *Atp1a2* belongs to astrocytes and *Cldn11* to oligodendrocytes. *Actb* is in all classes. Its
# mean differs as well, and library size is not the only reason: interneurons have far larger
# libraries than microglia (lesson 00), and about the same mean of *Actb*. `seurat_v3` does not
# correct for library size, so a part of every variance comes from it.
#
# ## Is that what scanpy does?
#
# > **Predict.** You ask scanpy for 2,000 genes. How many of yours will be among them?

# %%
theirs = sc.pp.highly_variable_genes(
    adata, n_top_genes=2000, layer="counts", flavor="seurat_v3", inplace=False
)
both = theirs.index[theirs["highly_variable"]].intersection(ours)
print(f"{len(both)} of {len(ours)} genes are the same")

# %% [markdown]
# Same genes, so you know what the call computes. The standardised variances agree as well, apart
# from a trace of rounding: the fit of the curve magnifies the last digits of its input.

# %%
difference = (theirs["variances_norm"] / table["standardised variance"] - 1).abs().max()
print("largest relative difference below 0.5 %:", bool(difference < 0.005))

# %% [markdown]
# ## One detail: a limit for single cells
#
# One cell with a huge count can make a gene look variable. `seurat_v3` therefore limits each
# standardised count to the square root of the number of cells. What happens without the limit?

# %%
unlimited = genes.standardised_variance(adata, table, clip=False)
limit = pd.DataFrame({"with limit": table["standardised variance"], "without": unlimited})
limit.nlargest(3, "without").round(0).astype(int)

# %%
same = unlimited.nlargest(2000).index.intersection(ours)
print(f"{len(same)} of 2,000 genes are selected either way")

# %% [markdown]
# The limit changes the numbers of a few genes a lot. Here it does not change the selection: those
# genes are variable either way. With a smaller selection, or more outliers, it can.
#
# ## Do other methods select different genes?
#
# `seurat_v3` reads counts. Two older methods, `seurat` and `cell_ranger`, read counts that were
# [normalised](../docs/glossary.md#normalise) and
# [log-transformed](../docs/glossary.md#log-transform). All three are asked for 2,000 genes out of
# 4,000.
#
# > **Predict.** How many genes would two *random* selections of 2,000 out of 4,000 share?

# %%
selected = genes.compare_flavours(adata)
genes.plot_overlap(selected)

# %% [markdown]
# They share more than chance, and less than one would think. (Chance is half only because you
# choose 2,000 of 4,000. Of all 19,972 genes, two random choices of 2,000 would share 200.) "The
# highly variable genes" do not exist; there are those of a method. So write down which method you
# used.
#
# ## Does the selection keep what matters?
#
# Ask without scVI: can the classes still be told apart? Normalise, log-transform, and reduce each
# cell to 30 [principal components](../docs/glossary.md#principal-component). Set a fifth of the
# cells aside, and let the 15 most similar of the other cells vote on the class of each. Do that for
# each fifth. [Accuracy](../docs/glossary.md#accuracy) is the share of cells whose class the vote
# gets right.
#
# > **Predict.** Order these: all 4,000 genes, the 2,000 selected, the 2,000 thrown away, 200 at
# > random.

# %%
rest = adata.var_names.difference(ours)
random = pd.Index(np.random.default_rng(0).choice(adata.var_names, 200, replace=False))
choices = {
    "all 4,000": adata.var_names,
    "2,000 selected": ours,
    "2,000 thrown away": rest,
    "200 at random": random,
}
choices["200 most variable"] = table["standardised variance"].nlargest(200).index

# %%
accuracy = {name: genes.class_accuracy(adata, chosen) for name, chosen in choices.items()}
pd.Series(accuracy, name="accuracy").round(2)

# %% [markdown]
# Two things stand out.
#
# - The selected genes do as well as all of them. So does a tenth of them, if it is well chosen.
# - The genes that were thrown away are nearly as good. The classes are easy, and most of these
#   genes carry a little of the signal. Mind which genes they are: all 4,000 were seen in at least
#   37 % of the cells (lesson 00). Of all 19,972 genes, those thrown away would be mostly ones that
#   hardly any cell has; that was not tried here.
#
# So 2,000 is not a magic number, and "highly variable" does not mean "the only ones that matter".
# Half the genes make a smaller model. For telling these classes apart the choice matters little.
#
# ## What does `subset=True` throw away?
#
# > **Predict.** Half of the genes go. Does half of the counts go as well?
#
# The next cell changes `adata`. To repeat an earlier step afterwards, choose *Kernel > Restart
# Kernel and Run up to Selected Cell*.

# %%
before = counts.per_cell(adata)["library size"]
sc.pp.highly_variable_genes(
    adata, n_top_genes=2000, subset=True, layer="counts", flavor="seurat_v3"
)
after = counts.per_cell(adata)["library size"]
print(f"{adata.n_vars} genes are left, with {after.sum() / before.sum():.0%} of all counts")

# %% [markdown]
# Some genes with very large counts went. Among the genes with a known name, these are gone:

# %%
lost = known.index.difference(adata.var_names)
print(", ".join(lost))

# %% [markdown]
# `subset=True` removes them from `adata` for good. Afterwards you cannot ask the model about
# *Actb*, and the library size that the model sees is that of the genes left. Do you need them
# later? Keep a copy of `adata` before this call, or use `subset=False` and filter yourself.
#
# ## The answer

# %%
shared = genes.overlap(selected).loc["seurat_v3"]
print(f"The {adata.n_vars:,} genes are those whose counts spread most for their mean.")
print(f"Two other methods share {shared.min():,} of them or more.")

# %% [markdown]
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | Highly variable means large variance. | Large variance *for its mean*. |
# | Highly variable means highly expressed. | The most expressed gene, *Malat1*, is not selected. |
# | Every method gives the same genes. | Three methods share only part of them. |
# | Genes that are not selected carry no signal. | Of the 4,000 genes seen in most cells, they tell the classes apart nearly as well. |
# | `subset=True` only marks genes. | It removes the others, and their counts, from `adata`. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("01")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.
#
# `adata` has lost half of its genes. So the exercises use the data as they were, under another
# name:

# %%
check = exercises.of_lesson("01")
fresh = data.load_cortex()

# %% [markdown]
# ### Exercise 1 · Every molecule twice
#
# By mistake, each molecule of *Mt1* was counted twice: a count of 3 became 6. Nothing changed in
# the cells. How many times as large is the variance of *Mt1* now? Predict, then compute it.
# `fresh[:, "Mt1"].to_df(layer="counts")` has the counts as they should be.

# %% tags=["exercise"]
times = ...

# %% tags=["check"]
check.doubled_counts(times, adata=fresh)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# mt1 = fresh[:, "Mt1"].to_df(layer="counts")["Mt1"]
# times = (2 * mt1).var() / mt1.var()
# ```
#
# Four times. The mean is twice as large, and so is each distance from it; the variance is made of
# squared distances. So a gene with large counts has a large variance, even if its cells differ no
# more than those of other genes.
#
# </details>

# %% [markdown]
# ### Exercise 2 · Step 3 by hand
#
# Write step 3 for one gene, with its limit. `values` are the counts of the gene, an array with one
# number per cell. Standardise each: subtract the mean, divide by the root of the expected
# variance. Limit each to the root of the number of cells. Return the variance of the result.


# %% tags=["exercise"]
def standardised_variance(values, expected_variance):
    return ...


# %% tags=["check"]
check.by_hand(standardised_variance, adata=fresh)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def standardised_variance(values, expected_variance):
#     standardised = (values - values.mean()) / expected_variance**0.5
#     limited = np.minimum(standardised, len(values) ** 0.5)
#     return limited.var()
# ```
#
# Without the limit it would be the variance divided by the expected variance. With it, a single
# cell can no longer make a gene look variable.
#
# </details>

# %% [markdown]
# ### Exercise 3 · Without one class
#
# *Plp1* is high in oligodendrocytes and low elsewhere. Its standardised variance among all cells is
# 2.7. Leave the oligodendrocytes out: is it larger or smaller among the cells that are left? Write
# your guess down. Then repeat the steps of the lesson with those cells.

# %% tags=["exercise"]
plp1_left = ...

# %% tags=["check"]
check.without_a_class(plp1_left, adata=fresh)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# others = fresh[fresh.obs["cell_type"] != "oligodendrocytes"].copy()
# others_table = genes.mean_and_variance(others)
# others_table["expected variance"] = genes.expected_variance(others_table)
# plp1_left = genes.standardised_variance(others, others_table)["Plp1"]
# ```
#
# Many expect that *Plp1* no longer varies. It varies more than any other gene now: most of the
# cells that are left have one molecule or none, and some have hundreds. For so small a mean that is
# very unusual. What "highly variable" means depends on the cells that are there.
#
# </details>

# %% [markdown]
# ### Exercise 4 · A hundred genes
#
# Find at most 100 genes with which the vote gets the class of 94 % of the cells or more right
# (`genes.class_accuracy(fresh, few_genes)`). Many answers are right.

# %% tags=["exercise"]
few_genes = ...

# %% tags=["check"]
check.few_genes(few_genes, adata=fresh)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# few = fresh.copy()
# genes.select(few, 100)
# few_genes = few.var_names
# ```
#
# The 100 most variable genes reach 95 %, nearly as many as all 4,000. The 100 with the largest mean
# and the 100 with the largest variance miss the mark. With 500 genes instead of 100 the vote gets
# one per cent more of the cells right.
#
# </details>

# %% [markdown]
# Next: [02 · What do `setup_anndata`, `SCVI` and `train` do?](02_training.ipynb)
