"""What torchinfo lists, beside what training uses."""

import re

import pytest
import scvi
import torch
import torchinfo

from helpers import data
from helpers.layers import architecture, module_listings


@pytest.fixture
def model(cortex):
    few = cortex[::30, :100].copy()
    scvi.model.SCVI.setup_anndata(few, layer="counts")
    return scvi.model.SCVI(few)


def test_default_column_is_what_torchinfo_prints(model):
    printed = re.findall(r"\w+: \d-\d+", str(torchinfo.summary(model.module, verbose=0)))
    listed = [label for label in module_listings.compare(model)["default"] if label]
    assert listed
    assert set(listed) <= set(printed)
    # What is printed beyond the leaves are the boxes around them.
    inner = {type(part).__name__ for part in model.module.modules() if any(part.children())}
    assert {label.split(":")[0] for label in set(printed) - set(listed)} <= inner


def test_every_leaf_is_in_the_deep_dump_and_vanishes_with_cells_only_if_idle(model):
    listed = module_listings.compare(model)
    table = architecture.module_table(model).set_index("path").loc[listed.index]
    assert (listed["all levels"] != "").all()
    assert ((listed["with cells"] == "") == (table["state"] == "idle")).all()
    assert (listed["in training"] == table["state"]).all()


def test_linear_modules_are_counted_in_each_dump(model):
    counts = module_listings.count_linear(module_listings.compare(model))
    built = sum(type(part) is torch.nn.Linear for part in model.module.modules())
    printed = str(torchinfo.summary(model.module, verbose=0))
    assert counts.to_dict() == {
        "default": printed.count("Linear: "),
        "all levels": built,
        "with cells": built - 4,  # three in the library encoder, and the head of the dispersion
    }


def test_ignored_modules_of_totalvi_stay_listed_with_cells():
    blood = data.load_citeseq()[:, :100].copy()
    scvi.model.TOTALVI.setup_anndata(blood, "protein_expression", batch_key="batch", layer="counts")
    listed = module_listings.compare(scvi.model.TOTALVI(blood))
    ignored = listed[listed["in training"] == "ignored"]
    assert len(ignored)
    assert (ignored["with cells"] != "").all()


def test_model_and_random_numbers_stay_as_they_were(model):
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    state = torch.get_rng_state()
    module_listings.compare(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(before[name], value) for name, value in model.module.state_dict().items()
    )
