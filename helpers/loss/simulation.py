"""Simulated cells, whose truth is known, so that a trained model can be compared with it.

Each cell has a position z in two latent dimensions. A gene has the mean size factor *
exp(intercept + loadings * z), and its counts are drawn from a negative binomial distribution. An
SCVI model with a size factor can represent such cells, so all that it lacks it lacks by training.
"""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.figure import Figure
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp
from scvi.model import SCVI

from helpers import figures, training
from helpers.loss import evaluation

N_LATENT = 2

# How many z are drawn for a cell, for ln p(x) and for the ELBO: so many that another seed changes
# the averages over 200 held-out cells by about 0.01 nats.
LIKELIHOOD_DRAWS = 1000
ELBO_DRAWS = 100

COLUMNS = ("truth", "model", "negative ELBO")


# --- the cells ----------------------------------------------------------------------------------


def cells(n_cells: int = 2000, n_genes: int = 100, seed: int = 0) -> ad.AnnData:
    """Simulate cells from a known latent representation, a known decoder and known dispersions.

    Parameters
    ----------
    n_cells, n_genes
        How many.
    seed
        Seed of the random numbers. The truth of the genes does not depend on the number of cells.

    Returns
    -------
    AnnData
        ``X`` and ``layers["counts"]``: counts, cells x genes, CSR float32. ``obs["size_factor"]``:
        what the means of a cell are multiplied by (no unit, near 1). The truth:
        ``obsm["true_latent"]`` (cells x 2), ``varm["true_loadings"]`` (genes x 2),
        ``var["true_intercept"]`` (logarithm of a mean) and ``var["true_dispersion"]`` (theta).

    Raises
    ------
    ValueError
        If there are so few genes that a cell has no counts.
    """
    random = np.random.default_rng(seed)
    intercept = random.normal(0, 1, n_genes)
    loadings = random.normal(0, 0.5, (n_genes, N_LATENT))
    dispersion = random.gamma(4, 0.5, n_genes)
    size_factor = random.lognormal(0, 0.3, n_cells)
    latent = random.normal(size=(n_cells, N_LATENT))
    mean = size_factor[:, None] * np.exp(intercept + latent @ loadings.T)
    # NumPy's negative binomial counts failures before theta successes of this probability.
    counts = random.negative_binomial(dispersion, dispersion / (dispersion + mean))
    empty = int((counts.sum(axis=1) == 0).sum())
    if empty:
        raise ValueError(
            f"{empty:,} of {n_cells:,} simulated cells have no counts in {n_genes} genes, and scVI "
            "needs at least one. Simulate more genes: n_genes=100."
        )
    matrix = sp.csr_matrix(counts, dtype=np.float32)
    return ad.AnnData(
        matrix,
        layers={"counts": matrix.copy()},
        obs=pd.DataFrame(
            {"size_factor": size_factor}, index=[f"simulated cell {i + 1}" for i in range(n_cells)]
        ),
        obsm={"true_latent": latent},
        var=pd.DataFrame(
            {"true_intercept": intercept, "true_dispersion": dispersion},
            index=[f"simulated gene {i + 1}" for i in range(n_genes)],
        ),
        varm={"true_loadings": loadings},
    )


# --- how probable the truth makes them ----------------------------------------------------------


def true_log_likelihood(adata: ad.AnnData, n_nodes: int = 20) -> np.ndarray:
    """Return ln p(x): how probable the true decoder makes the counts of each cell.

    Parameters
    ----------
    adata
        Cells made by ``cells``, or some of them.
    n_nodes
        Points of the numerical integration along each of the two latent dimensions.

    Returns
    -------
    array
        Nats per cell, one number for each cell of ``adata``.

    Raises
    ------
    ValueError
        If the cells were not made by ``cells``.

    Notes
    -----
    The integral of p(x | z) p(z) over z, by adaptive Gauss-Hermite quadrature: the points are
    placed around the most probable z, as wide as the curvature there says (Naylor and Smith 1982,
    Journal of the Royal Statistical Society C 31:214).
    """
    _require_truth(adata)
    points, weights = hermegauss(n_nodes)
    grid = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, N_LATENT)
    # The points are made for the integral of f(t) exp(-t^2 / 2); here the whole of it is f.
    log_weights = np.log(np.outer(weights, weights)).ravel() + (grid**2).sum(axis=1) / 2
    counts = sp.csr_matrix(adata.layers["counts"]).toarray().astype(float)
    log_size_factor = np.log(adata.obs["size_factor"].to_numpy())
    result = np.empty(adata.n_obs)
    for i in range(adata.n_obs):
        cell = _Cell(
            counts[i],
            log_size_factor[i] + adata.var["true_intercept"].to_numpy(),
            np.asarray(adata.varm["true_loadings"]),
            adata.var["true_dispersion"].to_numpy(),
        )
        result[i] = cell.integrate(grid, log_weights)
    return result


