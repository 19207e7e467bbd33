# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Is my machine ready, and what is in the cortex data?
#
# You will train a model of gene expression, called scVI, on real cells of a mouse brain.
# First you make sure that your machine can do it, and look at the data as the model will see them.
#
# **You will be able to**
#
# - tell whether this machine can run the lessons;
# - say what a count is, and why so many counts are zero;
# - explain why two cells of the same kind can have very different totals;
# - say what a batch is, and check that a matrix holds counts.
#
# **Time**: 20 minutes to read and run, 20 minutes for the quiz and the exercises. **Needs**:
# nothing; no statistics.
#
# **How to read a lesson.** Click on a cell and press <kbd>Shift</kbd> + <kbd>Enter</kbd> to run it
# and go on. Where it says *Predict*, write your guess down first. A wrong guess teaches most. Words
# that link to the [glossary](../docs/glossary.md) are explained there once more.

# %% [markdown]
# ## Is this machine ready?
#
# The first cell of every lesson loads the helpers and makes the lesson repeatable: it fixes the
# [seed](../docs/glossary.md#seed) of all random numbers, and uses one
# [thread](../docs/glossary.md#thread).

# %%
import scanpy as sc

from helpers import data, environment
from helpers.data import counts

environment.prepare(seed=0)

# %% [markdown]
# Now compare this machine with what the lessons need. Your numbers differ from those stored here.
# What matters is the last column.

# %% tags=["nbval-ignore-output"]
environment.check()

# %%
print("ready:", (environment.check()["verdict"] == "ok").all())

# %% [markdown]
# If it says `ready: False`, the table tells what is missing and what to do about it.

# %% [markdown]
# ## Where the data come from
#
# All data of this kit are real. Packages carry them, so they were fetched when you set up the kit,
# and checked. From here on you need no network.

# %%
data.sources()

# %% [markdown]
# You work with the first row: cells from the cortex and the hippocampus of mice.

# %%
adata = data.load_cortex()
print(type(adata).__name__, "with", adata.n_obs, "cells and", adata.n_vars, "genes")

# %% [markdown]
# [AnnData](../docs/glossary.md#anndata) is a table with labels on both sides. A row is a cell, a
# column is a gene. `adata.X` holds the numbers, `adata.obs` describes the cells (*observations*),
# `adata.var` describes the genes (*variables*).
#
# ## What is a count?
#
# A cell reads a gene by making copies of it, in a molecule called [mRNA](../docs/glossary.md#mrna).
# The experiment opens each cell, catches some of its mRNA molecules and gives each one a random
# tag, a *unique molecular identifier* ([UMI](../docs/glossary.md#umi)). Then it reads genes and
# tags. A [count](../docs/glossary.md#count) is the number of different tags seen for one gene in
# one cell: the molecules that were caught.
#
# > **Predict.** A brain cell holds hundreds of thousands of mRNA molecules.
# > Will a typical count be in the thousands, in the tens, or near zero?

# %%
six_genes = ["Malat1", "Actb", "Snap25", "Plp1", "Mbp", "Grn"]
adata[:6, six_genes].to_df(layer="counts").astype(int)

# %% [markdown]
# Every count is a whole number. These six genes show the whole range; *Malat1* has the largest
# counts of all. What is typical?

# %%
small = 1 - (adata.layers["counts"] > 3).nnz / (adata.n_obs * adata.n_vars)
print(f"{small:.0%} of all counts are 3 or less")

# %% [markdown]
# Names like `unnamed_0123` are genes whose symbol the packaged file does not give. Here is how many
# have a name:

# %%
adata.var["symbol_known"].value_counts()

# %% [markdown]
# That is no loss for the model. It never reads a name; it reads counts. The picture shows part of
# the matrix: one row per cell, one column per gene. White is zero.

# %%
counts.plot_matrix(adata)

# %% [markdown]
# The columns are sorted: the further left, the more cells a gene was seen in. The rows are sorted
# as well. You can see blocks of cells that belong together; you will meet them below.
#
# ## How many counts are zero?
#
# > **Predict.** The matrix has 3,005 × 4,000 entries. What share of them is zero: 5 %, 45 % or 95
# > %?

# %%
zeros = counts.share_of_zeros(adata)
print(f"{zeros:.0%} of {adata.n_obs * adata.n_vars:,} entries are zero")

