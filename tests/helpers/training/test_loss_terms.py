"""What each term adds to a loss, for modules that report it in ways of their own."""

import numpy as np
import pytest
import torch
from scvi.module.base import LossOutput

from helpers.training import loss_terms
from tests.helpers.unusual_losses import (
    PENALTY,
    Anew,
    Detached,
    Hidden,
    PassedOn,
    Reported,
    Summed,
    Twice,
    Unweighted,
    build,
)


def a_step(module, kl_weight=0.25):
    """Return what a module returns for a training step on all its cells."""
    model = build(module)
    batch = next(iter(model._make_data_loader(model.adata, batch_size=90)))
    torch.manual_seed(0)
    model.module.train()
    weighted = module not in (Unweighted, PassedOn)
    return model.module(batch, loss_kwargs={"kl_weight": kl_weight} if weighted else {})[-1]


def named(loss):
    terms = loss_terms.reported(loss)
    slopes = loss_terms.slopes(loss, terms)
    return {name: float((slope * terms.all[name].detach()).sum()) for name, slope in slopes.items()}


@pytest.mark.parametrize("module", [Anew, Twice, Reported, Summed, Unweighted, PassedOn])
def test_what_the_terms_add_makes_up_the_loss(module):
    loss = a_step(module)
    assert sum(named(loss).values()) == pytest.approx(float(loss.loss), rel=1e-5)


@pytest.mark.parametrize("module", [Anew, Twice, Reported])
def test_each_term_counts_with_its_own_weight(module):
    loss = a_step(module)
    found = named(loss)
    expected = {
        "reconstruction_loss": loss.reconstruction_loss["reconstruction_loss"].mean(),
        "kl_local": 0.25 * loss.kl_local["kl_local"].mean(),
    }
    if module is Reported:
        expected["spread"] = 3 * loss.extra_metrics["spread"]
    # What is reported and not in the loss is no term of it.
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4), name


def test_a_weight_of_zero_adds_nothing_to_a_copy():
    loss = a_step(Anew, kl_weight=0.0)
    assert named(loss)["kl_local"] == pytest.approx(0, abs=1e-4)
    assert sum(named(loss).values()) == pytest.approx(float(loss.loss), rel=1e-5)


def test_what_is_not_reported_is_not_named():
    loss = a_step(Hidden)
    assert float(loss.loss) - sum(named(loss).values()) == pytest.approx(PENALTY, abs=0.01)


def test_terms_without_a_history_are_left_out():
    assert named(a_step(Detached)) == {}


def test_a_copy_with_a_weight_for_each_cell_is_left_out_and_not_given_one():
    log_lik = torch.linspace(-3, -1, 6).requires_grad_()
    per_cell = torch.linspace(0.5, 2, 6)
    loss = LossOutput((-log_lik * per_cell).mean(), reconstruction_loss=-log_lik)
    assert named(loss) == {}


def test_two_copies_of_one_number_share_its_weight():
    value = torch.linspace(1, 2, 6).requires_grad_()
    parts = value * 1
    loss = LossOutput(
        (3 * parts).mean(), reconstruction_loss=1 * parts, kl_local=parts + parts, kl_global=0.0
    )
    assert sum(named(loss).values()) == pytest.approx(float(loss.loss), rel=1e-5)


def test_a_loss_in_parts_is_their_sum():
    value = torch.ones(4, requires_grad=True)
    parts = {"first": (2 * value).mean(), "second": value.mean()}
    loss = LossOutput(parts, reconstruction_loss=value)
    assert named(loss) == {"reconstruction_loss": pytest.approx(3.0)}
    assert np.isfinite(loss.loss.item())
