# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06b · What are the proteins good for?
#
# TotalVI puts RNA and proteins into one latent space, tells background from foreground, and finds
# proteins that differ. Is that better than RNA alone? Whom do you ask, if the cell types themselves
# are defined by proteins? And how much of it can you believe with 400 cells?
#
# **You will be able to**
#
# - find cell types with protein gates;
# - say why RNA and protein of the same gene often disagree;
# - compare a joint latent space with one of RNA alone, without fooling yourself;
# - read denoised proteins and probabilities of foreground, and say where they mean nothing;
# - find the proteins that differ between groups, and say which conclusions 400 cells allow.
#
# **Time**: 40 minutes to read and run (half a minute of it is computing), 25 minutes for the quiz
# and the exercises.
# **Needs**: [06](06_totalvi.ipynb). [05](05_latent_space.ipynb) explains the maps and measures.

# %%
import numpy as np
import pandas as pd

from helpers import data, environment, training

environment.prepare(seed=0)
model = training.load_or_train(training.blood_model("TOTALVI"), "few cells")
rna_alone = training.load_or_train(training.blood_model("SCVI"), "few cells")
blood = data.load_citeseq()

# %% [markdown]
# `model` is the TotalVI of lesson 06. `rna_alone` is an SCVI on the same 2,000 genes of the same
# cells, trained in the same way, which never sees a protein.
#
# ## Cell types from gates
#
# You need an opinion on the cell types that comes from neither model. In the laboratory one looks
# at single proteins: a [gate](../docs/glossary.md#gate) is a threshold, and a cell is above or
# below it. Here each threshold lies between the two humps of lesson 06, in each batch by itself.
# The rules:

# %%
from helpers.proteins import protein_counts, protein_figures

protein_counts.rules()

# %%
groups = protein_counts.gate(blood)
groups.groupby([groups, blood.obs["batch"]], observed=True).size().unstack()

# %% [markdown]
# Thirty cells fit no rule. They may be two cells stuck together, or of a kind that has no rule
# here. They are left out wherever groups are compared.
#
# ## RNA and protein of the same gene
#
# The protein CD4 is made from the RNA of the gene CD4. So why measure both?
#
# > **Predict.** In what share of the cells with CD4 protein was at least one molecule of CD4 *RNA*
# > counted?

# %%
beside_rna = protein_counts.beside_rna(blood)
beside_rna.round(2)

# %% [markdown]
# (Proteins without two clear humps are left out, and CD15, which is a sugar and has no gene. CD3 is
# made from several genes; one of them stands for all. `rank correlation`: 1 if the cells have the
# same order by RNA and by protein, 0 if the one order tells nothing of the other.)
#
# ### You may think: "no RNA, no protein"
#
# Look at the third column. In more than half of the cells with CD4 protein not one molecule of CD4
# RNA was counted, and for CD56 in nine of ten! A cell has few molecules of such RNA, and only some
# are caught. It has many more of the protein. The other way round, RNA without protein, is rarer,
# except for PTPRC (see below).

# %%
protein_figures.plot_beside_rna(blood, "CD4", groups)

# %% [markdown]
# Look at the monocytes: *more* RNA than the CD4 T cells, and *less* protein. How much RNA there is
# and how much protein need not go together.
#
# CD45RA and CD45RO are even two proteins of one gene, PTPRC: its RNA is put together (*spliced*) in
# several ways, and the counts of the gene do not tell which. Antigen-experienced T cells (they have
# met what they react to) change from CD45RA to CD45RO. The proteins show it; the counts of this
# gene do not.
#
# ## The joint latent space
#
# 20 numbers for each cell from RNA and proteins together, against 10 from RNA alone.
#
# > **Predict.** Which two groups will TotalVI tell apart better than an SCVI of RNA alone? (Think
# > of CD4 and CD8.)

# %% tags=["nbval-ignore-output"]
from helpers.latent import embedding_figures, embeddings

spaces = {
    "SCVI, RNA alone": rna_alone.get_latent_representation(),
    "TotalVI, RNA and proteins": model.get_latent_representation(),
}
maps = {name: embeddings.tsne(positions) for name, positions in spaces.items()}
embedding_figures.plot_labels(maps, groups)