# %% [markdown]
# That is a mild case. The study measured 19,972 genes. The package has the 4,000 that were seen in
# more cells than the others, so the genes that were left out have even more zeros. All counts and
# totals of this lesson are those of the 4,000. The last gene that made it:

# %%
seen = adata.layers["counts"].getnnz(axis=0)
print(f"{adata.var_names[seen.argmin()]} was seen in {seen.min() / adata.n_obs:.0%} of the cells")

# %% [markdown]
#
# ### You may think: "A zero means that the gene is off"
#
# Test it: lose four of five molecules at random.
# Nothing changes in the cells. You only look less closely.
#
# > **Predict.** What happens to the share of zeros?

# %%
thinned = counts.thin(adata, keep=0.2)
print(f"zeros before: {zeros:.0%}")
print(f"zeros after losing 80 % of the molecules: {counts.share_of_zeros(thinned):.0%}")

# %% [markdown]
# A zero says: *no molecule of this gene was caught*. The gene may be off, or its few molecules were
# missed. A model of counts has to reckon with both. That is why scVI describes a count by a
# probability [distribution](../docs/glossary.md#distribution).
#
# ## How much was counted in each cell?
#
# The [library size](../docs/glossary.md#library-size) of a cell is the total of its counts, here of
# the 4,000 packaged genes.
#
# > **Predict.** How many times larger is the largest library than the smallest: 2 times, 5 times,
# > 30 times?

# %%
per_cell = counts.per_cell(adata)
per_cell.describe().loc[["min", "25%", "50%", "75%", "max"]].round(2)

# %%
size = per_cell["library size"]
print(f"The largest library is {size.max() / size.min():.0f} times as large as the smallest.")

# %% [markdown]
# ## Which cells are these?
#
# The authors of the study divided the cells into seven classes, by clustering these very counts
# (with a method called BackSPIN) and naming the clusters. They are the
# [labels](../docs/glossary.md#label) that you will compare with; scVI never sees them. So agreement
# with the labels is agreement with another clustering, not with a truth.

# %%
adata.obs["cell_type"].value_counts()

# %% [markdown]
# The classes are uneven. Keep that in mind: a method can do well on average and still miss the
# smallest class. And microglia are only 3 % of the cells. A gene that no other cell has was
# therefore seen in 3 % of the cells at most, and cannot be among the 4,000.
#
# > **Predict.** Do all classes have the same library size?

# %%
counts.plot_library_sizes(adata)

# %% [markdown]
# The classes differ: neurons are large cells. Within one class library sizes still differ
# severalfold; part of that is technical (how many molecules were caught). scVI takes the library
# size of each cell into account.
#
# One gene can tell a class apart. *Plp1* is a gene of oligodendrocytes, the cells that wrap nerve
# fibres.

# %%
counts.plot_gene(adata, "Plp1", cell_type="oligodendrocytes")

# %% [markdown]
# No single count decides: most of the other cells have *Plp1* too, and a few have hundreds of
# molecules. Many genes together do. Finding such patterns in thousands of genes at once is the task
# of the model.
#
# ## What are "annotated batches"?
#
# Cells that were handled together (the same day, chip or donor) share technical effects. Such a
# group is a [batch](../docs/glossary.md#batch). *Annotated* means that a column of `adata.obs`
# names the batch of each cell. The packaged cortex file names no batches, so you treat the cells as
# one. (The authors' own file has more: the chip in the name of each cell, its tissue, and the sex
# and age of the mouse.) The second data set has two:

# %%
blood = data.load_citeseq()
blood.obs["batch"].value_counts()

# %% [markdown]
# You tell scVI about batches by the name of that column, in lesson 02. What it then does is the
# subject of [05c](05c_batches.ipynb).
#
# ## Are these counts?
#
# scVI works on raw counts. Given other numbers it only warns, after a look at a few of them, and
# trains all the same. `check_counts` looks at all of them before you train, and stops you. No
# message means: all is well. (It is stricter than scVI. Some tools, such as alevin, CellBender and
# SoupX, *estimate* counts, with fractions and never below 0. To train on these is accepted
# practice.)

# %%
data.check_counts(adata, layer="counts")

# %% [markdown]
# To [normalise](../docs/glossary.md#normalise) is to divide each cell by its library size.
# `normalize_total` does that.
#
# > **Predict.** What will the check say about normalised values of 500 cells?

