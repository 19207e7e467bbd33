# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · How many hidden layers and neurons should I use?
#
# "One can specify the number of hidden layers and the number of neurons." So
# `SCVI(adata, n_layers=3, n_hidden=256)` works. Is it better? Nobody can tell from the outside. It
# takes an experiment, and a fair one is less obvious than it looks.
#
# **You will be able to**
#
# - set up a fair comparison of models, and say what makes it fair;
# - tell a difference between models from a difference between seeds;
# - say what layers and neurons bring for these cells, and what they cost;
# - run such an experiment yourself, on one computer or on many, with the same call.
#
# **Time**: 35 minutes to read and run, 25 minutes for the quiz and the exercises. **Needs**:
# lessons [03](03_hidden_layers.ipynb) and [04](04_loss.ipynb). [05](05_latent_space.ipynb) is
# useful.

# %%
from helpers import environment

environment.prepare(seed=0)

# %% [markdown]
# ## What you choose, and what is learned
#
# Training adjusts the weights: the [parameters](../docs/glossary.md#parameter). The number of
# layers and neurons it does not touch. You choose them before, together with the learning rate or
# the number of epochs. Such choices are called
# [hyperparameters](../docs/glossary.md#hyperparameter). The layers and neurons together are called
# the [*architecture*](../docs/glossary.md#architecture).
#
# Here are nine architectures: one, two or three hidden layers of 64, 128 or 256
# [neurons](../docs/glossary.md#neuron) each. You know from lesson 03 that both numbers hold for the
# encoder and the decoder alike. The default is one layer of 128.
#
# > **Predict.** Which of the nine describes the cortex cells best? Write it down.
#
# ## A fair experiment
#
# Trying all combinations is called a [sweep](../docs/glossary.md#sweep), and each training in it a
# *trial*. It is fair if all trials differ in nothing but what you ask about:
#
# | the same for all | how |
# | --- | --- |
# | cells and genes | the 3,005 cortex cells, the 2,000 genes of lesson 01 |
# | what is held out | the seed decides which tenth; so all nine architectures of a seed are judged on the same 300 cells |
# | budget | the class preset of lesson 02: 14 epochs, the same learning rate, the same [KL warm-up](../docs/glossary.md#kl-warm-up) |
# | the judge | the negative ELBO of the held-out cells (lesson 04): lower is better |
#
# And it is repeated: eight seeds. A seed sets the weights at the start, the order of the cells, and
# which cells are held out. Nine architectures with eight seeds are 72 trials, which take about 20
# minutes on two cores. So they are kept in a file. (`make study ARGS=architectures` makes it again,
# with the longer trainings further down: about an hour.)

# %%
from helpers import results

print(results.origin("architectures"))
kept = results.load("architectures")
trials = kept[kept["budget"] == "class preset"]
trials.loc[:, "n_layers":"negative ELBO"].head(3).round(1)

# %% [markdown]
# Before you compare anything: did `n_layers` do what you think? Each trial counted the layers of
# its own model, as you did in lesson 03.

# %%
trials[["n_layers", "hidden layers"]].drop_duplicates().set_index("n_layers")

# %% [markdown]
# Yes: one, two or three in the encoder, and as many in the decoder.
#
# ## You may think: "I train each once, and take the lowest loss"
#
# Here are all 72 trials, above their seeds.
#
# > **Predict.** Perhaps you think: seeds are luck, architectures are substance. Which of the two
# > makes the larger difference in the negative ELBO?

# %%
from helpers.scale import sweep_figures, sweep_results

sweep_figures.plot_trials(trials)

# %% [markdown]
# The seed does. Not because training is a lottery: each seed holds out *other cells*, and some
# cells have more molecules, so there is more to explain. (Lesson 04: cells with more counts cost
# more [nats](../docs/glossary.md#nat), whatever the model.) So a trial with seed 1 cannot be
# compared with a trial with seed 2, whatever their architectures.
#
# Within a seed it can: same cells, same judge. So subtract: each trial less the default
# architecture *of the same seed*. This is a
# [paired comparison](../docs/glossary.md#paired-comparison).

# %%
compared = sweep_results.differences(trials)
sweep_results.spreads(trials).round(0)

# %% [markdown]
# (The spread is the [standard deviation](../docs/glossary.md#standard-deviation): roughly, how far
# a value typically lies from the mean. In nats.) Subtracting takes away nearly all of it. What is
# left can show a difference of a few nats.
#
# ## What do more layers do?

