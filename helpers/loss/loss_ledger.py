"""What the loss of a trained model was made of, epoch by epoch, and whether it adds up.

The loss of scVI is the negative ELBO (evidence lower bound), in nats per cell: a reconstruction
loss plus a KL divergence, of which the second is faded in (Lopez et al. 2018, doi
10.1038/s41592-018-0229-2).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi.train._trainingplans import _compute_kl_weight

from helpers.training import minibatches, model_state
from helpers.training.loss_recorder import HELD_OUT, TRAINING, logged_column

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# What the ledger calls the columns of scvi-tools' history.
LOGGED = {
    "reconstruction": "reconstruction_loss",
    "kl_local": "kl_local",
    "kl_global": "kl_global",
    "elbo": "elbo",
}

# The parts of the loss carry this mark in the ledger: they add up to train_loss.
ADDED = "+ "

# A residual below this share of the loss is rounding: scvi-tools logs 4-byte floats.
ROUNDING = 1e-4

# What the terms are called in figures and tables, by the name that a module reports them by. The
# weight is the KL weight: scvi-tools multiplies these by it, and in TotalVI the proteins as well.
TERMS = {
    "reconstruction": "reconstruction",
    "reconstruction_loss": "reconstruction",
    "kl": "weight × KL",
    "kl_divergence_z": "weight × KL of z",
    "kl_divergence_l": "KL of the library size",
    "reconst_loss_gene": "genes",
    "reconst_loss_protein": "weight × proteins",
    "kl_div_z": "weight × KL of z",
    "kl_div_l_gene": "KL of the library size",
    "kl_div_back_pro": "weight × background",
}
RECORD = (
    "What to do: train a new model with training.train(model), or with "
    "model.train(callbacks=[loss_recorder.LossRecorder(model)]); both record each term."
)


def ledger(model: BaseModelClass) -> pd.DataFrame:
    """Return what the loss was made of, epoch by epoch, and whether it adds up.

    Parameters
    ----------
    model
        A trained model. What ``training.train`` or a ``LossRecorder`` recorded is used if there is
        such a record; else scvi-tools' history, with the KL weight from the training plan that ran.

    Returns
    -------
    DataFrame
        A row an epoch (from 1). All but weights and counts in nats per cell, means over the
        training cells while they were trained on:

        - ``reconstruction``, ``kl_local``, ``kl_global``: as in the history. ``kl`` is
          ``kl_local + kl_global / training cells``;
        - ``kl_weight``: how much a nat of the KL divergence counts in the loss beside one of the
          reconstruction, the mean over the minibatches; ``kl_weight_first`` and ``kl_weight_last``
          differ where the warm-up is counted in steps;
        - a column that begins with ``+`` for each term that was added to the loss, weight included;
        - ``train_loss``, and ``residual``: ``train_loss`` minus the sum of the ``+`` columns;
        - ``scale``: how many times a nat of the reconstruction counts in ``train_loss``. Where it
          is not 1, ``train_loss``, the ``+`` columns, ``residual`` and ``held_out_loss`` are in
          units of that loss, and not in nats per cell;
        - ``elbo`` (the *negative* ELBO: no weight), and ``elbo_residual``:
          ``elbo - reconstruction - kl``;
        - ``held_out_loss``, ``held_out_elbo``, ``held_out_reconstruction``, ``held_out_kl``, and
          ``held_out_residual``, missing (NaN) where the held-out cells were not looked at;
        - ``minibatch_effect``: what the loss would be more if the smaller last minibatch counted as
          much as the others (NaN without a record).

    Raises
    ------
    ValueError
        If the model was not trained, its history lacks the terms, or there is no record and they do
        not make up its loss.

    Warns
    -----
    UserWarning
        If the loss holds more than the terms that its module reports: how much, and when most.
    """
    history = _history(model)
    table = _logged(history, "train")
    record = _whole_record(model, len(table))
    if record is not None:
        weights = record["kl_weight"].set_index(table.index)
        added = _added(record, table, weights["mean"])
        minibatch_effect = record["minibatches"]["loss"].to_numpy() - table["train_loss"]
        scale = record["scale"]["mean"].to_numpy() if "scale" in record else 1.0
    else:
        weights = _weights(model, history, len(table)).set_index(table.index)
        added = _by_formula(table, weights["mean"])
        minibatch_effect, scale = np.nan, 1.0
    table["kl"] = table["kl_local"] + table["kl_global"] / len(model.train_indices)
    for name in ("mean", "first", "last"):
        table["kl_weight" if name == "mean" else f"kl_weight_{name}"] = weights[name].to_numpy()
    for name in added.columns:
        table[f"{ADDED}{name}"] = added[name].to_numpy()
    table["residual"] = table["train_loss"] - contributions(table).sum(axis=1)
    table["elbo_residual"] = table["elbo"] - table["reconstruction"] - table["kl"]
    table["minibatch_effect"] = minibatch_effect
    table["scale"] = scale
    if record is None:
        _require_sum(model, table)
    else:
        _warn_of_residual(model, table)
    return table.join(_held_out(model, history, table["kl_weight_last"]))


def unnamed(table: pd.DataFrame) -> pd.Series:
    """Return the share of the loss that its ledger cannot name, epoch by epoch; rounding is 0.

    Parameters
    ----------
    table
        What ``ledger`` returned.
    """
    share = (table["residual"] / table["train_loss"]).abs()
    return share.where(share > ROUNDING, 0.0)


def in_nats(table: pd.DataFrame) -> bool:
    """Tell whether the loss of a ledger is in nats per cell in all epochs."""
    return bool(np.isclose(table["scale"], 1, rtol=1e-3).all())


def contributions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the terms of a ledger that add up to ``train_loss``, a row an epoch, in nats per cell.

    Parameters
    ----------
    table
        What ``ledger`` returned.
    """
    columns = [name for name in table.columns if name.startswith(ADDED)]
    return table[columns].rename(columns=lambda name: name.removeprefix(ADDED))


