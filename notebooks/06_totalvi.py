# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · What changes when proteins are measured too?
#
# You print two models one after the other. The summary of `SCVI` names its layers. The summary of
# `TOTALVI` says *n_latent: 20* and *protein_dispersion: protein*, and of layers it says nothing. Is
# there none? And what has a protein to do with dispersion?
#
# In this lesson you take TotalVI apart, with the tools of lessons 03 and 04: its data, its summary
# word by word, its layers, its loss. At the end you compute a table, SCVI against TotalVI, in which
# nothing is typed in. [Lesson 06b](06b_proteins.ipynb) then asks what the proteins are good for.
#
# **You will be able to**
#
# - say what a protein count is, and why a count above zero does not mean that the protein is there;
# - check protein data before you train on them;
# - explain each word of TotalVI's summary, and say what it leaves out;
# - name the parts of TotalVI's loss, and add them up;
# - say in which points TotalVI differs from SCVI.
#
# **Time**: 40 minutes to read and run (about a minute of it is computing), 25 minutes for the quiz
# and the exercises.
# **Needs**: lesson 02. [03](03_hidden_layers.ipynb) and [04](04_loss.ipynb) explain what is only
# named here.

# %%
import scvi

from helpers import data, environment, genes, training
from helpers.proteins import protein_counts, protein_figures

environment.prepare(seed=0)
blood = data.load_citeseq()
n_proteins = blood.obsm["protein_expression"].shape[1]
print(f"{blood.n_obs} cells x {blood.n_vars:,} genes, and {n_proteins} proteins")

# %% [markdown]
# ## What is a protein count?
#
# 400 blood cells, and in each of them two things were counted.
#
# - **RNA**, as before: how many molecules of each of 14,520 genes.
# - **Proteins** on the cell's surface, here 14 of them. For each there is an
#   [antibody](../docs/glossary.md#antibody): a molecule that sticks to this protein and to (nearly)
#   no other. Each antibody carries a tag of DNA. The tags are read with the RNA, and counted. The
#   technique is called [CITE-seq](../docs/glossary.md#cite-seq).
#
# The names are those of the proteins; CD is short for *cluster of differentiation*, a numbered list
# of molecules on the surface of cells. Most cell types of the blood are told apart by them: T cells
# have CD3, B cells have CD19, monocytes have CD14. (CD15 is a sugar and no protein, but is counted
# in the same way.)

# %%
blood.obsm["protein_expression"].iloc[::80, :8]

# %% [markdown]
# > **Predict.** About half of the cells are T cells, and only T cells have CD3. In what share of
# > the cells was at least one CD3 counted?

# %%
cd3 = blood.obsm["protein_expression"]["CD3"]
print(f"cells with at least one CD3 count: {(cd3 > 0).mean():.0%}")
print(f"the smallest count of a cell: {cd3.min()}")

# %% [markdown]
# ### You may think: "a count above zero means that the protein is there"
#
# For RNA that is nearly right (a little RNA floats about, too). For proteins it is wrong: *every*
# cell has CD3 counts. Antibodies float about in the liquid and stick to things by accident. These
# counts are the [background](../docs/glossary.md#background). The counts of cells that do carry the
# protein are the [foreground](../docs/glossary.md#foreground). You can see both as two humps:

# %%
protein_figures.plot_histogram(blood, "CD3")

# %% [markdown]
# Two things to take from the picture. The humps lie far apart, so for CD3 it is plain which cells
# have it. And they lie at *different places in the two batches*: in batch 5k both humps lie lower.
# A count of 200 is foreground in batch 5k, and background in batch 10k.
#
# Not all proteins are so kind. The table has a typical background and foreground count, the
# threshold between the humps, and the share of cells above it. NaN: there are no two humps. Then
# the first two numbers mean nothing either.

# %%
thresholds = protein_counts.thresholds(blood)
thresholds.round(2)

# %% [markdown]
# ## Genes that vary in each batch
#
# As in lesson 01 you keep 2,000 genes. There are two batches now. A gene that differs *between*
# them would look variable without being so in either. With `batch_key` the genes are ranked in each
# batch by itself.
#
# > **Predict.** How many of the 2,000 genes are different if you look at each batch by itself?

