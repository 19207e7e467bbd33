"""Lesson 03: hidden layers, heads, and what they cost."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from scvi.model import LinearSCVI
from scvi.model.base import BaseModelClass

from helpers.layers import architecture, untrained_parts
from helpers.practice.exercises.answer_checks import (
    Mistake,
    model_problem,
    names,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet


@exercise(
    "A weight joins each number that comes in with each neuron.",
    "Besides its weights, each neuron has one bias. In the batch normalisation it has a scale and "
    "a shift.",
    "128 × 64 weights, and three more numbers for each of the 64 neurons.",
)
def cost_of_a_layer(n_parameters: Any) -> Reply:
    """Parameters of a hidden layer of 64 neurons that reads 128, with its batch normalisation."""
    weights, each = 128 * 64, 64
    return number(
        "n_parameters",
        n_parameters,
        weights + 3 * each,
        unit="parameters",
        praise="Weights, biases, and a scale and a shift for each neuron.",
        mistakes=[
            Mistake(
                weights,
                "These are the weights. Each neuron has a bias as well, and a scale and a shift.",
            ),
            Mistake(
                weights + each,
                "Weights and biases are right. The batch normalisation of this layer is missing.",
            ),
            Mistake(
                weights + 2 * each,
                "There are three numbers for each neuron besides its weights, not two: bias, "
                "scale and shift.",
            ),
            Mistake(
                weights + 3 * 128,
                "The weights are right. Biases, scales and shifts belong to the neurons of this "
                "layer, and there are 64 of them.",
            ),
            Mistake(
                128 + 64,
                "You have added the two widths. A weight joins *each* number that comes in with "
                "*each* neuron: multiply.",
            ),
            Mistake(
                2 * (weights + 3 * each),
                "That is the price of two such layers. The question is about one.",
            ),
        ],
    )


@exercise(
    "`layers.module_table(model)` has a column `state`. Look for `idle`.",
    "Many of these rows are inside the same part: what comes before `.encoder` in their paths.",
    "One is a whole encoder, the other a head of the decoder.",
)
def idle_parts(idle: Any, *, model: BaseModelClass) -> Reply:
    """Name the two parts of a model that never run."""
    table = architecture.module_table(model)
    known = {step for path in table["path"] for step in path.split(".")}
    ran = 'It runs: its rows in `layers.module_table(model)` say "trained".'
    return names(
        "idle",
        idle,
        map(last_word, untrained_parts.unused(model)["part"]),
        known,
        praise="They are built, and no training step calls them.",
        wrong={
            "decoder": "Most of `decoder` runs in every step. One head inside it does not.",
            "z_encoder": f"`z_encoder` computes the position of a cell. {ran}",
            "px_dropout_decoder": f"`px_dropout_decoder` has a name that sounds like it. {ran}",
            "px_r": f"`px_r` is no module but the dispersion of each gene, which is learned. {ran}",
        },
        missing={"l_encoder": "Which network would learn the library size?"},
        spelling=last_word,
    )


def last_word(path: str) -> str:
    """Return the last step of a path, for learners who give the whole path."""
    return path.rpartition(".")[2]


@exercise(
    "Set it up and build it, as you did with `SCVI`: `scvi.model.LinearSCVI.setup_anndata(...)`, "
    "then `scvi.model.LinearSCVI(...)`.",
    "`layers.hidden_layers` counts for any model, network by network.",
    "In a linear decoder a head reads the ten numbers directly. Is a head a hidden layer?",
)
def linear_decoder(n_hidden_layers: Any, *, adata: AnnData) -> Reply:
    """Count the hidden layers in the decoder of LinearSCVI."""
    cells = adata.copy()
    LinearSCVI.setup_anndata(cells, layer="counts")
    layers = architecture.hidden_layers(LinearSCVI(cells))
    return number(
        "n_hidden_layers",
        n_hidden_layers,
        layers["decoder"],
        praise=(
            "Between the ten numbers and the genes there is only a head, so you can read off what "
            "each number adds to each gene."
        ),
        mistakes=[
            Mistake(
                layers["encoder"],
                "That is so in the encoder. What does `layers.hidden_layers` say of the decoder?",
            ),
            Mistake(
                sum(layers.values()),
                "That is the sum over all networks. Look at the decoder alone.",
            ),
        ],
    )


@exercise(
    "Which setting makes the model narrower, and which deeper? You may pass both: "
    "`scvi.model.SCVI(adata, n_hidden=..., n_layers=...)`.",
    "`layers.parameters_by_state(your_model)` has the number of trained parameters.",
    "Two layers of 32 neurons stay far below the limit.",
)
def small_and_deep(your_model: Any) -> Reply:
    """Build a model with two hidden layers or more in each network, and few trained parameters."""
    how = "`scvi.model.SCVI(adata, ...)`."
    if problem := model_problem("your_model", your_model, BaseModelClass, how):
        return not_yet(problem)
    layers = architecture.hidden_layers(your_model)
    trained = int(architecture.parameters_by_state(your_model).loc["trained", "parameters"])
    shallow = [network for network in ("encoder", "decoder") if layers.get(network, 0) < 2]
    counted = ", ".join(f"{count} in the {network}" for network, count in layers.items())
    return requirements(
        (
            not shallow,
            f"Hidden layers: {counted}.",
            f"Hidden layers: {counted}. Two or more are asked for in the "
            f"{' and in the '.join(shallow)}.",
        ),
        (
            trained < 300_000,
            f"{trained:,} trained parameters.",
            f"{trained:,} trained parameters; fewer than 300,000 are asked for. Where are most of "
            "them: in depth, or in width?",
        ),
        praise=(
            f"{counted}, and {trained:,} trained parameters. A default model has one layer in each "
            "and more than twice as many: depth is cheap, width is costly."
        ),
    )
