"""The ledger of a loss, its terms by hand, and where they arise, against scvi-tools' own sources."""

import copy
import math
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from scipy import stats

from helpers import environment, training
from helpers.loss import elbo
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

SCANVI = {"labels_key": "known", "unlabeled_category": "?"}


class Setting(NamedTuple):
    """A model and its training.

    Attributes
    ----------
    trainings
        The arguments of each call of ``train``.
    warm_up
        The arguments of ``warmed_up`` that these calls stand for.
    model
        The arguments of ``build``.
    """

    trainings: list[dict[str, Any]]
    warm_up: Mapping[str, Any] = MappingProxyType({})
    model: Mapping[str, Any] = MappingProxyType({})


def steps(n, **more):
    return {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": n, **more}


# Without a choice of its own, the loss of two or three epochs would have next to no KL divergence.
SHORT = {"n_epochs_kl_warmup": 3}
ONCE = [EVERY | {"max_epochs": 3, "plan_kwargs": SHORT}]

SETTINGS = {
    "class preset": Setting([{}], {"epochs": 12}),
    "short warm-up": Setting([EVERY | {"max_epochs": 5, "plan_kwargs": SHORT}], {"epochs": 3}),
    "default warm-up": Setting([EVERY | {"max_epochs": 3}], {"epochs": 400}),
    "warm-up in steps": Setting(
        [EVERY | {"max_epochs": 5, "plan_kwargs": steps(20)}], {"steps": 20}
    ),
    "from 0.2 to 5": Setting(
        [
            EVERY
            | {
                "max_epochs": 4,
                "plan_kwargs": {"min_kl_weight": 0.2, "max_kl_weight": 5, **SHORT},
            }
        ],
        {"epochs": 3, "low": 0.2, "high": 5},
    ),
    "in steps from 0.2 to 5": Setting(
        [EVERY | {"max_epochs": 2, "plan_kwargs": steps(7, min_kl_weight=0.2, max_kl_weight=5)}],
        {"steps": 7, "low": 0.2, "high": 5},
    ),
    "no warm-up": Setting([EVERY | {"max_epochs": 2, "plan_kwargs": steps(None)}], {}),
    "weight 0": Setting(
        [EVERY | {"max_epochs": 3, "plan_kwargs": {"max_kl_weight": 0}}],
        {"epochs": 400, "high": 0},
    ),
    "stopped early": Setting(
        [
            QUIET
            | {
                "max_epochs": 8,
                "early_stopping": True,
                "early_stopping_patience": 2,
                "early_stopping_min_delta": 1e9,
                "plan_kwargs": SHORT,
            }
        ],
        {"epochs": 3},
    ),
    "never validated": Setting([QUIET | {"max_epochs": 3, "plan_kwargs": SHORT}], {"epochs": 3}),
    "nothing held out": Setting(
        [QUIET | {"max_epochs": 2, "train_size": 1.0, "plan_kwargs": SHORT}], {"epochs": 3}
    ),
    "validated every 2 epochs": Setting(
        [QUIET | {"max_epochs": 5, "check_val_every_n_epoch": 2, "plan_kwargs": SHORT}],
        {"epochs": 3},
    ),
    "resumed": Setting(
        [
            QUIET | {"max_epochs": 3, "check_val_every_n_epoch": 2, "plan_kwargs": SHORT},
            QUIET | {"max_epochs": 4, "check_val_every_n_epoch": 2, "plan_kwargs": SHORT},
        ],
        {"epochs": 3},
    ),
    "learned library size": Setting(ONCE, {"epochs": 3}, {"use_observed_lib_size": False}),
    "two batches": Setting(ONCE, {"epochs": 3}, {"setup": {"batch_key": "chip"}}),
    "nb": Setting(ONCE, {"epochs": 3}, {"gene_likelihood": "nb"}),
    "poisson": Setting(ONCE, {"epochs": 3}, {"gene_likelihood": "poisson"}),
    "small last minibatch": Setting([ONCE[0] | {"batch_size": 200}], {"epochs": 3}),
    "equal minibatches": Setting([ONCE[0] | {"batch_size": 90}], {"epochs": 3}),
    "logged in steps": Setting(
        [EVERY | {"max_epochs": 3, "plan_kwargs": {"on_step": True, **SHORT}}], {"epochs": 3}
    ),
    "TOTALVI": Setting([EVERY | {"max_epochs": 3}], {"steps": 300}, {"kind": "TOTALVI"}),
    # Two steps of the count a minibatch: the adversary has an optimizer of its own.
    "TOTALVI, adversary": Setting(
        [EVERY | {"max_epochs": 4, "adversarial_classifier": True, "n_steps_kl_warmup": 10}],
        {"steps": 10, "optimizers": 2},
        {"kind": "TOTALVI"},
    ),
    "TOTALVI, proteins at half": Setting(
        [
            EVERY
            | {
                "max_epochs": 3,
                "n_steps_kl_warmup": 5,
                "plan_kwargs": {"pro_recons_weight": 0.5},
            }
        ],
        {"steps": 5},
        {"kind": "TOTALVI"},
    ),
    "SCANVI": Setting(ONCE, {"epochs": 3}, {"kind": "SCANVI", "setup": SCANVI}),
}


def warmed_up(epoch, step, epochs=None, steps=None, low=0.0, high=1.0, optimizers=1):
    """Return the KL weight in an epoch and step, both counted from 0.

    A straight line up to the end of the warm-up.

    The rule is that of scvi-tools' reference (TrainingPlan), written anew.
    """
    share = min(1.0, epoch / epochs if epochs else step * optimizers / steps if steps else 1.0)
    return (1 - share) * low + share * high


def weights_in_loss(setting, call):
    """Return what each term counts in the loss, from the sources of the three modules."""
    w = call["own_weight"]
    half = 0.5 if "plan_kwargs" in setting.trainings[0] else 1
    return {
        "SCVI": {"reconstruction_loss": 1, "kl_divergence_z": w, "kl_divergence_l": 1},
        "TOTALVI": {
            "reconst_loss_gene": 1,
            "reconst_loss_protein": w * half,
            "kl_div_z": w,
            "kl_div_l_gene": 1,
            "kl_div_back_pro": w,
        },
        "SCANVI": {"reconstruction_loss": 1, "kl_local": w, "classification_loss": 50},
    }[setting.model.get("kind", "SCVI")]


class Run(NamedTuple):
    model: Any
    calls: list[dict[str, Any]]
    setting: Setting

    def of(self, cells):
        return of_kind(self.calls, cells)


class Classifier(Callback):
    """Keep what the adversary's classifier answered after each call of the module's loss."""

    def __init__(self, calls):
        self.calls = calls

    def on_fit_start(self, trainer, pl_module):
        if getattr(pl_module, "adversarial_classifier", False):
            pl_module.adversarial_classifier.register_forward_hook(self.note)

    def note(self, classifier, inputs, logits):
        self.calls[-1].setdefault("logits", []).append(logits.detach().double().numpy())


def train(model, setting, recorded=True):
    """Train as the setting says, and return what the spy saw, with epochs counted on."""
    calls, epochs = [], 0
    for kwargs in setting.trainings:
        with spied(model) as seen:
            if kwargs:
                callbacks = [Classifier(seen), *([LossRecorder(model)] if recorded else [])]
                model.train(callbacks=callbacks, **kwargs)
            else:
                # As many epochs as the synthetic curves have values.
                training.train(model, max_epochs=40, **QUIET)
        others = 256 if setting.model.get("kind") == "TOTALVI" else 128
        default = others if kwargs else training.PRESETS["class"]["batch_size"]
        numbered = in_epochs(seen, minibatches_of(model, kwargs.get("batch_size", default)))
        for call in numbered:
            call["own_weight"] = warmed_up(call["epoch"] - 1, call["step"], **setting.warm_up)
            call["epoch"] += epochs
        calls += numbered
        epochs = calls[-1]["epoch"]
    return calls


@pytest.fixture(scope="module")
def adata(whole_pbmc):
    return small_pbmc(whole_pbmc)


@pytest.fixture(scope="module")
def citeseq():
    return small_citeseq()


@pytest.fixture(scope="module")
def runs(adata, citeseq):
    """A function that trains each setting once."""
    kept = {}

    def run_of(name):
        if name not in kept:
            environment.prepare(seed=0)
            setting = SETTINGS[name]
            if setting.model.get("kind") == "TOTALVI":
                model = build_totalvi(citeseq)
            else:
                model = build(adata, **setting.model)
            kept[name] = Run(model, train(model, setting), setting)
        return kept[name]

    return run_of


@pytest.fixture(params=SETTINGS)
def run(request, runs):
    return runs(request.param)


@pytest.fixture
def trained(runs):
    """The model of the class preset. No test may change it for good."""
    return runs("class preset").model


def logged(model, key):
    """Return a column of scvi-tools' history; with ``on_step`` its name is another."""
    history = model.history
    return history[f"{key}_epoch" if f"{key}_epoch" in history else key].iloc[:, 0].astype(float)


# --- the ledger adds up -------------------------------------------------------------------------


def test_the_terms_add_up_to_the_logged_loss(run):
    table = elbo.ledger(run.model)
    loss = logged(run.model, "train_loss").to_numpy()
    parts = table[[name for name in table if name.startswith("+ ")]]
    np.testing.assert_allclose(parts.sum(axis=1), loss, rtol=1e-5)
    np.testing.assert_array_equal(table["train_loss"], loss)
    np.testing.assert_allclose(table["residual"], loss - parts.sum(axis=1), atol=1e-9)
    contributions = elbo.contributions(table)
    assert [f"+ {name}" for name in contributions] == list(parts)
    assert np.array_equal(contributions, parts, equal_nan=True)


def test_the_negative_elbo_is_reconstruction_plus_kl(run):
    table = elbo.ledger(run.model)
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
    table = elbo.contributions(elbo.ledger(run.model)).drop(columns="adversarial", errors="ignore")
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
    table = elbo.ledger(run.model)
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
    assert elbo.ledger(runs(name).model)["kl_weight"].tolist() == pytest.approx(weights, abs=1e-6)


def test_a_smaller_last_minibatch_would_move_the_loss_by_this_much(run):
    table = elbo.ledger(run.model)
    calls = run.of("training")
    for call in calls:
        call["whole loss"] = call["loss"] + fooling(run, call)
    alike = pd.DataFrame(calls).groupby("epoch")["whole loss"].mean()
    expected = alike - mean_over_cells(calls, lambda call: call["whole loss"])
    size = table["train_loss"].abs().max()
    np.testing.assert_allclose(table["minibatch_effect"], expected, atol=1e-5 * size)


def test_minibatches_of_one_size_leave_no_effect_and_others_do(runs):
    equal = elbo.ledger(runs("equal minibatches").model)
    np.testing.assert_allclose(equal["minibatch_effect"], 0, atol=1e-4)
    unequal = elbo.ledger(runs("small last minibatch").model)
    assert (unequal["minibatch_effect"].abs() > 0.1).all()


def test_the_library_size_counts_in_full_while_z_is_faded_in(runs):
    run = runs("learned library size")
    table = elbo.ledger(run.model)
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
    found = elbo.ledger(run.model)["+ adversarial"].fillna(0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_only_an_adversary_adds_an_adversarial_term(runs):
    for name in ("TOTALVI", "class preset"):
        assert "+ adversarial" not in elbo.ledger(runs(name).model)


# --- the held-out cells -------------------------------------------------------------------------


def test_held_out_cells_are_on_the_epochs_after_which_they_were_looked_at(run):
    table = elbo.ledger(run.model)
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
    assert elbo.ledger(runs(name).model)["held_out_loss"].dropna().index.tolist() == epochs


# --- single latent dimensions -------------------------------------------------------------------


def test_the_latent_dimensions_add_up_to_the_divergence_of_z(run):
    if run.setting.model.get("kind") == "SCANVI":
        # Its loss has no divergence of one latent space from one prior.
        with pytest.raises(ValueError, match="KL divergence of single latent dimensions"):
            elbo.kl_per_dimension(run.model)
        return
    table = elbo.kl_per_dimension(run.model)
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
        elbo.kl_per_dimension(model)


# --- without a record, from disk, and further trainings -----------------------------------------


def plain(adata, *trainings, **parameters):
    """Return a model trained with scvi-tools alone, and what the spy saw."""
    model = build(adata, **parameters)
    warm_up = {"epochs": 3}
    if "plan_kwargs" in trainings[0] and "n_steps_kl_warmup" in trainings[0]["plan_kwargs"]:
        warm_up = {"steps": trainings[0]["plan_kwargs"]["n_steps_kl_warmup"]}
    setting = Setting(list(trainings), warm_up, parameters)
    return Run(model, train(model, setting, recorded=False), setting)


def assert_right_without_a_record(run, loaded=None):
    table = elbo.ledger(loaded or run.model)
    calls = run.of("training")
    weights = mean_over_cells(calls, lambda call: call["own_weight"])
    assert list(table.index) == list(weights.index)
    np.testing.assert_allclose(table["kl_weight"], weights, atol=1e-6)
    np.testing.assert_allclose(
        table["train_loss"], mean_over_cells(calls, lambda c: c["loss"]), rtol=1e-5
    )
    parts = elbo.contributions(table)
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
    table = elbo.ledger(model)
    assert table["kl_weight"].tolist() == pytest.approx([0, 1 / 400, 2 / 400])
    assert table["residual"].abs().max() < 1e-5 * table["train_loss"].max()


def test_a_plain_warm_up_in_steps_leaves_a_small_residual_that_is_shown(adata):
    kwargs = EVERY | {"max_epochs": 4, "plan_kwargs": steps(20)}
    run = plain(adata, kwargs)
    table = elbo.ledger(run.model)
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
    pd.testing.assert_frame_equal(elbo.ledger(loaded), elbo.ledger(model))
    pd.testing.assert_frame_equal(elbo.kl_per_dimension(loaded), elbo.kl_per_dimension(model))


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
        elbo.ledger(loaded)


def test_from_disk_the_logged_weights_of_a_warm_up_in_steps_are_refused(adata, tmp_path):
    # Of each epoch's five weights the history keeps the last.
    model = build(adata)
    model.train(max_epochs=3, plan_kwargs=steps(15), log_every_n_steps=1, **QUIET)
    loaded = saved_and_loaded(model, tmp_path)
    with pytest.raises(ValueError, match=r"training\.train.*LossRecorder"):
        elbo.ledger(loaded)


FURTHER = QUIET | {"max_epochs": 2, "plan_kwargs": SHORT}


def test_a_training_resumed_without_a_record_is_refused_if_weights_are_missing(adata):
    model = build(adata)
    model.train(**FURTHER)
    model.train(**FURTHER)
    with pytest.raises(ValueError, match=r"training\.train.*LossRecorder"):
        elbo.ledger(model)


def test_a_training_resumed_without_a_record_is_right_if_every_weight_was_logged(adata):
    kwargs = EVERY | {"max_epochs": 2, "plan_kwargs": SHORT, "log_every_n_steps": 1}
    run = plain(adata, kwargs, kwargs)
    assert elbo.ledger(run.model)["kl_weight"].tolist() == pytest.approx([0, 1 / 3, 0, 1 / 3])
    assert_right_without_a_record(run)


def test_held_out_rows_of_a_resumed_training_are_not_put_on_wrong_epochs(adata):
    kwargs = QUIET | {"max_epochs": 3, "check_val_every_n_epoch": 2, "log_every_n_steps": 1}
    run = plain(adata, kwargs, kwargs)
    # They were looked at after epochs 2 and 5, but the history numbers them otherwise.
    assert sorted({call["epoch"] for call in run.of("held-out")}) == [2, 5]
    with pytest.raises(ValueError, match=r"more than one go.*LossRecorder"):
        elbo.ledger(run.model)


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
        elbo.ledger(model)


def test_other_terms_in_a_plain_loss_are_not_passed_over(adata, citeseq):
    # Without an observed library size, its divergence is in the loss, and in the sum that is
    # logged.
    model = build(adata, use_observed_lib_size=False)
    model.train(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"other terms or weights.*training\.train"):
        elbo.ledger(model)
    proteins = build_totalvi(citeseq)
    proteins.train(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"TOTALVI.*other terms or weights"):
        elbo.ledger(proteins)
    with_labels = build(adata, "SCANVI", SCANVI)
    with_labels.train(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"SCANVI.*other terms or weights"):
        elbo.ledger(with_labels)


class Interrupt(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 2:
            raise RuntimeError("disk full")


def test_after_an_interruption_the_next_training_is_accounted_for_alone(adata):
    model = build(adata)
    with pytest.raises(RuntimeError, match="disk full"):
        training.train(model, callbacks=[Interrupt()], **QUIET)
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        elbo.ledger(model)
    training.train(model, max_epochs=3, plan_kwargs={"n_epochs_kl_warmup": 15}, **QUIET)
    table = elbo.ledger(model)
    assert table["kl_weight"].tolist() == pytest.approx([0, 1 / 15, 2 / 15])
    assert table["residual"].abs().max() < 1e-5 * table["train_loss"].max()
    assert elbo.kl_per_dimension(model).index.tolist() == [1, 2, 3]
    z = elbo.kl_per_dimension(model).sum(axis=1)
    np.testing.assert_allclose(z, table["kl"], rtol=1e-5)


# --- what cannot be accounted for ---------------------------------------------------------------


ALL = [
    elbo.ledger,
    elbo.kl_per_dimension,
    elbo.by_hand,
    elbo.where_it_pays,
    elbo.reevaluate,
    elbo.dimensions_in_use,
    elbo.checklist,
]
RUN_IT = [elbo.by_hand, elbo.where_it_pays, elbo.dimensions_in_use]


@pytest.mark.parametrize("function", ALL)
def test_an_untrained_model_is_refused(function, adata):
    with pytest.raises(ValueError, match=r"SCVI was not trained.*training\.train\(model\)"):
        function(build(adata))


@pytest.mark.parametrize("key", ["train_loss", "elbo_train", "reconstruction_loss_train"])
@pytest.mark.parametrize("function", [elbo.ledger, elbo.kl_per_dimension, elbo.checklist])
def test_a_history_without_the_terms_is_refused(function, key, trained, monkeypatch):
    history = {name: table for name, table in trained.history.items() if name != key}
    monkeypatch.setattr(trained, "history_", history)
    with pytest.raises(ValueError, match=rf"history of this SCVI lacks {key}:"):
        function(trained)


@pytest.mark.parametrize("function", RUN_IT)
def test_what_is_no_model_is_refused(function, trained):
    for thing in (scvi.model.SCVI, trained.module, "SCVI", None):
        with pytest.raises(TypeError, match=r"[Pp]ass (that|the model|a model)"):
            function(thing)


# --- the terms by hand --------------------------------------------------------------------------


LIKELIHOODS = {
    "zinb": "class preset",
    "nb": "nb",
    "poisson": "poisson",
    "learned library size": "learned library size",
    "two batches": "two batches",
    "dispersion of each cell": {"dispersion": "gene-cell"},
    "dispersion of each batch": {"dispersion": "gene-batch", "setup": {"batch_key": "chip"}},
}


@pytest.fixture(scope="module")
def of_likelihood(runs, adata):
    kept = {}

    def model_of(name):
        if isinstance(LIKELIHOODS[name], str):
            return runs(LIKELIHOODS[name]).model
        if name not in kept:
            kept[name] = build(adata, **LIKELIHOODS[name])
            kept[name].train(max_epochs=2, **QUIET)
        return kept[name]

    return model_of


def with_outputs(model, monkeypatch, function, *args):
    """Return what a function returns, and what the module's loss was given meanwhile, in double precision."""
    given = []
    family = type(model.module)
    original = family.loss

    def loss(self, tensors, inference, generative, *more, **kwargs):
        given.append((tensors, inference, generative))
        return original(self, tensors, inference, generative, *more, **kwargs)

    # On the class: it may be a copy of the module that runs.
    with monkeypatch.context() as patch:
        patch.setattr(family, "loss", loss)
        return function(model, *args), given


def scipy_reconstruction(x, px):
    """Return the negative log-probability of each count from SciPy's distributions."""
    if type(px).__name__ == "Poisson":
        return -stats.poisson.logpmf(x, px.rate.double().numpy())
    mean, theta = px.mu.double().numpy(), px.theta.double().numpy()
    counted = stats.nbinom(theta, theta / (theta + mean))
    if type(px).__name__ == "NegativeBinomial":
        return -counted.logpmf(x)
    # An extra zero is as probable as the logistic function of its log odds says.
    log_odds = px.zi_logits.double().numpy()
    zero = stats.logistic.cdf(log_odds) + stats.logistic.sf(log_odds) * counted.pmf(0)
    return -np.where(x == 0, np.log(zero), stats.logistic.logsf(log_odds) + counted.logpmf(x))


def integrated_kl(cloud, prior):
    """Return the mean under the cloud of log cloud - log prior, by Gauss-Hermite quadrature, which is exact here."""
    nodes, parts = np.polynomial.hermite_e.hermegauss(5)
    c, s, pc, ps = (
        part.double().numpy()[..., None]
        for part in torch.broadcast_tensors(cloud.loc, cloud.scale, prior.loc, prior.scale)
    )
    points = c + s * nodes
    difference = stats.norm.logpdf(points, c, s) - stats.norm.logpdf(points, pc, ps)
    return (difference * parts / parts.sum()).sum(axis=(-1, -2))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_terms_by_hand_are_those_of_the_module_and_of_scipy(name, of_likelihood, monkeypatch):
    model = of_likelihood(name)
    table, given = with_outputs(model, monkeypatch, elbo.by_hand)
    for term in ("reconstruction", "kl"):
        np.testing.assert_allclose(table[term], table[f"{term}_of_module"], rtol=1e-4)
    x = np.concatenate([tensors["X"].numpy() for tensors, _, _ in given])
    np.testing.assert_array_equal(x, model.adata.layers["counts"].toarray())
    reconstruction = np.concatenate(
        [
            scipy_reconstruction(tensors["X"].numpy(), generative["px"]).sum(axis=1)
            for tensors, _, generative in given
        ]
    )
    np.testing.assert_allclose(table["reconstruction"], reconstruction, rtol=1e-6)
    kl = np.concatenate(
        [integrated_kl(inference["qz"], generative["pz"]) for _, inference, generative in given]
    )
    if name == "learned library size":
        library = np.concatenate(
            [integrated_kl(inference["ql"], generative["pl"]) for _, inference, generative in given]
        )
        assert library.mean() > 0.01
        kl = kl + library
    np.testing.assert_allclose(table["kl"], kl, rtol=1e-6)


def test_the_likelihoods_are_the_ones_meant(of_likelihood, monkeypatch):
    for name, kind in {
        "zinb": "ZeroInflatedNegativeBinomial",
        "nb": "NegativeBinomial",
        "poisson": "Poisson",
    }.items():
        _, given = with_outputs(of_likelihood(name), monkeypatch, elbo.by_hand, [0])
        assert type(given[0][2]["px"]).__name__ == kind


@pytest.mark.parametrize("function", [elbo.by_hand, lambda *args: elbo.where_it_pays(*args).cells])
def test_cells_are_chosen_by_position_and_keep_their_names(function, trained):
    whole = function(trained)
    assert sorted(whole.index) == sorted(trained.adata.obs_names)
    chosen = [600, 3, 77]
    names = list(trained.adata.obs_names[chosen])
    for cells in (chosen, np.array(chosen), tuple(chosen)):
        table = function(trained, cells)
        assert sorted(table.index) == sorted(names)
        # The KL divergence does not hang on random numbers.
        np.testing.assert_allclose(table.loc[names, "kl"], whole.loc[names, "kl"], rtol=1e-4)
    mask = np.zeros(trained.adata.n_obs, dtype=bool)
    mask[chosen] = True
    masked = function(trained, mask)
    assert sorted(masked.index) == sorted(names)
    np.testing.assert_allclose(masked.loc[names, "kl"], whole.loc[names, "kl"], rtol=1e-4)


def test_by_hand_keeps_the_order_of_the_cells(trained):
    assert list(elbo.by_hand(trained).index) == list(trained.adata.obs_names)
    chosen = [600, 3, 77]
    assert list(elbo.by_hand(trained, chosen).index) == list(trained.adata.obs_names[chosen])


@pytest.mark.parametrize("function", RUN_IT)
def test_cells_that_are_not_there_are_refused(function, trained):
    for cells in ([-1, 5], [5, 700], [], np.zeros(700, dtype=bool)):
        with pytest.raises(ValueError, match=r"no cell at position (-1|700)|No cells were given"):
            function(trained, cells)


def test_a_mask_of_another_length_is_refused(trained):
    with pytest.raises(ValueError, match="700"):
        elbo.by_hand(trained, np.ones(3, dtype=bool))


def test_a_likelihood_that_is_not_of_counts_is_refused(adata):
    model = build(adata, gene_likelihood="normal")
    model.train(max_epochs=1, **QUIET)
    for function in (elbo.by_hand, elbo.where_it_pays):
        with pytest.raises(ValueError, match=r"Normal.*'zinb', 'nb' or 'poisson'"):
            function(model)


@pytest.mark.parametrize("function", [elbo.by_hand, elbo.where_it_pays])
def test_proteins_are_refused(function, runs):
    with pytest.raises(
        ValueError,
        match=r"TOTALVI.*not described by one distribution of counts.*totalvi\.by_hand",
    ):
        function(runs("TOTALVI").model)


def test_terms_have_readable_names():
    assert elbo.term_name("reconst_loss_protein") == "weight × proteins"
    assert elbo.term_name("a_term_of_tomorrow") == "a term of tomorrow"


def test_by_hand_never_disagrees_with_the_module_in_silence(runs):
    # SCANVI's module counts parts of a divergence as reconstruction.
    model = runs("SCANVI").model
    try:
        table = elbo.by_hand(model)
    except ValueError as error:
        # An answer that is right would do as well.
        assert "SCANVI" in str(error)
    else:
        for term in ("reconstruction", "kl"):
            np.testing.assert_allclose(table[term], table[f"{term}_of_module"], rtol=1e-4)


# --- nothing is disturbed -----------------------------------------------------------------------


@pytest.mark.parametrize("function", ALL)
def test_neither_the_model_nor_random_numbers_are_disturbed(function, trained):
    modes = {name: part.training for name, part in trained.module.named_modules()}
    weights = copy.deepcopy(trained.module.state_dict())
    counts = trained.adata.layers["counts"].copy()
    history = {name: table.copy() for name, table in trained.history.items()}
    record = trained.loss_record_.copy()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    first = function(trained)
    assert torch.equal(torch.get_rng_state(), states[0])
    after = np.random.get_state()  # noqa: NPY002
    assert after[0] == states[1][0]
    assert np.array_equal(after[1], states[1][1])
    assert after[2:] == states[1][2:]
    assert random.getstate() == states[2]
    assert {name: part.training for name, part in trained.module.named_modules()} == modes
    for name, value in trained.module.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert (trained.adata.layers["counts"] != counts).nnz == 0
    for name, table in trained.history.items():
        pd.testing.assert_frame_equal(table, history[name])
    pd.testing.assert_frame_equal(trained.loss_record_, record)
    # And another state of the random numbers changes nothing here.
    torch.rand(3)
    np.random.normal(size=3)  # noqa: NPY002
    for again, before in zip(tables(function(trained)), tables(first), strict=True):
        pd.testing.assert_frame_equal(again, before)


def tables(result):
    return [result] if isinstance(result, pd.DataFrame) else list(result)


def test_a_model_in_training_mode_gives_the_same_and_stays_in_it(trained):
    expected = elbo.by_hand(trained)
    trained.module.train()
    try:
        running = copy.deepcopy(trained.module.state_dict())
        pd.testing.assert_frame_equal(elbo.by_hand(trained), expected)
        elbo.reevaluate(trained)
        assert all(part.training for part in trained.module.modules())
        for name, value in trained.module.state_dict().items():
            assert torch.equal(value, running[name]), name
    finally:
        trained.module.eval()


# --- where the loss arises ----------------------------------------------------------------------


def test_genes_and_cells_divide_the_same_loss(trained):
    costs, table = elbo.where_it_pays(trained), elbo.by_hand(trained)
    counts = trained.adata.layers["counts"].toarray()
    genes = costs.genes.loc[trained.adata.var_names]
    cells = costs.cells.loc[trained.adata.obs_names]
    assert costs.genes["reconstruction"].sum() == pytest.approx(
        costs.cells["reconstruction"].mean()
    )
    assert costs.genes["share"].sum() == pytest.approx(1)
    np.testing.assert_allclose(
        genes["share"], genes["reconstruction"] / genes["reconstruction"].sum()
    )
    np.testing.assert_allclose(genes["mean_count"], counts.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(cells["library_size"], counts.sum(axis=1))
    np.testing.assert_allclose(cells["reconstruction"], table["reconstruction"], rtol=1e-4)
    np.testing.assert_allclose(cells["kl"], table["kl"], rtol=1e-4)
    np.testing.assert_allclose(cells["loss"], table["reconstruction"] + table["kl"], rtol=1e-4)
    np.testing.assert_array_equal(cells["genes_seen"], (counts > 0).sum(axis=1))
    assert costs.genes["reconstruction"].is_monotonic_decreasing
    assert costs.cells["loss"].is_monotonic_decreasing


def test_genes_cost_what_scipy_says(trained, monkeypatch):
    costs, given = with_outputs(trained, monkeypatch, elbo.where_it_pays)
    expected = np.mean(
        np.concatenate(
            [scipy_reconstruction(tensors["X"].numpy(), out["px"]) for tensors, _, out in given]
        ),
        axis=0,
    )
    found = costs.genes.loc[trained.adata.var_names, "reconstruction"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_some_cells_divide_their_own_loss(trained):
    cells = trained.validation_indices
    costs = elbo.where_it_pays(trained, cells)
    counts = trained.adata.layers["counts"].toarray()[cells]
    assert costs.genes["reconstruction"].sum() == pytest.approx(
        costs.cells["reconstruction"].mean()
    )
    genes = costs.genes.loc[trained.adata.var_names]
    np.testing.assert_allclose(genes["mean_count"], counts.mean(axis=0), rtol=1e-6)


def test_a_gene_that_the_decoder_does_not_know_becomes_the_dearest(trained):
    before = elbo.where_it_pays(trained).genes
    counts = trained.adata.layers["counts"].toarray()
    # Counted in most cells, but not among the ten dearest.
    often = (counts > 0).mean(axis=0) > 0.5
    gene = next(name for name in before.index[10:] if often[trained.adata.var_names.get_loc(name)])
    position = trained.adata.var_names.get_loc(gene)
    kept = trained.module.px_r.data.clone()
    try:
        # A dispersion of e^-15 says that the count is almost always 0.
        trained.module.px_r.data[position] = -15
        after = elbo.where_it_pays(trained).genes
    finally:
        trained.module.px_r.data = kept
    assert after.index[0] == gene
    others = [name for name in before.index if name != gene]
    np.testing.assert_allclose(
        after.loc[others, "reconstruction"], before.loc[others, "reconstruction"], rtol=1e-6
    )


def test_a_cell_with_shuffled_counts_becomes_dear(trained, tmp_path):
    before = elbo.where_it_pays(trained).cells
    position = 350
    other = trained.adata.copy()
    counts = other.layers["counts"].toarray()
    counts[position] = np.random.default_rng(0).permutation(counts[position])
    other.layers["counts"] = type(other.layers["counts"])(counts)
    trained.save(str(tmp_path / "model"))
    costs = elbo.where_it_pays(scvi.model.SCVI.load(str(tmp_path / "model"), adata=other)).cells
    name, others = other.obs_names[position], other.obs_names.delete(position)
    assert costs.loc[name, "library_size"] == before.loc[name, "library_size"]
    assert costs.loc[name, "loss"] > 1.5 * before.loc[name, "loss"]
    per_count = costs["loss"] / costs["library_size"]
    assert per_count.rank(ascending=False)[name] <= 35
    np.testing.assert_allclose(costs.loc[others, "loss"], before.loc[others, "loss"], rtol=1e-5)


# --- the trained model again --------------------------------------------------------------------


def test_the_trained_model_is_compared_with_what_was_logged(trained):
    table = elbo.reevaluate(trained)
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
        kl = elbo.by_hand(trained, indices)["kl"].mean()
        assert table.loc[f"{cells} cells, now", "kl"] == pytest.approx(kl, rel=1e-5)
    assert table.loc["training cells, now", "elbo"] < table.loc["held-out cells, now", "elbo"]


def test_dropout_costs(trained):
    table = elbo.reevaluate(trained)["elbo"]
    assert table["training cells, now, with dropout"] > table["training cells, now"]


def test_without_held_out_cells_there_is_nothing_to_compare(runs):
    with pytest.raises(ValueError, match=r"held no cells out.*train_size=1"):
        elbo.reevaluate(runs("nothing held out").model)


# --- the latent dimensions ----------------------------------------------------------------------


def test_the_latent_dimensions_are_those_of_scvi_tools_own_encoding(trained):
    table = elbo.dimensions_in_use(trained)
    assert list(table.index) == list(range(1, 11))
    assert table["kl"].sum() == pytest.approx(elbo.by_hand(trained)["kl"].mean(), rel=1e-5)
    centres, variances = trained.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(table["spread of the centres"], centres.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(table["mean width"], np.sqrt(variances).mean(axis=0), rtol=1e-3)
    some = trained.validation_indices
    held_out = elbo.dimensions_in_use(trained, some)
    assert held_out["kl"].sum() == pytest.approx(elbo.by_hand(trained, some)["kl"].mean(), rel=1e-5)


def test_a_dimension_that_the_encoder_ignores_tells_nothing(trained):
    encoder = trained.module.z_encoder
    kept = copy.deepcopy(encoder.state_dict())
    before = elbo.dimensions_in_use(trained)
    try:
        for head, bias in (
            (encoder.mean_encoder, 0),
            (encoder.var_encoder, math.log(1 - encoder.var_eps)),
        ):
            head.weight.data[3] = 0
            head.bias.data[3] = bias
        after = elbo.dimensions_in_use(trained)
    finally:
        encoder.load_state_dict(kept)
    assert after.loc[4].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    pd.testing.assert_frame_equal(after.drop(index=4), before.drop(index=4))
    assert before.loc[4, "kl"] > 0


# --- is it trained enough? ----------------------------------------------------------------------


WEIGHT = "Does the KL divergence count in full at the end?"
CURVE = "Is there a curve of held-out cells?"
FALLS = "Has the held-out loss stopped falling?"
BEST = "Is it still at its best?"
USE = "Are the latent dimensions in use?"


def test_three_epochs_are_too_few_to_say(runs):
    table = elbo.checklist(runs("default warm-up").model)
    assert table.loc[WEIGHT, "found"].startswith("weight 0.005")
    assert "n_epochs_kl_warmup" in table.loc[WEIGHT, "verdict"]
    assert table.loc[CURVE].tolist() == ["after 3 of 3 epochs", "ok"]
    assert "only 3 values" in table.loc[FALLS, "found"]
    assert "train longer" in table.loc[FALLS, "verdict"]


def test_without_held_out_cells_it_says_so(runs):
    table = elbo.checklist(runs("never validated").model)
    assert table.loc[CURVE, "found"] == "after 0 of 3 epochs"
    assert "check_val_every_n_epoch" in table.loc[CURVE, "verdict"]
    assert table.loc[FALLS, "verdict"] != "ok"


def test_a_model_that_still_falls_should_be_trained_longer(adata):
    model = build(adata)
    training.train(model, preset="default", max_epochs=10, **QUIET)
    table = elbo.checklist(model)
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
    return elbo.checklist(model)


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
        row = elbo.checklist(runs(name).model).loc[WEIGHT]
        weight = elbo.ledger(runs(name).model)["kl_weight"].iloc[-1]
        assert f"weight {weight:.2g}" in row["found"]
        assert row["verdict"] != "ok"


def test_latent_dimensions_in_use_are_counted(trained, monkeypatch):
    table = with_synthetic_curve(trained, monkeypatch, 160 + JUMPS)
    used = int((elbo.dimensions_in_use(trained)["kl"] >= 0.1).sum())
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
        table = elbo.checklist(trained)
    finally:
        encoder.load_state_dict(kept)
    assert table.loc[USE, "found"] == "0 of 10"
    assert table.loc[USE, "verdict"] != "ok"
