# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · What can I do with the latent space?
#
# `model.get_latent_representation()` gives ten numbers for each cell. Many tutorials stop there, or
# draw one coloured map and call it a result.
#
# In this lesson you use the ten numbers for what people want them for: to look at the cells, to
# group them, to walk from one kind of cell to another. Each time you measure how far the result can
# be trusted, and whether a simpler method would have done.
#
# **You will be able to**
#
# - say what the ten numbers are, how sure the model is of them, and why a single one means nothing;
# - read a t-SNE or UMAP without the usual mistakes;
# - cluster cells, and compare the clusters with published classes and with those of PCA;
# - move a cell through the latent space, and see which genes change.
#
# **Time**: 45 minutes to read and run (about a minute of it is computing), 25 minutes for the quiz
# and the exercises.
# **Needs**: lesson 02, or the model that it stored. Two lessons go on from here:
# [05b](05b_expression.ipynb) asks which genes differ, [05c](05c_batches.ipynb) what `batch_key`
# does.

# %%
import scvi

from helpers import data, environment, genes, training

environment.prepare(seed=0)
adata = data.load_cortex()
genes.select(adata)
scvi.model.SCVI.setup_anndata(adata, layer="counts")
model = training.load_or_train(scvi.model.SCVI(adata))

# %% [markdown]
# ## What the ten numbers are
#
# The [latent representation](../docs/glossary.md#latent-representation) has one row per cell.
# People keep it in `adata.obsm`, which is for tables with one row per cell.

# %%
latent_space = model.get_latent_representation()
adata.obsm["X_scvi"] = latent_space
latent_space.shape

# %% [markdown]
# > **Predict.** The model was trained with random draws. If you ask for the latent representation
# > twice, do you get the same numbers?

# %%
import numpy as np

again = model.get_latent_representation()
drawn = model.get_latent_representation(give_mean=False)
print("The same twice:                 ", np.allclose(again, latent_space, atol=1e-4))
print("The same with give_mean=False:  ", np.allclose(drawn, latent_space, atol=1e-4))

# %% [markdown]
# The [encoder](../docs/glossary.md#encoder) gives each cell not a point but a little cloud (the
# approximate posterior): a centre and a width in each dimension. By default you get the centre,
# called the [posterior mean](../docs/glossary.md#posterior-mean). With `give_mean=False` you get
# one draw from the cloud, a different one each time. (In training, the decoder sees draws.)
#
# Here are 100 of the clouds, in two of the ten dimensions. The grey points are the centres of all
# cells.

# %%
from helpers.latent import posterior

classes = adata.obs["cell_type"]
posterior.plot_posteriors(model, classes)

# %% [markdown]
# A cloud says how sure the encoder is: from the counts of this cell, its position could be anywhere
# in there. (Each ellipse reaches two standard deviations to each side. Such clouds are often too
# small.) Is that much or little? Compare it with the distances between cells. The 15
# [nearest neighbours](../docs/glossary.md#nearest-neighbours) of a cell are what clustering and
# maps are made of. Draw a position from each cloud, and see how many neighbours stay.
#
# > **Predict.** Of the 15 nearest neighbours of a cell, how many are still among them after the
# > draw?

# %%
from helpers import figures
from helpers.latent import neighbours

kept = neighbours.shared(latent_space, drawn)
print("kept:", figures.about(15 * kept, 2), "of 15")
accuracy = neighbours.label_accuracy(latent_space, classes)
after_draw = neighbours.label_accuracy(drawn, classes)
print("share of cells whose neighbours tell their class, by centres and by draws:")
print(f"more than 0.93: {accuracy > 0.93}, {after_draw > 0.93}")

# %% [markdown]
# About a third of the neighbours change with one draw. But the class that the neighbours have stays
# the same. So trust what rests on many cells (groups, gradients); do not build on a single cell's
# nearest neighbour.
#
# ## One dimension alone means nothing
#
# ### You may think: "dimension 1 is the most important one"
#
# In PCA the first component is the largest. Are the latent dimensions in order too? The table tells
# for each of them what it costs ([KL divergence](../docs/glossary.md#kl-divergence) in nats per
# cell, lesson 04), how far the centres are spread, and how wide the clouds are.

