"""The witness of the states finds what was said wrongly."""

import torch

from helpers.layers import learned_numbers
from studies import states_witness
from tests.helpers.layers.toy_models import N_GENES, toy_model

WIDTH = 128


def test_the_witness_sees_a_number_that_changes_and_was_not_said_to(monkeypatch):
    def first_weight(model):
        return model.module.z_encoder.encoder.fc_layers[0][0].weight

    whole = learned_numbers.held
    # As if all of the first weights were held.
    name = "z_encoder.encoder.fc_layers.Layer 0.0.weight"
    monkeypatch.setattr(
        learned_numbers,
        "held",
        lambda model: whole(model) | {name: torch.ones_like(first_weight(model), dtype=bool)},
    )
    table = states_witness.witness(toy_model())
    wrong = table[~table["agrees"]]
    assert list(wrong["not said"]) == [WIDTH * N_GENES]
