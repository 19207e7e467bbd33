"""A preset reaches the training as it says, and what a caller says wins."""

import numpy as np
import pytest
import scvi

from helpers import data, training
from helpers.training import presets, schedules
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


# --- what was asked for wins --------------------------------------------------------------------

ASKED = [
    # None is what scvi-tools makes of it: the full weight at once.
    ("class", {"plan_kwargs": {"n_epochs_kl_warmup": None}}, {"n_epochs_kl_warmup": None}),
    ("few cells", {"plan_kwargs": {"n_epochs_kl_warmup": None}}, {"n_epochs_kl_warmup": None}),
    # Steps alone: scvi-tools looks at them only where there are no epochs.
    (
        "class",
        {"plan_kwargs": {"n_steps_kl_warmup": 200}},
        {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 200},
    ),
    (
        "few cells",
        {"n_steps_kl_warmup": 200},
        {"n_epochs_kl_warmup": None},
    ),
    ("class", {"plan_kwargs": {"n_steps_kl_warmup": None}}, {"n_steps_kl_warmup": None}),
    ("default", {"plan_kwargs": {"n_steps_kl_warmup": 9}}, {"n_steps_kl_warmup": 9}),
    ("few cells", {"kl_warmup": 0.5}, {}),
    ("class", {"plan_kwargs": None}, {}),
    ("class", {"plan_config": {"lr": 1e-4}}, {"lr": 1e-4}),
    ("class", {"plan_config": {"lr": 1e-4}, "plan_kwargs": {"lr": 1e-5}}, {"lr": 1e-5}),
    ("class", {"plan_kwargs": scvi.train.TrainingPlanConfig(lr=1e-4)}, {"lr": 1e-4}),
    ("class", {"plan_kwargs": {"optimizer_creator": len}}, {"optimizer_creator": len}),
    ("class", {"plan_kwargs": {"optim_kwargs": {"lr": 1}}}, {"optim_kwargs": {"lr": 1}}),
]


@pytest.mark.parametrize(("preset", "asked", "plan"), ASKED)
def test_what_is_asked_of_the_plan_wins(preset, asked, plan):
    merged = presets.merge(preset, asked)
    chosen = merged["plan_kwargs"]
    assert chosen.items() >= plan.items()
    if not {"lr", "optimizer_creator", "optim_kwargs"} & plan.keys() and preset != "default":
        assert chosen["lr"] == training.PRESETS[preset]["plan_kwargs"]["lr"]
    if "optimizer_creator" in plan or "optim_kwargs" in plan:
        # The optimizer that was given has a learning rate of its own.
        assert "lr" not in chosen
    if "kl_warmup" in asked:
        assert "n_epochs_kl_warmup" not in chosen and merged["kl_warmup"] == 0.5


def test_a_configuration_of_the_trainer_wins_but_for_the_epochs():
    """scvi-tools reads no epochs from it."""
    merged = presets.merge(
        "class", {"trainer_config": {"check_val_every_n_epoch": 2, "max_epochs": 1}}
    )
    assert "check_val_every_n_epoch" not in merged
    assert merged["max_epochs"] == 14


def test_the_kl_weight_goes_as_asked(adata):
    for asked, expected in (
        ({"n_epochs_kl_warmup": None}, [1, 1]),
        ({"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 20}, [0, 0.5]),
        ({"n_steps_kl_warmup": 20}, [0, 0.5]),
        ({"min_kl_weight": 0.2, "max_kl_weight": 0.6, "n_epochs_kl_warmup": 2}, [0.2, 0.4]),
    ):
        model = new_model(adata)
        training.train(model, plan_kwargs=asked, folder=None, **SHORT)
        record = model.loss_record_[model.loss_record_["cells"] == "training"]
        np.testing.assert_allclose(record["kl_weight", "first"], expected, atol=1e-6)
        table = schedules.schedule(700, plan_kwargs=asked, **SHORT)
        np.testing.assert_allclose(table["KL weight"].iloc[::10], expected, atol=1e-6)


@pytest.mark.parametrize("asked", [{"max_epochs": 0}, {"max_epochs": -1}, {"max_steps": 0}])
def test_a_run_without_epochs_or_end_is_refused(asked):
    with pytest.raises(ValueError, match=r"trains nothing, or without an end.*pass 1 or more"):
        presets.merge("default", asked)
