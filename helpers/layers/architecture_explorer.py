"""Sliders for the size of a model, and its drawing, which follows them."""

from __future__ import annotations

from typing import Any

import anndata as ad
import ipywidgets as widgets
import scvi
from lightning.pytorch.utilities.seed import isolate_rng

from helpers.explorer import Captioned, Explorer
from helpers.layers import architecture_drawing, model_anatomy
from helpers.training import minibatches

# The values of each slider; the first model is scVI's default.
SETTINGS = {
    "n_layers": [1, 2, 3, 4],
    "n_hidden": [32, 64, 128, 256, 512],
    "n_latent": [2, 5, 10, 20, 50],
    "n_genes": [500, 1000, 2000],
    "n_batch": [1, 2, 4, 8],
}
DEFAULTS = {"n_layers": 1, "n_hidden": 128, "n_latent": 10, "n_genes": 2000, "n_batch": 1}


def anatomy(
    adata: ad.AnnData, n_genes: int, n_batch: int, **settings: Any
) -> model_anatomy.Anatomy:
    """Build SCVI of a given size, without training, and read its anatomy.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``; 64 of its cells are used.
    n_genes
        How many of its genes to use; all if there are fewer.
    n_batch
        Into how many batches to divide the cells. The cells are dealt out in turn: only the number
        of batches matters for the size of the model.
    **settings
        Arguments of ``scvi.model.SCVI``, such as ``n_layers``.

    Returns
    -------
    Anatomy
        What the model is made of.
    """
    chosen = minibatches.evenly_spaced(adata.n_obs, 64)
    cells = ad.AnnData(adata.layers["counts"][chosen][:, :n_genes])
    cells.obs["batch"] = [f"batch {number % n_batch}" for number in range(cells.n_obs)]
    with isolate_rng():
        scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
        return model_anatomy.read(scvi.model.SCVI(cells, **settings))


def show(found: model_anatomy.Anatomy) -> Captioned:
    """Return what a model is made of: how many hidden layers and parameters, and the drawing."""
    parameters = found.parameters
    total = parameters.sum()
    layers = [f"{number} in the {network}" for network, number in found.hidden_layers.items()]
    return Captioned(
        f"Hidden layers: {', '.join(layers)}. Parameters: {total:,}, of which "
        f"{parameters.get('idle', 0) / total:.0%} idle.",
        architecture_drawing.draw_anatomy(found),
    )


def explore(adata: ad.AnnData) -> Explorer:
    """Show sliders for the size of SCVI, and what it is then made of. Nothing is trained.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]`` and at least 2,000 genes.

    Returns
    -------
    Explorer
        Shown where it is the last line of a cell.
    """
    sliders = {
        name: widgets.SelectionSlider(
            options=[value for value in values if name != "n_genes" or value <= adata.n_vars],
            value=DEFAULTS[name],
            description=name,
            continuous_update=False,
        )
        for name, values in SETTINGS.items()
    }
    return Explorer(sliders, lambda **settings: show(anatomy(adata, **settings)))
