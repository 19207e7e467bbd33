# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · What loss is it using here?
#
# You run `model.train()` and look at the curve. It falls and falls, and then it hardly falls any
# more. What is on its y-axis? The history has a `train_loss` and an `elbo_train`: are they the same
# thing? Is the model trained enough? Is the last number good?
#
# In this lesson you compute the loss yourself, term by term, until every number of the curve adds
# up, as in a ledger, the book in which a shop keeps its accounts.
#
# **You will be able to**
#
# - name the loss, its unit, and which way is better;
# - compute its two terms for real cells, and say what each is for;
# - say why `train_loss` is not `elbo_train`, and why a curve can fall and then rise;
# - judge from a loss curve whether a model is trained enough;
# - compare the number with simpler models, and say what "lower bound" means.
#
# **Time**: 60 minutes to read and run (about a minute of it is computing), 25 minutes for the quiz
# and the exercises.
# **Needs**: lesson 02, or the model that it stored.

# %%
import scvi

from helpers import data, environment, figures, genes, training

environment.prepare(seed=0)
adata = data.load_cortex()
genes.select(adata)
scvi.model.SCVI.setup_anndata(adata, layer="counts")
model = training.load_or_train(scvi.model.SCVI(adata))

# %% [markdown]
# ## What training writes down
#
# > **Predict.** One loss, or several?

# %% tags=["nbval-ignore-output"]
import pandas as pd

history = model.history
last = {name: figures.about(values.iloc[-1, 0]) for name, values in history.items()}
pd.Series(last, name="in the last epoch").to_frame()

# %% [markdown]
# *Validation* means: on the [held-out cells](../docs/glossary.md#held-out-cells). For each kind of
# cells there is a loss, an `elbo`, a `reconstruction_loss`, and two called `kl` (`kl_global` is 0
# in scVI). They are all parts of one thing. Here, `train_loss` and `elbo_train` end at the same
# number. They did not begin so, as you will see.
#
# ## The name
#
# The [loss](../docs/glossary.md#loss) of scVI is the **negative ELBO**, with one twist that comes
# below, the KL weight. ELBO is short for *evidence lower bound*:
#
# - the [evidence](../docs/glossary.md#evidence) is the logarithm of the probability that the model
#   gives to the counts of a cell. The higher, the better the model describes the cell;
# - nobody can compute it for scVI. But there is a number that is never above it, the
#   [ELBO](../docs/glossary.md#elbo), and that one can be computed. It is a
#   [*lower bound*](../docs/glossary.md#lower-bound) of the evidence.
#
# Training raises the ELBO. Training programs usually make a number smaller, so they are given the
# ELBO with a minus sign.
#
# ### You may think: "`elbo` in the history is the ELBO"

# %%
held_out = model.validation_indices
in_history = model.history["elbo_validation"].iloc[-1, 0]
asked = float(model.get_elbo(indices=held_out))
print("elbo_validation in the history:", figures.about(in_history, 2))
print("model.get_elbo:                ", figures.about(asked, 2))

# %% [markdown]
# The same held-out cells, the same word, another sign! `elbo_train` and `elbo_validation` are the
# *negative* ELBO: lower is better. `get_elbo` gives the ELBO itself: higher is better. Look at the
# sign before you compare. (Both are estimates: one position is drawn for each cell, so the next
# call gives slightly different numbers. The ELBO itself is the mean over all draws.)
#
# ## Four steps to the loss
#
# Let the model do what it does in a training step, on 128 cells, the default size (but without
# dropout). It returns all that it computed along the way:

# %%
minibatch = training.minibatch(model, 128)
inference, generative, loss_output = model.module(minibatch)

# %% [markdown]
# Papers and code use different names for the same things (all of them:
# [notation](../docs/notation.md)):
#
# | in papers | in the code | what it is |
# | --- | --- | --- |
# | $x$ | `minibatch["X"]` | the counts of the cells |
# | $q(z \mid x)$ | `inference["qz"]` | the cloud of positions that the [encoder](../docs/glossary.md#encoder) gives a cell: the approximate posterior |
# | $z$ | `inference["z"]` | one position, drawn from the cloud |
# | $p(x \mid z)$ | `generative["px"]` | the [distribution](../docs/glossary.md#distribution) of each count, which the [decoder](../docs/glossary.md#decoder) gives |
# | $p(z)$ | `generative["pz"]` | the [prior](../docs/glossary.md#prior): one cloud around 0, the same for all cells |
#
# **Step 1: encode.** From 2,000 counts to a cloud: a centre and a width for each of ten latent
# dimensions.

