"""scVI with the same likelihood of counts in less time.

It needs no logarithms of gamma functions, only sums of logarithms.

For a count x, a whole number, the negative binomial distribution needs

    ln Γ(x + θ) - ln Γ(θ) - ln Γ(x + 1) = Σ ln((θ + k) / (k + 1)), over k = 0, ..., x - 1,

because Γ(y + 1) = y Γ(y) (NIST Digital Library of Mathematical Functions, 5.5.1). Its derivative
with respect to θ is Σ 1 / (θ + k). With one θ a gene, both are tables of small counts x genes, made
anew in each step. Gamma functions of real numbers, and their derivative above all, take far longer
for each cell and gene.

Only what scvi-tools offers for extension is used: a distribution, a module and a model are derived
from its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that PyTorch's own documentation gives it
from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from scvi.model import SCVI
from scvi.module import VAE
from scvi.module._constants import MODULE_KEYS
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution

# Counts above this one are so few (0.7 % of those of the cortex cells) that a larger table would
# take longer than they do.
LARGEST_IN_TABLE = 32

# What scvi-tools adds to numbers before it takes their logarithm.
EPS = 1e-8


class FastNegativeBinomial(NegativeBinomial):
    """scvi-tools' negative binomial distribution with a faster ``log_prob``.

    It is made with the same arguments.
    """

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Return the log probability of counts, in nats.

        Parameters
        ----------
        value
            Counts, cells x genes. If any is negative or not whole, or θ differs between cells, all
            is computed as scvi-tools does.

        Returns
        -------
        Tensor
            Of the shape of ``mu``: cells x genes, or samples x cells x genes.
        """
        if not can_be_fast(value, self.theta):
            return super().log_prob(value)
        at_zero, per_count = _parts(self.mu, self.theta)
        return at_zero + value * per_count + log_coefficient(value, self.theta)


class FastZeroInflatedNegativeBinomial(ZeroInflatedNegativeBinomial):
    """scvi-tools' zero-inflated negative binomial distribution with a faster ``log_prob``.

    It is made with the same arguments.
    """

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Return the log probability of counts, in nats.

        Parameters
        ----------
        value
            Counts, cells x genes. If any is negative or not whole (scvi-tools then warns), or θ
            differs between cells, all is computed as scvi-tools does.

        Returns
        -------
        Tensor
            Of the shape of ``mu``: cells x genes, or samples x cells x genes.

        Notes
        -----
        Let l be the logit of an additional zero, and n the negative binomial log probability
        of 0. A count of 0 has softplus(n - l) - softplus(-l), and one above 0 has n - l -
        softplus(-l) and the terms that grow with the count (``scvi.distributions``).
        """
        if not can_be_fast(value, self.theta):
            return super().log_prob(value)
        at_zero, per_count = _parts(self.mu, self.theta)
        no_addition = at_zero - self.zi_logits
        # 1 for a count of 0, and 0 for any other whole one: faster than to compare and to convert
        # the answer.
        is_zero = (1 - value).clamp(min=0)
        # With a weight of 0 or 1 this chooses, with no rounding.
        without_counts = torch.lerp(no_addition, F.softplus(no_addition), is_zero)
        inflated = without_counts - F.softplus(-self.zi_logits)
        return inflated + value * per_count + log_coefficient(value, self.theta)


class FastVAE(VAE):
    """scvi-tools' module of scVI that hands out the fast distributions of counts."""

    def generative(self, *args: Any, **kwargs: Any) -> dict[str, Distribution | None]:
        """Do what scvi-tools does, with the fast twin of the distribution of counts.

        Parameters
        ----------
        *args, **kwargs
            As for ``scvi.module.VAE.generative``.

        Returns
        -------
        dict
            As from ``scvi.module.VAE.generative``. Poisson and normal distributions, which know no
            θ, stay as they are.
        """
        outputs = super().generative(*args, **kwargs)
        outputs[MODULE_KEYS.PX_KEY] = self._fast(outputs[MODULE_KEYS.PX_KEY])
        return outputs

    def _fast(self, px: Any) -> Distribution:
        if self.gene_likelihood == "zinb":
            return FastZeroInflatedNegativeBinomial(
                mu=px.mu, theta=px.theta, zi_logits=px.zi_logits, scale=px.scale
            )
        if self.gene_likelihood == "nb":
            return FastNegativeBinomial(mu=px.mu, theta=px.theta, scale=px.scale)
        return px


