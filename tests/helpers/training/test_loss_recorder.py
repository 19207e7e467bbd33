"""What is recorded while a model trains, against a spy at another place of the same training."""

import signal

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

from helpers import environment, training
from helpers.training import loss_recorder
from helpers.training.loss_recorder import LossRecorder
from tests.helpers.spied_training import (
    EVERY,
    QUIET,
    build,
    build_totalvi,
    in_epochs,
    mean_over_cells,
    minibatches_of,
    of_kind,
    small_citeseq,
    small_pbmc,
    spied,
)
from tests.helpers.unusual_losses import Anew, Reported, Summed, Twice, Unweighted
from tests.helpers.unusual_losses import build as build_unusual
from tests.helpers.unusual_losses import train as train_unusual


@pytest.fixture(scope="module")
def adata(whole_pbmc):
    return small_pbmc(whole_pbmc)


@pytest.fixture(scope="module")
def citeseq():
    return small_citeseq()


def watch_run(model, batch_size, **kwargs):
    """Train with a recorder and with the spy, and return what the spy saw."""
    with spied(model) as calls:
        model.train(callbacks=[LossRecorder(model)], batch_size=batch_size, **EVERY | kwargs)
    return in_epochs(calls, minibatches_of(model, batch_size))


@pytest.fixture(scope="module", params=["SCVI", "SCVI, trial run", "TOTALVI, adversary", "SCANVI"])
def run(request, adata, citeseq):
    """A model trained for a few epochs, the weight moving in each step, and what the spy saw."""
    environment.prepare(seed=0)
    steps = {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 9}
    if request.param == "SCVI":
        model = build(adata, use_observed_lib_size=False)
        return model, watch_run(model, 128, max_epochs=3, plan_kwargs=steps)
    if request.param == "SCVI, trial run":
        model = build(adata)
        return model, watch_run(model, 128, max_epochs=2, plan_kwargs=steps, num_sanity_val_steps=2)
    if request.param == "SCANVI":
        model = build(adata, "SCANVI", {"labels_key": "known", "unlabeled_category": "?"})
        return model, watch_run(model, 128, max_epochs=2, plan_kwargs=steps)
    model = build_totalvi(citeseq)
    return model, watch_run(model, 256, max_epochs=3, adversarial_classifier=True, **steps)


def recorded(model, cells):
    record = model.loss_record_
    return record[record["cells"] == cells].set_index("epoch")


KINDS = pytest.mark.parametrize("cells", ["training", "held-out"])


@KINDS
def test_every_term_is_its_mean_over_the_cells_that_the_loss_saw(run, cells):
    model, calls = run
    record, calls = recorded(model, cells), of_kind(calls, cells)
    assert list(record.index) == sorted({call["epoch"] for call in calls})
    for name in calls[0]["terms"]:
        expected = mean_over_cells(calls, lambda call, name=name: call["terms"][name])
        np.testing.assert_allclose(record["term"][name], expected, rtol=1e-6, err_msg=name)


@KINDS
def test_every_latent_dimension_is_recorded_by_its_own_divergence(run, cells):
    model, calls = run
    record, calls = recorded(model, cells), of_kind(calls, cells)
    if "kl_divergence_z" not in record["term"] and "kl_div_z" not in record["term"]:
        # SCANVI has no divergence of one latent space from one prior.
        assert "kl per dimension" not in record
        return
    table = record["kl per dimension"]
    assert list(table.columns) == list(range(1, model.module.n_latent + 1))
    for dimension in table.columns:
        expected = mean_over_cells(calls, lambda c, d=dimension: c["kl per dimension"][d - 1])
        np.testing.assert_allclose(table[dimension], expected, rtol=1e-4, atol=1e-6)