# %% [markdown]
# Maps mislead (lesson 05), so count. Take the 41 CD8 T cells. Which group do most of the 15
# [nearest neighbours](../docs/glossary.md#nearest-neighbours) of each have?

# %%
from helpers.latent import neighbours

gated = (groups != protein_counts.NO_GROUP).to_numpy()
names = groups[gated].astype(str)
guessed = pd.DataFrame(
    {name: neighbours.knn_predict(z[gated], names) for name, z in spaces.items()}
)
of_cd8 = guessed[(names == "CD8 T cells").to_numpy()]
right = (of_cd8 == "CD8 T cells").mean()
print("more CD8 T cells are right with TotalVI:", right.iloc[1] > right.iloc[0])

# %% tags=["nbval-ignore-output"]
of_cd8.apply(lambda column: column.value_counts()).fillna(0).astype(int)

# %% [markdown]
# From RNA alone, many CD8 T cells lie among CD4 T cells. With the proteins, most lie among their
# own kind.
#
# ### You may think: "so TotalVI finds the cell types better"
#
# Wait. The groups were *made* from CD4 and CD8a, and TotalVI was *given* CD4 and CD8a. It would be
# strange if it did not find them. Two tests show how little this proves:
#
# - **proteins alone**: no model, no RNA; only the logarithms of the 14 counts, less their mean in
#   the cell;
# - **gate proteins hidden**: a TotalVI that gets only the eight proteins of which no gate makes
#   use. To it, the groups are news.
#
# Each with three seeds, made once and kept (`make study ARGS=citeseq`):

# %%
from helpers import results

print(results.origin("citeseq"))
measures = ["kNN group accuracy", "CD8 T cells found", "k-means ARI", "k-means NMI"]
results.summary("citeseq", measures)

# %% [markdown]
# Read it slowly. (Mean of three seeds; in brackets the lowest and the highest.)
#
# 1. By *proteins alone* nearly everything is found. Of course: that is how the groups were made. So
#    agreement with the gates cannot tell which *model* is better.
# 2. *TotalVI* finds the CD8 T cells far more often than *scVI*. That is what the proteins are for:
#    if you measured CD8a, use it. It does not prove a better model.
# 3. With the *gate proteins hidden*, the other eight help less, and the results of different seeds
#    overlap with those of scVI. (The two models also differ in size and likelihood. And with ten
#    proteins or fewer, TotalVI starts the prior of the background from the same constants for all
#    proteins, not from a guess made from their counts. Either way it is learned.)
# 4. [k-means](../docs/glossary.md#k-means) clusters agree with the groups equally in all models,
#    and in PCA: an [ARI](../docs/glossary.md#adjusted-rand-index) of 0.64.
#    ([NMI](../docs/glossary.md#normalised-mutual-information) says the same.) What do they do
#    wrong?

# %% tags=["nbval-ignore-output"]
from sklearn.cluster import KMeans

from helpers.latent import clusters

found = KMeans(5, n_init=10, random_state=0).fit_predict(spaces["TotalVI, RNA and proteins"][gated])
clusters.confusion(found, names)

# %% [markdown]
# They divide the CD4 T cells into two clusters, and have none for the CD8 T cells. Is there a
# difference between the two?
#
# > **Predict.** Think of CD45RA and CD45RO.

# %%
has_cd45ra = protein_counts.above(blood, ["CD45RA"])["CD45RA"][gated]
is_cd4 = (names == "CD4 T cells").to_numpy()
share = has_cd45ra[is_cd4].groupby(found[is_cd4]).agg(["size", "mean"]).nlargest(2, "size")
low, high = sorted(share["mean"])
print("cells with CD45RA: fewer than 1 in 5 in one cluster:", low < 0.2)
print("                   more than 3 in 4 in the other:   ", high > 0.75)

# %% [markdown]
# The clusters are right: they found a difference for which you have no gate. A low ARI need not be
# a bad model.
#
# And [Leiden](../docs/glossary.md#leiden-clustering) clusters, with the resolution that suits each
# method best:

# %%
results.summary("citeseq", ["Leiden ARI", "Leiden NMI"])

