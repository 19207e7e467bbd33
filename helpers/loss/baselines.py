"""Tell whether a negative ELBO is good.

The same held-out cells are described by simpler models of counts, in the same unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import poisson
from scvi.distributions import NegativeBinomial
from sklearn.decomposition import PCA

from helpers import figures
from helpers.loss import evaluation, latent_dimensions
from helpers.training import model_state

MODELS = (scvi.model.SCVI, scvi.model.LinearSCVI)
COUNT_LIKELIHOODS = ("zinb", "nb", "poisson")

# A dispersion of 100,000 is a Poisson distribution for all that counts can tell; one below 0.001
# puts nearly every cell at zero. On the cortex cells no gene comes near either.
DISPERSIONS = (1e-3, 1e5)

# How much of the gene's average may be mixed into a description of a cell.
SHARES = (0.003, 0.01, 0.03, 0.1)

# The ELBO of one draw differs from that of the next by 0.4 nats per cell on the 300 held-out cortex
# cells; the mean of 10 draws by a tenth of a nat.
ELBO_DRAWS = 10
# With 400 instead of 50 samples the result is 2.5 nats per cell better, and takes eight times as
# long.
IMPORTANCE_SAMPLES = 50


POSITION = "library size, and {} numbers read from its counts"


@dataclass(frozen=True)
class _Cells:
    """Counts of some cells (cells x genes), their library sizes (cells x 1), and their classes."""

    counts: sp.csr_matrix
    library: np.ndarray
    classes: np.ndarray

    def some(self, rows: np.ndarray) -> _Cells:
        return _Cells(self.counts[rows], self.library[rows], self.classes[rows])


# What a description says of cells: each gene's fraction of the cell's counts (cells x genes).
_Describe = Callable[[_Cells], np.ndarray]


# --- the table ----------------------------------------------------------------------------------


def compare(
    model: scvi.model.SCVI | scvi.model.LinearSCVI,
    class_key: str | None = None,
    more_components: Sequence[int] = (),
) -> pd.DataFrame:
    """Describe the held-out cells of a model in simpler ways too, and tell how well each way does.

    Every way learns from the training cells only, knows a held-out cell's library size, and is
    scored on the held-out cells.

    Parameters
    ----------
    model
        A trained model with a count likelihood. Its batches and covariates, if it has any, are used
        by the rows of scVI only; the others ignore them.
    class_key
        A column of ``obs`` with a class for each cell; adds a row that knows it.
    more_components
        PCA has a row with as many components as the model has latent dimensions; add rows with
        these numbers.

    Returns
    -------
    DataFrame
        A row a description, from the simplest idea to scVI:

        ``knows of the cell``
            What of a held-out cell the description is given.
        ``nats per cell``
            Negative log-likelihood of the counts of all genes, mean over the held-out cells; lower
            is better.
        ``pays for the position``
            "yes" where the position of the cell is charged for: the negative ELBO contains the
            KL divergence, importance sampling averages over positions. "no" where the position is
            free, which favours the row, and the more so the more numbers it has: as many as genes
            could repeat the counts. "-" where there is none.

    Raises
    ------
    TypeError
        If the model is another kind than SCVI or LinearSCVI.
    ValueError
        If the model is untrained, has no held-out cells, no count likelihood or no observed library
        size, or if the counts are not whole numbers.
    KeyError
        If ``obs`` has no such column.

    Notes
    -----
    Counts and library sizes (their sum in a cell) are those that the model is given. A gene's
    fraction is its share of a cell's counts; the mean of a count is library size times fraction.

    *One mean per gene*: the fraction in all training cells together, with one count added to each
    gene, so that none has 0. The dispersions of the negative binomial are those of ``dispersion``.

    *One mean per gene and class*: the fraction in the training cells of the class. A class without
    training cells has the fractions of all; cells without a class are a class of their own.

    *PCA*: fitted to log(1 + 10,000 x fraction) of the training cells. A cell's projection is turned
    back into fractions: no less than 0, each gene times a factor that makes up its total in the
    training cells (the logarithm makes means too small), and summing to 1.

    In the last two, a small share of the gene's fraction in all cells is mixed in, since a count
    where the mean is 0 would be impossible. The share is chosen among ``SHARES`` inside the
    training cells: learned from four of five, scored on the fifth.

    *scVI*: the means of ``evaluation.bounds`` with 10 draws and 50 samples, and the first without
    the KL divergence. Its likelihood is the model's own, by default with extra zeros; the other
    rows have the plain negative binomial.
    """
    _require_comparable(model)
    train, held_out = _split(model, class_key)
    n_latent = model.module.n_latent
    of_scvi = _scvi(model)
    scored = {
        "Poisson, one mean per gene": (
            "library size",
            _poisson(train, held_out),
            "-",
        ),
        "negative binomial, one mean per gene": (
            "library size",
            _negative_binomial(_learn_average, train, held_out),
            "-",
        ),
    }
    if class_key is not None:
        scored["negative binomial, one mean per gene and class"] = (
            "library size and class",
            _negative_binomial(_learn_classes, train, held_out),
            "-",
        )
    for components in (n_latent, *more_components):
        scored[f"PCA, {components} components"] = (
            POSITION.format(components),
            _negative_binomial(partial(_learn_components, components), train, held_out),
            "no",
        )
    position = POSITION.format(n_latent)
    scored |= {
        "scVI, reconstruction loss alone": (position, of_scvi["reconstruction"], "no"),
        "scVI, negative ELBO": (position, of_scvi["negative ELBO"], "yes"),
        "scVI, importance sampling": (position, of_scvi["importance sampling"], "yes"),
    }
    table = pd.DataFrame.from_dict(
        scored,
        orient="index",
        columns=["knows of the cell", "nats per cell", "pays for the position"],
    )
    return table.rename_axis("description")


def _require_comparable(model: scvi.model.SCVI | scvi.model.LinearSCVI) -> None:
    if not isinstance(model, MODELS):
        raise TypeError(
            f"The likelihood of a {type(model).__name__} model is not that of counts alone, or not "
            "of that form. What to do: pass a model of scvi.model.SCVI or scvi.model.LinearSCVI."
        )
    model_state.require_held_out(model)
    if model.module.gene_likelihood not in COUNT_LIKELIHOODS:
        raise ValueError(
            f"The gene_likelihood '{model.module.gene_likelihood}' is a density, which cannot be "
            "compared with probabilities of counts. What to do: make a model with one of "
            f"{', '.join(COUNT_LIKELIHOODS)}."
        )
    if not model.module.use_observed_lib_size or model.module.use_size_factor_key:
        raise ValueError(
            "This model does not use the observed library size, which all others here are given. "
            "What to do: make a model without use_observed_lib_size=False and without "
            "size_factor_key."
        )


def _split(
    model: scvi.model.SCVI | scvi.model.LinearSCVI, class_key: str | None
) -> tuple[_Cells, _Cells]:
    """Return the training cells and the held-out cells of a model."""
    counts = sp.csr_matrix(
        # Enough for whole numbers up to 16 million.
        model.adata_manager.get_from_registry(scvi.REGISTRY_KEYS.X_KEY),
        dtype=np.float32,
    )
    if (counts.data % 1).any():
        raise ValueError(
            "The model was given numbers that are not whole, so they are no counts. "
            'What to do: name the layer with the counts, SCVI.setup_anndata(adata, layer="counts").'
        )
    obs = model.adata.obs
    if class_key is not None and class_key not in obs:
        raise KeyError(f"obs has no column '{class_key}'. Columns: {', '.join(obs.columns)}.")
    classes = np.zeros(len(obs), int) if class_key is None else pd.factorize(obs[class_key])[0]
    every = _Cells(counts, _sum(counts, axis=1).reshape(-1, 1), classes)
    return every.some(model.train_indices), every.some(model.validation_indices)


# --- the scores ---------------------------------------------------------------------------------


def _poisson(train: _Cells, held_out: _Cells) -> float:
    """Return the mean negative log-likelihood (nats per cell) with one mean per gene."""
    mean = held_out.library * _average(train)
    return -float(poisson.logpmf(held_out.counts.toarray(), mean).sum(axis=1).mean())


def _negative_binomial(
    learn: Callable[[_Cells], _Describe], train: _Cells, held_out: _Cells
) -> float:
    """Return the mean negative log-likelihood (nats per cell), with the means of ``learn``."""
    # An average mixed with itself stays what it is.
    share = 0.0 if learn is _learn_average else _share_of_average(learn, train)
    describe, average = learn(train), _average(train)
    theta = dispersion(train.counts, _means(describe, train, average, share))
    means = _means(describe, held_out, average, share)
    return -_log_likelihood(held_out.counts, means, theta)


def _log_likelihood(counts: sp.csr_matrix, means: np.ndarray, theta: np.ndarray) -> float:
    """Return the log-likelihood under negative binomials, mean over cells (nats per cell)."""
    total = 0.0
    # A few cells at a time: PyTorch keeps the memory that it took.
    for rows in np.array_split(np.arange(len(means)), len(means) // 50 + 1):
        # Of the same library as scVI's own likelihood, and much faster than SciPy's.
        likelihood = NegativeBinomial(
            mu=torch.from_numpy(means[rows]), theta=torch.from_numpy(theta)
        )
        total += float(likelihood.log_prob(torch.from_numpy(counts[rows].toarray())).sum())
    return total / len(means)


def _means(describe: _Describe, cells: _Cells, average: np.ndarray, share: float) -> np.ndarray:
    """Return the mean of each count (cells x genes)."""
    # In place: for many cells this is the largest array there is.
    means = describe(cells)
    means *= 1 - share
    means += share * average
    means *= cells.library
    return means


def _share_of_average(learn: Callable[[_Cells], _Describe], train: _Cells) -> float:
    """Choose how much of the gene's average to mix in, on a fifth of the training cells."""
    aside = np.arange(len(train.library)) % 5 == 0
    rest, scored = train.some(~aside), train.some(aside)
    describe, average = learn(rest), _average(rest)
    # One dispersion for all shares: it takes most of the time, and hardly depends on them.
    theta = dispersion(scored.counts, _means(describe, scored, average, SHARES[0]))

    def score(share: float) -> float:
        return _log_likelihood(scored.counts, _means(describe, scored, average, share), theta)

    return max(SHARES, key=score)


