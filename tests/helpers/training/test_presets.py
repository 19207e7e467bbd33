"""Training with a preset, its record, and checkpoints that are never stale."""

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

from helpers import data, figures, training
from helpers.training import loss_recorder
from tests.helpers.random_states import random_states
from tests.helpers.small_models import SHORT, build, few, new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


# --- train --------------------------------------------------------------------------------------


def test_the_default_preset_is_model_train_with_a_validation_curve(adata):
    ours, theirs, plain = new_model(adata), new_model(adata), new_model(adata)
    training.train(ours, preset="default", **SHORT)
    scvi.settings.seed = 0
    theirs.train(check_val_every_n_epoch=1, **SHORT)
    scvi.settings.seed = 0
    plain.train(**SHORT)
    assert np.array_equal(ours.get_latent_representation(), theirs.get_latent_representation())
    assert "elbo_validation" in ours.history
    assert "elbo_validation" not in plain.history
    # Only the random numbers that the first look at the held-out cells draws set the two apart.
    first_epoch = [float(model.history["elbo_train"].iloc[0, 0]) for model in (ours, plain)]
    assert first_epoch[0] == first_epoch[1]


def test_the_default_preset_leaves_all_choices_to_scvi(adata, monkeypatch):
    asked = {}
    monkeypatch.setattr(scvi.model.SCVI, "train", lambda self, **kwargs: asked.update(kwargs))
    training.train(new_model(adata), preset="default", folder=None)
    (recorder,) = asked.pop("callbacks")
    assert isinstance(recorder, loss_recorder.LossRecorder)
    assert asked == {"check_val_every_n_epoch": 1}


def test_training_repeats_bit_by_bit_whatever_ran_before(adata):
    first, second = new_model(adata), new_model(adata)
    training.train(first, **SHORT)
    np.random.default_rng().normal(size=10)
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    training.train(second, **SHORT)
    assert np.array_equal(first.get_latent_representation(), second.get_latent_representation())