# %%
x, posterior = minibatch["X"], inference["qz"]
print("counts: ", tuple(x.shape))
print("centres:", tuple(posterior.loc.shape))
print("widths: ", tuple(posterior.scale.shape))

# %% [markdown]
# **Step 2: draw.** One position from each cloud, at random. That is why the loss of the same cells
# is never quite the same twice.
#
# **Step 3: decode, and see how surprising the counts are.** For each count the decoder gives a
# distribution. It says how probable the count is that was really seen. A count with probability $p$
# costs $-\ln p$ [nats](../docs/glossary.md#nat) ($\ln$ is the natural logarithm): 0 nats if it was
# certain, 0.7 if it was one of two equally likely values, 4.6 if it was one of a hundred.
#
# Look at the gene Plp1 in six cells. `mean` is that of the decoder's distribution, extra zeros
# included: $(1 - \pi) \mu$. A large count is never very probable: many others near it would have
# been as good.

# %% tags=["nbval-ignore-output"]
import numpy as np

counts, gene = generative["px"], adata.var_names.get_loc("Plp1")
seen = {"count": x, "mean": counts.mean, "cost in nats": -counts.log_prob(x)}
table = pd.DataFrame({name: value[::25, gene].detach() for name, value in seen.items()})
table["probability"] = np.exp(-table["cost in nats"]).map("{:.2g}".format)
table.round(2)

# %% [markdown]
# Add the costs of all 2,000 counts of a cell. That is its
# [reconstruction loss](../docs/glossary.md#reconstruction-loss).

# %%
reconstruction = -counts.log_prob(x).sum(dim=1)
print("one number per cell:", tuple(reconstruction.shape))

# %% [markdown]
# **Step 4: pay for the position.** The decoder knows the cell only through its position, and the
# encoder chose where the cloud lies and how wide it is. So the position carries information about
# the cell, and that is not free. A cloud just like the prior tells nothing about the cell and costs
# 0 nats. The farther from 0 it lies and the less its width is like that of the prior, the more it
# costs: the [KL divergence](../docs/glossary.md#kl-divergence) of the cloud from the prior. The
# position can tell at most that much.
#
# > **Predict.** Which of the two is larger, the reconstruction loss or the KL divergence? How much
# > larger?

# %%
from torch.distributions import kl_divergence

kl = kl_divergence(posterior, generative["pz"]).sum(dim=1)
print("The reconstruction loss is more than 100 times as large:")
print(bool(reconstruction.mean() > 100 * kl.mean()))

# %% [markdown]
# **The sum.** Add the two, and take the mean over the cells. That is the loss: nats per cell.

# %%
by_steps = (reconstruction + kl).mean()
print("equal to what the module returns:", np.isclose(by_steps.item(), loss_output.loss.item()))

# %% [markdown]
# Where does scvi-tools do this? These lines are read from the installed package.
# `kl_local_for_warmup` is the KL divergence above. `kl_local_no_warmup` is one for the library
# size: 0 here, because the library size is read from the counts. `kl_weight` comes next.

# %%
import inspect

for line in inspect.getsource(model.module.loss).splitlines():
    if line.strip().startswith(("reconst_loss =", "weighted_kl_local =", "loss =")):
        print(line.strip())

# %% [markdown]
# ### You may think: "The exact numbers need PyTorch's magic"
#
# Here both terms are computed again with NumPy and SciPy alone, from nothing but what the networks
# put out: the parameters of each count's distribution, and each cell's centres and widths.

# %%
from helpers import loss

again = loss.by_hand(model, held_out)
for term in ("reconstruction", "kl"):
    off = (again[term] / again[f"{term}_of_module"] - 1).abs().max()
    print(f"{term}: {len(again)} cells, all equal to 1 in 10,000: {off < 1e-4}")

