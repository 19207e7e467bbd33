"""Batch and other covariates are named where they enter, by the field that they come from."""

import pytest
import scvi
import torch
from torch import nn

from helpers.layers import architecture_drawing, model_anatomy, side_inputs
from tests.helpers.layers.toy_models import N_GENES, toy_model

FIRST = "z_encoder.encoder.fc_layers.Layer 0.0"
DECODER = "decoder.px_decoder.fc_layers.Layer 0.0"
DONOR = {"categorical_covariate_keys": ["donor"]}
BOTH = {"categorical_covariate_keys": ["donor", "site"], "continuous_covariate_keys": ["age"]}
KNOWN = {"labels_key": "known", "unlabeled_category": "?"}

# Three batches, two donors, three sites, three labels: numbers of columns tell nothing.
INTO_THE_DECODER = {
    "the batch": ({}, {}, {"batch": 3}),
    "a covariate of as many categories": (
        {"categorical_covariate_keys": ["site"]},
        {},
        {"batch": 3, "extra_categorical_covs": 3},
    ),
    "no batch": ({"batch_key": None} | DONOR, {}, {"extra_categorical_covs": 2}),
    "all kinds": (
        BOTH,
        {},
        {"extra_continuous_covs": 1, "batch": 3, "extra_categorical_covs": 5},
    ),
    "a table": ({}, {"batch_representation": "embedding"}, {"batch": 5}),
    "a table, and as many sites as batches": (
        {"categorical_covariate_keys": ["site"]},
        {"batch_representation": "embedding"},
        {"batch": 5, "extra_categorical_covs": 3},
    ),
}


@pytest.mark.parametrize("case", INTO_THE_DECODER)
def test_what_enters_is_named_by_its_field(case):
    setup, parameters, expected = INTO_THE_DECODER[case]
    anatomy = model_anatomy.read(toy_model(setup=setup, **parameters))
    assert {k: v for k, v in side_inputs.told(anatomy, DECODER).items() if k} == expected
    assert side_inputs.told(anatomy, FIRST) == {"X": N_GENES}
    told = side_inputs.networks_told(anatomy, "batch")
    assert told == (["decoder"] if "batch" in expected else [])


def test_what_is_encoded_is_told_to_the_encoder_too():
    anatomy = model_anatomy.read(toy_model(setup=BOTH, encode_covariates=True))
    expected = {"X": N_GENES, "extra_continuous_covs": 1, "batch": 3, "extra_categorical_covs": 5}
    assert side_inputs.told(anatomy, FIRST) == expected
    for field in ("batch", "extra_categorical_covs", "extra_continuous_covs"):
        assert side_inputs.networks_told(anatomy, field) == ["encoder", "decoder"]


def test_labels_are_no_batches_though_there_are_as_many():
    anatomy = model_anatomy.read(toy_model(scvi.model.SCANVI, KNOWN))
    assert side_inputs.networks_told(anatomy, "batch") == ["decoder"]
    # It goes through the three labels in turn, whatever the label of the cell.
    assert side_inputs.networks_told(anatomy, "labels") == []
    layers = [path for path in anatomy.rows(role="hidden")["path"] if "z1_z2" in path]
    assert [side_inputs.told(anatomy, path)["labels"] for path in layers] == [3]


def test_a_single_batch_is_nothing_to_be_told():
    model = toy_model(scvi.model.CondSCVI, {"labels_key": "labels", "batch_key": None})
    anatomy = model_anatomy.read(model)
    assert side_inputs.networks_told(anatomy, "batch") == []
    assert side_inputs.networks_told(anatomy, "labels") == ["encoder", "decoder"]


def changed(generative):
    """Return SCVI of three batches whose generative part gets another latent and batch."""

    class VAE(scvi.module.VAE):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.numbers = nn.Parameter(torch.randn(3, self.n_latent))
            self.table = nn.Embedding(3, self.n_latent)

        def generative(self, z, batch_index, **kwargs):
            z, batch_index = generative(self, z, batch_index)
            return super().generative(z, batch_index=batch_index, **kwargs)

    family = type("Changed", (scvi.model.SCVI,), {"_module_cls": VAE})
    return model_anatomy.read(toy_model(family))


def by_hand(codes):
    columns = torch.zeros(len(codes), 3)
    columns.scatter_(1, codes, 1.0)
    return columns


# How a batch may reach the latent numbers; the decoder's own columns are those of no batch.
WAYS = {
    "picked from a table": lambda self, z, batch: z + self.table(batch.squeeze(-1)),
    "picked from numbers": lambda self, z, batch: z + self.numbers[batch.squeeze(-1)],
    "a product with zeros and ones": lambda self, z, batch: z + by_hand(batch) @ self.numbers,
    "a choice": lambda self, z, batch: torch.where(batch == 1, z, -z),
    "a factor": lambda self, z, batch: z * (batch + 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_batch_is_followed_however_it_enters(way):
    anatomy = changed(lambda self, z, batch: (WAYS[way](self, z, batch), torch.zeros_like(batch)))
    assert side_inputs.networks_told(anatomy, "batch") == ["decoder"]


def test_a_model_that_overwrites_the_batch_is_told_nothing():
    anatomy = changed(lambda self, z, batch: (z, torch.zeros_like(batch)))
    assert side_inputs.networks_told(anatomy, "batch") == []


def notes(model):
    drawing = architecture_drawing.draw(model)
    return {each.get_text() for each in drawing.figure.axes[0].texts if "+" in each.get_text()}


def test_the_drawing_says_what_enters():
    assert notes(toy_model(setup=DONOR)) == {"+3 batch, +2 covariates"}
    assert notes(toy_model(batch_representation="embedding")) == {"+5 batch"}
    labels = notes(toy_model(scvi.model.SCANVI, KNOWN))
    assert labels == {"+3 batch", "+3 labels", "+3 labels, dropout 0.1"}
    assert notes(toy_model(setup=BOTH)) == {"+1 continuous, +3 batch,", "+5 covariates"}


def test_a_size_factor_has_a_box_of_its_own():
    drawing = architecture_drawing.draw(toy_model(setup={"size_factor_key": "size"}))
    shown = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "size factor" in shown
    assert "data: X" in shown
