"""Whose loss is worked out by hand, and who is refused: by what their modules return."""

import numpy as np
import pytest
import scvi
import torch
from scipy import stats
from scvi.module import VAE
from scvi.module.base import LossOutput

from helpers.loss import (
    attribution,
    evaluation,
    forward_pass,
    latent_dimensions,
    terms_by_hand,
)
from helpers.training import loss_recorder
from tests.helpers.loss.test_terms_by_hand import scipy_reconstruction, with_outputs

QUIET = {"enable_progress_bar": False}
BATCHES = {"batch_key": "batch"}
CLASSES = {"batch_key": "batch", "labels_key": "known", "unlabeled_category": "?"}


@pytest.fixture(scope="module")
def toy():
    """Counts of 30 genes in three batches, made-up covariates, and classes, some of them known."""
    scvi.settings.seed = 0
    adata = scvi.data.synthetic_iid(batch_size=60, n_genes=30, n_batches=3, n_labels=4)
    totals = adata.X.sum(axis=1)
    adata.obs["size"] = totals / totals.mean()
    adata.obs["age"] = np.linspace(-1, 1, adata.n_obs)
    adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    adata.obs["known"] = adata.obs["labels"].astype(str).where(np.arange(adata.n_obs) % 3 > 0, "?")
    return adata


def trained(adata, kind, setup=BATCHES, **parameters):
    scvi.settings.seed = 0
    adata = adata.copy()
    kind.setup_anndata(adata, **setup)
    model = kind(adata, **parameters)
    model.train(max_epochs=1, **QUIET)
    return model


def of_module(model):
    """Return what the module itself reports of each cell, in the same pass."""
    return forward_pass.by_cell(
        model,
        None,
        lambda minibatch, inference, generative, loss: {
            "reconstruction": forward_pass.total(loss.reconstruction_loss),
            "kl": forward_pass.total(loss.kl_local),
        },
    )