# %% [markdown]
# ## The ledger: every epoch adds up
#
# Early in training the KL divergence does not count in full. It is multiplied by a *KL weight* that
# starts at 0 and rises: the [KL warm-up](../docs/glossary.md#kl-warm-up). It is a precaution: in
# the beginning the easiest way to a smaller KL divergence would be to tell nothing.
#
# $$\text{train\_loss} = \text{reconstruction loss} + \text{KL weight} \times \text{KL divergence}$$
#
# Here the weight in epoch $n$ is $(n - 1)/4$, and 1 from epoch 5 on.
#
# > **Predict.** In epoch 3 the KL divergence is about 26 nats. How much does it add to the loss?

# %% tags=["nbval-ignore-output"]
ledger = loss.ledger(model)
columns = ["reconstruction", "kl", "kl_weight", "train_loss", "elbo"]
ledger.loc[[1, 2, 3, 4, 5, 14], columns].round(4)

# %% [markdown]
# It adds 2/4 of 26: about 13 nats. Check a row with your own pocket calculator.
# Then let the computer check all of them: what is left over is called the residual.

# %%
for residual in ("residual", "elbo_residual", "held_out_residual"):
    largest = ledger[residual].abs().max()
    print(f"{residual}: below 0.01 nats in all {len(ledger)} epochs: {largest < 0.01}")

# %% [markdown]
# ### You may think: "`train_loss` and `elbo_train` are the same thing"
#
# `elbo_train` is the sum with weight 1, whatever the weight is. `train_loss` is what training
# really makes small. They differ by (1 - KL weight) × KL divergence: only during the warm-up, and
# not at all afterwards.

# %%
gap = ledger["elbo"] - ledger["train_loss"]
formula = (1 - ledger["kl_weight"]) * ledger["kl"]
print("always (1 - weight) x KL:", np.allclose(gap, formula, atol=0.01))
print("none from epoch", gap[gap.abs() < 0.01].index[0])

# %% [markdown]
# ### You may think: "The loss of an epoch is the mean over its minibatches"
#
# The last minibatch is smaller than 64 cells. But every *cell* counts alike, not every minibatch,
# or the sums above would not be right.

# %%
print("cells in the last minibatch:", len(model.train_indices) % 64)
wrong = ledger["minibatch_effect"].abs().max()
print("If minibatches counted alike, some epoch would be off by more than 5 nats:", wrong > 5)

# %% [markdown]
# Now the whole run. The coloured areas are stacked: blue + yellow = the black line.

# %%
from helpers.loss import elbo_explorer, elbo_figures

elbo_figures.plot_ledger(ledger)

# %% [markdown]
# Read it from the bottom:
#
# 1. The weight rises by the same amount each epoch and stays at 1.
# 2. While it is small, the KL divergence is cheap and grows: the encoder tells a lot. Then it is
#    pushed down to what is worth its price.
# 3. The reconstruction loss falls all the way. It makes up nearly all of the loss (the axis is
#    cut).
# 4. The held-out cells lie above. Why, you will see below.
#
# ### Look at single epochs
#
# Move the slider. The bars show the KL divergence of each latent dimension.
#
# > **Predict.** Are all ten dimensions used from the first epoch on?

# %% tags=["nbval-ignore-output"]
elbo_explorer.explore(model)

# %% [markdown]
# A dimension whose bar stays near 0 tells nothing about the cells: it has
# [collapsed](../docs/glossary.md#posterior-collapse).

# %%
per_dimension = loss.kl_per_dimension(model)
print("In use in every epoch:", int((per_dimension >= loss.IN_USE).all().sum()), "of 10")

# %% [markdown]
# ## A curve that falls and then rises
#
# This is scVI's default run on the same cells: 400 epochs, made once and kept.

# %%
from helpers import results

kept = results.load("default_run", index_col="epoch")
print(results.origin("default_run"))

# %% [markdown]
# > **Predict.** Below, the loss of the held-out cells falls, and from the middle on it rises. Does
# > the model get worse?

# %%
elbo_figures.plot_held_out(kept)

# %% [markdown]
# ### You may think: "It rises, so it overfits"
#
# In lesson 02 a rising curve meant [overfitting](../docs/glossary.md#overfitting). There it was the
# negative ELBO. This is the loss, and the default warm-up takes 400 epochs: the weight still grows
# while you watch. Break the rise down, with means of 20 epochs, because single epochs jump.

