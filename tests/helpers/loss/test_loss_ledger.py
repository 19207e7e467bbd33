"""The ledger of a loss, against scvi-tools' own sources."""

import numpy as np
import pandas as pd
import pytest
import scvi
from lightning.pytorch.callbacks import Callback

from helpers import training
from helpers.loss import loss_ledger
from helpers.training.loss_recorder import LossRecorder
from tests.helpers import unusual_losses
from tests.helpers.loss.ledger_runs import (
    SCANVI,
    SHORT,
    Run,
    Setting,
    logged,
    steps,
    train,
    warmed_up,
    weights_in_loss,
)
from tests.helpers.spied_training import (
    EVERY,
    QUIET,
    build,
    build_totalvi,
    in_epochs,
    mean_over_cells,
    minibatches_of,
    of_kind,
    spied,
)
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
)


def test_the_terms_add_up_to_the_logged_loss(run):
    table = loss_ledger.ledger(run.model)
    loss = logged(run.model, "train_loss").to_numpy()
    parts = table[[name for name in table if name.startswith("+ ")]]
    np.testing.assert_allclose(parts.sum(axis=1), loss, rtol=1e-5)
    np.testing.assert_array_equal(table["train_loss"], loss)
    np.testing.assert_allclose(table["residual"], loss - parts.sum(axis=1), atol=1e-9)
    contributions = loss_ledger.contributions(table)
    assert [f"+ {name}" for name in contributions] == list(parts)
    assert np.array_equal(contributions, parts, equal_nan=True)


def test_the_negative_elbo_is_reconstruction_plus_kl(run):
    table = loss_ledger.ledger(run.model)
    for name, key in {"elbo": "elbo", "reconstruction": "reconstruction_loss"}.items():
        np.testing.assert_array_equal(table[name], logged(run.model, f"{key}_train"))
    difference = table["elbo"] - table["reconstruction"] - table["kl"]
    np.testing.assert_allclose(difference, 0, atol=1e-5 * table["elbo"].abs().max())
    np.testing.assert_allclose(table["elbo_residual"], difference, atol=1e-9)
    calls = run.of("training")
    kl = ("kl_", "kl_local") if run.setting.model.get("kind") != "SCANVI" else ("kl_local",)
    expected = mean_over_cells(
        calls, lambda c: sum(value for name, value in c["terms"].items() if name.startswith(kl))
    )
    np.testing.assert_allclose(table["kl"], expected, rtol=1e-5)


