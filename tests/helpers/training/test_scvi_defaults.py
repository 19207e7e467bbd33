"""The defaults are those that scvi-tools builds and trains with."""

import pytest
import scvi

from helpers import training
from tests.helpers.small_models import new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


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
