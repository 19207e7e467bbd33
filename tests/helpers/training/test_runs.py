"""A run is scvi-tools' own with a preset, repeats bit by bit, and is refused before the work."""

import numpy as np
import pytest
import scvi

from helpers import training
from helpers.training import loss_recorder, runs, training_checks
from tests.helpers.small_models import SHORT, new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


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
    kinds = [type(each) for each in asked.pop("callbacks")]
    watching = [training_checks.TrainingChecks, loss_recorder.LossRecorder, runs._AsItWas]
    assert kinds == watching
    assert asked == {"check_val_every_n_epoch": 1}


def test_training_repeats_bit_by_bit_whatever_ran_before(adata):
    first, second = new_model(adata), new_model(adata)
    training.train(first, **SHORT)
    np.random.default_rng().normal(size=10)
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    training.train(second, **SHORT)
    assert np.array_equal(first.get_latent_representation(), second.get_latent_representation())


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
