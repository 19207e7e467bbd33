"""The terms of the loss, recomputed with NumPy and SciPy from what the networks put out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaln, xlogy
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch.distributions import Distribution, Normal

from helpers.loss import class_terms, toy_elbo
from helpers.loss.forward_pass import (
    DESCRIBED,
    ROUNDING,
    Minibatch,
    Outputs,
    by_cell,
    numbers,
    require_whole,
    total,
)

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

LIKELIHOODS = ("ZeroInflatedNegativeBinomial", "NegativeBinomial", "Poisson")

# scvi-tools adds this inside the logarithms of a negative binomial: a mean of 0 has none.
EPSILON = 1e-8

# A difference of so many nats is none.
NOTHING = 1e-3


class Terms(NamedTuple):
    """The terms of the loss of some cells, recomputed, in nats.

    Attributes
    ----------
    genes
        -ln of the probability of each count, cells x genes.
    divergences
        The KL divergence of each cell by the names of its parts: with the genes they add up to the
        loss of the cell.
    """

    genes: np.ndarray
    divergences: dict[str, np.ndarray]

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of ``by_hand``, but for those of the module."""
        counts, kl = self.genes.sum(axis=1), np.sum([*self.divergences.values()], axis=0)
        z1 = self.divergences.get(class_terms.AS_RECONSTRUCTION, 0.0)
        several = {"counts": counts, **self.divergences} if len(self.divergences) > 1 else {}
        return {"reconstruction": counts + z1, "kl": kl - z1, **several}


def by_hand(model: BaseModelClass, cells: Sequence[int] | None = None) -> pd.DataFrame:
    """Recompute reconstruction loss and KL divergence with NumPy and SciPy alone.

    From the model come only the numbers that its networks put out: the parameters of each count's
    distribution, mean and standard deviation of each cell's posterior, and its position.

    Parameters
    ----------
    model
        A trained model whose decoder ends in one distribution of counts (zero-inflated negative
        binomial, negative binomial or Poisson), and whose prior is a normal distribution or, as in
        SCANVI, comes from a class.
    cells
        Positions of cells; all if left out.

    Returns
    -------
    DataFrame
        One row per cell, in nats. Each cell's position is drawn once from its posterior, always
        with the same random numbers.

        ``reconstruction``
            -ln of the probability of the cell's counts.
        ``kl``
            KL divergence of its posterior from the prior; with that of the library size, if it is
            learned.
        ``reconstruction_of_module``, ``kl_of_module``
            What the module returned in the same pass.
        ``counts``, ``z1``, ``z2``, ``class``, ``library``
            In a SCANVI only, the parts of both: ``reconstruction`` is ``counts + z1``, as the
            module has it, and ``kl`` is ``z2 + class`` (``+ library`` if that is learned). In fact
            ``z1 + z2 + class`` is the KL divergence, of both positions and the class together.
            These three are taken over all classes, with the probabilities that the classifier
            gives, *whether or not the label of the cell is known*. ``z1``: ln q(z1) - ln p(z1 |
            class, z2) at the positions that were drawn, which may be below 0. ``z2``: KL divergence
            of z2 from the standard normal distribution. ``class``: that of the probabilities from
            their prior.

        ``reconstruction + kl`` is the loss of the cell, with a KL weight of 1. What a training plan
        adds for a minibatch is not in it: the loss of fooling an adversary, or in a SCANVI
        ``classification_ratio`` times the mean over labelled cells of -ln of the probability that
        ``model.predict(soft=True)`` gives to their labels.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        If the model cannot be run, was not trained, has another likelihood, a cell is not there, or
        what is worked out here is not what the module returned: then it has a loss of its own.

    Notes
    -----
    Negative binomial with mean m and dispersion t (Hilbe 2011, "Negative binomial regression"):
    ``lnG(x + t) - lnG(t) - lnG(x + 1) + t ln(t / (t + m)) + x ln(m / (t + m))``. Divergence of
    N(c, s²) from N(0, 1): ``(s² + c² - 1 - ln s²) / 2`` (Kingma and Welling 2014, appendix B).
    """

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        terms = recomputed(model, minibatch, inference, generative, loss)
        return {
            **terms.columns(),
            "reconstruction_of_module": total(loss.reconstruction_loss),
            "kl_of_module": total(loss.kl_local),
        }

    return by_cell(model, cells, read, parts=parts(model))


def parts(model: BaseModelClass) -> Sequence[str]:
    """Return the parts of a model's module whose outputs ``recomputed`` needs."""
    return class_terms.parts_of(getattr(model, "module", None))


def recomputed(
    model: BaseModelClass,
    minibatch: Minibatch,
    inference: Outputs,
    generative: Outputs,
    loss: LossOutput,
) -> Terms:
    """Recompute the terms of a minibatch, and check them against what the module returned.

    Parameters
    ----------
    model
        The model.
    minibatch, inference, generative, loss
        As ``forward_pass.run`` gives them, with what ``parts`` of the module put out.

    Raises
    ------
    ValueError
        As for ``by_hand``.
    """
    name = type(model).__name__
    likelihood = likelihood_of_counts(generative, name)
    require_whole(loss, name)
    counts = minibatch[REGISTRY_KEYS.X_KEY]
    terms = Terms(
        -log_probability(numbers(counts), likelihood), _divergences(model, inference, generative)
    )
    require_counted(
        f"reconstruction loss of this {name}",
        lambda kind, added: log_probability(numbers(counts, kind), likelihood, kind, added),
        total(loss.reconstruction_loss),
        terms.divergences.get(class_terms.AS_RECONSTRUCTION, 0.0),
    )
    require_same(f"KL divergence of this {name}", terms.columns()["kl"], total(loss.kl_local))
    return terms