# %%
by_batch, together = blood.copy(), blood.copy()
genes.select(by_batch, batch_key="batch")
genes.select(together)
shared = by_batch.var_names.intersection(together.var_names)
print(f"{1 - len(shared) / by_batch.n_vars:.0%} of the genes are different")

# %% [markdown]
# From here on you use those that vary within the batches.
#
# ## Check the proteins
#
# TotalVI wants raw counts, of the same cells. A protein without a single count in a batch it takes
# as not measured there: it fills in what it expects, and trains a further network to mix the
# batches. If it gets something other than counts, it warns at best, and may fail later with a
# message about something else. `data.check_proteins` looks first. No message means: all is well.

# %%
blood = by_batch
data.check_counts(blood, layer="counts", batch_key="batch")
data.check_proteins(blood, batch_key="batch")

# %% [markdown]
# What would it have said? Spoil a copy: take the logarithm, as for a plot.

# %%
import numpy as np

spoilt = blood.copy()
spoilt.obsm["protein_expression"] = np.log1p(spoilt.obsm["protein_expression"])
try:
    data.check_proteins(spoilt, batch_key="batch")
except ValueError as error:
    print(error)

# %% [markdown]
# ## The model and its summary
#
# `setup_anndata` gets one more line: where the proteins are.

# %% tags=["nbval-ignore-output"]
scvi.model.TOTALVI.setup_anndata(
    blood, layer="counts", batch_key="batch", protein_expression_obsm_key="protein_expression"
)
model = scvi.model.TOTALVI(blood)
print(model)

# %% [markdown]
# > **Predict.** How many hidden layers does this model have? Which word of the summary tells you?
#
# No word does. Go through them:
#
# | in the summary | what it means | says how many layers? |
# | --- | --- | --- |
# | `n_latent: 20` | 20 [latent dimensions](../docs/glossary.md#latent-dimension), twice as many as in SCVI | no |
# | `gene_dispersion: gene` | one [dispersion](../docs/glossary.md#dispersion) for each gene, the same in all cells. Dispersion: how far counts spread around their mean | no |
# | `protein_dispersion: protein` | one dispersion for each protein, the same in all cells. (`protein-batch` would be one for each protein and batch) | no |
# | `gene_likelihood: nb` | counts of genes: [negative binomial](../docs/glossary.md#negative-binomial-distribution), without extra zeros | no |
# | `latent_distribution: normal` | the cloud of a cell is a [normal distribution](../docs/glossary.md#normal-distribution) | no |
#
# The dispersions are bare numbers of the model, no layers at all (papers write θ and φ, see the
# [notation](../docs/notation.md)):

# %%
print("dispersions of genes:   ", tuple(model.module.px_r.shape))
print("dispersions of proteins:", tuple(model.module.py_r.shape))

# %% [markdown]
# ### You may think: "it is not in the summary, so there is none"
#
# Ask a training step, as in lesson 03:

# %%
from helpers import layers
from helpers.layers import architecture_drawing

print(layers.summary(model))

# %% [markdown]
# The numbers are arguments of the *module*, one level below the model, with defaults of their own.
# The summary prints five arguments of the model, and nothing else.

# %%
import inspect

module_arguments = inspect.signature(type(model.module)).parameters
for name in ("n_layers_encoder", "n_layers_decoder", "n_hidden"):
    print(f"{name} = {module_arguments[name].default}")

# %% [markdown]
# Here is the wiring, from top to bottom. Counts of genes and proteins go in together, through *one*
# encoder. What comes out at the bottom are two kinds of distribution. Boxes with a thick edge are
# hidden layers. Round boxes are data, random samples and distributions, and bare learned numbers:
# the dispersions `px_r` and `py_r`, and `log_per_batch_efficiency` (more on it below). `+2 batch`:
# two more columns come in here, which say from which of the two batches the cell is. `+20 latent`:
# the 20 latent numbers come in once more.
#
# > **Predict.** Four branches leave the latent numbers. What is each for?

# %%
architecture_drawing.draw(model)

# %% [markdown]
# <details><summary>What the four branches compute</summary>
#
# For each cell and gene: the share of the RNA. For each cell and protein: the background, how many
# times larger the foreground is, and the probability that the count is background.
#
# </details>
#
# The branches stand side by side; none feeds another. So the decoder is one hidden layer deep. And
# as in SCVI, not all that is built is used:

# %%
layers.parameters_by_state(model)

# %% [markdown]
# *Ignored*: they run in each step, but the loss does not depend on them. Which parts, and what
# would use them? (A few seconds: other TotalVIs are built to find out.)

# %%
layers.unused(model)

# %% [markdown]
# - `l_gene_encoder` estimates the [library size](../docs/glossary.md#library-size) of a cell. It is
#   not needed, because the library size is read from the counts.
# - `px_dropout_decoder_gene` computes extra zeros of genes. It is not needed, because the
#   likelihood is `nb`, which has none.
#
# ## Train
#
# 400 cells make few minibatches. So use the preset for few cells: smaller minibatches, and 80
# epochs, which are 480 steps. It takes about twenty seconds.

# %%
training.PRESETS["few cells"]

# %% tags=["nbval-ignore-output", "progress"]
training.train(model, preset="few cells")

# %% tags=["nbval-ignore-output"]
curves = training.curves(model)
training.plot_curves(curves)

# %% [markdown]
# The axis begins where training begins, so the end looks flat. Look at the end itself:

# %%
end = curves.iloc[-1]
more = end["held-out cells"] - end["training cells"]
print("nats per cell that held-out cells cost more, above 100:", more > 100)

# %% [markdown]
# Part of the gap is [overfitting](../docs/glossary.md#overfitting): 360 cells to train on, and a
# million trained parameters. Part of it is which 40 cells are held out: with another seed, the
# held-out value differs by more than that.
#
# Is the preset as good as the default training? Here is the difference on the held-out cells, in
# nats per cell, for three kept runs with three seeds. Below 0, the preset is better.

# %%
from helpers import results

runs = results.load("citeseq")
elbo_by_run = runs.pivot(index="seed", columns="method", values="negative ELBO")
(elbo_by_run["TotalVI"] - elbo_by_run["TotalVI, default training"]).round().astype(int).to_dict()

# %% [markdown]
# On this measure it is, in all three seeds.
#
# ## The loss
#
# > **Predict.** SCVI's loss has two parts. Which parts must TotalVI have in addition?

# %%
from helpers import loss
from helpers.loss import elbo_figures

ledger = loss.ledger(model)
added = loss.contributions(ledger)
list(added.columns)

# %% [markdown]
# - `reconst_loss_gene`: how surprising the counts of the genes are. As in SCVI.
# - `reconst_loss_protein`: how surprising the counts of the proteins are.
# - `kl_div_z`: what the position costs. As in SCVI.
# - `kl_div_back_pro`: what the background costs. The model has a [prior](../docs/glossary.md#prior)
#   for the background of each protein in each batch; the farther a cell's background is from it,
#   the more it costs.
#
# Do they add up?

# %%
for residual in ("residual", "elbo_residual", "held_out_residual"):
    largest = ledger[residual].abs().max()
    print(f"{residual}: below 0.01 nats in all {len(ledger)} epochs: {largest < 0.01}")

# %% [markdown]
# ### You may think: "the proteins count from the first step"
#
# Look at the first epoch:

# %% tags=["nbval-ignore-output"]
added["KL weight"] = ledger["kl_weight"]
added.loc[[1, 2, 5, 10, 20, 31, 80]].round(2)

# %% [markdown]
# In TotalVI the KL weight multiplies the proteins' reconstruction loss as well! In the first epoch
# it is 0, and the proteins do not count at all.

# %% tags=["nbval-ignore-output"]
elbo_figures.plot_contributions(ledger)

# %% [markdown]
# So a training that is too short for its warm-up does more harm here than in SCVI: the proteins
# count too little to the end. By default, TotalVI's warm-up takes 0.75 steps for each cell, and a
# minibatch has 256 cells.
#
# > **Predict.** Above 20,000 cells the default number of epochs falls (lesson 02). Up to how many
# > cells does the weight reach 1?

# %%
import math

for n_cells in (400, 10_000, 30_000, 100_000, 1_000_000):
    steps = training.default_epochs(n_cells) * math.ceil(0.9 * n_cells / 256)
    weight = min(1, steps / int(0.75 * n_cells))
    print(f"{n_cells:9,} cells: the weight ends at {weight:.2f}")

