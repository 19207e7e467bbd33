"""The loss of a trained model as it is now, of its training cells and of its held-out cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.module.base import LossOutput

from helpers.loss import terms_by_hand
from helpers.loss.forward_pass import Minibatch, Outputs, by_cell, total
from helpers.loss.latent_dimensions import IN_USE, dimensions_in_use
from helpers.loss.loss_ledger import ledger
from helpers.training import model_state

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


def reevaluate(model: BaseModelClass) -> pd.DataFrame:
    """Compare what was logged in the last epoch with the trained model on the same cells.

    Parameters
    ----------
    model
        A trained model with held-out cells.

    Returns
    -------
    DataFrame
        One row per way of looking, columns ``reconstruction``, ``kl`` and ``elbo`` (the negative
        ELBO), in nats per cell. *logged*: the mean over the last epoch, in which the weights moved,
        dropout was on, and batch normalisation used the mean and spread of each minibatch. *now*:
        with the final weights and the running averages of batch normalisation. What counts as
        reconstruction is as the module has it: a SCANVI has a part of the divergence there
        (``by_hand``).

    Raises
    ------
    TypeError, ValueError
        As for ``by_hand``, and if no cells were held out.
    """
    model_state.require_held_out(model)
    last = ledger(model).iloc[-1]
    train, held_out = model.train_indices, model.validation_indices
    rows = {
        "training cells, logged": list(last[["reconstruction", "kl", "elbo"]]),
        "training cells, now, with dropout": _now(model, train, dropout=True),
        "training cells, now": _now(model, train),
        "held-out cells, now": _now(model, held_out),
        "held-out cells, logged": list(
            last[["held_out_reconstruction", "held_out_kl", "held_out_elbo"]]
        ),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["reconstruction", "kl", "elbo"])


def _now(model: BaseModelClass, cells: Sequence[int], dropout: bool = False) -> list[float]:
    """Return mean reconstruction loss, KL divergence and their sum with the final weights."""
    n_training = len(model.train_indices)

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        of_cells = _elbo(minibatch, inference, generative, loss)
        # As in the ledger: a divergence of the whole data set is divided among its cells.
        return of_cells | {"kl": of_cells["kl"] + total(loss.kl_global) / n_training}

    means = by_cell(model, cells, read, dropout).mean()
    return [float(means["reconstruction"]), float(means["kl"]), float(means.sum())]


def _elbo(minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput) -> Any:
    return {"reconstruction": total(loss.reconstruction_loss), "kl": total(loss.kl_local)}


def compare(models: Mapping[str, BaseModelClass]) -> pd.DataFrame:
    """Compare trained models on their held-out cells.

    Parameters
    ----------
    models
        Trained models by name. To be comparable they must hold out the same cells: same data, same
        seed.

    Returns
    -------
    DataFrame
        One row per model: ``KL weight`` at the end, ``reconstruction``, ``KL`` and ``negative
        ELBO`` of the held-out cells (nats per cell), ``dimensions in use``, and of the latent
        dimensions the mean ``spread of the centres`` and ``mean width``.

    Raises
    ------
    TypeError, ValueError
        As for ``reevaluate``.
    """
    rows = {}
    for name, model in models.items():
        model_state.require_held_out(model)
        reconstruction, kl, elbo = _now(model, model.validation_indices)
        dimensions = dimensions_in_use(model, model.validation_indices)
        rows[name] = {
            "KL weight": ledger(model)["kl_weight"].iloc[-1],
            "reconstruction": reconstruction,
            "KL": kl,
            "negative ELBO": elbo,
            "dimensions in use": int((dimensions["kl"] >= IN_USE).sum()),
            "spread of the centres": dimensions["spread of the centres"].mean(),
            "mean width": dimensions["mean width"].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def bounds(
    model: BaseModelClass, elbo_draws: int, samples: int, samples_at_once: int = 1
) -> pd.DataFrame:
    """Return two upper bounds of -ln p(x) of each held-out cell.

    One is the negative ELBO, the other is tighter.

    Parameters
    ----------
    model
        A trained model with held-out cells.
    elbo_draws
        How many times to draw a position from each cell's posterior for the ELBO; the mean is
        returned.
    samples
        How many positions to draw for importance sampling.
    samples_at_once
        How many of them in one pass; more take more memory. ``samples`` must be a multiple of it.

    Returns
    -------
    DataFrame
        One row per held-out cell, in the order of the data, in nats: ``negative ELBO``, and
        ``importance sampling``, the more exact the more samples (Burda et al. 2016,
        arXiv:1509.00519). The same random numbers at each call; those of the session are left as
        they were.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As for ``by_hand``, and if the model held no cells out, or its positions are not drawn from
        normal distributions with a standard normal prior, which ``get_marginal_ll`` takes for
        granted.

    Notes
    -----
    From ``get_elbo`` and ``get_marginal_ll`` of scvi-tools, both of which return what is
    better the larger it is. Cell by cell, because the mean of ``get_marginal_ll`` would weigh a
    cell of a smaller minibatch more.
    """
    model_state.require_held_out(model)
    cells = np.sort(model.validation_indices)
    _require_normal_positions(model, cells)
    with isolate_rng():
        torch.manual_seed(0)
        elbos = [
            np.asarray(model.get_elbo(indices=cells, return_mean=False), dtype=float)
            for _ in range(elbo_draws)
        ]
        log_likelihood = model.get_marginal_ll(
            indices=cells,
            n_mc_samples=samples,
            n_mc_samples_per_pass=samples_at_once,
            return_mean=False,
        )
    columns = {
        "negative ELBO": -np.mean(elbos, axis=0),
        "importance sampling": -np.asarray(log_likelihood, dtype=float),
    }
    return pd.DataFrame(columns, index=model.adata.obs_names[cells])


def _require_normal_positions(model: BaseModelClass, cells: np.ndarray) -> None:
    """Raise unless scvi-tools' importance sampling holds for the prior of the positions."""
    plain = set(terms_by_hand.by_hand(model, cells[:1])) == {
        f"{term}{suffix}" for term in ("reconstruction", "kl") for suffix in ("", "_of_module")
    }
    if not plain or getattr(model.module, "latent_distribution", "normal") != "normal":
        raise ValueError(
            f"The positions of this {type(model).__name__} are not drawn from normal distributions "
            "with a standard normal prior, and get_marginal_ll of scvi-tools computes as if they "
            "were. What to do: use an SCVI or LinearSCVI with latent_distribution='normal'."
        )
