# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05c · What does `batch_key` do, and when can it not help?
#
# scVI "takes in a gene expression matrix with annotated batches". You pass `batch_key="batch"`,
# train, and the batches lie on top of each other in the map. Is that good? What was removed: the
# difference in handling, or the difference in biology?
#
# With real data you cannot know. So in this lesson you make a
# [batch effect](../docs/glossary.md#batch-effect) yourself, on real cells, and know it gene by
# gene. Then you go to real batches with open eyes.
#
# **You will be able to**
#
# - say what `batch_key` changes in the model;
# - measure whether batches are mixed and whether the biology is still there, and say why you need
#   both;
# - compare scVI with Harmony, the usual baseline;
# - recognise confounding, and say why nothing can repair it;
# - judge a correction on real data.
#
# **Time**: 35 minutes to read and run (half a minute of it is computing), 25 minutes for the quiz
# and the exercises.
# **Needs**: lesson 02. [05](05_latent_space.ipynb) is useful.

# %%
from helpers import data, environment

environment.prepare(seed=0)
cortex = data.load_cortex()

# %% [markdown]
# ## A batch effect that you know
#
# Take 1,200 of the cortex cells and their 500 most variable genes. Put half of the cells of each
# class into batch A, half into batch B. In batch B, lose molecules at random: of each gene a share
# of its own, from none to four fifths. This is a kind
# [batch effect](../docs/glossary.md#batch-effect): the same in all kinds of cell. Real ones may
# differ between kinds, and add foreign molecules. The counts stay whole numbers; the cells are
# real, and the batch effect is *simulated*.

# %%
from helpers.batches import experiments

adata = experiments.simulate(cortex)
sizes = adata.obs.groupby(["cell_type", "batch"], observed=True).size().unstack()
sizes

# %%
kept = adata.var["true_kept"]
in_b = (adata.obs["batch"] == "B").to_numpy()
before, after = adata.layers["before"][in_b].sum(), adata.layers["counts"][in_b].sum()
print(f"kept in batch B: from {kept.min():.2f} to {kept.max():.2f} of a gene's molecules")
print(f"of all molecules of batch B: {after / before:.2f}")

# %% [markdown]
# ## Without and with `batch_key`
#
# Train the same model twice, on the same cells with the same seed. The first does not know of
# batches. The second gets the batch of each cell as an extra input of its decoder. This takes about
# ten seconds.

# %% tags=["nbval-ignore-output", "progress"]
models = experiments.train_both(adata)

# %% [markdown]
# > **Predict.** How many inputs does the decoder's first layer have in each?

# %%
for name, model in models.items():
    first = model.module.decoder.px_decoder.fc_layers[0][0]
    encoder = model.module.z_encoder.encoder.fc_layers[0][0]
    print(f"{name}: decoder {first.in_features} inputs, encoder {encoder.in_features}")

# %% [markdown]
# Ten latent dimensions, and with `batch_key` two more switches: one for A, one for B. With one
# hidden layer, that is all that `batch_key` changes; with more, the switches go into each layer of
# the decoder. The *encoder* sees nothing new, by default.
#
# Why does this remove the batch effect from the latent space? The decoder is told the batch for
# free. A position that told the batch as well would cost nats (lesson 04) and gain nothing. So
# training tends to drop it; nothing forces it to.
#
# Look at both latent spaces, as t-SNE, by batch and by class.

# %%
from helpers.latent import embedding_figures, embeddings

latent_spaces = {name: model.get_latent_representation() for name, model in models.items()}
maps = {name: embeddings.tsne(positions) for name, positions in latent_spaces.items()}
embedding_figures.plot_labels(maps, adata.obs["batch"])

# %%
embedding_figures.plot_labels(maps, adata.obs["cell_type"])

# %% [markdown]
# ## Measure both: mixing and biology
#
# ### You may think: "well mixed is well corrected"
#
# Random numbers are mixed well, too, and have no biology left. So measure two things at once:
#
# - **Are batches mixed?** Guess a cell's batch from its 15 nearest neighbours (kNN: k nearest
#   neighbours): `kNN batch accuracy`. 0.5 is no better than a coin. And
#   [iLISI](../docs/glossary.md#ilisi): how many batches are near a cell, from 0 (one) to 1 (both
#   alike).
# - **Is the biology still there?** Guess the class from the neighbours: `kNN class accuracy`. And
#   the [ARI](../docs/glossary.md#adjusted-rand-index) of k-means clusters with the classes (lesson
#   05).
#
# The baselines: PCA, which knows nothing of batches, and [Harmony](../docs/glossary.md#harmony),
# which takes the PCA and moves the cells of the batches together.
#
# > **Predict.** Which method mixes best? Which keeps the classes best?