def _divergences(
    model: BaseModelClass, inference: Outputs, generative: Outputs
) -> dict[str, np.ndarray]:
    """Return the parts of the KL divergence of each cell by name, in nats."""
    name = type(model).__name__
    of_classes = parts(model)
    if of_classes:
        found = class_terms.divergences(model.module, inference, generative)
    else:
        prior = generative.get("pz") or Normal(0.0, 1.0)
        found = {"kl": _require_normal(name, inference.get("qz"), prior).sum(axis=1)}
    if inference.get("ql") is not None:
        library = _require_normal(name, inference["ql"], generative.get("pl")).sum(axis=1)
        found |= {"library": library} if of_classes else {"kl": found["kl"] + library}
    return found


def _require_normal(model: str, posterior: Any, prior: Any) -> np.ndarray:
    """Return the KL divergence by dimension, or raise unless both distributions are normal."""
    kinds = [type(each).__name__ for each in (posterior, prior)]
    if not (isinstance(posterior, Normal) and isinstance(prior, Normal)):
        raise ValueError(
            f"The KL divergence of this {model} is not that of one normal distribution from "
            f"another ({kinds[0]} and {kinds[1]}), so it is not worked out here. {DESCRIBED}"
        )
    return gaussian_kl(posterior, prior)


def require_same(
    term: str,
    ours: np.ndarray,
    of_module: np.ndarray,
    allowed: np.ndarray | float = 0.0,
) -> None:
    """Raise, saying by how much they differ, unless the module returned what was worked out here.

    Parameters
    ----------
    term
        What to call it.
    ours, of_module
        The term of each cell, in nats.
    allowed
        How much of the difference is known to be rounding, in nats; besides that, some millionths
        are.

    Raises
    ------
    ValueError
        If they differ by more.
    """
    off = np.abs(ours - of_module)
    # Not ``>``: what is no number is no rounding either.
    same = off <= NOTHING + 5 * ROUNDING * np.abs(of_module) + allowed
    if not same.all():
        raise ValueError(
            f"The {term} is not the one that is worked out here: that of a cell is off by up to "
            f"{off.max():.3g} nats. {DESCRIBED}"
        )


def require_counted(
    term: str,
    log_probability: Callable[[type[np.floating], float], np.ndarray],
    of_module: np.ndarray,
    besides: np.ndarray | float = 0.0,
) -> None:
    """Raise unless a module returned -ln of the probability of counts as it is worked out here.

    What the module computes in 4-byte floats may be nats off: where a dispersion is large, terms of
    hundreds of thousands of nats cancel out. How far, is told by the same formula in such floats.

    Parameters
    ----------
    term, of_module
        As for ``require_same``.
    log_probability
        Takes a kind of numbers, and what is added inside logarithms, and returns the logarithm of
        the probability of each count, cells x counts.
    besides
        What the term of each cell holds besides, in nats.

    Raises
    ------
    ValueError
        As for ``require_same``.
    """
    exact, coarse = (-log_probability(kind, EPSILON) for kind in (np.float64, np.float32))
    # PyTorch's are off by other amounts of the same size, each by itself or all in one direction.
    off = np.abs(exact - coarse)
    allowed = 10 * np.sqrt((off**2).sum(axis=1)) + off.sum(axis=1)
    require_same(term, exact.sum(axis=1) + besides, of_module, allowed)


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


def log_probability(
    counts: np.ndarray,
    likelihood: Distribution,
    kind: type[np.floating] = np.float64,
    added: float = 0.0,
) -> np.ndarray:
    """Return the logarithm of the probability of each count, computed with NumPy and SciPy.

    Parameters
    ----------
    counts
        Cells x genes.
    likelihood
        One of ``LIKELIHOODS``, of which only the parameters are read.
    kind
        The kind of numbers that is computed in.
    added
        As for ``negative_binomial``.

    Returns
    -------
    ndarray
        Cells x genes, in nats.
    """
    name = type(likelihood).__name__
    if name == "Poisson":
        return _poisson(counts, numbers(likelihood.rate, kind))
    mean, theta = numbers(likelihood.mu, kind), numbers(likelihood.theta, kind)
    counted = negative_binomial(counts, mean, theta, added)
    if name == "NegativeBinomial":
        return counted
    # Zero-inflated: the decoder gives the log odds of an extra zero.
    log_odds = numbers(likelihood.zi_logits, kind)
    log_extra, log_no_extra = -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)
    counted = log_no_extra + counted
    return np.where(counts == 0, np.logaddexp(log_extra, counted), counted)


def _poisson(counts: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return xlogy(counts, mean) - mean - gammaln(counts + 1)


def negative_binomial(
    counts: np.ndarray, mean: np.ndarray, theta: np.ndarray, added: float = 0.0
) -> np.ndarray:
    """Return the logarithm of the negative binomial probability of each count.

    The formula is in the notes of ``by_hand``.

    Parameters
    ----------
    counts, mean, theta
        Counts, their means and their dispersions, in shapes that fit together.
    added
        What is added inside each logarithm: scvi-tools adds ``EPSILON``.

    Returns
    -------
    ndarray
        Nats, in the shape that they make together.
    """
    both = np.log(theta + mean + added)
    return (
        gammaln(counts + theta)
        - gammaln(theta)
        - gammaln(counts + 1)
        + theta * (np.log(theta + added) - both)
        + xlogy(counts, mean + added)
        - counts * both
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
