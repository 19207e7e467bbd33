"""The cells of a minibatch are those that a training step would get."""

import numpy as np
import pytest

from helpers.training import minibatches
from tests.helpers.small_models import N_CELLS, build, few

N_GENES = 60


@pytest.fixture
def cells(whole_cortex):
    return few(whole_cortex, N_GENES)


def test_a_minibatch_is_cells_at_even_steps_as_in_training(cells):
    model = build(cells, setup={"batch_key": "chip"})
    batch = minibatches.minibatch(model, n_cells=32)
    rows = np.linspace(0, N_CELLS - 1, 32).round().astype(int)
    assert np.array_equal(batch["X"].numpy(), cells.layers["counts"][rows].toarray())
    assert batch["batch"].ravel().tolist() == cells.obs["chip"].cat.codes.iloc[rows].tolist()
    assert all(tensor is not None and len(tensor) == 32 for tensor in batch.values())


def test_a_minibatch_has_all_cells_if_there_are_few(cells):
    assert len(minibatches.minibatch(build(cells), n_cells=1000)["X"]) == N_CELLS
