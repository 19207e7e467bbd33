"""What is kept of every model is whole and honest, and a tool that errs is found out."""

import importlib.metadata

import pandas as pd
import pytest

from helpers.layers import model_map
from helpers.loss import loss_ledger
from studies import conformance


@pytest.fixture(scope="module")
def kept():
    return pd.read_csv(conformance.FILE, comment="#", keep_default_na=False, dtype={"version": str})


def test_every_model_and_tool_is_there_for_both_version_tracks(kept):
    versions = kept["version"].unique()
    assert len(versions) == 2
    assert importlib.metadata.version("scvi-tools") in versions
    for _, rows in kept.groupby(["version", "model"]):
        assert sorted(rows["tool"]) == sorted(conformance.TOOLS)
    own = kept[kept["version"] == importlib.metadata.version("scvi-tools")]
    assert set(own["model"]) == set(model_map.exported_models())


def test_no_tool_is_wrong_and_each_refusal_has_a_reason(kept):
    assert not (kept["verdict"] == conformance.WRONG).any()
    refused = kept[kept["verdict"] != conformance.RIGHT]
    assert refused["note"].str.len().min() > 10


@pytest.mark.parametrize(
    "model", ["SCVI", "SCANVI", "TOTALVI", "MULTIVI", "PEAKVI", "POISSONVI", "LinearSCVI", "CYTOVI"]
)
def test_layers_states_and_ledger_of_what_people_use_are_right(model, kept):
    rows = kept[(kept["model"] == model) & kept["tool"].isin(["layers", "states", "ledger"])]
    assert (rows["verdict"] == conformance.RIGHT).all()


def test_page_is_that_of_what_is_kept(kept):
    assert conformance.PAGE.read_text("utf-8") == conformance.page(kept)


def test_right_tools_are_found_right():
    found = conformance.look_at("SCVI").set_index("tool")["verdict"]
    assert found.tolist() == [conformance.RIGHT] * len(conformance.TOOLS)


def test_a_tool_that_errs_is_found_out(monkeypatch):
    """A drawing that fails, states that do not agree, a ledger that loses a term."""
    ledger, witness = loss_ledger.ledger, conformance.states_witness.witness

    def lost(model):
        found = ledger(model)
        return found.assign(residual=found["residual"] + found["+ kl_divergence_z"] + 1)

    monkeypatch.setattr(loss_ledger, "ledger", lost)
    monkeypatch.setattr(conformance.architecture_drawing, "draw", lambda model: 1 / 0)
    monkeypatch.setattr(
        conformance.states_witness, "witness", lambda model: witness(model).assign(agrees=False)
    )
    found = conformance.look_at("LinearSCVI").set_index("tool")
    assert found.loc["drawing", "verdict"] == conformance.WRONG
    assert "ZeroDivisionError" in found.loc["drawing", "note"]
    assert found.loc["ledger", "verdict"] == conformance.PARTLY
    assert found.loc["states", "verdict"] == conformance.WRONG


def test_a_model_without_a_recipe_says_so():
    name = next(iter(model_map.NO_RECIPE))
    found = conformance.look_at(name)
    assert set(found["verdict"]) == {conformance.REFUSED}
    assert found["note"].str.contains(model_map.NO_RECIPE[name], regex=False).all()
