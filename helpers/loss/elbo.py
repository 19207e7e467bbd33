"""What a trained model's loss is made of: its ledger, its terms by hand, and where they arise.

The loss of scVI is the negative ELBO (evidence lower bound), in nats per cell: a reconstruction
loss plus a KL divergence, of which the second is faded in (Lopez et al. 2018, doi
10.1038/s41592-018-0229-2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scipy.special import gammaln
from scipy.stats import linregress
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch import nn
from torch.distributions import Distribution, Normal

from helpers import figures
from helpers.layers import tracing
from helpers.loss import toy_elbo
from helpers.training import model_state, schedules
from helpers.training.loss_recorder import HELD_OUT, TRAINING, kl_of_dimensions, logged_column

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

LIKELIHOODS = ("ZeroInflatedNegativeBinomial", "NegativeBinomial", "Poisson")

# A change of less than this share of the loss is none, and a latent dimension with fewer nats per
# cell is not in use.
UNCHANGED = 1e-3
IN_USE = 0.1

# The tensors of a minibatch by the names of their fields, and what a module returns from inference
# and from its generative part, by its names.
Minibatch = dict[str, torch.Tensor]
Outputs = dict[str, Any]
Read = Callable[[Minibatch, Outputs, Outputs, LossOutput], dict[str, np.ndarray]]

RECORD = (
    "What to do: train a new model with training.train(model), or with "
    "model.train(callbacks=[loss_record.LossRecorder(model)]); both record each term."
)


# --- the ledger ---------------------------------------------------------------------------------


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
        - ``kl_weight``: the mean over the minibatches; ``kl_weight_first`` and ``kl_weight_last``
          differ where the warm-up is counted in steps;
        - a column that begins with ``+`` for each term that was added to the loss, weight included;
        - ``train_loss``, and ``residual``: ``train_loss`` minus the sum of the ``+`` columns;
        - ``elbo`` (the *negative* ELBO: no weight), and ``elbo_residual``:
          ``elbo - reconstruction - kl``;
        - ``held_out_loss``, ``held_out_elbo``, ``held_out_reconstruction``, ``held_out_kl``, and
          ``held_out_residual``, missing (NaN) where the held-out cells were not looked at;
        - ``minibatch_effect``: what the loss would be more if the smaller last minibatch counted as
          much as the others (NaN without a record).

    Raises
    ------
    ValueError
        If the model was not trained, its history lacks the terms, or they do not make up its loss.
    """
    history = _history(model)
    table = _logged(history, "train")
    record = _whole_record(model, len(table))
    if record is not None:
        added = record["added"].dropna(axis="columns", how="all")
        weights = record["kl_weight"]
        minibatch_effect = record["minibatches"]["loss"].to_numpy() - table["train_loss"]
    else:
        weights = _weights(model, history, len(table)).set_index(table.index)
        added = pd.DataFrame(
            {"reconstruction": table["reconstruction"], "kl": weights["mean"] * table["kl_local"]}
        )
        minibatch_effect = np.nan
    table["kl"] = table["kl_local"] + table["kl_global"] / len(model.train_indices)
    for name in ("mean", "first", "last"):
        table["kl_weight" if name == "mean" else f"kl_weight_{name}"] = weights[name].to_numpy()
    for name in added.columns:
        table[f"{ADDED}{name}"] = added[name].to_numpy()
    table["residual"] = table["train_loss"] - contributions(table).sum(axis=1)
    table["elbo_residual"] = table["elbo"] - table["reconstruction"] - table["kl"]
    table["minibatch_effect"] = minibatch_effect
    if record is None:
        _require_sum(model, table)
    return table.join(_held_out(model, history, table["kl_weight_last"]))


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
    tracing.require_traceable(model)
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


