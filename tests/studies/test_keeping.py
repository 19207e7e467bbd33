"""Runs are made once, go on after a stop, and say where they come from."""

import numpy as np
import pandas as pd
import pytest

from helpers import results
from studies import keeping

KEYS = {"method": ["a", "b"], "seed": (0, 1, 2)}
WANTED = [(method, seed) for method in "ab" for seed in (0, 1, 2)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "DATA", tmp_path / "data")
    for module in (keeping, results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def runs(done, stop_at=-1):
    def run(method, seed):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        done.append((method, seed))
        return pd.DataFrame([{"method": method, "seed": seed, "value": len(done) / 3}])

    return run


def test_interrupted_work_goes_on_where_it_was(capsys):
    done = []
    with pytest.raises(KeyboardInterrupt):
        keeping.make("kept", KEYS, runs(done, stop_at=4))
    assert done == WANTED[:4]
    table = keeping.make("kept", KEYS, runs(done))
    assert done == WANTED
    assert list(zip(table["method"], table["seed"], strict=True)) == WANTED
    np.testing.assert_allclose(table["value"], np.arange(1, 7) / 3)
    assert "method b, seed 2 ..." in capsys.readouterr().out
    keeping.make("kept", KEYS, runs(done))
    assert done == WANTED, "a finished run was made again"


def test_what_is_written_can_be_read_and_says_where_it_comes_from():
    table = keeping.make("kept", KEYS, runs([]))
    keeping.write("kept", table, "two methods, seeds 0, 1, 2", ("numpy", "pandas"))
    again = results.load("kept")
    pd.testing.assert_frame_equal(again, table, atol=1e-4)
    assert list(results.load("kept", index_col="method").columns) == ["seed", "value"]
    assert results.origin("kept") == (
        f"two methods, seeds 0, 1, 2, numpy {np.__version__}, pandas {pd.__version__}. "
        "Written by `make study ARGS=kept`; do not edit."
    )
    # The next call makes all of them anew.
    done = []
    keeping.make("kept", KEYS, runs(done))
    assert done == WANTED


def test_nothing_is_written_before_all_is_done(folder):
    with pytest.raises(KeyboardInterrupt):
        keeping.make("kept", KEYS, runs([], stop_at=5))
    assert not (folder / "kept.csv").exists()


def test_what_is_discarded_is_made_anew():
    keeping.make("kept", KEYS, runs([]))
    keeping.discard("kept")
    keeping.discard("kept")
    done = []
    keeping.make("kept", KEYS, runs(done))
    assert done == WANTED
