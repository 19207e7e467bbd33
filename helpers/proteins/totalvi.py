"""What TotalVI says about the proteins of a cell, and what its loss is made of.

A protein's count has two sources: a *background* that every cell has (antibody that floats or
sticks), and a *foreground* if the cell carries the protein. TotalVI describes it by a mixture of
two negative binomial distributions with one dispersion, one of each source, and a probability of
the foreground for each cell and protein (Gayoso et al. 2021, doi 10.1038/s41592-020-01050-x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scvi
import torch
from numpy.typing import NDArray
from scipy.stats import lognorm, nbinom
from scvi import REGISTRY_KEYS
from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from scvi.module.base import LossOutput
from torch.distributions import Normal

from helpers.loss import forward_pass, terms_by_hand
from helpers.loss.forward_pass import numbers
from helpers.loss.terms_by_hand import negative_binomial
from helpers.training import minibatches, model_state

# scvi-tools' own factor of the term that it adds for the probability of the background.
PENALTY = 1e-3

# A cell is decoded once a draw, and each time the decoder puts out several numbers a gene.
CELLS_AT_ONCE = 16

# How much of a count's distribution may lie beyond the counts that are looked at.
LEFT_OUT = 1e-3


def by_hand(model: scvi.model.TOTALVI, cells: Sequence[int] | None = None) -> pd.DataFrame:
    """Recompute every term of TotalVI's loss with NumPy and SciPy alone.

    From the model come only the numbers that its networks put out: the parameters of each count's
    distribution, and mean and standard deviation of each cell's posterior and of each protein's
    background.

    Parameters
    ----------
    model
        A trained model.
    cells
        Positions of cells; all if left out.

    Returns
    -------
    DataFrame
        One row per cell, in nats:

        ``genes``
            -ln of the probability of the counts of the genes: negative binomial, or zero-inflated.
        ``proteins``
            -ln of the probability of the counts of the proteins: mixture of two negative binomials.
        ``kl_z``
            KL divergence of the cell's posterior from the standard normal distribution.
        ``background``
            KL divergence of what the decoder says about the background of each protein from its
            prior, which is learned for each protein and batch. Both are normal distributions of
            ln(background).
        ``efficiency``
            -ln of the density of the batch's efficiencies under a log-normal distribution with
            median 1. The background and the foreground of a protein are multiplied by its
            efficiency in the cell's batch. This is the same for all cells of a batch, and at least
            0.42 nats a protein: there the efficiency is at 0.37, where the density is highest (at 1
            it is 0.92).
        ``foreground penalty``
            0.001 x -ln P(background), summed over proteins: the surer the model is of a foreground,
            the more it pays. It pushes, if weakly, towards the background.
        ``genes_of_module``, ``proteins_of_module``, ``kl_z_of_module``, ``kl_back_pro_of_module``
            What the module returned in the same pass. The last is
            ``background + efficiency + foreground penalty``, which scvi-tools logs as the one term
            ``kl_div_back_pro``, though only the first is a KL divergence.

        The module computes in 4-byte floats, which leaves the proteins of a cell up to 0.01 nats
        off. Each cell's position and background are drawn once, always with the same random
        numbers. The loss is ``genes`` plus the KL weight times all the others. A protein that was
        not measured in a cell's batch (scvi-tools takes it for that if it has no count there) adds
        nothing to ``proteins`` and ``background``.

    Raises
    ------
    TypeError
        If this is not a TOTALVI.
    ValueError
        If the model was not trained, learns the library size, a cell is not there, or what is
        worked out here is not what the module returned: then it has a loss of its own.

    Notes
    -----
    Mixture with background mean b, foreground mean f, dispersion t and probability p of the
    background: ``ln(p NB(y; b, t) + (1 - p) NB(y; f, t))``; formulas of NB and of the KL divergence
    in ``loss.by_hand``. The terms are those of the methods of Gayoso et al. 2021, but the last two:
    these are in the code of scvi-tools only.
    """
    require_totalvi(model)
    if not model.module.use_observed_lib_size:
        raise ValueError(
            "This TOTALVI learns the library size, which adds a term that is not worked out here. "
            "What to do: build it without use_observed_lib_size=False."
        )
    measured = _measured(model)
    panel_key = model.module.panel_key

    def read(
        minibatch: forward_pass.Minibatch,
        inference: forward_pass.Outputs,
        generative: forward_pass.Outputs,
        loss: LossOutput,
    ) -> Any:
        py = generative["py_"]
        counted = measured[minibatch[panel_key].numpy().ravel().astype(int)]
        said = Normal(py["back_alpha"], py["back_beta"])
        prior = inference["back_mean_prior"]
        log_background, _ = _log_weights(numbers(py["mixing"]))
        likelihood = _likelihood_of_genes(model, generative["px_"])

        def of_genes(kind: type[np.floating] = np.float64, added: float = 0.0) -> np.ndarray:
            counts = numbers(minibatch[REGISTRY_KEYS.X_KEY], kind)
            return terms_by_hand.log_probability(counts, likelihood, kind, added)

        def of_proteins(kind: type[np.floating] = np.float64, added: float = 0.0) -> np.ndarray:
            return np.where(counted, _log_probability(minibatch, generative, kind, added), 0)

        terms = {
            "genes": -of_genes().sum(axis=1),
            "proteins": -of_proteins().sum(axis=1),
            "kl_z": terms_by_hand.gaussian_kl(inference["qz"], Normal(0.0, 1.0)).sum(axis=1),
            "background": (counted * terms_by_hand.gaussian_kl(said, prior)).sum(axis=1),
            "efficiency": -lognorm.logpdf(numbers(generative["per_batch_efficiency"]), 1).sum(1),
            "foreground penalty": -PENALTY * log_background.sum(axis=1),
        }
        of_module = {
            "genes": numbers(loss.reconstruction_loss["reconst_loss_gene"]),
            "proteins": numbers(loss.reconstruction_loss["reconst_loss_protein"]),
            "kl_z": numbers(loss.kl_local["kl_div_z"]),
            "kl_back_pro": numbers(loss.kl_local["kl_div_back_pro"]),
        }
        forward_pass.require_whole(loss, "TOTALVI")
        terms_by_hand.require_counted("loss of the genes", of_genes, of_module["genes"])
        terms_by_hand.require_counted("loss of the proteins", of_proteins, of_module["proteins"])
        terms_by_hand.require_same("KL divergence of z", terms["kl_z"], of_module["kl_z"])
        background = terms["background"] + terms["efficiency"] + terms["foreground penalty"]
        terms_by_hand.require_same("background", background, of_module["kl_back_pro"])
        return terms | {f"{name}_of_module": value for name, value in of_module.items()}

    return forward_pass.by_cell(model, cells, read)


def _measured(model: scvi.model.TOTALVI) -> NDArray[np.bool_]:
    """Return which proteins were measured, batches (or panels, if there are) x proteins."""
    masks = model.module.protein_batch_mask
    if masks is None:
        return np.ones((model.module.n_panel, len(names_of_proteins(model))), dtype=bool)
    return np.stack([masks[str(code)] for code in range(len(masks))]).astype(bool)


def _likelihood_of_genes(
    model: scvi.model.TOTALVI, px: Mapping[str, torch.Tensor]
) -> NegativeBinomial | ZeroInflatedNegativeBinomial:
    if model.module.gene_likelihood == "zinb":
        return ZeroInflatedNegativeBinomial(mu=px["rate"], theta=px["r"], zi_logits=px["dropout"])
    return NegativeBinomial(mu=px["rate"], theta=px["r"])


def _log_probability(
    minibatch: forward_pass.Minibatch,
    generative: forward_pass.Outputs,
    kind: type[np.floating] = np.float64,
    added: float = 0.0,
) -> np.ndarray:
    """Return the logarithm of the probability of each protein's count, cells x proteins."""
    py = generative["py_"]
    counts = numbers(minibatch[REGISTRY_KEYS.PROTEIN_EXP_KEY], kind)
    theta, efficiency = (
        numbers(part, kind) for part in (py["r"], generative["per_batch_efficiency"])
    )
    background, foreground = (
        negative_binomial(counts, efficiency * numbers(py[name], kind), theta, added)
        for name in ("rate_back", "rate_fore")
    )
    log_background, log_foreground = _log_weights(numbers(py["mixing"], kind))
    return np.logaddexp(log_background + background, log_foreground + foreground)


