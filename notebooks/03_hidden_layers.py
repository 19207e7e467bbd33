# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · How many hidden layers are there?
#
# You build `SCVI(adata)` and print it. It says `n_layers: 1`. Of what? Another model, TotalVI, does
# not mention layers at all. So you list all parts of the model, and the list shows parts that never
# run.
#
# In this lesson you do not guess. You let the model do one training step on real cells, watch what
# runs, and count.
#
# **You will be able to**
#
# - say what a hidden layer is, and what a head is;
# - read a list of a model's modules (a *dump*), and say why three dumps of the same model differ;
# - tell modules that are used from modules that are only there;
# - say how many hidden layers scVI and TotalVI have, how wide they are, and where dropout is;
# - compute by hand how many parameters one more layer costs.
#
# **Time**: 40 minutes to read and run (less than a minute of it is computing), 20 minutes for the
# quiz and the exercises.
# **Needs**: lesson 02, or the model that it stored.

# %%
import scvi

from helpers import data, environment, genes, training

environment.prepare(seed=0)
adata = data.load_cortex()
genes.select(adata)
scvi.model.SCVI.setup_anndata(adata, layer="counts")
model = training.load_or_train(scvi.model.SCVI(adata))

# %% [markdown]
# > **Predict.** You know that `n_layers` is 1. How many hidden layers are in the encoder, how many
# > in the decoder, and how many in all? Write three numbers down.
#
# ## What is a hidden layer?
#
# Everything here is made of one building block, the
# [linear layer](../docs/glossary.md#linear-layer). It takes the numbers that come in, multiplies
# each by a weight of its own, adds them up, and adds a [bias](../docs/glossary.md#bias). It does so
# once for each [neuron](../docs/glossary.md#neuron). Weights and biases are learned; together they
# are its [parameters](../docs/glossary.md#parameter).
#
# Linear layers form [networks](../docs/glossary.md#network). A network begins with data, or with
# numbers that were drawn at random. It ends where the parameters of a
# [distribution](../docs/glossary.md#distribution) come out, such as a mean and a variance.
#
# - A [hidden layer](../docs/glossary.md#hidden-layer) is a linear layer whose output goes into
#   another linear layer *of the same network*. In lesson 02 you met it as a row of numbers; this is
#   the layer that computes them.
# - A [head](../docs/glossary.md#head) is the final linear layer of a path. What comes out of it is
#   what the network is there for.
#
# What follows a linear layer ([batch normalisation](../docs/glossary.md#batch-normalisation), an
# [activation](../docs/glossary.md#activation), [dropout](../docs/glossary.md#dropout)) belongs to
# it and is not a layer of its own. You count *depth*: how many hidden layers follow one another.
# Where a network has branches side by side, the longest one counts.
#
# > **Predict.** A hidden layer of 128 neurons reads 2,000 genes. How many parameters does it have?

# %%
n_genes, n_neurons = adata.n_vars, 128
n_weights = n_genes * n_neurons
n_biases = n_neurons
print(f"{n_weights:,} weights + {n_biases} biases = {n_weights + n_biases:,} parameters")

# %% [markdown]
# You will meet this number again.
#
# ## Dump 1: what torchinfo prints
#
# In PyTorch, every part of a model is a [module](../docs/glossary.md#module), and modules contain
# modules. `model.module` is the outermost one of scVI. `torchinfo` is the usual tool to list what
# is inside. `Linear: 2-3` is a linear layer: the third module on level 2.
#
# > **Predict.** You just computed the parameters of a hidden layer. Will you find the number in the
# > list?

# %%
import torchinfo

print(torchinfo.summary(model.module, verbose=0))

# %% [markdown]
# It is not there! The list has seven `Linear`, and none of them is a hidden layer. torchinfo stops
# at level 3 unless you ask for more. `Sequential: 3-1` is a box that it does not open. It holds
# 256,384 parameters: the hidden layer, and a scale and a shift for each of the 128 neurons in its
# batch normalisation.
#
# ### You may think: "So I have to look deeper"
#
# There are three usual ways to [dump](../docs/glossary.md#dump) a model. This table has them side
# by side:
#
# - `default` stops at level 3, as above;
# - `all levels` opens every box;
# - `with cells` sends eight cells through the model and lists what runs.
#
# An empty place means: not listed. On the left is the path, from the outermost module to the
# innermost. The last column is the one that this lesson adds.

# %%
from helpers import layers
from helpers.layers import architecture_drawing, architecture_explorer, module_listings

listed = module_listings.compare(model)
listed

# %% [markdown]
# Count the linear layers in each dump:

# %%
module_listings.count_linear(listed)

