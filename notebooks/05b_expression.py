# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05b · Which genes differ, and what does the decoder expect?
#
# You have groups of cells. The next question is always: which genes make them different?
# `model.differential_expression()` answers it, with words such as *Bayes factor* that few people
# can explain. And `model.get_normalized_expression()` offers expression without noise. It looks
# wonderful. May you trust it?
#
# In this lesson you compute both, check the first against a plain test and against known genes, and
# see the second go wrong on genes of which you know the truth.
#
# **You will be able to**
#
# - say what the decoder's *expected expression* of a gene in a cell is;
# - find the genes that differ between classes, and read probability, Bayes factor and fold change;
# - say why a tiny p-value is not a large difference;
# - check a list of genes against a simpler method and against what is known;
# - say what denoised expression must not be used for.
#
# **Time**: 35 minutes to read and run (half a minute of it is computing), 25 minutes for the quiz
# and the exercises.
# **Needs**: lesson 02, or the model that it stored; [05](05_latent_space.ipynb) is useful.

# %%
import scvi

from helpers import data, environment, genes, training

environment.prepare(seed=0)
adata = data.load_cortex()
genes.select(adata)
scvi.model.SCVI.setup_anndata(adata, layer="counts")
model = training.load_or_train(scvi.model.SCVI(adata))

# %% [markdown]
# ## From a position back to a gene
#
# The decoder turns a cell's position into a fraction for each gene: what share of the cell's counts
# it expects there, before extra zeros (lesson 04's `mean` includes them). Times a
# [library size](../docs/glossary.md#library-size) of your choice, the same for all cells, that is
# the expected expression. In scvi-tools it is called *normalised expression*, elsewhere
# [denoised expression](../docs/glossary.md#denoised-expression).
#
# Plp1 is a gene of myelin, the fatty sheath that oligodendrocytes (a kind of helper cell) wrap
# around nerves. For twelve cells: the count, the count scaled to 10,000 counts per cell, and what
# the decoder expects for 10,000 counts.

# %% tags=["nbval-ignore-output"]
import numpy as np

total = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
table = adata.obs[["cell_type"]].copy()
table["count"] = adata[:, "Plp1"].layers["counts"].toarray().ravel()
table["scaled"] = 10_000 * table["count"] / total
denoised = model.get_normalized_expression(gene_list=["Plp1"], library_size=10_000)
table["expected"] = denoised["Plp1"]
table[100::250].round(1)

# %% [markdown]
# > **Predict.** The decoder was trained on exactly these counts. In the mean over all
# > oligodendrocytes, are `scaled` and `expected` equal? And if scVI had no extra zeros
# > (`gene_likelihood="nb"`)? Set-up trained such a model; the second cell loads it.

# %%
means = table.groupby("cell_type", observed=True)[["scaled", "expected"]].mean()
ratio = means["expected"] / means["scaled"]
ranks = means.corr(method="spearman").loc["scaled", "expected"]
print("rank correlation of the seven means above 0.8:", ranks > 0.8)
print("less than half of Plp1 expected in the oligodendrocytes:", ratio["oligodendrocytes"] < 0.5)

# %% tags=["nbval-ignore-output", "progress"]
with training.evaluating(model):  # so that all random numbers below stay as they are
    plain = training.load_or_train(scvi.model.SCVI(adata, gene_likelihood="nb"))
    of_plain = plain.get_normalized_expression(gene_list=["Plp1"], library_size=10_000)
table["expected, no extra zeros"] = of_plain["Plp1"]

# %% tags=["nbval-ignore-output"]
means = table.drop(columns="count").groupby("cell_type", observed=True).mean()
means.round(0)