# %% [markdown]
# With 100,000 cells a default training ends with less than half the weight, on the KL divergence
# *and on the proteins*. (And it may end sooner: TotalVI stops early by default.) If you have that
# many, pass it to `train` itself: `model.train(n_epochs_kl_warmup=30)`. In `plan_kwargs`, as for
# SCVI, it has no effect: `TOTALVI.train` overwrites its own settings there, without a word.
# (`training.train` of this kit passes them on.)
#
# ### You may think: "`kl_div_back_pro` is a KL divergence"
#
# Compute each term again with NumPy and SciPy alone, from what the networks put out. First: is it
# the same loss?

# %%
from helpers.proteins import totalvi

again = totalvi.by_hand(model, model.validation_indices)
background = ["background", "efficiency", "foreground penalty"]
again["kl_back_pro"] = again[background].sum(axis=1)
for term in ("genes", "proteins", "kl_z", "kl_back_pro"):
    off = (again[term] / again[f"{term}_of_module"] - 1).abs().max()
    print(f"{term}: {len(again)} cells, all equal to 1 in 1,000: {off < 1e-3}")

# %% [markdown]
# It is, and you see that the last term is three things. Only the first is a KL divergence:

# %% tags=["nbval-ignore-output"]
again[background].mean().round(1)

# %% [markdown]
# - *background*: how far the background of the cell is from its prior.
# - *efficiency*: each protein has one number for each batch, by which the means of its background
#   and foreground are multiplied, because antibodies work better in one batch than in another. This
#   term keeps those numbers from growing or shrinking without limit. It is the same for all cells
#   of a batch, and can never become 0.
# - *foreground penalty*: a very small price on each foreground. 0 here, after rounding.
#
# So a good part of it is the same for all cells of a batch, and part of a difference between two
# TotalVIs may come from there. Compare `elbo_validation` between TotalVIs on the same data, with
# that in mind; never with that of SCVI.
#
# ## What the decoder says about one cell
#
# For each count of a protein the decoder gives a [mixture](../docs/glossary.md#mixture): two
# negative binomial distributions, one for the background and one for the foreground, and a
# probability for each. Look at CD19 in a B cell and in a T cell. The line is the count that was
# measured.
#
# (`gate` sorts the cells by the thresholds from above. Lesson 06b shows how.)
#
# > **Predict.** Which of the two will be larger in the B cell?

# %%
from helpers.proteins import totalvi_figures

groups = protein_counts.gate(blood)
examples = {group: groups.index[groups == group][0] for group in ("B cells", "CD4 T cells")}
totalvi_figures.plot_mixture(model, "CD19", examples)

# %% [markdown]
# For these two cells the model is sure, so you see only one hump in each. TIGIT is on some NK and T
# cells, and its counts are small. Put "TIGIT", "NK cells" and "CD8 T cells" in their places and run
# the cell again: now you see both in a cell. The model is not sure.
#
# Why two distributions? One could have done: the decoder knows from the position what kind of cell
# it has, and could give a large mean or a small one. With two, the model says how probable it is
# that a count is *only background*. Lesson 06b uses that, and looks where it works.
#
# ## SCVI against TotalVI
#
# An SCVI for the same genes of the same cells, trained in the same way, and both side by side.
# Nothing in the table is typed in; all of it is read from the two models.
# [Idle](../docs/glossary.md#idle-module): built, and never run. `outputs of its own`: what you can
# ask of this model, and not of the other.
#
# > **Predict.** Which of the two has more parameters? By how much?

# %%
rna_alone = training.load_or_train(training.blood_model("SCVI"), "few cells")
loss.side_by_side({"SCVI": rna_alone, "TOTALVI": model})

# %% [markdown]
# Two differences are easily missed. TotalVI tells its encoder the batch, and SCVI, by default, only
# its decoder. And TotalVI scales the counts of each cell before it encodes them, while SCVI only
# takes log(1 + count).
#
# ## The answer

# %%
print(layers.summary(model))
print("The loss:", " + ".join(map(loss.term_name, loss.contributions(ledger))))

