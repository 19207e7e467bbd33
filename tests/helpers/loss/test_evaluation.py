"""The trained model on the same cells again."""

import numpy as np
import pytest

from helpers.loss import evaluation, terms_by_hand
from tests.helpers.loss.ledger_runs import logged


def test_the_trained_model_is_compared_with_what_was_logged(trained):
    table = evaluation.reevaluate(trained)
    for cells, mode in {"training": "train", "held-out": "validation"}.items():
        for column, key in {
            "reconstruction": "reconstruction_loss",
            "kl": "kl_local",
            "elbo": "elbo",
        }.items():
            last = logged(trained, f"{key}_{mode}").iloc[-1]
            assert table.loc[f"{cells} cells, logged", column] == pytest.approx(last, rel=1e-6)
    np.testing.assert_allclose(table["elbo"], table["reconstruction"] + table["kl"], rtol=1e-5)
    # With random numbers of its own, scvi-tools finds the same but for the sampling. Its sign
    # differs between versions.
    for cells, indices in {
        "held-out": trained.validation_indices,
        "training": trained.train_indices,
    }.items():
        theirs = abs(float(trained.get_elbo(indices=indices)))
        assert table.loc[f"{cells} cells, now", "elbo"] == pytest.approx(theirs, rel=0.005)
        kl = terms_by_hand.by_hand(trained, indices)["kl"].mean()
        assert table.loc[f"{cells} cells, now", "kl"] == pytest.approx(kl, rel=1e-5)
    assert table.loc["training cells, now", "elbo"] < table.loc["held-out cells, now", "elbo"]


def test_dropout_costs(trained):
    table = evaluation.reevaluate(trained)["elbo"]
    assert table["training cells, now, with dropout"] > table["training cells, now"]


def test_without_held_out_cells_there_is_nothing_to_compare(runs):
    with pytest.raises(ValueError, match=r"held no cells out.*train_size=1"):
        evaluation.reevaluate(runs("nothing held out").model)
