"""A run is as long as it says, and its learning rate and KL weight go as they are drawn."""

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

from helpers import data, training
from helpers.training import schedules
from tests.helpers.small_models import SHORT, build, few, new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


class Rates(Callback):
    """Note the learning rate with which each step is made."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


@pytest.mark.parametrize(
    ("cells", "epochs"), [(20, 300), (400, 50), (700, 30), (1_500, 14), (3_005, 14), (20_000, 14)]
)
def test_few_cells_get_more_epochs_so_that_there_are_enough_steps(cells, epochs):
    length = training.run_length(cells)
    assert length["epochs"] == epochs
    assert length["steps"] >= 300
    assert length["warm-up"] == round(0.3 * epochs)


def test_the_length_of_a_run_can_be_chosen():
    assert training.run_length(700, max_epochs=5) == {"epochs": 5, "steps": 50, "warm-up": 2}
    assert training.run_length(700, least_steps=700)["epochs"] == 70
    # Never more than scvi-tools itself would run.
    assert training.run_length(40, least_steps=1000)["epochs"] == 400
    assert training.run_length(700, batch_size=32)["steps"] == 14 * 20 + 20
    assert training.run_length(700, plan_kwargs={"n_epochs_kl_warmup": 9})["warm-up"] == 9
    assert training.run_length(700, "default") == {"epochs": 400, "steps": 2000, "warm-up": None}
    assert training.run_length(40_000, "default")["epochs"] == 200
    assert training.run_length(700, train_size=0.5)["epochs"] == 50
    assert training.run_length(400, "few cells") == {"epochs": 80, "steps": 480, "warm-up": 30}


def test_the_learning_rate_rises_stays_and_falls_to_nothing(adata):
    rates = Rates()
    model = new_model(adata)
    how = {"max_epochs": 4, "lr_rise": 0.25, "lr_fall": 0.5, "enable_progress_bar": False}
    training.train(model, plan_kwargs={"lr": 0.01}, callbacks=[rates], **how)
    (seen,) = np.transpose(rates.seen)
    # Forty steps: ten up, ten at the top, twenty down.
    expected = np.concatenate([np.arange(1, 11) / 10, np.ones(10), np.arange(19, -1, -1) / 20])
    np.testing.assert_allclose(seen, 0.01 * expected, atol=1e-12)


def test_a_run_without_a_schedule_keeps_its_learning_rate(adata):
    for settings in ({"preset": "default"}, {"lr_rise": 0, "lr_fall": 0}):
        rates = Rates()
        model = new_model(adata)
        training.train(model, callbacks=[rates], **settings, **SHORT)
        assert len(np.unique(rates.seen)) == 1


def test_the_schedule_reaches_every_optimizer():
    """The training plan of TOTALVI may have a second one, for a classifier of batches."""
    rates = Rates()
    model = build(few(data.load_citeseq(), 20), "TOTALVI", {"batch_key": "chip"})
    training.train(model, callbacks=[rates], adversarial_classifier=True, **SHORT)
    seen = np.array(rates.seen)
    assert seen.shape[1] == 2
    np.testing.assert_allclose(seen[-1], 0, atol=1e-12)


def test_the_schedule_of_a_run_is_drawn_from_what_the_preset_does():
    table = schedules.schedule(3005)
    assert list(table.columns) == ["learning rate", "KL weight"]
    assert len(table) == 14 * 43
    assert table["learning rate"].max() == 0.015
    assert table["learning rate"].iloc[-1] == 0
    assert (table["learning rate"] == 0.015).mean() == pytest.approx(0.5, abs=0.01)
    assert list(table["KL weight"].iloc[::43]) == pytest.approx([0, 0.25, 0.5, 0.75, *[1] * 10])
    # It stays the same within an epoch.
    assert table["KL weight"].nunique() == 5
    alt = training.plot_schedule(3005).alt
    for fact in ("14 epochs", "0.015", "epoch 5"):
        assert fact in alt


def test_the_drawn_schedule_is_the_one_that_a_run_takes(adata):
    rates = Rates()
    model = new_model(adata)
    training.train(model, callbacks=[rates], max_epochs=5, enable_progress_bar=False)
    table = schedules.schedule(700, max_epochs=5)
    np.testing.assert_allclose(np.ravel(rates.seen), table["learning rate"], atol=1e-12)
    record = model.loss_record_[model.loss_record_["cells"] == "training"]
    np.testing.assert_allclose(
        record["kl_weight", "first"], table["KL weight"].iloc[::10], atol=1e-6
    )
