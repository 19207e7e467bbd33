"""What the report says of batches and labels is so."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from helpers.own_data import batch_checks, preflight


def test_batches_are_counted(blood):
    found = preflight.check(blood, batch_key="batch").loc["batches", "found"]
    assert "2 batches: 10k 200, 5k 200 cells" in found


def test_labels_are_counted_in_batches(pbmc):
    """Against a count by hand."""
    pbmc.obs["day"] = np.where(
        pbmc.obs["cell_type"] == "Dendritic", "a", np.where(np.arange(700) % 2, "a", "b")
    )
    table = batch_checks.shared_labels(pbmc, "day", "cell_type")
    for label, row in table.iterrows():
        cells = pbmc.obs[pbmc.obs["cell_type"] == label]
        assert row["cells"] == len(cells)
        assert row["batches"] == len(set(cells["day"]))
    report = preflight.check(pbmc, batch_key="day", label_key="cell_type").loc["batch and label"]
    alone = table[table["batches"] == 1]
    assert list(alone.index) == ["Dendritic"]
    assert "1 of 10 values" in report["found"]
    assert f"{alone['cells'].sum() / 700:.0%} of the cells" in report["found"]
    assert report["verdict"] == preflight.DECIDE


def test_cells_without_a_label_are_left_out(pbmc):
    pbmc.obs["kind"] = pd.Series(["x", None] * 350, index=pbmc.obs_names)
    pbmc.obs["day"] = np.where(np.arange(700) % 4 < 2, "a", "b")
    table = batch_checks.shared_labels(pbmc, "day", "kind")
    assert table.loc["x", "cells"] == 350
    assert len(table) == 1


def two_batches(sizes):
    """Cells by batch and label: {(batch, label): cells}."""
    rows = [key for key, n in sizes.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["batch", "label"]).set_index(
        pd.RangeIndex(len(rows)).astype(str)
    )
    return ad.AnnData(np.ones((len(rows), 3), dtype=np.float32), obs=obs)


@pytest.mark.parametrize(
    ("sizes", "alone"),
    [
        ({("a", "x"): 99, ("b", "x"): 1, ("a", "y"): 50, ("b", "y"): 150}, ["x"]),
        ({("a", "x"): 90, ("b", "x"): 10, ("a", "y"): 50, ("b", "y"): 150}, []),
        # Batch b is so small that few cells of any label can be in it.
        ({("a", "x"): 97, ("b", "x"): 3, ("a", "y"): 970, ("b", "y"): 30}, []),
        ({("a", "x"): 100, ("a", "y"): 500, ("b", "y"): 10}, ["x"]),
    ],
    ids=["a stray cell", "a tenth", "a small batch", "none in a small batch"],
)
def test_a_label_that_is_nearly_in_one_batch_counts_as_such(sizes, alone):
    table = batch_checks.shared_labels(two_batches(sizes), "batch", "label")
    assert list(table.index[table["in one batch"]]) == alone


def test_batches_of_any_kind_are_compared_with_labels(pbmc):
    """Yes and no, numbers, and words and numbers together, which cannot be sorted."""
    for values in ([True, False], [0, 1], [1, "a"], [2.5, None]):
        pbmc.obs["day"] = pd.Series(values * 350, index=pbmc.obs_names, dtype=object)
        table = batch_checks.shared_labels(pbmc, "day", "cell_type")
        known = pbmc.obs["day"].notna()
        assert table["cells"].sum() == known.sum()
        assert set(table["batches"]) == {len([each for each in values if each is not None])}