# %% [markdown]
# ### You may think: "denoised expression is the true amount"
#
# It tells the classes apart as well as the counts do. But of this gene, by far the strongest in
# oligodendrocytes, it predicts less than half of the measured mean! Much of that is due to the
# likelihood. The decoder's fractions of all genes add up to 1 *before* the extra zeros (lesson 04).
# So genes with many zeros get more than they have, and the strongest get less. Without extra zeros
# it predicts about two thirds. That is nearer, and still not the amount. So read it as higher or
# lower, not as an amount. And `get_normalized_expression` draws from the cell's cloud: call it
# twice, and you get two different answers, unless you average (`n_samples=25`).
#
# ## Which genes tell a class from the others?
#
# [Differential expression](../docs/glossary.md#differential-expression) in scVI compares *pairs*.
# Take a cell of the class and a cell of the others, at random. Draw a position from each one's
# cloud. Ask the decoder for both. By how much is the gene higher in the first, as a
# [log2 fold change](../docs/glossary.md#log2-fold-change)? (1 is twice as much, 2 four times, -1
# half.) Do so for 800 pairs.

# %% tags=["nbval-ignore-output"]
from helpers.expression import differential_expression, marker_figures, marker_genes

by_scvi = differential_expression.one_vs_rest(model, "cell_type")
microglia = by_scvi[by_scvi["class"] == "microglia"].set_index("gene")
microglia.drop(columns="class").head(6).round(2)

# %% [markdown]
# This is `model.differential_expression(groupby="cell_type", mode="change")`, whose columns are
# called `proba_de`, `bayes_factor` and `lfc_median`; by default it draws 5,000 pairs. (Its default
# mode, `"vanilla"`, only asks which cell is higher, by however little. Its
# [Bayes factor](../docs/glossary.md#bayes-factor) is another number.)
#
# `probability` is the share of the pairs in which the gene is higher by a log2 fold change of more
# than 0.25, a factor of 1.19 (or lower by as much, if these are more). The `log2 fold change` is
# the median over the pairs. (The two do not come from one distribution. Before the probability is
# taken, scvi-tools adds a small number, a *pseudocount*, to both expectations; for the fold change
# only a thousandth of it. So a gene with hardly a count can have a large fold change and a small
# probability.) `mean counts` come from the data and not from the model: always look at them, too.
#
# The `Bayes factor` sounds grand. Compute it yourself, from the probability alone:

# %%
by_hand = differential_expression.bayes_factor(by_scvi["probability"])
print("the same as in the table:", np.allclose(by_hand, by_scvi["Bayes factor"], atol=1e-4))
for p in (0.05, 0.5, 0.95, 0.99, 1.0):
    print(f"probability {p:4}: Bayes factor {differential_expression.bayes_factor(p):5.1f}")

# %% [markdown]
# The [Bayes factor](../docs/glossary.md#bayes-factor) that scvi-tools prints is ln(p / (1 - p)):
# the same information on another scale. 3 means 95 %. It ends at 18.4, because scvi-tools adds
# 0.00000001 to both probabilities before it divides. (Statisticians use the word for something
# slightly different; this one is the [log odds](../docs/glossary.md#log-odds).)
#
# ### You may think: "a large Bayes factor is a large difference"
#
# It says in how many pairs the gene differs by more than 0.25, and not by how much. Both, for the
# microglia (log odds: the Bayes factor):

# %%
marker_figures.volcano(by_scvi, "microglia")

# %%
oligodendrocytes = by_scvi[by_scvi["class"] == "oligodendrocytes"]
sure = oligodendrocytes["probability"] > 0.9
small = oligodendrocytes["log2 fold change"].abs() < 2
print("genes of the oligodendrocytes with probability above 0.9, some change less than four-fold:")
print((sure & small).sum() > 10)

# %% [markdown]
# So our helper sorts the table by both: first the genes that are higher with a probability of at
# least 0.9 and are seen in at least a tenth of the cells; among these, the largest fold change
# first.
#
# ## Would a plain test have done?
#
# The usual method knows no model: scale the counts, take the logarithm, and ask with a
# [Wilcoxon test](../docs/glossary.md#wilcoxon-test) whether the values of one class tend to be
# larger than the others'. A few seconds.