# %% [markdown]
# Three dumps, three numbers, and none of them is the answer. Deeper shows more. It does not show
# what is used:
#
# - `default` shows only what is not nested deeply: here the heads, used or not.
# - `all levels` shows what was *built*, including a whole second encoder, `l_encoder`.
# - `with cells` shows what *runs*.
#
# What about the parameters of a module that does not run? Compare the lines `VAE` and `DecoderSCVI`
# with those of dump 1:

# %%
with_cells = torchinfo.summary(model.module, input_data=[training.minibatch(model, 8)], verbose=0)
print(str(with_cells).partition("Total mult-adds")[0])

# %% [markdown]
# The modules vanish, but torchinfo adds their parameters to the line of the module around them. So
# the total is the same, and nothing tells you that two parts never ran.
#
# ## Ask the training step
#
# Training changes a parameter only if the [loss](../docs/glossary.md#loss) depends on it. So ask
# that, for each module. `layers.module_table` lets a copy of the model do one training step
# on 128 of your cells: forward, from the counts to the loss, and backward, to find out what the
# loss depends on. Each module is then in one of these states:
#
# | state | runs? | does the loss depend on it? |
# | --- | --- | --- |
# | trained | yes | yes |
# | [ignored](../docs/glossary.md#ignored-module) | yes | no |
# | [idle](../docs/glossary.md#idle-module) | no | no |
#
# (A module without parameters has nothing to learn; for it, *trained* just means that the loss
# depends on what it does.)
#
# > **Predict.** What share of the 1.3 million parameters is trained?

# %%
table = layers.module_table(model)
table

# %%
layers.parameters_by_state(model)

# %% [markdown]
# The row `all` is counted by PyTorch, so the table leaves nothing out. The last row of the big
# table, `px_r`, is not a module: it is the [dispersion](../docs/glossary.md#dispersion) of each
# gene, kept as bare numbers.
#
# ### You may have thought: "What is in the model is used by the model"
#
# Two fifths of what scVI builds by default never runs. It takes a little memory, and the result
# does not depend on it. But it is one reason why counting `Linear` in a list gives a wrong answer.
# Heads are the other:

# %%
layers.linear_layers(model)

# %% [markdown]
# Ten linear layers: six are used, and four of those are heads. Two hidden layers are left, one in
# the encoder and one in the decoder.
#
# ## The picture
#
# Read it from the top: counts go in, ten numbers come out in the middle, a distribution for each
# count at the bottom. Boxes with a thick edge are hidden layers; the bold number is their width.
#
# > **Predict.** Which boxes will have dropout? One of them has the word in its name.

# %%
architecture_drawing.draw(model)

# %% [markdown]
# ### You may think: "`px_dropout_decoder` is dropout"
#
# It is a head. It computes, for each count, how likely an *extra zero* is: the "zero-inflated" part
# of the distribution ([zinb](../docs/glossary.md#zero-inflated-negative-binomial)). It is named
# after molecules that were missed, which are called dropouts, too. But most of these need no extra
# zero: the negative binomial already allows for what chance misses, and in counts from droplets
# hardly any zero is left over (Svensson 2020). The dropout that sets neurons to 0 while training
# is written inside a box. There is one: in the encoder's hidden layer. (In lesson 02 you saw it in
# two encoders. The second one, `l_encoder`, is idle.)
#
# ## Wake an idle part
#
# `use_observed_lib_size=False` makes the model learn the
# [library size](../docs/glossary.md#library-size) of a cell instead of reading it from its counts.
#
# > **Predict.** Which network will appear? How many hidden layers are there then in all?

# %%
learns_library_size = scvi.model.SCVI(adata, use_observed_lib_size=False)
layers.hidden_layers(learns_library_size)

# %% [markdown]
# You would not want to try every setting by hand. `layers.explain` does it: it builds other
# models that differ from yours in one switch, until it finds one that uses the idle part. This is
# what the summary should have printed:

# %%
print(layers.explain(model))

# %% [markdown]
# Compare it with the three numbers that you wrote down. `n_layers: 1` means: one hidden layer in
# the encoder *and* one in the decoder.
#
# ## TotalVI
#
# [TotalVI](../docs/glossary.md#totalvi) describes RNA and proteins of the same cells. Here it gets
# blood cells with 14 proteins:

# %% tags=["nbval-ignore-output"]
blood = data.load_citeseq()
genes.select(blood)
scvi.model.TOTALVI.setup_anndata(blood, "protein_expression", batch_key="batch", layer="counts")
totalvi = scvi.model.TOTALVI(blood)
print(totalvi)

# %% [markdown]
# No layers, no neurons. Dump it:
#
# > **Predict.** With cells, the dump of scVI became shorter, because idle modules vanished. What
# > about TotalVI?