# %% tags=["nbval-ignore-output"]
from helpers import loss

dimensions = loss.dimensions_in_use(model)
dimensions.round(2)

# %%
print("dimensions in use:", (dimensions["kl"] >= loss.IN_USE).sum(), "of", len(dimensions))
print("in order of their KL divergence:", bool(dimensions["kl"].is_monotonic_decreasing))

# %% [markdown]
# No order. And it could not have one. Take the trained model, swap its latent dimensions and mirror
# some of them, in the weights that lead into the latent space and in those that lead out of it:

# %% tags=["nbval-ignore-output"]
numbers = np.random.default_rng(0)
order, signs = numbers.permutation(10), numbers.choice([-1, 1], 10)
renamed = posterior.renamed(model, order, signs)
print("cell 0:        ", *(f"{value:5.1f}" for value in latent_space[0]))
print("cell 0 renamed:", *(f"{value:5.1f}" for value in renamed.get_latent_representation()[0]))

# %% [markdown]
# > **Predict.** Which of the two models describes held-out cells better?

# %%
held_out = model.validation_indices
for name, each in {"as trained": model, "renamed": renamed}.items():
    value = -float(each.get_elbo(indices=held_out))
    print(f"{name}: held-out negative ELBO {figures.about(value, 2)} nats per cell")

# %% [markdown]
# They are the same model with other names for its dimensions. How many such names are there? Any
# order, and each dimension mirrored or not:

# %%
import math

print(f"{math.factorial(10) * 2**10:,} models that are equally good")

# %% [markdown]
# Training ends at one of them. Another seed ends at other names, and at a slightly different model
# besides.
#
# What about a rotation? In a rotated latent space, every dimension is a mixture of the old ones.
# Below, the mean of each class in each dimension, before and after a random rotation (`turned`).

# %%
from scipy.stats import ortho_group

turned = latent_space @ ortho_group.rvs(10, random_state=0)
print("neighbours kept:", f"{neighbours.shared(latent_space, turned):.0%}")
posterior.plot_class_means({"as trained": latent_space, "turned": turned}, classes)

# %% [markdown]
# All neighbours stay, and so does everything that is made of distances: maps, clusters. Each
# dimension, though, now tells another story. Both pictures look as if the dimensions meant
# something ("on the right, dimension 4 is microglia"), and nobody could tell which one was trained.
# (Training does not choose the angle quite at random: each cloud's widths lie along the axes, so
# some angles cost fewer nats than others. That gives the axes a technical reason, not a biological
# one.)
#
# So: **use all ten together, by their distances.** Never call a single latent dimension by the name
# of a cell type.
#

# %% [markdown]
# ## Ten dimensions on flat paper
#
# You cannot look at ten dimensions. A map in two dimensions shows the cells, and must give up
# something for it. Here are three maps of the same ten numbers:
#
# - **PCA** ([principal component analysis](../docs/glossary.md#pca)) looks at the cloud of cells
#   from the side on which it is widest, as a shadow on a wall does;
# - **t-SNE** ([t-distributed stochastic neighbour embedding](../docs/glossary.md#t-sne)) tries to
#   put each cell beside its neighbours;
# - **UMAP** ([uniform manifold approximation and projection](../docs/glossary.md#umap)) wants the
#   same. It starts from a graph in which each cell is joined to its neighbours.
#
# The cell takes about twenty seconds.

# %%
from helpers.latent import embedding_figures, embedding_quality, embeddings

maps = {
    "PCA": embeddings.pca(latent_space),
    "t-SNE": embeddings.tsne(latent_space),
    "UMAP": embeddings.umap(latent_space),
}
embedding_figures.plot_labels(maps, classes)

# %% [markdown]
# The axes have no unit and no meaning. All that counts is which cells lie where, seen from each
# other.
#
# > **Predict.** Of a cell's 15 nearest neighbours in ten dimensions, how many are still among the
# > 15 nearest in the t-SNE?

# %% tags=["nbval-ignore-output"]
faithful = embedding_quality.faithfulness(maps, latent_space, labels=classes)
faithful.round(2)

