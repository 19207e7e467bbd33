"""Whether a model is trained enough: synthetic curves, and real ones."""

import copy
import math

import numpy as np
import pandas as pd
import pytest

from helpers import training
from helpers.loss import convergence, latent_dimensions, loss_ledger
from tests.helpers import unusual_losses
from tests.helpers.loss.ledger_runs import logged
from tests.helpers.spied_training import QUIET, build
from tests.helpers.unusual_losses import Hidden, Summed

WEIGHT = "Does the KL divergence count in full at the end?"
CURVE = "Is there a curve of held-out cells?"
FALLS = "Has the held-out loss stopped falling?"
BEST = "Is it still at its best?"
USE = "Are the latent dimensions in use?"


def test_three_epochs_are_too_few_to_say(runs):
    table = convergence.checklist(runs("default warm-up").model)
    assert table.loc[WEIGHT, "found"].startswith("weight 0.005")
    assert "n_epochs_kl_warmup" in table.loc[WEIGHT, "verdict"]
    assert table.loc[CURVE].tolist() == ["after 3 of 3 epochs", "ok"]
    assert "only 3 values" in table.loc[FALLS, "found"]
    assert "train longer" in table.loc[FALLS, "verdict"]


def test_without_held_out_cells_it_says_so(runs):
    table = convergence.checklist(runs("never validated").model)
    assert table.loc[CURVE, "found"] == "after 0 of 3 epochs"
    assert "check_val_every_n_epoch" in table.loc[CURVE, "verdict"]
    assert table.loc[FALLS, "verdict"] != "ok"


def test_a_model_that_still_falls_should_be_trained_longer(adata):
    model = build(adata)
    training.train(model, preset="default", max_epochs=10, **QUIET)
    table = convergence.checklist(model)
    curve = logged(model, "elbo_validation").to_numpy()
    assert all(np.diff(curve[-4:]) < 0)
    assert "train longer" in table.loc[FALLS, "verdict"]
    # The best epochs are the last ones.
    assert table.loc[BEST, "verdict"] == "ok"


def with_synthetic_curve(model, monkeypatch, values):
    """Put a made-up curve of the held-out cells, 40 epochs, into the place of the logged one."""
    history = {name: table.copy() for name, table in model.history.items()}
    history["elbo_validation"].iloc[:, 0] = values
    monkeypatch.setattr(model, "history_", history)
    return convergence.checklist(model)


EPOCHS = np.arange(1, 41)

# The same small ups and downs in every synthetic curve, 0.05 nats.
JUMPS = 0.05 * np.cos(2.4 * EPOCHS)


def test_a_synthetic_plateau_is_all_right(trained, monkeypatch):
    table = with_synthetic_curve(trained, monkeypatch, 160 + 40 * np.exp(-EPOCHS / 3) + JUMPS)
    assert table["verdict"].tolist() == ["ok"] * 5
    assert list(table.index) == [WEIGHT, CURVE, FALLS, BEST, USE]
    assert table.loc[WEIGHT, "found"].startswith("weight 1")
    # 12 epochs of warm-up: the thirteenth is the first with all of it.
    assert table.loc[WEIGHT, "found"].endswith("from epoch 13 on")


def test_a_synthetic_curve_that_rises_again_should_be_stopped_earlier(trained, monkeypatch):
    curve = 160 + 40 * np.exp(-EPOCHS / 3) + 0.3 * np.maximum(0, EPOCHS - 22) + JUMPS
    table = with_synthetic_curve(trained, monkeypatch, curve)
    assert table.loc[FALLS, "verdict"] == "ok"
    assert "stop earlier" in table.loc[BEST, "verdict"]
    means = {end: curve[end - 10 : end].mean() for end in range(10, 41)}
    best = min(means, key=means.get)
    assert f"end at epoch {best}" in table.loc[BEST, "found"]
    assert f"about {means[40] - means[best]:.1g} nats" in table.loc[BEST, "found"]


def test_a_synthetic_curve_that_falls_to_the_end_should_go_on(trained, monkeypatch):
    curve = 200 - 0.5 * EPOCHS + JUMPS
    table = with_synthetic_curve(trained, monkeypatch, curve)
    assert "train longer" in table.loc[FALLS, "verdict"]
    assert table.loc[BEST, "verdict"] == "ok"


