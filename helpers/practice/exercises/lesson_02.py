"""Lesson 02: how long a model is trained, with which loss, and what a few epochs achieve."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import scvi
from anndata import AnnData

from helpers.practice.exercises.answer_checks import (
    Mistake,
    function,
    model_problem,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet
from helpers.training import model_state, schedules, scvi_defaults

# The study of the first exercise.
N_CELLS = 60_000

# What the last exercise asks for: so few epochs, and so low a negative ELBO of the held-out cells,
# in nats per cell.
MAX_EPOCHS, MAX_NATS = 5, 2_980


@exercise(
    "Steps = epochs × minibatches in an epoch. Both depend on the number of cells.",
    "Epochs: use the formula, and round. Minibatches: nine tenths of the cells are trained on, "
    "128 at a time.",
    "54,000 cells fill 421 minibatches, and some cells are left: they make one more, a smaller "
    "one.",
)
def default_steps(n_steps: Any) -> Reply:
    """Count the training steps of a default run on 60,000 cells."""
    epochs, size = scvi_defaults.default_epochs(N_CELLS), scvi.settings.batch_size
    trained_on = math.ceil(0.9 * N_CELLS)
    minibatches = math.ceil(trained_on / size)
    return number(
        "n_steps",
        n_steps,
        schedules.run_length(N_CELLS, "default")["steps"],
        unit="steps",
        praise=f"{epochs} epochs of {minibatches} minibatches. For the 3,005 cortex cells it is "
        f"{schedules.run_length(3_005, 'default')['steps']:,}: where the epochs stop at 400, fewer "
        "cells get fewer steps.",
        mistakes=[
            Mistake(
                epochs * math.ceil(N_CELLS / size),
                "The epochs are right. But a tenth of the cells is held out, and no step is made "
                "with them.",
            ),
            Mistake(
                400 * minibatches,
                "The minibatches are right. 400 is the largest number of epochs; with more than "
                "20,000 cells there are fewer.",
            ),
            Mistake(
                epochs * (trained_on // size),
                "Very near. The cells that do not fill a minibatch make one more, in each epoch.",
            ),
            Mistake(
                epochs * trained_on / size,
                "Very near. There is no part of a step: the last minibatch of an epoch is "
                "smaller, and counts as one.",
            ),
            Mistake(
                20_000 / N_CELLS * 400 * trained_on / size,
                "The way is right. Round: there are only whole epochs and whole minibatches.",
            ),
            Mistake(
                epochs * trained_on,
                "These are cells that are passed through. A step is made after each *minibatch* "
                "of 128 of them.",
            ),
            Mistake(
                epochs * math.ceil(trained_on / 64),
                "64 is the minibatch of the class preset. By default it is 128.",
            ),
            Mistake(minibatches, "These are the steps of one epoch. How many epochs are there?"),
            Mistake(epochs, "These are the epochs. How many minibatches are in one of them?"),
        ],
    )


@exercise(
    "First the number of epochs: `training.default_epochs(n_cells)`. What is the weight in epoch "
    "1, in epoch 2, in the last one?",
    "In epoch 1 the weight is 0/400, in epoch 2 it is 1/400.",
    "In epoch e it is (e - 1)/400. Put the last epoch in the place of e.",
)
def weight_at_the_end(last_kl_weight: Any) -> Reply:
    """Write a function that returns the KL weight in the last epoch of a default run."""
    table = scvi_defaults.defaults(scvi.model.SCVI, n_cells=N_CELLS)
    warm_up = int(table.loc["n_epochs_kl_warmup", "default"])

    def weight(n_cells: int) -> float:
        return schedules.kl_weight(scvi_defaults.default_epochs(n_cells) - 1, 0, warm_up)

    def epochs(n_cells: int) -> float:
        return min(20_000 / n_cells * 400, 400)

    cells = (3_005, 20_000, 30_000, 60_000, 100_000, 1_000_000)
    return function(
        "last_kl_weight",
        last_kl_weight,
        [((n_cells,), weight(n_cells)) for n_cells in cells],
        praise=f"With 100,000 cells the weight ends at {weight(100_000):.2f}, with a million at "
        f"{weight(1_000_000):.2f}. So a default run on many cells minimises another loss than one "
        'on few. `plan_kwargs={"n_epochs_kl_warmup": ...}` changes that.',
        mistakes=[
            (
                lambda n_cells: scvi_defaults.default_epochs(n_cells) / warm_up,
                "Nearly: you count one rise too many. In the first epoch the weight is 0, so "
                "after 400 epochs there were 399 rises.",
            ),
            (
                lambda n_cells: 1,
                "That would be so if the rise took as many epochs as the run. It takes 400, "
                "however many are run.",
            ),
            (
                lambda n_cells: (round(20_000 / n_cells * 400) - 1) / warm_up,
                "With many cells it is right. But there are never more than 400 epochs.",
            ),
            (
                lambda n_cells: min((round(20_000 / n_cells * 400) - 1) / warm_up, 1),
                "With many cells it is right. With few there are 400 epochs and no more, so the "
                "last weight is 399/400.",
            ),
            (
                lambda n_cells: (int(epochs(n_cells)) - 1) / warm_up,
                "Nearly: scvi-tools rounds the number of epochs, and you cut off what is behind "
                "the point.",
            ),
            (
                lambda n_cells: (epochs(n_cells) - 1) / warm_up,
                "Nearly: there are only whole epochs. Round their number.",
            ),
            (
                lambda n_cells: 100 * weight(n_cells),
                "That is per cent. A weight of 1 is the whole.",
            ),
            (
                lambda n_cells: scvi_defaults.default_epochs(n_cells),
                "That is the number of epochs. What is the weight in the last one?",
            ),
        ],
    )


@exercise(
    "Which curve tells whether the model gets better at cells that it was not trained on?",
    'The column is `kept["held_out_elbo"]`. It is a *negative* ELBO: the lower, the better.',
    "`.idxmin()` returns the epoch with the smallest value.",
)
def best_epoch(best_epoch: Any, *, kept: pd.DataFrame) -> Reply:
    """Find the epoch after which the default run no longer gets better."""
    held_out, trained = kept["held_out_elbo"], kept["elbo"]
    best, last = int(held_out.idxmin()), int(kept.index[-1])
    shown = [50, 100, 200, 400]
    return number(
        "best_epoch",
        best_epoch,
        best,
        praise=f"From there to epoch {last} the training cells gain "
        f"{trained[best] - trained[last]:.0f} nats per cell, and the held-out cells lose "
        f"{held_out[last] - held_out[best]:.0f}. That is a little overfitting, for more than a "
        "third of the time of the run.",
        mistakes=[
            Mistake(
                last,
                "That is the end of the run. The held-out cells were described better before.",
            ),
            Mistake(
                int(trained.idxmin()),
                "That is the best epoch for the cells that were trained on. They get better "
                "nearly to the end: that is no sign that the model does.",
            ),
            Mistake(
                int(kept["train_loss"].idxmin()),
                "That is where the loss of the training cells is lowest. Judge by cells that were "
                "not trained on.",
            ),
            Mistake(
                int(held_out.loc[shown].idxmin()),
                "That is the best of the four epochs in the table. `kept` has all 400.",
            ),
            Mistake(
                int(kept["held_out_loss"].idxmin()),
                "The right cells, but their *loss*: while one part of it is still faded in, the "
                "loss rises for that reason alone. Take the negative ELBO.",
            ),
            Mistake(
                int(held_out.idxmax()),
                "That is the *worst* epoch. The column holds a negative ELBO: lower is better.",
            ),
            Mistake(
                best - 1,
                "Nearly: `argmin` counts rows from 0, and epochs begin with 1. `idxmin` returns "
                "the epoch.",
            ),
            Mistake(
                float(held_out.min()),
                "That is the lowest value, in nats per cell. The question is in which epoch it is "
                "reached.",
            ),
        ],
    )


@exercise(
    "The default makes small steps, 22 in an epoch of these cells. Which two settings of the "
    "class preset change that?",
    "`training.train(your_model, max_epochs=5)` squeezes the whole class preset into five epochs: "
    "large steps, small ones at the end.",
    "With `train` of scvi-tools you would say it yourself: `your_model.train(max_epochs=5, "
    'batch_size=64, plan_kwargs={"lr": 0.015, "n_epochs_kl_warmup": 2})`.',
)
def five_epochs(your_model: Any, *, adata: AnnData, kept: pd.DataFrame) -> Reply:
    """Train a model for five epochs so that it describes held-out cells well."""
    problem = _not_a_trained_model(your_model, adata)
    if problem:
        return not_yet(problem)
    epochs = len(your_model.history["elbo_train"])
    counted = f"{epochs} {'epoch' if epochs == 1 else 'epochs'}"
    with model_state.evaluating(your_model):
        # scvi-tools returns the ELBO itself, of which higher is better.
        nats = -float(your_model.get_elbo(indices=your_model.validation_indices))
    if math.isnan(nats):
        return not_yet(
            "The negative ELBO of the held-out cells is NaN: the steps were so large that the "
            "weights went astray. Take a smaller learning rate."
        )
    reached = kept.index[kept["held_out_elbo"] <= nats]
    default = (
        f" The default run gets there in epoch {reached[0]}."
        if len(reached)
        else " The default run never gets there."
    )
    return requirements(
        (
            epochs <= MAX_EPOCHS,
            f"{counted}.",
            f"{counted}; {MAX_EPOCHS} are the most. Build a new model: one that was trained goes "
            "on from where it is.",
        ),
        (
            nats <= MAX_NATS,
            f"{nats:,.0f} nats per cell for the held-out cells.",
            f"{nats:,.0f} nats per cell for the held-out cells; {MAX_NATS:,} or less is asked "
            "for. In so few epochs small steps do not get far. What makes a step larger, and what "
            "makes more steps in an epoch?",
        ),
        praise=f"{nats:,.0f} nats per cell for the held-out cells, after {counted}.{default} The "
        "number of epochs alone says little: what counts is how many steps they make, and how "
        "large.",
    )


def _not_a_trained_model(your_model: Any, adata: AnnData) -> str:
    """Say why an answer is no model that was trained on these cells and held some out.

    The reason is "" if it is one.
    """
    how = "`scvi.model.SCVI(adata)`, and then train it."
    if problem := model_problem("your_model", your_model, scvi.model.SCVI, how):
        return problem
    if not your_model.is_trained:
        return (
            "`your_model` is built, but not trained yet. A new model knows nothing: its weights "
            "are random."
        )
    shape = your_model.adata.shape
    if shape != adata.shape:
        return (
            f"Your model was trained on {shape[0]:,} cells x {shape[1]:,} genes, the lesson's have "
            f"{adata.n_obs:,} x {adata.n_vars:,}. Fewer genes cost fewer nats, so the numbers "
            "cannot be compared. Use `adata`."
        )
    if your_model.validation_indices is None or len(your_model.validation_indices) == 0:
        return (
            "Your model was trained on all cells, so nobody can tell how it does on others. Leave "
            "out `train_size`: a tenth is then held out."
        )
    return ""
