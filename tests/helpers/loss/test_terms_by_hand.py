"""The terms of the loss by hand, against scipy and against the module."""

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.loss import attribution, terms_by_hand
from tests.helpers.spied_training import QUIET, build

LIKELIHOODS = {
    "zinb": "class preset",
    "nb": "nb",
    "poisson": "poisson",
    "learned library size": "learned library size",
    "two batches": "two batches",
    "dispersion of each cell": {"dispersion": "gene-cell"},
    "dispersion of each batch": {"dispersion": "gene-batch", "setup": {"batch_key": "chip"}},
}


@pytest.fixture(scope="module")
def of_likelihood(runs, adata):
    kept = {}

    def model_of(name):
        if isinstance(LIKELIHOODS[name], str):
            return runs(LIKELIHOODS[name]).model
        if name not in kept:
            kept[name] = build(adata, **LIKELIHOODS[name])
            kept[name].train(max_epochs=2, **QUIET)
        return kept[name]

    return model_of


def with_outputs(model, monkeypatch, function, *args):
    """Return what a function returns, and what the module's loss was given, in double precision."""
    given = []
    family = type(model.module)
    original = family.loss

    def loss(self, tensors, inference, generative, *more, **kwargs):
        given.append((tensors, inference, generative))
        return original(self, tensors, inference, generative, *more, **kwargs)

    # On the class: it may be a copy of the module that runs.
    with monkeypatch.context() as patch:
        patch.setattr(family, "loss", loss)
        return function(model, *args), given


def scipy_reconstruction(x, px):
    """Return the negative log-probability of each count from SciPy's distributions."""
    if type(px).__name__ == "Poisson":
        return -stats.poisson.logpmf(x, px.rate.double().numpy())
    mean, theta = px.mu.double().numpy(), px.theta.double().numpy()
    counted = stats.nbinom(theta, theta / (theta + mean))
    if type(px).__name__ == "NegativeBinomial":
        return -counted.logpmf(x)
    # An extra zero is as probable as the logistic function of its log odds says.
    log_odds = px.zi_logits.double().numpy()
    zero = stats.logistic.cdf(log_odds) + stats.logistic.sf(log_odds) * counted.pmf(0)
    return -np.where(x == 0, np.log(zero), stats.logistic.logsf(log_odds) + counted.logpmf(x))


def integrated_kl(cloud, prior):
    """Return the mean of log posterior - log prior by Gauss-Hermite quadrature, exact here."""
    nodes, parts = np.polynomial.hermite_e.hermegauss(5)
    c, s, pc, ps = (
        part.double().numpy()[..., None]
        for part in torch.broadcast_tensors(cloud.loc, cloud.scale, prior.loc, prior.scale)
    )
    points = c + s * nodes
    difference = stats.norm.logpdf(points, c, s) - stats.norm.logpdf(points, pc, ps)
    return (difference * parts / parts.sum()).sum(axis=(-1, -2))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_terms_by_hand_are_those_of_the_module_and_of_scipy(name, of_likelihood, monkeypatch):
    model = of_likelihood(name)
    table, given = with_outputs(model, monkeypatch, terms_by_hand.by_hand)
    for term in ("reconstruction", "kl"):
        np.testing.assert_allclose(table[term], table[f"{term}_of_module"], rtol=1e-4)
    x = np.concatenate([tensors["X"].numpy() for tensors, _, _ in given])
    np.testing.assert_array_equal(x, model.adata.layers["counts"].toarray())
    reconstruction = np.concatenate(
        [
            scipy_reconstruction(tensors["X"].numpy(), generative["px"]).sum(axis=1)
            for tensors, _, generative in given
        ]
    )
    np.testing.assert_allclose(table["reconstruction"], reconstruction, rtol=1e-6)
    kl = np.concatenate(
        [integrated_kl(inference["qz"], generative["pz"]) for _, inference, generative in given]
    )
    if name == "learned library size":
        library = np.concatenate(
            [integrated_kl(inference["ql"], generative["pl"]) for _, inference, generative in given]
        )
        assert library.mean() > 0.01
        kl = kl + library
    np.testing.assert_allclose(table["kl"], kl, rtol=1e-6)


def test_the_likelihoods_are_the_ones_meant(of_likelihood, monkeypatch):
    for name, kind in {
        "zinb": "ZeroInflatedNegativeBinomial",
        "nb": "NegativeBinomial",
        "poisson": "Poisson",
    }.items():
        _, given = with_outputs(of_likelihood(name), monkeypatch, terms_by_hand.by_hand, [0])
        assert type(given[0][2]["px"]).__name__ == kind


def test_by_hand_keeps_the_order_of_the_cells(trained):
    assert list(terms_by_hand.by_hand(trained).index) == list(trained.adata.obs_names)
    chosen = [600, 3, 77]
    assert list(terms_by_hand.by_hand(trained, chosen).index) == list(
        trained.adata.obs_names[chosen]
    )


def test_a_likelihood_that_is_not_of_counts_is_refused(adata):
    model = build(adata, gene_likelihood="normal")
    model.train(max_epochs=1, **QUIET)
    for function in (terms_by_hand.by_hand, attribution.attribute_loss):
        with pytest.raises(ValueError, match=r"Normal.*'zinb', 'nb' or 'poisson'"):
            function(model)


def test_by_hand_never_disagrees_with_the_module_in_silence(runs):
    # SCANVI's module counts parts of a divergence as reconstruction.
    model = runs("SCANVI").model
    try:
        table = terms_by_hand.by_hand(model)
    except ValueError as error:
        # An answer that is right would do as well.
        assert "SCANVI" in str(error)
    else:
        for term in ("reconstruction", "kl"):
            np.testing.assert_allclose(table[term], table[f"{term}_of_module"], rtol=1e-4)
