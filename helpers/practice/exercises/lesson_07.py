"""Lesson 07: what luck does, what is equal for all, and how to compare within a seed."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
from scvi.model import SCVI
from scvi.model.base import BaseModelClass

from helpers.practice.exercises.answer_checks import (
    Mistake,
    a_kind,
    function,
    model_problem,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet, right
from helpers.scale import sweep_results

# How many architectures the colleague of exercise 1 compares with the default.
COMPARED = 50

# The columns of a table of trials that make an architecture, and those that a learner may vary in
# exercise 4.
LOSS = "negative ELBO"
MAY_DIFFER = {"n_layers", "n_hidden", "n_latent"}


@exercise(
    'Without a difference each seed says "better" or "worse" like a coin. How often do two coins '
    'both say "better"? Three?',
    "Of 50 architectures, 50 × 0.5 are expected to beat the default with one seed, 50 × 0.5 × 0.5 "
    "with both of two.",
    "Halve 50 until it is below 1, and count how often.",
)
def seeds_against_luck(n_seeds: Any) -> Reply:
    """Seeds with which luck lets fewer than one of 50 equal architectures win every time."""
    expected = next(seeds for seeds in range(1, 100) if lucky(seeds) < 1)
    too_few = [
        Mistake(
            seeds,
            f"With {seeds} {'seed' if seeds == 1 else 'seeds'}, luck alone lets {lucky(seeds):.3g} "
            "of the 50 win every time. That is not below 1.",
        )
        for seeds in range(1, expected)
    ]
    both_ways = Mistake(
        expected + 1,
        'Do you count those that are *worse* with every seed, too? That is what "all seeds agree" '
        f'counts. Asked is "better" only, {lucky(expected + 1):.2g} of 50 with {expected + 1} '
        "seeds: enough, but one seed fewer will do.",
    )
    too_many = [
        Mistake(
            seeds,
            f"That is enough: luck lets {lucky(seeds):.2g} of the 50 win every time. But fewer "
            "seeds will do.",
        )
        for seeds in range(expected + 2, 21)
    ]
    return number(
        "n_seeds",
        n_seeds,
        expected,
        unit="seeds",
        praise=(
            f"{lucky(expected - 1):.2f} of 50 are expected with {expected - 1} seeds, "
            f"{lucky(expected):.2f} with {expected}. The more you compare, the more seeds it "
            "takes."
        ),
        mistakes=[
            *too_few,
            both_ways,
            *too_many,
            Mistake(
                COMPARED / 2,
                "That is how *many* of the 50 win with one seed. Asked is the number of seeds.",
            ),
        ],
    )


def lucky(seeds: int) -> float:
    """Return how many of 50 architectures that are no different win with every seed, on average."""
    return COMPARED * 0.5**seeds


@exercise(
    "`sweep_results.costs(trials)` has the seconds of 14 epochs for each architecture. How long "
    "does *one* epoch of each take?",
    "The large network needs more seconds for an epoch, so in the same seconds it gets fewer "
    "epochs.",
    "14 × the seconds of the default / the seconds of three layers of 256.",
)
def equal_seconds(n_epochs: Any, *, trials: pd.DataFrame) -> Reply:
    """Epochs of three layers of 256 in the seconds that the default takes for its epochs."""
    costs = sweep_results.costs(trials)
    default, large = tuple(sweep_results.DEFAULT.values()), (3, 256)
    seconds = costs["CPU seconds"]
    epochs = int(trials["epochs"].iloc[0])
    expected = epochs * seconds[default] / seconds[large]
    parameters = costs["trained parameters"]
    return number(
        "n_epochs",
        n_epochs,
        expected,
        tolerance=0.4,  # the table of the lesson shows whole seconds
        unit="epochs",
        praise=(
            f"About {expected:.1f} instead of {epochs}. It was worse with equal epochs; with equal "
            "seconds it would be trained even less. Both rules are fair, and they are different "
            "questions: say which one you took."
        ),
        mistakes=[
            Mistake(
                epochs,
                "That is the rule of the lesson: equal *epochs*. Now the seconds are equal, and "
                "an epoch of the larger network takes longer.",
            ),
            Mistake(
                epochs * seconds[large] / seconds[default],
                "The ratio is upside down: the larger network would get *more* epochs, though "
                "each takes longer.",
            ),
            Mistake(
                epochs * parameters[default] / parameters[large],
                "That is the ratio of the parameters. Time grows more slowly: much of a step goes "
                "into the likelihood, which is the same for all. Take the column `CPU seconds`.",
            ),
            Mistake(
                np.ceil(expected),
                "Rounded up, it takes a little longer than the default. Round down, or leave the "
                "fraction.",
            ),
            Mistake(
                seconds[default],
                "These are the seconds. How many epochs of the large network fit into them?",
            ),
        ],
    )


@exercise(
    "Put the seeds beside each other: for each seed the loss of the architecture and that of the "
    "default. Which seeds have both?",
    'A Series whose index is the seed helps: `table[...].set_index("seed")["negative ELBO"]`. '
    "pandas subtracts two such Series seed by seed.",
    "`(of_architecture - of_default).mean()`, both indexed by seed. Seeds that only one of them "
    "has become NaN, which `mean()` leaves out.",
)
def within_a_seed(paired_difference: Any, *, trials: pd.DataFrame) -> Reply:
    """Write a paired comparison that holds where trials are missing."""
    shuffled = trials.sample(frac=1, random_state=0)
    of_large = (shuffled["n_layers"] == 1) & (shuffled["n_hidden"] == 256)
    incomplete = shuffled[~(of_large & ~shuffled["seed"].isin([3, 4, 5]))]
    tables = [(trials, 2, 128), (shuffled, 3, 64), (incomplete, 1, 256)]
    return function(
        "paired_difference",
        paired_difference,
        [(case, _paired(*case)) for case in tables],
        tolerance=0.005,
        praise="Where all trials are there, the difference of the two means would be the same. "
        "Where some have died, it compares different held-out cells. In one trial of this check it "
        f"would be {_unpaired(*tables[-1]):+.0f} nats, and the pairs say "
        f"{_paired(*tables[-1]):+.0f}.",
        mistakes=[
            (
                _unpaired,
                "You take the mean of each and then the difference. That is right while all "
                "trials are there. In a trial of this check some have died: then the two means "
                "are over different seeds, so over different held-out cells. Subtract within each "
                "seed first.",
            ),
            (
                lambda *case: -_paired(*case),
                "The size is right, the sign is not: architecture less default, so that below 0 "
                "is better.",
            ),
            (
                lambda *case: -_unpaired(*case),
                "Two things: the sign (architecture less default), and the pairs. Subtract within "
                "each seed, then take the mean.",
            ),
            (
                lambda *case: _differences(*case).sum(),
                "That is the sum over the seeds. Take their mean.",
            ),
            (
                lambda *case: _differences(*case),
                "These are the differences, one a seed. Asked is one number, their mean.",
            ),
            (
                lambda table, n_layers, n_hidden: _of(table, n_layers, n_hidden).mean(),
                "That is the loss of the architecture. Nothing is subtracted yet.",
            ),
        ],
    )


def _of(table: pd.DataFrame, n_layers: int, n_hidden: int) -> pd.Series:
    """Return the losses of an architecture by seed."""
    chosen = (table["n_layers"] == n_layers) & (table["n_hidden"] == n_hidden)
    return pd.Series(table[chosen].set_index("seed")[LOSS]).sort_index()


def _differences(table: pd.DataFrame, n_layers: int, n_hidden: int) -> pd.Series:
    return (_of(table, n_layers, n_hidden) - _of(table, *sweep_results.DEFAULT.values())).dropna()


def _paired(table: pd.DataFrame, n_layers: int, n_hidden: int) -> float:
    return float(_differences(table, n_layers, n_hidden).mean())


def _unpaired(table: pd.DataFrame, n_layers: int, n_hidden: int) -> float:
    default = _of(table, *sweep_results.DEFAULT.values())
    return float(_of(table, n_layers, n_hidden).mean() - default.mean())


@exercise(
    "For each model: set the seed, build the model, train it. What has to be the same the second "
    "time, and what may differ?",
    "`environment.prepare(seed=1)` before each of the two. The first is `scvi.model.SCVI(blood)`, "
    "the second has one setting more.",
    "After building each, `training.train(usual)` and `training.train(other)`: the same preset "
    "for both, and no other arguments.",
)
def fair_pair(usual: Any, other: Any) -> Reply:
    """Train two models that differ in their architecture and in nothing else."""
    for name, model in (("usual", usual), ("other", other)):
        if problem := _no_trained_model(name, model):
            return not_yet(problem)
    if usual is other:
        return not_yet(
            "`usual` and `other` are one and the same model. Build two: `scvi.model.SCVI(blood)`, "
            "and one with another setting."
        )
    varied = _varied(usual, other)
    reply = requirements(
        *_of_the_models(usual, other, varied), *_of_the_trainings(usual, other), praise=""
    )
    if not reply.is_right:
        return reply
    difference = _held_out_loss(other) - _held_out_loss(usual)
    what = " and ".join(f"`{name}={_choices(other)[name]}`" for name in sorted(varied))
    size = f"{abs(difference):.1f} nats {'lower' if difference < 0 else 'higher'}"
    return right(
        f"All is equal but {what}. On the {len(usual.validation_indices)} held-out cells its "
        f"negative ELBO is {size} than that of the default. That is one pair, so one seed: it says "
        "little yet. Repeat both with other seeds before you believe it."
    )


def _no_trained_model(name: str, model: Any) -> str:
    """Say why something is no trained model of the kind that is asked for; empty if it is one."""
    how = (
        f"`{name} = scvi.model.SCVI(blood)`, and `training.train({name})` in the next line (it "
        "returns nothing)."
    )
    if problem := model_problem(name, model, BaseModelClass, how):
        return problem
    if type(model) is not SCVI:
        return (
            f"`{name}` is {a_kind(model)}. Its loss has other terms; take `scvi.model.SCVI` for "
            "both."
        )
    if not model.is_trained:
        return f"`{name}` is not trained yet: `training.train({name})`."
    return ""


def _of_the_models(usual: SCVI, other: SCVI, varied: set[str]) -> list[tuple[bool, str, str]]:
    """Look at what was built: default, another architecture, and nothing else changed."""
    defaults = inspect.signature(SCVI.__init__).parameters
    changed = [name for name in MAY_DIFFER if _choices(usual)[name] != defaults[name].default]
    more = sorted(varied - MAY_DIFFER)
    return [
        (
            not changed,
            "`usual` has the default architecture.",
            "`usual` has not the default architecture: "
            f"{', '.join(f'`{name}={_choices(usual)[name]}`' for name in sorted(changed))}.",
        ),
        (
            bool(varied & MAY_DIFFER),
            "The architectures differ.",
            "Both have the same architecture. Give `other` another `n_layers`, `n_hidden` or "
            "`n_latent`.",
        ),
        (
            not more,
            "No other setting of the models does.",
            f"The models also differ in {', '.join(f'`{name}`' for name in more)}. Then you cannot "
            "tell which of the two made the difference.",
        ),
        (
            usual.adata.obs_names.equals(other.adata.obs_names)
            and usual.adata.var_names.equals(other.adata.var_names),
            "Same cells, same genes.",
            "They saw different cells or genes, so their losses are about different numbers.",
        ),
    ]


def _of_the_trainings(usual: SCVI, other: SCVI) -> list[tuple[bool, str, str]]:
    """Look at how they were trained: held-out cells, and budget."""
    ours, theirs = (_training(model) for model in (usual, other))
    differing = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    one_preset = ours.keys() == theirs.keys()
    why = (
        f"differ in {', '.join(differing)}"
        if differing
        else (
            "were made in two ways, one with `training.train` and one with `model.train`, which "
            "take different settings"
        )
    )
    return [
        (
            set(usual.validation_indices) == set(other.validation_indices),
            "Same held-out cells.",
            "They are judged on *different held-out cells*: the seed was not the same. Call "
            "`environment.prepare(seed=1)` before you build each.",
        ),
        (
            not differing and one_preset,
            "Same training.",
            f"The trainings {why}. The same budget for both: the same call, with the same "
            "arguments.",
        ),
    ]


def _choices(model: SCVI) -> dict[str, Any]:
    """Return with which settings a model was built."""
    kept = model.init_params_
    more = {name: value for given in kept["kwargs"].values() for name, value in given.items()}
    return kept["non_kwargs"] | more


def _varied(usual: SCVI, other: SCVI) -> set[str]:
    ours, theirs = _choices(usual), _choices(other)
    return {name for name in ours | theirs if ours.get(name) != theirs.get(name)}


def _training(model: SCVI) -> dict[str, Any]:
    """Return what a training was like, as far as the model still knows, in words for the reply."""
    seen: dict[str, Any] = {"epochs": len(model.history["train_loss"])}
    trainer = getattr(model, "trainer", None)  # a model that was read from a file has none
    plan = getattr(trainer, "lightning_module", None)
    if plan is not None:
        seen["steps an epoch"] = trainer.num_training_batches
        seen["learning rate"] = plan.lr
        seen["KL warm-up"] = (plan.n_epochs_kl_warmup, plan.n_steps_kl_warmup)
    settings = getattr(model, "train_settings_", None)
    return seen | ({"arguments of the training": settings["train_kwargs"]} if settings else {})


def _held_out_loss(model: SCVI) -> float:
    """Return the negative ELBO of the held-out cells, in nats per cell."""
    return -float(model.get_elbo(indices=model.validation_indices))
