"""Kept runs are made once, go on after a stop, and say where they come from."""

import numpy as np
import pandas as pd
import pytest

from helpers import results

KEYS = {"method": ["a", "b"], "seed": (0, 1, 2)}
WANTED = [(method, seed) for method in "ab" for seed in (0, 1, 2)]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "DATA", tmp_path / "data")
    return tmp_path / "kept.csv"


def runs(done, stop_at=-1):
    def run(method, seed):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        done.append((method, seed))
        return pd.DataFrame([{"method": method, "seed": seed, "value": len(done) / 3}])

    return run


def test_interrupted_work_goes_on_where_it_was(file, capsys):
    done = []
    with pytest.raises(KeyboardInterrupt):
        results.make(file, KEYS, runs(done, stop_at=4))
    assert done == WANTED[:4]
    table = results.make(file, KEYS, runs(done))
    assert done == WANTED
    assert list(zip(table["method"], table["seed"], strict=True)) == WANTED
    np.testing.assert_allclose(table["value"], np.arange(1, 7) / 3)
    assert "method b, seed 2 ..." in capsys.readouterr().out
    results.make(file, KEYS, runs(done))
    assert done == WANTED, "a finished run was made again"


def test_what_is_written_can_be_read_and_says_where_it_comes_from(file):
    table = results.make(file, KEYS, runs([]))
    results.write(file, table, "two methods, seeds 0, 1, 2", ("numpy", "pandas"), "make it")
    again = results.load(file)
    pd.testing.assert_frame_equal(again, table, atol=1e-4)
    assert list(results.load(file, index_col="method").columns) == ["seed", "value"]
    assert results.origin(file) == (
        f"two methods, seeds 0, 1, 2, numpy {np.__version__}, pandas {pd.__version__}. "
        "Written by make it; do not edit."
    )
    # The next call makes all of them anew.
    done = []
    results.make(file, KEYS, runs(done))
    assert done == WANTED


def test_nothing_is_written_before_all_is_done(file):
    with pytest.raises(KeyboardInterrupt):
        results.make(file, KEYS, runs([], stop_at=5))
    assert not file.exists()


def test_the_spread_is_mean_lowest_and_highest():
    table = pd.DataFrame(
        {
            "method": ["b", "b", "b", "a", "a", "a"],
            # The mean of the first three is not the one in the middle.
            "value": [0.1, 0.2, 0.9, 1, 1, 1],
            "of b": [1.0, 2.0, 3.0, np.nan, np.nan, np.nan],
        }
    )
    text = results.spread(table, ["value"])
    assert list(text.index) == ["b", "a"]
    assert list(text["value"]) == ["0.40 (0.10 to 0.90)", "1.00 (1.00 to 1.00)"]
    assert list(results.spread(table, ["of b"]).index) == ["b"]