# %%
sweep_figures.plot_differences({"class preset": compared}, "negative ELBO")

# %%
sweep_results.verdicts(compared, "negative ELBO").round(1)

# %% [markdown]
# Each dot is a seed, the black bar their mean. Left of the dashed line is better than the default,
# right of it worse. In the table, `better in` counts the seeds with which it beats the default; the
# `verdict` is "better" or "worse" only if all seeds say so.
#
# - **More layers are worse**, with every width and every seed.
# - **More neurons help a little**; fewer cost some nats.
#
# For scale: the class preset is about 12 nats better than scvi-tools' own default training
# (measured with these cells, see
# [measurements](../docs/results/costs.md#the-class-preset-against-the-default)).
#
# How sure can you be? Suppose an architecture is just as good as the default. Then each seed says
# "better" or "worse" like a coin. Eight coins all fall alike in 2 of 256 throws. But there are
# eight architectures to compare, and each throws its own eight coins. So it is more probable that
# at least one of them has all coins alike:

# %%
for seeds in (1, 3, 5, 8):
    chance = sweep_results.by_chance(seeds, architectures=8)
    print(f"seeds = {seeds}: in {chance:.0%} of sweeps all agree about one or more, by luck alone")

# %% [markdown]
# With three seeds, at least one such agreement among eight is what luck brings. With eight seeds it
# is rare. (The calculation takes the eight as independent. They share the default of their seed, so
# read it as a rough guide.)
#
# Note what it does not say. Agreement makes luck an unlikely explanation; it does not make the
# difference *large*. And all seeds draw from the same 3,005 cells: it speaks for these cells, not
# for others.
#
# ## Do the cell types care?
#
# The negative ELBO says how well the counts are described. Perhaps you care more for the latent
# space. So take two measures of lesson 05, on all cells: for how many cells most of the 15
# [nearest neighbours](../docs/glossary.md#nearest-neighbours) have the cell's own type
# (`kNN accuracy`), and how well [k-means](../docs/glossary.md#k-means) finds the types again
# ([ARI](../docs/glossary.md#adjusted-rand-index)). Here higher is better, so *right* of the line is
# better.
#
# > **Predict.** Two and three layers describe the counts worse. Are their latent spaces worse, too?

# %%
sweep_figures.plot_differences({"class preset": compared}, "kNN accuracy")

# %%
for measure in ("kNN accuracy", "k-means ARI"):
    print(f"{measure}\n{sweep_results.verdicts(compared, measure).round(3).to_string()}\n")

# %% [markdown]
# The types care, too. With two or three layers the neighbours name a cell's type less often, with
# every seed and every width. k-means finds the types clearly worse with three layers, and a little
# worse with two (with 128 neurons, one seed of eight disagrees). And one layer of 256 neurons,
# better in the loss, shows no gain on which the seeds agree. So a loss that is better by a few nats
# need not mean a better latent space.
#
# ## What does it cost?
#
# CPU seconds are the seconds in which a processor worked on the training; each number is the median
# of the seeds.
#
# > **Predict.** Which costs more time: twice the layers, or twice the neurons?

# %% tags=["nbval-ignore-output"]
sweep_results.costs(trials).round(0).astype(int)

# %% [markdown]
# Twice the neurons, by a little. As in lesson 03, most parameters are where 2,000 genes come in and
# go out. Their number grows with the neurons; a layer in between is cheap. Time grows more slowly
# than the parameters: much of a step goes into the likelihood of the counts, which is the same for
# all.
#
# ## You may think: "the same budget for all, so it was fair"
#
# Then look where the budget comes from. The class preset was found with *one* layer of 128 neurons:
# its large steps suit that network. Perhaps they suit no other, and the experiment was fair only on
# paper. So try another budget: three times as many epochs, with a third of the learning rate. The
# KL warm-up grows with it, from 4 epochs to 13. Five seeds.
#
# > **Predict.** Will two layers catch up? Will three?

# %%
longer = sweep_results.differences(kept[kept["budget"] == "three times as long"])
by_budget = {"class preset": compared, "three times as long": longer}
sweep_figures.plot_differences(by_budget, "negative ELBO")

# %%
sweep_results.verdicts(longer, "negative ELBO").round(1)

