"""Lesson 06: what the weight does to TotalVI's proteins, its layers, and where a foreground is."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.model import TOTALVI

from helpers.layers import model_anatomy
from helpers.loss import loss_ledger
from helpers.practice.exercises.answer_checks import (
    Mistake,
    a_kind,
    as_number,
    call,
    model_problem,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet, right
from helpers.proteins.protein_counts import KEY
from helpers.training import scvi_defaults

# Two humps in both batches, of which the higher one holds from a twelfth to half of the cells.
DIVIDED = ("CD3", "CD8a", "CD14", "CD19", "CD45RA")

# As many cells may lie on the other side of a learner's threshold.
FEW = 0.05


@exercise(
    "The table holds what was *added* to the loss: the proteins' reconstruction loss times the KL "
    "weight of the epoch.",
    '`ledger["kl_weight"]` has the weights with all their digits. What undoes a multiplication?',
    '`added["reconst_loss_protein"] / ledger["kl_weight"]`, and of that the row of epoch 2.',
)
def without_weight(proteins_in_epoch_2: Any, *, ledger: pd.DataFrame) -> Reply:
    """Compute the proteins' reconstruction loss of epoch 2 before the weight."""
    added, weight = loss_ledger.contributions(ledger), ledger["kl_weight"]
    # The history keeps genes and proteins in one sum, without any weight.
    unweighted = ledger["reconstruction"] - added["reconst_loss_gene"]
    weighted = added["reconst_loss_protein"]
    return number(
        "proteins_in_epoch_2",
        proteins_in_epoch_2,
        unweighted[2],
        unit="nats per cell",
        tolerance=5,
        praise=(
            f"In epoch 2 the proteins cost {unweighted[2]:,.0f} nats per cell, and "
            f"{unweighted.iloc[-1]:,.0f} in epoch {len(ledger)}. They are described far better. "
            f"But {weight[2]:.0%} of the first number is {weighted[2]:.0f}: what is added to the "
            "loss hides the progress."
        ),
        mistakes=[
            Mistake(
                weighted[2],
                "That is what was added to the loss, weight included. Take the weight out.",
            ),
            Mistake(
                weighted[2] / round(weight[2], 2),
                "Divided by the weight: right. But the table rounds the weight to 0.03, and that "
                "is a tenth off. `ledger` has all digits.",
            ),
            Mistake(
                ledger.loc[2, "reconstruction"],
                "That is the reconstruction loss of genes and proteins together, without weight. "
                "Take the genes away.",
            ),
            Mistake(
                weighted[2] * weight[2],
                "You have multiplied by the weight once more. In the table it is in already.",
            ),
            Mistake(
                weighted[3] / weight[3],
                "That is right for epoch 3. Rows of `added` are named by epoch, from 1: use "
                "`.loc[2]`.",
            ),
        ],
    )


@exercise(
    "Two numbers: how many steps the warm-up takes, and how many steps an epoch has. The cell "
    "with the loop over `n_cells` computes with both.",
    "The warm-up takes 0.75 steps for each of the 100,000 cells. An epoch has a step for each 256 "
    "of the cells that are trained on, and a tenth is held out.",
    "75,000 steps, at `math.ceil(90_000 / 256)` an epoch. Round up.",
)
def long_enough(n_epochs: Any) -> Reply:
    """Find the epochs after which TotalVI's default warm-up of 100,000 cells is over."""
    n_cells = 100_000
    minibatch = inspect.signature(TOTALVI.train).parameters["batch_size"].default
    warm_up = int(0.75 * n_cells)
    steps = math.ceil(0.9 * n_cells / minibatch)
    needed = math.ceil(warm_up / steps)
    of_million = math.ceil(750_000 / math.ceil(900_000 / minibatch))
    default = scvi_defaults.default_epochs(n_cells)
    return number(
        "n_epochs",
        n_epochs,
        needed,
        unit="epochs",
        praise=(
            f"{warm_up:,} steps at {steps} an epoch. With a million cells it is {of_million} as "
            "well: warm-up and epoch both grow with the cells. The default number of epochs "
            f"falls: {default} with 100,000 cells, "
            f"{scvi_defaults.default_epochs(1_000_000)} with a "
            "million. So pass `n_epochs_kl_warmup`, or train longer."
        ),
        mistakes=[
            Mistake(
                default,
                "That is how long a default training takes. It ends with a weight of 0.38.",
            ),
            Mistake(needed - 1, "Nearly: after so many epochs a few steps are missing. Round up."),
            Mistake(
                math.ceil(warm_up / math.ceil(n_cells / minibatch)),
                "Not all cells are trained on: a tenth is held out, so an epoch has fewer steps.",
            ),
            Mistake(warm_up, "These are the steps. How many steps has an epoch?"),
            Mistake(
                math.ceil(warm_up / math.ceil(0.9 * n_cells / 128)),
                "With minibatches of 128 that would be right. TotalVI's have 256 cells.",
            ),
            Mistake(
                400,
                "400 epochs is SCVI's warm-up. That of TotalVI is counted in steps.",
            ),
            Mistake(30, "30 epochs is the warm-up of the preset for few cells, not the default."),
        ],
    )