# %% [markdown]
# TotalVI is a little ahead; with the gate proteins hidden it is not.
#
# ## Are the batches mixed?
#
# Both models got `batch_key`. As in [05c](05c_batches.ipynb): guess the batch of a cell from its
# neighbours. 0.5 is no better than a coin, and [iLISI](../docs/glossary.md#ilisi) is 1 where both
# batches are everywhere alike.

# %%
results.summary("citeseq", ["kNN batch accuracy", "iLISI"])

# %% [markdown]
# Partly. After the 80 epochs of the lesson, TotalVI mixes them *less* well than SCVI. After its
# default training, with larger minibatches and a slower warm-up, about as well; but then it finds
# fewer CD8 T cells. As in 05c, how far batches are mixed depends on how you train, and nothing in
# the output tells you. Measure it.
#
# ## Denoised proteins
#
# TotalVI says for each cell and protein how probable a foreground is
# (`model.get_protein_foreground_probability()`), and gives a
# [denoised](../docs/glossary.md#denoised-expression) value (the second table of
# `model.get_normalized_expression()`). Below: CD19, which B cells have, and CD4.

# %%
from helpers.proteins import differential_proteins, totalvi, totalvi_figures

tables = {protein: totalvi.describe_protein(model, protein) for protein in ("CD19", "CD4")}
totalvi_figures.plot_foreground(tables, groups)

# %% [markdown]
# Above: most cells with background counts get a probability near 0, the others near 1. Below is the
# denoised value: the foreground times its probability.
#
# ### You may think: "denoised is the count without the background"
#
# Nothing is subtracted. A foreground of 1,000 counts with a probability of 5 % makes 50:

# %%
low = ~protein_counts.above(blood, ["CD4"])["CD4"]
more = (tables["CD4"]["denoised"] > tables["CD4"]["count"])[low].mean()
print("below the CD4 threshold, denoised above the count in more than 1 of 5 cells:", more > 0.2)

# %% [markdown]
# And do you see two stripes in each kind of cell? Denoised is not batch-corrected. For that, ask
# for all cells as if they were of the same batch (`transform_batch`).

# %%
of_b_cells = tables["CD19"]["denoised"][groups == "B cells"]
medians = of_b_cells.groupby(blood.obs["batch"], observed=True).median()
print(
    "denoised CD19 of B cells, batch 10k over 5k, above 1.5:", medians["10k"] / medians["5k"] > 1.5
)

# %% [markdown]
# ### You may think: "a probability of foreground near 1 means that the protein is there"
#
# > **Predict.** In healthy blood PD-1 is on some T cells, and hardly on monocytes. What will the
# > model say about PD-1 on monocytes?

# %%
of_pd1 = totalvi.describe_protein(model, "PD-1")
mean = of_pd1["probability of foreground"].groupby(groups, observed=True).mean()
print("PD-1, mean probability of foreground above 0.6 in every group:", (mean > 0.6).all())
print("in monocytes above 0.9:", mean["monocytes"] > 0.9)

# %%
protein_figures.plot_histogram(blood, "PD-1")

# %% [markdown]
# It calls most PD-1 counts foreground, in all kinds of cell! There is only one hump, so nothing
# tells the model which of its two distributions to use for it, and it took the "foreground".
# Without two humps the word has no meaning. So look at the histogram before you believe a
# probability.
#
# ## Which proteins differ between groups?
#
# As for genes in lesson 05b: the probability that a protein differs by more than a little, and by
# how much ([log2 fold change](../docs/glossary.md#log2-fold-change): 1 is twice as much).

# %% tags=["nbval-ignore-output"]
differing = differential_proteins.differences(model, groups)
counts = differing["mean counts"] / differing["mean counts elsewhere"]
differing["log2 of the counts"] = np.log2(counts)
highest = differing.groupby("group").head(2).set_index(["group", "protein"])
highest[["probability", "log2 fold change", "log2 of the counts", "mean counts"]].round(2)

# %%
expected = {"B cells": "CD19", "CD4 T cells": "CD3", "CD8 T cells": "CD8a", "monocytes": "CD14"}
first = differing.groupby("group").first()["protein"]
print("CD19, CD3, CD8a and CD14 come first:", (first[list(expected)] == pd.Series(expected)).all())

