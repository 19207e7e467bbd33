# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · What do `setup_anndata`, `SCVI` and `train` do?
#
# Three lines train a model:
#
# ```python
# scvi.model.SCVI.setup_anndata(adata, layer="counts")
# model = scvi.model.SCVI(adata)
# model.train()
# ```
#
# They make dozens of choices for you. In this lesson you read those choices from the model, and train it.
#
# **You will be able to**
#
# - say what each of the three lines does, and what it does not do;
# - name the defaults that matter, and where dropout is used and where not;
# - explain why it trains for 400 epochs, and when that changes;
# - read a training curve with held-out cells, and save and load a model.
#
# **Time**: 30 minutes to read and run (half a minute of it is training), 10 minutes for the questions.
# **Needs**: lesson 01, or the call that selects 2,000 genes.

# %%
import pandas as pd
import scvi

from helpers import data, environment, figures, genes, training

environment.prepare(seed=0)
adata = data.load_cortex()
genes.select(adata)

# %% [markdown]
# ## Line 1: `setup_anndata` writes down what is where
#
# ### You may think: "setup_anndata prepares the data"
#
# > **Predict.** Does this line normalise the counts, log-transform them, or copy them?

# %%
before = adata.layers["counts"].sum()
scvi.model.SCVI.setup_anndata(adata, layer="counts")
print("counts changed:", bool(adata.layers["counts"].sum() != before))
print("new columns in obs:", [column for column in adata.obs if column.startswith("_scvi")])

# %% [markdown]
# None of these. It notes which layer holds the counts and which columns name batches and labels.
# Where you name none, it makes a column in which all cells have the same value. So there is one batch:

# %%
adata.obs["_scvi_batch"].value_counts()

# %% [markdown]
# ## Line 2: `SCVI(adata)` builds the model
#
# The model has two networks. The [encoder](../docs/glossary.md#encoder) turns the 2,000 counts of a cell into a few numbers.
# The [decoder](../docs/glossary.md#decoder) turns those numbers back into a distribution for each of the 2,000 counts.
# The few numbers in the middle are the [latent representation](../docs/glossary.md#latent-representation).
#
# This is what scVI prints about itself. Colours and spaces aside, it is all that it says:

# %% tags=["nbval-ignore-output"]
model = scvi.model.SCVI(adata)
print(model)

# %% [markdown]
# *How many hidden layers are there?* It says `n_layers: 1`, but not of what. That question gets a lesson of its own: 03.
# First, read all defaults that matter, with their meaning. They come from scvi-tools itself, not from a manual.

# %%
training.defaults(scvi.model.SCVI, n_cells=adata.n_obs)

# %% [markdown]
# Some words in this table:
#
# - A [hidden layer](../docs/glossary.md#hidden-layer) is a row of numbers between input and output; each number is a *neuron*.
# - [Dropout](../docs/glossary.md#dropout) sets some neurons to 0 at random while training, so that the model leans on no single one.
# - [`zinb`](../docs/glossary.md#zero-inflated-negative-binomial) is the distribution of a count: a negative binomial with extra zeros.
#   Its [dispersion](../docs/glossary.md#dispersion) says how much more a count spreads than chance alone would make it.
#
# ### You may think: "Dropout 0.1 means dropout everywhere"
#
# > **Predict.** Is there dropout in the encoder, in the decoder, or in both?

# %%
training.dropout(model)

# %% [markdown]
# Only encoders appear; the decoder has none. There are two encoders in this list: `z_encoder` for the latent representation, and
# `l_encoder` for the library size. Does the second one ever run? Lesson 03 finds out.
#
# `dispersion="gene"` means one number a gene, the same in all cells. The model keeps it here:

# %%
print("dispersion:", tuple(model.module.px_r.shape))

# %% [markdown]
# ## Line 3: `train()`. Why 400 epochs?
#
# An [epoch](../docs/glossary.md#epoch) is one pass through all training cells, in [minibatches](../docs/glossary.md#minibatch)
# of 128. After each minibatch the weights move a little.
# You did not say how many epochs. scVI picks the number from the number of cells:
#
# $$\text{epochs} = \min\left(\operatorname{round}\left(\frac{20\,000}{\text{cells}} \times 400\right), 400\right)$$
#
# > **Predict.** How many epochs for 3,005 cells? For 40,000? For a million?

# %%
cells = [400, 3005, 20_000, 40_000, 100_000, 1_000_000]
formula = [min(round(20_000 / n * 400), 400) for n in cells]
asked = [training.default_epochs(n) for n in cells]
pd.DataFrame({"cells": cells, "by the formula": formula, "asked from scvi-tools": asked})

# %% [markdown]
# ### You may think: "400 epochs is a law"
#
# It is a rule of thumb that keeps the work constant: twice the cells, half the epochs.
# Below 20,000 cells it stops at 400, so there *fewer* cells mean *fewer* steps:

# %%
training.plot_default_epochs()

