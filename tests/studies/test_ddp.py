"""The kept runs are read as they were made, and show what several processes do."""

import pandas as pd
import pytest

from helpers import results
from helpers.scale import ddp
from studies import ddp as study
from studies import keeping


@pytest.fixture
def kept():
    return ddp.load()


def test_kept_runs_are_those_that_are_named(kept):
    assert list(kept) == list(study.RUNS)
    for name, (processes, batch_size) in study.RUNS.items():
        table = kept[name]
        assert list(table.index) == list(range(processes))
        for cells, steps in zip(table["cells"], table["steps an epoch"], strict=True):
            assert steps == -(-len(cells) // batch_size)


def test_each_cell_is_seen_once_whatever_the_processes(kept):
    seen = [sorted(cell for cells in table["cells"] for cell in cells) for table in kept.values()]
    assert len(seen[0]) == len(set(seen[0])) == 630
    assert seen[0] == seen[1] == seen[2]


def test_fewer_steps_learn_less_and_as_many_learn_as_much(kept):
    one, two, large = (table["training loss"].iloc[0] for table in kept.values())
    assert two == pytest.approx(one, rel=0.01)
    assert large > 1.02 * one


def test_a_run_is_read_as_it_was_made(tmp_path, monkeypatch):
    made = pd.DataFrame(
        {
            "process": [0, 1],
            "steps an epoch": [1, 1],
            "cells": [(3, 1), (2, 0)],
            # Both would be read as numbers.
            "weights": ["00000012", "1e234567"],
            "running averages": ["0", "00"],
            "training loss": [900.5, 900.5],
            "held-out loss": [901.0, 902.0],
            "seconds": [1.0, 1.0],
        }
    ).set_index("process")
    asked = []

    def run(processes, batch_size):
        asked.append((processes, batch_size))
        return made

    monkeypatch.setattr(ddp, "run", run)
    monkeypatch.setattr(keeping, "DATA", tmp_path / "data")
    for module in (keeping, results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    assert study.main() == 0
    assert asked == list(study.RUNS.values())
    for table in ddp.load().values():
        pd.testing.assert_frame_equal(table, made.drop(columns="seconds"))
    assert "make study ARGS=ddp" in results.origin("ddp")
