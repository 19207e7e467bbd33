"""What training takes is measured on the file that was given, and summed up as it was measured."""

import pandas as pd
import pytest

from helpers import results
from helpers.scale import out_of_core, out_of_core_costs
from tests.helpers.scale.small_files import cells


@pytest.fixture
def file(tmp_path):
    pieces = [cells(start=0, seed=1), cells(start=300, seed=2), cells(start=600, seed=3)]
    return out_of_core.write(tmp_path / "cells.h5ad", iter(pieces))


def test_a_measured_run_is_of_this_file(file):
    table = out_of_core_costs.compare(file)
    assert table["how"].tolist() == ["in memory", "from the file"]
    assert (table["cells"] == 900).all()
    assert (table["CPU seconds"] > 0).all()
    assert table["counts MiB"].to_numpy() == pytest.approx(
        out_of_core.bytes_in_memory(file) / 2**20
    )
    assert (table["peak MiB"] > 300).all()
    # Beside this process, in another one: the same history.
    here = out_of_core.train(out_of_core.load_counts(file))
    assert table["negative ELBO"].iloc[0] == pytest.approx(
        float(here.history["elbo_validation"].iloc[-1, 0]), rel=1e-5
    )


def test_a_run_that_fails_says_what_it_said(file):
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(RuntimeError, match=r"(?s)Training from the file failed.*cannot be read"):
        out_of_core_costs.measure(file, "from the file")
    with pytest.raises(ValueError, match="Ways: in memory, from the file"):
        out_of_core_costs.measure(file, "in the cloud")


def test_growth_is_the_slope():
    table = pd.DataFrame(
        {
            "how": ["a"] * 3 + ["b"] * 3,
            "counts MiB": [1, 2, 4] * 2,
            "peak MiB": [12, 14, 18, 5, 5, 5],
        }
    )
    assert out_of_core_costs.growth(table).to_dict() == pytest.approx({"a": 2, "b": 0})
    with pytest.raises(ValueError, match=r"single number of cells b.*two sizes"):
        out_of_core_costs.growth(table.drop(index=[3, 4]))


def test_figure_says_what_is_in_the_table():
    table = results.load("out_of_core")
    alt = out_of_core_costs.plot(table).alt
    ends = table[table["cells"] == table["cells"].max()]
    for number in ends["peak MiB"]:
        assert f"{number:,.0f} MiB" in alt
