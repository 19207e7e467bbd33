"""The curves are the history of the model."""

import pandas as pd
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


def test_curves_have_a_value_where_the_held_out_cells_were_looked_at(adata):
    model = new_model(adata)
    quiet = {"enable_progress_bar": False, "max_epochs": 4}
    training.train(model, check_val_every_n_epoch=3, **quiet)
    looks = model.history["elbo_validation"].iloc[:, 0].tolist()
    table = training.curves(model)
    assert list(table.index) == [1, 2, 3, 4]
    assert table["held-out cells"].dropna().to_dict() == {3: pytest.approx(looks[0])}
    assert "4 epochs" in training.plot_curves(table).alt
    # Trained further by scvi-tools, which then numbers its looks one after the other.
    model.train(check_val_every_n_epoch=2, **quiet)
    table = training.curves(model)
    assert list(table.index) == list(range(1, 9))
    looks = model.history["elbo_validation"].iloc[:, 0].tolist()
    assert table["held-out cells"].dropna().to_dict() == pytest.approx(
        dict(zip([3, 6, 8], looks, strict=True))
    )


def test_epochs_without_a_look_have_no_value(adata):
    model = new_model(adata)
    training.train(model, **SHORT)
    before = training.curves(model)
    model.train(**SHORT)
    table = training.curves(model)
    assert len(table) == 4
    pd.testing.assert_frame_equal(table.iloc[:2], before)
    assert table["held-out cells"].iloc[2:].isna().all()


def test_epochs_that_nobody_knows_are_not_guessed(adata, tmp_path):
    model = new_model(adata)
    for _ in range(2):
        model.train(check_val_every_n_epoch=2, max_epochs=3, enable_progress_bar=False)
    assert training.curves(model)["held-out cells"].dropna().index.tolist() == [2, 5]
    del model.trainer
    with pytest.raises(ValueError, match="trained several times"):
        training.curves(model)


def test_a_model_without_elbo_has_no_curve(adata):
    model = new_model(adata)
    model.is_trained_, model.history_ = True, {"train_loss_epoch": pd.DataFrame({"a": [1.0]})}
    with pytest.raises(ValueError, match=r"reports no ELBO.*model\.history"):
        training.curves(model)