# %% [markdown]
# - `trustworthiness`: are cells that lie together in the map
#   [neighbours in truth](../docs/glossary.md#trustworthiness)? ("In truth" means in the ten
#   numbers. They are a model, too.)
# - `neighbours kept`: what share of a cell's 15 nearest neighbours is among the 15 nearest in the
#   map?
# - `distances kept`: are distant cells distant in the map? It is the
#   [rank correlation](../docs/glossary.md#rank-correlation) of all distances: 1 if their order is
#   the same.
# - `label accuracy`: how often do most of the 15 nearest neighbours in the map have the cell's
#   class? (This vote of the k nearest neighbours is called [kNN](../docs/glossary.md#knn).)

# %%
for column in ("trustworthiness", "neighbours kept", "label accuracy"):
    worst = faithful[column].idxmin()
    print(f"{column}: {worst} is worst")
of_maps = faithful.drop("original")
print("a map that keeps two thirds of the neighbours:", (of_maps["neighbours kept"] > 2 / 3).any())
print("a map that keeps the distances to 0.8:", (of_maps["distances kept"] > 0.8).any())

# %% [markdown]
# PCA draws most cells on top of each other. t-SNE and UMAP keep the classes apart, and still lose
# about half of the single neighbours. None of the three keeps the distances well. So a map is for
# looking; **cluster and measure in the ten dimensions**.
#
# ### You may think: "a large blob is a diverse cell type"
#
# How diverse is a class? Take the [median](../docs/glossary.md#median) distance between two of its
# cells, in ten dimensions and in each map. 1 is the average class.
#
# > **Predict.** Which class is the most diverse one, going by the t-SNE?

# %% tags=["nbval-ignore-output"]
spread = embedding_quality.spread_by_label(maps, latent_space, classes)
spread.sort_values("cells").round(1)

# %%
ratio = spread.max() / spread.min()
print("widest to narrowest class, below 1.5 in ten dimensions:", ratio["original"] < 1.5)
for name in ("t-SNE", "UMAP"):
    with_cells = spread[name].corr(spread["cells"], method="spearman")
    print(f"{name}: widest to narrowest class, above 1.5: {ratio[name] > 1.5}")
    print(f"{name}: size goes with the number of cells: {with_cells > 0.7}")

# %% [markdown]
# In the latent space all classes are about equally diverse. On a t-SNE or UMAP a class takes more
# room because it has more cells.
#
# ### You may think: "clusters that lie close together are related"
#
# Order the pairs of classes by the distance of their centres, in ten dimensions and in the map.
# Which pair changes its place most?

# %% tags=["nbval-ignore-output"]
embedding_quality.centre_distances(maps, latent_space, classes).round(2)

# %% [markdown]
# In each map some pair is near in truth and far on the map, or the other way round. From the map
# alone you cannot tell which.
#
# ### You may think: "each clump in the map is something"
#
# t-SNE has a knob, the [perplexity](../docs/glossary.md#perplexity): about how many neighbours of
# each cell count. Turn it, for 600 of the cells.

# %%
some = training.evenly_spaced(adata.n_obs, 600)
turned_knob = {f"perplexity {p}": embeddings.tsne(latent_space[some], p) for p in (5, 30, 150)}
embedding_figures.plot_labels(turned_knob, classes.iloc[some])

# %% [markdown]
# > **Predict.** And if there are no groups at all? The next 600 points are *synthetic*: one round
# > cloud in ten dimensions. The colour is the distance from its middle, all the structure that it
# > has.

# %%
cloud = np.random.default_rng(0).normal(size=(600, 10))
of_cloud = {f"one cloud, perplexity {p}": embeddings.tsne(cloud, p) for p in (5, 30)}
distance = np.linalg.norm(cloud, axis=1)
embedding_figures.plot_values(of_cloud, distance, "distance from the middle (no unit)")

# %% [markdown]
# With a low perplexity, one cloud falls into many little clumps. They are made by the method.
#
# ## Groups of cells
#
# To find groups without knowing the classes, join each cell to its nearest neighbours in ten
# dimensions, and look for parts of this graph with many edges inside and few to the outside. That
# is [Leiden clustering](../docs/glossary.md#leiden-clustering). It has a knob, too, the
# [resolution](../docs/glossary.md#resolution).

