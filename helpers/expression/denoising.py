"""Denoised expression, and the correlations between genes that it can invent.

``model.get_normalized_expression`` gives what the decoder expects: for each cell the mean fraction
of each gene, times a library size. The noise of counting is gone, which is why it is called
denoised. But all genes of a cell are made from the same few numbers, its position in the latent
space, so genes may vary together there that have nothing to do with each other in the cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from helpers import figures
from helpers.expression import expected_fractions
from helpers.genes import log_normalisation
from helpers.loss import baselines
from helpers.training import minibatches, model_state

MODELS = (scvi.model.SCVI, scvi.model.LinearSCVI, scvi.model.SCANVI)
Model = scvi.model.SCVI | scvi.model.LinearSCVI | scvi.model.SCANVI

# The correlation of two cells is always 1 or -1; three are the fewest that say anything.
MIN_CELLS = 3

# What counts as a strong correlation in the figure.
STRONG = 0.5


# --- cells with genes of which the truth is known -----------------------------------------------


def with_shuffled_genes(
    adata: ad.AnnData,
    n_genes: int = 300,
    n_shuffled: int = 30,
    n_cells: int = 1000,
    seed: int = 0,
) -> ad.AnnData:
    """Take real cells with their most counted genes, and shuffle some of these genes between cells.

    A shuffled gene is partly synthetic. It keeps its total count, but each of its molecules is put
    into a cell drawn at random, with a probability proportional to the cell's counts in the genes
    that stay real. So its true fraction is the same in every cell: it tells nothing about the cell,
    and it varies with no other gene, shuffled or real.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``; it is not changed.
    n_genes
        How many genes to take, those with most counts in all cells.
    n_shuffled
        How many of them to shuffle, drawn at random.
    n_cells
        How many cells to take, drawn at random.
    seed
        Seed of the random numbers.

    Returns
    -------
    AnnData
        ``n_cells`` cells x ``n_genes`` genes in the order of ``adata``, with ``obs`` and ``var`` of
        ``adata``. ``X`` and ``layers["counts"]``: counts, CSR float32. ``var["shuffled"]``: True
        where the gene is shuffled.

    Raises
    ------
    ValueError
        If there are no counts, fewer cells or genes than asked for, fewer than two genes to shuffle
        or to keep real, counts that are not whole numbers, a gene without counts among those taken,
        or a cell without counts in the real genes.

    Notes
    -----
    The counts of a shuffled gene are one draw from Multinomial(total count of the gene; share
    of each cell in the counts of the real genes). Shuffling whole counts instead would cut their
    tie to the library size, and a shuffled gene would then have a *smaller* fraction in a larger
    cell.
    """
    counts = _require_counts(adata, n_genes, n_shuffled, n_cells)
    random = np.random.default_rng(seed)
    cells = np.sort(random.choice(adata.n_obs, n_cells, replace=False))
    genes = np.sort(np.argsort(-_total(counts, axis=0), kind="stable")[:n_genes])
    shuffled = np.zeros(n_genes, bool)
    shuffled[random.choice(n_genes, n_shuffled, replace=False)] = True
    taken, part = counts[cells][:, genes].toarray(), adata[cells, genes]
    _require_seen(taken, part.var_names)
    real = taken[:, ~shuffled].sum(axis=1)
    if not real.all():
        raise ValueError(
            f"{int((real == 0).sum()):,} of {n_cells:,} cells have no counts in the genes that "
            "stay real, so no molecule can be put there.\n"
            "What to do: take more genes, or leave cells without counts out."
        )
    for gene in np.flatnonzero(shuffled):
        taken[:, gene] = random.multinomial(int(taken[:, gene].sum()), real / real.sum())
    matrix = sp.csr_matrix(taken, dtype=np.float32)
    return ad.AnnData(
        matrix,
        layers={"counts": matrix.copy()},
        obs=part.obs.copy(),
        var=part.var.assign(shuffled=shuffled),
    )


def _require_counts(
    adata: ad.AnnData, n_genes: int, n_shuffled: int, n_cells: int
) -> sp.csr_matrix:
    if "counts" not in adata.layers:
        raise ValueError(
            'There is no layers["counts"] to take molecules from.\n'
            'What to do: load the cells with helpers.data, or adata.layers["counts"] = '
            "adata.X.copy() while X has counts."
        )
    if not MIN_CELLS <= n_cells <= adata.n_obs or n_genes > adata.n_vars:
        raise ValueError(
            f"{n_cells:,} cells and {n_genes:,} genes were asked for; there are {adata.n_obs:,} "
            f"and {adata.n_vars:,}.\n"
            f"What to do: ask for no more than there are, and for at least {MIN_CELLS} cells."
        )
    if not 2 <= n_shuffled <= n_genes - 2:
        raise ValueError(
            f"{n_shuffled} of {n_genes} genes cannot be shuffled: a correlation needs two of them, "
            "and two must stay real.\n"
            f"What to do: n_shuffled from 2 to {n_genes - 2}, or more genes."
        )
    counts = sp.csr_matrix(adata.layers["counts"])
    if (counts.data % 1).any() or (counts.data < 0).any():
        raise ValueError(
            'layers["counts"] has numbers that are not counts, and only whole molecules can be '
            "shuffled.\n"
            "What to do: give the counts as they were measured, before any normalisation."
        )
    return counts


def _total(counts: sp.csr_matrix, axis: int) -> NDArray[np.float64]:
    return np.asarray(counts.sum(axis=axis, dtype=np.float64)).ravel()


# --- correlations before and after --------------------------------------------------------------


def correlations(
    model: Model,
    genes: Sequence[str],
    cells: ArrayLike | None = None,
    n_samples: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate each pair of genes over cells, in the counts and in the denoised expression.

    Parameters
    ----------
    model
        A trained model.
    genes
        Names of at least two genes of the model.
    cells
        Rows of the model's data, or a mask with True for the cells to use, such as one class. All
        if left out.
    n_samples
        How many positions to draw from each cell's cloud; the denoised expression is the mean over
        them.
    seed
        Seed of these draws. The random numbers of the session stay as they are.

    Returns
    -------
    DataFrame
        One row per pair: ``gene``, ``other gene``, and the Pearson correlation over the cells (-1
        to 1), ``counts`` of log(1 + counts per 10,000), and ``denoised`` of log(1 + expected counts
        per 10,000). In a cell, 10,000 stands for all counts of the genes that the model knows, also
        where the model has size factors.

    Raises
    ------
    TypeError
        If the model is of another kind than SCVI, LinearSCVI or SCANVI.
    ValueError
        If the model was not trained or not on counts, if these were taken out of its data when they
        were minified, if there are fewer than two genes, a gene twice, or fewer than three cells,
        or if a gene does not vary over the cells, so that it has no correlation.
    KeyError
        If the model does not know a gene.
    IndexError
        If there is no such cell.

    Notes
    -----
    A correlation says nothing about size: denoised values that hardly vary can be perfectly
    correlated. Look at their standard deviation too.

    The correlation in the counts is not exactly that of the cells either. Noise makes it smaller.
    And the logarithm of a small count still depends on the library size, in which all genes share:
    on 1,000 cortex cells that alone gives shuffled genes a mean correlation of 0.1 (Hafemeister and
    Satija 2019, Genome Biology 20:296).

    Andrews and Hemberg 2018, F1000Research 7:1740, count such correlations after the denoising of
    shuffled genes by other methods.
    """
    require_expression(model)
    genes = _require_genes(model, genes)
    rows = _require_cells(model, cells)
    counts = sp.csr_matrix(model.adata_manager.get_from_registry(scvi.REGISTRY_KEYS.X_KEY))[rows]
    seen = counts[:, model.adata.var_names.get_indexer(genes)].toarray().astype(float)
    _require_seen(seen, genes)
    in_fractions = expected_fractions.in_fractions(model)
    with model_state.evaluating(model, seed):
        expected = in_fractions.get_normalized_expression(
            indices=rows,
            gene_list=genes,
            library_size=log_normalisation.LIBRARY_SIZE,
            n_samples=n_samples,
        )
    # scvi-tools returns the genes in the order of the model.
    values = {
        "counts": seen * log_normalisation.LIBRARY_SIZE / _total(counts, axis=1)[:, None],
        "denoised": expected[genes].to_numpy(dtype=float),
    }
    first, second = np.triu_indices(len(genes), k=1)
    names = np.array(genes, dtype=object)
    return pd.DataFrame(
        {"gene": names[first], "other gene": names[second]}
        | {
            name: _correlation(np.log1p(each), genes, name)[first, second]
            for name, each in values.items()
        }
    )


