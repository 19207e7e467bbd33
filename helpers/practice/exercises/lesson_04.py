"""Lesson 04: the loss of an epoch, of a count, of a plan, and of a model without extra zeros."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch

from helpers.loss import evaluation, loss_ledger
from helpers.practice.exercises.answer_checks import (
    Mistake,
    a_kind,
    combine,
    function,
    model_problem,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet
from helpers.training import schedules, scvi_defaults

# The epoch that is asked about, and how many epochs the weight rises, by default and in the class
# preset.
EPOCH, WARM_UP, CLASS_WARM_UP = 161, 400, 4

# The numbers are printed with two digits, so an answer made of them may differ by this.
ROUNDING = 0.02

MANY_CELLS = 40_000
MIN_WARM_UP_EPOCHS = 10

# Two ways to ask a model for its negative ELBO draw other positions, and differ by less than this.
DRAWS = 2.0


@exercise(
    "Begin with the weight: it is 0 in epoch 1, and 1 after 400 epochs.",
    "The weight is 160/400. `train_loss` counts the KL divergence times the weight, the negative "
    "ELBO counts it in full.",
    "`train_loss = 2705.72 + weight * 28.72`, and `negative_elbo = 2705.72 + 28.72`.",
)
def one_epoch(weight: Any, train_loss: Any, negative_elbo: Any, *, kept: pd.DataFrame) -> Reply:
    """Compute the KL weight, the loss and the negative ELBO of one epoch of the default run."""
    logged = {str(name): float(value) for name, value in kept.loc[EPOCH].items()}
    return combine(
        _reply_to_weight(weight, logged),
        _reply_to_train_loss(train_loss, logged),
        _reply_to_negative_elbo(negative_elbo, logged),
    )


def _reply_to_weight(answer: Any, logged: dict[str, float]) -> Reply:
    risen = EPOCH - 1
    ways = {
        EPOCH / WARM_UP: (
            "Nearly: epoch 1 has weight 0, so by epoch 161 the weight has risen 160 times and not "
            "161."
        ),
        1: "1 is the weight when the warm-up is over. By default that takes 400 epochs.",
        risen / CLASS_WARM_UP: (
            "That is the rule of the class preset, whose warm-up takes 4 epochs, and it stops at "
            "1. This run warms up over 400."
        ),
        risen: "That counts the steps of the rise. Each of them is 1/400.",
    }
    return number(
        "weight",
        answer,
        logged["kl_weight"],
        tolerance=1e-3,
        praise="The weight has risen 160 times by 1/400.",
        mistakes=_mistakes(ways),
    )


def _reply_to_train_loss(answer: Any, logged: dict[str, float]) -> Reply:
    reconstruction, kl, weight = logged["reconstruction"], logged["kl"], logged["kl_weight"]
    ways = {
        logged["elbo"]: (
            "`train_loss` has the KL divergence in full here. That is the negative ELBO. Training "
            "makes the sum *with* the weight small."
        ),
        reconstruction: (
            "`train_loss` is the reconstruction loss alone. The KL divergence times the weight is "
            "missing."
        ),
        reconstruction + EPOCH / WARM_UP * kl: (
            "`train_loss` is right for the weight 161/400. The weight is one step smaller."
        ),
        weight * logged["elbo"]: (
            "In `train_loss` you have multiplied the whole sum. The weight belongs to the KL "
            "divergence only."
        ),
        reconstruction + weight: (
            "In `train_loss` you have added the weight itself. Multiply it by the KL divergence "
            "first."
        ),
    }
    return number(
        "train_loss",
        answer,
        logged["train_loss"],
        unit="nats per cell",
        tolerance=ROUNDING,
        praise="`train_loss` has the KL divergence times the weight.",
        mistakes=_mistakes(ways),
    )


def _reply_to_negative_elbo(answer: Any, logged: dict[str, float]) -> Reply:
    reconstruction, kl = logged["reconstruction"], logged["kl"]
    ways = {
        -logged["elbo"]: (
            "That is the ELBO itself. The size is right; `elbo_train` in the history has the other "
            "sign."
        ),
        logged["train_loss"]: (
            "`negative_elbo` has the weight in it. The ELBO counts the KL divergence in full, "
            "whatever the weight is."
        ),
        reconstruction - kl: (
            "In `negative_elbo` you have taken the KL divergence away. Both terms cost, so both "
            "are added."
        ),
        reconstruction: (
            "`negative_elbo` is the reconstruction loss alone. The position has to be paid for, "
            "too."
        ),
    }
    return number(
        "negative_elbo",
        answer,
        logged["elbo"],
        unit="nats per cell",
        tolerance=ROUNDING,
        praise=(
            "The negative ELBO does not know the weight. scvi-tools logged the same three numbers."
        ),
        mistakes=_mistakes(ways),
    )


def _mistakes(ways: dict[float, str]) -> list[Mistake]:
    """Make mistakes of the values that ways of thinking lead to, each with its reply, in order."""
    return [Mistake(value, reply) for value, reply in ways.items()]


@exercise(
    "First the probability of a 0, then its price. In how many ways can a 0 come about, and how "
    "probable is each?",
    "The two ways exclude each other, so their probabilities are added: `extra`, and `(1 - "
    "extra)` times the probability by chance.",
    "`return -np.log(extra + (1 - extra) * (theta / (theta + mean)) ** theta)`",
)
def price_of_a_zero(
    cost_of_zero: Any, *, minibatch: dict[str, torch.Tensor], generative: dict[str, Any]
) -> Reply:
    """Write a function that computes what a count of 0 costs, in nats."""
    counts, x = generative["px"], minibatch["X"]
    cost = -counts.log_prob(x).detach().numpy().astype(float)
    is_zero = x.numpy() == 0
    costs = cost[is_zero]
    numbers = [
        each.detach().numpy().astype(float)[is_zero]
        for each in (counts.mu, counts.theta, torch.sigmoid(counts.zi_logits))
    ]
    # From the least to the most costly zeros.
    chosen = np.argsort(costs)[(np.linspace(0.1, 0.9, 5) * len(costs)).astype(int)]
    cases = [
        (tuple(float(each[index]) for each in numbers), float(costs[index])) for index in chosen
    ]
    return function(
        "cost_of_zero",
        cost_of_zero,
        cases,
        tolerance=1e-3,
        praise=(
            "Your function gives what scVI pays for five zeros of these cells, from "
            f"{costs[chosen[0]]:.2f} to {costs[chosen[-1]]:.2f} nats. Zeros are "
            f"{is_zero.mean():.0%} of the counts here, and {costs.sum() / cost.sum():.0%} of the "
            "reconstruction loss: a 0 that is expected is cheap."
        ),
        mistakes=_WRONG_COSTS,
    )


def _by_chance(mean: float, theta: float) -> float:
    """Return the probability of 0 under a negative binomial distribution."""
    return (theta / (theta + mean)) ** theta


def _probability(mean: float, theta: float, extra: float) -> float:
    """Return the probability of 0 with extra zeros."""
    return extra + (1 - extra) * _by_chance(mean, theta)


_WRONG_COSTS: list[tuple[Callable[..., float], str]] = [
    (
        _probability,
        "That is the probability of a 0, and it is right. What does a thing with this probability "
        "cost?",
    ),
    (
        lambda mean, theta, extra: math.log(_probability(mean, theta, extra)),
        "The size is right, the sign is not. The logarithm of a probability is below 0; the cost "
        "is its negative.",
    ),
    (
        lambda mean, theta, extra: -math.log2(_probability(mean, theta, extra)),
        "The probability is right, and the cost is in bits. With the natural logarithm, `np.log`, "
        "it is in nats.",
    ),
    (
        lambda mean, theta, extra: -math.log10(_probability(mean, theta, extra)),
        "The probability is right. Nats come from the natural logarithm, `np.log`, not from the "
        "one to base 10.",
    ),
    (
        lambda mean, theta, extra: -math.log(_by_chance(mean, theta)),
        "That is the cost under the plain negative binomial distribution. scVI has extra zeros as "
        "well: `extra` says how probable one is.",
    ),
    (
        lambda mean, theta, extra: -math.log(extra),
        "That is the cost if each 0 were an extra zero. Most zeros come by chance.",
    ),
    (
        lambda mean, theta, extra: -math.log((1 - extra) * _by_chance(mean, theta)),
        "That is the cost of a 0 that came by chance. It may also be an extra zero: add that "
        "probability before you take the logarithm.",
    ),
    (
        lambda mean, theta, extra: -math.log(extra + _by_chance(mean, theta)),
        "Both ways are in it. But where there is an extra zero, chance is not asked: the second "
        "way has only the share `1 - extra`.",
    ),
    (
        lambda mean, theta, extra: (
            -math.log(extra) - math.log((1 - extra) * _by_chance(mean, theta))
        ),
        "You have added two costs. Costs are added where *both* things happen. Here it is one "
        "*or* the other: add the probabilities, then take one logarithm.",
    ),
    (
        lambda mean, theta, extra: -math.log(extra + (1 - extra) * theta / (theta + mean)),
        "Nearly: the fraction `theta / (theta + mean)` has to be raised to the power of `theta`, "
        "in Python `** theta`.",
    ),
]


@exercise(
    "With 200 epochs and a warm-up of 400 the weight ends near one half. Which setting says how "
    "long the warm-up takes?",
    "`n_epochs_kl_warmup` is that setting. In at least 100 of the 200 epochs the weight has to be "
    "1.",
    'A warm-up of 50 epochs is one of many answers: `{"n_epochs_kl_warmup": 50}`.',
)
def plan_for_many_cells(your_plan: Any) -> Reply:
    """Plan a training of 40,000 cells whose loss is the negative ELBO in half of the epochs."""
    if not isinstance(your_plan, dict):
        return not_yet(
            f'`your_plan` is {a_kind(your_plan)}. It should be a dictionary: `{{"name of a '
            'setting": value}`.'
        )
    problem = _problem_of_plan(your_plan)
    if problem:
        return not_yet(problem)
    weights = _weights(your_plan)
    in_full = int((weights == 1).sum())
    rising = int((weights < 1).sum())
    return requirements(
        (
            weights[0] < 0.1,
            "It begins near 0.",
            f"In epoch 1 the weight is {weights[0]:g}. A warm-up begins near 0.",
        ),
        (
            rising >= MIN_WARM_UP_EPOCHS,
            f"It rises over {rising} epochs.",
            f"It stays below 1 for {rising} {'epoch' if rising == 1 else 'epochs'}: that is hardly "
            f"a warm-up. Give it {MIN_WARM_UP_EPOCHS} epochs at least.",
        ),
        (
            weights.max() <= 1,
            "It is never above 1.",
            f"It rises to {weights.max():g}. Above 1 the loss is more than the negative ELBO, and "
            "dimensions collapse.",
        ),
        (
            2 * in_full >= len(weights),
            f"It is 1 in {in_full} of {len(weights)} epochs.",
            f"It is 1 in {in_full} of {len(weights)} epochs, and ends at {weights[-1]:.3g}. Half "
            "of the epochs are asked for: make the warm-up shorter.",
        ),
        praise=(
            f"The weight is 1 in {in_full} of {len(weights)} epochs, so what training makes small "
            "there is the negative ELBO. Without your plan it would end at "
            f"{_weights({})[-1]:.3g}, and nothing would tell you."
        ),
    )


def _problem_of_plan(plan: dict[Any, Any]) -> str:
    """Say what makes a plan none, or nothing."""
    settings = inspect.signature(scvi.train.TrainingPlan).parameters
    for name, value in plan.items():
        if name == "plan_kwargs":
            return (
                "`your_plan` is what comes after `plan_kwargs=`. Leave this word out: only the "
                "settings themselves."
            )
        if name in ("max_epochs", "early_stopping", "batch_size", "train_size"):
            return (
                f"`{name}` is a setting of `train` and not of its plan. The 200 epochs stay: "
                "change how fast the weight rises."
            )
        if name not in settings or name in ("module", "loss_kwargs"):
            return f"A training plan has no setting {name!r}. Is it spelt as in the lesson?"
        if "kl" not in name:
            return f"`{name}` is a setting, but it does not change the KL weight."
        if value is not None and (not isinstance(value, Real) or isinstance(value, bool)):
            return f"`{name}` should be a number; it is {a_kind(value)}."
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"`{name}` is {value}. It should be a number from 0 on."
    if plan.get("n_steps_kl_warmup") and plan.get("n_epochs_kl_warmup", WARM_UP):
        return (
            "scvi-tools looks at `n_steps_kl_warmup` only if `n_epochs_kl_warmup` is None, and "
            "that is 400 by default. Use `n_epochs_kl_warmup` instead."
        )
    if plan.get("min_kl_weight", 0) > plan.get("max_kl_weight", 1):
        return "`min_kl_weight` is larger than `max_kl_weight`."
    return ""


def _weights(plan: dict[str, Any]) -> np.ndarray:
    """Return the KL weight with which each epoch of MANY_CELLS cells begins."""
    epochs = scvi_defaults.default_epochs(MANY_CELLS)
    steps = schedules.run_length(MANY_CELLS, "default")["steps"] // epochs
    plan = {"n_epochs_kl_warmup": WARM_UP, "n_steps_kl_warmup": None} | plan
    return np.array([schedules.kl_weight(each, each * steps, **plan) for each in range(epochs)])


@exercise(
    "Build a second model that differs in `gene_likelihood` only, with the same seed before it, "
    "and train it.",
    '`loss.compare({"zinb": model, "nb": plain})` has a column `negative ELBO`: of the same '
    "held-out cells.",
    "`saved` is the negative ELBO of `plain` minus that of `model`.",
)
def extra_zeros(plain: Any, saved: Any, *, model: scvi.model.SCVI) -> Reply:
    """Train a model without extra zeros, and say what these save on held-out cells."""
    problem = _problem_of_plain(plain, model)
    if problem:
        return not_yet(problem)
    compared = evaluation.compare({"zinb": model, "nb": plain})
    weight = compared.loc["nb", "KL weight"]
    if weight < 0.99:
        return not_yet(
            f"The KL weight of `plain` ended at {weight:.2g}, so it was trained with another loss "
            "than `model`. Build it again, and train it in the same way: `training.train(plain)`."
        )
    more = compared.loc["nb"] - compared.loc["zinb"]
    last = [loss_ledger.ledger(each)["train_loss"].iloc[-1] for each in (model, plain)]
    return number(
        "saved",
        saved,
        more["negative ELBO"],
        unit="nats per cell",
        tolerance=DRAWS,
        praise=(
            f"The extra zeros save {more['negative ELBO']:.0f} nats per cell. Other seeds give "
            f"about as much, so here they pay. The KL divergence changes by {more['KL']:+.1f} "
            "nats: nearly all of what is saved is reconstruction loss. That of `plain` is "
            f"{compared.loc['nb', 'reconstruction']:,.0f}: with the same distribution and a free "
            "position, is it ahead of PCA with 30 components, in the table above?"
        ),
        mistakes=[
            Mistake(
                -more["negative ELBO"],
                "The size is right, the sign is not. The negative ELBO is *larger* without extra "
                "zeros, so with them something is saved: a positive number.",
            ),
            Mistake(
                last[1] - last[0],
                "That is the difference in `train_loss`: training cells, measured with dropout. "
                "Take the held-out cells, `negative ELBO` of `loss.compare`.",
            ),
            Mistake(
                compared.loc["nb", "negative ELBO"],
                "That is the negative ELBO of `plain` alone. How far is it from that of `model`?",
            ),
        ],
    )


def _problem_of_plain(plain: Any, model: scvi.model.SCVI) -> str:
    """Say why a model cannot be compared with that of the lesson, or nothing."""
    if problem := model_problem("plain", plain, scvi.model.SCVI, "`scvi.model.SCVI(adata, ...)`."):
        return problem
    likelihood = plain.module.gene_likelihood
    if likelihood == model.module.gene_likelihood:
        return (
            '`plain` has the same likelihood as `model`, with extra zeros ("zinb"). Which setting '
            "of `SCVI` takes them away?"
        )
    if likelihood != "nb":
        return (
            f'`plain` has the likelihood "{likelihood}", which changes more than the extra zeros. '
            'The plain negative binomial is called "nb".'
        )
    if plain.module.n_latent != model.module.n_latent:
        return (
            "`plain` differs from `model` in `n_latent` as well. Then nobody can say what the "
            "extra zeros alone do: change one thing at a time."
        )
    if not plain.is_trained:
        return (
            "`plain` has the right likelihood, and it is not trained yet: `training.train(plain)`."
        )
    cells = [set(map(int, each.validation_indices)) for each in (model, plain)]
    if plain.adata.shape != model.adata.shape or cells[0] != cells[1]:
        return (
            "`plain` was trained with other held-out cells than `model`, so the two numbers are "
            "of other cells. Put `environment.prepare(seed=0)` before it, and train again."
        )
    return ""