# %% tags=["nbval-ignore-output"]
from helpers.latent import cluster_figures, clusters

graph = clusters.graph(latent_space)
found = clusters.leiden(graph, resolution=0.5)
table = clusters.confusion(found, classes)
cluster_figures.plot_confusion(table)

# %% [markdown]
# Each row is a cluster, each column a published class. Most clusters belong to one class. Some
# classes have several clusters, and microglia (the immune cells of the brain) share one with the
# cells of the blood vessels.
#
# Two numbers say how well clusters and classes agree: the
# [adjusted Rand index](../docs/glossary.md#adjusted-rand-index) (ARI: are two cells together in
# both?) and the [normalised mutual information](../docs/glossary.md#normalised-mutual-information)
# (NMI: what does the one tell about the other?). 1 is the best for both; 0 is chance for the ARI.
#
# ### You may think: "the method finds the number of cell types"
#
# > **Predict.** How many clusters does Leiden find in the synthetic cloud that has no groups?

# %%
graph_of_cloud = clusters.graph(cloud)
for resolution in (0.1, 1):
    in_cloud = clusters.leiden(graph_of_cloud, resolution)
    print(f"resolution {resolution}: more than one cluster: {len(in_cloud.categories) > 1}")

# %% [markdown]
# With a high resolution it finds groups where there are none. The number comes from the knob. Turn
# it, for scVI and for its simplest baseline, PCA on the logarithm of the counts of the same genes.

# %%
from helpers.genes import log_normalisation

representations = {
    "scVI, 10 dimensions": latent_space,
    "PCA, 10 components": log_normalisation.principal_components(adata, 10),
    "PCA, 30 components": log_normalisation.principal_components(adata, 30),
}
by_resolution = clusters.resolutions(representations, classes)
cluster_figures.plot_resolutions(by_resolution)

# %% [markdown]
# A published "ARI of 0.8" may be the top of such a curve. Ask at which resolution, and how it was
# chosen.
#
# ## Does scVI beat PCA?
#
# > **Predict.** Six measures of how well the seven classes can be found again. In how many does
# > scVI win?

# %% tags=["nbval-ignore-output"]
contest = clusters.compare(representations, classes)
contest.drop(columns=contest.filter(like="range").columns).round(3)

# %%
from helpers import results

scvi_row, pca_row = contest.iloc[0], contest.iloc[1]
measures = [name for name in contest if name.endswith(("accuracy", "silhouette", "ARI", "NMI"))]
wins = [measure for measure in measures if scvi_row[measure] > pca_row[measure]]
print(f"scVI beats PCA of its own size in {len(wins)} of {len(measures)} measures")
seeds = results.load("architectures").query("budget == 'class preset' and n_hidden == 128")
lost = seeds[seeds["n_layers"] == 1]["k-means ARI"] < pca_row["k-means ARI"]
print(f"k-means ARI: PCA is ahead of {lost.sum()} of {len(lost)} kept trainings of scVI")

# %% [markdown]
# In none. A method of 1901 beats the neural network at its own size, in a second and without
# training: by a little in kNN and Leiden, clearly in the others. And not with this seed only:
# k-means finds the classes worse in all eight kept trainings of lesson 07, each with another seed.
# ([k-means](../docs/glossary.md#k-means) is another clustering, with as many clusters as classes;
# the [silhouette](../docs/glossary.md#silhouette) asks whether a cell is nearer to its own class
# than to the next. It likes round, equally dense groups, and can mislead (Rautenstrauch and Ohler
# 2025). And the resolution of Leiden is the one that suits the classes best, for each method:
# without classes you could not choose like that.)
#
# Why? Look at what k-means makes of the largest class in the latent space of scVI:

# %%
from sklearn.cluster import KMeans

groups = KMeans(7, n_init=10, random_state=0).fit_predict(latent_space)
ca1 = (classes == "pyramidal CA1").to_numpy()
large = [group for group in range(7) if (groups[ca1] == group).sum() > 100]
print("clusters with more than 100 of the CA1 cells:", len(large))

# %% [markdown]
# It divides the CA1 pyramidal cells (of the hippocampus) into two. That costs a lot of ARI: two
# cells of one class that are in different clusters count as a mistake. Is it one? The authors of
# the data named subclasses, too:

# %%
import pandas as pd

subclasses = adata.obs["subclass"]
share = pd.crosstab(subclasses[ca1], groups[ca1], normalize="index")[large]
halves = share.loc[["CA1Pyr1", "CA1Pyr2"]]
print("more than 85 % of each subclass in one cluster:", (halves.max(axis=1) > 0.85).all())
print("the same cluster for both:", halves.idxmax(axis=1).nunique() == 1)

# %% [markdown]
# The two halves are CA1Pyr1 and CA1Pyr2. The ARI punished scVI for a division that the authors
# made, too! (They found it in the same cells, so it is support and no proof.) Ask the neighbours
# for the subclass instead of the class, in the cells that have one:

# %% tags=["nbval-ignore-output"]
named = (subclasses != "(none)").to_numpy()
print(f"{subclasses[named].nunique()} subclasses; {(~named).sum()} cells have none, and stay out")
fine = {
    name: neighbours.label_accuracy(positions[named], subclasses[named])
    for name, positions in representations.items()
}
pd.Series(fine, name="kNN subclass accuracy").to_frame().round(2)

# %%
of_scvi, of_pca, of_wider_pca = fine.values()
print("scVI beats PCA with 10 components:", of_scvi > of_pca)
print("scVI beats PCA with 30 components:", of_scvi > of_wider_pca)

# %% [markdown]
# With ten numbers each, PCA is better for the classes and scVI for the finer subclasses. With
# thirty, PCA is better for both. Some of the reasons may be:
#
# - classes and subclasses were found by clustering the very same cells, without scVI. They are not
#   an independent truth;
# - the packaged genes are those seen in most cells, so there are many counts per cell, and no
#   batches to correct ([05c](05c_batches.ipynb) has some);
# - more components cost PCA nothing, while each latent dimension has its price in nats.
#
# None of these is tested here. What is measured: on these cells a simple baseline is hard to beat.
#
# What plain PCA does not give: the probability of a count (lesson 04), and how sure a position is.
# Turned back, it gives logarithms, some of them negative, and no counts.
#
# ## Walk through the latent space
#
# The decoder takes any position, also one that no cell has. So you can take a cell, move it along
# one dimension, and read from the decoder which genes go up or down on the way. Choose a class to
# start from and a dimension, and move the position. On the right you see the nearest real cells of
# the walk in the t-SNE; a hollow mark means that no cell is near, so that the decoder is guessing.
#
# > **Predict.** One dimension means nothing on its own. Will a walk along it lead from one cell
# > type to exactly one other?

# %% tags=["nbval-ignore-output"]
from helpers.latent import traversal_explorer

with_symbol = adata.var_names[adata.var["symbol_known"]]
traversal_explorer.explore(
    model, maps["t-SNE"], classes, genes=with_symbol, start="oligodendrocytes", dimension=10
)

# %% [markdown]
# Try two classes with the same dimension: the same step changes other genes, and leads elsewhere. A
# dimension is a direction, like north: where it leads depends on where you stand.
#
# ## The answer

# %%
used = (dimensions["kl"] >= loss.IN_USE).sum()
print(f"{used} of {len(dimensions)} dimensions are in use; none of them means anything alone.")
print(f"A draw from its cloud keeps {figures.about(15 * kept, 2)} of a cell's 15 neighbours.")
print(f"The best map keeps {figures.about(15 * faithful['neighbours kept'][1:].max(), 1)} of 15.")
of_all = f"{len(wins)} of {len(measures)} measures"
print(f"Finding the seven classes: scVI beats PCA of its own size in {of_all}.")

# %% [markdown]
# Use the ten numbers together, by distances: to cluster, to draw, to find similar cells. They are a
# good summary of a cell, not the truth about it, and for a clean data set with many counts PCA is a
# strong baseline. Measure before you claim.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | The latent representation is a fact about the cell. | It is the centre of a cloud. A draw from it changes about a third of the nearest neighbours. |
# | Dimension 1 is the most important one. | Dimensions have no order, no sign and no meaning alone. Read them together; near neighbours are the safest part. |
# | A large blob on the map is a diverse cell type. | Mostly it has more cells. |
# | Clusters that lie close on the map are related. | Maps keep neighbours, not distances. |
# | Each clump is something. | A low perplexity makes clumps out of one round cloud. |
# | The method finds the number of cell types. | You choose it with the resolution. |
# | The neural network wins. | Not for these classes. For the subclasses it beats PCA of its own size. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("05")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("05")