def dispersion(counts: sp.csr_matrix, means: np.ndarray) -> np.ndarray:
    """Return the dispersion of each gene that makes its counts most likely, with the means given.

    Parameters
    ----------
    counts
        Cells x genes, sparse.
    means
        Mean of each count (cells x genes), above 0.

    Returns
    -------
    ndarray
        Theta of each gene (no unit), such that variance = mean + mean² / theta. It lies in
        ``DISPERSIONS``: counts that vary no more than Poisson counts have no finite theta, and get
        the upper end.

    Notes
    -----
    Maximum likelihood, a search along log theta gene by gene (Brent's method). Of the
    log-likelihood of the negative binomial in mean and dispersion (Hilbe 2011, "Negative Binomial
    Regression", chapter 8) only the terms with theta matter here.
    """
    # Gene by gene, so the genes' counts should lie together in memory.
    by_gene = counts.toarray(order="F")
    return np.array(
        [_dispersion_of_gene(x, mean) for x, mean in zip(by_gene.T, means.T, strict=True)]
    )


def _dispersion_of_gene(counts: np.ndarray, means: np.ndarray) -> float:
    # The same few counts occur again and again, and log-gamma is slow.
    values, cells = np.unique(counts, return_counts=True)

    def loss(log_theta: float) -> float:
        theta = np.exp(log_theta)
        return (
            (counts + theta) @ np.log(means + theta)
            - len(counts) * theta * log_theta
            - cells @ (gammaln(values + theta) - gammaln(theta))
        )

    # A hundredth of theta more or less changes the sum over 2,000 genes by hundredths of a nat.
    found = minimize_scalar(
        loss, bounds=np.log(DISPERSIONS), method="bounded", options={"xatol": 1e-2}
    )
    return float(np.exp(found.x))


