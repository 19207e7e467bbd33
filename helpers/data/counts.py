"""What a count matrix looks like before any model sees it."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from helpers import figures


def per_cell(adata: ad.AnnData) -> pd.DataFrame:
    """Return what was counted in each cell.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.

    Returns
    -------
    DataFrame
        One row per cell: ``library size`` (counts), ``genes seen`` (with at least one count), and
        ``share of zeros`` (0 to 1).
    """
    counts = sp.csr_matrix(adata.layers["counts"])
    seen = counts.getnnz(axis=1)
    return pd.DataFrame(
        {
            "library size": np.asarray(counts.sum(axis=1)).ravel().astype(int),
            "genes seen": seen,
            "share of zeros": 1 - seen / adata.n_vars,
        },
        index=adata.obs_names,
    )


def share_of_zeros(adata: ad.AnnData) -> float:
    """Return the share (0 to 1) of the entries of ``layers["counts"]`` that are zero."""
    counts = sp.csr_matrix(adata.layers["counts"])
    return 1 - float(counts.count_nonzero()) / (adata.n_obs * adata.n_vars)


def thin(adata: ad.AnnData, keep: float, seed: int = 0) -> ad.AnnData:
    """Lose molecules at random, as if the cells had been sequenced less deeply.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.
    keep
        Probability (0 to 1) that a molecule is kept.
    seed
        Seed of the random numbers.

    Returns
    -------
    AnnData
        The same cells and genes with thinned counts in ``X`` and ``layers["counts"]``.

    Notes
    -----
    Each count becomes a draw from Binomial(count, keep).
    """
    thinned = sp.csr_matrix(adata.layers["counts"]).copy()
    thinned.data = (
        np.random.default_rng(seed).binomial(thinned.data.astype(int), keep).astype(np.float32)
    )
    thinned.eliminate_zeros()
    return ad.AnnData(
        thinned, obs=adata.obs.copy(), var=adata.var.copy(), layers={"counts": thinned.copy()}
    )


def plot_matrix(adata: ad.AnnData, cells: int = 300, genes: int = 400) -> figures.DescribedFigure:
    """Draw a corner of the matrix as the model will see it.

    It has one row per cell, one column per gene, and a colour for each count.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.
    cells, genes
        How many of each to draw, spread evenly over the matrix.
    """
    rows = np.linspace(0, adata.n_obs - 1, min(cells, adata.n_obs)).astype(int)
    columns = np.linspace(0, adata.n_vars - 1, min(genes, adata.n_vars)).astype(int)
    corner = sp.csr_matrix(adata.layers["counts"])[rows][:, columns].toarray()
    with figures.style():
        figure = Figure(figsize=(6.4, 4.2))
        axes = figure.subplots()
        # A logarithmic colour scale has no place for zero, so zeros stay white.
        image = axes.imshow(
            np.ma.masked_equal(corner, 0),
            aspect="auto",
            norm=LogNorm(),
            cmap=figures.COLOUR_MAP,
            interpolation="nearest",
        )
        axes.set(
            xlabel=f"genes (every {adata.n_vars // len(columns)}th)",
            ylabel=f"cells (every {adata.n_obs // len(rows)}th)",
        )
        figure.colorbar(image, label="count (molecules); white: 0")
    return figures.DescribedFigure(
        figure,
        f"Heat map of {len(rows)} cells by {len(columns)} genes. {(corner == 0).mean():.0%} of the "
        f"entries are zero; the largest count is {corner.max():,.0f}.",
    )


def plot_gene(adata: ad.AnnData, gene: str, cell_type: str) -> figures.DescribedFigure:
    """Draw how often each count of one gene occurs, in one class and in all other cells.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]`` and ``obs["cell_type"]``.
    gene
        A name in ``var_names``.
    cell_type
        A class in ``obs["cell_type"]``.

    Raises
    ------
    KeyError
        If there is no such gene.
    """
    counts = np.asarray(adata[:, gene].layers["counts"].todense()).ravel()
    inside = (adata.obs["cell_type"] == cell_type).to_numpy()
    # 0, 1, 2-3, 4-7, ...: twice as wide each time, up to and with the largest count.
    edges = [0, *(2**power for power in range(int(counts.max()).bit_length() + 1))]
    labels = [str(low) if high - low == 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]
    with figures.style():
        figure = Figure(figsize=(6.4, 3.4))
        axes = figure.subplots()
        for shift, mask, name, colour in (
            (-0.2, inside, cell_type, figures.COLOURS[0]),
            (0.2, ~inside, "all other cells", figures.COLOURS[1]),
        ):
            share = np.histogram(counts[mask], bins=edges)[0] / mask.sum()
            axes.bar(
                np.arange(len(share)) + shift, 100 * share, width=0.4, label=name, color=colour
            )
        axes.set_xticks(range(len(labels)), labels, rotation=45)
        axes.set(xlabel=f"count of {gene} in a cell (molecules)", ylabel="cells (%)")
        axes.legend()
    return figures.DescribedFigure(
        figure,
        f"Bar chart of the counts of {gene}. Among {cell_type} {np.mean(counts[inside] == 0):.0%} "
        f"of the cells have none (median {np.median(counts[inside]):.0f}); among all other cells "
        f"{np.mean(counts[~inside] == 0):.0%} have none (median {np.median(counts[~inside]):.0f}).",
    )


def plot_library_sizes(adata: ad.AnnData) -> figures.DescribedFigure:
    """Draw the library sizes (counts per cell) of each class as a box, on a logarithmic axis."""
    sizes = per_cell(adata)["library size"].groupby(adata.obs["cell_type"], observed=True)
    medians = sizes.median().sort_values()
    with figures.style():
        figure = Figure(figsize=(6.4, 3.4))
        axes = figure.subplots()
        boxes = axes.boxplot(
            [sizes.get_group(name) for name in medians.index],
            orientation="horizontal",
            patch_artist=True,
            flierprops={"markersize": 2},
        )
        for box in boxes["boxes"]:
            box.set_facecolor(figures.COLOURS[5])
        for line in boxes["medians"]:
            line.set_color(figures.COLOURS[6])
        axes.set_yticks(range(1, len(medians) + 1), medians.index)
        axes.set_xscale("log")
        # 1, 2 and 5 in each decade: matplotlib's own labels run into each other on a narrow
        # logarithmic axis.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set(xlabel="library size (counts per cell, logarithmic)")
    return figures.DescribedFigure(
        figure,
        f"Box plot of library sizes in {len(medians)} classes. The median is lowest in "
        f"{medians.index[0]} ({medians.iloc[0]:,.0f} counts) and highest in {medians.index[-1]} "
        f"({medians.iloc[-1]:,.0f}).",
    )
