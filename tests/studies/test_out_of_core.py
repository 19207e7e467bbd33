"""The kept runs show what lesson 07b says of training from a file."""

import numpy as np
import pandas as pd

from helpers import results
from helpers.scale import out_of_core_costs
from studies import keeping, out_of_core


def test_kept_runs_show_flat_memory_and_an_equal_model():
    table = results.load("out_of_core")
    assert table["copies"].unique().tolist() == list(out_of_core.COPIES)
    assert (table["cells"] == 3005 * table["copies"]).all()
    by_way = table.pivot(index="cells", columns="how", values="peak MiB")
    assert by_way["from the file"].max() - by_way["from the file"].min() < 100
    assert by_way["in memory"].is_monotonic_increasing
    growth = out_of_core_costs.growth(table)
    assert growth["in memory"] > 0.9, "the counts themselves are not in memory?"
    assert growth["from the file"] < 0.15
    seconds = table.pivot(index="cells", columns="how", values="CPU seconds")
    # The lesson says: the file takes longer.
    assert (seconds["from the file"] > seconds["in memory"]).all()
    loss = table.pivot(index="cells", columns="how", values="negative ELBO")
    np.testing.assert_allclose(loss["in memory"], loss["from the file"], rtol=0.005)


def test_runs_are_kept_with_their_origin(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "DATA", tmp_path / "data")
    monkeypatch.setattr(keeping, "RESULTS", tmp_path)
    monkeypatch.setattr(out_of_core, "COPIES", (1, 2))
    monkeypatch.setattr(
        out_of_core,
        "run",
        lambda copies: pd.DataFrame({"copies": [copies], "cells": [3005 * copies]}),
    )
    before = results.origin("out_of_core")
    assert out_of_core.main() == 0
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert results.load("out_of_core")["cells"].tolist() == [3005, 6010]
    for origin in (before, results.origin("out_of_core")):
        assert origin.startswith("One epoch of SCVI")
        assert "make study ARGS=out_of_core" in origin
