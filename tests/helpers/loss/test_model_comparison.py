"""Trained models side by side: the table says what their source code says."""

import pytest
import scvi

from helpers import data, training
from helpers.loss import model_comparison
from tests.helpers.layers.mapped_models import peakvi_model, scvi_model, totalvi_model
from tests.helpers.layers.toy_models import toy_cells, toy_model


def trained(model, **settings):
    training.train(model, max_epochs=1, enable_progress_bar=False, **settings)
    return model


@pytest.fixture(scope="module")
def beside():
    blood = data.load_citeseq()[:, :2000].copy()
    setup = {"layer": "counts", "batch_key": "batch"}
    scvi.model.SCVI.setup_anndata(blood, **setup)
    one = trained(scvi.model.SCVI(blood))
    proteins = {"protein_expression_obsm_key": "protein_expression"}
    scvi.model.TOTALVI.setup_anndata(blood, **setup, **proteins)
    other = scvi.model.TOTALVI(blood, empirical_protein_background_prior=False)
    models = {"SCVI": one, "TotalVI": trained(other, plan_kwargs={}, preset="default")}
    return models, model_comparison.side_by_side(models)


def test_side_by_side_answers_what_the_source_code_says(beside):
    _, table = beside
    assert list(table) == ["SCVI", "TotalVI"]
    expected = {
        "inputs": ("2,000 genes, 2 batches", "2,000 genes, 14 proteins, 2 batches"),
        "likelihoods": (
            "zero-inflated negative binomial",
            "negative binomial, mixture of two negative binomials",
        ),
        "hidden layers in the encoder": ("1", "2"),
        "hidden layers in the decoder": ("1", "1"),
        "width": ("128", "256"),
        # encode_covariates is False in VAE, and True in TOTALVAE.
        "batch enters": ("decoder", "encoder, decoder"),
        "latent dimensions": ("10", "20"),
        "loss terms": (
            "reconstruction + weight × KL of z",
            "genes + weight × proteins + weight × KL of z + weight × background",
        ),
    }
    for question, answers in expected.items():
        assert tuple(table.loc[question]) == answers


def test_side_by_side_the_parameters_add_up_to_those_of_the_model(beside):
    models, table = beside
    numbers = table.loc[["parameters", "trained", "ignored", "idle"]]
    numbers = numbers.map(lambda text: int(text.replace(",", "")))
    for name, model in models.items():
        total = sum(parameter.numel() for parameter in model.module.parameters())
        assert numbers.loc["parameters", name] == total
        assert numbers[name].iloc[1:].sum() == total
    # SCVI ignores none, and that is said, because TOTALVI does.
    assert table.loc["ignored", "SCVI"] == "0"


def test_side_by_side_names_what_only_one_can_be_asked_for(beside):
    models, table = beside
    own = table.loc["outputs of its own"].str.split(", ")
    assert "get_protein_foreground_probability" in own["TotalVI"]
    for name, other in (("SCVI", "TotalVI"), ("TotalVI", "SCVI")):
        assert all(callable(getattr(models[name], method)) for method in own[name])
        assert not any(hasattr(models[other], method) for method in own[name])
    assert "get_latent_representation" not in own["SCVI"] + own["TotalVI"]


def test_side_by_side_leaves_out_what_no_model_has(beside):
    models, table = beside
    assert "frozen" not in table.index
    assert "other networks" not in table.index
    assert "batch enters" in table.index
    assert (table != "").any(axis=1).all()
    alone = model_comparison.side_by_side({"SCVI": models["SCVI"]})
    assert "ignored" not in alone.index
    # No other model has less.
    assert "outputs of its own" not in alone.index


def test_side_by_side_takes_other_models_and_no_hidden_layers():
    adata = data.load_cortex()[::10, :200].copy()
    scvi.model.LinearSCVI.setup_anndata(adata, layer="counts")
    linear = trained(scvi.model.LinearSCVI(adata))
    scvi.model.SCANVI.setup_anndata(
        adata, layer="counts", labels_key="cell_type", unlabeled_category="none"
    )
    scanvi = trained(scvi.model.SCANVI(adata))
    table = model_comparison.side_by_side({"linear": linear, "with labels": scanvi})
    assert table.loc["inputs", "linear"] == "200 genes"
    assert "batch enters" not in table.index
    # The seven types, and the category of cells without one.
    assert table.loc["inputs", "with labels"] == "200 genes, 8 labels"
    assert table.loc["hidden layers in the decoder", "linear"] == "0"
    assert "classifier 1" in table.loc["other networks", "with labels"]
    assert table.loc["frozen", "with labels"] == "7"
    assert "classification loss" in table.loc["loss terms", "with labels"]
    only = model_comparison.side_by_side({"linear": linear, "again": linear})
    assert list(only.loc["hidden layers in the decoder"]) == ["0", "0"]


def test_side_by_side_says_what_to_do_for_lack_of_training():
    with pytest.raises(ValueError, match=r"SCVI was not trained.*training\.train\(model\)"):
        model_comparison.side_by_side({"SCVI": scvi_model()})
    with pytest.raises(ValueError, match="no models to compare"):
        model_comparison.side_by_side({})
    unrecorded = totalvi_model()
    unrecorded.train(max_epochs=1, enable_progress_bar=False)
    with pytest.raises(ValueError, match=r"TOTALVI.*training\.train\(model\)"):
        model_comparison.side_by_side({"TotalVI": unrecorded})


def test_an_unknown_likelihood_keeps_its_name():
    model = trained(peakvi_model())
    assert (
        model_comparison.side_by_side({"PEAKVI": model}).loc["likelihoods", "PEAKVI"] == "Bernoulli"
    )


def test_side_by_side_takes_a_model_with_attention_and_tells_labels_from_batches():
    adata = toy_cells()
    attention = toy_model(scvi.external.MRVI, {"sample_key": "donor"}, adata)
    attention.train(max_epochs=1, check_val_every_n_epoch=1, enable_progress_bar=False)
    labels = {"labels_key": "known", "unlabeled_category": "?"}
    models = {
        "attention": attention,
        "labels": trained(toy_model(scvi.model.SCANVI, labels)),
        "table": trained(toy_model(batch_representation="embedding")),
        "donors": trained(toy_model(setup={"categorical_covariate_keys": ["donor"]})),
    }
    enters = model_comparison.side_by_side(models).loc["batch enters"]
    assert enters.to_dict() == dict.fromkeys(models, "decoder")