def test_each_term_adds_its_weight_times_its_size(run):
    table = loss_ledger.contributions(loss_ledger.ledger(run.model)).drop(
        columns="adversarial", errors="ignore"
    )
    calls = run.of("training")
    names = weights_in_loss(run.setting, calls[0])
    assert set(table) <= set(names)
    for name in names:
        expected = mean_over_cells(
            calls,
            lambda c, name=name: weights_in_loss(run.setting, c)[name] * c["terms"][name],
        )
        found = table[name] if name in table else np.zeros(len(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9, err_msg=name)


def test_the_kl_weight_is_that_of_the_warm_up(run):
    table = loss_ledger.ledger(run.model)
    calls = run.of("training")
    own = pd.DataFrame(calls).groupby("epoch")["own_weight"]
    mean = mean_over_cells(calls, lambda call: call["own_weight"])
    assert list(table.index) == list(mean.index)
    np.testing.assert_allclose(table["kl_weight"], mean, atol=1e-6)
    np.testing.assert_allclose(table["kl_weight_first"], own.first(), atol=1e-6)
    np.testing.assert_allclose(table["kl_weight_last"], own.last(), atol=1e-6)
    # An epoch earlier or later, the weights are others.
    if mean.nunique() > 1:
        assert not np.allclose(table["kl_weight"][1:], mean[:-1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "weights"),
    {
        "short warm-up": [0, 1 / 3, 2 / 3, 1, 1],
        "default warm-up": [0, 1 / 400, 2 / 400],
        "from 0.2 to 5": [0.2, 1.8, 3.4, 5],
        # Five minibatches an epoch: 128, 128, 128, 128 and 118 cells.
        "warm-up in steps": [
            (128 * (0 + 1 + 2 + 3) + 118 * 4) / 630 / 20 + epoch / 4 for epoch in range(4)
        ]
        + [1],
        "weight 0": [0, 0, 0],
        "no warm-up": [1, 1],
        "resumed": [0, 1 / 3, 2 / 3, 0, 1 / 3, 2 / 3, 1],
    }.items(),
)
def test_the_kl_weights_are_these_numbers(name, weights, runs):
    assert loss_ledger.ledger(runs(name).model)["kl_weight"].tolist() == pytest.approx(
        weights, abs=1e-6
    )


def test_a_smaller_last_minibatch_would_move_the_loss_by_this_much(run):
    table = loss_ledger.ledger(run.model)
    calls = run.of("training")
    for call in calls:
        call["whole loss"] = call["loss"] + fooling(run, call)
    alike = pd.DataFrame(calls).groupby("epoch")["whole loss"].mean()
    expected = alike - mean_over_cells(calls, lambda call: call["whole loss"])
    size = table["train_loss"].abs().max()
    np.testing.assert_allclose(table["minibatch_effect"], expected, atol=1e-5 * size)


def test_minibatches_of_one_size_leave_no_effect_and_others_do(runs):
    equal = loss_ledger.ledger(runs("equal minibatches").model)
    np.testing.assert_allclose(equal["minibatch_effect"], 0, atol=1e-4)
    unequal = loss_ledger.ledger(runs("small last minibatch").model)
    assert (unequal["minibatch_effect"].abs() > 0.1).all()


def test_the_library_size_counts_in_full_while_z_is_faded_in(runs):
    run = runs("learned library size")
    table = loss_ledger.ledger(run.model)
    calls = run.of("training")
    library = mean_over_cells(calls, lambda call: call["terms"]["kl_divergence_l"])
    assert library.iloc[0] > 0.01
    assert table["kl_weight"].iloc[0] == 0
    np.testing.assert_allclose(table["+ kl_divergence_l"], library, rtol=1e-5)


def fooling(run, call):
    """Return what fooling the classifier adds in a minibatch.

    (1 - KL weight) x its loss, from its own answers.
    """
    kappa = 1 - call["own_weight"]
    # Once the weight is 1 the classifier is asked only once, to be trained itself.
    if "logits" not in call or kappa <= 0:
        return 0.0
    logits = call["logits"][0]
    of_other_batch = logits[np.arange(len(logits)), 1 - call["batch"].astype(int)]
    return kappa * float(np.mean(np.logaddexp(*logits.T) - of_other_batch))


def test_the_adversary_adds_the_loss_of_fooling_its_classifier(runs):
    run = runs("TOTALVI, adversary")
    calls = run.of("training")
    expected = mean_over_cells(calls, lambda call: fooling(run, call))
    assert expected[1] > 0.1
    assert expected.iloc[-1] == 0
    found = loss_ledger.ledger(run.model)["+ adversarial"].fillna(0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_only_an_adversary_adds_an_adversarial_term(runs):
    for name in ("TOTALVI", "class preset"):
        assert "+ adversarial" not in loss_ledger.ledger(runs(name).model)


def test_held_out_cells_are_on_the_epochs_after_which_they_were_looked_at(run):
    table = loss_ledger.ledger(run.model)
    columns = [f"held_out_{name}" for name in ("loss", "elbo", "reconstruction", "kl", "residual")]
    calls = run.of("held-out")
    if not calls:
        assert table[columns].isna().to_numpy().all()
        return
    found = table[columns].dropna()
    loss = mean_over_cells(calls, lambda call: call["loss"])
    assert list(found.index) == list(loss.index)
    np.testing.assert_allclose(found["held_out_loss"], loss, rtol=1e-5)
    unweighted = mean_over_cells(
        calls,
        lambda c: sum(value for name, value in c["terms"].items() if "classif" not in name),
    )
    np.testing.assert_allclose(found["held_out_elbo"], unweighted, rtol=1e-5)
    both = found["held_out_reconstruction"] + found["held_out_kl"]
    np.testing.assert_allclose(both, found["held_out_elbo"], rtol=1e-5)
    np.testing.assert_allclose(found["held_out_residual"], 0, atol=1e-5 * loss.abs().max())


@pytest.mark.parametrize(
    ("name", "epochs"),
    {
        "validated every 2 epochs": [2, 4],
        # The second training of four epochs starts counting anew.
        "resumed": [2, 5, 7],
        "stopped early": [1, 2, 3],
        "never validated": [],
        "nothing held out": [],
    }.items(),
)
def test_held_out_cells_were_looked_at_after_these_epochs(name, epochs, runs):
    assert loss_ledger.ledger(runs(name).model)["held_out_loss"].dropna().index.tolist() == epochs


def test_the_latent_dimensions_add_up_to_the_divergence_of_z(run):
    if run.setting.model.get("kind") == "SCANVI":
        # Its loss has no divergence of one latent space from one prior.
        with pytest.raises(ValueError, match="KL divergence of single latent dimensions"):
            loss_ledger.kl_per_dimension(run.model)
        return
    table = loss_ledger.kl_per_dimension(run.model)
    calls = run.of("training")
    z = "kl_div_z" if run.setting.model.get("kind") == "TOTALVI" else "kl_divergence_z"
    expected = mean_over_cells(calls, lambda call: call["terms"][z])
    assert list(table.index) == list(expected.index)
    np.testing.assert_allclose(table.sum(axis=1), expected, rtol=1e-5)
    for dimension in table:
        own = mean_over_cells(calls, lambda c, d=dimension: c["kl per dimension"][d - 1])
        np.testing.assert_allclose(table[dimension], own, rtol=1e-4, atol=1e-6)


def test_without_a_record_single_dimensions_are_not_known(adata):
    model = build(adata)
    model.train(max_epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"training\.train.*LossRecorder"):
        loss_ledger.kl_per_dimension(model)


def plain(adata, *trainings, **parameters):
    """Return a model trained with scvi-tools alone, and what the spy saw."""
    model = build(adata, **parameters)
    warm_up = {"epochs": 3}
    if "plan_kwargs" in trainings[0] and "n_steps_kl_warmup" in trainings[0]["plan_kwargs"]:
        warm_up = {"steps": trainings[0]["plan_kwargs"]["n_steps_kl_warmup"]}
    setting = Setting(list(trainings), warm_up, parameters)
    return Run(model, train(model, setting, recorded=False), setting)


def assert_right_without_a_record(run, loaded=None):
    table = loss_ledger.ledger(loaded or run.model)
    calls = run.of("training")
    weights = mean_over_cells(calls, lambda call: call["own_weight"])
    assert list(table.index) == list(weights.index)
    np.testing.assert_allclose(table["kl_weight"], weights, atol=1e-6)
    np.testing.assert_allclose(
        table["train_loss"], mean_over_cells(calls, lambda c: c["loss"]), rtol=1e-5
    )
    parts = loss_ledger.contributions(table)
    np.testing.assert_allclose(parts.sum(axis=1), table["train_loss"], rtol=1e-5)
    kl = mean_over_cells(calls, lambda c: c["own_weight"] * c["terms"]["kl_divergence_z"])
    np.testing.assert_allclose(parts["kl"], kl, rtol=1e-5, atol=1e-9)
    assert table["minibatch_effect"].isna().to_numpy().all()
    held_out = table[["held_out_loss", "held_out_residual"]].dropna()
    if run.of("held-out"):
        own = mean_over_cells(run.of("held-out"), lambda call: call["loss"])
        assert list(held_out.index) == list(own.index)
        np.testing.assert_allclose(held_out["held_out_loss"], own, rtol=1e-5)
        np.testing.assert_allclose(held_out["held_out_residual"], 0, atol=1e-5 * own.max())
    else:
        assert held_out.empty


@pytest.mark.parametrize(
    "kwargs",
    [
        QUIET | {"max_epochs": 4},
        EVERY | {"max_epochs": 4},
        QUIET | {"max_epochs": 5, "check_val_every_n_epoch": 2},
        QUIET
        | {
            "max_epochs": 8,
            "early_stopping": True,
            "early_stopping_patience": 2,
            "early_stopping_min_delta": 1e9,
        },
        QUIET | {"max_epochs": 2, "train_size": 1.0},
    ],
    ids=["as is", "validated", "every 2 epochs", "stopped early", "nothing held out"],
)
def test_a_plain_training_is_accounted_for_from_its_plan(kwargs, adata):
    assert_right_without_a_record(plain(adata, kwargs | {"plan_kwargs": SHORT}))


def test_a_plain_training_with_the_default_warm_up_is_accounted_for(adata):
    model = build(adata)
    model.train(max_epochs=3, **QUIET)
    table = loss_ledger.ledger(model)
    assert table["kl_weight"].tolist() == pytest.approx([0, 1 / 400, 2 / 400])
    assert table["residual"].abs().max() < 1e-5 * table["train_loss"].max()


def test_a_plain_warm_up_in_steps_leaves_a_small_residual_that_is_shown(adata):
    kwargs = EVERY | {"max_epochs": 4, "plan_kwargs": steps(20)}
    run = plain(adata, kwargs)
    table = loss_ledger.ledger(run.model)
    own = [warmed_up(0, step, steps=20) for step in range(20)]
    assert table["kl_weight_first"].tolist() == pytest.approx(own[::5])
    assert table["kl_weight_last"].tolist() == pytest.approx(own[4::5])
    # Mean weight times mean divergence is not the mean of their products.
    calls = run.of("training")
    product = mean_over_cells(calls, lambda c: c["own_weight"] * c["terms"]["kl_divergence_z"])
    kl = mean_over_cells(calls, lambda c: c["terms"]["kl_divergence_z"])
    expected = product - table["kl_weight"] * kl
    np.testing.assert_allclose(table["residual"], expected, atol=1e-5 * table["train_loss"].max())
    assert 1e-3 < table["residual"].abs().max() < 1


def test_from_disk_the_ledger_of_a_recorded_training_is_the_same(runs, tmp_path):
    model = runs("short warm-up").model
    model.save(str(tmp_path / "model"))
    loaded = scvi.model.SCVI.load(str(tmp_path / "model"), adata=model.adata)
    pd.testing.assert_frame_equal(loss_ledger.ledger(loaded), loss_ledger.ledger(model))
    pd.testing.assert_frame_equal(
        loss_ledger.kl_per_dimension(loaded), loss_ledger.kl_per_dimension(model)
    )


def saved_and_loaded(model, folder):
    model.save(str(folder / "model"))
    return type(model).load(str(folder / "model"), adata=model.adata)


def test_from_disk_logged_weights_are_used_if_there_is_one_an_epoch(adata, tmp_path):
    kwargs = EVERY | {"max_epochs": 4, "plan_kwargs": SHORT, "log_every_n_steps": 1}
    run = plain(adata, kwargs)
    assert_right_without_a_record(run, saved_and_loaded(run.model, tmp_path))


def test_from_disk_missing_weights_are_not_guessed(adata, tmp_path):
    model = build(adata)
    model.train(max_epochs=3, plan_kwargs=SHORT, **QUIET)
    assert len(model.history["kl_weight"]) < 3
    loaded = saved_and_loaded(model, tmp_path)
    with pytest.raises(ValueError, match=r"training\.train\(model\).*LossRecorder"):
        loss_ledger.ledger(loaded)


def test_from_disk_the_logged_weights_of_a_warm_up_in_steps_are_refused(adata, tmp_path):
    # Of each epoch's five weights the history keeps the last.
    model = build(adata)
    model.train(max_epochs=3, plan_kwargs=steps(15), log_every_n_steps=1, **QUIET)
    loaded = saved_and_loaded(model, tmp_path)
    with pytest.raises(ValueError, match=r"training\.train.*LossRecorder"):
        loss_ledger.ledger(loaded)


FURTHER = QUIET | {"max_epochs": 2, "plan_kwargs": SHORT}


def test_a_training_resumed_without_a_record_is_refused_if_weights_are_missing(adata):
    model = build(adata)
    model.train(**FURTHER)
    model.train(**FURTHER)
    with pytest.raises(ValueError, match=r"training\.train.*LossRecorder"):
        loss_ledger.ledger(model)


def test_a_training_resumed_without_a_record_is_right_if_every_weight_was_logged(adata):
    kwargs = EVERY | {"max_epochs": 2, "plan_kwargs": SHORT, "log_every_n_steps": 1}
    run = plain(adata, kwargs, kwargs)
    assert loss_ledger.ledger(run.model)["kl_weight"].tolist() == pytest.approx(
        [0, 1 / 3, 0, 1 / 3]
    )
    assert_right_without_a_record(run)


def test_held_out_rows_of_a_resumed_training_are_not_put_on_wrong_epochs(adata):
    kwargs = QUIET | {"max_epochs": 3, "check_val_every_n_epoch": 2, "log_every_n_steps": 1}
    run = plain(adata, kwargs, kwargs)
    # They were looked at after epochs 2 and 5, but the history numbers them otherwise.
    assert sorted({call["epoch"] for call in run.of("held-out")}) == [2, 5]
    with pytest.raises(ValueError, match=r"more than one go.*LossRecorder"):
        loss_ledger.ledger(run.model)


@pytest.mark.parametrize("recorded_first", [True, False])
def test_a_record_of_a_part_of_the_training_is_never_taken_for_the_whole(recorded_first, adata):
    model = build(adata)
    for recorded in (recorded_first, not recorded_first):
        model.train(
            max_epochs=2,
            plan_kwargs=steps(10),
            log_every_n_steps=1,
            callbacks=[LossRecorder(model)] if recorded else [],
            **EVERY,
        )
    with pytest.raises(ValueError, match=r"training\.train.*LossRecorder"):
        loss_ledger.ledger(model)


def test_other_terms_in_a_plain_loss_are_not_passed_over(adata, citeseq):
    # Without an observed library size, its divergence is in the loss, and in the sum that is
    # logged.
    model = build(adata, use_observed_lib_size=False)
    model.train(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"other terms or weights.*training\.train"):
        loss_ledger.ledger(model)
    proteins = build_totalvi(citeseq)
    proteins.train(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"TOTALVI.*other terms or weights"):
        loss_ledger.ledger(proteins)
    with_labels = build(adata, "SCANVI", SCANVI)
    with_labels.train(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"SCANVI.*other terms or weights"):
        loss_ledger.ledger(with_labels)


class Interrupt(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 2:
            raise RuntimeError("disk full")


def test_after_an_interruption_the_next_training_is_accounted_for_alone(adata):
    model = build(adata)
    with pytest.raises(RuntimeError, match="disk full"):
        training.train(model, callbacks=[Interrupt()], **QUIET)
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        loss_ledger.ledger(model)
    training.train(model, max_epochs=3, plan_kwargs={"n_epochs_kl_warmup": 15}, **QUIET)
    table = loss_ledger.ledger(model)
    assert table["kl_weight"].tolist() == pytest.approx([0, 1 / 15, 2 / 15])
    assert table["residual"].abs().max() < 1e-5 * table["train_loss"].max()
    assert loss_ledger.kl_per_dimension(model).index.tolist() == [1, 2, 3]
    z = loss_ledger.kl_per_dimension(model).sum(axis=1)
    np.testing.assert_allclose(z, table["kl"], rtol=1e-5)


def test_terms_have_readable_names():
    assert loss_ledger.term_name("reconst_loss_protein") == "weight × proteins"
    assert loss_ledger.term_name("a_term_of_tomorrow") == "a term of tomorrow"


# --- modules that report their loss in ways of their own ----------------------------------------


def epochs_of(module, **kwargs):
    return unusual_losses.train(unusual_losses.build(module), **kwargs)


@pytest.mark.parametrize("module", ["AUTOZI", "PEAKVI", Anew, Twice, Detached, Reported, Summed])
def test_all_of_the_loss_is_named_however_it_is_reported(module, recwarn):
    table = loss_ledger.ledger(epochs_of(module))
    for loss, rest in {"train_loss": "residual", "held_out_loss": "held_out_residual"}.items():
        np.testing.assert_allclose(table[rest], 0, atol=1e-4 * table[loss].abs().max())
    assert not loss_ledger.unnamed(table).any()
    assert not [said for said in recwarn if "make up its loss" in str(said.message)]
    weights = table["kl_weight"].tolist()
    if module == "PEAKVI" or module is Summed:
        # 48 or 33 cells in a minibatch, and the reconstruction counts once for each of them.
        assert table["scale"].iloc[-1] == pytest.approx((48**3 + 33**3) / 81, rel=1e-3)
        assert weights == pytest.approx([0, 0.5 * 2 / 81, 2 / 81], rel=1e-3)
    else:
        assert weights == pytest.approx([0, 0.5, 1])
        assert table["scale"].iloc[-1] == pytest.approx(81 if module == "AUTOZI" else 1)


@pytest.mark.parametrize("module", [Unweighted, PassedOn])
def test_a_loss_that_takes_no_weight_has_the_weight_1(module):
    table = loss_ledger.ledger(epochs_of(module))
    assert table["kl_weight"].tolist() == pytest.approx([1, 1, 1], rel=1e-4)
    np.testing.assert_allclose(table["train_loss"], table["elbo"], rtol=1e-4)


def test_what_has_no_name_is_said():
    model = epochs_of(Hidden)
    with pytest.warns(UserWarning, match=r"MyHidden.*\+7 of"):
        table = loss_ledger.ledger(model)
    np.testing.assert_allclose(table["residual"], PENALTY, atol=0.01)
    np.testing.assert_allclose(table["held_out_residual"], PENALTY, atol=0.01)
    share = PENALTY / table["train_loss"]
    np.testing.assert_allclose(loss_ledger.unnamed(table), share, rtol=0.01)


def test_steps_that_gather_several_minibatches_count_once(adata):
    """Without a record, too: the warm-up in steps counts steps and not minibatches."""
    kwargs = {"max_epochs": 4, "accumulate_grad_batches": 2, "log_every_n_steps": 1}
    model = build(adata)
    with spied(model) as calls:
        model.train(plan_kwargs=steps(12), **EVERY | kwargs)
    calls = of_kind(in_epochs(calls, minibatches_of(model, 128)), "training")
    weights = mean_over_cells(calls, lambda call: call["kl_weight"])
    table = loss_ledger.ledger(model)
    first = pd.DataFrame(calls).groupby("epoch")["kl_weight"]
    np.testing.assert_allclose(table["kl_weight_first"], first.first(), atol=1e-6)
    np.testing.assert_allclose(table["kl_weight_last"], first.last(), atol=1e-6)
    # The last minibatch is a little smaller than the others.
    np.testing.assert_allclose(table["kl_weight"], weights, atol=0.01)
    assert first.last().iloc[-1] == pytest.approx(11 / 12)