def _scvi(model: scvi.model.SCVI | scvi.model.LinearSCVI) -> dict[str, float]:
    """Return negative ELBO, importance sampling, and reconstruction loss alone (nats per cell)."""
    means = evaluation.bounds(model, ELBO_DRAWS, IMPORTANCE_SAMPLES).mean()
    # Unlike the ELBO, the KL divergence does not hang on a draw.
    kl = latent_dimensions.dimensions_in_use(model, model.validation_indices)["kl"].sum()
    return {**means.to_dict(), "reconstruction": means["negative ELBO"] - kl}


# --- the descriptions ---------------------------------------------------------------------------


def _average(cells: _Cells) -> np.ndarray:
    """Return each gene's fraction of all counts, with one count added to each gene."""
    total = _total(cells.counts) + 1
    return total / total.sum()


def _sum(counts: sp.csr_matrix, axis: int) -> np.ndarray:
    return np.asarray(counts.sum(axis=axis, dtype=np.float64)).ravel()


def _total(counts: sp.csr_matrix) -> np.ndarray:
    return _sum(counts, axis=0)


def _learn_average(train: _Cells) -> _Describe:
    average = _average(train)
    return lambda cells: np.tile(average, (len(cells.library), 1))


def _learn_classes(train: _Cells) -> _Describe:
    average = _average(train)
    fractions = {}
    for name in np.unique(train.classes):
        total = _total(train.counts[train.classes == name])
        fractions[name] = total / total.sum()
    return lambda cells: np.stack([fractions.get(name, average) for name in cells.classes])