def term_name(term: str) -> str:
    """Return what to call a term of a loss: as in ``TERMS``, else its own name with spaces.

    >>> term_name("reconst_loss_gene"), term_name("classification_loss")
    ('genes', 'classification loss')
    """
    return TERMS.get(term, term.replace("_", " "))


def kl_per_dimension(model: BaseModelClass) -> pd.DataFrame:
    """Return the KL divergence of each latent dimension, epoch by epoch.

    Parameters
    ----------
    model
        A model trained with ``training.train`` or a ``LossRecorder``.

    Returns
    -------
    DataFrame
        A row an epoch, a column a latent dimension (from 1), in nats per training cell. A row adds
        up to the KL divergence of z.

    Raises
    ------
    ValueError
        If there is no such record.
    """
    epochs = len(_logged(_history(model), "train"))
    record = _whole_record(model, epochs)
    if record is None or "kl per dimension" not in record:
        raise ValueError(
            f"This {type(model).__name__} holds no KL divergence of single latent dimensions. "
            f"{RECORD}"
        )
    table = record["kl per dimension"].set_axis(pd.Index(record["epoch"], name="epoch"))
    return table.rename_axis(columns="latent dimension")


def _history(model: BaseModelClass) -> Mapping[str, pd.DataFrame]:
    minibatches.require_traceable(model)
    # scvi-tools keeps the history of an interrupted training, but not which cells it trained on.
    model_state.require_trained(model)
    history = model.history or {}
    name = type(model).__name__
    needed = ["train_loss", *(f"{name}_train" for name in LOGGED.values())]
    missing = [key for key in needed if logged_column(history, key) is None]
    if missing:
        raise ValueError(
            f"The history of this {name} lacks {', '.join(missing)}: its training plan does not "
            f"log the terms of an ELBO. {RECORD}"
        )
    return history


def _logged(history: Mapping[str, pd.DataFrame], split: str) -> pd.DataFrame:
    """Return the logged columns of one kind of cells by the ledger's names, in their order."""
    loss = "train_loss" if split == "train" else "validation_loss"
    keys = {"train_loss": loss} | {name: f"{key}_{split}" for name, key in LOGGED.items()}
    columns = {name: logged_column(history, key).to_numpy() for name, key in keys.items()}
    table = pd.DataFrame(columns)
    table.index = pd.RangeIndex(1, len(table) + 1, name="epoch")
    return table


def _record(model: BaseModelClass, cells: str) -> pd.DataFrame | None:
    """Return the recorded epochs of one kind of cells, or None."""
    record = getattr(model, "loss_record_", None)
    if record is None:
        return None
    return record[record["cells"] == cells].reset_index(drop=True)


def _whole_record(model: BaseModelClass, epochs: int) -> pd.DataFrame | None:
    """Return the record of the training cells if it holds each epoch, else None."""
    record = _record(model, TRAINING)
    whole = record is not None and list(record["epoch"]) == list(range(1, epochs + 1))
    return record if whole else None


def _added(record: pd.DataFrame, table: pd.DataFrame, weights: Any) -> pd.DataFrame:
    """Return what each term added to the loss, an epoch a row.

    A record cannot see terms that a module reports detached from what they were computed from.
    Reconstruction and weighted KL divergence are taken where these alone do add up.
    """
    formula = _by_formula(table, weights)
    if "added" not in record:
        return formula
    recorded = record["added"].dropna(axis="columns", how="all")
    return formula if _adds_up(formula, table) and not _adds_up(recorded, table) else recorded


def _by_formula(table: pd.DataFrame, weights: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"reconstruction": table["reconstruction"], "kl": weights * table["kl_local"]}
    )