# %%
listed_of_totalvi = module_listings.compare(totalvi)
module_listings.count_linear(listed_of_totalvi)

# %%
listed_of_totalvi[listed_of_totalvi["in training"] != "trained"]

# %% [markdown]
# ### You may think: "A dump with real cells shows what is used"
#
# It lists as many linear layers as before, and the ones in this table look as good as the others.
# They do run. But their output is dropped: nothing of it reaches the loss, so training never
# changes their weights. Only the backward half of a training step can tell.

# %%
layers.parameters_by_state(totalvi)

# %% [markdown]
# In scVI such parts never run. In TotalVI they do, in every step, to no effect.
#
# In the picture, round boxes are data, random samples and distributions, and bare learned numbers
# such as `px_r`. `+2 batch` means: two more columns come in here, which say from which of the two
# batches the cell is. `+20 latent`: the 20 [latent numbers](../docs/glossary.md#latent-space) come
# in here once more.

# %%
architecture_drawing.draw(totalvi)

# %% [markdown]
# > **Predict.** How many hidden layers has the decoder? You see four boxes with a thick edge.

# %%
print(layers.summary(totalvi))

# %% [markdown]
# The four stand side by side, each 256 wide. None feeds another. So the decoder is *one* hidden
# layer deep. And unlike scVI, TotalVI has dropout in the decoder as well. Here are all its linear
# layers, one by one:

# %%
layers.linear_layers(totalvi)

# %% [markdown]
# Where do 2, 1 and 256 come from? They are defaults one level down, in the module, and the summary
# prints only arguments of the model. You can still set them: `TOTALVI(blood, n_layers_decoder=2)`.

# %%
import inspect

defaults = inspect.signature(type(totalvi.module)).parameters
for name in ("n_layers_encoder", "n_layers_decoder", "n_hidden", "dropout_rate_decoder"):
    print(f"{name} = {defaults[name].default}")

# %% [markdown]
# ### You may think: "Layers are what the code calls layers"

# %%
kinds = [type(module).__name__ for module in totalvi.module.modules()]
print("modules of the class FCLayers:", kinds.count("FCLayers"))
print("hidden layers:", layers.hidden_layers(totalvi))

# %% [markdown]
# `FCLayers` is scvi-tools' name for a block of
# [fully connected layers](../docs/glossary.md#linear-layer). In TotalVI most heads are such blocks,
# too. Names mislead. What is connected to what does not.
#
# What would use the ignored parts? (This takes a few seconds: it builds a number of other
# TotalVIs.)

# %%
print(layers.explain(totalvi))

# %% [markdown]
# ## More layers
#
# `SCVI(adata, n_layers=2)` adds a hidden layer to the encoder *and* to the decoder.
#
# > **Predict.** How many parameters does that add? Each new layer reads the 128 numbers of the one
# > before.

# %%
new_layer = 128 * 128 + 128  # weights and biases
its_batch_normalisation = 128 + 128  # a scale and a shift for each neuron
print(f"{2 * (new_layer + its_batch_normalisation):,}")

# %% [markdown]
# Build the models and look. (`modules` counts the rows of the module table: what follows a linear
# layer is a row of its own.)

# %%
layers.compare(
    {n_layers: scvi.model.SCVI(adata, n_layers=n_layers) for n_layers in (1, 2, 3, 4)}
).rename_axis("n_layers")

# %% [markdown]
# ### You may think: "Twice the layers, twice the model"
#
# One more layer adds less than 3 %. Nearly all parameters sit where the 2,000 genes come in and go
# out, and there the *width* counts:
#
# > **Predict.** What happens to the number of parameters when `n_hidden` doubles?

# %%
layers.compare(
    {n_hidden: scvi.model.SCVI(adata, n_hidden=n_hidden) for n_hidden in (64, 128, 256)}
).rename_axis("n_hidden")

# %% [markdown]
# It nearly doubles. Whether more layers or neurons make the model *better* is another question.
# Lesson 07 measures it.
#
# ## Try other sizes
#
# Move a slider: the drawing and the numbers follow. Nothing is trained, so it is quick. (Where the
# sliders do not show, as in a printed page, you see the model that `SCVI(adata)` builds.)
#
# > **Predict.** Which slider changes the share of idle parameters most? Where does the batch enter
# > when there is more than one?

# %% tags=["nbval-ignore-output"]
architecture_explorer.explore(adata)

# %% [markdown]
# <details><summary>The answers</summary>
#
# `n_layers`: every new layer is trained, and the idle parts do not grow.
# [Latent dimensions](../docs/glossary.md#latent-dimension) and batches do not make them grow
# either, but they add little. Neurons and genes make all parts grow together.
#
# The batch enters every hidden layer of the decoder. With two batches the first one reads 12
# numbers instead of 10: two more that say from which batch the cell is.
#
# </details>
#
# ## The answer

