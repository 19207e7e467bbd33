"""A model that is trained once, and its cells."""

import pytest

from tests.helpers.expression.shared import LONGER
from tests.helpers.small_models import build, few


@pytest.fixture(scope="module")
def kept(whole_cortex):
    """Train once; a test gets a copy of the cells and the same weights."""
    model = build(few(whole_cortex, 40), n_latent=3, n_hidden=16)
    model.train(**LONGER)
    return model.module.state_dict()


@pytest.fixture
def model(whole_cortex, kept):
    model = build(few(whole_cortex, 40), n_latent=3, n_hidden=16)
    model.module.load_state_dict(kept)
    model.module.eval()
    model.is_trained = True
    return model


@pytest.fixture
def cells(whole_cortex):
    return few(whole_cortex, 40)