# %% [markdown]
# Look at two layers of 128 or 256: clearly worse with the short budget, within 4 nats of the
# default, to either side, after the longer one. So the first result was true, but it was as much
# about the *training* as about the *layers*. (What exactly deeper networks need, this experiment
# does not tell: the number of steps, their size and the length of the KL warm-up changed at once.)
# Two layers of 64, and all with three layers, still lag behind.
#
# Have the types caught up, too?

# %%
sweep_results.verdicts(longer, "k-means ARI").round(3)

# %% [markdown]
# Not quite: with two layers k-means still finds the types worse, with all five seeds.
#
# And does anything beat the default? 256 neurons in one layer, and 128 or 256 in two, are within 4
# nats of it, and the seeds disagree about each. So **no difference was found.** One of a nat or so
# would not show with five seeds.
#
# What would you have chosen with a single seed?

# %%
sweep_results.winners(kept[kept["budget"] == "three times as long"]).round(1)

# %% [markdown]
# A winner each time. Four of five have two layers: does that mean anything? Four architectures are
# level, and two of these have two layers. So a coin would do as well: four or more of five coins
# fall alike in 12 of 32 throws. With one seed you always find a best architecture.
#
# What did the longer training bring to the default itself? Compare within a seed again:

# %%
default_runs = kept[(kept["n_layers"] == 1) & (kept["n_hidden"] == 128)]
by_seed = default_runs.pivot(index="seed", columns="budget", values="negative ELBO").dropna()
gain = by_seed["three times as long"] - by_seed["class preset"]
seconds = default_runs.groupby("budget")["CPU seconds"].median()
times = seconds["three times as long"] / seconds["class preset"]
print(f"three times as long, less class preset: {gain.mean():+.0f} nats", end=" ")
print(f"({gain.min():+.0f} to {gain.max():+.0f}), for {times:.1f} times the CPU seconds")

# %% [markdown]
# That is more than 256 neurons brought with the class preset. They cost a quarter more seconds, the
# longer training nearly three times as many. After the longer training, 256 neurons bring nothing
# on which the seeds agree.
#
# ## Run it yourself
#
# You need not write a program for this. `scvi.autotune.run_autotune` hands a
# [search space](../docs/glossary.md#search-space) to [Ray](../docs/glossary.md#ray), a package that
# runs trainings side by side, on one computer or on many. `sweep.run` calls it for you, and adds
# what a class needs: it keeps every finished trial, resumes after an interruption, and tries again
# what died.
#
# The search space names the values to try. In `sweep.run` a list means: try each. (If you call
# `run_autotune` yourself, write `tune.grid_search([1, 2, 3])` instead, and pass
# `searcher="random", scheduler="fifo", num_samples=1`: with the default searcher Ray refuses a
# grid, and the default scheduler stops trials early. Leave out `seed` and `preset`, which are the
# kit's.) Here: three depths, two seeds.

# %%
from helpers.scale import ray_cluster, sweep

search_space = {
    "model_params": {"n_layers": [1, 2, 3], "n_hidden": [128], "seed": [1, 2]},
    "train_params": {"preset": "class"},
}
print(sweep.n_trials(search_space), "trials")

# %% [markdown]
# A misspelt parameter is found before anything runs, not after an hour.

# %%
try:
    sweep.check({"model_params": {"n_layer": [1, 2, 3]}})
except ValueError as error:
    print(str(error).splitlines()[0])

# %% [markdown]
# Now the switch. With `LIVE = False` the next cell takes these six trials from the file. Set it to
# `True`, and it trains them, in about a minute and a half on two cores.
#
# Ray is not part of the usual set-up. Close JupyterLab and start it with `make lab ARGS=--sweep`:
# that installs it. Each trial takes about 1.2 GB of memory, too much for Binder.

# %% tags=["nbval-ignore-output"]
LIVE = False

print(ray_cluster.readiness())

# %%
shown = sweep_results.kept(search_space)
if LIVE:
    shown = sweep.run(sweep_results.cells(), search_space)
shown[["n_layers", "seed", "negative ELBO"]].round(1)

# %%
sweep_figures.plot_differences({"two seeds": sweep_results.differences(shown)}, "negative ELBO")

