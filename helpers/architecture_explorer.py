"""Sliders for the size of a model, and its drawing, which follows them."""

from __future__ import annotations

import html
from typing import Any

import anndata as ad
import ipywidgets as widgets
import scvi
from IPython.display import display
from lightning.pytorch.utilities.seed import isolate_rng

from helpers import architecture, architecture_drawing, tracing

# The values of each slider; the first model is scVI's default.
SETTINGS = {
    "n_layers": [1, 2, 3, 4],
    "n_hidden": [32, 64, 128, 256, 512],
    "n_latent": [2, 5, 10, 20, 50],
    "n_genes": [500, 1000, 2000],
    "n_batch": [1, 2, 4, 8],
}
DEFAULTS = {"n_layers": 1, "n_hidden": 128, "n_latent": 10, "n_genes": 2000, "n_batch": 1}


def anatomy(adata: ad.AnnData, n_genes: int, n_batch: int, **settings: Any) -> architecture.Anatomy:
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
    chosen = tracing.evenly_spaced(adata.n_obs, 64)
    cells = ad.AnnData(adata.layers["counts"][chosen][:, :n_genes])
    cells.obs["batch"] = [f"batch {number % n_batch}" for number in range(cells.n_obs)]
    with isolate_rng():
        scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
        return architecture.read(scvi.model.SCVI(cells, **settings))


class Explored:
    """What the sliders show: how many hidden layers and parameters, and the drawing."""

    def __init__(self, found: architecture.Anatomy) -> None:
        self.drawing = architecture_drawing.draw_anatomy(found)
        parameters = found.parameters
        total = parameters.sum()
        layers = [f"{number} in the {network}" for network, number in found.hidden_layers.items()]
        self.caption = f"Hidden layers: {', '.join(layers)}. Parameters: {total:,}, of which {parameters.get('idle', 0) / total:.0%} idle."

    def __repr__(self) -> str:
        return f"{self.caption} {self.drawing.alt}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        drawing = self.drawing._repr_mimebundle_()["text/html"]
        return {
            "text/html": f"<p>{html.escape(self.caption)}</p>{drawing}",
            "text/plain": repr(self),
        }


class Explorer:
    """Sliders above a drawing.

    The drawing is an output of its own, not a part of the widget: where widgets do not run (a
    stored notebook, a printed page) the drawing of the first model stays.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.
    """

    def __init__(self, adata: ad.AnnData) -> None:
        self.adata = adata
        self.sliders = {
            name: widgets.SelectionSlider(
                options=[value for value in values if name != "n_genes" or value <= adata.n_vars],
                value=DEFAULTS[name],
                description=name,
                continuous_update=False,
            )
            for name, values in SETTINGS.items()
        }
        self.picture: Any = None
        for slider in self.sliders.values():
            slider.observe(self._renew, names="value")

    def explored(self) -> Explored:
        """Build the model that the sliders say, and return what it shows."""
        return Explored(
            anatomy(self.adata, **{name: slider.value for name, slider in self.sliders.items()})
        )

    def _ipython_display_(self) -> None:
        display(widgets.VBox(list(self.sliders.values())))
        self.picture = display(self.explored(), display_id=True)

    def _renew(self, change: Any) -> None:
        if self.picture is not None:
            self.picture.update(self.explored())


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
    return Explorer(adata)
