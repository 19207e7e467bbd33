"""The table has every model of scvi-tools, with the anatomy that its source code gives it."""

import random

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scvi.model.base import BaseModelClass

from helpers import data
from helpers.layers import model_map
from tests.helpers.layers.mapped_models import peakvi_model, scanvi_model, scvi_model, totalvi_model

STATES = ["trained", "frozen", "ignored", "idle"]

# Read off the source code of scvi-tools, for 2,000 columns. Encoder, decoder, other networks,
# width, latent, likelihood; why.
BY_HAND = {
    # n_layers=1, n_hidden=128, n_latent=10. The library size is observed: l_encoder never runs.
    "SCVI": (1, 1, "", "128", 10, "ZeroInflatedNegativeBinomial"),
    # Its decoder is one linear map; here the library size is inferred.
    "LinearSCVI": (1, 0, "l_encoder 1", "128", 10, "NegativeBinomial"),
    # As SCVI, which its classifier and its second pair of networks follow in n_layers.
    "SCANVI": (
        1,
        1,
        "classifier 1, decoder_z1_z2 1, encoder_z2_z1 1",
        "128",
        10,
        "ZeroInflatedNegativeBinomial",
    ),
    # n_layers_encoder=2, n_layers_decoder=1, n_hidden=256, n_latent=20. Proteins are a mixture.
    "TOTALVI": (2, 1, "", "256", 20, "NegativeBinomial, NegativeBinomialMixture"),
    # Width: square root of the 2,000 regions; latent: square root of that. Both rounded down.
    "PEAKVI": (2, 2, "d_encoder 2", "44", 6, "Bernoulli"),
    # The same of 1,000 regions. A pair of networks for each kind of data, two hidden layers each.
    "MULTIVI": (
        pd.NA,
        pd.NA,
        "l_encoder_accessibility 2, l_encoder_expression 2, z_decoder_accessibility 2, "
        "z_decoder_expression 2, z_encoder_accessibility 2, z_encoder_expression 2",
        "31",
        5,
        "Bernoulli, ZeroInflatedNegativeBinomial",
    ),
    # As SCVI; of each gene both likelihoods are weighed.
    "AUTOZI": (1, 1, "", "128", 10, "NegativeBinomial, ZeroInflatedNegativeBinomial"),
    # n_layers=2, n_latent=5.
    "CondSCVI": (2, 2, "", "128", 5, "NegativeBinomial"),
}


def cells(n_genes):
    return data.load_cortex()[:, :n_genes], data.load_citeseq()[:, :n_genes]


@pytest.fixture(scope="module")
def table():
    return model_map.all_models(*cells(2000))


# --- which models ---------------------------------------------------------------------------------


def test_every_model_that_is_exported_is_in_the_table_and_nothing_else(table):
    expected = []
    for package in (scvi.model, scvi.external):
        for name in package.__all__:
            if BaseModelClass in getattr(getattr(package, name), "__mro__", ()):
                expected.append(name)
    assert list(table.index) == expected
    assert "utils" not in table.index


def test_a_row_has_numbers_or_says_why_not(table):
    without = table[table["trained"].isna()]
    assert (without["note"] != "").all()
    assert without[["encoder", "decoder", "latent", *STATES]].isna().all(axis=None)
    assert (without[["other networks", "width", "likelihood"]] == "").all(axis=None)
    assert table.loc["AmortizedLDA", "note"].startswith("AmortizedLDA is written in Pyro")


def test_every_model_that_has_a_recipe_can_be_built(table):
    assert not table["note"].str.startswith("could not be built").any()
    assert set(table.index[table["note"].str.startswith("no recipe")]) <= set(model_map.NO_RECIPE)


def test_a_row_has_a_width_where_it_has_hidden_layers_and_says_if_there_is_no_network(table):
    numbers = table[table["trained"].notna()]
    others = numbers["other networks"].str.findall(r"\d+$|\d+(?=,)")
    networks = [
        [*map(int, more), *row.dropna()]
        for more, (_, row) in zip(others, numbers[["encoder", "decoder"]].iterrows(), strict=True)
    ]
    assert list(numbers["width"] != "") == [sum(network) > 0 for network in networks]
    silent = numbers["note"] != "no network trains, only bare parameters"
    assert list(silent) == [bool(network) for network in networks]