# %% [markdown]
# With two seeds and two architectures, luck alone would let the seeds agree about one or more in
# three of four sweeps. What speaks here is the size: the differences are several times the spread
# of the pairs, 4 nats.
#
# Interrupt the [kernel](../docs/glossary.md#kernel) (the square button) in the middle of a live
# sweep, and run the cell again: trials that have finished are not trained again.
#
# ## From one core to a cluster
#
# The trials do not talk to each other, so ten computers finish about ten times as many in the same
# time. Several computers that work for one program are called a
# [cluster](../docs/glossary.md#cluster-of-computers), each of them a
# [*node*](../docs/glossary.md#node). (No clusters of cells this time.) You change nothing in the
# notebook. You set up the kit on each computer from the same commit, start Ray there, and tell the
# notebook where the first one is:
#
# ```bash
# .venv/bin/ray get-auth-token --generate > /dev/null              # on the first: makes a token
# RAY_AUTH_MODE=token .venv/bin/ray start --head --port=6379       # on the first; it prints its ADDRESS
# RAY_AUTH_MODE=token .venv/bin/ray start --address=ADDRESS:6379   # on every other
# RAY_AUTH_MODE=token RAY_ADDRESS=ADDRESS:6379 make lab ARGS=--sweep   # on the one where you work
# ```
#
# With `RAY_AUTH_MODE=token`, Ray lets in only programs that have its token, a long password in a
# file. The token travels unencrypted, so whoever can listen to the network can copy it. Use a
# closed network, or TLS as well, as Ray's documentation asks. Before you start the others, copy the
# file `.ray/auth_token` from your home folder on the first computer into theirs. Never leave the
# mode out: without a token, anybody who reaches the computer can run programs there.
#
# `sweep.run` looks whether all nodes have the same code of the kit and the same versions of
# scvi-tools, PyTorch, NumPy and Ray, for others may give other numbers. Ray sends the cells to the
# nodes, gives each free core a trial, and collects the results. If a node dies, its trial is
# trained again on another one. The kit's tests do this with two nodes on one computer: they kill
# one half way, and look whether the table is complete. On several computers it was not tried.
#
# ### You may think: "a clever search is better than trying all"
#
# Ray can stop trials that begin badly (the scheduler "asha", the default of `run_autotune`) and
# choose values by what went well before (the searcher "hyperopt"). That saves time if there are
# hundreds of combinations. But a network that begins slowly may end well, and then the comparison
# is no longer one of equal budgets. With nine combinations, try all.
#
# ## The answer

# %%
print("Negative ELBO less that of the default (1 layer of 128), nats per held-out cell:")
for name, table in by_budget.items():
    found = sweep_results.verdicts(table, "negative ELBO")
    for layers, neurons in ((1, 256), (2, 128), (3, 128)):
        row = found.loc[(layers, neurons)]
        print(f"{name}, {layers} x {neurons}: {row['mean']:+.1f} ({row['verdict']})")

# %% [markdown]
# For these cells, stay with one hidden layer of 128 neurons. More layers lose with a short
# training; with a longer one, two layers of 128 are level in the loss, and k-means still finds the
# types worse. More neurons gain a few nats at best. For your cells, run a sweep with your cells:
# paired by seed, with more than three seeds, and with more than one budget.
#
# ## What you know now
#
# | you may have thought | in fact |
# | --- | --- |
# | Deeper is better. | Not here. With a short training two layers are worse than one, with every width and every seed. With a longer one, two layers of 128 or 256 are level in the loss. |
# | Train each once and take the best. | The seed moves the held-out loss more than the architecture does. Compare within a seed, and use several. |
# | All seeds agree, so it matters. | With eight seeds it is hardly luck. Whether it is large enough to matter is your decision. |
# | The same budget for all is fair. | A budget that was found for one architecture favours it. Try another. |
# | A cluster needs another program. | The same call; only `RAY_ADDRESS` is new. |
#
# ## Check yourself
#
# Five questions. Choose an answer, with the mouse or with Tab and the space bar, and read why it is
# right or not.

# %%
from helpers.practice import exercises, quizzes

quizzes.of_lesson("07")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `...`, run the cell, then run the check below it. It tells you what is
# right and what is not yet, and each time a hint goes further. Solutions are folded away.

# %%
check = exercises.of_lesson("07")

# %% [markdown]
# ### Exercise 1 · Fifty coins
#
# A colleague compares 50 architectures with the default. Suppose that none of the 50 differs from
# it. By luck, some beat the default with every seed all the same. With how many seeds may she
# expect that of *fewer than one* of the 50? Write the smallest number of seeds.

# %% tags=["exercise"]
n_seeds = ...

