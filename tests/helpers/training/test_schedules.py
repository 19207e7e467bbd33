"""A run is as long as it says, and its learning rate and KL weight go as they are drawn."""

import numpy as np
import pytest
import scvi
import torch
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
    assert training.run_length(700, max_epochs=None) == {
        "epochs": 400,
        "steps": 4000,
        "warm-up": 120,
    }
    assert training.run_length(700, batch_size=None, max_epochs=2)["steps"] == 10
    assert training.run_length(700, plan_kwargs={"n_epochs_kl_warmup": None})["warm-up"] is None
    assert training.run_length(700, "few cells", kl_warmup=0.5)["warm-up"] == 40


def test_a_limit_of_steps_makes_a_run_longer_or_shorter():
    assert training.run_length(700, max_steps=25) == {"epochs": 3, "steps": 25, "warm-up": 1}
    assert training.run_length(700, max_steps=1000)["epochs"] == 100
    assert training.run_length(700, max_steps=25, max_epochs=50)["epochs"] == 50
    # Five steps an epoch, and a rest.
    accumulated = {"max_steps": 12, "accumulate_grad_batches": 2}
    assert training.run_length(700, **accumulated)["steps"] == 24
    assert training.run_length(700, "default", max_steps=25)["epochs"] == 400


def test_the_cells_that_were_chosen_are_counted():
    rows = np.arange(700)
    chosen = {"external_indexing": [rows[:130], rows[130:]]}
    assert training.run_length(700, datasplitter_kwargs=chosen, max_epochs=1)["steps"] == 3
    whole = chosen | {"drop_last": True}
    assert training.run_length(700, datasplitter_kwargs=whole, max_epochs=1)["steps"] == 2


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


# Every look at the held-out cells finds a plateau, but the first.
PLATEAU = {"lr_patience": 0, "lr_factor": 0.5, "lr_threshold": 1e9}
FLAT = {"max_epochs": 5, "lr_rise": 0, "lr_fall": 0, "enable_progress_bar": False}


@pytest.mark.parametrize("kind", ["SCVI", "TOTALVI"])
def test_a_rate_that_is_lowered_on_a_plateau_stays_lower(kind):
    plan = PLATEAU | {"reduce_lr_on_plateau": True}
    runs = []
    for asked in ({}, {"lr_rise": 0.4, "lr_fall": 0.4}):
        rates = Rates()
        model = build(few(data.load_citeseq(), 20), kind)
        training.train(model, callbacks=[rates], plan_kwargs=plan, **FLAT | asked)
        runs.append((np.ravel(rates.seen), model.history["lr-Adam"].iloc[:, 0].astype(float)))
    (plain, _), (ours, told) = runs
    # Two minibatches an epoch; without rise and fall it is what scvi-tools does alone.
    np.testing.assert_allclose(plain / 0.015, np.repeat([1, 1, 0.5, 0.25, 0.125], 2))
    shares = [schedules.lr_share((step + 1) / 10, 0.4, 0.4) for step in range(10)]
    np.testing.assert_allclose(ours, plain * shares, atol=1e-12)
    # And the history tells of the first step of each epoch.
    np.testing.assert_allclose(told, ours[::2], atol=1e-12)


def test_a_scheduler_that_acts_at_each_step_is_left_to_itself(adata, capsys):
    class Plan(scvi.train.TrainingPlan):
        def configure_optimizers(self):
            config = super().configure_optimizers()
            halved = torch.optim.lr_scheduler.StepLR(config["optimizer"], 1, gamma=0.5)
            return config | {"lr_scheduler": {"scheduler": halved, "interval": "step"}}

    rates, model = Rates(), new_model(adata)
    model._training_plan_cls = Plan
    training.train(model, callbacks=[rates], max_epochs=1, enable_progress_bar=False)
    np.testing.assert_allclose(np.ravel(rates.seen), 0.015 * 0.5 ** np.arange(10))
    assert "scheduler that sets it at each step" in capsys.readouterr().err


def test_the_rate_falls_to_nothing_where_steps_end_the_run(adata):
    for asked in ({"max_steps": 25}, {"max_steps": 12, "accumulate_grad_batches": 2}):
        rates = Rates()
        training.train(new_model(adata), callbacks=[rates], enable_progress_bar=False, **asked)
        assert len(rates.seen) == training.run_length(700, **asked)["steps"]
        assert rates.seen[-1] == [0] and rates.seen[-2][0] > 0


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
