"""The sliders show the model that they say, and the picture follows them."""

import pytest
import scvi
import torch

from helpers.layers import architecture, architecture_explorer
from tests.helpers.picture import Picture


def test_first_picture_is_the_default_model(cortex):
    shown = architecture_explorer.explore(cortex).shown()
    genes = cortex[:, :2000].copy()
    scvi.model.SCVI.setup_anndata(genes, layer="counts")
    model = scvi.model.SCVI(genes)
    table = architecture.module_table(model)
    idle = table.loc[table["state"] == "idle", "parameters"].sum() / table["parameters"].sum()
    assert shown.caption == (
        "Hidden layers: 1 in the encoder, 1 in the decoder. Parameters: "
        f"{sum(weights.numel() for weights in model.module.parameters()):,}, of which {idle:.0%} "
        "idle."
    )
    assert "1 hidden layer of 128 in the encoder and 1 of 128 in the decoder" in shown.drawing.alt


@pytest.mark.parametrize(
    ("slider", "value", "expected"),
    [
        ("n_layers", 3, "3 hidden layers of 128 in the encoder and 3 of 128"),
        ("n_hidden", 64, "1 hidden layer of 64"),
        ("n_latent", 20, "through 20 latent dimensions"),
        ("n_genes", 500, "From 500 columns"),
    ],
)
def test_picture_follows_each_slider(cortex, slider, value, expected):
    explorer = architecture_explorer.explore(cortex)
    explorer.picture = Picture()
    explorer.sliders[slider].value = value
    assert expected in explorer.picture.shown.drawing.alt


def test_batches_enter_the_decoder(cortex):
    alone = architecture_explorer.anatomy(cortex, n_genes=500, n_batch=1)
    four = architecture_explorer.anatomy(cortex, n_genes=500, n_batch=4)
    wider = four.table["parameters"].sum() - alone.table["parameters"].sum()
    assert wider == 4 * 128, "one column of weights a batch, in the decoder's hidden layer"


def test_sliders_offer_only_genes_that_there_are(cortex):
    explorer = architecture_explorer.explore(cortex[:, :2000].copy())
    assert explorer.sliders["n_genes"].options[-1] == 2000


def test_page_without_widgets_still_has_the_picture(cortex):
    bundle = architecture_explorer.explore(cortex).shown()._repr_mimebundle_()
    assert "<img src=" in bundle["text/html"]
    assert "Hidden layers: 1" in bundle["text/html"]


def test_cells_and_random_numbers_stay_as_they_were(cortex):
    columns, state = list(cortex.obs), torch.get_rng_state()
    architecture_explorer.explore(cortex).shown()
    assert list(cortex.obs) == columns
    assert torch.equal(torch.get_rng_state(), state)