@KINDS
def test_the_weight_is_the_one_that_the_loss_was_called_with(run, cells):
    model, calls = run
    record, calls = recorded(model, cells), of_kind(calls, cells)
    weights = pd.DataFrame(calls).groupby("epoch")["kl_weight"]
    np.testing.assert_allclose(record["kl_weight"]["first"], weights.first())
    np.testing.assert_allclose(record["kl_weight"]["last"], weights.last())
    expected = mean_over_cells(calls, lambda call: call["kl_weight"])
    np.testing.assert_allclose(record["kl_weight"]["mean"], expected)
    assert (weights.last() > weights.first()).any() == (cells == "training")


@KINDS
def test_minibatches_are_counted(run, cells):
    model, calls = run
    record, calls = recorded(model, cells), of_kind(calls, cells)
    sizes = pd.DataFrame(calls).groupby("epoch")["cells"]
    assert list(record["minibatches"]["number"]) == list(sizes.count())
    assert list(record["minibatches"]["smallest"]) == list(sizes.min())


@KINDS
def test_what_was_added_makes_up_the_loss_that_the_module_returned(run, cells):
    model, calls = run
    record, calls = recorded(model, cells), of_kind(calls, cells)
    # The adversary's part is added by the training plan, behind the module's back.
    added = record["added"].drop(columns="adversarial", errors="ignore").sum(axis=1)
    expected = mean_over_cells(calls, lambda call: call["loss"])
    np.testing.assert_allclose(added, expected, rtol=1e-6)


def test_a_trial_run_of_the_validation_is_not_recorded(adata):
    model = build(adata)
    with spied(model) as calls:
        model.train(max_epochs=1, num_sanity_val_steps=2, callbacks=[LossRecorder(model)], **EVERY)
    # It did take place: the first look at held-out cells comes before the first step.
    assert [call["training"] for call in calls] == [False, *[True] * 5, False]
    held_out = recorded(model, "held-out")
    assert list(held_out.index) == [1]
    assert held_out["minibatches"]["number"].tolist() == [1]
    assert held_out["minibatches"]["loss"].tolist() == pytest.approx([calls[-1]["loss"]], rel=1e-6)
    assert calls[0]["loss"] != pytest.approx(calls[-1]["loss"], rel=1e-2)


def test_without_a_look_at_held_out_cells_only_training_is_recorded(adata):
    model = build(adata)
    model.train(max_epochs=2, callbacks=[LossRecorder(model)], **QUIET)
    assert model.loss_record_["cells"].tolist() == ["training"] * 2
    assert model.loss_record_["epoch"].tolist() == [1, 2]


# --- it changes nothing -------------------------------------------------------------------------


class Plan(Callback):
    """Keep the training plan, to look at it after the training."""

    def on_fit_start(self, trainer, pl_module):
        self.plan = pl_module


@pytest.mark.parametrize("kind", ["SCVI", "TOTALVI, adversary"])
def test_recording_changes_no_bit_of_the_result(kind, adata, citeseq):
    latents, histories = [], []
    for watchers in (lambda model: [], lambda model: [LossRecorder(model)]):
        if kind == "SCVI":
            model, kwargs = build(adata), {}
        else:
            model, kwargs = build_totalvi(citeseq), {"adversarial_classifier": True}
        scvi.settings.seed = 0
        model.train(max_epochs=2, callbacks=watchers(model), **EVERY | kwargs)
        latents.append(model.get_latent_representation(give_mean=True))
        histories.append(model.history["train_loss"].iloc[:, 0].astype(float).tolist())
    assert histories[0] == histories[1]
    assert np.array_equal(*latents)


def test_nothing_is_left_behind_after_training(citeseq):
    model, watcher = build_totalvi(citeseq), Plan()
    recorder = LossRecorder(model)
    before = dict(vars(model.module)["_forward_hooks"])
    model.train(max_epochs=1, callbacks=[watcher, recorder], adversarial_classifier=True, **EVERY)
    assert "adversarial" in model.loss_record_["added"]
    assert_untouched(model, watcher.plan, before)
    # What runs the model later is not taken for training.
    rows = len(model.loss_record_)
    model.get_elbo()
    assert len(model.loss_record_) == rows
    assert recorder.sums == {}


