"""Few cells, and a model of them."""

import pytest

from helpers import data
from tests.helpers.layers.expected_layers import LATENT, N_GENES, WIDTH
from tests.helpers.small_models import build, few


@pytest.fixture(scope="module")
def small_cortex(whole_cortex):
    return few(whole_cortex, N_GENES)


@pytest.fixture
def cells(small_cortex):
    return small_cortex.copy()


@pytest.fixture(scope="module")
def small_citeseq():
    adata = few(data.load_citeseq(), N_GENES)
    seen = (
        adata.obsm["protein_expression"].groupby(adata.obs["batch"], observed=True).sum() > 0
    ).all()
    proteins = adata.obsm["protein_expression"].loc[:, seen.to_numpy()]
    adata.obsm["protein_expression"] = proteins.iloc[:, :8]
    return adata


@pytest.fixture
def model(cells):
    return build(cells, n_hidden=WIDTH, n_latent=LATENT)
