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
# They make dozens of choices for you. In this lesson you read those choices from scvi-tools, and
# train the model.
#
# **You will be able to**
#
# - say what each of the three lines does, and what it does not do;
# - name the defaults that matter, and where dropout is used and where not;
# - explain why it trains for 400 epochs, and when that changes;
# - read a training curve with held-out cells, and save and load a model.
#
# **Time**: 30 minutes to read and run (about a quarter of a minute of it is training), 25 minutes
# for the quiz and the exercises.
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
# It does not touch them. It notes which [layer](../docs/glossary.md#layer-of-anndata) holds the
# counts and which columns name batches and labels. Where you name none, it makes a column in which
# all cells have the same value. So there is one batch:

# %%
adata.obs["_scvi_batch"].value_counts()

# %% [markdown]
# ## Line 2: `SCVI(adata)` builds the model
#
# Two [networks](../docs/glossary.md#network) do the work. The
# [encoder](../docs/glossary.md#encoder) turns the 2,000 counts of a cell into a small
# [cloud](../docs/glossary.md#cloud) of possible positions: a centre and a width for each of ten
# numbers. (Papers call it the approximate [posterior](../docs/glossary.md#posterior).) The
# [decoder](../docs/glossary.md#decoder) turns one position, with the library size, into a
# [distribution](../docs/glossary.md#distribution) for each of the 2,000 counts. The centre of the
# cloud is the [latent representation](../docs/glossary.md#latent-representation) of the cell.
#
# This is what scVI prints about itself. Colours and spaces aside, it is all that it says:

# %% tags=["nbval-ignore-output"]
model = scvi.model.SCVI(adata)
print(model)

# %% [markdown]
# *How many [hidden layers](../docs/glossary.md#hidden-layer) are there?* It says `n_layers: 1`, but
# not of what. That question gets a lesson of its own: 03. First, read the defaults that you will
# meet in these lessons. They are read from the installed scvi-tools; only `train_size` (`None`
# there, which means 0.9) is filled in.

# %%
training.defaults(scvi.model.SCVI, n_cells=adata.n_obs)

# %% [markdown]
# Some words in this table:
#
# - A [hidden layer](../docs/glossary.md#hidden-layer) is a row of numbers between input and output;
#   each number is a *neuron*.
# - [Dropout](../docs/glossary.md#dropout) sets some neurons to 0 at random while training, so that
#   the model leans on no single one.
# - [`zinb`](../docs/glossary.md#zero-inflated-negative-binomial) is the distribution of a count: a
#   [negative binomial](../docs/glossary.md#negative-binomial-distribution) with extra zeros. Its
#   [dispersion](../docs/glossary.md#dispersion) sets how much a count spreads.
#
# > **Predict.** Is there dropout in the encoder, in the decoder, or in both?

# %%
training.dropout(model)

# %% [markdown]
# ### You may have thought: "Dropout 0.1 means dropout everywhere"
#
# Only encoders appear; the decoder has none. And there are *two* encoders in this list: `z_encoder`
# for the latent representation, and `l_encoder` for the library size. Does the second one ever run?
# Lesson 03 finds out. (`n_layers` does not concern it: it always has one hidden layer.)
#
# `dispersion="gene"` means one number per gene, the same in all cells. The model keeps its
# logarithm here:

# %%
print("dispersion:", tuple(model.module.px_r.shape))

# %% [markdown]
# ## Line 3: `train()`. Why 400 epochs?
#
# An [epoch](../docs/glossary.md#epoch) is one pass through all training cells, in
# [minibatches](../docs/glossary.md#minibatch) of 128. After each minibatch the weights move a
# little: that is one [*step*](../docs/glossary.md#step). You did not say how many epochs. scVI
# picks the number from the number of cells (and never less than 1):
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
# For the cortex cells the default run takes minutes on one core. In class you use a
# [preset](../docs/glossary.md#preset) instead, a set of training settings that takes a twentieth of
# the time:

# %%
training.PRESETS["class"]

