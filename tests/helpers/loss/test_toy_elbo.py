"""The smallest model with a hidden number.

Its ELBO, its evidence and its posterior, each computed in another way too.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from helpers import figures
from helpers.loss import toy_elbo

COUNTS = [0, 1, 3, 10, 200]


def settings(n):
    """Counts, centres and spreads from all over the place."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 30, n)
    centres = random.normal(0, 2, n)
    spreads = random.uniform(0.05, 2, n)
    return counts, centres, spreads


def average_over(centre, spread, function):
    """Integrate function(z) q(z).

    Where function grows like exp(z), the mass lies spread^2 to the right.
    """
    z = np.linspace(centre - 10 * spread, centre + 10 * spread + spread**2, 20_001)
    return np.trapezoid(stats.norm.pdf(z, centre, spread) * function(z), z)


def log_joint(count, z):
    return stats.poisson.logpmf(count, np.exp(toy_elbo.OFFSET + z)) + stats.norm.logpdf(z)


# --- the exact answer ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [*COUNTS, 100_000])
def test_the_evidence_is_the_integral_over_all_z(count):
    z = np.linspace(-15, 15, 600_001)
    area = np.trapezoid(np.exp(log_joint(count, z)), z)
    assert toy_elbo.log_evidence(count) == pytest.approx(np.log(area), abs=1e-8)


def test_the_evidence_of_all_counts_adds_up_to_one():
    # Larger counts need z > 4.7, which has a probability of about one in a million.
    total = sum(np.exp(toy_elbo.log_evidence(count)) for count in range(300))
    assert total == pytest.approx(1, abs=5e-6)
    assert total < 1


@pytest.mark.parametrize("count", COUNTS)
def test_the_posterior_is_a_density_with_the_peak_where_its_slope_is_zero(count):
    z = np.linspace(-10, 10, 200_001)
    density = toy_elbo.posterior(count, z)
    assert np.trapezoid(density, z) == pytest.approx(1, abs=1e-9)
    mode = z[density.argmax()]
    assert count - np.exp(toy_elbo.OFFSET + mode) == pytest.approx(mode, abs=0.02)


# --- the ELBO -----------------------------------------------------------------------------------


def test_the_elbo_is_the_average_of_ln_p_minus_ln_q():
    for count, centre, spread in zip(*settings(30), strict=True):

        def difference(z, count=count, centre=centre, spread=spread):
            return log_joint(count, z) - stats.norm.logpdf(z, centre, spread)

        expected = average_over(centre, spread, difference)
        assert toy_elbo.elbo(count, centre, spread) == pytest.approx(expected, rel=1e-8)


def test_the_two_terms_are_the_usual_ones():
    for count, centre, spread in zip(*settings(30), strict=True):

        def loss(z, count=count):
            return -stats.poisson.logpmf(count, np.exp(toy_elbo.OFFSET + z))

        expected = average_over(centre, spread, loss)
        seen = toy_elbo.reconstruction_loss(count, centre, spread)
        assert seen == pytest.approx(expected, rel=1e-8)
        divergence = torch.distributions.kl_divergence(
            torch.distributions.Normal(centre, spread), torch.distributions.Normal(0.0, 1.0)
        )
        assert toy_elbo.kl(centre, spread) == pytest.approx(float(divergence), rel=1e-5)
    assert toy_elbo.kl(0, 1) == 0


def test_no_elbo_is_above_the_evidence():
    counts, centres, spreads = settings(1000)
    evidence = {count: toy_elbo.log_evidence(count) for count in np.unique(counts)}
    limits = np.array([evidence[count] for count in counts])
    assert (toy_elbo.elbo(counts, centres, spreads) < limits).all()


def test_the_gap_is_the_divergence_from_the_posterior():
    for count, centre, spread in zip(*settings(30), strict=True):
        evidence = toy_elbo.log_evidence(count)

        # From its logarithm: far out the posterior itself is 0 in double precision.
        def difference(z, count=count, centre=centre, spread=spread, evidence=evidence):
            return stats.norm.logpdf(z, centre, spread) - (log_joint(count, z) - evidence)

        divergence = average_over(centre, spread, difference)
        gap = evidence - toy_elbo.elbo(count, centre, spread)
        assert gap == pytest.approx(divergence, rel=1e-6)


