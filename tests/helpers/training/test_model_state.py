"""A model is asked without being changed."""

import numpy as np
import pytest
import torch

from helpers import training
from tests.helpers.random_states import random_states
from tests.helpers.small_models import build, few


def test_a_model_is_asked_with_a_seed_and_without_dropout_and_then_left_as_it_was(cortex):
    model = build(few(cortex, 20), n_hidden=4)
    model.module.train()
    model.module.decoder.eval()
    modes = [part.training for part in model.module.modules()]
    drawn = []
    for seed in (5, 5, 6):
        torch.rand(3)
        before = random_states()
        with training.evaluating(model, seed):
            assert not any(part.training for part in model.module.modules())
            drawn.append((np.random.random(), float(torch.rand(1))))  # noqa: NPY002
        assert random_states() == before
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]
    assert drawn[0][1] != drawn[2][1]
    with pytest.raises(RuntimeError), training.evaluating(model):
        raise RuntimeError
    assert [part.training for part in model.module.modules()] == modes