# %% [markdown]
# - `max_epochs`: 14 epochs instead of 400. With few cells an epoch has few minibatches. Then there
#   are more epochs, until there are at least 300 steps (`least_steps`).
# - `batch_size`: half as many cells in a minibatch, so twice as many steps in an epoch. A step
#   takes about two thirds of the time. (This has nothing to do with the batches of line 1.)
# - `lr`: fifteen times the [learning rate](../docs/glossary.md#learning-rate), so larger steps. It
#   rises in the first tenth of the run (`lr_rise`), because large steps from random weights go
#   astray, and falls to 0 in the last four tenths (`lr_fall`).
# - `kl_warmup`: one part of the [loss](../docs/glossary.md#loss) is faded in over the first three
#   tenths, here four epochs: its *KL weight* rises from 0 to 1
#   ([KL warm-up](../docs/glossary.md#kl-warm-up)). By default that takes 400 epochs, so a shorter
#   run never gets there. Above 20,000 cells even the default run is shorter: with 100,000 cells it
#   stops after 80 of the 400. Lesson 04 shows what that part is.
# - `check_val_every_n_epoch`: look at the [held-out cells](../docs/glossary.md#held-out-cells)
#   after every epoch. `train()` does not, unless asked.
#
# As a picture:

# %%
training.plot_schedule(adata.n_obs)

# %% [markdown]
# Why not large steps right to the end? They jump back and forth over the best place. Small steps
# at the end settle there.
#
# Is it as good as the default? That was measured, on the same held-out cells, with five seeds and
# on other data: see the [report](../docs/results/costs.md#the-class-preset-against-the-default).
#
# ## Train
#
# scVI sets a tenth of the cells aside and never trains on them: the
# [held-out cells](../docs/glossary.md#held-out-cells).
#
# > **Predict.** Where will their curve lie: above, below or on that of the training cells?
#
# In this kit a model is trained once: to train again, first run the cell with `SCVI(adata)` again.
# (scvi-tools itself lets you call `train()` twice. The second call keeps the weights, and begins a
# new plan: the KL weight starts at 0 again.) If you stop a long training (the square button above),
# run the cell again: it resumes after the last finished epoch, and ends as if you had not stopped
# it.

# %% tags=["nbval-ignore-output", "progress"]
training.train(model, preset="class")

# %%
curves = training.curves(model)
training.plot_curves(curves)

# %% [markdown]
# The y-axis shows the [negative ELBO](../docs/glossary.md#elbo) in [nats](../docs/glossary.md#nat)
# per cell. Lower is better. While one part of the loss is faded in, the loss that training
# minimises is a little smaller; afterwards, the two are the same. Lesson 04 takes it apart. For
# now, read three things from the curve:
#
# 1. **It falls steeply, then less and less.** At the end it still falls a little. The preset stops
#    where it is at least as good as the default run, not where nothing more can be learned.
# 2. **The held-out curve ends above the other.** That alone tells little: it is measured on other
#    cells, and in another way (lesson 04). A gap that *widens*, or a held-out curve that rises for
#    good, would suggest [overfitting](../docs/glossary.md#overfitting). Here it does not rise.
# 3. **The held-out curve starts very high.** Outside training steps,
#    [batch normalisation](../docs/glossary.md#batch-normalisation) uses
#    [running averages](../docs/glossary.md#running-average). Each minibatch moves them by 1 %, so
#    after the first epoch they are still far off. Do not read the first epochs.
#
# ### You may think: "The loss should come close to 0"

# %%
loss = curves["held-out cells"].iloc[-1]
print(f"about {figures.about(loss)} nats per cell with {adata.n_vars:,} genes,")
print(f"so about {figures.about(loss / adata.n_vars, digits=2)} nats for each count")

# %% [markdown]
# It cannot. Even a perfect model does not know which molecules were caught by chance, so each count
# costs something.
#
# ### You may think: "More epochs, better model"
#
# The default run was made once and kept. Every hundred epochs took the same time. Here is the
# negative ELBO of its training cells (`elbo`) and of its held-out cells.
#
# > **Predict.** From epoch 50 to 100 the held-out one falls by about 60 nats. By how much from
# > epoch 200 to 400?

# %%
from helpers import results