def require_expression(model: Model) -> None:
    """Raise, with what to do, unless a model is trained on counts of genes alone, and has them."""
    if not isinstance(model, MODELS):
        raise TypeError(
            f"The expression that a {type(model).__name__} gives is not that of genes alone, or "
            "not of that form.\n"
            "What to do: pass a model of scvi.model.SCVI, LinearSCVI or SCANVI."
        )
    model_state.require_trained(model)
    minibatches.require_counts(model)
    if model.module.gene_likelihood not in baselines.COUNT_LIKELIHOODS:
        raise ValueError(
            f"The gene_likelihood '{model.module.gene_likelihood}' is that of numbers that are no "
            "counts, and here expression is expected counts.\n"
            "What to do: make a model of the counts with one of "
            f"{', '.join(baselines.COUNT_LIKELIHOODS)}."
        )


def _correlation(
    values: NDArray[np.float64], genes: Sequence[str], name: str
) -> NDArray[np.float64]:
    constant = [
        gene for gene, spread in zip(genes, np.ptp(values, axis=0), strict=True) if not spread
    ]
    if constant:
        raise ValueError(
            f"In the {name}, {', '.join(constant)} is the same in all {len(values):,} cells, so it "
            "has no correlation.\n"
            "What to do: leave it out, or use more cells."
        )
    return np.asarray(np.corrcoef(values, rowvar=False))