# %%
kept["weight x KL"] = kept["kl_weight"] * kept["held_out_kl"]
smooth = kept.rolling(20).mean()
lowest = smooth["held_out_loss"].idxmin()
rise = smooth.loc[400] - smooth.loc[lowest]
for name in ("held_out_loss", "weight x KL", "held_out_reconstruction", "held_out_elbo", "elbo"):
    print(f"{name}: {rise[name]:+.1f} nats from epoch {lowest} to 400")

# %% [markdown]
# - Most of the rise is the weight: the KL divergence counts more. There is no harm in that. The
#   rules of the game changed, not the player.
# - As it becomes costlier it is squeezed a little, and the reconstruction loss pays for that. So
#   look at the sum of the two, the negative ELBO.
# - The negative ELBO of the held-out cells (`held_out_elbo`) rises a little while that of the
#   training cells (`elbo`) falls. That *is* overfitting, and it is small.
#
# And the 14 epochs of the class preset? On the held-out cells they end about 10 nats below the
# default run:

# %%
elbo_figures.plot_runs({"class preset": ledger, "default": kept})

# %% [markdown]
# ## What does the weight do?
#
# Train four small models (601 cells, 500 genes, 30 epochs) that differ in the KL weight only. It
# rises to 1, as it should; it stays 0, so that positions are free; it rises to 20, so that they are
# very costly; or it rises over 400 epochs, the default, and is cut short after 30.
#
# > **Predict.** Which weight does the last one reach? Which model will describe the counts best?

# %%
small = adata[::5, :500].copy()
scvi.model.SCVI.setup_anndata(small, layer="counts")
plans = {
    "weight 1": {"n_epochs_kl_warmup": 10},
    "weight 0": {"max_kl_weight": 0.0},
    "weight 20": {"n_epochs_kl_warmup": 10, "max_kl_weight": 20.0},
    "cut short": {"n_epochs_kl_warmup": 400},
}

# %% tags=["nbval-ignore-output", "progress"]
models = {}
for name, plan in plans.items():
    environment.prepare(seed=0)
    models[name] = scvi.model.SCVI(small)
    training.train(models[name], max_epochs=30, plan_kwargs=plan)

# %% tags=["nbval-ignore-output"]
compared = loss.compare(models)
compared.round(2)

# %% [markdown]
# Each cell is a little cloud; here they are in two of the latent dimensions. The dashed circle is
# the prior, drawn in the same way: two
# [standard deviations](../docs/glossary.md#standard-deviation) to each side.

# %%
elbo_figures.plot_posteriors(models)

# %% [markdown]
# - **Weight 0**: the clouds shrink to points, far apart. Nothing keeps them near the prior or near
#   each other. The counts are hardly described better than with weight 1, at a far higher price:
#   its negative ELBO is much larger.
# - **Weight 20**: hardly any information gets through. Most dimensions have collapsed, and the
#   counts are described worst.
# - **Cut short**: the weight reaches 29/400. The latent space lies between that of weight 1 and
#   that of weight 0: the clouds are small, and farther apart. The negative ELBO is higher than with
#   weight 1.
#
# ### You may think: "I stopped early, so I got the same model, only less trained"

# %%
reached, full = compared.loc["cut short"], compared.loc["weight 1"]
print("The weight it reached is 29/400:", bool(np.isclose(reached["KL weight"], 29 / 400)))
print("Its KL divergence is 1.5 times as large or more:", bool(reached["KL"] > 1.5 * full["KL"]))
few = compared.loc["weight 20", "dimensions in use"] < 5
print("With weight 20, fewer than half of the dimensions are in use:", bool(few))

# %% [markdown]
# You got another loss. If you train for fewer epochs than the warm-up takes, shorten the warm-up as
# well, as the class preset does.
#
# ## Training cells against held-out cells
#
# The training curve is not measured like the held-out one. While it is written,
# [dropout](../docs/glossary.md#dropout) is on and the weights still move. So ask the trained model
# again about the same cells.
#
# > **Predict.** Without dropout, will the loss of the training cells be higher or lower than
# > logged?

# %% tags=["nbval-ignore-output"]
looked_at = loss.reevaluate(model)
looked_at.round(1)

# %%
logged, with_dropout, without = looked_at["elbo"].iloc[:3]
print("final weights instead of moving ones lower it:", bool(with_dropout < logged))
print("no dropout lowers it further:", bool(without < with_dropout))

