"""One gene in one cell: the evidence is exact, and the ELBO is seen to stay below it.

A hidden number z is drawn from a normal distribution with mean 0 and standard deviation 1 (the
prior). The count x is drawn from a Poisson distribution with mean exp(1 + z). What z may have been,
given x, is approximated by a normal distribution q with a centre and a spread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import gammaln, wrightomega

from helpers import figures

# A cell with z = 0 has exp(1), nearly three, counts on average.
OFFSET = 1.0

# What the figures show of the ELBO below the evidence, in nats.
DEPTH = 2.0


class Approximation(NamedTuple):
    """A normal distribution of z, and its ELBO in nats."""

    centre: float
    spread: float
    elbo: float


# --- the exact answer ---------------------------------------------------------------------------


def log_evidence(count: int) -> float:
    """Return ln p(x): how probable the model makes this count, whatever z was.

    Parameters
    ----------
    count
        The observed count x.

    Returns
    -------
    float
        Nats; the logarithm of the integral of p(x | z) p(z) over all z.

    Raises
    ------
    ValueError
        If the count is negative or not a whole number.
    """
    _require_counts(count)
    mode, std = _peak(count)
    top = _log_joint(count, mode)
    # Scaled by the height of its peak, so that the integrand neither vanishes nor overflows. The
    # prior alone makes it negligible twelve standard deviations away. The peak may be narrow, so
    # the integration is told where it is.
    area, _ = quad(
        lambda z: np.exp(_log_joint(count, z) - top),
        mode - 12,
        mode + 12,
        points=[mode - 10 * std, mode, mode + 10 * std],
        epsabs=0,
        epsrel=1e-10,
        limit=200,
    )
    return float(top + np.log(area))


def posterior(count: int, z: ArrayLike) -> np.ndarray:
    """Return the density of z after the count was seen: p(z | x) = p(x | z) p(z) / p(x).

    Parameters
    ----------
    count
        The observed count x.
    z
        Where to compute it, any shape.

    Returns
    -------
    array
        Density (per unit of z), shape of ``z``.

    Raises
    ------
    ValueError
        If the count is negative or not a whole number.
    """
    evidence = log_evidence(count)
    return np.exp(_log_joint(count, np.asarray(z, dtype=float)) - evidence)


def _log_joint(count: int, z):
    """Return ln p(x | z) + ln p(z), in nats."""
    # Written out: it is called hundreds of times for one integral, and scipy.stats takes its time.
    log_rate = OFFSET + z
    of_count = count * log_rate - np.exp(log_rate) - gammaln(count + 1)
    return of_count - z**2 / 2 - np.log(2 * np.pi) / 2


def _peak(count: int) -> tuple[float, float]:
    """Return where p(x | z) p(z) is largest, and the spread of the normal curve that touches it.

    At the peak x - rate - z = 0 with rate = exp(OFFSET + z), so rate + ln(rate) = x + OFFSET: this
    is what the Wright omega function solves.
    """
    rate = float(wrightomega(count + OFFSET))
    return np.log(rate) - OFFSET, 1 / np.sqrt(1 + rate)


# --- the ELBO and its two terms -----------------------------------------------------------------


def elbo(count: ArrayLike, centre: ArrayLike, spread: ArrayLike):
    """Return the evidence lower bound: minus the reconstruction loss, minus the KL term.

    Parameters
    ----------
    count
        The observed count x.
    centre, spread
        Mean and standard deviation of q. All three are numbers or arrays, and are broadcast.

    Returns
    -------
    float or array
        Nats; never above ``log_evidence(count)``.

    Raises
    ------
    ValueError
        If a count is negative or not a whole number, or a spread is not above 0.
    """
    return -(reconstruction_loss(count, centre, spread) + kl(centre, spread))


def reconstruction_loss(count: ArrayLike, centre: ArrayLike, spread: ArrayLike):
    """Return -ln p(x | z), averaged over z drawn from q.

    Parameters
    ----------
    count
        The observed count x.
    centre, spread
        Mean and standard deviation of q. All three are numbers or arrays, and are broadcast.

    Returns
    -------
    float or array
        Nats.

    Raises
    ------
    ValueError
        If a count is negative or not a whole number, or a spread is not above 0.

    Notes
    -----
    -ln p(x | z) = exp(OFFSET + z) - x (OFFSET + z) + ln x!, and the average of exp(z) over q is
    exp(centre + spread² / 2), the mean of a log-normal distribution.
    """
    _require_counts(count)
    _require_spread(spread)
    count, centre, spread = (np.asarray(value, dtype=float) for value in (count, centre, spread))
    average_rate = np.exp(OFFSET + centre + spread**2 / 2)
    return average_rate - count * (OFFSET + centre) + gammaln(count + 1)


def kl(centre: ArrayLike, spread: ArrayLike):
    """Return the Kullback-Leibler divergence of q from the prior.

    Parameters
    ----------
    centre, spread
        Mean and standard deviation of q: numbers or arrays, which are broadcast.

    Returns
    -------
    float or array
        Nats; 0 where q is the prior, above 0 elsewhere.

    Raises
    ------
    ValueError
        If a spread is not above 0.

    Notes
    -----
    (centre² + spread² - 1) / 2 - ln(spread), as in Kingma and Welling 2014, arXiv:1312.6114,
    appendix B.
    """
    _require_spread(spread)
    centre, spread = np.asarray(centre, dtype=float), np.asarray(spread, dtype=float)
    return (centre**2 + spread**2 - 1) / 2 - np.log(spread)


def best(count: int) -> Approximation:
    """Return the centre and the spread with the largest ELBO.

    Parameters
    ----------
    count
        The observed count x.

    Raises
    ------
    ValueError
        If the count is negative or not a whole number.
    """
    _require_counts(count)
    mode, std = _peak(count)
    # The logarithm of the spread is searched, because any value of it is allowed.
    found = minimize(lambda q: -elbo(count, q[0], np.exp(q[1])), x0=[mode, np.log(std)])
    centre, spread = float(found.x[0]), float(np.exp(found.x[1]))
    return Approximation(centre, spread, float(elbo(count, centre, spread)))


def _require_counts(count: ArrayLike) -> None:
    counts = np.asarray(count, dtype=float)
    wrong = ~np.isfinite(counts) | (counts < 0) | (counts != np.rint(counts))
    if wrong.any():
        raise ValueError(
            f"A count is a whole number from 0 upwards, not {counts[wrong].flat[0]:g}. Pass a raw "
            "count, such as 3."
        )


def _require_spread(spread: ArrayLike) -> None:
    spreads = np.asarray(spread, dtype=float)
    wrong = ~(spreads > 0)
    if wrong.any():
        raise ValueError(
            f"The spread of a normal distribution is above 0, not {spreads[wrong].flat[0]:g}. Pass "
            "a standard deviation, such as 0.5."
        )


# --- the picture --------------------------------------------------------------------------------


def plot(count: int) -> figures.DescribedFigure:
    """Draw the ELBO of many approximations below ln p(x), and the best beside the posterior.

    Parameters
    ----------
    count
        The observed count x.

    Raises
    ------
    ValueError
        If the count is negative or not a whole number.
    """
    evidence, top = log_evidence(count), best(count)
    with figures.style():
        figure = Figure(figsize=(9.6, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_bound(left, count, evidence, top)
        _draw_posterior(right, count, top)
    return figures.DescribedFigure(
        figure,
        f"Two line charts for a count of {count:,}. Left: the ELBO against the centre of q, for "
        f"three spreads. No curve reaches the line ln p(x) = {evidence:.3f} nats. The best q "
        f"(centre {top.centre:.2f}, spread {top.spread:.2f}) has {top.elbo:.3f} nats, "
        f"{figures.about(evidence - top.elbo, 2)} nats below the line. Right: the exact posterior "
        "of z beside the best q. The best q is symmetric; the posterior reaches further to the "
        f"{_longer_side(count, top)}.",
    )


def _draw_bound(axes, count: int, evidence: float, top: Approximation) -> None:
    # So wide that the curve of the best spread leaves the picture at its bottom on both sides.
    reach = top.spread * np.sqrt(2 * DEPTH)
    centres = np.linspace(top.centre - 1.3 * reach, top.centre + 1.3 * reach, 301)
    axes.axhline(
        evidence, color=figures.COLOURS[6], linewidth=2, label=f"ln p(x) = {evidence:.3f} nats"
    )
    spreads = {
        "half the best": top.spread / 2,
        "the best": top.spread,
        "twice the best": 2 * top.spread,
    }
    for (name, spread), colour, dashes in zip(
        spreads.items(), figures.COLOURS, ("--", "-", ":"), strict=False
    ):
        axes.plot(
            centres,
            elbo(count, centres, spread),
            dashes,
            color=colour,
            label=f"ELBO, spread {spread:.2f} ({name})",
        )
    axes.plot(
        top.centre,
        top.elbo,
        "o",
        color=figures.COLOURS[1],
        label=(
            f"best ELBO: {top.elbo:.3f} nats, {figures.about(evidence - top.elbo, 2)} below the "
            "line"
        ),
    )
    axes.set(
        xlabel="centre of q (z has no unit)",
        ylabel="ELBO and ln p(x) (nats)",
        ylim=(evidence - DEPTH, evidence + 0.1 * DEPTH),
        title=f"No q gets above ln p(x), x = {count:,}",
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _draw_posterior(axes, count: int, top: Approximation) -> None:
    z = np.linspace(top.centre - 5 * top.spread, top.centre + 5 * top.spread, 401)
    axes.plot(z, posterior(count, z), color=figures.COLOURS[6], label="exact posterior p(z | x)")
    axes.plot(
        z,
        stats.norm.pdf(z, top.centre, top.spread),
        "--",
        color=figures.COLOURS[1],
        label=f"best q: centre {top.centre:.2f}, spread {top.spread:.2f}",
    )
    axes.plot(z, stats.norm.pdf(z), ":", color=figures.COLOURS[0], label="prior p(z)")
    axes.set(
        xlabel="z (no unit)",
        ylabel="density (per unit of z)",
        ylim=(0, None),
        title="Why: q does not have the shape of the posterior",
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _longer_side(count: int, top: Approximation) -> str:
    """Say where the posterior has more probability, three spreads from the centre of the best q."""
    left, right = posterior(count, top.centre + np.array([-3, 3]) * top.spread)
    return "left" if left > right else "right"