def _require_seen(counts: NDArray[np.floating], genes: Sequence[str]) -> None:
    unseen = [gene for gene, total in zip(genes, counts.sum(axis=0), strict=True) if not total]
    if unseen:
        raise ValueError(
            f"No count of {', '.join(unseen)} in these {len(counts):,} cells.\n"
            "What to do: leave it out, or use more cells."
        )


def _require_genes(model: Model, genes: Sequence[str]) -> list[str]:
    genes = [genes] if isinstance(genes, str) else list(genes)
    unknown = [str(gene) for gene in genes if gene not in model.adata.var_names]
    if unknown:
        raise KeyError(
            f"The model does not know {', '.join(unknown)}. What to do: give names from "
            "model.adata.var_names."
        )
    if len(genes) < 2 or len(set(genes)) < len(genes):
        raise ValueError(
            f"{len(genes)} genes were given, {len(set(genes))} of them different.\n"
            "What to do: give two or more genes, each once."
        )
    return genes


def _require_cells(model: Model, cells: ArrayLike | None) -> NDArray[np.intp]:
    rows = np.arange(model.adata.n_obs)
    if cells is not None:
        rows = rows[np.asarray(cells)]
    if len(rows) < MIN_CELLS:
        raise ValueError(
            f"A correlation over {len(rows)} cells says nothing.\n"
            f"What to do: give at least {MIN_CELLS} cells, and better some hundred."
        )
    return rows


# --- the figure ---------------------------------------------------------------------------------


def plot(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``correlations`` for genes whose true correlation is 0.

    It shows how many pairs have which correlation, before and after.

    Parameters
    ----------
    table
        One row per pair, with ``counts`` and ``denoised``.
    """
    edges = np.linspace(-1, 1, 41)
    strong = (table[["counts", "denoised"]].abs() > STRONG).mean()
    with figures.style():
        figure = Figure(figsize=(7.2, 4.8))
        panels = figure.subplots(2, sharex=True)
        for axes, name, colour in zip(panels, strong.index, figures.COLOURS, strict=False):
            axes.hist(table[name], bins=edges, color=colour)
            axes.axvline(0, color=figures.COLOURS[6], linestyle="--")
            axes.set_title(f"{name}: {strong[name]:.0%} beyond ±{STRONG}", fontsize=13, loc="left")
            axes.set_ylabel("pairs of genes", fontsize=12)
            axes.tick_params(labelsize=11)
        panels[1].set_xlabel("correlation of two genes over cells (dashed: the truth)", fontsize=12)
        panels[1].set_xlim(-1, 1)
        figure.tight_layout()
    return figures.DescribedFigure(
        figure,
        f"Two histograms of the correlations of {len(table):,} pairs of genes whose true "
        "correlation is 0. " + " ".join(_say(name, strong[name]) for name in strong.index),
    )


def _say(name: str, strong: float) -> str:
    # No closer: another processor or version trains a slightly different model.
    many = "more" if strong > 1 / 3 else "fewer"
    return f"In the {name} {many} than a third of the pairs are beyond plus or minus {STRONG}."