# %% [markdown]
# Each step makes the training cells look better: first the final weights (and the running averages
# of [batch normalisation](../docs/glossary.md#batch-normalisation)), then no dropout. So the two
# curves look nearer to each other than the two kinds of cells are. For the held-out cells it makes
# no difference: they are always looked at without dropout, after the epoch.
#
# ### You may think: "The gap between the two is overfitting"
#
# Only a part of it. These are other cells:

# %%
for name, cells in {"training": model.train_indices, "held-out": held_out}.items():
    mean = adata.layers["counts"][cells].sum(axis=1).mean()
    print(f"{name} cells: {mean:,.0f} counts per cell on average")

# %% [markdown]
# Cells with more counts cost more, whatever the model. With another seed other cells are held out,
# and the gap is different. So do not judge by the gap. Judge by whether the held-out curve rises.
#
# ## Is it trained enough?
#
# Five questions, answered from the ledger:

# %%
loss.checklist(model)

# %% [markdown]
# The third answer says that it still falls. The class preset stops where it is at least as good as
# the default run. You cannot just let it go on, since its steps have become 0: a longer run needs a
# larger `max_epochs` from the start. How good is good enough depends on what you want to do with
# it.
#
# Now the small model whose warm-up was cut short:

# %%
loss.checklist(models["cut short"])

# %% [markdown]
# ## Is it good?
#
# A number like 2,820 says nothing alone: more genes or more counts, and it is larger. So let
# simpler models describe the same held-out cells, and compare $-\ln p$ of their counts. All are
# told the [library size](../docs/glossary.md#library-size), as scVI is, and then each knows a
# little more.
#
# > **Predict.** Which will be best: a mean for each published class, ten
# > [principal components](../docs/glossary.md#principal-component), or scVI?

# %% tags=["nbval-ignore-output"]
from helpers.loss import baselines

scale = baselines.compare(model, class_key="cell_type", more_components=[30])
scale.assign(**{"nats per cell": scale["nats per cell"].map(figures.about)})

# %%
baselines.plot(scale)

# %% [markdown]
# From top to bottom:
#
# - With the [Poisson](../docs/glossary.md#poisson-distribution) distribution all cells are alike
#   except for the library size, and counts may hardly spread. They do spread.
# - The [negative binomial](../docs/glossary.md#negative-binomial-distribution) lets them spread:
#   that saves more than everything that follows.
# - **Class** and **[PCA](../docs/glossary.md#pca)** know something of the cell. Ten numbers read
#   from the counts tell more than the published class.
# - **PCA with 30** is about as good as scVI's negative ELBO. Is it as good a model? Its numbers are
#   free, and 30 of them help more than ten. scVI pays for its ten: the KL divergence is in the sum.
#   Make them free as well (*reconstruction loss alone*), and scVI seems to be ahead. But not with
#   the same distribution: see below.
# - [Importance sampling](../docs/glossary.md#importance-sampling) is a tighter bound than the ELBO,
#   by many draws. Here it is a few nats lower.
#
# One more thing favours scVI: the extra zeros of its distribution, which the others here do not
# have. In exercise 4 you take them away. Then PCA with 30 is ahead of scVI, even if scVI's position
# is free as well; PCA with ten is behind.
#
# ## Where does the loss arise?
#
# Divide the reconstruction loss among the genes, and the loss among the cells.
#
# > **Predict.** Which genes are the most costly: rare ones, or those with high counts? And which
# > cells?

# %%
costs = loss.attribute_loss(model, held_out)
print(
    "both add up to the same:",
    np.isclose(costs.genes["reconstruction"].sum(), costs.cells["reconstruction"].mean()),
)
elbo_figures.plot_genes(costs)

# %% [markdown]
# Genes with high counts are the most costly. But no gene stands out: it takes hundreds of genes to
# make up a large part of the loss.

# %%
elbo_figures.plot_cells(costs, adata.obs["cell_type"])

# %% [markdown]
# ### You may think: "A cell with a high loss is badly explained"
#
# Mostly it is a large cell: more counts, more to explain. To find cells that are badly explained,
# compare cells of the same library size: in the picture, those above one another. Oligodendrocytes
# and astrocytes lie below the neurons. Their counts fall on fewer genes, and a 0 that is expected
# is cheap:

# %%
ranks = costs.cells.corr(method="spearman")["loss"]
print("The loss goes with the number of genes seen more closely than with the library size:")
print(bool(ranks["genes_seen"] > ranks["library_size"]))

# %% [markdown]
# So the mean loss of two sets of cells can differ though the model is the same. Compare only on the
# same cells.
#
# ## Aside: see that it is a lower bound
#
# Take the smallest model of this kind: one gene, one cell. The position $z$ is one number with the
# prior of scVI, and the count is drawn from a Poisson distribution with mean $e^{1+z}$. Here the
# evidence can be computed exactly, as an area. You see a count of 5. A cloud $q$ has two numbers,
# centre and spread. Each choice gives an ELBO.
#
# > **Predict.** Can a lucky choice of centre and spread get above the evidence?

# %%
from helpers.loss import toy_elbo

toy_elbo.plot(5)

# %% [markdown]
# No choice does. What is missing at the best one is small: $q$ is symmetric, and the exact answer
# to "which $z$ may it have been?" (the [*posterior*](../docs/glossary.md#posterior)) is not. Try a
# million pairs:

# %%
centres, spreads = np.meshgrid(np.linspace(-3, 3, 1000), np.linspace(0.01, 3, 1000))
bounds = toy_elbo.elbo(5, centres, spreads)
print("pairs above the evidence:", int((bounds > toy_elbo.log_evidence(5)).sum()))
print("evidence:", round(toy_elbo.log_evidence(5), 3), " best ELBO:", round(bounds.max(), 3))

# %% [markdown]
# For scVI itself you can see the same on *simulated* cells: 2,000 cells whose true positions, means
# and dispersions are known, so that the evidence under the truth can be computed. Train a scVI of
# the right kind on them.

# %% tags=["nbval-ignore-output", "progress"]
from helpers.loss import simulation

simulated = simulation.cells()
scvi.model.SCVI.setup_anndata(simulated, layer="counts", size_factor_key="size_factor")
learner = scvi.model.SCVI(simulated, n_latent=2, gene_likelihood="nb")
training.train(learner, max_epochs=30, plan_kwargs={"lr": 0.01, "n_epochs_kl_warmup": 10})

# %% tags=["nbval-ignore-output"]
known = simulation.compare(learner)
simulation.plot(known)

# %%
means = known.mean()
print("truth < model:", bool(means["truth"] < means["model"]))
print("model < negative ELBO:", bool(means["model"] < means["negative ELBO"]))
print("the truth itself costs about", figures.about(means["truth"]), "nats per cell")

# %% [markdown]
# The truth itself is far from 0: counts are partly chance, and nobody can foresee chance. The model
# comes close to it. The rest of the way to the negative ELBO is the price of the bound.
#
# ## The answer

# %%
end = ledger.iloc[-1]
share = end["kl"] / end["train_loss"]
print("The loss is reconstruction loss + KL weight x KL divergence, in nats per cell.")
print("With weight 1 that is the negative ELBO.")
print(f"Here the weight ends at {end['kl_weight']:g}.")
print("The KL divergence is less than a hundredth of it:", bool(share < 0.01))
print(f"On held-out cells it is about {figures.about(end['held_out_elbo'])} nats per cell.")

# %% [markdown]
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | `elbo` in the history is the ELBO. | It is the negative ELBO: lower is better. `get_elbo` has the other sign. |
# | `train_loss` and `elbo_train` are the same. | They differ by (1 - KL weight) × KL divergence, until the warm-up ends. |
# | The held-out loss rises, so the model overfits. | Mostly the KL weight rose. Look at the held-out negative ELBO. |
# | I stopped early and got the same model, less trained. | You got another loss: the KL weight never reached 1. |
# | The gap between the curves is overfitting. | They are other cells, and the training curve is measured with dropout and moving weights. |
# | A cell with a high loss is badly explained. | Mostly it has a large library size. |
# | A good model has a loss near 0. | Even the truth costs a lot. Compare with simpler models on the same cells. |
#
# ## Check yourself
#
# Six questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("04")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("04")

# %% [markdown]
# ### Exercise 1 · One epoch by hand
#
# In epoch 161 of the default run above, the reconstruction loss of the training cells is 2,705.72
# nats per cell and the KL divergence 28.72. The warm-up takes 400 epochs, and epoch 1 has weight 0.
# Compute the KL weight, `train_loss` and the negative ELBO (`elbo_train`) of this epoch. A pocket
# calculator is enough.

