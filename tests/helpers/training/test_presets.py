"""A preset reaches the training as it says, and what a caller says wins."""

import numpy as np
import pytest

from helpers import data, training
from tests.helpers.small_models import SHORT, build, few, new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


def test_the_class_preset_reaches_the_full_kl_weight(adata):
    model = new_model(adata)
    training.train(model, enable_progress_bar=False)
    assert float(model.history["kl_weight"].iloc[-1, 0]) == 1
    # 700 cells make ten minibatches of 64 an epoch.
    assert len(training.curves(model)) == 30
    assert training.run_length(700) == {"epochs": 30, "steps": 300, "warm-up": 9}
    record = model.loss_record_[model.loss_record_["cells"] == "training"]
    assert (record["minibatches", "number"] == 10).all()
    weights = record["kl_weight", "mean"].to_numpy()
    np.testing.assert_allclose(weights, np.minimum(np.arange(30) / 9, 1), atol=1e-6)


def test_plan_arguments_are_merged_with_the_preset(adata):
    model = new_model(adata)
    training.train(model, plan_kwargs={"lr": 0.002}, **SHORT)
    used = model.train_settings_["train_kwargs"]["plan_kwargs"]
    assert used == {"lr": 0.002, "n_epochs_kl_warmup": 1}
    assert training.PRESETS["class"]["plan_kwargs"] == {"lr": 0.015}
    assert model.trainer.optimizers[0].param_groups[0]["initial_lr"] == 0.002


@pytest.mark.parametrize(
    ("preset", "rate", "warm_up"), [("few cells", 0.004, 30), ("class", 0.015, 1)]
)
def test_a_preset_reaches_models_that_take_its_settings_themselves(preset, rate, warm_up):
    """TOTALVI.train overwrites what plan_kwargs say of learning rate and warm-up."""
    model = build(few(data.load_citeseq(), 20), "TOTALVI")
    training.train(model, preset, **SHORT)
    plan = model.trainer.lightning_module
    assert (plan.lr, plan.n_epochs_kl_warmup) == (rate, warm_up)
    assert model.trainer.optimizers[0].param_groups[0].get("initial_lr", plan.lr) == rate
    other = build(few(data.load_citeseq(), 20), "TOTALVI")
    training.train(other, preset, lr=0.001, plan_kwargs={"weight_decay": 0.5}, **SHORT)
    plan = other.trainer.lightning_module
    assert (plan.lr, plan.n_epochs_kl_warmup, plan.weight_decay) == (0.001, warm_up, 0.5)


def test_the_preset_for_few_cells_holds_for_both_models():
    blood = few(data.load_citeseq(), 20)
    weights = []
    for kind in ("SCVI", "TOTALVI"):
        model = build(blood.copy(), kind)
        training.train(model, "few cells", enable_progress_bar=False)
        assert len(training.curves(model)) == training.PRESETS["few cells"]["max_epochs"]
        assert model.loss_record_["minibatches", "number"].max() == 2
        record = model.loss_record_
        weights.append(record.loc[record["cells"] == "training", ("kl_weight", "mean")].to_numpy())
    np.testing.assert_allclose(weights[0], weights[1])
    assert weights[0][0] == 0 and weights[0][30] == weights[0][-1] == 1