class FastSCVI(SCVI):
    """scVI as in scvi-tools, with the same arguments and the same results, trained in less time.

    The results are the same but for the rounding of float32. It is faster with
    ``dispersion="gene"`` (the default) and a ``gene_likelihood`` of "zinb" (the default) or "nb";
    other choices work as fast as in scvi-tools.
    """

    _module_cls = FastVAE


def can_be_fast(counts: torch.Tensor, theta: torch.Tensor) -> bool:
    """Return whether all counts are whole numbers from 0 up, and all cells share one θ per gene.

    Parameters
    ----------
    counts
        Cells x genes.
    theta
        Inverse dispersion, spread over the cells as distributions of scvi-tools do. They only
        repeat a number that is shared, which the steps between the numbers in memory tell.
    """
    spread = zip(theta.shape[:-1], theta.stride()[:-1], strict=True)
    shared = theta.ndim > 0 and all(size == 1 or step == 0 for size, step in spread)
    # Metal, the graphics processor of Macs, has no float64 for the tables.
    if not shared or theta.device.type == "mps":
        return False
    return bool(counts.amin() >= 0) and torch.equal(counts.floor(), counts)


def log_coefficient(counts: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Return ln Γ(x + θ) - ln Γ(θ) - ln Γ(x + 1), with a derivative with respect to θ.

    Parameters
    ----------
    counts
        The x, cells x genes.
    theta
        The θ, positive, in which all cells are alike.

    Returns
    -------
    Tensor
        Cells x genes, in nats.

    Notes
    -----
    Right only where ``can_be_fast`` says so: all whole counts from 0 up, and one θ per gene.
    """
    return _LogCoefficient.apply(*torch.broadcast_tensors(counts, theta))


class _LogCoefficient(torch.autograd.Function):
    """The sum of logarithms forward, and the sum of reciprocals backward.

    The derivative is that of each cell by itself, as all others of the likelihood are: autograd
    adds them before it adds cells, so that large ones of both signs cancel first.
    """

    @staticmethod
    def forward(ctx: Any, counts: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        genes = theta[(0,) * (theta.ndim - 1)]
        cells = counts.reshape(-1, len(genes))
        top = min(int(cells.amax()), LARGEST_IN_TABLE)
        rows = cells.clamp(max=top).long()
        above = (cells > top).flatten().nonzero().squeeze(1)
        ctx.save_for_backward(rows, above, cells.flatten()[above], genes)
        found = _look_up(*ctx.to_save, _log_ratio, _log_coefficient_of_gammas)
        return found.view(counts.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[None, torch.Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator hides the names
        (gradient,) = grad_outputs
        slopes = _look_up(*ctx.saved_tensors, _reciprocal, _slope_of_gammas)
        return None, gradient * slopes.view(gradient.shape)


Summand = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _look_up(
    rows: torch.Tensor,
    above: torch.Tensor,
    large: torch.Tensor,
    theta: torch.Tensor,
    summand: Summand,
    with_gammas: Summand,
) -> torch.Tensor:
    """Return Σ summand(θ, k) over k < x.

    It comes from a table, and for the few large counts from gamma functions. The sums are made in
    float64, which takes no time for so few numbers and leaves no rounding error but the last.

    Parameters
    ----------
    rows
        The counts, cells x genes; a large one may be any row of the table.
    above, large
        The indices of the large counts in the flattened ``rows``, and these counts.
    theta
        One number per gene.
    summand, with_gammas
        What is added up for each k, and what the whole sum is, given θ and x.
    """
    precise = theta.double()
    k = torch.arange(int(rows.amax()), device=theta.device).unsqueeze(1)
    sums = torch.cat([precise.new_zeros(1, len(theta)), summand(precise, k).cumsum(0)])
    found = sums.to(theta.dtype).gather(0, rows)
    theirs = precise[above % len(theta)]
    found.view(-1)[above] = with_gammas(theirs, large.double()).to(theta.dtype)
    return found


def _log_ratio(theta: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return ((theta + k) / (k + 1)).log()


def _reciprocal(theta: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return (theta + k).reciprocal()


def _log_coefficient_of_gammas(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)


def _slope_of_gammas(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.digamma(x + theta) - torch.digamma(theta)


def _parts(mu: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log probability of a count of 0, and what each further count adds; both in nats.

    What the coefficient adds is left out. These are θ ln(θ / (θ + μ)) and ln(μ / (θ + μ)), as in
    ``scvi.distributions``.
    """
    log_total = torch.log(theta + mu + EPS)
    return theta * (torch.log(theta + EPS) - log_total), torch.log(mu + EPS) - log_total
