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
# They make dozens of choices for you. In this lesson you read those choices from scvi-tools, and train the model.
#
# **You will be able to**
#
# - say what each of the three lines does, and what it does not do;
# - name the defaults that matter, and where dropout is used and where not;
# - explain why it trains for 400 epochs, and when that changes;
# - read a training curve with held-out cells, and save and load a model.
#
# **Time**: 30 minutes to read and run (about a minute of it is training), 10 minutes for the questions.
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
# > **Predict.** Does this line normalise the counts, or log-transform them?

# %%
before = adata.layers["counts"].sum()
scvi.model.SCVI.setup_anndata(adata, layer="counts")
print("counts changed:", bool(adata.layers["counts"].sum() != before))
print("new columns in obs:", [column for column in adata.obs if column.startswith("_scvi")])

# %% [markdown]
# ### You may have thought: "setup_anndata prepares the data"
#
# It does not touch them. It notes which layer holds the counts and which columns name batches and labels.
# Where you name none, it makes a column in which all cells have the same value. So there is one batch:

# %%
adata.obs["_scvi_batch"].value_counts()

# %% [markdown]
# ## Line 2: `SCVI(adata)` builds the model
#
# Two [networks](../docs/glossary.md#network) do the work. The [encoder](../docs/glossary.md#encoder) turns the 2,000 counts of a cell
# into a small cloud of possible positions: a centre and a width for each of ten numbers.
# The [decoder](../docs/glossary.md#decoder) turns one position, with the library size, into a
# [distribution](../docs/glossary.md#distribution) for each of the 2,000 counts.
# The centre of the cloud is the [latent representation](../docs/glossary.md#latent-representation) of the cell.
#
# This is what scVI prints about itself. Colours and spaces aside, it is all that it says:

# %% tags=["nbval-ignore-output"]
model = scvi.model.SCVI(adata)
print(model)

# %% [markdown]
# *How many hidden layers are there?* It says `n_layers: 1`, but not of what. That question gets a lesson of its own: 03.
# First, read the defaults that you will meet in these lessons. They are read from the installed scvi-tools;
# only `train_size` (`None` there, which means 0.9) is filled in.

# %%
training.defaults(scvi.model.SCVI, n_cells=adata.n_obs)

# %% [markdown]
# Some words in this table:
#
# - A [hidden layer](../docs/glossary.md#hidden-layer) is a row of numbers between input and output; each number is a *neuron*.
# - [Dropout](../docs/glossary.md#dropout) sets some neurons to 0 at random while training, so that the model leans on no single one.
# - [`zinb`](../docs/glossary.md#zero-inflated-negative-binomial) is the distribution of a count: a negative binomial with extra zeros.
#   Its [dispersion](../docs/glossary.md#dispersion) sets how much a count spreads.
#
# > **Predict.** Is there dropout in the encoder, in the decoder, or in both?

# %%
training.dropout(model)

# %% [markdown]
# ### You may have thought: "Dropout 0.1 means dropout everywhere"
#
# Only encoders appear; the decoder has none. And there are *two* encoders in this list: `z_encoder` for the latent representation,
# and `l_encoder` for the library size. Does the second one ever run? Lesson 03 finds out.
#
# `dispersion="gene"` means one number a gene, the same in all cells. The model keeps its logarithm here:

# %%
print("dispersion:", tuple(model.module.px_r.shape))

# %% [markdown]
# ## Line 3: `train()`. Why 400 epochs?
#
# An [epoch](../docs/glossary.md#epoch) is one pass through all training cells, in [minibatches](../docs/glossary.md#minibatch)
# of 128. After each minibatch the weights move a little.
# You did not say how many epochs. scVI picks the number from the number of cells (and never less than 1):
#
# $$\text{epochs} = \min\left(\operatorname{round}\left(\frac{20\,000}{\text{cells}} \times 400\right), 400\right)$$
#
# > **Predict.** How many epochs for 3,005 cells? For 40,000? For a million?

# %%
cells = [400, 3005, 20_000, 40_000, 100_000, 1_000_000]
formula = [min(round(20_000 / n * 400), 400) for n in cells]
asked = [training.default_epochs(n) for n in cells]
index = pd.Index([f"{n:,}" for n in cells], name="cells")
pd.DataFrame({"by the formula": formula, "asked from scvi-tools": asked}, index=index)

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
# - `check_val_every_n_epoch`: look at the held-out cells after every epoch. `train()` does not, unless asked.
# - `max_epochs`: a tenth of the epochs.
# - `lr`: six times the [learning rate](../docs/glossary.md#learning-rate), so larger steps.
# - `n_epochs_kl_warmup`: one part of the [loss](../docs/glossary.md#loss) is faded in
#   ([KL warm-up](../docs/glossary.md#kl-warm-up)). By default that takes 400 epochs, so a shorter run never gets there.
#   Above 20,000 cells even the default run is shorter: with 100,000 cells it stops after 80 of the 400.
#   Lesson 04 shows what that part is.
#
# Is it as good as the default? That was measured, on the same held-out cells: see the
# [report](../docs/measurements.md#the-class-preset-against-the-default).
#
# ## Train
#
# scVI sets a tenth of the cells aside and never trains on them: the [held-out cells](../docs/glossary.md#held-out-cells).
#
# > **Predict.** Where will their curve lie: above, below or on that of the training cells?
#
# To train again later, first run the cell with `SCVI(adata)` again: a model is trained once.

# %% tags=["nbval-ignore-output", "progress"]
training.train(model, preset="class")

# %%
curves = training.curves(model)
training.plot_curves(curves)

# %% [markdown]
# The y-axis shows the [negative ELBO](../docs/glossary.md#elbo) in [nats](../docs/glossary.md#nat) per cell. Lower is better.
# While one part of the loss is faded in, the loss that training minimises is a little smaller; afterwards, the two are the same.
# Lesson 04 takes it apart. For now, read three things from the curve:
#
# 1. **It is nearly flat at the end.** Small jumps are chance.
# 2. **The held-out curve stays above the other**: the model knows the cells it trained on better.
#    It shows no lasting rise, so this run does not visibly [overfit](../docs/glossary.md#overfitting).
# 3. **The held-out curve starts very high.** Outside training steps, [batch normalisation](../docs/glossary.md#batch-normalisation)
#    uses running averages. Each minibatch moves them by 1 %, so after the first epoch they are still far off.
#    Do not read the first epochs.
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
# Each ten epochs take the same time. Average the held-out curve over epochs 11 to 20, 21 to 30 and 31 to 40.
#
# > **Predict.** From one average to the next it falls. Is the second fall as large as the first?

# %%
held_out = curves["held-out cells"]
second, third, last = (held_out[first : first + 10].mean() for first in (10, 20, 30))
print("The second fall is less than half as large:", bool(third - last < (second - third) / 2))

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
# the settings, the seed and the versions. If any of them changes, the key changes, and an old model is never loaded by mistake.

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
# | `train()` shows how well unseen cells are described. | Only if you ask, for example with `check_val_every_n_epoch=1`. |
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
# **Try it.** What do five epochs give? Run this in a new cell:
#
# ```python
# short = scvi.model.SCVI(adata)
# training.train(short, max_epochs=5)
# training.plot_curves(training.curves(short))
# ```
#
# Next: lesson 03 answers the first of the two questions: how many hidden layers are there?