def test_jumps_alone_are_no_fall(trained, monkeypatch):
    table = with_synthetic_curve(trained, monkeypatch, 160 + 40 * JUMPS)
    assert table.loc[FALLS, "verdict"] == "ok"


def test_the_held_out_cells_decide_and_not_the_training_cells(trained, monkeypatch):
    history = {name: table.copy() for name, table in trained.history.items()}
    # The training cells' loss falls and falls; only the held-out cells' rises.
    history["elbo_train"].iloc[:, 0] = 200 - EPOCHS
    monkeypatch.setattr(trained, "history_", history)
    curve = 160 + 40 * np.exp(-EPOCHS / 3) + 0.3 * np.maximum(0, EPOCHS - 22) + JUMPS
    table = with_synthetic_curve(trained, monkeypatch, curve)
    assert "stop earlier" in table.loc[BEST, "verdict"]


def test_a_weight_of_another_size_is_not_called_full(runs):
    for name in ("weight 0", "from 0.2 to 5"):
        row = convergence.checklist(runs(name).model).loc[WEIGHT]
        weight = loss_ledger.ledger(runs(name).model)["kl_weight"].iloc[-1]
        assert f"weight {weight:.2g}" in row["found"]
        assert row["verdict"] != "ok"


def test_latent_dimensions_in_use_are_counted(trained, monkeypatch):
    table = with_synthetic_curve(trained, monkeypatch, 160 + JUMPS)
    used = int((latent_dimensions.dimensions_in_use(trained)["kl"] >= 0.1).sum())
    assert table.loc[USE].tolist() == [f"{used} of 10", "ok"]
    encoder = trained.module.z_encoder
    kept = copy.deepcopy(encoder.state_dict())
    try:
        for head, bias in (
            (encoder.mean_encoder, 0),
            (encoder.var_encoder, math.log(1 - encoder.var_eps)),
        ):
            head.weight.data[:] = 0
            head.bias.data[:] = bias
        table = convergence.checklist(trained)
    finally:
        encoder.load_state_dict(kept)
    assert table.loc[USE, "found"] == "0 of 10"
    assert table.loc[USE, "verdict"] != "ok"


# --- losses that are no negative ELBO -----------------------------------------------------------

UNITS = "Is the loss in nats per cell?"
NAMES = "Do the terms make up the loss?"


def test_a_second_training_has_a_warm_up_of_its_own():
    model = unusual_losses.train(unusual_losses.build("SCVI"), epochs=6, warm_up=2)
    unusual_losses.train(model, epochs=6, warm_up=4)
    found, verdict = convergence.checklist(model).loc[WEIGHT]
    assert (found, verdict) == ("weight 1, from epoch 11 on", "ok")


@pytest.mark.parametrize(
    ("module", "weight"), [("PEAKVI", 2 / 81), (Summed, 2 / 81), ("AUTOZI", 1)]
)
def test_a_loss_in_other_units_is_told_from_the_negative_elbo(module, weight):
    table = convergence.checklist(unusual_losses.train(unusual_losses.build(module)))
    assert table.index[0] == UNITS
    assert "times" in table.loc[UNITS, "found"]
    assert "elbo" in table.loc[UNITS, "verdict"]
    found, verdict = table.loc[WEIGHT]
    if weight == 1:
        assert (found, verdict) == ("weight 1, from epoch 3 on", "ok")
    else:
        assert found == f"weight {weight:.2g}"
        assert "no negative ELBO" in verdict


def test_a_loss_with_more_than_its_terms_is_told():
    table = convergence.checklist(unusual_losses.train(unusual_losses.build(Hidden)))
    assert list(table.index[:2]) == [NAMES, WEIGHT]
    assert "has no name" in table.loc[NAMES, "found"]
    assert table.loc[NAMES, "verdict"] != "ok"


def test_without_a_divergence_of_cells_there_is_no_weight_to_judge():
    weights = pd.Series([math.nan] * 3, index=[1, 2, 3])
    assert convergence._end_of_warm_up(weights, is_in_nats=True)["verdict"] == "ok"
