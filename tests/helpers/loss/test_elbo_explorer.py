"""The slider shows the ledger of the epoch that it says."""

import re

import pytest
import scvi

from helpers import data, environment, genes, training
from helpers.loss import elbo_explorer, latent_dimensions, loss_ledger
from tests.helpers.picture import Picture


@pytest.fixture(scope="module")
def model():
    environment.prepare(seed=0)
    pbmc = data.load_pbmc()
    genes.select(pbmc, 200)
    scvi.model.SCVI.setup_anndata(pbmc, layer="counts")
    model = scvi.model.SCVI(pbmc)
    warm_up = {"n_epochs_kl_warmup": 3}
    training.train(model, max_epochs=4, plan_kwargs=warm_up, enable_progress_bar=False)
    return model


def numbers_of(caption):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.\d\d\b", caption)]


def test_first_picture_is_the_last_epoch(model):
    assert elbo_explorer.explore(model).shown().caption.startswith("Epoch 4, KL weight 1.000")


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_written_sum_is_that_of_the_ledger(model, epoch):
    explorer = elbo_explorer.explore(model)
    explorer.picture = Picture()
    explorer.sliders["epoch"].value = epoch
    shown = explorer.picture.shown
    ledger = loss_ledger.ledger(model).loc[epoch]
    reconstruction, weighted_kl, total, train_loss = numbers_of(shown.caption)
    assert reconstruction == pytest.approx(ledger["reconstruction"], abs=0.006)
    assert weighted_kl == pytest.approx(ledger["kl_weight"] * ledger["kl"], abs=0.006)
    assert total == pytest.approx(reconstruction + weighted_kl, abs=0.011)
    assert train_loss == pytest.approx(ledger["train_loss"], abs=0.006)


def test_bars_are_the_latent_dimensions(model):
    dimensions = loss_ledger.kl_per_dimension(model)
    shown = elbo_explorer.show(loss_ledger.ledger(model), dimensions, 2)
    full, weighted = shown.drawing.figure.axes[1].containers
    assert [bar.get_height() for bar in full] == pytest.approx(list(dimensions.loc[2]))
    assert [bar.get_height() for bar in weighted] == pytest.approx(list(dimensions.loc[2] / 3))


def test_collapsed_dimensions_are_not_counted(model):
    dimensions = loss_ledger.kl_per_dimension(model)
    collapsed = dimensions.copy()
    collapsed.iloc[:, :4] = 0.0
    ledger = loss_ledger.ledger(model)
    before, after = (elbo_explorer.show(ledger, each, 4) for each in (dimensions, collapsed))
    used = (dimensions.loc[4] >= latent_dimensions.IN_USE).sum()
    lost = (dimensions.loc[4].iloc[:4] >= latent_dimensions.IN_USE).sum()
    assert lost > 0
    assert before.caption.endswith(f"In use: {used} of 10 latent dimensions.")
    assert after.caption.endswith(f"In use: {used - lost} of 10 latent dimensions.")


def test_heights_can_be_compared_between_epochs(model):
    table, dimensions = loss_ledger.ledger(model), loss_ledger.kl_per_dimension(model)
    heights = {
        elbo_explorer.show(table, dimensions, epoch).drawing.figure.axes[1].get_ylim()
        for epoch in table.index
    }
    assert len(heights) == 1
    assert heights.pop()[1] > dimensions.to_numpy().max()


def test_page_without_widgets_still_has_the_picture(model):
    bundle = elbo_explorer.explore(model).shown()._repr_mimebundle_()
    assert "<img" in bundle["text/html"]
    assert "train_loss is" in bundle["text/plain"]


def test_model_without_a_record_is_refused():
    pbmc = data.load_pbmc()
    scvi.model.SCVI.setup_anndata(pbmc, layer="counts")
    model = scvi.model.SCVI(pbmc)
    with pytest.raises(ValueError, match=r"not trained.*training.train\(model\)"):
        elbo_explorer.explore(model)
    model.train(max_epochs=1, enable_progress_bar=False)
    with pytest.raises(ValueError, match="LossRecorder"):
        elbo_explorer.explore(model)
