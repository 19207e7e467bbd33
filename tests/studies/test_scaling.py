"""Each size is measured in a process of its own, on cells that have only their size."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import data, processes, results, training
from helpers.scale import scaling as estimates
from studies import keeping, scaling

# --- the cells ------------------------------------------------------------------------------------


def test_synthetic_cells_have_the_size_that_they_say():
    adata = scaling.synthetic_cells(500)
    assert adata.shape == (500, 2000)
    for matrix in (adata.X, adata.layers["counts"]):
        assert sp.issparse(matrix) and matrix.format == "csr" and matrix.dtype == np.float32
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
        assert matrix.has_canonical_format
        assert (np.diff(matrix.indptr) == 200).all()
        assert set(np.unique(matrix.data)) == {1, 2, 3}
    assert matrix.nnz == 0.1 * 500 * 2000
    assert np.shares_memory(adata.X.data, adata.layers["counts"].data)
    size = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert estimates._sparse_mib(500) * 2**20 == size
    assert len(np.unique(matrix.indices)) == 2000
    again, other = scaling.synthetic_cells(500).X, scaling.synthetic_cells(500, seed=1).X
    assert (again != matrix).nnz == 0 < (other != matrix).nnz
    data.check_counts(adata, layer="counts")
    with pytest.raises(ValueError, match="at least one cell, not 0"):
        scaling.synthetic_cells(0)


def test_making_the_cells_takes_little_more_than_they_do():
    """Else the peak of the process would not be that of the training."""
    tracemalloc.start()
    try:
        adata = scaling.synthetic_cells(20_000)
        used, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    matrix = estimates._sparse_mib(adata.n_obs) * 2**20
    assert matrix < used < peak < 1.25 * matrix


# --- measuring ------------------------------------------------------------------------------------


def test_a_size_is_measured_in_a_process_of_its_own():
    row = scaling.run(2, 300, "class").iloc[0]
    assert [row["round"], row["cells"], row["preset"]] == [2, 300, "class"]
    assert row["steps an epoch"] == 5
    assert (row[["set-up seconds", "epoch seconds", "latent seconds"]] > 0).all()
    assert row["import MiB"] > 100
    assert 10 < row["peak MiB"] < 1000


def test_training_is_that_of_the_preset(monkeypatch):
    monkeypatch.setattr(scaling, "MINIMUM_STEPS", 1)
    for preset, steps in (("default", 2), ("class", 3)):
        row = scaling.measure(150, preset)
        assert row["steps an epoch"] == steps
        assert row["preset"] == preset
        assert row["cells"] == 150
        # Seconds of a few minibatches, not of the whole run.
        assert 0 < row["epoch seconds"] < 5
    with pytest.raises(ValueError, match="no preset 'quick'"):
        scaling.measure(150, "quick")


def test_the_peak_is_above_the_import(monkeypatch):
    seen = {}

    def watch(command, cores, **how):
        seen.update(command=command, cores=cores)
        return {"output": 'a notice\n{"cells": 7, "import MiB": 640.5}\n', "peak MiB": 700}

    monkeypatch.setattr(processes, "watch", watch)
    row = scaling.run(1, 7, "default").iloc[0]
    assert row.to_dict() == {"round": 1, "cells": 7, "import MiB": 640.5, "peak MiB": 59.5}
    assert seen["cores"] == 1
    assert seen["command"][-1].endswith("print_measured(7, 'default')")


def test_every_round_size_and_preset_is_measured(monkeypatch, tmp_path):
    done = []

    def run(number, n_cells, preset):
        done.append((number, n_cells, preset))
        row = {"round": number, "cells": n_cells, "preset": preset, "steps an epoch": 3}
        return pd.DataFrame([row | dict.fromkeys(estimates.QUANTITIES, number**2 / 3)])

    monkeypatch.setattr(scaling, "run", run)
    monkeypatch.setattr(keeping, "DATA", tmp_path / "data")
    for module in (keeping, results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    assert scaling.main() == 0
    assert done == [(r, n, p) for r in (1, 2, 3) for n in scaling.SIZES for p in estimates.PRESETS]
    # The median of 1/3, 4/3 and 9/3 is not their mean.
    np.testing.assert_allclose(estimates.load("class")["peak MiB"], 4 / 3, atol=1e-4)


# --- what is kept -------------------------------------------------------------------------------


def test_every_run_is_kept_and_of_the_presets_as_they_are():
    kept = results.load("scaling")
    keys = list(zip(kept["round"], kept["cells"], kept["preset"], strict=True))
    assert keys == [(r, n, p) for r in (1, 2, 3) for n in scaling.SIZES for p in estimates.PRESETS]
    for _, row in kept.iterrows():
        length = training.run_length(row["cells"], row["preset"])
        assert row["steps an epoch"] == length["steps"] / length["epochs"]
    columns = ["steps an epoch", *estimates.QUANTITIES[:3], "import MiB", *estimates.QUANTITIES[3:]]
    assert list(kept.columns) == ["round", "cells", "preset", *columns]
    assert (kept[columns] > 0).all(axis=None)


def test_origin_says_how_they_were_made():
    for part in (
        "300 to 100,000 synthetic cells (random counts)",
        f"{estimates.GENES:,} genes, 10% not 0",
        "one core",
        "3 rounds",
        "scvi-tools 1.",
        "make study ARGS=scaling",
    ):
        assert part in results.origin("scaling")
