"""What the judges of lessons 05 and 06b say, with cells whose answer is known."""

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers.practice.exercises import lesson_05, lesson_06b


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


@pytest.mark.parametrize("narrowest", ["pyramidal CA1", "astrocytes"])
def test_largest_class_is_told_so_whether_or_not_its_clouds_are_the_narrowest(narrowest):
    # In the lesson two classes are nearly level, and the processor decides which is the narrowest.
    classes = ["pyramidal CA1"] * 5 + ["astrocytes"] * 3 + ["microglia"] * 2
    widths = {"pyramidal CA1": 0.15, "astrocytes": 0.15, "microglia": 0.3} | {narrowest: 0.14}
    counts = np.full((10, 4), 2.0)
    cells = ad.AnnData(
        counts,
        obs=pd.DataFrame({"cell_type": classes}, index=[f"cell {n}" for n in range(10)]),
        layers={"counts": counts},
    )
    variances = np.array([[widths[name] ** 2] * 10 for name in classes])
    model = SimpleNamespace(adata=cells, get_latent_representation=lambda **_: (None, variances))
    told = str(lesson_05.widest_clouds.look("pyramidal CA1", model=model))
    assert "most to learn from" in told
    assert ("narrowest of all" in told) == (narrowest == "pyramidal CA1")