@exercise(
    "One argument makes the decoder deeper. It is among the three that the lesson reads from the "
    "module.",
    "Two parts are ignored. `layers.unused(model)` says which setting trains each.",
    '`scvi.model.TOTALVI(blood, n_layers_decoder=2, ...)`, and `gene_likelihood="zinb"` or '
    "`use_observed_lib_size=False`.",
)
def deeper_and_used(your_totalvi: Any) -> Reply:
    """Build a TotalVI with a deeper decoder and few ignored parameters."""
    how = "`scvi.model.TOTALVI(blood, ...)`."
    if problem := model_problem("your_totalvi", your_totalvi, TOTALVI, how):
        return not_yet(problem)
    anatomy = model_anatomy.read(your_totalvi)
    depth, sizes = anatomy.hidden_layers, anatomy.parameters
    ignored = sizes.get("ignored", 0) / sizes.sum()
    advice = (
        " You have made the encoder deeper: `n_layers_encoder` and `n_layers_decoder` are two "
        "arguments."
        if depth["encoder"] > 2 and depth["decoder"] < 2
        else ""
    )
    return requirements(
        (
            depth["decoder"] >= 2,
            f"Hidden layers in the decoder: {depth['decoder']}.",
            f"Hidden layers in the decoder: {depth['decoder']}. Two or more are asked for.{advice}",
        ),
        (
            ignored < 0.3,
            f"Ignored: {ignored:.0%} of the parameters.",
            f"Ignored: {ignored:.0%} of the parameters; less than 30 % are asked for. More layers "
            "or neurons do not wake a part that nothing asks for.",
        ),
        praise=(
            f"{depth['decoder']} hidden layers in the decoder, and {ignored:.0%} of the parameters "
            "ignored. Print the model: no word of the summary tells you about the layers. And "
            "what is used need not be better: it only changes what the model can say."
        ),
    )


@exercise(
    'Look at a histogram: `protein_figures.plot_histogram(blood, "CD19")`. On which axis do the '
    "humps lie apart?",
    "Work with `np.log1p(counts)`, and turn the threshold back into a count with `np.expm1`.",
    "On the logarithmic axis, take the point half-way between the smallest and the largest count.",
)
def where_it_begins(divide: Any, *, blood: AnnData, thresholds: pd.DataFrame) -> Reply:
    """Write a function that finds the count at which the foreground begins."""
    if not callable(divide):
        return not_yet(
            f"`divide` is {a_kind(divide)}. It should be a function: begin with `def "
            "divide(counts):`."
        )
    counts = {
        (protein, batch): blood.obsm[KEY].loc[blood.obs["batch"] == batch, protein].to_numpy(float)
        for protein in (*DIVIDED, "PD-1")
        for batch in ("10k", "5k")
    }
    limits = {}
    for key, values in counts.items():
        value, problem = call("divide", divide, (values,))
        limit, problem = (
            (None, problem) if problem else as_number("divide(counts)", value, "counts")
        )
        if limit is None:
            return not_yet(problem)
        limits[key] = limit
    one_hump = limits.pop(("PD-1", "10k"))
    del limits["PD-1", "5k"]

    def astray(of: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        """Return the share of cells on the other side than the lesson's threshold."""
        return {
            key: float(
                np.mean((counts[key] > of[key]) != (counts[key] > thresholds.at[key, "threshold"]))
            )
            for key in of
        }

    shares = astray(limits)
    if max(shares.values()) <= FEW:
        return right(
            f"In all {len(limits)} trials nearly every cell is on the side where the lesson has "
            "it. Now try PD-1, which has one hump: in batch 10k your function returns "
            f"{one_hump:,.0f}. A threshold can always be computed. Whether there are two humps to "
            "divide, only a look can tell."
        )
    if (reason := _why_astray(counts, limits)) is not None:
        return not_yet(reason)
    if max(astray({key: _count(limit) for key, limit in limits.items()}).values()) <= FEW:
        return not_yet(
            "Your thresholds are logarithms, and good ones. Turn them back into counts: "
            "`np.expm1(...)`."
        )
    protein, batch = worst = max(shares, key=lambda key: shares[key])
    side = "low" if limits[worst] < thresholds.at[worst, "threshold"] else "high"
    good = sum(share <= FEW for share in shares.values())
    return not_yet(
        f"{good} of {len(shares)} trials are right. {protein} in batch {batch}: the threshold "
        f"{limits[worst]:,.1f} is too {side}, and {shares[worst]:.0%} of the cells are on the "
        "wrong side."
    )


def _count(logged: float) -> float:
    """Turn ln(1 + count) back into a count.

    What is far too large for a logarithm becomes infinite.
    """
    with np.errstate(over="ignore"):
        return float(np.expm1(logged))


def _why_astray(
    counts: dict[tuple[str, str], np.ndarray], limits: dict[tuple[str, str], float]
) -> str | None:
    """Recognise a way of thinking in a learner's thresholds."""

    def is_always(wanted: Any) -> bool:
        return all(np.isclose(limits[key], wanted(counts[key])) for key in limits)

    if all(limits[key] < counts[key].min() or limits[key] == 0 for key in limits):
        return (
            "With these thresholds nearly every cell would have every protein. A count above zero "
            "is no sign of it: antibodies float about and stick by accident."
        )
    if len(set(limits.values())) == 1:
        return (
            "The same threshold for all of them. Each protein has a background of its own, and "
            "each batch: 200 counts of CD3 are foreground in batch 5k and background in batch "
            "10k. Find it from the counts that you are given."
        )
    if is_always(np.median):
        return (
            "The median has half of the cells above it, whatever the protein. That is so for CD3. "
            "But of CD19, say, one cell in twelve has it."
        )
    if is_always(np.mean):
        return (
            "The mean follows the few cells with most counts. Where many cells have the protein "
            "it lies amid the foreground. On a logarithmic axis the humps look alike."
        )
    if is_always(lambda values: values.max() / 2):
        return (
            "Half of the largest count lies amid the foreground, which spreads over thousands of "
            "counts. Take the middle on a logarithmic axis."
        )
    return None
