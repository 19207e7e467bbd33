"""Positions of cells, and maps that are made of them once."""

import pytest

from helpers.genes import log_normalisation
from helpers.latent import embeddings


@pytest.fixture(scope="session")
def positions(whole_pbmc):
    return log_normalisation.principal_components(whole_pbmc[::3], 6).astype(float)


@pytest.fixture(scope="session")
def classes(whole_pbmc):
    return whole_pbmc[::3].obs["cell_type"]


@pytest.fixture(scope="session")
def maps(positions):
    return {
        "PCA": embeddings.pca(positions),
        "first two": positions[:, :2],
        "t-SNE": embeddings.tsne(positions),
    }