# %% [markdown]
# ### Exercise 1 · Of which class is the encoder least sure?
#
# `centres, variances = model.get_latent_representation(return_dist=True)` gives the centres of all
# clouds and their variances, one row per cell. The width of a cloud is the square root of its
# [variance](../docs/glossary.md#variance). Which class has the widest clouds in the mean? Predict
# it; then compute it, and write its name in quotation marks.

# %% tags=["exercise"]
least_sure = ...

# %% tags=["check"]
check.widest_clouds(least_sure, model=model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# centres, variances = model.get_latent_representation(return_dist=True)
# widths = pd.Series(np.sqrt(variances).mean(axis=1))
# least_sure = widths.groupby(classes.to_numpy(), observed=True).mean().idxmax()
# ```
#
# Microglia, with few counts per cell and few cells to learn from. The cells of the blood vessels,
# with the fewest counts of all, come next.
#
# </details>

# %% [markdown]
# ### Exercise 2 · Other numbers, same neighbours
#
# Make ten other numbers for each cell, `yours`, so that all nearest neighbours stay as they are and
# none of your dimensions is an old one by another name: no correlation beyond 0.95 or -0.95 with
# any. Many answers are right, but not `turned`, which the lesson has made.

# %% tags=["exercise"]
yours = ...

# %% tags=["check"]
check.other_numbers(yours, latent_space=latent_space, turned=turned)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# yours = latent_space @ ortho_group.rvs(10, random_state=3)
# ```
#
# A rotation keeps every distance, and mixes all dimensions. Moving, mirroring and changing the
# order keep the distances, too, but give old dimensions new names. Stretching single dimensions
# keeps neither.
#
# </details>

# %% [markdown]
# ### Exercise 3 · A cluster for the microglia
#
# At resolution 0.5 microglia share a cluster with the cells of the blood vessels. Find a resolution
# at which one cluster holds at least half of the microglia, and at least half of its cells are
# microglia. Several answers are right. What happens to the other classes on the way?

# %% tags=["exercise"]
your_resolution = ...

# %% tags=["check"]
check.own_cluster(your_resolution, graph=graph, classes=classes)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# for your_resolution in (1, 1.5, 2, 2.5, 3, 4):
#     finer = clusters.confusion(clusters.leiden(graph, your_resolution), classes)
#     cluster = finer["microglia"].idxmax()
#     there, its_cells = finer.loc[cluster, "microglia"], finer.loc[cluster].sum()
#     if 2 * there >= max(its_cells, finer["microglia"].sum()):
#         break
# ```
#
# Above 1 they come out, and there are two dozen clusters or more. A knob for all cells at once
# cannot be right for a class of 98 cells and for one of 939.
#
# </details>

# %% [markdown]
# ### Exercise 4 · More dimensions
#
# Does the model use more room if it gets it? Train a model `wider` of the same cells with 30 latent
# dimensions (`n_latent=30`), otherwise as at the top of this lesson: `environment.prepare(seed=0)`
# before it, then `training.train`. It takes a quarter of a minute. How many of its dimensions are
# in use, with 0.1 nats per cell or more?

# %% tags=["exercise"]
wider = ...
n_in_use = ...

# %% tags=["check"]
check.more_dimensions(wider, n_in_use, model=model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# environment.prepare(seed=0)
# wider = scvi.model.SCVI(adata, n_latent=30)
# training.train(wider)
# n_in_use = (loss.dimensions_in_use(wider)["kl"] >= loss.IN_USE).sum()
# ```
#
# About a third of the dimensions stay unused: each has its price in nats. So the subclasses are
# found about as well as with ten dimensions, and not as well as by PCA with 30 components, whose
# numbers are free.
#
# </details>

# %% [markdown]
# Next: [05b](05b_expression.ipynb) goes from positions back to genes.