# %%
by_wilcoxon = differential_expression.wilcoxon(adata, "cell_type")
pairs = {"by scVI": by_scvi, "by Wilcoxon test": by_wilcoxon}
for name, each in pairs.items():
    print(f"{name}: {each['class'].nunique()} classes x {each['gene'].nunique()} genes")

# %% [markdown]
# ### You may think: "p < 0.05, so the gene is a marker"
#
# > **Predict.** Of 2,000 genes, how many have an adjusted [p-value](../docs/glossary.md#p-value)
# > below 0.05 for pyramidal CA1 cells against all others?

# %%
ca1 = by_wilcoxon[by_wilcoxon["class"] == "pyramidal CA1"]
significant = (ca1["adjusted p value"] < 0.05).sum()
in_most_pairs = (by_scvi.query("`class` == 'pyramidal CA1'")["probability"] > 0.9).sum()
print("adjusted p below 0.05:", significant, "of", len(ca1))
print("differ in nine of ten pairs of cells, by scVI, fewer than 200:", in_most_pairs < 200)

# %% [markdown]
# Nearly all of them! A [p-value](../docs/glossary.md#p-value) says how often chance alone would
# give a difference at least this large, if the groups did not differ. (*Adjusted* allows for
# testing many genes.) With hundreds of cells on each side, that is rare even for a tiny difference.
# The probability of scVI answers another question: does the gene differ in a random *pair of
# cells*? It does not grow with the number of cells. For a list of markers, that is the better
# question. A Wilcoxon test ranks genes well, too, if you sort by its score and do not count its
# p-values.
#
# (Two cautions. Both methods count cells, not animals: to compare treatments or patients, cells of
# one animal are not independent replicates; add up the counts of each animal first, as
# [*pseudobulk*](../docs/glossary.md#pseudobulk). And the classes were found by clustering these
# cells. Testing the same cells for differences between their own clusters gives small p-values even
# if the clusters are made out of nothing. Such a test describes groups; it does not prove them.)
#
# ## Do they find the known markers?
#
# A [marker gene](../docs/glossary.md#marker-gene) is one by which a cell type is known. Here are
# the top five of each class, of the genes that have a name in this data set:

# %% tags=["nbval-ignore-output"]
top = marker_genes.top(by_scvi, 5, named=True)
top

# %%
agreement = marker_genes.agreement({"scVI": by_scvi, "Wilcoxon": by_wilcoxon})
sums = agreement.sum()
print("known markers among the genes:", sums["known markers"])
print("in the top five by Wilcoxon:", sums["Wilcoxon: known"])
print("in the top five by scVI, at least 18:", sums["scVI: known"] >= 18)
print("of the 35 genes in the top five, in both, at least 20:", sums["shared"] >= 20)

# %% tags=["nbval-ignore-output"]
agreement

# %% [markdown]
# Both find most of the known markers; neither wins. Do not read more into it: the list of known
# markers was partly made with a Wilcoxon test of these very cells, and it seems that the genes that
# got a name were, too. (`unnamed` counts genes among the top five of *all* genes that have no name
# here, and so can be neither right nor wrong.)
#
# Last check, in the counts themselves. A [dot plot](../docs/glossary.md#dot-plot) needs no model:

# %% tags=["nbval-ignore-output"]
marker_figures.dot_plot(adata, marker_genes.top(by_scvi, 3, named=True), "cell_type")

# %% [markdown]
# Large bright dots along the diagonal: these genes are high in their class. Dots off the diagonal
# show which of them other classes have as well.
#
# ## A caution: correlations out of nothing
#
# Denoised expression is smooth, so people correlate genes in it: "these two genes go together, so
# they belong to one programme". Test this where you know the truth.
#
# Take 1,000 of the cells and the 300 genes with most counts. *Shuffle* 30 of these genes: put each
# of their molecules into a cell at random, in proportion to the cell's total. These 30 genes are
# now partly synthetic, and they have nothing to do with any cell type or with each other. Their
# true correlation is 0. Then train a small model, in a few seconds.

# %% tags=["nbval-ignore-output", "progress"]
from helpers.expression import denoising