# %% [markdown]
# TotalVI's summary prints the arguments of the model: 20 latent dimensions, and that each protein
# has one dispersion. The layers are arguments of the module below it: two hidden layers of 256
# neurons in the encoder and one in the decoder, in four branches. The loss is SCVI's, plus a
# reconstruction loss of the proteins and a price for their background, both multiplied by the KL
# weight.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | A count above zero means that the protein is there. | Every cell has background counts. Look for two humps. |
# | It is not in the summary, so there is none. | The summary prints the model's arguments. Layers are arguments of the module. |
# | Protein dispersion has to do with layers. | It is a bare number for each protein, in no layer. |
# | What runs is used. | Nearly half of the parameters run in each step, and the loss does not depend on them. |
# | The proteins count from the first step. | Their reconstruction loss is multiplied by the KL weight, which starts at 0. |
# | `kl_div_back_pro` is a KL divergence. | It is one, plus two terms that are not. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("06")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("06")

# %% [markdown]
# ### Exercise 1 · What the weight hides
#
# In the table of *The loss*, the part of the proteins falls from epoch 2 to 5, and then rises again
# to epoch 31. Do the proteins get worse? That table has the KL weight in it. How many nats per cell
# does the proteins' reconstruction loss have in epoch 2 *without* the weight? `added` and `ledger`
# hold all that you need.

# %% tags=["exercise"]
proteins_in_epoch_2 = ...

# %% tags=["check"]
check.without_weight(proteins_in_epoch_2, ledger=ledger)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# proteins_in_epoch_2 = added.loc[2, "reconst_loss_protein"] / ledger.loc[2, "kl_weight"]
# ```
#
# About 2,900 nats per cell, and about 64 in epoch 80. The proteins are described ever better; only
# the weight lets their part look small at first. (In epoch 1 the weight is 0, so you cannot divide.
# The loss was there, and nothing of it counted.)
#
# </details>

# %% [markdown]
# ### Exercise 2 · Long enough for the proteins
#
# You have 100,000 cells, and keep TotalVI's default [warm-up](../docs/glossary.md#kl-warm-up).
# After how many epochs does the weight reach 1? Give the least whole number.

# %% tags=["exercise"]
n_epochs = ...

# %% tags=["check"]
check.long_enough(n_epochs)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# n_epochs = math.ceil(0.75 * 100_000 / math.ceil(0.9 * 100_000 / 256))
# ```
#
# 75,000 steps at 352 an epoch: 214 epochs. Try a million cells: 214 again, since warm-up and epoch
# grow alike. So TotalVI's default warm-up takes 214 epochs of any large data, and a default
# training of more than about 37,000 cells is shorter than that.
#
# </details>

# %% [markdown]
# ### Exercise 3 · Deeper, and used
#
# Build a TotalVI of your cells, without training it, with at least two hidden layers in the
# *decoder*, and with less than 30 % of its parameters
# [ignored](../docs/glossary.md#ignored-module). Then print it, and look whether the summary tells.
# Many answers are right.

# %% tags=["exercise"]
your_totalvi = ...

# %% tags=["check"]
check.deeper_and_used(your_totalvi)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# your_totalvi = scvi.model.TOTALVI(blood, n_layers_decoder=2, gene_likelihood="zinb")
# ```
#
# With `zinb` the head of extra zeros, `px_dropout_decoder_gene`, is trained; what is still ignored
# belongs to the library size. The summary says `zinb`, and of the layers nothing.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Where does the foreground begin?
#
# Write a function that gets the counts of one protein in one batch (an array, a number for each
# cell) and returns the threshold between background and foreground: a count. The check tries it on
# CD3, CD8a, CD14, CD19 and CD45RA in both batches. Asked for: at most 5 % of the cells are on a
# different side than in `thresholds`. Your way of finding it may be simple. Many answers are
# right.


# %% tags=["exercise"]
def divide(counts): ...


# %% tags=["check"]
check.where_it_begins(divide, blood=blood, thresholds=thresholds)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def divide(counts):
#     logged = np.log1p(counts)
#     return np.expm1((logged.min() + logged.max()) / 2)
# ```
#
# Half-way between the smallest and the largest count, on the logarithmic axis on which the humps
# lie apart. It is crude, since it leans on two cells; `protein_counts.thresholds` fits both humps.
# And it returns a number for PD-1, too, where there is nothing to divide.
#
# </details>

# %% [markdown]
# Next: [06b](06b_proteins.ipynb), what the proteins are good for.