# %% tags=["exercise"]
weight = ...
train_loss = ...
negative_elbo = ...

# %% tags=["check"]
check.one_epoch(weight, train_loss, negative_elbo, kept=kept)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# weight = (161 - 1) / 400
# train_loss = 2705.72 + weight * 28.72
# negative_elbo = 2705.72 + 28.72
# ```
#
# The weight is 0.4. So `train_loss` is 2,717.21 and the negative ELBO 2,734.44. `kept.loc[161]`
# shows what scvi-tools logged: the same.
#
# </details>

# %% [markdown]
# ### Exercise 2 · What a zero costs
#
# A count of 0 can come about in two ways. Either it is an extra zero; that has the probability
# `extra`. Or it is not, and then the
# [negative binomial](../docs/glossary.md#negative-binomial-distribution) gives a 0 by chance, with
# the probability `(theta / (theta + mean)) ** theta`. Write a function that returns what a count of
# 0 costs, in nats. The check gives it numbers that the decoder computed for real cells, and
# compares with scVI.


# %% tags=["exercise"]
def cost_of_zero(mean, theta, extra): ...


# %% tags=["check"]
check.price_of_a_zero(cost_of_zero, minibatch=minibatch, generative=generative)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def cost_of_zero(mean, theta, extra):
#     by_chance = (theta / (theta + mean)) ** theta
#     probability = extra + (1 - extra) * by_chance
#     return -np.log(probability)
# ```
#
# It is one way *or* the other, so their probabilities are added. The larger the mean, the less
# probable a 0 by chance, and the more it costs, unless `extra` is large.
#
# </details>

# %% [markdown]
# ### Exercise 3 · A plan for many cells
#
# You have 40,000 cells. `model.train()` does 200 epochs, and the KL weight ends near one half.
# Write a dictionary for `plan_kwargs` with which the weight begins near 0, rises for at least 10
# epochs, and is 1 (not more) in at least half of the 200 epochs. Many answers are right, and
# nothing is trained.

# %% tags=["exercise"]
your_plan = ...

# %% tags=["check"]
check.plan_for_many_cells(your_plan)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# your_plan = {"n_epochs_kl_warmup": 50}
# ```
#
# Use it as `model.train(plan_kwargs=your_plan)`. After 50 epochs the loss is the negative ELBO, and
# remains so for 150 epochs. `training.train` of this kit does the same for you: its warm-up is a
# share of the epochs. (TotalVI is an exception: its `train` wants `n_epochs_kl_warmup` itself,
# lesson 06.)
#
# </details>

# %% [markdown]
# ### Exercise 4 · Without extra zeros
#
# How much do the extra zeros save? Predict it. Then train a model `plain` of the same cells with
# the plain negative binomial distribution, `gene_likelihood="nb"`, and otherwise as `model` at the
# top of this lesson: `environment.prepare(seed=0)` before it, then `training.train`. It takes a
# quarter of a minute. `saved`: by how many nats per held-out cell is the negative ELBO of `plain`
# larger?
#
# The first line is given: `small` is a copy of `adata` that was set up later, and scvi-tools knows
# only the last set-up of a table and its copies.

# %% tags=["exercise"]
scvi.model.SCVI.setup_anndata(adata, layer="counts")
plain = ...
saved = ...

# %% tags=["check"]
check.extra_zeros(plain, saved, model=model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# scvi.model.SCVI.setup_anndata(adata, layer="counts")
# environment.prepare(seed=0)
# plain = scvi.model.SCVI(adata, gene_likelihood="nb")
# training.train(plain)
# of_both = loss.compare({"zinb": model, "nb": plain})["negative ELBO"]
# saved = of_both["nb"] - of_both["zinb"]
# ```
#
# The same seed holds out the same cells, so the comparison is fair. About 40 nats: for these cells
# and this training the extra zeros pay. Now look at the baselines above. Without extra zeros, scVI
# is still ahead of PCA with ten free numbers, by about 20 nats, though it pays for its ten. PCA
# with 30 it does not reach, not even with a free position: its reconstruction loss (`loss.compare`
# shows it) is higher by more than 20 nats.
#
# </details>

# %% [markdown]
# Next: lesson 05 asks what you can do with the ten numbers of a cell.
