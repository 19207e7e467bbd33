"""The divergences of a model with a second latent space: what a cell is beside its class.

That is scANVI (Xu et al. 2021, Molecular Systems Biology 17:e9620), after Kingma et al. 2014,
arXiv:1406.5298. The position z1, which is decoded to counts, has no fixed prior there. It comes
from a class and a second position z2, and these two have one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, softmax, xlogy
from scipy.stats import norm
from torch import nn

from helpers.loss import toy_elbo
from helpers.loss.forward_pass import Outputs, numbers

# The networks that have to do with classes, by scvi-tools' names: from z1 to the class, from z1 and
# a class to z2, and from z2 and a class back to z1.
CLASSIFIER, TO_Z2, TO_Z1 = PARTS = ("classifier", "encoder_z2_z1", "decoder_z1_z2")

# The part of the divergence that the module counts as reconstruction.
AS_RECONSTRUCTION = "z1"


def parts_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the networks that have to do with classes, or nothing if it has none."""
    has_all = all(isinstance(getattr(module, part, None), nn.Module) for part in PARTS)
    return PARTS if has_all else ()


def divergences(
    module: nn.Module, inference: Outputs, generative: Outputs
) -> dict[str, np.ndarray]:
    """Return the parts of the KL divergence of each cell, from what the networks put out.

    Parameters
    ----------
    module
        One that has all ``PARTS``.
    inference, generative
        What it returned for a minibatch, with what its ``PARTS`` put out in ``generative``.

    Returns
    -------
    dict of ndarray
        ``z1``, ``z2`` and ``class`` as ``terms_by_hand.by_hand`` describes them, in nats.
    """
    said = numbers(generative[CLASSIFIER])
    # The classifier of a model from before scvi-tools 1.1 puts out probabilities.
    probability = softmax(said, axis=1) if getattr(module.classifier, "logits", True) else said
    n_cells, n_classes = probability.shape
    # Every cell is tried with every class, labelled or not: one row per cell, class by class.
    of_z2, _ = generative[TO_Z2]
    kl_z2 = toy_elbo.kl(numbers(of_z2.loc), numbers(of_z2.scale)).sum(axis=1)
    mean, variance = (numbers(part).reshape(n_classes, n_cells, -1) for part in generative[TO_Z1])
    posterior, z1 = inference["qz"], numbers(inference["z"])
    log_q = norm.logpdf(z1, numbers(posterior.loc), numbers(posterior.scale)).sum(axis=1)
    log_p = norm.logpdf(z1, mean, np.sqrt(variance)).sum(axis=2).T
    prior = numbers(module.y_prior.detach().cpu())
    return {
        AS_RECONSTRUCTION: log_q - (probability * log_p).sum(axis=1),
        "z2": (probability * kl_z2.reshape(n_classes, n_cells).T).sum(axis=1),
        "class": -(entr(probability) + xlogy(probability, prior / prior.sum())).sum(axis=1),
    }