# %% [markdown]
# Each group has a protein of its gate among its first two, and some have one that no gate used:
# CD127 on CD4 T cells, CD45RA on B cells.
#
# ### You may think: "the fold change is that of the counts"
#
# Compare the two columns. What is compared are pairs of cells, decoded as if both were of one
# batch, background included; then comes the median over the pairs. (So it is here. By default
# scvi-tools does neither: `model.differential_expression(idx1=(groups == "NK cells").to_numpy())`
# has `batch_correction=False` and `include_protein_background=False`. Without background it
# compares how nearly 0 the foreground is in cells that have none.) So its value may be larger
# (CD3, where the mean of the others hides that many have nearly none) or smaller (CD19). Far down
# in the table it may even have another sign:

# %%
of_nk = differing.query("group == 'NK cells' and protein == 'CD19'").iloc[0]
print("CD19 on NK cells, log2 of the counts below -3:", of_nk["log2 of the counts"] < -3)
print("the model's log2 fold change above -1:", of_nk["log2 fold change"] > -1)

# %% [markdown]
# NK cells have as few CD19 counts as all others except the B cells. The many zeros and ones of
# background are where the model knows least. So look at the counts of whatever you report.
#
# ## What 400 cells allow
#
# > **Predict.** Which of these sentences hold in all three seeds?

# %%
runs = results.load("citeseq").set_index(["seed", "method"])
found, mixing = runs["CD8 T cells found"].unstack(), runs["kNN batch accuracy"].unstack()
hidden, default = "TotalVI, gate proteins hidden", ", default training"

# %%
sentences = {
    "TotalVI finds more CD8 T cells than scVI": found["TotalVI"] > found["scVI"],
    "... with the gate proteins hidden, too": found[hidden] > found["scVI"],
    "TotalVI mixes the batches as well as scVI": mixing["TotalVI"] <= mixing["scVI"],
    "... after default training": mixing[f"TotalVI{default}"] <= mixing[f"scVI{default}"],
}
pd.DataFrame(sentences).T

# %% [markdown]
# The first holds, and is no surprise. The second depends on the seed: with 400 cells it cannot be
# decided. The third is false for the training of this lesson, and after the default training it
# depends on the seed. What the number of cells means for each part of this lesson:
#
# | part | how far it can be trusted |
# | --- | --- |
# | gates; RNA beside protein | Counts, no model. Good for CD4 T cells (154 cells), rough for B cells (30). |
# | joint latent space | What the gate proteins themselves show is safe. What the other proteins add is not: seeds disagree. |
# | batches | Partly mixed. Measure it before you compare cells of different batches. |
# | denoised proteins | Tells who has the protein where there are two humps; without them, "foreground" means nothing. |
# | proteins that differ | The largest differences are safe. About small ones, or rare groups, 400 cells say little. |
#
# And two samples tell little about other people: for that you need more donors, not more cells.
#
# With an internet connection you can go on with all of them, nearly 11,000 cells:
# `data.load_citeseq(cells="all")` has the same form. Training takes minutes then.
#
# ## The answer

# %%
with_rna = beside_rna["of these, with RNA"]
mean = runs["CD8 T cells found"].groupby("method").mean()
print(f"Cells with CD4 protein in which CD4 RNA was counted: {with_rna['CD4']:.0%}")
print("CD8 T cells found, mean of three seeds:")
for name in ("scVI", hidden, "TotalVI", "proteins alone"):
    print(f"  {name}: {mean[name]:.2f}")

# %% [markdown]
# Proteins show what RNA misses, because few molecules of a gene are caught and because RNA and
# protein do not go together. TotalVI brings both into one latent space, and tells background from
# foreground where there are two humps. That it finds groups made from these very proteins does not
# prove a better model; to judge a model you need a measure that it has not seen.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | No RNA, no protein. | On more than half of the cells with CD4 protein, no CD4 RNA was counted. |
# | More RNA, more protein. | Monocytes have more CD4 RNA than CD4 T cells, and less CD4 protein. |
# | TotalVI finds the cell types better. | They were made from its input. The proteins alone find them even better. |
# | Denoised is the count without the background. | It is the foreground times its probability, and not batch-corrected either. |
# | A low ARI means bad clusters. | Here they found two kinds of CD4 T cells, for which there was no gate. |
# | A probability of foreground near 1 means that the protein is there. | Not without two humps: PD-1. |
# | With `batch_key` the batches are mixed. | TotalVI's only partly after 80 epochs, and less than those of SCVI. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("06b")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("06b")