def _learn_components(components: int, train: _Cells) -> _Describe:
    # This solver takes a sparse matrix as it is.
    pca = PCA(components, svd_solver="arpack", random_state=0).fit(_log_normalised(train))

    def turned_back(cells: _Cells) -> np.ndarray:
        fractions = pca.transform(_log_normalised(cells)) @ pca.components_
        fractions += pca.mean_
        np.maximum(fractions, 0, out=fractions)
        np.expm1(fractions, out=fractions)
        fractions /= fractions.sum(axis=1, keepdims=True)
        return fractions

    # One more count on both sides, for a gene that no training cell has.
    expected = train.library.ravel() @ turned_back(train)
    factor = (_total(train.counts) + 1) / (expected + 1)

    def describe(cells: _Cells) -> np.ndarray:
        fractions = turned_back(cells)
        fractions *= factor
        fractions /= fractions.sum(axis=1, keepdims=True)
        return fractions

    return describe


def _log_normalised(cells: _Cells) -> sp.csr_matrix:
    return cells.counts.multiply(1e4 / cells.library).tocsr().log1p()


# --- the figure ---------------------------------------------------------------------------------


def plot(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``compare``: a dot a description, at its nats per cell."""
    nats = table["nats per cell"]
    charged = table["pays for the position"] == "yes"
    margin = 0.08 * (nats.max() - nats.min())
    with figures.style():
        figure = Figure(figsize=(7.4, 0.4 * len(table) + 1.2))
        axes = figure.subplots()
        axes.grid(axis="y", linestyle=":", color="0.8")
        for rows, colour, marker, label in (
            (~charged, figures.COLOURS[0], "o", "no position, or a free one"),
            (charged, figures.COLOURS[1], "D", "pays for the position"),
        ):
            axes.plot(nats[rows], np.flatnonzero(rows), marker, color=colour, label=label, zorder=3)
        for row, value in enumerate(nats):
            axes.annotate(
                figures.about(value),
                (value, row),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(table)), table.index)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set(
            xlabel=(
                "negative log-likelihood of held-out cells (nats per cell; axis does not start at "
                "0)"
            ),
            xlim=(nats.min() - margin, nats.max() + 2 * margin),
        )
        axes.legend(loc="lower right")
    # Two digits: the third of a model that was trained differs from processor to processor.
    said = "; ".join(f"{name}: {figures.about(value, 2)}" for name, value in nats.items())
    return figures.DescribedFigure(
        figure,
        "Dot chart of the negative log-likelihood of the held-out cells in nats per cell; lower "
        f"is better. {said}. The axis starts near the lowest value, not at 0.",
    )