# %%
for each in (model, totalvi):
    print(layers.summary(each))

# %% [markdown]
# A dump lists more for three reasons: it lists heads; it lists what is never used; and it lists
# branches side by side one by one.
#
# ## For reference: a map of the models
#
# Here scvi-tools' models are counted in the same way, each built with its defaults for 2,000
# features and one batch. First eight of them. `width` is the number of neurons in a hidden layer
# (PEAKVI and MULTIVI take about the square root of the number of features), `latent` the number of
# latent dimensions.

# %%
from helpers.layers import model_map

models = model_map.all_models(adata, blood)
first = ["SCVI", "LinearSCVI", "SCANVI", "AUTOZI", "CondSCVI", "PEAKVI", "MULTIVI", "TOTALVI"]
models.loc[first, ["encoder", "decoder", "other networks", "width", "latent", "note"]]

# %% [markdown]
# And their parameters, with the distribution that describes the data (the
# [likelihood](../docs/glossary.md#likelihood)). *Frozen* are numbers that are used but set not to
# learn: in SCANVI, how common each cell type is held to be.

# %%
models.loc[first, ["trained", "frozen", "ignored", "idle", "likelihood"]]

# %% [markdown]
# The others in your version of scvi-tools. Where a number is missing, the note says why.

# %% tags=["nbval-ignore-output"]
models.drop(index=first)[["encoder", "decoder", "other networks", "width", "latent", "note"]]

# %% [markdown]
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | `n_layers: 1` means one hidden layer. | One in the encoder and one in the decoder. |
# | I have to look deeper. | Deeper shows more, not what is used. |
# | What is in the model is used by the model. | Two fifths of default scVI are idle. |
# | A dump with real cells shows what is used. | In TotalVI, modules run and are ignored. |
# | `px_dropout_decoder` is dropout. | It is a head: how likely an extra zero is. scVI has dropout in the encoder only, TotalVI in both. |
# | Layers are what the code calls layers. | A linear layer is hidden if it feeds another linear layer of the same network. |
# | Twice the layers, twice the model. | Width costs more than depth: the genes are where the parameters are. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("03")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("03")

# %% [markdown]
# ### Exercise 1 · What a layer costs
#
# A hidden layer of 64 neurons reads the 128 numbers of the layer before it. How many parameters
# does it have, together with its batch normalisation? One line is enough.

# %% tags=["exercise"]
n_parameters = ...

# %% tags=["check"]
check.cost_of_a_layer(n_parameters)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# n_parameters = 128 * 64 + 64 + 2 * 64
# ```
#
# Weights, biases, and a scale and a shift for each neuron: 8,384.
#
# </details>

# %% [markdown]
# ### Exercise 2 · What never runs
#
# Two parts of default scVI never run in training. Find them in the module table, and write their
# names into a list. The name of a part is the last word that all its paths share: `z_encoder` is
# one (and it runs).

# %% tags=["exercise"]
idle = ...

# %% tags=["check"]
check.idle_parts(idle, model=model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# idle = ["l_encoder", "px_r_decoder"]
# ```
#
# `l_encoder` would learn the library size, which is read from the counts instead. `px_r_decoder`
# would compute a dispersion for each count; by default there is one for each gene.
# `layers.unused(model)` lists both, and the setting that wakes each.
#
# </details>

# %% [markdown]
# ### Exercise 3 · A linear decoder
#
# LinearSCVI is scVI with a decoder that is easier to read. Predict how many hidden layers its
# *decoder* has. Then build the model with your cells, and count.

# %% tags=["exercise"]
n_hidden_layers = ...

# %% tags=["check"]
check.linear_decoder(n_hidden_layers, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# linear_cells = adata.copy()
# scvi.model.LinearSCVI.setup_anndata(linear_cells, layer="counts")
# n_hidden_layers = layers.hidden_layers(scvi.model.LinearSCVI(linear_cells))["decoder"]
# ```
#
# None: each gene is read off the latent numbers by a head.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Small and deep
#
# Build a model of your cells with at least two hidden layers in the encoder and in the decoder, and
# fewer than 300,000 trained parameters. Many answers are right.

# %% tags=["exercise"]
your_model = ...

# %% tags=["check"]
check.small_and_deep(your_model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# your_model = scvi.model.SCVI(adata, n_layers=2, n_hidden=32)
# ```
#
# Nearly all parameters sit where the genes meet the neurons, so `n_hidden` decides. Whether so
# small a model is good enough is a question for lesson 07.
#
# </details>

# %% [markdown]
# Next: lesson 04 answers the second question: what loss is it using here?