# %% tags=["check"]
check.seeds_against_luck(n_seeds)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# n_seeds = 6  # 50 * 0.5**5 is 1.56, 50 * 0.5**6 is 0.78
# ```
#
# Each seed is a coin, so each one more halves the number of lucky winners. This is an expectation:
# even with six seeds there is often one. What is found in a large sweep should be tried again, with
# new seeds.
#
# </details>

# %% [markdown]
# ### Exercise 2 · Equal seconds
#
# All trials got the same number of epochs, 14. Somebody finds it fairer to give all of them the
# same CPU *seconds*. Take the seconds that the default needs for its 14 epochs. How many epochs do
# three layers of 256 neurons get in that time? The table of costs above has what you need.

# %% tags=["exercise"]
n_epochs = ...

# %% tags=["check"]
check.equal_seconds(n_epochs, trials=trials)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# seconds_of = sweep_results.costs(trials)["CPU seconds"]
# n_epochs = 14 * seconds_of[1, 128] / seconds_of[3, 256]
# ```
#
# About 10. Either rule is fair, and you have to say which one you took. Here the epochs were equal,
# and the seconds are reported beside the result.
#
# </details>

# %% [markdown]
# ### Exercise 3 · When trials have died
#
# Trials can die, and then their rows are missing. Write a function that gets a table like `trials`,
# with its rows in any order, and an architecture. It returns one number: the mean difference in
# `negative ELBO`, architecture less default (1 layer of 128), over the seeds that both have.


# %% tags=["exercise"]
def paired_difference(table, n_layers, n_hidden):
    return ...


# %% tags=["check"]
check.within_a_seed(paired_difference, trials=trials)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def paired_difference(table, n_layers, n_hidden):
#     chosen = (table["n_layers"] == n_layers) & (table["n_hidden"] == n_hidden)
#     usual = (table["n_layers"] == 1) & (table["n_hidden"] == 128)
#     of_architecture = table[chosen].set_index("seed")["negative ELBO"]
#     of_default = table[usual].set_index("seed")["negative ELBO"]
#     return (of_architecture - of_default).mean()
# ```
#
# pandas subtracts where the index is the same, here the seed. If no trial is missing, the
# difference of the two means is the same number. If some are, it is not: the two means are then
# over other seeds, and so over other held-out cells.
#
# </details>

# %% [markdown]
# ### Exercise 4 · A fair pair of your own
#
# No Ray is needed for one pair. Train two scVI models of the 700 blood cells: `usual` with the
# default architecture, `other` with other layers, neurons or latent dimensions, as you like. All
# else must be the same for both, so that their losses on held-out cells can be compared.
# `environment.prepare(seed=1)` sets the seed. The two trainings take about a quarter of a minute.
#
# ```python
# import scvi
# from helpers import data, training
#
# blood = data.load_pbmc()
# scvi.model.SCVI.setup_anndata(blood, layer="counts")
# ```

# %% tags=["exercise"]
usual = ...
other = ...

# %% tags=["check"]
check.fair_pair(usual, other)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import scvi
# from helpers import data, training
#
# blood = data.load_pbmc()
# scvi.model.SCVI.setup_anndata(blood, layer="counts")
# environment.prepare(seed=1)
# usual = scvi.model.SCVI(blood)
# training.train(usual)
# environment.prepare(seed=1)
# other = scvi.model.SCVI(blood, n_latent=5)
# training.train(other)
# ```
#
# The seed decides which cells are held out, so it is set before each. `training.train` gives both
# the same budget. One pair is one seed: a difference of a few nats may well turn round with the
# next.
#
# </details>

# %% [markdown]
# **Further.** Does the latent space need more dimensions? With Ray installed, in a new cell (about
# two minutes):
#
# ```python
# sizes = {"model_params": {"n_latent": [5, 10, 20], "seed": [1, 2]}}
# tried = sweep.run(sweep_results.cells(), sizes)
# tried[["n_latent", "seed", "negative ELBO", "kNN accuracy"]].round(3)
# ```
#
# <details><summary>What to look for</summary>
#
# Compare within a seed. Five dimensions are worse than ten by about 20 nats, and a cell's
# neighbours are of its type less often. Twenty are no better than ten. That two seeds agree says
# little; that the first difference is five times the spread of the pairs says more.
#
# </details>
#
# Next: [07b](07b_beyond_one_machine.ipynb) asks what happens when the cells do not fit into one
# machine. Lesson 08 brings in your own data.