def assert_untouched(model, plan, hooks_before):
    assert dict(vars(model.module)["_forward_hooks"]) == hooks_before
    assert plan.loss_adversarial_classifier.__func__ is type(plan).loss_adversarial_classifier


# --- interrupted --------------------------------------------------------------------------------


class Interrupt(Callback):
    """Stop in the second step of the third epoch, or when its held-out cells are looked at."""

    def __init__(self, error, held_out=False):
        self.error, self.held_out = error, held_out

    def on_fit_start(self, trainer, pl_module):
        self.plan = pl_module

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1 and not self.held_out:
            raise self.error

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.current_epoch == 2 and self.held_out:
            raise self.error


@pytest.fixture
def ctrl_c():
    """Lightning turns Ctrl+C off for good when it was pressed; later tests may need it."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def interrupted(model, error, held_out=False, **kwargs):
    """Train up to an interruption in epoch 3, and return the callback that made it."""
    stop = Interrupt(error, held_out)
    # Lightning ends the program on Ctrl+C; in a notebook that ends the cell.
    expected = SystemExit if isinstance(error, KeyboardInterrupt) else type(error)
    with pytest.raises(expected):
        model.train(max_epochs=5, callbacks=[stop, LossRecorder(model)], **EVERY | kwargs)
    return stop


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("disk full")], ids=repr)
def test_an_interrupted_training_keeps_its_whole_epochs_and_leaves_nothing(
    error, held_out, adata, citeseq, ctrl_c
):
    # The adversary changes the training plan too.
    with_adversary = isinstance(error, RuntimeError)
    model = build_totalvi(citeseq) if with_adversary else build(adata)
    kwargs = {"adversarial_classifier": True} if with_adversary else {}
    stop = interrupted(model, error, held_out, **kwargs)
    assert model.loss_record_["epoch"].tolist() == [1, 1, 2, 2]
    assert model.loss_record_["cells"].tolist() == ["training", "held-out"] * 2
    logged = model.history["train_loss"].iloc[:, 0].astype(float)
    training_rows = recorded(model, "training")
    np.testing.assert_allclose(training_rows["added"].sum(axis=1), logged[:2], rtol=1e-5)
    assert dict(vars(model.module)["_forward_hooks"]) == {}
    if with_adversary:
        assert_untouched(model, stop.plan, {})


def test_a_training_that_starts_anew_after_an_interruption_has_a_record_of_its_own(adata, ctrl_c):
    # scvi-tools begins its history anew, because the first training was never finished.
    model = build(adata)
    interrupted(model, KeyboardInterrupt())
    training.train(model, max_epochs=2, **QUIET)
    assert len(model.history["train_loss"]) == 2
    assert recorded(model, "training").index.tolist() == [1, 2]
    logged = model.history["train_loss"].iloc[:, 0].astype(float)
    np.testing.assert_allclose(recorded(model, "training")["added"].sum(axis=1), logged, rtol=1e-5)


# --- more than one training, and the disk -------------------------------------------------------


def test_a_second_training_goes_on_counting_epochs(adata):
    model = build(adata)
    training.train(model, max_epochs=2, **QUIET)
    first = model.loss_record_.copy()
    calls = watch_run(model, 128, max_epochs=3)
    record = recorded(model, "training")
    assert record.index.tolist() == [1, 2, 3, 4, 5]
    assert recorded(model, "held-out").index.tolist() == [1, 2, 3, 4, 5]
    pd.testing.assert_frame_equal(model.loss_record_.iloc[: len(first)], first)
    expected = mean_over_cells(of_kind(calls, "training"), lambda call: call["loss"])
    np.testing.assert_allclose(record["added"].sum(axis=1).iloc[2:], expected, rtol=1e-6)


def test_epochs_before_the_record_are_counted(adata):
    model = build(adata)
    model.train(max_epochs=2, **QUIET)
    model.train(max_epochs=1, callbacks=[LossRecorder(model)], **QUIET)
    assert recorded(model, "training").index.tolist() == [3]


def test_the_record_is_stored_with_the_model(adata, tmp_path):
    model = build(adata)
    training.train(model, max_epochs=2, **QUIET)
    model.save(str(tmp_path / "model"))
    loaded = scvi.model.SCVI.load(str(tmp_path / "model"), adata=model.adata)
    pd.testing.assert_frame_equal(loaded.loss_record_, model.loss_record_)


def test_the_names_of_the_two_kinds_of_cells_are_those_of_the_table(adata):
    model = build(adata)
    training.train(model, max_epochs=1, **QUIET)
    assert model.loss_record_["cells"].tolist() == [loss_recorder.TRAINING, loss_recorder.HELD_OUT]
    assert torch.is_grad_enabled()


# --- watching never breaks what is watched ------------------------------------------------------


def lda(adata):
    return build(adata, "AmortizedLDA", n_topics=3)


def with_mixture_prior(adata):
    """The KL divergence of a mixture has no formula: CYTOVI's default prior is one."""
    proteins = ad.AnnData(np.arcsinh(adata.layers["counts"].toarray()[:, :20] / 5))
    proteins.layers["scaled"] = proteins.X
    scvi.external.CYTOVI.setup_anndata(proteins, layer="scaled")
    return scvi.external.CYTOVI(proteins)