# %% [markdown]
# ### Exercise 1 · Two genes, one protein
#
# The protein CD8 is put together from the products of two genes, CD8A and CD8B. In what share of
# the CD8 T cells (those of the gate, in `groups`) was not one molecule of RNA counted, neither of
# CD8A nor of CD8B? Give a number between 0 and 1.

# %% tags=["exercise"]
share_without = ...

# %% tags=["check"]
check.unseen_in_rna(share_without, blood=blood, groups=groups)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# of_both = blood[(groups == "CD8 T cells").to_numpy(), ["CD8A", "CD8B"]].layers["counts"]
# share_without = (np.asarray(of_both.sum(axis=1)) == 0).mean()
# ```
#
# 5 of 41 cells. With CD8A alone it would be 8. A second gene helps, because a molecule that is
# missed of one may be caught of the other. The protein is seen in all 41; but by the gate they were
# chosen for it.
#
# </details>

# %% [markdown]
# ### Exercise 2 · Not to be trusted
#
# Of which proteins should you not believe the probability of foreground, in one batch at least?
# Write a list of their names.

# %% tags=["exercise"]
not_to_trust = ...

# %% tags=["check"]
check.no_foreground(not_to_trust, blood=blood)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# no_humps = protein_counts.thresholds(blood)["threshold"].isna().groupby(level="protein").any()
# not_to_trust = list(no_humps.index[no_humps])
# ```
#
# CD15, CD25 and PD-1. TIGIT is not one of them: NK cells have it, most others do not. But its
# counts are small, so background and foreground lie close together. Draw it, and you see
# probabilities between 0 and 1 more often than for CD19:
# `totalvi_figures.plot_foreground({"TIGIT": totalvi.describe_protein(model, "TIGIT")}, groups)`.
#
# </details>

# %% [markdown]
# ### Exercise 3 · The same batch for all
#
# Give a [denoised](../docs/glossary.md#denoised-expression) CD19 for each cell, in the order of
# `blood`, with which the two batches can be compared. Asked for: in the B cells the median of one
# batch is less than 1.5 times that of the other, and B cells still have more than ten times as much
# as CD4 T cells. Many answers are right.

# %% tags=["exercise"]
cd19 = ...

# %% tags=["check"]
check.same_batch_for_all(cd19, blood=blood, groups=groups)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# _, as_of_5k = model.get_normalized_expression(transform_batch="5k", n_samples=25)
# cd19 = as_of_5k["CD19"]
# ```
#
# All cells are decoded as if they were of batch 5k. `transform_batch=["10k", "5k"]` decodes each
# cell twice and takes the mean. To divide the values of each batch by the median of its B cells
# would meet the numbers, too, if you bring them back to the scale of counts; but then you would
# have *said* that B cells are the same in both batches.
#
# </details>

# %% [markdown]
# ### Exercise 4 · A fair judge
#
# To compare TotalVI with SCVI you need something that neither has seen. Choose five genes as
# judges: not among the 2,000 on which the models were trained, each counted in at least 40 of the
# cells, and not the gene of a protein that TotalVI was given. Write a list of their names. Many
# answers are right, and the check lets your judges judge.

# %% tags=["exercise"]
judges = ...

# %% tags=["check"]
check.fair_judges(judges, blood=blood, model=model, spaces=spaces)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# unseen = blood[:, ~blood.var_names.isin(model.adata.var_names)]
# often = unseen.var_names[unseen.layers["counts"].getnnz(axis=0) >= 40]
# judges = [gene for gene in often if gene.startswith("RPL")][:5]
# ```
#
# RPL genes are needed by all cells, but more in some kinds than in others. Whether TotalVI or SCVI
# is ahead depends on the five genes: of all that could be chosen, each is ahead for about half.
# That decides nothing. But it is a fair question, and agreement with the gates is not.
#
# </details>

# %% [markdown]
# Next: lesson 07 asks how many hidden layers you should use.