def _adds_up(added: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Tell whether terms make up the loss in each epoch, but for rounding."""
    loss = table["train_loss"].to_numpy()
    return bool((np.abs(loss - added.sum(axis=1).to_numpy()) <= ROUNDING * np.abs(loss)).all())


def _warn_of_residual(model: BaseModelClass, table: pd.DataFrame) -> None:
    """Say how much of the loss its terms do not make up, where that is more than rounding."""
    share = unnamed(table)
    if share.any():
        epoch = share.idxmax()
        warnings.warn(
            f"The terms that this {type(model).__name__} reports do not make up its loss: in epoch "
            f"{epoch}, {table['residual'][epoch]:+.3g} of {table['train_loss'][epoch]:.4g} "
            f"({share[epoch]:.1%}) has no name. It is in the column residual.",
            stacklevel=3,
        )


def _weights(
    model: BaseModelClass, history: Mapping[str, pd.DataFrame], epochs: int
) -> pd.DataFrame:
    """Return the KL weight that was in force in each epoch: first, last and mean of its steps."""
    trainer = getattr(model, "trainer", None)
    plan = getattr(trainer, "lightning_module", None)
    if hasattr(plan, "kl_weight") and trainer.current_epoch == epochs:
        n_minibatches = int(trainer.num_training_batches)
        # With gradients of several minibatches in a step, the last step takes what is left.
        together = trainer.accumulate_grad_batches
        steps = math.ceil(n_minibatches / together)
        rows = [
            [
                # An adversary has an optimizer of its own, and each counts its own steps.
                _compute_kl_weight(
                    epoch,
                    (epoch * steps + minibatch // together) * len(trainer.optimizers),
                    plan.n_epochs_kl_warmup,
                    plan.n_steps_kl_warmup,
                    plan.max_kl_weight,
                    plan.min_kl_weight,
                )
                for minibatch in range(n_minibatches)
            ]
            for epoch in range(epochs)
        ]
        weights = np.array(rows, dtype=float)
        return pd.DataFrame(
            {"mean": weights.mean(axis=1), "first": weights[:, 0], "last": weights[:, -1]}
        )
    logged = logged_column(history, "kl_weight")
    if logged is None or len(logged) != epochs:
        raise ValueError(
            f"Which KL weight was in force in the {epochs} epochs of this {type(model).__name__} "
            "is not known: the training plan of some is gone, and the history does not hold a "
            f"weight for each. {RECORD}"
        )
    return pd.DataFrame(dict.fromkeys(("mean", "first", "last"), logged.to_numpy()))


def _require_sum(model: BaseModelClass, table: pd.DataFrame) -> None:
    """Raise if reconstruction and weighted KL divergence are not what the loss is made of."""
    # Within an epoch the weight may rise: then the mean weight times the mean KL divergence is off
    # by at most this.
    rise = (table["kl_weight_last"] - table["kl_weight_first"]) * table["kl"]
    allowed = rise + ROUNDING * table["train_loss"].abs()
    off = table["residual"].abs() - allowed
    if (off > 0).any():
        epoch = off.idxmax()
        raise ValueError(
            f"The loss of this {type(model).__name__} is not its reconstruction loss + KL weight x "
            f"KL divergence: in epoch {epoch} that is off by {table['residual'][epoch]:+.3g} nats "
            "per cell. It holds other terms or weights, and the history keeps only their sum. "
            f"{RECORD}"
        )


def _held_out(
    model: BaseModelClass, history: Mapping[str, pd.DataFrame], weights: pd.Series
) -> pd.DataFrame:
    """Return the columns of the held-out cells, by epoch."""
    names = ["loss", "elbo", "reconstruction", "kl", "residual"]
    empty = pd.DataFrame(columns=[f"held_out_{name}" for name in names], dtype=float)
    if logged_column(history, "validation_loss") is None:
        return empty
    table = _logged(history, "validation")
    record = _record(model, HELD_OUT)
    if record is not None and len(record) == len(table):
        table.index = pd.Index(record["epoch"], name="epoch")
        added = _added(record, table, record["kl_weight"]["mean"].to_numpy())
    else:
        table.index = _epochs_of_held_out(model, history, len(weights))
        added = _by_formula(table, weights.reindex(table.index))
    n_cells = len(model.validation_indices)
    return pd.DataFrame(
        {
            "held_out_loss": table["train_loss"],
            "held_out_elbo": table["elbo"],
            "held_out_reconstruction": table["reconstruction"],
            "held_out_kl": table["kl_local"] + table["kl_global"] / max(n_cells, 1),
            "held_out_residual": table["train_loss"] - added.sum(axis=1).to_numpy(),
        }
    )


def _epochs_of_held_out(
    model: BaseModelClass, history: Mapping[str, pd.DataFrame], epochs: int
) -> pd.Index:
    """Return the epochs after which the held-out cells were looked at."""
    logged = logged_column(history, "validation_loss")
    every = int(logged.index[0]) + 1
    expected = np.arange(every, epochs + 1, every)
    # A second call of train() renumbers the rows, and their epochs are lost.
    if not np.array_equal(logged.index.to_numpy() + 1, expected):
        raise ValueError(
            f"After which epochs this {type(model).__name__} looked at its held-out cells is not "
            f"known: it was trained in more than one go. {RECORD}"
        )
    return pd.Index(expected, name="epoch")
