"""Cells that are written to small files in tests."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp


def cells(n_cells=300, n_genes=20, start=0, seed=0):
    """Make cells with random counts, each with a name of its own."""
    matrix = np.random.default_rng(seed).poisson(1.0, (n_cells, n_genes)) + 0.0
    names = [f"cell {start + number}" for number in range(n_cells)]
    obs = pd.DataFrame({"batch": pd.Categorical(["a", "b"] * (n_cells // 2))}, index=names)
    var = pd.DataFrame(index=[f"gene {number}" for number in range(n_genes)])
    return ad.AnnData(sp.csr_matrix(matrix, dtype=np.float32), obs=obs, var=var)
