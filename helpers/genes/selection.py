"""Which genes to keep: what ``seurat_v3`` computes, step by step, and how other choices compare."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from matplotlib.figure import Figure
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from helpers import figures
from helpers.genes import log_normalisation

try:
    from skmisc.loess import loess
except ImportError as error:
    raise ImportError(
        "The package scikit-misc is missing or damaged, which fits the curve of "
        'flavor="seurat_v3".\n'
        "What to do: run `make lab` again, which installs what is missing; in an environment of "
        "your own, install the package scikit-misc; then restart the kernel."
    ) from error


def select(adata: ad.AnnData, n_top_genes: int = 2000, batch_key: str | None = None) -> None:
    """Keep the most variable genes of ``layers["counts"]``, in place.

    This is the call of lesson 01, for lessons that start from it.

    Parameters
    ----------
    adata
        Cells x genes; its other genes are dropped.
    n_top_genes
        How many genes to keep.
    batch_key
        The column of ``obs`` with the batches. Genes are then ranked in each batch by itself, and
        those kept that are among the first ``n_top_genes`` of most batches; so a gene that only
        differs between batches does not count as variable.

    Warns
    -----
    UserWarning
        If the curve of some batches cannot be fitted, because they have few cells or few counts.
        Genes are then ranked in those batches as if they were one, or, if that is not enough
        either, in the other batches only. No cell is dropped.

    Raises
    ------
    ValueError
        If there is no such layer, or too few counts in it to fit the curve.
    """
    if "counts" not in adata.layers:
        raise ValueError(
            "There is no layer 'counts', from which genes are selected.\n"
            "What to do: adata.layers['counts'] = adata.X.copy(), if X holds the raw counts; "
            "data.check_counts(adata) tells."
        )
    how = {"n_top_genes": n_top_genes, "layer": "counts", "flavor": "seurat_v3"}
    groups = None if batch_key is None else pd.Series(adata.obs[batch_key]).astype(str)
    try:
        if _can_be_tried(adata, groups):
            sc.pp.highly_variable_genes(adata, subset=True, batch_key=batch_key, **how)
            return
        reason = "too few genes differ between cells"
    except ValueError as error:
        # The curve is fitted by a library of C, which says only "svddc failed" and the like.
        reason = str(error)
    groups = None if groups is None else _groups_with_a_curve(adata, groups)
    if groups is None:
        raise ValueError(
            f"The curve of the expected variance cannot be fitted ({reason}): too few genes or "
            "cells differ.\n"
            "What to do: drop genes that few cells have, sc.pp.filter_genes(adata, min_cells=3), "
            "or take more cells."
        )
    ranked = groups.notna().to_numpy()
    counts = sp.csr_matrix(adata.layers["counts"])[ranked]
    some = ad.AnnData(
        obs=pd.DataFrame({"group": groups[ranked]}, index=adata.obs_names[ranked].astype(str)),
        var=pd.DataFrame(index=adata.var_names),
        layers={"counts": counts},
    )
    table = sc.pp.highly_variable_genes(some, inplace=False, batch_key="group", **how)
    for name in table:
        adata.var[name] = table[name].to_numpy()
    adata._inplace_subset_var(table["highly_variable"].to_numpy(dtype=bool))


# With fewer points the library that fits the curve ends Python in some runs (three points), or
# fits nothing (fifteen).
FEWEST_POINTS = 20

# By these words a warning of ``select`` is known.
RANKED = "too few cells or counts to rank genes in them"

# How the batches are called that are ranked as if they were one.
JOINED = "joined batches"


def _can_be_tried(adata: ad.AnnData, groups: pd.Series | None) -> bool:
    """Tell whether each group has so many genes that differ that a curve may be fitted at all."""
    parts = [adata.layers["counts"]] if groups is None else list(_parts(adata, groups).values())
    return all(_points(part) >= FEWEST_POINTS for part in parts)


def _parts(adata: ad.AnnData, groups: pd.Series) -> dict[str, sp.csr_matrix]:
    counts = sp.csr_matrix(adata.layers["counts"])
    return {name: counts[(groups == name).to_numpy()] for name in sorted(set(groups.dropna()))}


def _points(counts: Any) -> int:
    """Return how many genes have not the same count in all cells."""
    counts = sp.csr_matrix(counts)
    if counts.shape[0] < 2:
        return 0
    return int((_moments(counts)["variance"] > 0).sum())


def _has_curve(counts: sp.csr_matrix) -> bool:
    if _points(counts) < FEWEST_POINTS:
        return False
    try:
        return bool(np.isfinite(expected_variance(_moments(counts))).all())
    except ValueError:
        return False


def _groups_with_a_curve(adata: ad.AnnData, batches: pd.Series) -> pd.Series | None:
    """Return in which group each cell is ranked: its batch, or with others that have no curve.

    Cells that are not ranked have none; None if no cell can be ranked. A warning says which.
    """
    parts = _parts(adata, batches)
    without = [name for name, counts in parts.items() if not _has_curve(counts)]
    groups = batches.where(~batches.isin(without), JOINED)
    together = _has_curve(_parts(adata, groups)[JOINED]) if without else True
    if not together:
        groups = groups.where(groups != JOINED)
        if len(without) == len(parts):
            return None
    listed = ", ".join(f"{name} {parts[name].shape[0]:,}" for name in without[:8])
    how = "they were ranked as one batch" if together else "they were ranked in the others only"
    warnings.warn(
        f"{len(without)} of {len(parts)} batches have {RANKED}: {listed}"
        f"{' ...' if len(without) > 8 else ''} cells; {how}.",
        stacklevel=3,
    )
    return groups


# --- the steps of seurat_v3 ---------------------------------------------------------------------


def mean_and_variance(adata: ad.AnnData) -> pd.DataFrame:
    """Return the mean and the variance of each gene's counts over cells.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.

    Returns
    -------
    DataFrame
        One row per gene: ``mean`` (counts per cell) and ``variance`` (counts squared, divided by
        n - 1).
    """
    return _moments(sp.csr_matrix(adata.layers["counts"])).set_axis(adata.var_names)


def _moments(counts: sp.csr_matrix) -> pd.DataFrame:
    n = counts.shape[0]
    mean = _total_per_gene(counts, counts.data) / n
    mean_of_squares = _total_per_gene(counts, counts.data.astype(np.float64) ** 2) / n
    variance = (mean_of_squares - mean**2) * n / (n - 1)
    return pd.DataFrame({"mean": mean, "variance": variance})


def expected_variance(table: pd.DataFrame) -> pd.Series:
    """Return the variance that a gene of this mean usually has: a smooth curve through all genes.

    Parameters
    ----------
    table
        One row per gene with ``mean`` and ``variance``.

    Returns
    -------
    Series
        Expected variance (counts squared) of each gene.

    Notes
    -----
    A local quadratic regression (loess, span 0.3) of log10(variance) on log10(mean), as in
    Stuart et al. 2019, Cell 177:1888. A gene with the same count in all cells has no logarithm of
    the variance; it is left out of the fit, and 1 is expected of it, as in scanpy.

    The fit magnifies rounding: other last digits of the input move the curve by up to 0.2 % where
    genes are few (at large means). So print no more than two digits of what depends on it.
    """
    mean, variance = table["mean"].to_numpy(), table["variance"].to_numpy()
    varies = variance > 0
    curve = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=0.3, degree=2)
    curve.fit()
    expected = np.ones(len(table))
    expected[varies] = 10**curve.outputs.fitted_values
    return pd.Series(expected, index=table.index, name="expected variance")


def standardised_variance(adata: ad.AnnData, table: pd.DataFrame, clip: bool = True) -> pd.Series:
    """Return each gene's variance after its counts were divided by the usual spread at its mean.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.
    table
        One row per gene with ``mean`` and ``expected variance``.
    clip
        Whether a standardised count is limited to the square root of the number of cells, so that
        no single cell can make a gene look variable.

    Returns
    -------
    Series
        Standardised variance (no unit); 1 is what is usual for the mean of the gene.

    Notes
    -----
    The variance of z = (count - mean) / sqrt(expected variance), with z limited to sqrt(n), n cells
    (Stuart et al. 2019, Cell 177:1888).
    """
    n, counts = adata.n_obs, sp.csr_matrix(adata.layers["counts"])
    mean = table["mean"].to_numpy()
    spread = np.sqrt(table["expected variance"].to_numpy())
    values = counts.data.astype(np.float64)
    if clip:
        np.minimum(values, (mean + np.sqrt(n) * spread)[counts.indices], out=values)
    total = _total_per_gene(counts, values)
    total_of_squares = _total_per_gene(counts, values**2)
    result = (n * mean**2 + total_of_squares - 2 * mean * total) / ((n - 1) * spread**2)
    return pd.Series(result, index=table.index, name="standardised variance")


def _total_per_gene(counts: sp.csr_matrix, values: np.ndarray) -> np.ndarray:
    """Add up values, one for each stored entry of ``counts``, gene by gene, in double precision."""
    return np.bincount(counts.indices, weights=values, minlength=counts.shape[1])


def plot_mean_variance(table: pd.DataFrame, label: tuple[str, ...] = ()) -> figures.DescribedFigure:
    """Draw variance against mean, one point per gene, with the Poisson line.

    The expected variance is drawn, too, if it is there.

    Parameters
    ----------
    table
        One row per gene with ``mean``, ``variance`` and, optionally, ``expected variance``.
    label
        Genes to name in the figure.
    """
    ordered = table.sort_values("mean")
    above = int((table["variance"] > table["mean"]).sum())
    with figures.style():
        figure = Figure(figsize=(6.4, 4.2))
        axes = figure.subplots()
        axes.scatter(
            ordered["mean"],
            ordered["variance"],
            s=4,
            color=figures.COLOURS[5],
            alpha=0.6,
            label="a gene",
        )
        axes.plot(
            ordered["mean"],
            ordered["mean"],
            "--",
            color=figures.COLOURS[6],
            label="Poisson: variance = mean",
        )
        if "expected variance" in ordered:
            axes.plot(
                ordered["mean"],
                ordered["expected variance"],
                color=figures.COLOURS[1],
                label="expected variance",
            )
        for gene in label:
            axes.annotate(
                gene,
                table.loc[gene, ["mean", "variance"]],
                xytext=(8, 8),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-"},
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="mean (counts per cell)",
            ylabel="variance (counts squared)",
        )
        axes.legend()
    return figures.DescribedFigure(
        figure,
        f"Scatter plot of variance against mean for {len(table):,} genes, both axes logarithmic. "
        f"{above:,} genes lie above the Poisson line, and the variance grows with the mean."
        + _above_expected(table, label),
    )


def _above_expected(table: pd.DataFrame, label: tuple[str, ...]) -> str:
    """Say which genes lie above the curve of the expected variance, if it is there."""
    if "expected variance" not in table:
        return ""
    above = table["variance"] > table["expected variance"]
    text = (
        " A curve is the variance that is usual for the mean; about "
        f"{figures.about(above.sum(), 2)} genes lie above it."
    )
    named = [f"{gene} {'above' if above[gene] else 'below'}" for gene in label]
    return f"{text} Of those named: {', '.join(named)}." if named else text


# --- other choices ------------------------------------------------------------------------------


def compare_flavours(adata: ad.AnnData, n_top_genes: int = 2000) -> pd.DataFrame:
    """Select genes in three ways.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``; it is not changed.
    n_top_genes
        How many genes each way selects.

    Returns
    -------
    DataFrame
        One row per gene, one column per flavour; True where it is selected. ``seurat_v3`` reads
        counts; ``seurat`` and ``cell_ranger`` read log-normalised values, which are made here.
    """
    values = log_normalisation.log_counts(adata)
    values.layers["counts"] = adata.layers["counts"]
    selected = {}
    for flavour, layer in (("seurat_v3", "counts"), ("seurat", None), ("cell_ranger", None)):
        result = sc.pp.highly_variable_genes(
            values, n_top_genes=n_top_genes, flavor=flavour, layer=layer, inplace=False
        )
        # For some flavours scanpy returns a table without gene names, in the order of the genes.
        selected[flavour] = result["highly_variable"].to_numpy()
    return pd.DataFrame(selected, index=adata.var_names)


def overlap(selected: pd.DataFrame) -> pd.DataFrame:
    """Return how many genes each pair of columns of ``compare_flavours`` has in common."""
    numbers = selected.to_numpy().astype(int)
    return pd.DataFrame(numbers.T @ numbers, index=selected.columns, columns=selected.columns)


def plot_overlap(selected: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the shared genes of each pair of flavours, beside what a random choice would share."""
    shared, n_top = overlap(selected), int(selected.iloc[:, 0].sum())
    pairs = [(a, b) for i, a in enumerate(shared) for b in shared.columns[i + 1 :]]
    numbers = [int(shared.loc[pair]) for pair in pairs]
    chance = n_top**2 / len(selected)
    with figures.style():
        figure = Figure(figsize=(6.4, 2.6))
        axes = figure.subplots()
        bars = axes.barh([f"{a} and {b}" for a, b in pairs], numbers, color=figures.COLOURS[0])
        axes.bar_label(bars, padding=3)
        axes.axvline(
            chance, linestyle="--", color=figures.COLOURS[6], label=f"by chance: {chance:,.0f}"
        )
        axes.set(xlabel=f"genes in common (of {n_top:,})", xlim=(0, n_top))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.25))
    said = "; ".join(
        f"{a} and {b} share {number:,}" for (a, b), number in zip(pairs, numbers, strict=True)
    )
    return figures.DescribedFigure(
        figure,
        f"Bar chart of shared genes out of {n_top:,}: {said}. Chance alone would give "
        f"{chance:,.0f}.",
    )


def class_accuracy(adata: ad.AnnData, genes: pd.Index) -> float:
    """Tell how well a set of genes separates the published classes, without scVI.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]`` and ``obs["cell_type"]``.
    genes
        The genes to use.

    Returns
    -------
    float
        Share (0 to 1) of cells whose class is that of most of their 15 nearest neighbours, in
        five-fold cross-validation, on the first 30 principal components of the log-normalised
        counts.
    """
    components = log_normalisation.principal_components(adata[:, genes], 30)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(
        cross_val_score(
            KNeighborsClassifier(15), components, adata.obs["cell_type"], cv=folds
        ).mean()
    )