def test_a_prior_without_a_formula_is_recorded_without_single_dimensions(adata):
    model = with_mixture_prior(adata)
    model.train(max_epochs=2, callbacks=[LossRecorder(model)], **EVERY)
    record = recorded(model, "training")
    assert "kl per dimension" not in record
    logged = model.history["train_loss"].iloc[:, 0].astype(float)
    np.testing.assert_allclose(record["added"].sum(axis=1), logged, rtol=1e-5)


def test_a_training_step_of_another_form_goes_on_unrecorded_and_that_is_said(adata, capsys):
    model = lda(adata)
    model.train(max_epochs=2, callbacks=[LossRecorder(model)], **QUIET)
    assert len(model.history["elbo_train"]) == 2
    assert model.loss_record_ is None
    said = capsys.readouterr().err
    assert "could not be recorded for this AmortizedLDA" in said
    assert "no LossOutput" in said


@pytest.mark.parametrize("where", ["reported", "slopes"])
def test_a_failure_of_the_recorder_changes_no_bit_of_the_result(where, adata, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no such thing\nand more")

    plain = build(adata)
    plain.train(max_epochs=2, **EVERY)
    monkeypatch.setattr(loss_recorder.loss_terms, where, fail)
    watched = build(adata)
    watched.train(max_epochs=2, callbacks=[LossRecorder(watched)], **EVERY)
    assert "(RuntimeError: no such thing)" in capsys.readouterr().err
    assert watched.loss_record_ is None
    assert dict(vars(watched.module)["_forward_hooks"]) == {}
    latents = [model.get_latent_representation() for model in (plain, watched)]
    assert np.array_equal(*latents)


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_other_precision_is_recorded_as_well_as_it_goes(precision, adata):
    model = build(adata)
    model.train(max_epochs=1, callbacks=[LossRecorder(model)], precision=precision, **EVERY)
    added = recorded(model, "training")["added"].sum(axis=1)
    logged = model.history["train_loss"].iloc[:, 0].astype(float)
    np.testing.assert_allclose(added, logged, rtol=0.02)


@pytest.mark.parametrize("module", [Anew, Twice, Reported, Summed, Unweighted])
def test_held_out_cells_are_weighed_like_training_cells_in_any_minibatch(module):
    model = train_unusual(build_unusual(module), epochs=3)
    record = recorded(model, "held-out")
    logged = model.history["validation_loss"].iloc[:, 0].astype(float)
    # Nine cells in one minibatch, where training had 48 and 33.
    assert record["minibatches"]["smallest"].tolist() == [9] * 3
    np.testing.assert_allclose(record["added"].sum(axis=1), logged, rtol=1e-4)
