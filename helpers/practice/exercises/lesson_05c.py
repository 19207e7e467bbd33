"""Lesson 05c: what `batch_key` adds, a correction by hand, and designs that can be corrected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from anndata import AnnData
from scvi.model import SCVI

from helpers.batches.experiments import PAIR
from helpers.latent import neighbours
from helpers.practice.exercises.answer_checks import (
    Mistake,
    a_kind,
    as_names,
    call,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet, right

# Two of each kind: patient or control, female or male.
SAMPLES = ("PF1", "PF2", "PM1", "PM2", "CF1", "CF2", "CM1", "CM2")
KINDS = {
    "PF": "female patients",
    "PM": "male patients",
    "CF": "female controls",
    "CM": "male controls",
}


@exercise(
    "How many inputs more has the decoder's first layer? The lesson prints both numbers.",
    "A weight joins each input with each neuron. How many neurons has the hidden layer?",
    "Two inputs more, and 128 neurons that read each of them.",
)
def price_of_batches(n_added: Any, *, models: Mapping[str, SCVI]) -> Reply:
    """Parameters that `batch_key` adds to a model with two batches."""
    without, known = (
        sum(parameter.numel() for parameter in models[name].module.parameters())
        for name in ("scVI", "scVI with batch_key")
    )
    n_neurons = models["scVI"].module.decoder.px_decoder.fc_layers[0][0].out_features
    n_genes = models["scVI"].adata.n_vars
    return number(
        "n_added",
        n_added,
        known - without,
        unit="parameters",
        praise=(
            f"One for each neuron and batch, of {known:,} in all. The whole learned batch effect "
            "sits in these weights: no gene has a correction of its own. What the neurons do to "
            "each gene, the batch does through them."
        ),
        mistakes=[
            Mistake(
                2, "These are the inputs that were added. Each of them has a weight to each neuron."
            ),
            Mistake(n_neurons, "That is one switch. There is one for A and one for B."),
            Mistake(
                4 * n_neurons,
                "Have you counted the encoder, too? By default it is not told the batch.",
            ),
            Mistake(
                2 * n_genes,
                "That would be a factor for each gene and batch, a correction of the counts. "
                "`batch_key` does nothing of the kind: the switches go into the hidden layer, "
                "which all genes share.",
            ),
            Mistake(
                (10 + 2) * n_neurons,
                "These are all weights of this layer. Ten of its inputs were there before.",
            ),
            Mistake(
                known,
                "These are all parameters of the model. How many more are they than without "
                "`batch_key`?",
            ),
        ],
    )


@exercise(
    "What sets the batches apart in this space? Compare the mean position of their cells: "
    '`positions[batch == "A"].mean(axis=0)`.',
    "Move the cells of each batch by the same vector, so that the means of both batches come to "
    "lie at the same place.",
    "Copy the positions. From the cells of each batch subtract the mean of *that* batch.",
)
def own_correction(correct: Any, *, adata: AnnData, latent_spaces: Mapping[str, Any]) -> Reply:
    """Write a correction that mixes the batches and keeps the classes."""
    if not callable(correct):
        return not_yet(
            f"`correct` is {a_kind(correct)}. It should be a function: begin with `def "
            "correct(positions, batch):`."
        )
    positions = np.asarray(latent_spaces["scVI"], dtype=float)
    batch, classes = (adata.obs[key].to_numpy(dtype=str) for key in ("batch", "cell_type"))
    moved, problem = _moved(correct, positions, batch)
    if moved is None:
        return not_yet(problem)
    if neighbours.shared(positions, moved) > 0.99:
        return not_yet(
            "Every cell has the same neighbours as before: the positions are the old ones, or all "
            "cells moved alike. The cells of A have to move in another way than those of B."
        )
    mixing, kept = (neighbours.label_accuracy(moved, labels) for labels in (batch, classes))
    before = neighbours.label_accuracy(positions, batch)
    return requirements(
        (
            mixing < 0.75,
            f"kNN batch accuracy {mixing:.2f}: the batches are mixed.",
            f"kNN batch accuracy {mixing:.2f}, and {before:.2f} before. Below 0.75 is asked for.",
        ),
        (
            kept > 0.85,
            f"kNN class accuracy {kept:.2f}: the classes are still there.",
            f"kNN class accuracy {kept:.2f}; above 0.85 is asked for. Whoever loses the classes "
            "mixes the batches, too: random positions do. The biology has to stay.",
        ),
        praise=(
            f"kNN batch accuracy {mixing:.2f} (before: {before:.2f}), kNN class accuracy "
            f"{kept:.2f}: mixed, and the classes are there. "
            f"{_confounded(correct, positions, batch, classes)}"
        ),
    )


def _moved(correct: Any, positions: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Return what a learner's function makes of positions, or None and what is wrong with it."""
    value, problem = call("correct", correct, (positions, batch))
    if problem:
        return None, problem
    try:
        moved = np.asarray(value, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        return None, (
            f"`correct` returns {a_kind(value)}. It should return positions, an array of the shape "
            f"{positions.shape}."
        )
    if moved.shape != positions.shape:
        return None, (
            f"`correct` returns the shape {moved.shape}. One row per cell and one column per "
            f"dimension is asked for: {positions.shape}."
        )
    if not np.isfinite(moved).all():
        return None, (
            "`correct` returns NaN or infinite numbers. Was something divided by 0, or is a batch "
            "without cells?"
        )
    return moved, ""


def _confounded(correct: Any, positions: np.ndarray, batch: np.ndarray, classes: np.ndarray) -> str:
    """Say what the function does where class and batch are the same."""
    chosen = [(classes == name) & (batch == of) for name, of in zip(PAIR, "AB", strict=True)]
    rows = chosen[0] | chosen[1]
    moved, problem = _moved(correct, positions[rows], batch[rows])
    if problem:
        return "Give it other cells, and it stops: work with the arguments alone."
    before, after = (
        neighbours.label_accuracy(each, classes[rows]) for each in (positions[rows], moved)
    )
    return (
        f"The check has tried it on confounded cells as well, {PAIR[0]} from A alone and {PAIR[1]} "
        f"from B alone: there the kNN class accuracy goes from {before:.2f} to {after:.2f} (always "
        f"guessing {PAIR[0]} gives {chosen[0].sum() / rows.sum():.2f}). Your function cannot know "
        "what is batch and what is class. Nor can any other."
    )


@exercise(
    "`experiments.train(cells)` trains without `batch_key`. Make the cells with a `strength` below "
    "0.8.",
    "Try half the strength of the lesson.",
    "`weak_model = experiments.train(experiments.simulate(cortex, strength=0.4))`",
)
def harmless(weak_model: Any) -> Reply:
    """Find a batch effect that does no harm though the model is not told of it."""
    problem = _no_model_of_simulated_cells(weak_model)
    if problem:
        return not_yet(problem)
    cells = weak_model.adata
    strength, epochs = 1 - cells.var["true_kept"].min(), len(weak_model.history["elbo_train"])
    positions = weak_model.get_latent_representation()
    mixing, kept = (
        neighbours.label_accuracy(positions, cells.obs[key]) for key in ("batch", "cell_type")
    )
    return requirements(
        (
            weak_model.summary_stats["n_batch"] == 1,
            "The model is not told the batch.",
            "The model is told the batch. What is asked for is a batch effect that does no harm "
            "*without* `batch_key`.",
        ),
        (
            strength > 0.29,
            f"Some genes lose {strength:.0%} of their molecules.",
            f"No gene loses more than {strength:.0%} of its molecules. Where there is no batch "
            "effect there is nothing to show; make `strength` 0.3 or more.",
        ),
        (
            mixing < 0.65,
            f"kNN batch accuracy {mixing:.2f}.",
            f"kNN batch accuracy {mixing:.2f}: the neighbours give the batch away. Below 0.65 is "
            "asked for, so make the effect weaker.",
        ),
        (
            kept > 0.85,
            f"kNN class accuracy {kept:.2f}.",
            f"kNN class accuracy {kept:.2f}; above 0.85 is asked for. Where the classes are hardly "
            "there, mixed batches prove nothing. Are there enough genes?",
        ),
        (
            epochs >= 10,
            f"{epochs} epochs.",
            f"{epochs} {'epoch' if epochs == 1 else 'epochs'}: such a model has hardly learned "
            "anything, not even the batches. Train ten or more; without `max_epochs` it is "
            "enough.",
        ),
        praise=(
            f"Genes lose up to {strength:.0%} of their molecules, and with a kNN batch accuracy of "
            f"{mixing:.2f} the batches are nearly mixed, without `batch_key` (classes: "
            f"{kept:.2f}). So weak an effect hardly reaches the latent space. With `batch_key` you "
            "would see no harm, and little good. So measure first."
        ),
    )


def _no_model_of_simulated_cells(given: Any) -> str:
    """Say what is wrong if this is not a trained SCVI of cells with a known batch effect."""
    if isinstance(given, type):
        return (
            f"`weak_model` is the class `{given.__name__}`, not a model. `experiments.train(...)` "
            "returns one."
        )
    if isinstance(given, AnnData):
        return "`weak_model` holds cells. Train a model on them: `experiments.train(cells)`."
    if not isinstance(given, SCVI):
        return (
            f"`weak_model` is {a_kind(given)}. It should be the model that "
            "`experiments.train(...)` "
            "returns."
        )
    if "true_kept" not in given.adata.var:
        return (
            "The cells of this model have no batch effect that is known. Make some: "
            "`experiments.simulate(cortex, strength=...)`."
        )
    if not given.is_trained_:
        return "This model is not trained yet. `experiments.train(cells)` builds and trains one."
    return ""


@exercise(
    "Count, as in the lesson: one row per kind of sample, one column per run. Which fields "
    "are empty?",
    "Patients and controls have to be in both runs, and so have women and men.",
    "There are four kinds with two samples each: PF, PM, CF and CM. Put one of each kind into run "
    "1.",
)
def design(in_run_1: Any) -> Reply:
    """Divide eight samples between two runs so that nothing is confounded."""
    given, problem = as_names("in_run_1", in_run_1, SAMPLES)
    if given is None:
        return not_yet(problem)
    if len(given) != len(set(given)):
        return not_yet("`in_run_1` names a sample twice. Each can be measured once.")
    if len(given) != 4:
        return not_yet(
            f"`in_run_1` holds {len(given)} samples. There is room for four in each run."
        )
    counted = Counter(sample[:2] for sample in given)
    for index, first, second in ((0, "PC", "patients and controls"), (1, "FM", "women and men")):
        of_first = sum(sample[index] == first[0] for sample in given)
        if of_first in (0, 4):
            return not_yet(
                f"{second.capitalize()} are in different runs: whatever differs between the runs "
                f"is called a difference of {second}, or the other way round. No `batch_key` can "
                "part them."
            )
        if of_first != 2:
            return not_yet(
                f"Not wholly confounded: {second} are in both runs. But they are three to one, so "
                "each comparison inside a run leans on a single sample. You can do better."
            )
    alone = [KINDS[kind] for kind in KINDS if counted[kind] != 1]
    if alone:
        return not_yet(
            "Two patients and two controls, two women and two men in each run: good. But "
            f"{alone[0]} are in one run alone. In run 1 all patients are of one sex and all "
            "controls of the other."
        )
    return right(
        "One of each kind in each run. The difference of patients and controls can be seen inside "
        "each run, and so can the batch effect, in four kinds of samples. This is what no model "
        "can do for you afterwards."
    )