def test_a_model_of_a_new_version_needs_no_change(monkeypatch):
    class Newcomer(scvi.model.SCVI):
        """Needs no more than counts."""

    class Demanding(scvi.model.SCVI):
        """Needs what the kit does not know of."""

        def __init__(self, adata, moon_phase):
            super().__init__(adata)

    for new in (Newcomer, Demanding):
        monkeypatch.setattr(scvi.external, new.__name__, new, raising=False)
    monkeypatch.setattr(scvi.external, "__all__", ["Newcomer", "Demanding"])
    table = model_map.all_models(*cells(200))
    assert table.loc["Newcomer"].drop("note").equals(table.loc["SCVI"].drop("note"))
    assert table.loc["Demanding", "note"].startswith("could not be built: ")
    assert "moon_phase" in table.loc["Demanding", "note"]


def test_the_models_asked_for_come_in_that_order():
    assert list(model_map.all_models(*cells(200), ["PEAKVI", "SCVI"]).index) == ["PEAKVI", "SCVI"]


def test_a_name_that_is_no_model_raises_with_those_that_are():
    with pytest.raises(ValueError, match=r"no model scVI\. It has: SCVI, TOTALVI, .*CYTOVI"):
        model_map.all_models(*cells(200), ["SCVI", "scVI"])


def test_cells_with_other_numbers_of_genes_raise():
    cortex, _ = cells(100)
    _, blood = cells(200)
    with pytest.raises(ValueError, match="100 genes, those with proteins 200"):
        model_map.all_models(cortex, blood)


# --- what is in a row -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_HAND)
def test_the_anatomy_is_that_of_the_source_code(name, table):
    row = table.loc[name]
    others = ", ".join(sorted(row["other networks"].split(", ")))
    found = (row["encoder"], row["decoder"], others, row["width"], row["latent"], row["likelihood"])
    for got, expected in zip(found, BY_HAND[name], strict=True):
        assert got is expected or got == expected


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("SCVI", scvi_model),
        ("SCANVI", scanvi_model),
        ("TOTALVI", totalvi_model),
        ("PEAKVI", peakvi_model),
    ],
)
def test_the_parameters_add_up_to_those_of_the_model(name, build, table):
    total = sum(parameter.numel() for parameter in build().module.parameters())
    assert table.loc[name, STATES].sum() == total


def test_parameters_are_sorted_by_what_training_does_with_them(table):
    # The library encoder of SCVI (2,000 to 128 to twice 1) with its batch normalisation, and the
    # dropout head of its siblings that have no zero inflation: 128 to 2,000.
    assert (
        table.loc["SCVI", "idle"] == 2000 * 128 + 128 + 2 * 128 + 2 * (128 + 1) + 128 * 2000 + 2000
    )
    # The prior of SCANVI's seven types is set.
    assert table.loc["SCANVI", "frozen"] == 7
    # The dropout head of LinearSCVI: 10 to 2,000, and its batch normalisation.
    assert table.loc["LinearSCVI", "ignored"] == 10 * 2000 + 2 * 2000


def test_the_width_follows_the_columns():
    row = model_map.all_models(*cells(400), ["PEAKVI"]).loc["PEAKVI"]
    assert (row["width"], row["latent"]) == ("20", 4)


def test_numbers_are_whole_and_text_is_never_missing(table):
    for column in table:
        if column in ["encoder", "decoder", "latent", *STATES]:
            assert table[column].dtype == "Int64"
        else:
            assert table[column].map(type).eq(str).all()


# --- what it leaves behind ------------------------------------------------------------------------


def test_the_random_numbers_go_on_as_before():
    def state():
        return (
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),  # noqa: NPY002 -- the generator that scvi-tools seeds
            random.getstate(),
        )

    before = state()
    model_map.all_models(*cells(200), ["SCVI", "TOTALVI", "DestVI"])
    assert state() == before


def test_it_does_not_depend_on_the_random_numbers_before_it():
    names = ["SCVI", "TOTALVI", "MULTIVI", "DestVI", "SysVI"]
    scvi.settings.seed = 1
    first = model_map.all_models(*cells(200), names)
    scvi.settings.seed = 2
    pd.testing.assert_frame_equal(model_map.all_models(*cells(200), names), first)


def test_nothing_is_said(capfd, caplog, recwarn):
    given = cells(200)
    recwarn.clear()
    model_map.all_models(*given)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not recwarn.list
