"""What each latent dimension tells about the cells, in nats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from scvi.module.base import LossOutput

from helpers.loss.forward_pass import Minibatch, Outputs, numbers, run
from helpers.training.loss_recorder import kl_of_dimensions

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

IN_USE = 0.1


def dimensions_in_use(model: BaseModelClass, cells: Sequence[int] | None = None) -> pd.DataFrame:
    """Return what each latent dimension tells about the cells.

    Parameters
    ----------
    model, cells
        As for ``by_hand``.

    Returns
    -------
    DataFrame
        A row a latent dimension (from 1): ``kl`` (nats per cell; 0 if it tells nothing),
        ``spread of the centres`` (standard deviation over cells), ``mean width`` of the clouds (1,
        as wide as the prior, if it tells nothing).
    """

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        kl = kl_of_dimensions(inference, generative, loss)
        if kl is None:
            raise ValueError(
                f"The KL divergence of a {type(model).__name__} does not divide among the "
                "dimensions of one latent space. What to do: use a model such as SCVI or TOTALVI."
            )
        posterior = inference["qz"]
        return {"kl": numbers(kl), "mean": numbers(posterior.loc), "std": numbers(posterior.scale)}

    found = run(model, cells, read)
    table = pd.DataFrame(
        {
            "kl": found["kl"].mean(axis=0),
            "spread of the centres": found["mean"].std(axis=0),
            "mean width": found["std"].mean(axis=0),
        }
    )
    table.index = pd.RangeIndex(1, len(table) + 1, name="latent dimension")
    return table