@dataclass(frozen=True)
class _Cell:
    """A cell's ln p(x | z) + ln p(z) as a function of z, with its first two derivatives.

    Seen from z it is concave, so that it has one peak, which Newton's method finds.
    """

    counts: np.ndarray
    log_mean: np.ndarray  # of each gene at z = 0
    loadings: np.ndarray
    dispersion: np.ndarray

    def integrate(self, grid: np.ndarray, log_weights: np.ndarray) -> float:
        """Return the logarithm of the integral over z, from points around the peak."""
        peak = minimize(
            lambda z: -self.log_joint(z),
            x0=np.zeros(N_LATENT),
            jac=lambda z: -self.gradient(z),
            hess=self.curvature,
            method="trust-exact",
        ).x
        factor = np.linalg.cholesky(np.linalg.inv(self.curvature(peak)))
        values = self.log_joint(peak + grid @ factor.T)
        return float(logsumexp(values + log_weights) + np.log(np.linalg.det(factor)))

    def log_joint(self, z: np.ndarray) -> np.ndarray:
        """Return ln p(x | z) + ln p(z) in nats, for z of shape (2,) or (points, 2)."""
        x, theta = self.counts, self.dispersion
        log_mean = self.log_mean + z @ self.loadings.T
        of_counts = gammaln(x + theta) - gammaln(theta) - gammaln(x + 1) + theta * np.log(theta)
        given_z = x * log_mean - (x + theta) * np.log(theta + np.exp(log_mean))
        prior = -(z**2).sum(axis=-1) / 2 - N_LATENT * np.log(2 * np.pi) / 2
        return of_counts.sum() + given_z.sum(axis=-1) + prior

    def gradient(self, z: np.ndarray) -> np.ndarray:
        """Return the derivative of ``log_joint`` at one z."""
        mean = np.exp(self.log_mean + self.loadings @ z)
        slope = (self.counts - mean) * self.dispersion / (self.dispersion + mean)
        return slope @ self.loadings - z

    def curvature(self, z: np.ndarray) -> np.ndarray:
        """Return minus the second derivative of ``log_joint`` at one z, 2 x 2."""
        mean = np.exp(self.log_mean + self.loadings @ z)
        bend = (self.counts + self.dispersion) * self.dispersion * mean
        bend /= (self.dispersion + mean) ** 2
        return (self.loadings.T * bend) @ self.loadings + np.eye(N_LATENT)


# --- how probable a model makes them ------------------------------------------------------------