SCVI, LinearSCVI, SCANVI = scvi.model.SCVI, scvi.model.LinearSCVI, scvi.model.SCANVI
SIZED = BATCHES | {"size_factor_key": "size"}
COVARIATES = BATCHES | {
    "continuous_covariate_keys": ["age"],
    "categorical_covariate_keys": ["donor"],
}
DESCRIBED = {
    "size factors": (SCVI, SIZED, {}),
    "poisson of size factors": (SCVI, SIZED, {"gene_likelihood": "poisson"}),
    "dispersion of each label": (
        SCVI,
        BATCHES | {"labels_key": "labels"},
        {"dispersion": "gene-label", "gene_likelihood": "nb"},
    ),
    "positions that add up to 1": (SCVI, BATCHES, {"latent_distribution": "ln"}),
    "batches as embeddings": (SCVI, BATCHES, {"batch_representation": "embedding"}),
    "covariates": (SCVI, COVARIATES, {"encode_covariates": True, "use_observed_lib_size": False}),
    "linear": (LinearSCVI, BATCHES, {"use_observed_lib_size": False, "gene_likelihood": "zinb"}),
    "cells of a class": (scvi.model.CondSCVI, {"labels_key": "labels"}, {}),
    "classes": (SCANVI, CLASSES, {}),
    "classes, library size learned": (SCANVI, CLASSES, {"use_observed_lib_size": False}),
    "classes, size factors": (SCANVI, CLASSES | {"size_factor_key": "size"}, {}),
    "classes, dispersion of each batch": (
        SCANVI,
        CLASSES,
        {"dispersion": "gene-batch", "gene_likelihood": "nb", "linear_classifier": True},
    ),
    "classes, probabilities by softmax": (
        SCANVI,
        CLASSES | {"categorical_covariate_keys": ["donor"]},
        {"classifier_parameters": {"logits": False}, "n_latent": 1},
    ),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_loss_is_that_of_the_module(name, toy, monkeypatch):
    kind, setup, parameters = DESCRIBED[name]
    model = trained(toy, kind, setup, **parameters)
    own = of_module(model)
    table, given = with_outputs(model, monkeypatch, terms_by_hand.by_hand)
    for term in ("reconstruction", "kl"):
        np.testing.assert_allclose(table[term], own[term], rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(table[f"{term}_of_module"], own[term])
    costs = attribution.attribute_loss(model)
    cells = costs.cells.loc[own.index]
    np.testing.assert_allclose(cells["loss"], own.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(cells["reconstruction"] + cells["kl"], cells["loss"])
    assert costs.genes["reconstruction"].sum() == pytest.approx(cells["reconstruction"].mean())
    counts = np.concatenate(
        [scipy_reconstruction(part["X"].numpy(), out["px"]).sum(axis=1) for part, _, out in given]
    )
    np.testing.assert_allclose(cells["reconstruction"], counts, rtol=1e-5)
    if kind is SCANVI:
        np.testing.assert_allclose(table["counts"], counts, rtol=1e-5)
        np.testing.assert_allclose(table["reconstruction"], table["counts"] + table["z1"])
        parts = table[table.columns.intersection(["z2", "class", "library"])]
        np.testing.assert_allclose(table["kl"], parts.sum(axis=1))


# --- classes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_classes(toy):
    return trained(toy, SCANVI, CLASSES)


@pytest.fixture
def set_weights(with_classes):
    """The trained SCANVI, for a test that sets weights of its networks."""
    module = with_classes.module
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        yield with_classes
    module.load_state_dict(kept)


def silence(head, bias=0.0):
    head.weight.data[:] = 0
    head.bias.data[:] = bias


def test_classes_that_the_classifier_cannot_tell_cost_nothing(set_weights):
    module = set_weights.module
    silence(module.classifier.classifier[-1])
    assert np.abs(terms_by_hand.by_hand(set_weights)["class"]).max() < 1e-6
    # Another prior: the probabilities stay alike.
    prior = np.linspace(1, 2, module.n_labels)
    module.y_prior[:] = torch.tensor(prior / prior.sum())
    expected = stats.entropy(np.ones(module.n_labels), prior)
    np.testing.assert_allclose(terms_by_hand.by_hand(set_weights)["class"], expected, rtol=1e-4)


def test_a_second_position_that_is_ignored_leaves_a_first_one_from_one_normal(set_weights):
    module = set_weights.module
    second, first = module.encoder_z2_z1, module.decoder_z1_z2
    silence(second.mean_encoder)
    silence(second.var_encoder, np.log(1 - second.var_eps))
    # p(z1 | class, z2) is the same for each class and z2: mean 0.5, variance e.
    silence(first.mean_decoder, 0.5)
    silence(first.var_decoder, 1.0)

    def read(minibatch, inference, generative, loss):
        q, z = inference["qz"], forward_pass.numbers(inference["z"])
        log_q = stats.norm.logpdf(z, q.loc.numpy(), q.scale.numpy()).sum(axis=1)
        return {"z1": log_q - stats.norm.logpdf(z, 0.5, np.exp(0.5)).sum(axis=1)}

    positions = forward_pass.by_cell(set_weights, None, read)
    table = terms_by_hand.by_hand(set_weights)
    assert np.abs(table["z2"]).max() < 1e-5
    np.testing.assert_allclose(table["z1"], positions["z1"], rtol=1e-4, atol=1e-4)


def test_a_sure_classifier_leaves_the_terms_of_its_class(set_weights):
    module, sure = set_weights.module.eval(), 1
    silence(module.classifier.classifier[-1])
    module.classifier.classifier[-1].bias[sure] = 40.0

    def read(minibatch, inference, generative, loss):
        one_hot = torch.nn.functional.one_hot(torch.tensor([sure]), module.n_labels)
        classes = one_hot.expand(len(inference["z"]), -1)
        # It also draws from the cloud, and the next minibatch must find the random numbers as in
        # the other run.
        with torch.random.fork_rng():
            cloud, _ = module.encoder_z2_z1(inference["z"], classes)
        kl = torch.distributions.kl_divergence(cloud, torch.distributions.Normal(0.0, 1.0))
        return {"z2": kl.sum(dim=1).numpy()}

    expected = forward_pass.by_cell(set_weights, None, read)
    table = terms_by_hand.by_hand(set_weights)
    np.testing.assert_allclose(table["class"], np.log(module.n_labels), rtol=1e-4)
    np.testing.assert_allclose(table["z2"], expected["z2"], rtol=1e-4)


def test_the_label_of_a_cell_changes_nothing(with_classes):
    table = terms_by_hand.by_hand(with_classes)
    labels = with_classes.adata.obs["_scvi_labels"]
    others = np.roll(labels.to_numpy(), 1)
    try:
        with_classes.adata.obs["_scvi_labels"] = others
        again = terms_by_hand.by_hand(with_classes)
    finally:
        with_classes.adata.obs["_scvi_labels"] = labels
    assert (others != labels).any()
    np.testing.assert_array_equal(again, table)


def test_the_classification_is_what_is_said_of_it(with_classes):
    labels = with_classes.adata.obs["known"].to_numpy()
    known = np.flatnonzero(labels != "?")
    said = with_classes.predict(indices=known, soft=True)
    ours = -np.log(
        [said.loc[name, label] for name, label in zip(said.index, labels[known], strict=True)]
    )
    module = with_classes.module
    (tensors,) = with_classes._make_data_loader(
        adata=with_classes.adata, indices=known, batch_size=len(known)
    )
    with torch.inference_mode():
        cross_entropy = module.eval().classification_loss(tensors)[0]
    assert float(cross_entropy) == pytest.approx(ours.mean(), rel=1e-4)


# --- losses of one's own ------------------------------------------------------------------------


def returned(output, **changes):
    """Return what a module returned with some of its parts changed."""
    names = ("loss", "reconstruction_loss", "kl_local")
    return LossOutput(**{name: getattr(output, name) for name in names} | changes)


class Beta(VAE):
    def loss(self, tensors, inference, generative, kl_weight=1.0):
        return super().loss(tensors, inference, generative, kl_weight=4 * kl_weight)


class BetaThatIsReported(VAE):
    def loss(self, *args, **kwargs):
        loss = super().loss(*args, **kwargs)
        kl = {name: 4 * term for name, term in loss.kl_local.items()}
        terms = torch.stack([*loss.reconstruction_loss.values(), *kl.values()])
        return returned(loss, loss=terms.sum(dim=0).mean(), kl_local=kl)


class Penalty(VAE):
    def loss(self, *args, **kwargs):
        loss = super().loss(*args, **kwargs)
        return returned(loss, loss=loss.loss + 0.02)


class PenaltyInTheReconstruction(VAE):
    def loss(self, tensors, inference, generative, *args, **kwargs):
        loss = super().loss(tensors, inference, generative, *args, **kwargs)
        penalty = 0.02 + 0 * inference["z"].sum(dim=1)
        terms = {name: part + penalty for name, part in loss.reconstruction_loss.items()}
        return returned(loss, loss=loss.loss + 0.02, reconstruction_loss=terms)


class Whole(VAE):
    def loss(self, *args, **kwargs):
        loss = super().loss(*args, **kwargs)
        return returned(loss, loss=loss.loss * loss.n_obs_minibatch)


class OtherPrior(VAE):
    def loss(self, tensors, inference, generative, *args, **kwargs):
        loss = super().loss(tensors, inference, generative, *args, **kwargs)
        prior = torch.distributions.Normal(1.0, 2.0)
        kl = torch.distributions.kl_divergence(inference["qz"], prior).sum(dim=1)
        (reconstruction,) = loss.reconstruction_loss.values()
        return returned(loss, loss=(reconstruction + kl).mean(), kl_local=kl)


class MixtureOfPriors(OtherPrior):
    def generative(self, *args, **kwargs):
        found = super().generative(*args, **kwargs)
        parts = torch.distributions.Normal(torch.zeros(2, self.n_latent), 1.0)
        mixed = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(torch.ones(2)),
            torch.distributions.Independent(parts, 1),
        )
        return found | {"pz": mixed}

    def loss(self, tensors, inference, generative, *args, **kwargs):
        plain = generative | {"pz": torch.distributions.Normal(0.0, 1.0)}
        return super().loss(tensors, inference, plain, *args, **kwargs)


def model_of(module):
    return type("Own", (SCVI,), {"_module_cls": module})


OWN = {
    "beta": (model_of(Beta), r"Own is not the mean .* off by \+\d"),
    "beta that is reported": (
        model_of(BetaThatIsReported),
        r"KL divergence of this Own .*off by up to [\d.]+ nats",
    ),
    "penalty": (model_of(Penalty), r"off by \+0\.02 nats per cell"),
    "penalty in the reconstruction": (
        model_of(PenaltyInTheReconstruction),
        r"reconstruction loss of this Own .* off by up to 0\.02 nats",
    ),
    "sum over cells": (model_of(Whole), r"not the mean over the cells"),
    "other prior": (model_of(OtherPrior), r"KL divergence of this Own"),
    "mixture of priors": (model_of(MixtureOfPriors), r"MixtureSameFamily"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_loss_of_ones_own_is_refused(name, toy):
    kind, said = OWN[name]
    model = trained(toy, kind)
    for function in (terms_by_hand.by_hand, attribution.attribute_loss):
        with pytest.raises(ValueError, match=rf"(?s){said}.*What to do"):
            function(model)


OTHERS = {
    "AUTOZI": (scvi.model.AUTOZI, BATCHES, {}, r"kl_global"),
    "mixture of classes": (
        scvi.model.CondSCVI,
        {"labels_key": "labels"},
        {"prior": "mog"},
        r"KL divergence of this CondSCVI",
    ),
    "weighed classes": (
        scvi.model.CondSCVI,
        {"labels_key": "labels"},
        {"weight_obs": True},
        r"not the mean over the cells",
    ),
    "normal distribution": (SCVI, BATCHES, {"gene_likelihood": "normal"}, r"\(Normal\)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_models_with_other_terms_are_refused(name, toy):
    kind, setup, parameters, said = OTHERS[name]
    model = trained(toy, kind, setup, **parameters)
    for function in (terms_by_hand.by_hand, attribution.attribute_loss):
        with pytest.raises(ValueError, match=rf"(?s){said}.*What to do"):
            function(model)


def test_dimensions_of_a_prior_that_is_no_normal_distribution_are_refused(toy):
    model = trained(toy, model_of(MixtureOfPriors))
    with pytest.raises(ValueError, match=r"does not divide.*What to do"):
        latent_dimensions.dimensions_in_use(model)


# --- evaluation ---------------------------------------------------------------------------------


def test_a_divergence_of_the_whole_data_set_is_divided_among_the_cells(toy):
    scvi.settings.seed = 0
    adata = toy.copy()
    scvi.model.AUTOZI.setup_anndata(adata, **BATCHES)
    model = scvi.model.AUTOZI(adata)
    model.train(max_epochs=1, callbacks=[loss_recorder.LossRecorder(model)], **QUIET)
    whole = float(model.module.compute_global_kl_divergence())
    own = of_module(model).iloc[model.train_indices].mean()
    now = evaluation.reevaluate(model).loc["training cells, now"]
    assert whole > 1
    assert now["reconstruction"] == pytest.approx(own["reconstruction"], rel=0.02)
    assert now["kl"] == pytest.approx(own["kl"] + whole / len(model.train_indices), rel=1e-3)


@pytest.mark.parametrize("name", ["positions that add up to 1", "classes"])
def test_importance_sampling_with_another_prior_is_refused(name, toy):
    kind, setup, parameters = DESCRIBED[name]
    model = trained(toy, kind, setup, **parameters)
    with pytest.raises(ValueError, match=r"standard normal prior.*What to do"):
        evaluation.bounds(model, elbo_draws=1, samples=2)
