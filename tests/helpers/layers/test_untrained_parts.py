"""What never trains, and the setting that would use it."""

import functools

import numpy as np
import pandas as pd
import scvi
from torch import nn

from helpers.layers import descriptions, untrained_parts
from tests.helpers.layers.expected_layers import N_GENES, WIDTH
from tests.helpers.small_models import build

# What the library encoder of SCVI holds: a layer with its normalisation, and two heads.
LIBRARY_SIZE = (N_GENES * 128 + 128) + 2 * 128 + 2 * (128 + 1)
HEAD = 128 * N_GENES + N_GENES


def as_tuples(table):
    columns = ["part", "network", "state", "hidden layers", "parameters", "trains with"]
    assert list(table.columns) == columns
    return [tuple(row) for row in table.itertuples(index=False)]


def test_unused_names_the_setting_that_would_use_each_part_of_scvi(cells):
    library = ("l_encoder", "l_encoder", "idle", 1, LIBRARY_SIZE, "use_observed_lib_size=False")
    spread = ("decoder.px_r_decoder", "decoder", "idle", 0, HEAD, "dispersion='gene-cell'")
    zeros = ("decoder.px_dropout_decoder", "decoder", "ignored", 0, HEAD, "gene_likelihood='zinb'")
    assert as_tuples(untrained_parts.unused(build(cells))) == [library, spread]
    # The library encoder has one hidden layer, whatever n_layers.
    found = as_tuples(untrained_parts.unused(build(cells, gene_likelihood="nb", n_layers=3)))
    assert found == [library, spread, zeros]
    assert as_tuples(untrained_parts.unused(build(cells, use_observed_lib_size=False))) == [spread]


def test_unused_keeps_the_other_settings_of_the_model(cells):
    # An observed size factor has the last word over use_observed_lib_size.
    cells.obs["size"] = np.asarray(cells.layers["counts"].sum(axis=1)).ravel()
    model = build(cells, setup={"size_factor_key": "size"}, dispersion="gene-cell", n_hidden=16)
    table = untrained_parts.unused(model).set_index("part")
    assert list(table.index) == ["l_encoder"]
    assert table.loc["l_encoder", "trains with"] == ""
    assert table.loc["l_encoder", "parameters"] == (N_GENES * 16 + 16) + 32 + 2 * 17


def test_nothing_is_unused_where_all_is_used(cells):
    model = build(cells, "PEAKVI")
    assert as_tuples(untrained_parts.unused(model)) == []
    text = descriptions.explain(model)
    assert "never run" not in text
    assert "reaches the loss" not in text


def test_hidden_layers_of_a_branch_that_never_runs_are_those_it_holds(model):
    # The second is of a shape that occurs nowhere in the model.
    model.module.near = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 2))
    model.module.far = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    table = untrained_parts.unused(model).set_index("part")
    assert table.loc["near", "hidden layers"] == 1
    assert pd.isna(table.loc["far", "hidden layers"])
    assert "far (hidden layers unknown, 58 parameters)" in descriptions.explain(model)


def test_one_model_is_built_to_explain_what_a_model_hands_on(cells, monkeypatch):
    built = []
    original = scvi.model.LinearSCVI.__init__

    @functools.wraps(original)
    def counted(self, *args, **kwargs):
        built.append(kwargs)
        original(self, *args, **kwargs)

    model = build(cells, "LinearSCVI")
    monkeypatch.setattr(scvi.model.LinearSCVI, "__init__", counted)
    table = untrained_parts.unused(model)
    assert list(table["trains with"]) == ["gene_likelihood='zinb'"]
    assert len(built) == 1


def test_settings_are_found_after_the_cells_were_registered_for_another_model(cells):
    model = build(cells)
    expected = as_tuples(untrained_parts.unused(model))
    columns = list(cells.obs)
    build(cells, "PEAKVI")
    assert as_tuples(untrained_parts.unused(model)) == expected
    assert list(cells.obs) == columns
