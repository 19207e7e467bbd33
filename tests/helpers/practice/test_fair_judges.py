"""What the judges of lesson 06b say, with cells whose answer is known."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from helpers.practice.exercises import lesson_06b


@pytest.fixture
def cells():
    """200 cells on a line.

    The share of gene "up" grows along it, and the library size has nothing to do with it.
    """
    random = np.random.default_rng(0)
    position, library = np.linspace(0, 1, 200), random.integers(2_000, 20_000, 200)
    up = np.round(library * (0.01 + 0.1 * position))
    counts = sp.csr_matrix(np.column_stack([up, library - up]), dtype=np.float32)
    cells = ad.AnnData(counts, layers={"counts": counts.copy()})
    cells.obsm["position"] = position[:, None]
    cells.obsm["library"] = np.log(library)[:, None]
    return cells


def test_neighbours_tell_the_share_of_a_gene_only_where_they_lie_by_it(cells):
    spaces = {name: cells.obsm[name] for name in ("position", "library")}
    told = lesson_06b.judge(cells, cells.layers["counts"][:, [0]].toarray(), spaces)
    assert told["position"] > 0.95
    assert abs(told["library"]) < 0.2
    assert abs(told["random positions"]) < 0.2