small = denoising.with_shuffled_genes(adata)
shuffled = small.var_names[small.var["shuffled"]]
scvi.model.SCVI.setup_anndata(small, layer="counts")
small_model = scvi.model.SCVI(small)
training.train(small_model)

# %% [markdown]
# > **Predict.** 30 genes make 435 pairs, all with a true correlation of 0. In how many is the
# > correlation of the denoised expression beyond 0.5 or -0.5?

# %%
found = denoising.correlations(small_model, list(shuffled))
denoising.plot(found)

# %%
strong = (found[["counts", "denoised"]].abs() > 0.5).mean()
print("beyond 0.5 in the counts:", f"{strong['counts']:.0%}")
print("beyond 0.5 in the denoised expression, more than 40 %:", strong["denoised"] > 0.4)

# %% [markdown]
# More than four in ten! These correlations are invented by the decoder, here that of a small model,
# briefly trained. Another training gives another share, so test your own with shuffled genes. It
# has ten numbers for each cell, and all genes are computed from them. A shuffled gene hardly varies
# with the position, but the little that it varies, it varies along the same ten numbers as every
# other gene. A correlation ignores how little that is.
#
# ### You may think: "averaging over many draws will fix it"
#
# `n_samples=25` averages the decoder over 25 draws from each cell's cloud.

# %%
averaged = denoising.correlations(small_model, list(shuffled), n_samples=25)
strong_of_mean = (averaged["denoised"].abs() > 0.5).mean()
print("beyond 0.5 with 25 draws, still more than 40 %:", strong_of_mean > 0.4)

# %% [markdown]
# It does not: the draws are noise, and the invented correlation is not. So look for correlated
# genes in the scaled counts (where noise makes true correlations smaller, too), and compare with
# shuffled genes. Use denoised expression to draw and to see where a gene is higher or lower, and
# say that it is denoised.
#
# ## The answer

# %%
amount = means.loc["oligodendrocytes"] / means.loc["oligodendrocytes", "scaled"]
print(
    "Plp1 in its class, expected by scVI, less than half of the counts:", amount["expected"] < 0.5
)
print("without extra zeros, more than half:", amount["expected, no extra zeros"] > 0.5)
known, by_test, by_model = sums[["known markers", "Wilcoxon: known", "scVI: known"]]
print(f"{by_test} of {known} known markers are in the top five by Wilcoxon test,")
print(f"and by scVI as many, give or take four: {abs(by_model - by_test) <= 4}.")
print(f"Pairs of shuffled genes with a strong correlation: {strong['counts']:.0%} in the counts,")
print(f"more than 40 % in the denoised expression: {strong['denoised'] > 0.4}.")

# %% [markdown]
# `differential_expression` asks in what share of random pairs of cells a gene differs, by what the
# decoder expects; the Bayes factor is this share on another scale. Its lists agree with those of a
# Wilcoxon test on most known markers here. The decoder's expectation says where a gene is higher or
# lower; it is not an amount, and genes must not be correlated in it.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | A Bayes factor is something like a fold change. | It is ln(p / (1 - p)), with p the probability that the gene differs in a random pair of cells. |
# | A large Bayes factor is a large difference. | It is a frequent one, from pair to pair. Look at the fold change and at the counts, too. |
# | p < 0.05 makes a marker. | With many cells nearly every gene has that. |
# | The model finds more markers than a plain test. | Here it finds about as many. |
# | Denoised expression is the truth without the noise. | It is what the decoder makes of ten numbers. The strongest gene came out at less than half (two thirds without extra zeros), and correlations are invented. |
#
# ## Check yourself
#
# Six questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("05b")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("05b")

# %% [markdown]
# ### Exercise 1 · Back from a Bayes factor
#
# The Bayes factor here is ln(p / (1 - p)). Write a function that goes the other way: it gets a
# Bayes factor and returns the probability p.


# %% tags=["exercise"]
def probability_of(bayes_factor): ...