def test_the_posterior_is_bayes_rule():
    z = np.linspace(-3, 3, 13)
    for count in COUNTS:
        expected = np.exp(log_joint(count, z) - toy_elbo.log_evidence(count))
        assert toy_elbo.posterior(count, z) == pytest.approx(expected, rel=1e-9)


def test_numbers_and_arrays_are_broadcast():
    centres, spreads = np.linspace(-1, 1, 3)[:, None], np.array([0.5, 1.0])
    table = toy_elbo.elbo(4, centres, spreads)
    assert table.shape == (3, 2)
    assert table[2, 0] == toy_elbo.elbo(4, 1.0, 0.5)
    assert np.ndim(toy_elbo.elbo(4, 1, 1)) == 0
    assert toy_elbo.reconstruction_loss([1, 2], 0, 1).shape == (2,)


# --- the best approximation ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [*COUNTS, 100_000])
def test_the_best_has_no_slope_and_stays_below_the_evidence(count):
    centre, spread, elbo = toy_elbo.best(count)
    # Both derivatives of the ELBO, by the centre and by the spread, set to zero.
    rate = np.exp(toy_elbo.OFFSET + centre + spread**2 / 2)
    assert rate == pytest.approx(count - centre, rel=1e-4)
    assert spread**2 == pytest.approx(1 / (1 + rate), rel=1e-3)
    assert elbo == toy_elbo.elbo(count, centre, spread)
    assert 0 < toy_elbo.log_evidence(count) - elbo < 0.02


@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_better_than_the_best(count):
    best = toy_elbo.best(count)
    centres = best.centre + best.spread * np.linspace(-3, 3, 61)[:, None]
    spreads = best.spread * np.geomspace(0.1, 10, 61)
    assert toy_elbo.elbo(count, centres, spreads).max() <= best.elbo + 1e-9


# --- the picture --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 5])
def test_all_that_is_drawn_is_below_the_line(count):
    figure = toy_elbo.plot(count)
    left, right = figure.figure.axes
    line, *curves = left.lines
    evidence, best = toy_elbo.log_evidence(count), toy_elbo.best(count)
    assert set(line.get_ydata()) == {evidence}
    assert len(curves) == 4
    assert all((curve.get_ydata() < evidence).all() for curve in curves)
    assert max(curve.get_ydata().max() for curve in curves) == pytest.approx(best.elbo, abs=1e-4)
    assert "nats" in left.get_ylabel()
    exact, q, prior = (np.trapezoid(line.get_ydata(), line.get_xdata()) for line in right.lines)
    assert exact == pytest.approx(1, abs=1e-3)
    assert q == pytest.approx(1, abs=1e-3)
    assert prior < 1
    assert f"count of {count}" in figure.alt
    assert f"{evidence:.3f} nats. " in figure.alt
    assert (
        f"{best.elbo:.3f} nats, {figures.about(evidence - best.elbo, 2)} nats below" in figure.alt
    )
    # A Poisson count says firmly what z was not if z is large, and softly if z is small.
    assert "further to the left" in figure.alt
    assert figure.png().startswith(b"\x89PNG")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [-1, 2.5, np.nan, np.inf])
def test_what_is_not_a_count_is_refused(count):
    for function in (
        toy_elbo.log_evidence,
        toy_elbo.best,
        toy_elbo.plot,
        lambda count: toy_elbo.posterior(count, 0),
        lambda count: toy_elbo.elbo([3, count], 0, 1),
        lambda count: toy_elbo.reconstruction_loss(count, 0, 1),
    ):
        with pytest.raises(ValueError, match=rf"whole number from 0 upwards, not {count:g}\."):
            function(count)


@pytest.mark.parametrize("spread", [0, -0.5, np.nan])
def test_a_spread_is_above_zero(spread):
    for function in (
        lambda spread: toy_elbo.elbo(3, 0, [1, spread]),
        lambda spread: toy_elbo.reconstruction_loss(3, 0, spread),
        lambda spread: toy_elbo.kl(0, spread),
    ):
        with pytest.raises(ValueError, match=rf"above 0, not {spread:g}\..*standard deviation"):
            function(spread)
