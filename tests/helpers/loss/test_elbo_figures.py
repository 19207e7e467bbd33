"""The figures of the loss show and say what the tables hold."""

import numpy as np
import pandas as pd
import pytest
import scvi
from matplotlib.patches import Ellipse

from helpers import data, environment, figures, genes, training
from helpers.loss import attribution, elbo_figures, loss_ledger
from tests.helpers.small_models import build, few
from tests.helpers.spied_training import build_totalvi, small_citeseq


@pytest.fixture(scope="module")
def adata():
    pbmc = data.load_pbmc()
    genes.select(pbmc, 200)
    return pbmc


@pytest.fixture(scope="module")
def model(adata):
    environment.prepare(seed=0)
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    model = scvi.model.SCVI(adata)
    warm_up = {"n_epochs_kl_warmup": 3}
    training.train(model, max_epochs=6, plan_kwargs=warm_up, enable_progress_bar=False)
    return model


@pytest.fixture
def ledger(model):
    return loss_ledger.ledger(model)


@pytest.fixture(scope="module")
def totalvi_ledger():
    model = build_totalvi(small_citeseq())
    settings = {"n_epochs_kl_warmup": 4, "early_stopping": False}
    training.train(model, "default", max_epochs=6, enable_progress_bar=False, **settings)
    return loss_ledger.ledger(model)


@pytest.fixture(scope="module")
def costs(model):
    return attribution.attribute_loss(model)


def outline(collection):
    """Return the largest y at each x of a filled area."""
    vertices = collection.get_paths()[0].vertices
    return {x: vertices[vertices[:, 0] == x, 1].max() for x in np.unique(vertices[:, 0])}


def test_stacked_areas_end_at_the_loss(ledger):
    stacked = elbo_figures.plot_ledger(ledger).figure.axes[0]
    reconstruction, weighted_kl = (outline(area) for area in stacked.collections[:2])
    assert list(reconstruction.values()) == pytest.approx(list(ledger["reconstruction"]))
    assert list(weighted_kl.values()) == pytest.approx(list(ledger["train_loss"]))
    assert list(weighted_kl) == list(ledger.index)


def test_ledger_says_its_numbers_and_where_the_warm_up_ends(ledger):
    said = elbo_figures.plot_ledger(ledger).alt
    first, last = ledger["reconstruction"].iloc[[0, -1]]
    assert f"from {figures.about(first)} to {figures.about(last)} nats per cell" in said
    assert "The weight rises to 1 by epoch 4." in said
    assert f"ends at {figures.about(ledger['held_out_elbo'].iloc[-1])} nats" in said
    unfinished = elbo_figures.plot_ledger(ledger.iloc[:3]).alt
    assert "still rises at the end, where it is 0.667" in unfinished
    constant = elbo_figures.plot_ledger(ledger.assign(kl_weight=0.0)).alt
    assert "The weight is 0 throughout." in constant


def test_ledger_is_drawn_without_held_out_cells(ledger):
    said = elbo_figures.plot_ledger(ledger.assign(held_out_elbo=np.nan)).alt
    assert "held-out" not in said


def test_a_weight_on_the_reconstruction_is_not_drawn_as_a_weight_on_the_kl(totalvi_ledger):
    with pytest.raises(ValueError, match=r"made of: reconst_loss_gene, .*plot_contributions"):
        elbo_figures.plot_ledger(totalvi_ledger)


def test_further_terms_are_not_drawn_as_a_kl(adata, ledger):
    model = build(few(adata, 50), "SCANVI")
    training.train(model, max_epochs=2, enable_progress_bar=False)
    with pytest.raises(ValueError, match=r"classification_loss.*plot_contributions"):
        elbo_figures.plot_ledger(loss_ledger.ledger(model))
    half = ledger.assign(**{"+ reconstruction_loss": ledger["+ reconstruction_loss"] / 2})
    with pytest.raises(ValueError, match="plot_contributions"):
        elbo_figures.plot_ledger(half)


def test_a_ledger_without_a_record_is_drawn(model, ledger):
    plain = build(few(model.adata, 50))
    plain.train(max_epochs=3, enable_progress_bar=False, plan_kwargs={"n_epochs_kl_warmup": 2})
    table = loss_ledger.ledger(plain)
    assert "+ kl" in table
    assert "reconstruction loss falls" in elbo_figures.plot_ledger(table).alt
    labels = legend_of(elbo_figures.plot_contributions(table))
    assert labels == ["= train_loss", "+ weight × KL", "reconstruction"]


def legend_of(shown):
    return [text.get_text() for text in shown.figure.axes[0].get_legend().get_texts()]