def test_the_class_preset_reaches_the_full_kl_weight(adata):
    model = new_model(adata)
    training.train(model, enable_progress_bar=False)
    assert float(model.history["kl_weight"].iloc[-1, 0]) == 1
    # 700 cells make ten minibatches of 64 an epoch.
    assert len(training.curves(model)) == 30
    assert training.lengths(700) == {"epochs": 30, "steps": 300, "warm-up": 9}
    record = model.loss_record_[model.loss_record_["cells"] == "training"]
    assert (record["minibatches", "number"] == 10).all()
    weights = record["kl_weight", "mean"].to_numpy()
    np.testing.assert_allclose(weights, np.minimum(np.arange(30) / 9, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("cells", "epochs"), [(20, 300), (400, 50), (700, 30), (1_500, 14), (3_005, 14), (20_000, 14)]
)
def test_few_cells_get_more_epochs_so_that_there_are_enough_steps(cells, epochs):
    length = training.lengths(cells)
    assert length["epochs"] == epochs
    assert length["steps"] >= 300
    assert length["warm-up"] == round(0.3 * epochs)


def test_the_length_of_a_run_can_be_chosen():
    assert training.lengths(700, max_epochs=5) == {"epochs": 5, "steps": 50, "warm-up": 2}
    assert training.lengths(700, least_steps=700)["epochs"] == 70
    # Never more than scvi-tools itself would run.
    assert training.lengths(40, least_steps=1000)["epochs"] == 400
    assert training.lengths(700, batch_size=32)["steps"] == 14 * 20 + 20
    assert training.lengths(700, plan_kwargs={"n_epochs_kl_warmup": 9})["warm-up"] == 9
    assert training.lengths(700, "default") == {"epochs": 400, "steps": 2000, "warm-up": None}
    assert training.lengths(40_000, "default")["epochs"] == 200
    assert training.lengths(700, train_size=0.5)["epochs"] == 50
    assert training.lengths(400, "few cells") == {"epochs": 80, "steps": 480, "warm-up": 30}


class Rates(Callback):
    """Note the learning rate with which each step is made."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


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


def test_the_models_of_the_blood_cells_see_what_they_say():
    totalvi, scvi_model = (training.blood_model(kind) for kind in ("TOTALVI", "SCVI"))
    assert totalvi.summary_stats.n_proteins == 14
    for model in (totalvi, scvi_model):
        assert model.summary_stats.n_batch == 2
        assert model.summary_stats.n_vars == 2000
    assert list(totalvi.adata.var_names) == list(scvi_model.adata.var_names)
    fewer = training.blood_model("TOTALVI", proteins=["CD25", "CD3"])
    assert list(fewer.protein_state_registry.column_names) == ["CD25", "CD3"]
    # Built again, whatever ran before, it is the same model, so its checkpoint is found.
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    again = training.blood_model("TOTALVI")
    for name, weights in totalvi.module.state_dict().items():
        assert torch.equal(weights, again.module.state_dict()[name]), name


def test_bad_requests_are_refused_before_training(adata):
    model = new_model(adata)
    with pytest.raises(ValueError, match=r"no preset 'fast'\. Presets: default, class"):
        training.train(model, preset="fast")
    with pytest.raises(ValueError, match=r"last minibatch of one cell.*batch_size=130"):
        # ceil(0.923 x 700) = 647 = 5 x 129 + 2, so one cell less than that leaves one over.
        training.train(model, train_size=646 / 700, batch_size=129)
    for share in ("lr_rise", "lr_fall", "kl_warmup"):
        for value in (10, -0.1):
            with pytest.raises(ValueError, match=f"{share} is a share.*not {value}"):
                training.train(model, **{share: value})
    with pytest.raises(ValueError, match=r"no cells out.*check_val_every_n_epoch=None"):
        training.train(model, train_size=1.0)
    assert not model.is_trained
    training.train(model, train_size=1.0, check_val_every_n_epoch=None, **SHORT)
    assert len(model.train_indices) == adata.n_obs


def test_a_trained_model_is_not_trained_again(adata):
    model = new_model(adata)
    training.train(model, **SHORT)
    with pytest.raises(ValueError, match=r"trained before.*SCVI\(adata\)"):
        training.train(model, **SHORT)


def test_too_little_memory_is_said_before_the_work(adata, monkeypatch):
    model = new_model(adata)
    monkeypatch.setattr("helpers.environment.available_memory", lambda: 1_000_000)
    with pytest.raises(MemoryError, match="Training SCVI needs about"):
        training.train(model)
    assert not model.is_trained


# --- what is read from the model ----------------------------------------------------------------


def test_defaults_are_those_a_model_is_built_and_trained_with(adata):
    table = training.defaults(scvi.model.SCVI, adata.n_obs)["default"]
    model = new_model(adata)
    model.train(max_epochs=1, enable_progress_bar=False)
    module, plan = model.module, model.trainer.lightning_module
    assert table["n_hidden"] == module.z_encoder.mean_encoder.in_features
    assert table["n_latent"] == module.n_latent
    assert table["gene_likelihood"] == module.gene_likelihood
    assert table["dispersion"] == module.dispersion
    assert table["latent_distribution"] == module.latent_distribution
    assert table["lr"] == plan.lr
    assert table["n_epochs_kl_warmup"] == plan.n_epochs_kl_warmup
    assert round(table["train_size"] * adata.n_obs) == len(model.train_indices)
    assert table["dropout_rate"] == training.dropout(model)["z_encoder.encoder.fc_layers.Layer 0.4"]


@pytest.mark.parametrize("cells", [1, 400, 19_999, 20_000, 20_050, 33_333, 1_000_000, 10_000_000])
def test_default_epochs_follow_the_formula_of_the_lesson(cells):
    assert training.default_epochs(cells) == max(min(round(20_000 / cells * 400), 400), 1)


def test_dropout_is_only_in_encoders(adata):
    rates = training.dropout(new_model(adata, dropout_rate=0.2))
    assert (rates == 0.2).all()
    assert all("encoder" in path for path in rates.index)


# --- curves -------------------------------------------------------------------------------------


def test_curves_are_the_history(adata):
    model = new_model(adata)
    training.train(model, **SHORT)
    table = training.curves(model)
    assert list(table.index) == [1, 2]
    assert table["held-out cells"].iloc[-1] == pytest.approx(
        float(model.history["elbo_validation"].iloc[-1, 0])
    )
    # Both are negative ELBOs per cell: recomputed by scvi-tools on the same held-out cells, they
    # agree but for the sampling.
    recomputed = -float(model.get_elbo(indices=model.validation_indices))
    assert abs(recomputed) == pytest.approx(table["held-out cells"].iloc[-1], rel=0.02)
    assert figures.about(table["held-out cells"].iloc[-1]) in training.plot_curves(table).alt


def test_no_validation_curve_is_explained(adata):
    model = new_model(adata)
    with pytest.raises(ValueError, match="was not trained"):
        training.curves(model)
    model.train(**SHORT)
    with pytest.raises(ValueError, match="check_val_every_n_epoch=1"):
        training.curves(model)


def test_the_shape_of_a_run_is_drawn_from_what_the_preset_does():
    shape = training.shape(3005)
    assert list(shape.columns) == ["learning rate", "KL weight"]
    assert len(shape) == 14 * 43
    assert shape["learning rate"].max() == 0.015
    assert shape["learning rate"].iloc[-1] == 0
    assert (shape["learning rate"] == 0.015).mean() == pytest.approx(0.5, abs=0.01)
    assert list(shape["KL weight"].iloc[::43]) == pytest.approx([0, 0.25, 0.5, 0.75, *[1] * 10])
    # It stays the same within an epoch.
    assert shape["KL weight"].nunique() == 5
    alt = training.plot_shape(3005).alt
    for fact in ("14 epochs", "0.015", "epoch 5"):
        assert fact in alt


def test_the_drawn_shape_is_the_one_that_a_run_takes(adata):
    rates = Rates()
    model = new_model(adata)
    training.train(model, callbacks=[rates], max_epochs=5, enable_progress_bar=False)
    shape = training.shape(700, max_epochs=5)
    np.testing.assert_allclose(np.ravel(rates.seen), shape["learning rate"], atol=1e-12)
    record = model.loss_record_[model.loss_record_["cells"] == "training"]
    np.testing.assert_allclose(
        record["kl_weight", "first"], shape["KL weight"].iloc[::10], atol=1e-6
    )


# --- asking a trained model ---------------------------------------------------------------------


def test_a_model_is_asked_with_a_seed_and_without_dropout_and_then_left_as_it_was(cortex):
    model = build(few(cortex, 20), n_hidden=4)
    model.module.train()
    model.module.decoder.eval()
    modes = [part.training for part in model.module.modules()]
    drawn = []
    for seed in (5, 5, 6):
        torch.rand(3)
        before = random_states()
        with training.evaluating(model, seed):
            assert not any(part.training for part in model.module.modules())
            drawn.append((np.random.random(), float(torch.rand(1))))  # noqa: NPY002
        assert random_states() == before
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]
    assert drawn[0][1] != drawn[2][1]
    with pytest.raises(RuntimeError), training.evaluating(model):
        raise RuntimeError
    assert [part.training for part in model.module.modules()] == modes