# %%
spoilt = adata[:500].copy()
sc.pp.normalize_total(spoilt)
try:
    data.check_counts(spoilt)
except ValueError as error:
    print(error)

# %% [markdown]
# The message says what is wrong, where the first such number is, and where the counts are.
#
# ## The answer

# %%
print(f"The model will see {adata.n_obs:,} cells x {adata.n_vars:,} genes of whole-number counts,")
print(f"{zeros:.0%} of them zero. Library sizes run from {size.min():,} to {size.max():,},")
print("so the counts of two cells cannot be compared as they are.")

# %% [markdown]
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | A zero means that the gene is off. | A zero means that no molecule was caught. Fewer molecules give more zeros. |
# | Cells of one class have the same total. | Library sizes differ severalfold, even within a class. |
# | Data must be normalised before scVI. | scVI needs the raw counts. It handles library size itself. |
# | A batch is a kind of cell. | A batch is a group of cells that were handled together. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("00")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("00")

# %% [markdown]
# ### Exercise 1 · The same count
#
# `cell_2459` and `cell_0088` both have 30 counts of *Actb*. How many is that per 10,000 counts of
# the cell? Give two numbers in a list, first for `cell_2459`, then for `cell_0088`. The table
# `per_cell` has the library sizes.

# %% tags=["exercise"]
actb_per_10000 = ...

# %% tags=["check"]
check.same_count(actb_per_10000, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# two_cells = ["cell_2459", "cell_0088"]
# actb_per_10000 = 10_000 * 30 / per_cell.loc[two_cells, "library size"]
# ```
#
# About 146 and 13. The same count is eleven times as large a part of the first cell, a cell of the
# microglia, as of the second, an interneuron. So the counts of two cells cannot be compared as they
# are.
#
# </details>

# %% [markdown]
# ### Exercise 2 · Small cells, bad cells?
#
# A colleague drops all cells with fewer than 5,000 counts: "They are of bad quality." Which classes
# would lose more than half of their cells? Write their names into a list, as they are in
# `adata.obs["cell_type"]`.

# %% tags=["exercise"]
lost = ...

# %% tags=["check"]
check.lost_classes(lost, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# is_small = per_cell["library size"] < 5_000
# share_lost = is_small.groupby(adata.obs["cell_type"], observed=True).mean()
# lost = list(share_lost[share_lost > 0.5].index)
# ```
#
# Astrocytes, the cells of blood vessels, and microglia: small cells with little mRNA.
# Oligodendrocytes lose many cells, too, but only a fifth of the class. If cells have to be dropped,
# look at each class first.
#
# </details>

# %% [markdown]
# ### Exercise 3 · Look less closely
#
# You lost four of five molecules above, and the share of zeros rose to 74 %. What share of the
# molecules must you keep so that nine of ten entries are zero? Write your guess down first. Then
# try values of `keep` in `counts.thin` until 89 % to 91 % of the entries are zero. Many answers are
# right.

# %% tags=["exercise"]
keep = ...

# %% tags=["check"]
check.look_less_closely(keep, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# keep = 0.05
# for try_keep in (0.5, 0.2, 0.1, 0.05):
#     print(try_keep, round(counts.share_of_zeros(counts.thin(adata, try_keep)), 3))
# ```
#
# Half of the molecules can go, and the share of zeros rises only from 43 % to 57 %: large counts
# stay above zero. Only when most counts are down to one or two molecules do zeros take over. With a
# twentieth of the molecules you are there.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Counts or not?
#
# Write the core of `check_counts` yourself: a function that gets an array of numbers and returns
# True if all of them can be counts, else False. Think of two things that a count can never be.


# %% tags=["exercise"]
def holds_counts(matrix):
    return ...


# %% tags=["check"]
check.counts_or_not(holds_counts, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def holds_counts(matrix):
#     is_whole = (matrix % 1 == 0).all()
#     is_never_negative = (matrix >= 0).all()
#     return is_whole and is_never_negative
# ```
#
# Whole is what counts, not how it is written: 3.0 is a count. Whether an array that passes *does*
# hold counts, only the people who made it can say: rounded values pass, too.
#
# </details>

# %% [markdown]
# Next: [01 · Which genes, and why these?](01_genes.ipynb)