kept = results.load("default_run", index_col="epoch")
print(results.origin("default_run"))
kept.loc[[20, 50, 100, 200, 400], ["elbo", "held_out_elbo"]].map(figures.about)

# %% [markdown]
# It does not fall at all any more. More epochs bring less and less for the same time, and too many
# can make held-out cells worse. Look at the gap, too: about 60 nats already in epoch 20, when
# hardly anything can have been learned by heart. From then on it widens.
#
# ## What came out?
#
# Ten numbers for each cell. Lesson 05 works with them.

# %%
latent = model.get_latent_representation()
latent.shape

# %% [markdown]
# ## Save and load
#
# `save` stores the weights and the settings. It does not store the cells, so give them again when
# you load. `SCVI.load` runs whatever a file asks for, so use it only for files from you or from
# people you trust. For a model from somebody else there is `checkpoints.load_model(folder, adata)`
# in `helpers.training`: it runs nothing, and refuses a file that asks for more than a model needs.

# %%
model.save("../data/my_first_model", overwrite=True)
again = scvi.model.SCVI.load("../data/my_first_model", adata=adata)
print("same latent representation:", bool((again.get_latent_representation() == latent).all()))

# %% [markdown]
# The next lessons load this model instead of training it again. For them it is stored in a
# [checkpoint](../docs/glossary.md#checkpoint), under a key that is made from the data, the model
# and its code, the settings, the seed and the versions. If any of them changes, the key changes,
# and an old model is never loaded by mistake.

# %% tags=["nbval-ignore-output"]
training.save_checkpoint(model).name

# %% [markdown]
# ## Aside: where does the time go?
#
# Follow some training steps of the class preset, and add up what the processor does.
#
# > **Predict.** A neural network multiplies matrices. Is that most of the time?

# %% tags=["nbval-ignore-output"]
from helpers.training import step_time

spent, least = step_time.shares(model, batch_size=64), step_time.floor(model, batch_size=64)
step_time.plot_shares(spent, least)

# %% [markdown]
# No: the matrix products are only a part. The
# [log gamma function](../docs/glossary.md#log-gamma-function) and its derivative (*digamma*) take
# about as much: the negative binomial needs them for every count.
# [*Adam*](../docs/glossary.md#adam) is the rule that moves the weights. *All other arithmetic* is
# what is computed number by number. *Bookkeeping* is the rest: Python itself, *Lightning*, which
# runs the loop, and *autograd*, which notes how to find the derivatives.
#
# The dashed line is the floor: no program that makes these steps on this processor is faster. It
# counts the matrix products at full speed, and each weight, its
# [gradient](../docs/glossary.md#gradient) and Adam's two numbers read and written once. How far are
# the presets from it? (Seconds: steps times the time of a step. Looking at the held-out cells comes
# on top.)

# %% tags=["nbval-ignore-output"]
rows = {}
for preset, size in {"default": 128, "class": 64}.items():
    steps = training.run_length(adata.n_obs, preset)["steps"]
    seconds = steps * step_time.whole(model, size) / 1000
    floor = steps * step_time.floor(model, size)["ms"].sum() / 1000
    rows[preset] = {"steps": steps, "seconds": seconds, "floor in seconds": floor}
pd.DataFrame(rows).T.round(1)

# %% [markdown]
# The class preset wins mostly by making far fewer steps. Each is cheaper, too, though farther from
# its floor: the bookkeeping is the same for any size. Can a step be cheaper still? The log gamma
# function is for numbers that are not whole. A count $x$ is whole, and for it the model needs $x$
# logarithms ($\theta$ is the dispersion; all symbols are in the [notation](../docs/notation.md)):
#
# $$\ln\Gamma(x + \theta) - \ln\Gamma(\theta) = \ln\theta + \ln(\theta + 1) + \dots + \ln(\theta + x - 1)$$
#
# Most counts are small, and for a count of 0 it is nothing at all. `FastSCVI` is scVI with this one
# change; scvi-tools lets you replace such parts. Give it the weights of the trained model:

# %%
from helpers.training import fast_likelihood

