"""The terms of the loss, recomputed with NumPy and SciPy from what the networks put out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import gammaln
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch.distributions import Distribution, Normal

from helpers.loss import toy_elbo
from helpers.loss.forward_pass import Minibatch, Outputs, by_cell, numbers, total

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

LIKELIHOODS = ("ZeroInflatedNegativeBinomial", "NegativeBinomial", "Poisson")


def by_hand(model: BaseModelClass, cells: Sequence[int] | None = None) -> pd.DataFrame:
    """Recompute reconstruction loss and KL divergence with NumPy and SciPy alone.

    From the model come only the numbers that its networks put out: the parameters of each count's
    distribution, and mean and standard deviation of each cell's posterior.

    Parameters
    ----------
    model
        A trained model whose decoder ends in one distribution of counts: zero-inflated negative
        binomial, negative binomial or Poisson.
    cells
        Positions of cells; all if left out.

    Returns
    -------
    DataFrame
        A row a cell, in nats: ``reconstruction`` and ``kl``, and ``reconstruction_of_module`` and
        ``kl_of_module``, which the module returned in the same pass. Each cell's position is drawn
        once from its posterior, always with the same random numbers.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be run, was not trained, has another likelihood, or a cell is not there.

    Notes
    -----
    Negative binomial with mean m and dispersion t (Hilbe 2011, "Negative binomial regression"):
    ``lnG(x + t) - lnG(t) - lnG(x + 1) + t ln(t / (t + m)) + x ln(m / (t + m))``. Divergence of
    N(c, s²) from N(0, 1): ``(s² + c² - 1 - ln s²) / 2`` (Kingma and Welling 2014, appendix B).
    """

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        likelihood = likelihood_of_counts(generative, type(model).__name__)
        others = set(loss.kl_local) - {"kl_divergence_z", "kl_divergence_l"}
        if others:
            raise ValueError(
                f"The loss of this {type(model).__name__} has KL divergences that are not worked "
                f"out here: {', '.join(sorted(others))}. What to do: use SCVI or LinearSCVI."
            )
        kl = gaussian_kl(inference["qz"], generative["pz"]).sum(axis=1)
        if inference.get("ql") is not None:
            kl = kl + gaussian_kl(inference["ql"], generative["pl"]).sum(axis=1)
        counts = numbers(minibatch[REGISTRY_KEYS.X_KEY])
        return {
            "reconstruction": -log_probability(counts, likelihood).sum(axis=1),
            "kl": kl,
            "reconstruction_of_module": total(loss.reconstruction_loss),
            "kl_of_module": total(loss.kl_local),
        }

    return by_cell(model, cells, read)


def likelihood_of_counts(generative: Outputs, model: str) -> Distribution:
    """Return the distribution of the counts that the decoder gives."""
    likelihood = generative.get("px")
    kind = type(likelihood).__name__
    if likelihood is None or kind not in LIKELIHOODS:
        raise ValueError(
            f"The data of this {model} are not described by one distribution of counts ({kind}), "
            "so they are not worked out here. What to do: use a model such as SCVI with "
            "gene_likelihood='zinb', 'nb' or 'poisson'; for the loss of TOTALVI there is "
            "totalvi.by_hand."
        )
    return likelihood


def log_probability(counts: np.ndarray, likelihood: Distribution) -> np.ndarray:
    """Return the logarithm of the probability of each count, computed with NumPy and SciPy.

    Parameters
    ----------
    counts
        Cells x genes.
    likelihood
        One of ``LIKELIHOODS``, of which only the parameters are read.

    Returns
    -------
    ndarray
        Cells x genes, in nats.
    """
    kind = type(likelihood).__name__
    if kind == "Poisson":
        return _poisson(counts, numbers(likelihood.rate))
    counted = negative_binomial(counts, numbers(likelihood.mu), numbers(likelihood.theta))
    if kind == "NegativeBinomial":
        return counted
    # Zero-inflated: the decoder gives the log odds of an extra zero.
    log_odds = numbers(likelihood.zi_logits)
    log_extra, log_no_extra = -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)
    counted = log_no_extra + counted
    return np.where(counts == 0, np.logaddexp(log_extra, counted), counted)


def _poisson(counts: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return counts * np.log(mean) - mean - gammaln(counts + 1)


def negative_binomial(counts: np.ndarray, mean: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return the logarithm of the negative binomial probability of each count.

    The formula is in the notes of ``by_hand``.

    Parameters
    ----------
    counts, mean, theta
        Counts, their means and their dispersions, in shapes that fit together.

    Returns
    -------
    ndarray
        Nats, in the shape that they make together.
    """
    both = np.log(theta + mean)
    return (
        gammaln(counts + theta)
        - gammaln(theta)
        - gammaln(counts + 1)
        + theta * (np.log(theta) - both)
        + counts * (np.log(mean) - both)
    )


def gaussian_kl(posterior: Normal, prior: Normal) -> np.ndarray:
    """Return the KL divergence of each cell's posterior from the prior, by dimension.

    Parameters
    ----------
    posterior, prior
        Normal distributions, cells x dimensions; the prior may be one for all.

    Returns
    -------
    ndarray
        Cells x dimensions, in nats (formula: see ``by_hand``).
    """
    mean, std = numbers(posterior.loc), numbers(posterior.scale)
    prior_mean, prior_std = numbers(prior.loc), numbers(prior.scale)
    # In units of the prior, which is then the standard normal distribution.
    return toy_elbo.kl((mean - prior_mean) / prior_std, std / prior_std)
