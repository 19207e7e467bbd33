"""What a latent dimension tells, against scvi-tools' own encoding."""

import copy
import math

import numpy as np
import pandas as pd
import pytest

from helpers.loss import latent_dimensions, terms_by_hand


def test_the_latent_dimensions_are_those_of_scvi_tools_own_encoding(trained):
    table = latent_dimensions.dimensions_in_use(trained)
    assert list(table.index) == list(range(1, 11))
    assert table["kl"].sum() == pytest.approx(terms_by_hand.by_hand(trained)["kl"].mean(), rel=1e-5)
    centres, variances = trained.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(table["spread of the centres"], centres.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(table["mean width"], np.sqrt(variances).mean(axis=0), rtol=1e-3)
    some = trained.validation_indices
    held_out = latent_dimensions.dimensions_in_use(trained, some)
    assert held_out["kl"].sum() == pytest.approx(
        terms_by_hand.by_hand(trained, some)["kl"].mean(), rel=1e-5
    )


def test_a_dimension_that_the_encoder_ignores_tells_nothing(trained):
    encoder = trained.module.z_encoder
    kept = copy.deepcopy(encoder.state_dict())
    before = latent_dimensions.dimensions_in_use(trained)
    try:
        for head, bias in (
            (encoder.mean_encoder, 0),
            (encoder.var_encoder, math.log(1 - encoder.var_eps)),
        ):
            head.weight.data[3] = 0
            head.bias.data[3] = bias
        after = latent_dimensions.dimensions_in_use(trained)
    finally:
        encoder.load_state_dict(kept)
    assert after.loc[4].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    pd.testing.assert_frame_equal(after.drop(index=4), before.drop(index=4))
    assert before.loc[4, "kl"] > 0
