"""The curves are the history of the model."""

import pytest

from helpers import figures, training
from tests.helpers.small_models import SHORT, new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


def test_curves_are_the_history(adata):
    model = new_model(adata)
    training.train(model, **SHORT)
    table = training.curves(model)
    assert list(table.index) == [1, 2]
    assert table["held-out cells"].iloc[-1] == pytest.approx(
        float(model.history["elbo_validation"].iloc[-1, 0])
    )
    # Both are negative ELBOs per cell: recomputed by scvi-tools on the same held-out cells, they
    # agree but for the sampling.
    recomputed = -float(model.get_elbo(indices=model.validation_indices))
    assert abs(recomputed) == pytest.approx(table["held-out cells"].iloc[-1], rel=0.02)
    assert figures.about(table["held-out cells"].iloc[-1]) in training.plot_curves(table).alt


def test_no_validation_curve_is_explained(adata):
    model = new_model(adata)
    with pytest.raises(ValueError, match="was not trained"):
        training.curves(model)
    model.train(**SHORT)
    with pytest.raises(ValueError, match="check_val_every_n_epoch=1"):
        training.curves(model)