def _weights(
    model: BaseModelClass, history: Mapping[str, pd.DataFrame], epochs: int
) -> pd.DataFrame:
    """Return the KL weight that was in force in each epoch: first, last and mean of its steps."""
    trainer = getattr(model, "trainer", None)
    plan = getattr(trainer, "lightning_module", None)
    if hasattr(plan, "kl_weight") and trainer.current_epoch == epochs:
        steps = int(trainer.num_training_batches)
        rows = [
            [
                # An adversary has an optimizer of its own, and each counts its own steps.
                schedules.kl_weight(
                    epoch,
                    (epoch * steps + step) * len(trainer.optimizers),
                    plan.n_epochs_kl_warmup,
                    plan.n_steps_kl_warmup,
                    plan.max_kl_weight,
                    plan.min_kl_weight,
                )
                for step in range(steps)
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
    allowed = rise + 1e-4 * table["train_loss"].abs()
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
        added = record["added"].sum(axis=1).to_numpy()
    else:
        table.index = _epochs_of_held_out(model, history, len(weights))
        added = table["reconstruction"] + weights.reindex(table.index) * table["kl_local"]
    n_cells = len(model.validation_indices)
    return pd.DataFrame(
        {
            "held_out_loss": table["train_loss"],
            "held_out_elbo": table["elbo"],
            "held_out_reconstruction": table["reconstruction"],
            "held_out_kl": table["kl_local"] + table["kl_global"] / max(n_cells, 1),
            "held_out_residual": table["train_loss"] - added,
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


# --- the terms by hand --------------------------------------------------------------------------


def by_hand(model: BaseModelClass, cells: Sequence[int] | None = None) -> pd.DataFrame:
    """Recompute reconstruction loss and KL divergence with NumPy and SciPy alone.

    From the model come only the numbers that its networks put out: the parameters of each count's
    distribution, and centre and width of each cell's cloud.

    Parameters
    ----------
    model
        A trained model whose decoder ends in one distribution of counts: zero-inflated negative
        binomial, negative binomial or Poisson.
    cells
        Positions of cells; all if left out.

    Returns
    -------
    DataFrame
        A row a cell, in nats: ``reconstruction`` and ``kl``, and ``reconstruction_of_module`` and
        ``kl_of_module``, which the module returned in the same pass. Each cell's position is drawn
        once from its cloud, always with the same random numbers.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be run, was not trained, has another likelihood, or a cell is not there.

    Notes
    -----
    Negative binomial with mean m and dispersion t (Hilbe 2011, "Negative binomial regression"):
    ``lnG(x + t) - lnG(t) - lnG(x + 1) + t ln(t / (t + m)) + x ln(m / (t + m))``. Divergence of
    N(c, s²) from N(0, 1): ``(s² + c² - 1 - ln s²) / 2`` (Kingma and Welling 2014, appendix B).
    """

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        likelihood = _likelihood(generative, type(model).__name__)
        others = set(loss.kl_local) - {"kl_divergence_z", "kl_divergence_l"}
        if others:
            raise ValueError(
                f"The loss of this {type(model).__name__} has KL divergences that are not worked "
                f"out here: {', '.join(sorted(others))}. What to do: use SCVI or LinearSCVI."
            )
        kl = gaussian_kl(inference["qz"], generative["pz"]).sum(axis=1)
        if inference.get("ql") is not None:
            kl = kl + gaussian_kl(inference["ql"], generative["pl"]).sum(axis=1)
        counts = numbers(minibatch[REGISTRY_KEYS.X_KEY])
        return {
            "reconstruction": -log_probability(counts, likelihood).sum(axis=1),
            "kl": kl,
            "reconstruction_of_module": _total(loss.reconstruction_loss),
            "kl_of_module": _total(loss.kl_local),
        }

    return by_cell(model, cells, read)


def _likelihood(generative: Outputs, model: str) -> Distribution:
    """Return the distribution of the counts that the decoder gives."""
    likelihood = generative.get("px")
    kind = type(likelihood).__name__
    if likelihood is None or kind not in LIKELIHOODS:
        raise ValueError(
            f"The data of this {model} are not described by one distribution of counts ({kind}), "
            "so they are not worked out here. What to do: use a model such as SCVI with "
            "gene_likelihood='zinb', 'nb' or 'poisson'; for the loss of TOTALVI there is "
            "totalvi.by_hand."
        )
    return likelihood


def log_probability(counts: np.ndarray, likelihood: Distribution) -> np.ndarray:
    """Return the logarithm of the probability of each count, computed with NumPy and SciPy.

    Parameters
    ----------
    counts
        Cells x genes.
    likelihood
        One of ``LIKELIHOODS``, of which only the parameters are read.

    Returns
    -------
    ndarray
        Cells x genes, in nats.
    """
    kind = type(likelihood).__name__
    if kind == "Poisson":
        return _poisson(counts, numbers(likelihood.rate))
    counted = negative_binomial(counts, numbers(likelihood.mu), numbers(likelihood.theta))
    if kind == "NegativeBinomial":
        return counted
    # Zero-inflated: the decoder gives the log odds of an extra zero.
    log_odds = numbers(likelihood.zi_logits)
    log_extra, log_no_extra = -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)
    counted = log_no_extra + counted
    return np.where(counts == 0, np.logaddexp(log_extra, counted), counted)


def _poisson(counts: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return counts * np.log(mean) - mean - gammaln(counts + 1)


def negative_binomial(counts: np.ndarray, mean: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return the logarithm of the negative binomial probability of each count (formula.

    See ``by_hand``).

    Parameters
    ----------
    counts, mean, theta
        Counts, their means and their dispersions, in shapes that fit together.

    Returns
    -------
    ndarray
        Nats, in the shape that they make together.
    """
    both = np.log(theta + mean)
    return (
        gammaln(counts + theta)
        - gammaln(theta)
        - gammaln(counts + 1)
        + theta * (np.log(theta) - both)
        + counts * (np.log(mean) - both)
    )


def gaussian_kl(cloud: Normal, prior: Normal) -> np.ndarray:
    """Return the KL divergence of each cell's cloud from the prior, by dimension.

    Parameters
    ----------
    cloud, prior
        Normal distributions, cells x dimensions; the prior may be one for all.

    Returns
    -------
    ndarray
        Cells x dimensions, in nats (formula: see ``by_hand``).
    """
    centre, width = numbers(cloud.loc), numbers(cloud.scale)
    prior_centre, prior_width = numbers(prior.loc), numbers(prior.scale)
    # In units of the prior, which is then the standard normal distribution.
    return toy_elbo.kl((centre - prior_centre) / prior_width, width / prior_width)


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array of 8-byte floats, so that sums of thousands of terms stay exact."""
    return tensor.numpy().astype(float)


def _total(parts: dict[str, torch.Tensor]) -> np.ndarray:
    """Add a module's terms of one kind, cell by cell."""
    return np.sum([numbers(part) for part in parts.values()], axis=0)


def _positions(model: BaseModelClass, cells: Sequence[int] | None) -> np.ndarray:
    """Return the positions of cells, checked."""
    if cells is None:
        return np.arange(model.adata.n_obs)
    n_cells = model.adata.n_obs
    positions = np.asarray(cells)
    if positions.shape == (n_cells,) and positions.dtype == bool:
        positions = np.flatnonzero(positions)
    if positions.size == 0:
        raise ValueError("No cells were given. Pass positions, such as model.validation_indices.")
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise ValueError(
            "Cells are chosen by a list of positions, such as model.validation_indices, or by a "
            f"mask with {n_cells:,} times True or False."
        )
    missing = positions[(positions < 0) | (positions >= n_cells)]
    if missing.size:
        raise ValueError(
            f"There is no cell at position {missing[0]}: this model's data have {n_cells:,} cells, "
            f"from 0 to {n_cells - 1:,}."
        )
    return positions


def _run(
    model: BaseModelClass,
    cells: Sequence[int] | None,
    read: Read,
    dropout: bool = False,
) -> dict[str, np.ndarray]:
    """Run cells through a copy of the trained module, and return what is read from the minibatches, a row a cell.

    The model and the session's random numbers stay as they are.
    """
    tracing.require_traceable(model)
    model_state.require_trained(model)
    positions = _positions(model, cells)
    module = tracing.copy_of_module(model).cpu().eval()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.train(dropout)
    rows = []
    with isolate_rng(), torch.inference_mode():
        torch.manual_seed(0)
        for tensors in model._make_data_loader(adata=model.adata, indices=positions):
            # The weight of 1: the ELBO, whatever was in force in training.
            outputs = module(tensors, loss_kwargs={"kl_weight": 1.0})
            rows.append(read(tensors, *outputs))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def by_cell(
    model: BaseModelClass, cells: Sequence[int] | None, read: Read, dropout: bool = False
) -> pd.DataFrame:
    """Run cells through the trained module, and return what is read from the minibatches, a row a cell.

    Parameters
    ----------
    model
        A trained model. It and the session's random numbers stay as they are.
    cells
        Positions of cells; all if None.
    read
        Takes a minibatch and what the module returned for it (from inference, from its generative
        part, and its loss with a KL weight of 1), and returns columns by name.
    dropout
        Whether dropout is on, as in training.

    Returns
    -------
    DataFrame
        The columns, by name of the cell. Each cell's position is drawn once, always with the same
        random numbers.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be run, was not trained, or a cell is not there.
    """
    columns = _run(model, cells, read, dropout)
    return pd.DataFrame(columns, index=model.adata.obs_names[_positions(model, cells)])


# --- where the loss arises ----------------------------------------------------------------------


class Costs(NamedTuple):
    """The loss of some cells, by gene and by cell.

    Attributes
    ----------
    genes
        A row a gene, dearest first: its part of the ``reconstruction`` loss (nats per cell) and its
        ``share`` of it, and ``mean_count`` (counts per cell). The KL divergence belongs to no gene.
    cells
        A row a cell, dearest first: ``loss``, ``reconstruction``, ``kl`` (nats), ``library_size``
        (counts), and ``genes_seen``, the number of genes with at least one count.
    """

    genes: pd.DataFrame
    cells: pd.DataFrame


def where_it_pays(model: BaseModelClass, cells: Sequence[int] | None = None) -> Costs:
    """Divide the reconstruction loss among genes, and the loss among cells.

    Parameters
    ----------
    model, cells
        As for ``by_hand``.

    Returns
    -------
    Costs
        The genes' column ``reconstruction`` adds up to the mean of the cells' column of that name.

    Raises
    ------
    TypeError, ValueError
        As for ``by_hand``.
    """
    tracing.require_traceable(model)
    of_genes, counts, n_cells = np.zeros(model.adata.n_vars), np.zeros(model.adata.n_vars), 0

    def read(
        minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput
    ) -> Any:
        nonlocal n_cells
        x = minibatch[REGISTRY_KEYS.X_KEY]
        cost = -numbers(_likelihood(generative, type(model).__name__).log_prob(x))
        of_genes[:] += cost.sum(axis=0)
        counts[:] += numbers(x).sum(axis=0)
        n_cells += len(x)
        reconstruction, kl = cost.sum(axis=1), _total(loss.kl_local)
        return {
            "loss": reconstruction + kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "library_size": numbers(x).sum(axis=1),
            "genes_seen": (x > 0).sum(dim=1).numpy(),
        }

    of_cells = by_cell(model, cells, read)
    by_gene = pd.DataFrame(
        {
            "reconstruction": of_genes / n_cells,
            "share": of_genes / of_genes.sum(),
            "mean_count": counts / n_cells,
        },
        index=model.adata.var_names,
    )
    return Costs(
        by_gene.sort_values("reconstruction", ascending=False),
        of_cells.sort_values("loss", ascending=False),
    )


def reevaluate(model: BaseModelClass) -> pd.DataFrame:
    """Compare what was logged in the last epoch with the trained model on the same cells.

    Parameters
    ----------
    model
        A trained model with held-out cells.

    Returns
    -------
    DataFrame
        A row a way of looking, columns ``reconstruction``, ``kl`` and ``elbo`` (the negative ELBO),
        in nats per cell. *logged*: the mean over the last epoch, in which the weights moved,
        dropout was on, and batch normalisation used the mean and spread of each minibatch. *now*:
        with the final weights and the running averages of batch normalisation.

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
    """Return the means of reconstruction loss, KL divergence and their sum with the final weights."""
    means = by_cell(model, cells, _elbo, dropout).mean()
    return [float(means["reconstruction"]), float(means["kl"]), float(means.sum())]


def _elbo(minibatch: Minibatch, inference: Outputs, generative: Outputs, loss: LossOutput) -> Any:
    return {"reconstruction": _total(loss.reconstruction_loss), "kl": _total(loss.kl_local)}


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
        cloud = inference["qz"]
        return {"kl": numbers(kl), "centre": numbers(cloud.loc), "width": numbers(cloud.scale)}

    found = _run(model, cells, read)
    table = pd.DataFrame(
        {
            "kl": found["kl"].mean(axis=0),
            "spread of the centres": found["centre"].std(axis=0),
            "mean width": found["width"].mean(axis=0),
        }
    )
    table.index = pd.RangeIndex(1, len(table) + 1, name="latent dimension")
    return table


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
        A row a model: ``KL weight`` at the end, ``reconstruction``, ``KL`` and ``negative ELBO`` of
        the held-out cells (nats per cell), ``dimensions in use``, and of the latent dimensions the
        mean ``spread of the centres`` and ``mean width``.

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

    The negative ELBO, and a tighter one.

    Parameters
    ----------
    model
        A trained model with held-out cells.
    elbo_draws
        How many times to draw a position from each cell's cloud for the ELBO; the mean is returned.
    samples
        How many positions to draw for importance sampling.
    samples_at_once
        How many of them in one pass; more take more memory. ``samples`` must be a multiple of it.

    Returns
    -------
    DataFrame
        A row a held-out cell, in the order of the data, in nats: ``negative ELBO``, and
        ``importance sampling``, the more exact the more samples (Burda et al. 2016,
        arXiv:1509.00519). The same random numbers at each call; those of the session are left as
        they were.

    Raises
    ------
    ValueError
        If the model was not trained, or held no cells out.

    Notes
    -----
    ----- From ``get_elbo`` and ``get_marginal_ll`` of scvi-tools, both of which return what is
    better the larger it is. Cell by cell, because the mean of ``get_marginal_ll`` would weigh a
    cell of a smaller minibatch more.
    """
    model_state.require_held_out(model)
    cells = np.sort(model.validation_indices)
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


# --- is it trained enough? ----------------------------------------------------------------------


def checklist(model: BaseModelClass) -> pd.DataFrame:
    """Answer from the ledger whether a model is trained enough.

    Parameters
    ----------
    model
        A trained model with its data.

    Returns
    -------
    DataFrame
        A row a question, columns ``found`` and ``verdict`` ("ok", or what to do).

    Raises
    ------
    TypeError, ValueError
        As for ``ledger`` and ``by_hand``.

    Notes
    -----
    ----- The end of a curve is its last quarter (at least four epochs), because single epochs jump.
    It still falls if a straight line through it falls by more than a thousandth of the loss, and by
    more than chance would explain (p < 0.05). It rose again if its mean lies more than a thousandth
    above the best mean of as many epochs. A latent dimension is in use from 0.1 nats per cell on.
    """
    table = ledger(model)
    rows = [_end_of_warm_up(table["kl_weight"])]
    curve = table["held_out_elbo"].dropna()
    rows.append(
        _row(
            "Is there a curve of held-out cells?",
            f"after {len(curve)} of {len(table)} epochs",
            len(curve) > 0,
            "train with check_val_every_n_epoch=1",
        )
    )
    rows += _end_of_curve(curve)
    dimensions = dimensions_in_use(model)["kl"]
    used = int((dimensions >= IN_USE).sum())
    rows.append(
        _row(
            "Are the latent dimensions in use?",
            f"{used} of {len(dimensions)}",
            used > 0,
            "train longer, or lower max_kl_weight: the cells all look the same to the decoder",
        )
    )
    return pd.DataFrame(rows).set_index("question")


def _end_of_warm_up(weights: pd.Series) -> dict[str, str]:
    """Say whether the loss was the negative ELBO at the end.

    That is, whether the KL weight was 1.
    """
    last = weights.iloc[-1]
    found = f"weight {last:.2g}"
    # The last epoch of the default run has 399 four-hundredths.
    one = weights.index[np.isclose(weights, 1, atol=0.01)]
    if len(one) and one[-1] == weights.index[-1]:
        found = f"weight 1, from epoch {one[0]} on"
        cure = ""
    elif last > 1:
        cure = "use max_kl_weight=1 (the default): now the loss is more than the negative ELBO"
    elif len(weights) > 1 and last > weights.iloc[-2]:
        cure = "shorten the warm-up, plan_kwargs={'n_epochs_kl_warmup': ...}, or train longer"
    else:
        cure = "use max_kl_weight=1 (the default): now the loss is less than the negative ELBO"
    return _row("Does the KL divergence count in full at the end?", found, not cure, cure)


def _end_of_curve(curve: pd.Series) -> list[dict[str, str]]:
    """Say whether the held-out loss still falls, and whether it rose again."""
    span = max(4, len(curve) // 4)
    falls = "Has the held-out loss stopped falling?"
    if len(curve) < 2 * span:
        cure = f"train longer: {2 * span} values are needed to say"
        return [_row(falls, f"there are only {len(curve)} values", False, cure)]
    end = curve.iloc[-span:]
    line = linregress(end.index, end)
    fall = -line.slope * (end.index[-1] - end.index[0])
    means = curve.rolling(span).mean().dropna()
    rise = means.iloc[-1] - means.min()
    small = UNCHANGED * abs(means.iloc[-1])
    still_falls = bool(fall > small and line.pvalue < 0.05)
    last = f"over the last {span} values"
    return [
        _row(
            falls,
            f"falls by about {figures.about(fall, 1)} nats {last}"
            if still_falls
            else f"no clear fall {last}",
            not still_falls,
            "train longer: more max_epochs",
        ),
        _row(
            "Is it still at its best?",
            f"about {figures.about(rise, 1)} nats above the best {span} values, which end at epoch "
            f"{means.idxmin()}"
            if rise > small
            else f"within {small:.2g} nats of the best {span} values",
            rise <= small,
            "stop earlier: early_stopping=True, or fewer max_epochs",
        ),
    ]


def _row(question: str, found: str, good: bool, cure: str) -> dict[str, str]:
    return {"question": question, "found": found, "verdict": "ok" if good else cure}