# %%
from helpers.genes import log_normalisation

baselines = {"PCA": log_normalisation.principal_components(adata)}
baselines["Harmony"] = experiments.harmony(baselines["PCA"], adata)
measured = experiments.measure(latent_spaces | baselines, adata)
mixing = measured["kNN batch accuracy"]
print("without batch_key, above 0.9:", mixing["scVI"] > 0.9)
print("with batch_key, below 0.65:  ", mixing["scVI with batch_key"] < 0.65)
print("Harmony, below 0.65:         ", mixing["Harmony"] < 0.65)

# %% tags=["nbval-ignore-output"]
measured.round(2)

# %% [markdown]
# `batch_key` does what it promises: the batches are mixed, and the classes are as easy to find as
# before. But look at Harmony: it does so, too, in a second and without training. One run can be
# luck. Here are three seeds, with other cells and another batch effect each time. They take
# minutes, so they are kept in a file; `make study ARGS=batches` makes it again.

# %%
from helpers import results

measures = ["kNN batch accuracy", "iLISI", "kNN class accuracy", "ARI"]
print(results.origin("batches"))
results.summary("batches", measures, design="balanced")

# %%
from helpers.batches import batch_figures

runs = results.load("batches").set_index("method")
batch_figures.plot_measures(runs[runs["design"] == "balanced"])

# %% [markdown]
# "Before the effect" is the yardstick: the same cells with their real counts. Both corrections come
# near it, Harmony nearer. (scVI was trained with the class preset, 18 epochs here. Further down you
# see what longer training does.) By ARI, PCA and Harmony find the classes better than scVI, with
# and without a batch effect; lesson 05 asks why. The neighbours' classes are as good in all.
#
# ## Did it learn the true effect?
#
# Harmony moves positions. scVI learns what the batch does to each gene, and you can ask for it:
# decode every cell twice, as if it were in A and as if it were in B. The ratio is the learned batch
# effect. And you know the true one. (The encoder reads log(1 + count), as it is. But what the
# decoder predicts are shares of a cell's counts, so only differences between genes can be learned:
# 0 is the average gene.)

# %%
from helpers.batches import batch_effects

pair = ("pyramidal CA1", "pyramidal SS")
learned = batch_effects.compare(models["scVI with batch_key"], pair)
batch_figures.plot_effects(learned)

# %% [markdown]
# On the left, one point per gene: the learned effect lies along the truth. On the right: does the
# learned effect contain anything of the difference between two cell types? It should not, and the
# line is flat.
#
# ## When it cannot help
#
# Now the same cells and the same loss of molecules, but another experiment: all CA1 pyramidal cells
# were handled in batch A, all SS pyramidal cells in batch B. For these two classes, class and batch
# change together. This is called [confounding](../docs/glossary.md#confounding).
#
# > **Predict.** The decoder has a switch for the batch. Where will it put the difference between
# > CA1 and SS cells: into the position, or into the switch?

# %% tags=["nbval-ignore-output", "progress"]
confounded = experiments.simulate(cortex, only_in={"pyramidal CA1": "A", "pyramidal SS": "B"})
fooled = experiments.train(confounded, "batch")

# %%
learned_wrongly = batch_effects.compare(fooled, pair)
batch_figures.plot_effects(learned_wrongly)

# %% [markdown]
# On the right, the line is no longer flat: part of the *biology* is in the learned batch effect.
# And what is left of it in the latent space and the decoder? "Class difference found" is the slope
# of the learned on the true difference between the two classes. (Even "before the effect" it is not
# 1: a model makes the differences of rarely counted genes smaller. Compare with that row.) Over
# three seeds, with the design in which only these two classes exist as the worst case:

# %%
columns = ["class difference in the batch effect", "class difference found"]
designs = ("balanced", "two classes confounded", "fully confounded")
rows = ["scVI, before the effect", "scVI with batch_key"]
for design in designs:
    table = results.summary("batches", columns, design=design)
    print(f"{design}\n{table.loc[rows].to_string()}\n")

