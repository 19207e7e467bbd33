"""The file with problems has those that it says, and replaces no file of a learner."""

import numpy as np
import pytest

from helpers.own_data import messy_data, preflight, reading


@pytest.mark.filterwarnings("ignore:Variable names")
def preflight_cells(folder):
    return reading.read(messy_data.write(folder / "my_cells.h5ad"))


def test_the_spoiled_file_has_the_problems_that_it_says(tmp_path, whole_blood):
    adata = preflight_cells(tmp_path)
    assert adata.n_obs == whole_blood.n_obs + messy_data.EMPTY_DROPLETS
    counts = adata.layers["umi"]
    assert counts.dtype == np.uint16
    np.testing.assert_array_equal(counts[:400], whole_blood.X.toarray())
    assert counts[400:].sum() == 0
    assert adata.var_names[0] == adata.var_names[1]
    report = preflight.check(adata, "umi", "day", "type")
    wrong = report[report["verdict"] != preflight.OK]
    assert list(wrong.index) == ["empty cells", "storage", "gene names"]


def test_a_file_of_the_learner_is_not_overwritten_by_the_spoiled_one(pbmc, tmp_path):
    mine = tmp_path / "mine.h5ad"
    pbmc.write_h5ad(mine)
    before = mine.read_bytes()
    with pytest.raises(FileExistsError, match=r"left as it is[^$]*What to do: give another name"):
        messy_data.write(mine)
    assert mine.read_bytes() == before
    spoiled = messy_data.write(tmp_path / "spoiled.h5ad")
    assert messy_data.write(spoiled) == spoiled
