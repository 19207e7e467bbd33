"""What holds for every function that answers a question about the loss of a model."""

import copy
import random

import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from helpers.loss import (
    attribution,
    convergence,
    evaluation,
    latent_dimensions,
    loss_ledger,
    terms_by_hand,
)
from tests.helpers.spied_training import build

ALL = [
    loss_ledger.ledger,
    loss_ledger.kl_per_dimension,
    terms_by_hand.by_hand,
    attribution.attribute_loss,
    evaluation.reevaluate,
    latent_dimensions.dimensions_in_use,
    convergence.checklist,
]
RUN_IT = [terms_by_hand.by_hand, attribution.attribute_loss, latent_dimensions.dimensions_in_use]


@pytest.mark.parametrize("function", ALL)
def test_an_untrained_model_is_refused(function, adata):
    with pytest.raises(ValueError, match=r"SCVI was not trained.*training\.train\(model\)"):
        function(build(adata))


@pytest.mark.parametrize("key", ["train_loss", "elbo_train", "reconstruction_loss_train"])
@pytest.mark.parametrize(
    "function", [loss_ledger.ledger, loss_ledger.kl_per_dimension, convergence.checklist]
)
def test_a_history_without_the_terms_is_refused(function, key, trained, monkeypatch):
    history = {name: table for name, table in trained.history.items() if name != key}
    monkeypatch.setattr(trained, "history_", history)
    with pytest.raises(ValueError, match=rf"history of this SCVI lacks {key}:"):
        function(trained)


@pytest.mark.parametrize("function", RUN_IT)
def test_what_is_no_model_is_refused(function, trained):
    for thing in (scvi.model.SCVI, trained.module, "SCVI", None):
        with pytest.raises(TypeError, match=r"[Pp]ass (that|the model|a model)"):
            function(thing)


@pytest.mark.parametrize(
    "function", [terms_by_hand.by_hand, lambda *args: attribution.attribute_loss(*args).cells]
)
def test_cells_are_chosen_by_position_and_keep_their_names(function, trained):
    whole = function(trained)
    assert sorted(whole.index) == sorted(trained.adata.obs_names)
    chosen = [600, 3, 77]
    names = list(trained.adata.obs_names[chosen])
    for cells in (chosen, np.array(chosen), tuple(chosen)):
        table = function(trained, cells)
        assert sorted(table.index) == sorted(names)
        # The KL divergence does not hang on random numbers.
        np.testing.assert_allclose(table.loc[names, "kl"], whole.loc[names, "kl"], rtol=1e-4)
    mask = np.zeros(trained.adata.n_obs, dtype=bool)
    mask[chosen] = True
    masked = function(trained, mask)
    assert sorted(masked.index) == sorted(names)
    np.testing.assert_allclose(masked.loc[names, "kl"], whole.loc[names, "kl"], rtol=1e-4)


@pytest.mark.parametrize("function", RUN_IT)
def test_cells_that_are_not_there_are_refused(function, trained):
    for cells in ([-1, 5], [5, 700], [], np.zeros(700, dtype=bool)):
        with pytest.raises(ValueError, match=r"no cell at position (-1|700)|No cells were given"):
            function(trained, cells)


def test_a_mask_of_another_length_is_refused(trained):
    with pytest.raises(ValueError, match="700"):
        terms_by_hand.by_hand(trained, np.ones(3, dtype=bool))


@pytest.mark.parametrize("function", [terms_by_hand.by_hand, attribution.attribute_loss])
def test_proteins_are_refused(function, runs):
    with pytest.raises(
        ValueError,
        match=r"TOTALVI.*not described by one distribution of counts.*totalvi\.by_hand",
    ):
        function(runs("TOTALVI").model)


@pytest.mark.parametrize("function", ALL)
def test_neither_the_model_nor_random_numbers_are_disturbed(function, trained):
    modes = {name: part.training for name, part in trained.module.named_modules()}
    weights = copy.deepcopy(trained.module.state_dict())
    counts = trained.adata.layers["counts"].copy()
    history = {name: table.copy() for name, table in trained.history.items()}
    record = trained.loss_record_.copy()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    first = function(trained)
    assert torch.equal(torch.get_rng_state(), states[0])
    after = np.random.get_state()  # noqa: NPY002
    assert after[0] == states[1][0]
    assert np.array_equal(after[1], states[1][1])
    assert after[2:] == states[1][2:]
    assert random.getstate() == states[2]
    assert {name: part.training for name, part in trained.module.named_modules()} == modes
    for name, value in trained.module.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert (trained.adata.layers["counts"] != counts).nnz == 0
    for name, table in trained.history.items():
        pd.testing.assert_frame_equal(table, history[name])
    pd.testing.assert_frame_equal(trained.loss_record_, record)
    # And another state of the random numbers changes nothing here.
    torch.rand(3)
    np.random.normal(size=3)  # noqa: NPY002
    for again, before in zip(tables(function(trained)), tables(first), strict=True):
        pd.testing.assert_frame_equal(again, before)


def tables(result):
    return [result] if isinstance(result, pd.DataFrame) else list(result)


def test_a_model_in_training_mode_gives_the_same_and_stays_in_it(trained):
    expected = terms_by_hand.by_hand(trained)
    trained.module.train()
    try:
        running = copy.deepcopy(trained.module.state_dict())
        pd.testing.assert_frame_equal(terms_by_hand.by_hand(trained), expected)
        evaluation.reevaluate(trained)
        assert all(part.training for part in trained.module.modules())
        for name, value in trained.module.state_dict().items():
            assert torch.equal(value, running[name]), name
    finally:
        trained.module.eval()