# %% tags=["check"]
check.back_to_probability(probability_of, by_scvi=by_scvi)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def probability_of(bayes_factor):
#     odds = np.exp(bayes_factor)
#     return odds / (1 + odds)
# ```
#
# The exponential function undoes the logarithm and gives the odds, p / (1 - p). A Bayes factor of 0
# is a probability of one half.
#
# </details>

# %% [markdown]
# The next exercise needs one more column: in what share of all *other* cells a gene was seen. Here
# it is, beside those that you know.

# %%
import pandas as pd

others = adata[adata.obs["cell_type"] != "interneurons"].layers["counts"]
seen_elsewhere = np.asarray((others > 0).mean(axis=0)).ravel()
candidates = by_scvi[by_scvi["class"] == "interneurons"].set_index("gene")
candidates["other cells with counts"] = pd.Series(seen_elsewhere, adata.var_names)

# %% [markdown]
# ### Exercise 2 · Markers that hold in the counts
#
# Find at least three genes that mark the interneurons (nerve cells that hold others back). Each
# must be higher in them with a probability of at least 0.9, have counts in at least 80 % of them,
# and in at most 40 % of the other cells. The table `candidates` has one row per gene. Many answers
# are right.

# %% tags=["exercise"]
your_markers = ...

# %% tags=["check"]
check.good_markers(your_markers, by_scvi=by_scvi, adata=adata)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# higher = (candidates["probability"] >= 0.9) & (candidates["log2 fold change"] > 0)
# in_most = candidates["cells with counts"] >= 0.8
# in_few_others = candidates["other cells with counts"] <= 0.4
# your_markers = list(candidates.index[higher & in_most & in_few_others])
# ```
#
# Abat, Nrip3, Elavl2 and Rcan2 are among them; genes without a name count as well. Nap1l5, Cplx1
# and Rab3c of the lesson's top five are not: they are much stronger in interneurons, but more than
# 40 % of the other cells have counts of them.
#
# </details>

# %% [markdown]
# ### Exercise 3 · Large p-values
#
# With all cells, 1,893 of 2,000 genes have an adjusted p-value below 0.05 for pyramidal CA1 cells
# against the others. Make that fewer than half of the genes without touching any gene: choose some
# of the cells, `few`, with at least 10 CA1 cells and 10 others.
# `differential_expression.wilcoxon(few, "cell_type")` tests them. Many answers are right.

# %% tags=["exercise"]
few = ...

# %% tags=["check"]
check.few_cells(few, adata=adata, by_wilcoxon=by_wilcoxon)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# few = adata[::50]
# few_tested = differential_expression.wilcoxon(few, "cell_type")
# of_few = few_tested[few_tested["class"] == "pyramidal CA1"]
# print((of_few["adjusted p value"] < 0.05).sum())
# ```
#
# The genes differ as they did. There are fewer cells to show it, so chance explains more. A list of
# "significant genes" says as much about the number of cells as about the genes.
#
# </details>

# %% [markdown]
# ### Exercise 4 · Invented correlations in one class
#
# Perhaps the correlations come only from the differences between classes? Look within one: in what
# share of the pairs of shuffled genes is the correlation of the denoised expression beyond 0.5 or
# -0.5 in the oligodendrocytes of `small` alone? Predict it, then compute it (a number from 0 to 1).

# %% tags=["exercise"]
share_in_class = ...

# %% tags=["check"]
check.invented_in_one_class(share_in_class, small_model=small_model)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# of_class = (small.obs["cell_type"] == "oligodendrocytes").to_numpy()
# within = denoising.correlations(small_model, list(shuffled), cells=of_class)
# share_in_class = (within["denoised"].abs() > 0.5).mean()
# ```
#
# Here it becomes worse: within this class the genes truly vary even less, and what is left of the
# variation in the model is shared. A longer training (`training.train(small_model, max_epochs=200)`
# with a new model) makes invented correlations rarer in most runs, and not in all. Without shuffled
# genes you would not know.
#
# </details>

# %% [markdown]
# Next: [05c](05c_batches.ipynb) asks what `batch_key` does, and when it cannot help.
