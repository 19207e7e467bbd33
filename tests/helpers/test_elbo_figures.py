"""The figures of the loss show and say what the tables hold."""

import numpy as np
import pytest
import scvi
from matplotlib.patches import Ellipse

from helpers import data, elbo, elbo_figures, environment, figures, genes, training


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
    return elbo.ledger(model)


@pytest.fixture(scope="module")
def costs(model):
    return elbo.where_it_pays(model)


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
    assert f"The dearest, {costs.genes['reconstruction'].idxmax()}" in shown.alt


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
    shown = elbo_figures.plot_clouds({"one": model, "same": model})
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
