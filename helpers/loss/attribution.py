"""Where the loss arises: which genes and which cells it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput

from helpers.loss import terms_by_hand
from helpers.loss.forward_pass import Minibatch, Outputs, by_cell, numbers
from helpers.training import minibatches

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


class LossBreakdown(NamedTuple):
    """The loss of some cells, by gene and by cell.

    Attributes
    ----------
    genes
        One row per gene, the most costly first: its part of the ``reconstruction`` loss (nats per
        cell) and its ``share`` of it, and ``mean_count`` (counts per cell). The KL divergence
        belongs to no gene.
    cells
        One row per cell, the most costly first: ``loss``, ``reconstruction``, ``kl`` (nats),
        ``library_size`` (counts), and ``genes_seen``, the number of genes with at least one count.
        In a SCANVI ``kl`` is that of both positions and the class together.
    """

    genes: pd.DataFrame
    cells: pd.DataFrame


def attribute_loss(model: BaseModelClass, cells: Sequence[int] | None = None) -> LossBreakdown:
    """Divide the reconstruction loss among genes, and the loss among cells.

    Parameters
    ----------
    model, cells
        As for ``by_hand``.

    Returns
    -------
    LossBreakdown
        The genes' column ``reconstruction`` adds up to the mean of the cells' column of that name.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As for ``by_hand``.
    """
    minibatches.require_traceable(model)
    of_genes, counts, n_cells = np.zeros(model.adata.n_vars), np.zeros(model.adata.n_vars), 0

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        nonlocal n_cells
        terms = terms_by_hand.recomputed(model, minibatch, inference, generative, loss)
        x = numbers(minibatch[REGISTRY_KEYS.X_KEY])
        of_genes[:] += terms.genes.sum(axis=0)
        counts[:] += x.sum(axis=0)
        n_cells += len(x)
        reconstruction = terms.genes.sum(axis=1)
        kl = np.sum([*terms.divergences.values()], axis=0)
        return {
            "loss": reconstruction + kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "library_size": x.sum(axis=1),
            "genes_seen": (x > 0).sum(axis=1),
        }

    of_cells = by_cell(model, cells, read, parts=terms_by_hand.parts(model))
    by_gene = pd.DataFrame(
        {
            "reconstruction": of_genes / n_cells,
            "share": of_genes / of_genes.sum(),
            "mean_count": counts / n_cells,
        },
        index=model.adata.var_names,
    )
    return LossBreakdown(
        by_gene.sort_values("reconstruction", ascending=False),
        of_cells.sort_values("loss", ascending=False),
    )
