"""The kept run of 400 epochs is what scVI's default training gives."""

import numpy as np
import pytest

from helpers.loss import loss_ledger
from studies import default_run


@pytest.fixture(scope="module")
def kept():
    return default_run.load()


def test_first_epochs_can_be_recomputed(kept, tmp_path):
    model = default_run.train(max_epochs=3, folder=tmp_path, enable_progress_bar=False)
    again = loss_ledger.ledger(model)[default_run.COLUMNS]
    # Other processors and versions add numbers in another order; training amplifies that.
    np.testing.assert_allclose(kept.loc[:3], again, rtol=1e-3, atol=1e-6)


def test_whole_default_run_is_kept(kept):
    assert list(kept.index) == list(range(1, 401))
    assert list(kept.columns) == default_run.COLUMNS
    np.testing.assert_allclose(kept["kl_weight"], np.arange(400) / 400, atol=1e-4)
    assert not kept.isna().any().any()


def test_kept_run_adds_up(kept):
    # The file holds four decimals.
    loss = kept["reconstruction"] + np.arange(400) / 400 * kept["kl"]
    np.testing.assert_allclose(kept["train_loss"], loss, atol=2e-3)
    np.testing.assert_allclose(kept["elbo"], kept["reconstruction"] + kept["kl"], atol=2e-3)
    held_out = kept["held_out_reconstruction"] + kept["held_out_kl"]
    np.testing.assert_allclose(kept["held_out_elbo"], held_out, atol=2e-3)


def test_origin_says_how_it_was_made():
    origin = default_run.origin()
    for part in ("SCVI on 3,005 cortex cells x 2,000 genes", "seed 0", "scvi-tools 1.", "torch"):
        assert part in origin
    assert not origin.startswith("#")
