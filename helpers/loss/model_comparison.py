"""Trained models side by side: what goes in, what they are made of, and what trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from scvi.model.base import BaseModelClass

from helpers.layers import model_anatomy, side_inputs
from helpers.layers.model_map import STATES, summary_numbers
from helpers.loss import loss_ledger

# What scvi-tools counts in a summary of registered data, in words for one and for more. One batch,
# or one label, is none.
INPUTS = {
    "n_vars": ("gene", "genes"),
    "n_proteins": ("protein", "proteins"),
    "n_batch": ("batch", "batches"),
    "n_labels": ("label", "labels"),
    "n_extra_categorical_covs": ("further category", "further categories"),
    "n_extra_continuous_covs": ("further number", "further numbers"),
}
NOT_ALONE = ("n_batch", "n_labels")
LIKELIHOODS = {
    "NegativeBinomial": "negative binomial",
    "NegativeBinomialMixture": "mixture of two negative binomials",
    "ZeroInflatedNegativeBinomial": "zero-inflated negative binomial",
}


def side_by_side(models: Mapping[str, BaseModelClass]) -> pd.DataFrame:
    """Put trained models side by side.

    The table says what goes in, what they are made of, what trains them, and what comes out.

    Parameters
    ----------
    models
        Trained models with their data, by name.

    Returns
    -------
    DataFrame
        A row a question, a column a model, all text. Nothing is known of the models beforehand: the
        sizes and the likelihoods are read from one training step, as in ``all_models``.

        ``inputs``
            The registered columns of each cell, and its covariates. Columns of the counts are
            called genes.
        ``likelihoods``
            The distributions whose probability of the data is in the loss.
        ``hidden layers in the encoder``, ``hidden layers in the decoder``, ``other networks``,
        ``width``, ``latent dimensions``
            As in ``all_models``.
        ``batch enters``
            The networks of which a layer is told the batch.
        ``parameters``, ``trained``, ``frozen``, ``ignored``, ``idle``
            All, and by what a training step does with them.
        ``loss terms``
            What was added up to the loss, as ``loss_ledger.ledger`` found, by the names of
            ``loss_ledger.term_name``.
        ``outputs of its own``
            The public methods ``get_...`` that not all of these models have.

        A question that has no answer for any of them is left out, and a state in which none of them
        has parameters.

    Raises
    ------
    TypeError, UntraceableModelError
        As for ``model_anatomy.read``.
    ValueError
        If there are no models, or one was not trained, or as for ``loss_ledger.ledger``.
    """
    if not models:
        raise ValueError("There are no models to compare. What to do: give {'SCVI': model, ...}.")
    methods = {name: _outputs(model) for name, model in models.items()}
    shared = set.intersection(*methods.values())
    columns = {
        name: _answers(model) | {"outputs of its own": ", ".join(sorted(methods[name] - shared))}
        for name, model in models.items()
    }
    table = pd.DataFrame(columns).rename_axis("question")
    no_parameters = table.eq("0").all(axis=1) & table.index.isin(STATES)
    return table.loc[~table.eq("").all(axis=1) & ~no_parameters]


def _answers(model: BaseModelClass) -> dict[str, str]:
    # The ledger first: it says what to do if a model was not trained.
    terms = loss_ledger.contributions(loss_ledger.ledger(model))
    anatomy = model_anatomy.read(model)
    found = summary_numbers(anatomy)
    likelihoods = found["likelihood"].split(", ")
    sizes = {"parameters": anatomy.parameters.sum()} | {state: found[state] for state in STATES}
    return {
        "inputs": _inputs(model),
        "likelihoods": ", ".join(LIKELIHOODS.get(name, name) for name in likelihoods),
        "hidden layers in the encoder": _text(found["encoder"]),
        "hidden layers in the decoder": _text(found["decoder"]),
        "other networks": found["other networks"],
        "width": found["width"],
        "batch enters": ", ".join(side_inputs.networks_told(anatomy, "batch")),
        "latent dimensions": _text(found["latent"]),
        **{name: f"{number:,}" for name, number in sizes.items()},
        "loss terms": " + ".join(map(loss_ledger.term_name, terms)),
    }


def _text(number: Any) -> str:
    return "" if pd.isna(number) else str(number)


def _inputs(model: BaseModelClass) -> str:
    numbers = {name: int(model.summary_stats.get(name, 0)) for name in INPUTS}
    return ", ".join(
        f"{number:,} {INPUTS[name][number > 1]}"
        for name, number in numbers.items()
        if number > (name in NOT_ALONE)
    )


def _outputs(model: BaseModelClass) -> set[str]:
    """Return the public ``get_...`` methods of a model that not every model of scvi-tools has."""
    return {
        name
        for name in dir(type(model))
        if name.startswith("get_") and not hasattr(BaseModelClass, name)
    }