# %% [markdown]
# With two of seven classes confounded, the model loses about half of the difference between them.
# If they are all there is, most of it is gone, called batch effect.
#
# ### You may think: "then I leave `batch_key` out"
#
# Then the batch effect is called biology:

# %%
column = ["batch effect in the class difference"]
for design in designs:
    table = results.summary("batches", column, design=design)
    print(f"{design}: {table.loc['scVI', column[0]]}")

# %% [markdown]
# Without `batch_key`, the difference that the confounded models find between the classes contains
# nearly the whole batch effect. Either way is wrong. If the batches share no kind of cell, nothing
# in the counts can tell you: no method can. With two classes confounded, the other five still show
# the batch effect. A method could use that, if the effect is the same in all kinds of cell; scVI
# does not insist on it. So look to the design of the experiment: **put cells of each kind into each
# batch.** Before you train, count them, as in the table above.
#
# ## Real batches
#
# 400 real blood cells were measured in two runs. Nobody knows the true effect, and there are no
# published classes. But the same cells have counts of 14 surface proteins. These give five groups
# without a look at the RNA: CD14 marks monocytes, CD19 B cells, CD56 NK cells, CD3 with CD4 or with
# CD8a T cells ([06b](06b_proteins.ipynb) shows how). 30 cells fit none of the rules and are left
# out.

# %%
from helpers.proteins import protein_counts

blood = data.load_citeseq()
blood.obs["group"] = protein_counts.gate(blood)
sizes = blood.obs.groupby(["group", "batch"], observed=True).size().unstack()
in_groups = sizes.drop("no group")
best_guess = in_groups.max(axis=1).sum() / in_groups.to_numpy().sum()
print(f"in the larger batch of their group: {best_guess:.2f} of the cells")
sizes

# %% [markdown]
# All groups are in both batches, though not in equal numbers. So even where batches are perfectly
# mixed within the groups, their neighbours tell a little: expect a kNN batch accuracy between 0.50
# and 0.56. But each batch is an experiment of its own: if the donors differ, a difference between
# donors is called batch effect, too. Again three seeds, kept:

# %%
longest = {"scVI with batch_key": "scVI with batch_key, 200 epochs"}
results.summary("batches", measures, design="real PBMCs").rename(index=longest)

# %% [markdown]
# ### You may think: "I gave it the `batch_key`, so the batches are corrected"
#
# Compare the rows "class preset" (50 epochs here, so that 370 cells make 300 steps), "100 epochs"
# and "200 epochs". All three train with the large steps of the preset. After 50 epochs the
# neighbours still tell the batch of three cells in four. After 200 it is about one in two, as by
# chance. The default training has 400 epochs, but smaller steps, and mixes about as well as 100
# epochs do. So neither `batch_key` nor the number of epochs alone tells you whether the batches are
# mixed.

# %%
real = runs[runs["design"] == "real PBMCs"].rename(index=longest).groupby(level=0)
shown = real[["kNN batch accuracy", "kNN class accuracy", "silhouette"]].mean().round(2)
shown.loc[["scVI", *shown.filter(like="batch_key", axis=0).index, "Harmony"]]

# %% [markdown]
# So the correction can be nearly complete or partial, with the same `batch_key` and no error
# message. Measure it. And longer training has a price. From 50 to 200 epochs the protein groups
# become harder to tell apart: the kNN class accuracy falls from 0.95 to 0.92, the silhouette from
# 0.28 to 0.11. So a value near 0.5 is not a proof of a good correction. Measure the biology beside
# it, and stop where you can accept both.
#
# ## The answer

# %%
balanced = runs[runs["design"] == "balanced"]["kNN batch accuracy"].groupby(level=0).mean()
full = runs[runs["design"] == "fully confounded"]["class difference found"].groupby(level=0).mean()
print("batch_key gives the decoder a switch for each batch.")
print("A simulated batch effect, kNN batch accuracy (0.5 is mixed):")
print(f"{balanced['scVI']:.2f} without, {balanced['scVI with batch_key']:.2f} with batch_key.")
print("If class and batch are the same, what is left of the class difference:")
print(f"{full['scVI with batch_key']:.1f} of {full['scVI, before the effect']:.1f}.")

