"""Whether two trained models are the same, bit by bit, in all that is read from them."""

import numpy as np
import pandas as pd
import torch

EXACT = {"check_exact": True, "check_index_type": "exact", "check_column_type": "exact"}


def assert_same(one, other):
    weights, others = one.module.state_dict(), other.module.state_dict()
    assert list(weights) == list(others)
    for name in weights:
        assert torch.equal(weights[name], others[name]), name
    assert list(one.history) == list(other.history)
    for name in one.history:
        pd.testing.assert_frame_equal(one.history[name], other.history[name], **EXACT)
    pd.testing.assert_frame_equal(one.loss_record_, other.loss_record_, **EXACT)
    for name in ("train_indices", "validation_indices", "test_indices"):
        cells, others = getattr(one, name), getattr(other, name)
        assert cells.dtype == others.dtype
        assert np.array_equal(cells, others), name
    assert one.is_trained is other.is_trained is True
    assert not any(part.training for part in [*one.module.modules(), *other.module.modules()])
    latents = [model.get_latent_representation() for model in (one, other)]
    assert np.array_equal(*latents)
