"""What was measured holds what the reader promises, and is measured as it says."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp

from studies import cortex_text_runs
from tests.helpers.data import synthetic_cortex

# What the reader may take above the import.
MOST_MIB = 200


@pytest.fixture(scope="module")
def kept():
    return cortex_text_runs.load()


def test_each_way_was_measured_in_each_round(kept):
    found = kept.groupby("way", sort=False)["round"].apply(tuple).to_dict()
    assert found == dict.fromkeys(cortex_text_runs.WAYS, cortex_text_runs.ROUNDS)


def test_all_ways_read_the_same_counts(kept):
    assert kept["counts"].nunique() == 1


def test_the_reader_keeps_its_promises(kept):
    """Faster than scvi-tools in every round, and never above its share of memory."""
    reader, scvi = (
        kept[kept["way"] == way].set_index("round")
        for way in (cortex_text_runs.READER, cortex_text_runs.SCVI)
    )
    assert (reader["peak MiB"] < MOST_MIB).all()
    assert (reader["CPU seconds"] < scvi["CPU seconds"]).all()
    assert (reader["wall seconds"] < scvi["wall seconds"]).all()


def test_the_kept_runs_say_what_they_are_of():
    assert "made-up" in cortex_text_runs.origin()
    assert "make cortex-text-runs" in cortex_text_runs.origin()


def test_a_fingerprint_tells_other_counts_and_not_other_forms(pbmc):
    first = cortex_text_runs.fingerprint(pbmc)
    for form in (pbmc.X.tocsc(), pbmc.X.toarray(), pbmc.X.toarray().astype(int)):
        pbmc.X = form
        assert cortex_text_runs.fingerprint(pbmc) == first
    other = sp.lil_matrix(pbmc.X)
    other[3, 5] += 1
    pbmc.X = other.tocsr()
    assert cortex_text_runs.fingerprint(pbmc) != first
    pbmc.X = sp.csr_matrix(pbmc.layers["counts"])
    pbmc.X.data[0] += 1
    assert cortex_text_runs.fingerprint(pbmc) != first


@pytest.mark.skipif(sys.platform != "linux", reason="others do not keep the peak")
def test_a_small_text_is_measured_in_every_way(tmp_path):
    synthetic_cortex.write(tmp_path / "expression.bin", 50, synthetic_cortex.GENES)
    rows = [cortex_text_runs.run(1, way, tmp_path).iloc[0] for way in cortex_text_runs.WAYS]
    assert len({row["counts"] for row in rows}) == 1
    for row in rows:
        assert row["import MiB"] > 50
        assert 0 < row["peak MiB"] < 100
        assert row["wall seconds"] > 0
    assert np.argmax([row["import MiB"] for row in rows]) == 1  # scvi-tools imports most


def test_later_calls_need_a_first_one(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(
        cortex_text_runs, "measure", lambda way, folder: measured.append(way) or {"way": way}
    )
    cortex_text_runs.run(1, cortex_text_runs.LATER, tmp_path)
    assert measured == [cortex_text_runs.FIRST, cortex_text_runs.LATER]
    (tmp_path / "cortex_all.h5ad").touch()
    cortex_text_runs.run(1, cortex_text_runs.FIRST, tmp_path)
    assert not (tmp_path / "cortex_all.h5ad").exists()