# %% [markdown]
# For the cortex cells the default run takes minutes on one core. In class you use a preset instead.
# It changes three things, and asks for the curve of the held-out cells:

# %%
training.PRESETS["class"]

# %% [markdown]
# - `max_epochs`: a tenth of the epochs.
# - `lr`: six times the [learning rate](../docs/glossary.md#learning-rate), so larger steps.
# - `n_epochs_kl_warmup`: one part of the loss is faded in. By default that takes 400 epochs, so a shorter run never gets there.
#   Lesson 04 shows what that part is.
#
# Is it as good as the default? That was measured, on the same held-out cells: see the
# [report](../docs/measurements.md#the-class-preset-against-the-default).
#
# ## Train
#
# > **Predict.** scVI sets a tenth of the cells aside and never trains on them. Where will their curve lie: above, below or on the other?

# %% tags=["nbval-ignore-output", "progress"]
training.train(model, preset="class")

# %%
curves = training.curves(model)
training.plot_curves(curves)

# %% [markdown]
# The y-axis shows the [negative ELBO](../docs/glossary.md#elbo), the loss, in [nats](../docs/glossary.md#nat) per cell. Lower is better.
# Lesson 04 takes it apart. For now, read three things from the curve:
#
# 1. **It is flat at the end.** More epochs would change little.
# 2. **The held-out curve stays above the other**: the model knows the cells it trained on better.
#    It does not rise again, so the model does not merely learn them by heart.
# 3. **The held-out curve starts very high.** After one epoch the running averages of *batch normalisation*, which are used
#    for held-out cells only, are still far off. Do not read the first epochs.
#
# ### You may think: "The loss should come close to 0"

# %%
loss = curves["held-out cells"].iloc[-1]
print(f"about {figures.about(loss)} nats per cell with {adata.n_vars:,} genes,")
print(f"so about {figures.about(loss / adata.n_vars, digits=2)} nats for each count")

# %% [markdown]
# It cannot. Even a perfect model does not know which molecules were caught by chance, so each count costs something.
#
# ### You may think: "More epochs, better model"
#
# > **Predict.** The last ten epochs took as long as the ten before. Did they bring as much?

# %%
held_out = curves["held-out cells"]
ten_before, last_ten = held_out[20] - held_out[30], held_out[30] - held_out[40]
print("The last ten epochs bring less than a third as much:", bool(last_ten < ten_before / 3))

# %% [markdown]
# More epochs bring less and less for the same time. Too many can even make held-out cells worse.
#
# %% [markdown]
# ## What came out?
#
# Ten numbers for each cell. Lesson 05 works with them.

# %%
latent = model.get_latent_representation()
latent.shape

# %% [markdown]
# ## Save and load
#
# `save` stores the weights and the settings. It does not store the cells, so give them again when you load.

# %%
model.save("../data/my_first_model", overwrite=True)
again = scvi.model.SCVI.load("../data/my_first_model", adata=adata)
print("same latent representation:", bool((again.get_latent_representation() == latent).all()))

# %% [markdown]
# The next lessons load this model instead of training it again. For them it is stored under a key that is made from the data,
# the parameters, the seed and the versions. If any of them changes, the key changes, and an old model is never loaded by mistake.

# %% tags=["nbval-ignore-output"]
training.save_checkpoint(model).name

# %% [markdown]
# ## The answer

# %%
weights = sum(weight.numel() for weight in model.module.parameters())
epochs = training.default_epochs(adata.n_obs)
print("setup_anndata notes where the counts are.")
print(f"SCVI builds encoders and a decoder with {weights:,} weights.")
print(f"train adjusts those that are used, by default for {epochs} epochs.")

# %% [markdown]
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | `setup_anndata` normalises the data. | It only notes what is where. |
# | Dropout is used everywhere. | Only in the encoders. |
# | 400 epochs is a law. | It is a rule of thumb, capped at 400. |
# | `train()` shows how well unseen cells are described. | Only with `check_val_every_n_epoch=1`. |
# | The loss should come close to 0. | A count that is partly chance always costs something. |
#
# ## Check yourself
#
# <details><summary>1. You have 80,000 cells. How many epochs will <code>train()</code> run?</summary>
#
# 20,000 / 80,000 × 400 = 100.
#
# </details>
#
# <details><summary>2. Your friend trains for 100 epochs instead of 400 and changes nothing else. What else differs from the default run?</summary>
#
# The part of the loss that is faded in over 400 epochs only reaches a quarter of its weight. Fewer epochs change the loss itself, not
# only the time. The preset shortens the fading as well.
#
# </details>
#
# <details><summary>3. The held-out curve falls, then rises, while the training curve keeps falling. What does that mean?</summary>
#
# The model begins to learn the training cells by heart (overfitting). Stop earlier, or use a smaller model.
#
# </details>
#
# **Try it.** Make a new model with `scvi.model.SCVI(adata)`, train it with `training.train(model, max_epochs=5)`, and draw its curve.
#
# Next: lesson 03 answers the first of the two questions: how many hidden layers are there?