def test_contributions_lie_on_one_another_and_end_at_the_loss(totalvi_ledger):
    shown = elbo_figures.plot_contributions(totalvi_ledger)
    top, bottom = shown.figure.axes
    expected = loss_ledger.contributions(totalvi_ledger).cumsum(axis=1)
    assert expected.shape[1] == 4
    for area, (_, heights) in zip(top.collections, expected.items(), strict=True):
        assert list(outline(area).values()) == pytest.approx(list(heights))
    assert list(outline(top.collections[-1])) == list(totalvi_ledger.index)
    assert list(top.lines[0].get_ydata()) == list(totalvi_ledger["train_loss"])
    np.testing.assert_allclose(expected.iloc[:, -1], totalvi_ledger["train_loss"], rtol=1e-4)
    assert list(bottom.lines[0].get_ydata()) == list(totalvi_ledger["kl_weight"])
    # The axis shows the end of the curve, and the border of the first area.
    low, high = top.get_ylim()
    assert 0 < low < expected.iloc[:, 0].min()
    assert high == totalvi_ledger["train_loss"].max()
    late = elbo_figures.plot_contributions(pd.concat([totalvi_ledger * 5, *[totalvi_ledger] * 4]))
    assert late.figure.axes[0].get_ylim()[1] == 5 * totalvi_ledger["train_loss"].iloc[1:].max()


def test_contributions_are_named_from_the_top_and_said(totalvi_ledger):
    shown = elbo_figures.plot_contributions(totalvi_ledger)
    assert legend_of(shown) == [
        "= train_loss",
        "+ weight × background",
        "+ weight × KL of z",
        "+ weight × proteins",
        "genes",
    ]
    # A label has the colour of its area.
    top = shown.figure.axes[0]
    handles = top.get_legend().legend_handles[1:]
    for handle, area in zip(handles, top.collections[::-1], strict=True):
        assert tuple(handle.get_facecolor()) == tuple(area.get_facecolor()[0])
    last = totalvi_ledger.iloc[-1]
    assert f"proteins {figures.about(last['+ reconst_loss_protein'], 1)}" in shown.alt
    assert f"genes {figures.about(last['+ reconst_loss_gene'], 1)}" in shown.alt
    assert f"about {figures.about(last['train_loss'], 1)} nats per cell" in shown.alt
    assert "weight goes from 0 to 1." in shown.alt
    renamed = totalvi_ledger.rename(columns={"+ kl_div_z": "+ some_new_term"})
    assert "+ some new term" in legend_of(elbo_figures.plot_contributions(renamed))


def test_held_out_figure_marks_the_lowest_loss(ledger):
    lowest = ledger["held_out_loss"].idxmin()
    shown = elbo_figures.plot_held_out(ledger)
    assert f"lowest at epoch {lowest}" in shown.alt
    marker = shown.figure.axes[0].lines[-1]
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (
        lowest,
        ledger["held_out_loss"][lowest],
    )


def test_runs_are_drawn_whole_and_told_apart(ledger):
    shown = elbo_figures.plot_runs({"whole": ledger, "half": ledger.iloc[:3]})
    whole, half = shown.figure.axes[0].lines
    assert (len(whole.get_xdata()), len(half.get_xdata())) == (6, 3)
    assert whole.get_linestyle() != half.get_linestyle()
    assert whole.get_color() != half.get_color()
    end = figures.about(ledger["held_out_elbo"].iloc[2])
    assert f"half ends after 3 epochs with a held-out negative ELBO of {end}" in shown.alt


def test_genes_are_all_drawn_and_the_dearest_named(costs):
    shown = elbo_figures.plot_genes(costs)
    axes = shown.figure.axes[0]
    assert len(axes.lines[0].get_xdata()) == len(costs.genes)
    assert [text.get_text() for text in axes.texts] == list(
        costs.genes["reconstruction"].nlargest(elbo_figures.NAMED_GENES).index
    )
    assert f"The most costly, {costs.genes['reconstruction'].idxmax()}" in shown.alt


def test_cells_are_all_drawn_by_class(costs, adata):
    classes = adata.obs["cell_type"]
    shown = elbo_figures.plot_cells(costs, classes)
    axes = shown.figure.axes[0]
    drawn = {line.get_label(): len(line.get_xdata()) for line in axes.lines}
    assert drawn == classes.astype(str).value_counts().to_dict()
    medians = costs.cells["loss"].groupby(classes.astype(str)).median()
    assert f"lowest for {medians.idxmin()}" in shown.alt
    assert f"highest for {medians.idxmax()}" in shown.alt


def test_clouds_have_the_widths_of_the_encoder(model):
    n_cells = elbo_figures.DRAWN_CELLS
    shown = elbo_figures.plot_posteriors({"one": model, "same": model})
    centres, variances = model.get_latent_representation(
        indices=model.validation_indices[:n_cells], return_dist=True
    )
    axes = shown.figure.axes[0]
    drawn = [patch for patch in axes.patches if type(patch) is Ellipse]
    assert len(drawn) == n_cells
    first = np.argsort(centres.std(axis=0))[-1]
    assert [patch.center[0] for patch in drawn] == pytest.approx(list(centres[:, first]), abs=1e-5)
    # Two standard deviations to either side, as for the prior.
    assert [patch.width for patch in drawn] == pytest.approx(
        list(4 * np.sqrt(variances[:, first])), rel=1e-4
    )
    assert axes.get_xlim()[1] > np.abs(centres).max()