def compare(model: SCVI) -> pd.DataFrame:
    """Compare a model with the truth on the cells that were held out of its training.

    Parameters
    ----------
    model
        A trained SCVI, set up with ``layer="counts", size_factor_key="size_factor"`` on cells made
        by ``cells``.

    Returns
    -------
    DataFrame
        A row a held-out cell, in nats: ``truth``, -ln p(x) under the true decoder; ``model``, -ln
        p(x) under the decoder of the model; ``negative ELBO`` of the model. On average each is at
        least as large as the one before.

    Raises
    ------
    ValueError
        If the cells were not made by ``cells``, or the model was set up without their counts and
        size factors, is not trained, or held no cells out.

    Notes
    -----
    ``model`` is an estimate by importance sampling (see ``evaluation.bounds``). With finitely
    many draws it is a little too large on average.
    """
    _require_comparable(model)
    found = evaluation.bounds(model, ELBO_DRAWS, LIKELIHOOD_DRAWS, samples_at_once=100)
    columns = (
        -true_log_likelihood(model.adata[found.index]),
        found["importance sampling"],
        found["negative ELBO"],
    )
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=found.index)


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Split the negative ELBO of ``compare``'s table into what no model can avoid, and two gaps.

    Parameters
    ----------
    table
        A row a cell: ``truth``, ``model`` and ``negative ELBO``, in nats.

    Returns
    -------
    DataFrame
        Rows ``truth``, ``the model is not the truth`` and ``the bound is not tight``, which add up
        to the last, ``negative ELBO``. Columns ``nats per cell``, the mean over cells, and
        ``standard error``, how far that mean would typically be off because there are only so many
        cells.
    """
    parts = pd.DataFrame(
        {
            "truth": table["truth"],
            "the model is not the truth": table["model"] - table["truth"],
            "the bound is not tight": table["negative ELBO"] - table["model"],
            "negative ELBO": table["negative ELBO"],
        }
    )
    return pd.DataFrame({"nats per cell": parts.mean(), "standard error": parts.sem()})


def _require_truth(adata: ad.AnnData) -> None:
    known = {"true_intercept", "true_dispersion"} <= set(
        adata.var
    ) and "true_loadings" in adata.varm
    if not (known and "size_factor" in adata.obs and "counts" in adata.layers):
        raise ValueError(
            "The truth of these cells is not known: it is only known of simulated cells. Make "
            "some: adata = simulation.cells()."
        )


def _require_comparable(model: SCVI) -> None:
    _require_truth(model.adata)
    setup = model.registry["setup_args"]
    if (setup["layer"], setup["size_factor_key"]) != ("counts", "size_factor"):
        raise ValueError(
            "The model does not read the counts and the size factors that the truth has. Set it up "
            'with SCVI.setup_anndata(adata, layer="counts", size_factor_key="size_factor") and '
            "make it anew: SCVI(adata)."
        )
    training.require_held_out(model)


def plot(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``compare``: three averages on one axis, and the two gaps between them.

    Parameters
    ----------
    table
        A row a cell: ``truth``, ``model`` and ``negative ELBO``, in nats.
    """
    average, parts = table.mean(), gaps(table)["nats per cell"]
    names = ("-ln p(x), truth", "-ln p(x), model", "negative ELBO, model")
    steps = parts.index[1:3]
    with figures.style():
        figure = Figure(figsize=(7.2, 3))
        axes = figure.subplots()
        for row, column in enumerate(COLUMNS):
            axes.plot(average[column], row, "o", markersize=9, color=figures.COLOURS[row])
            axes.annotate(
                f"{average[column]:,.1f}",
                (average[column], row),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
            )
        for row, step in enumerate(steps):
            start, end = average[COLUMNS[row]], average[COLUMNS[row + 1]]
            axes.plot([start, start], [row, row + 0.5], ":", color=figures.COLOURS[6])
            axes.plot([end, end], [row + 0.5, row + 1], ":", color=figures.COLOURS[6])
            axes.plot([start, end], [row + 0.5] * 2, linewidth=5, color=figures.COLOURS[row + 1])
            axes.annotate(
                f"{step}: {parts[step]:+.2f}",
                (max(start, end), row + 0.5),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        room = 0.15 * float(np.ptp(average))
        axes.set(
            xlabel=(
                f"nats per cell, mean of {len(table):,} held-out cells (the axis does not start at "
                "0)"
            ),
            xlim=(average.min() - room, average.max() + 7 * room),
            yticks=range(len(names)),
            yticklabels=names,
            ylim=(len(names) - 0.6, -0.4),
        )
    return figures.DescribedFigure(
        figure,
        f"Three points on an axis in nats per cell, means of {len(table):,} held-out simulated "
        f"cells. -ln p(x) under the truth: {average['truth']:,.1f}. -ln p(x) under the model: "
        f"{average['model']:,.1f}, {parts[steps[0]]:+.2f}, because the model is not the truth. "
        f"Negative ELBO of the model: {average['negative ELBO']:,.1f}, {parts[steps[1]]:+.2f}, "
        "because the bound is not tight.",
    )