# %% [markdown]
# The decoder gets the batch for free, so the latent space need not hold it. That removes a batch
# effect if each kind of cell is in each batch, and if the training is long enough. If kinds and
# batches change together, it removes the biology as well, and nobody can tell.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | `batch_key` corrects the counts. | It gives the decoder one more input for each batch. The counts stay as they are. |
# | Well mixed is well corrected. | Random numbers are mixed well, too. Measure the biology as well. |
# | With `batch_key`, the batches are corrected. | After a short training they are far from it. Measure it. |
# | 400 epochs mix the batches more than 200. | Not if their steps are smaller. Measure it. |
# | A better method could separate batch and biology. | Not if they change together in all cells. Only the design can. |
# | A neural network is needed. | On the simulated batches Harmony mixes a little better. On the real ones the measures disagree: by kNN batch accuracy scVI mixes better if trained long enough, by iLISI Harmony does. What scVI adds is the effect on each gene. |
#
# ## Check yourself
#
# Six questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("05c")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("05c")

# %% [markdown]
# ### Exercise 1 · What `batch_key` adds
#
# How many [parameters](../docs/glossary.md#parameter) has the model with `batch_key` more than the
# one without? Work it out from the inputs and the 128 [neurons](../docs/glossary.md#neuron) of the
# decoder's hidden layer. One line is enough.

# %% tags=["exercise"]
n_added = ...

# %% tags=["check"]
check.price_of_batches(n_added, models=models)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# n_added = 2 * 128
# ```
#
# Two switches, each with a weight to each of the 128 neurons. That is all there is for 500 genes:
# the batch effect of a gene is what the neurons do to it.
#
# </details>

# %% [markdown]
# ### Exercise 2 · A correction of your own
#
# Write a function that moves the cells of a latent space so that the batches are mixed *and* the
# classes stay. It gets the positions (cells x dimensions) and the batch of each cell ("A" or "B",
# an array of text), and returns new positions. The check tries it on the latent space of the model
# without `batch_key`. Asked for: kNN batch accuracy below 0.75, kNN class accuracy above 0.85. Many
# answers are right, and a few lines will do.


# %% tags=["exercise"]
def correct(positions, batch): ...


# %% tags=["check"]
check.own_correction(correct, adata=adata, latent_spaces=latent_spaces)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def correct(positions, batch):
#     moved = positions.copy()
#     for name in ("A", "B"):
#         moved[batch == name] -= positions[batch == name].mean(axis=0)
#     return moved
# ```
#
# All cells of a batch move by the same vector, so cells of a class stay together. This works
# because half of the cells of each class are in each batch: then the means of the batches differ by
# the batch effect and little else. The check tells what happens if not.
#
# </details>

# %% [markdown]
# ### Exercise 3 · A batch effect that does no harm
#
# How weak must a batch effect be, so that you need no `batch_key`? Make cells with
# `experiments.simulate(cortex, strength=...)`, and train a model without `batch_key` on them:
# `experiments.train(cells)`, about ten seconds. Asked for: a `strength` of at least 0.3, and a kNN
# batch accuracy below 0.65.

# %% tags=["exercise"]
weak_model = ...

# %% tags=["check"]
check.harmless(weak_model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# weak_model = experiments.train(experiments.simulate(cortex, strength=0.4))
# ```
#
# Where no gene loses more than two fifths of its molecules, the batches are nearly mixed without
# `batch_key`: so weak an effect hardly reaches the latent space. `experiments.train_both` trains
# the model with `batch_key`, too. Its batches are mixed, and the classes are as easy to find: no
# harm, and little good.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Plan the experiment
#
# Eight samples are to be measured in two runs, four in each. The names say what they are: P
# patient, C control, F female, M male.
#
# PF1, PF2, PM1, PM2, CF1, CF2, CM1, CM2
#
# Which four go into run 1, so that neither illness nor sex is confounded with the run? The others
# go into run 2. Many answers are right.

# %% tags=["exercise"]
in_run_1 = ...

# %% tags=["check"]
check.design(in_run_1)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# in_run_1 = ["PF1", "PM1", "CF1", "CM1"]
# ```
#
# One of each kind in each run, so that each kind shows the batch effect, and each run shows the
# illness. `["PF1", "PF2", "CM1", "CM2"]` looks balanced, too, but in that run every patient is a
# woman and every control a man.
#
# </details>

# %% [markdown]
# Next: lesson 06 adds proteins to the model.