fast_likelihood.FastSCVI.setup_anndata(adata, layer="counts")
twin = fast_likelihood.FastSCVI(adata)
twin.module.load_state_dict(model.module.state_dict())
minibatch, losses = training.minibatch(model, 128), []
for each in (model, twin):
    with training.evaluating(each):
        losses.append(each.module(minibatch)[2].loss.item())
print("the same loss, to 1 in a million:", abs(losses[1] / losses[0] - 1) < 1e-6)

# %% tags=["nbval-ignore-output"]
times = {"SCVI": step_time.whole(model, 64), "FastSCVI": step_time.whole(twin, 64)}
pd.Series(times, name="ms per step").to_frame().round(1)

# %% [markdown]
# The same loss, in less time. The lessons stay with scVI as it is.
#
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
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("02")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("02")

# %% [markdown]
# ### Exercise 1 · How many steps?
#
# Another study has 60,000 cells. How many steps does `train()` make with them, if you choose
# nothing? A tenth of the cells is held out, and a minibatch that is not full is a step, too. A line
# or two of arithmetic is enough.

# %% tags=["exercise"]
n_steps = ...

# %% tags=["check"]
check.default_steps(n_steps)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# n_epochs = round(20_000 / 60_000 * 400)
# n_minibatches = -(-54_000 // 128)  # rounded up
# n_steps = n_epochs * n_minibatches
# ```
#
# 133 epochs of 422 minibatches: 56,126 steps. Above 20,000 cells this number stays nearly the same,
# however many cells there are.
#
# </details>

# %% [markdown]
# ### Exercise 2 · How far does the KL weight get?
#
# In a default run the KL weight is 0 in the first epoch and rises by 1/400 with each epoch after
# it. It never rises above 1. Write a function that gets a number of cells and returns the KL weight
# in the *last* epoch of a default run. You may use `training.default_epochs`.


# %% tags=["exercise"]
def last_kl_weight(n_cells):
    return ...


# %% tags=["check"]
check.weight_at_the_end(last_kl_weight)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def last_kl_weight(n_cells):
#     return (training.default_epochs(n_cells) - 1) / 400
# ```
#
# Up to 20,000 cells the weight all but arrives: 399/400. With 100,000 cells it ends at 0.2, with a
# million below 0.02. Then one part of the loss hardly counted during the whole run, and nothing in
# the output says so.
#
# </details>

# %% [markdown]
# ### Exercise 3 · When would you have stopped?
#
# `kept` has a row for each of the 400 epochs of the default run. `elbo` is the negative ELBO of the
# training cells, `held_out_elbo` that of the held-out cells. In which epoch did it describe the
# held-out cells best?

# %% tags=["exercise"]
best_epoch = ...

# %% tags=["check"]
check.best_epoch(best_epoch, kept=kept)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# best_epoch = kept["held_out_elbo"].idxmin()
# ```
#
# In epoch 264. From epoch 200 on the held-out curve is nearly flat, and a run with another seed
# would have its lowest point elsewhere. So the exact epoch means little; that a third of the run
# brought nothing means more. `model.train(early_stopping=True)` watches this same number, in the
# history `elbo_validation`. It would have stopped this run in epoch 309, after 45 epochs without a
# new lowest value. The KL weight is 0.77 there, and the weights of epoch 264 are not brought back.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Five epochs
#
# Build a new model of `adata` and train it for at most five epochs, so that the negative ELBO of
# its held-out cells is 2,980 nats per cell or less. Many answers are right. `training.train` takes
# the settings of the class preset and those that you give, `your_model.train` those of scvi-tools.

# %% tags=["exercise"]
your_model = ...

# %% tags=["check"]
check.five_epochs(your_model, adata=adata, kept=kept)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# scvi.model.SCVI.setup_anndata(adata, layer="counts")
# your_model = scvi.model.SCVI(adata)
# training.train(your_model, max_epochs=5)
# ```
#
# The preset is squeezed into five epochs: the learning rate rises in the first half epoch and falls
# in the last two, and the KL weight is at 1 from the third epoch on. Look at it with
# `training.plot_curves(training.curves(your_model))`: most of the fall is over after these five.
# The small steps of the default need more than fifty epochs for that.
#
# </details>

# %% [markdown]
# Next: lesson 03 answers the first of the two questions: how many hidden layers are there?
