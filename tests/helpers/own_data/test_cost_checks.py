"""What the report says of time and memory is what was measured."""

import pytest

from helpers import environment, training
from helpers.own_data import cost_checks, preflight
from helpers.scale import scaling


@pytest.mark.parametrize("n_cells", [50, 3005, 400_000])
def test_costs_are_those_of_the_measured_lines(n_cells):
    table = cost_checks.expected(n_cells)
    for preset in scaling.PRESETS:
        assert table.loc[preset, "epochs"] == training.run_length(n_cells, preset)["epochs"]
    assert table.loc["default", "seconds"] > table.loc["class", "seconds"] > 0


def test_too_little_memory_is_to_repair(pbmc, monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda: 10_000_000)
    row = preflight.check(pbmc).loc["memory"]
    assert row["verdict"] == preflight.REPAIR
    assert "0.0 GB are free" in row["found"]
    assert "Close other notebooks" in row["what to do"]