def _log_weights(mixing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln P(background) and ln P(foreground).

    The decoder gives the log odds of the background.
    """
    return -np.logaddexp(0, -mixing), -np.logaddexp(0, mixing)


class _Draws(NamedTuple):
    """What the decoder says about a protein, cells x draws from their posteriors.

    ``efficiency`` is cells x 1.
    """

    background: np.ndarray
    foreground: np.ndarray
    probability: np.ndarray
    dispersion: np.ndarray
    efficiency: np.ndarray


def describe_protein(
    model: scvi.model.TOTALVI, protein: str, n_samples: int = 25, seed: int = 0
) -> pd.DataFrame:
    """Return what the model says about one protein of each cell.

    Parameters
    ----------
    model
        A trained model.
    protein
        Its name, a column of the protein counts.
    n_samples
        How many times to draw the position of each cell from its posterior, and its background. The
        columns are means over these draws.
    seed
        Seed of the random numbers. Those of the session stay as they are.

    Returns
    -------
    DataFrame
        One row per cell, by its name:

        ``count``
            As measured.
        ``background``, ``foreground``
            The means (counts) of the two components of the mixture, times the efficiency of the
            cell's batch: they are on the scale of the counts. The foreground is larger than the
            background in each draw.
        ``probability of foreground``
            Of the mixture, before its components are compared with the count of this protein. But
            the cell's position was inferred from the counts of all genes and proteins, and so from
            this one too.
        ``denoised``
            What ``model.get_normalized_expression`` returns: foreground x its probability,
            *without* the efficiency. The background is left out, so it does not estimate the count.

    Raises
    ------
    TypeError
        If this is not a TOTALVI.
    KeyError
        If there is no such protein.
    ValueError
        If the model was not trained, or ``n_samples`` is below 1.
    """
    draws = _draw(model, protein, n_samples, seed)
    return pd.DataFrame(
        {
            "count": protein_counts(model)[protein],
            "background": (draws.efficiency * draws.background).mean(axis=1),
            "foreground": (draws.efficiency * draws.foreground).mean(axis=1),
            "probability of foreground": draws.probability.mean(axis=1),
            "denoised": (draws.foreground * draws.probability).mean(axis=1),
        },
        index=model.adata.obs_names,
    )


def count_distribution(
    model: scvi.model.TOTALVI, protein: str, cell: str, n_samples: int = 25, seed: int = 0
) -> pd.DataFrame:
    """Return how probable each count of a protein in a cell is, by where the count comes from.

    Parameters
    ----------
    model, protein, n_samples, seed
        As for ``describe_protein``.
    cell
        Its name.

    Returns
    -------
    DataFrame
        One row per count from 0 to where 99.9 % of the foreground lie, or to the measured count if
        that is larger. Columns ``background`` and ``foreground``: the probability of this count
        *and* this component. A row adds up to the likelihood of the count, mean over the draws; a
        column to the probability of the component.

    Raises
    ------
    TypeError, ValueError
        As for ``describe_protein``.
    KeyError
        If there is no such protein or cell.
    """
    require_totalvi(model)
    if cell not in model.adata.obs_names:
        raise KeyError(
            f"The data of this model have no cell '{cell}'. What to do: take a name from "
            f"model.adata.obs_names, such as '{model.adata.obs_names[0]}'."
        )
    position = model.adata.obs_names.get_loc(cell)
    draws = _draw(model, protein, n_samples, seed, [position])
    background, foreground = (draws.efficiency * part for part in draws[:2])
    theta = draws.dispersion
    farthest = nbinom.ppf(1 - LEFT_OUT, theta, theta / (theta + foreground)).max()
    counts = np.arange(max(farthest, protein_counts(model)[protein].iloc[position]) + 1)
    parts = {"background": np.zeros(len(counts)), "foreground": np.zeros(len(counts))}
    # Draw by draw: a wide foreground spans tens of thousands of counts.
    for b, f, p, t in zip(
        background[0], foreground[0], draws.probability[0], theta[0], strict=True
    ):
        parts["background"] += (1 - p) * np.exp(negative_binomial(counts, b, t)) / n_samples
        parts["foreground"] += p * np.exp(negative_binomial(counts, f, t)) / n_samples
    return pd.DataFrame(parts, index=pd.Index(counts.astype(int), name="count"))


def _draw(
    model: scvi.model.TOTALVI,
    protein: str,
    n_samples: int,
    seed: int,
    cells: Sequence[int] | None = None,
) -> _Draws:
    """Draw positions of cells, and return what the decoder says about the protein there."""
    require_totalvi(model)
    names = names_of_proteins(model)
    if protein not in names:
        raise KeyError(f"There is no protein '{protein}'. Proteins: {', '.join(names)}.")
    if n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}. What to do: give at least 1.")
    column = names.index(protein)
    parts = []
    with model_state.evaluating(model, seed), torch.inference_mode():
        loader = model._make_data_loader(adata=model.adata, indices=cells, batch_size=CELLS_AT_ONCE)
        for minibatch in loader:
            _, generative = model.module.forward(
                minibatch, inference_kwargs={"n_samples": n_samples}, compute_loss=False
            )
            parts.append(_of_protein(generative, column, n_samples))
    return _Draws(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _of_protein(generative: forward_pass.Outputs, column: int, n_samples: int) -> _Draws:
    """Read one protein of a minibatch."""
    py = generative["py_"]
    efficiency = numbers(generative["per_batch_efficiency"][:, column].cpu())[:, None]

    def read(tensor: torch.Tensor) -> np.ndarray:
        # Draws x cells; a single draw has no axis, and a dispersion of all cells neither.
        values = numbers(tensor[..., column].cpu())
        return np.broadcast_to(values, (n_samples, len(efficiency))).T

    log_foreground = _log_weights(read(py["mixing"]))[1]
    means = read(py["rate_back"]), read(py["rate_fore"])
    return _Draws(*means, np.exp(log_foreground), read(py["r"]), efficiency)


def require_totalvi(model: scvi.model.TOTALVI) -> None:
    """Raise, with what to do, unless this is a trained TOTALVI with its data."""
    minibatches.require_traceable(model)
    # Not of a subclass: TOTALANVI adds terms to the loss.
    if type(model) is not scvi.model.TOTALVI:
        raise TypeError(
            f"This is a {type(model).__name__}, not a TOTALVI. What to do: give a "
            "scvi.model.TOTALVI; for the loss of others there is loss.by_hand, for their genes "
            "denoising and differential_expression."
        )
    model_state.require_trained(model)


def names_of_proteins(model: scvi.model.TOTALVI) -> list[str]:
    """Return the names of the proteins in the order in which the model has them."""
    return list(map(str, model.protein_state_registry.column_names))


def protein_counts(model: scvi.model.TOTALVI) -> pd.DataFrame:
    """Return the counts of the proteins as the model got them.

    Parameters
    ----------
    model
        A TOTALVI with its data.

    Returns
    -------
    DataFrame
        Cells x proteins, by their names.
    """
    counts = model.adata_manager.get_from_registry(REGISTRY_KEYS.PROTEIN_EXP_KEY)
    return pd.DataFrame(
        np.asarray(counts), index=model.adata.obs_names, columns=names_of_proteins(model)
    )
