"""Real cells, loaded once, and copies that a test may change."""

import pytest

from helpers import data, environment


@pytest.fixture(autouse=True)
def prepared():
    """Every test starts as a lesson does: same seed, one thread."""
    environment.prepare(seed=0)


@pytest.fixture(scope="session")
def whole_cortex():
    return data.load_cortex()


@pytest.fixture
def cortex(whole_cortex):
    return whole_cortex.copy()


@pytest.fixture(scope="session")
def whole_pbmc():
    return data.load_pbmc()


@pytest.fixture
def pbmc(whole_pbmc):
    return whole_pbmc.copy()


@pytest.fixture(scope="session")
def whole_blood():
    return data.load_citeseq()


@pytest.fixture
def blood(whole_blood):
    return whole_blood.copy()
