"""Which genes differ between groups of cells.

By a trained model, and by a plain test of the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from scvi import REGISTRY_KEYS

from helpers import figures
from helpers.expression import denoising
from helpers.genes import log_normalisation
from helpers.latent import neighbours
from helpers.training import model_state

# Genes of the cortex data whose counts are higher in a class. The list is not independent of a test
# of these cells: it was made from the named genes with the strongest Wilcoxon test of the published
# classes, and from what is known of them. So it is partly circular to count how many of these genes
# a Wilcoxon test finds again. Some need no test of these cells: Plp1, Mbp, Cnp and Mobp belong to
# myelin, Slc1a2 takes up glutamate into astrocytes, Abat breaks down GABA, B2m is a part of MHC
# class I, Slc2a1 carries glucose through the walls of the vessels of the brain. Snap25 is in all
# neurons, and says only that a cell is one.
KNOWN: dict[str, tuple[str, ...]] = {
    "oligodendrocytes": ("Plp1", "Mbp", "Ugt8a", "Cnp", "Mobp"),
    "astrocytes_ependymal": ("Clu", "Mt1", "Slc1a2", "Atp1a2"),
    "interneurons": ("Nap1l5", "Cplx1", "Rab3c", "Abat"),
    "microglia": ("Ftl1", "B2m", "Ctsd", "Grn"),
    "pyramidal CA1": ("Cpne6", "Crym", "Gria1", "Neurod6"),
    "pyramidal SS": ("Pcsk2", "Mef2c", "Snap25", "Nrn1"),
    "endothelial-mural": ("Hes1", "Bsg", "Slc2a1"),
}

# What helpers.data calls a gene of which no symbol is known.
PLACEHOLDER = "unnamed_"

# scvi-tools' own: a difference smaller than this (log2, so 19 %) counts as none.
DELTA = 0.25

# scvi-tools adds this to both probabilities of a Bayes factor, which can therefore not exceed ln((1 +
# 1e-8) / 1e-8) = 18.42.
EPSILON = 1e-8

# scvi-tools draws 5,000 pairs of cells by default, which takes about 400 MB and six times as long.
# See of_each_class for what the fewer pairs change.
PAIRS = 800

# Which genes may come first: higher in nine of ten pairs of cells, and seen in at least one of ten
# cells of the class.
PROBABLE = 0.9
SEEN = 0.1

# Ranks are dense, cells x genes.
GENES_AT_ONCE = 500


# --- by the model -------------------------------------------------------------------------------


def of_each_class(
    model: denoising.Model, class_key: str, delta: float = DELTA, seed: int = 0
) -> pd.DataFrame:
    """Compare each class with all other cells by the expression that the model expects.

    Parameters
    ----------
    model
        A trained model.
    class_key
        A column of ``obs`` of the model's data with a class for each cell.
    delta
        How large a log2 fold change must be to count.
    seed
        Seed of the random numbers. Those of the session stay as they are.

    Returns
    -------
    DataFrame
        A row a class and gene: classes in alphabetical order, and in each the genes that are higher
        in the class first.

        ``class``, ``gene``
            Their names, as text.
        ``probability``
            That the gene differs (see Notes), 0 to 1.
        ``Bayes factor``
            The log odds of that (nats), see ``bayes_factor``.
        ``log2 fold change``
            Median over pairs of cells; above 0 where the gene is higher in the class. 1 is twice as
            much.
        ``mean counts``, ``mean counts elsewhere``
            Per cell of the class, and per cell of all others.
        ``cells with counts``
            Share of the cells of the class with at least one count of the gene.

    Raises
    ------
    TypeError
        If the model is of another kind than SCVI, LinearSCVI or SCANVI.
    ValueError
        If the model was not trained, ``delta`` is not above 0, a cell has no class, there is only
        one class, or a class has a single cell.
    KeyError
        If ``obs`` has no such column.

    Notes
    ----- ----- ``model.differential_expression`` in ``mode="change"`` (Boyeau et al. 2019, bioRxiv
    794289), which goes through pairs: a cell of the class and a cell of the others, at random. For
    each of the two it draws a position from the cell's cloud, and asks the decoder for the expected
    fraction of each gene; no count is compared. The logarithm of their ratio is the log2 fold
    change (LFC) of this pair. The probability is the larger of two shares of pairs: those with LFC >=
    delta, and those with LFC < -delta. (``mode="vanilla"`` asks another question: in how many pairs
    is the first cell higher, by however little? Its Bayes factor is not this one.)

    So the probability does not grow with the number of cells, as the certainty of a test does. It
    says how often the gene tells two cells apart, and 1 would mean in every pair. With a few
    hundred pairs it is uncertain itself: 0.95 by 0.008.

    **The order.** The largest fold change alone could be that of a gene with hardly a count, or of
    a gene that some other class has too; the largest probability alone may belong to a small
    difference. So the genes that come first have a LFC above 0, a probability of at least
    ``PROBABLE``, and counts in at least ``SEEN`` of the cells of the class, by falling LFC. The
    others follow: first those with LFC above 0, by falling probability, then the rest by rising
    probability. The limits were chosen so that the order changes little from seed to seed.

    ``PAIRS`` pairs instead of the default of 5,000 keep the memory small. On the cortex cells 4.7
    to 4.9 of the top 5 genes of a class, and 19 of the top 20, are those of the default; two runs
    of the default with different seeds share 4.9 and 19.6.
    """
    denoising.require_expression(model)
    require_delta(delta)
    classes = _require_classes(model.adata, class_key)
    # Values as they are in obs: scvi-tools compares with those, and would also take categories
    # without cells.
    groups = model.adata.obs[class_key].drop_duplicates().tolist()
    with model_state.evaluating(model, seed):
        found = model.differential_expression(
            groupby=class_key,
            group1=groups,
            mode="change",
            delta=delta,
            # It would keep a column in the learner's obs.
            all_stats=False,
            silent=True,
            n_samples_overall=PAIRS,
        )
    table = pd.DataFrame(
        {
            "class": found["group1"].astype(str).to_numpy(),
            "gene": found.index.astype(str),
            "probability": found["proba_de"].to_numpy(),
            "Bayes factor": found["bayes_factor"].to_numpy(),
            "log2 fold change": found["lfc_median"].to_numpy(dtype=float),
        }
    )
    counts = sp.csr_matrix(model.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY))
    counted = _count(counts, model.adata.var_names, classes)
    return _ranked(table.merge(counted, on=["class", "gene"], validate="one_to_one"))


def require_delta(delta: float) -> None:
    """Raise, with what to give, unless this is a difference that can count."""
    if not delta > 0:
        raise ValueError(
            f"delta is {delta}; a difference that counts must be above 0. Give 0.25, or 1 for "
            "twice as much."
        )


def bayes_factor(probability: ArrayLike) -> NDArray[np.float64]:
    """Return the Bayes factor of a probability as scvi-tools computes it: the log odds.

    Parameters
    ----------
    probability
        That a gene differs, 0 to 1.

    Returns
    -------
    ndarray
        ln((p + e) / (1 - p + e)) with e = ``EPSILON``, in nats: 0 where p is 1/2, 3 where it is
        0.95, and never beyond 18.42, where p is 1. With 800 pairs the next below that is 6.7, for
        799 of them.

    Raises
    ------
    ValueError
        If a number is not a probability.

    Notes
    -----
    ----- The ratio of the posterior probabilities of both hypotheses. That is the Bayes factor
    proper, the ratio of their likelihoods, where both were equally probable before (Kass and
    Raftery 1995, Journal of the American Statistical Association 90:773).
    """
    p = np.asarray(probability, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            "A probability is a number from 0 to 1. What to do: give the column 'probability'."
        )
    return np.log(p + EPSILON) - np.log(1 - p + EPSILON)


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of ``of_each_class`` with the genes in the order that is described there."""
    change, probability = table["log2 fold change"], table["probability"]
    higher = change > 0
    first = higher & (probability >= PROBABLE) & (table["cells with counts"] >= SEEN)
    order = pd.DataFrame(
        {
            "class": table["class"],
            "group": np.select([first, higher], [0, 1], default=2),
            # Lowest first.
            "place": np.select([first, higher], [-change, -probability], default=probability),
            "gene": table["gene"],
        }
    )
    return table.loc[order.sort_values(list(order)).index].reset_index(drop=True)


# --- by a test of the counts --------------------------------------------------------------------


def wilcoxon(
    adata: ad.AnnData,
    class_key: str,
    layer: str = "counts",
    genes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compare each class with all other cells by a Wilcoxon rank-sum test of the log-normalised counts.

    Parameters
    ----------
    adata
        Cells x genes; it is not changed.
    class_key
        A column of ``obs`` with a class for each cell.
    layer
        The layer with the counts.
    genes
        Names of the genes to test and to normalise by, such as ``model.adata.var_names``. All if
        left out.

    Returns
    -------
    DataFrame
        A row a class and gene: classes in alphabetical order, and in each the genes by falling
        score, so that those that are higher in the class come first.

        ``class``, ``gene``
            Their names, as text.
        ``score``
            The test's z: how far the sum of ranks lies from what it would be without a difference,
            in standard deviations. It grows with the number of cells.
        ``adjusted p value``
            Two-sided, adjusted for the number of genes (Benjamini and Hochberg 1995, Journal of the
            Royal Statistical Society B 57:289).
        ``log2 fold change``
            As scanpy computes it, from means of logarithms; above 0 where the gene is higher in the
            class.
        ``mean counts``, ``mean counts elsewhere``, ``cells with counts``
            As in ``of_each_class``.

    Raises
    ------
    ValueError
        If a cell has no class, there is only one class, a class has a single cell, or the layer is
        missing or does not hold counts of every cell.
    KeyError
        If there is no such column, layer or gene.

    Notes
    -----
    ----- ``scanpy.tl.rank_genes_groups`` on log(1 + counts per 10,000), where 10,000 stands for all
    counts of these genes in the cell. As by default there, the standard deviation is not corrected
    for ties: many cells have the same 0, and the scores of rarely seen genes lie too near to 0.
    """
    classes = _require_classes(adata, class_key)
    values = log_normalisation.log_counts(adata, layer, genes)
    values.obs["class"] = pd.Categorical(classes)
    parts = []
    for start in range(0, values.n_vars, GENES_AT_ONCE):
        part = values[:, start : start + GENES_AT_ONCE].copy()
        sc.tl.rank_genes_groups(part, "class", method="wilcoxon")
        parts.append(sc.get.rank_genes_groups_df(part, group=None))
    found = pd.concat(parts)
    table = pd.DataFrame(
        {
            "class": found["group"].astype(str).to_numpy(),
            "gene": found["names"].astype(str).to_numpy(),
            "score": found["scores"].to_numpy(dtype=float),
            "adjusted p value": found["pvals"].to_numpy(dtype=float),
            "log2 fold change": found["logfoldchanges"].to_numpy(dtype=float),
        }
    )
    # All genes of a class together, not block by block.
    table["adjusted p value"] = table.groupby("class")["adjusted p value"].transform(
        false_discovery_control
    )
    counts = sp.csr_matrix(adata[:, values.var_names].layers[layer])
    counted = _count(counts, values.var_names, classes)
    table = table.merge(counted, on=["class", "gene"], validate="one_to_one")
    return table.sort_values(
        ["class", "score", "gene"], ascending=[True, False, True], ignore_index=True
    )


# --- both ---------------------------------------------------------------------------------------


def _count(counts: sp.csr_matrix, genes: pd.Index, classes: NDArray[np.str_]) -> pd.DataFrame:
    """Return what was counted of each gene in each class."""
    names, code = np.unique(classes, return_inverse=True)
    # A row a class, 1 where the cell is of the class.
    member = sp.csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))))
    cells = np.asarray(member.sum(axis=1))
    total = (member @ counts).toarray()
    seen = (member @ (counts != 0)).toarray()
    shape = total.shape
    return pd.DataFrame(
        {
            "class": np.repeat(names, shape[1]),
            "gene": np.tile(np.asarray(genes, dtype=str), shape[0]),
            "mean counts": (total / cells).ravel(),
            "mean counts elsewhere": ((total.sum(axis=0) - total) / (len(code) - cells)).ravel(),
            "cells with counts": (seen / cells).ravel(),
        }
    )


def _require_classes(adata: ad.AnnData, class_key: str) -> NDArray[np.str_]:
    classes = neighbours.require_column(adata, class_key)
    names, cells = np.unique(classes, return_counts=True)
    if cells.min() < 2:
        raise ValueError(
            f"The class '{names[cells.argmin()]}' has a single cell, which shows no spread to "
            "compare with.\n"
            "What to do: leave this cell out, or give it another class."
        )
    return classes


# --- the top genes ------------------------------------------------------------------------------


def top(table: pd.DataFrame, n: int = 5, named: bool = False) -> pd.DataFrame:
    """Return the names of the first genes of each class.

    Parameters
    ----------
    table
        What ``of_each_class`` or ``wilcoxon`` returned.
    n
        How many genes of each class.
    named
        Whether to pass over the genes that have only a placeholder name.

    Returns
    -------
    DataFrame
        A row a class, a column a place, from 1 to ``n``.

    Raises
    ------
    ValueError
        If a class has fewer genes than that.
    """
    if named:
        table = table.loc[~_is_placeholder(table["gene"])]
    genes = {name: rows["gene"].head(n).tolist() for name, rows in table.groupby("class")}
    if n < 1 or not genes or min(map(len, genes.values())) < n:
        raise ValueError(
            f"There are no {n} {'named ' * named}genes in each class. What to do: ask for fewer, "
            "and at least 1."
        )
    return pd.DataFrame.from_dict(genes, orient="index", columns=range(1, n + 1)).rename_axis(
        index="class", columns="place"
    )


def agreement(
    tables: Mapping[str, pd.DataFrame],
    known: Mapping[str, Sequence[str]] = KNOWN,
    n: int = 5,
    named: bool = True,
) -> pd.DataFrame:
    """Count how many of the top genes of each method are known markers of the class, and how many the methods share.

    A gene that has only a placeholder name cannot be found in a list of names: it is neither right
    nor wrong. So the top genes are by default those among the named genes.

    **What it cannot say.** Which method is better. ``KNOWN`` was made with a Wilcoxon test of the
    cortex cells, and so, it seems, was the choice of the genes that have a name there: 90 of the
    2,000 selected genes have one, but all 35 of the top 5 of the seven classes by Wilcoxon test.
    Both favour that test.

    Parameters
    ----------
    tables
        What ``of_each_class`` and ``wilcoxon`` returned, by the name of the method. All of the same
        classes and genes.
    known
        Known markers of each class, by its name. A class that is not in it has none.
    n
        How many top genes.
    named
        Whether the top genes are those among the named genes.

    Returns
    -------
    DataFrame
        A row a class, numbers of genes:

        ``known markers``
            Of the class, among the genes of the tables. No method can find more.
        ``<method>: known``
            Of the top ``n``.
        ``<method>: unnamed``
            Of the top ``n`` of *all* genes, how many have only a placeholder name.
        ``shared``
            In the top ``n`` of every method.

    Raises
    ------
    ValueError
        If there is no table, if they are of different classes or genes, if no class has a known
        marker among the genes, or if a class has fewer than ``n`` genes.
    """
    _require_alike(tables)
    every = next(iter(tables.values()), pd.DataFrame(columns=["class", "gene"]))
    available = {
        name: set(known.get(name, ())) & set(every["gene"]) for name in sorted(set(every["class"]))
    }
    if not any(available.values()):
        raise ValueError(
            "No class of these tables has a known marker among their genes.\n"
            "What to do: give known={'name of a class': ('name of a gene', ...)}, with names as "
            "in the tables."
        )
    first = {method: top(table, n, named) for method, table in tables.items()}
    of_all = {method: top(table, n) for method, table in tables.items()}
    rows = {}
    for name, markers in available.items():
        found = {method: set(genes.loc[name]) for method, genes in first.items()}
        rows[name] = (
            {"known markers": len(markers)}
            | {f"{method}: known": len(genes & markers) for method, genes in found.items()}
            | {
                f"{method}: unnamed": int(_is_placeholder(genes.loc[name]).sum())
                for method, genes in of_all.items()
            }
            | {"shared": len(set.intersection(*found.values()))}
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def _is_placeholder(genes: pd.Series) -> pd.Series:
    return genes.str.startswith(PLACEHOLDER)


def _require_alike(tables: Mapping[str, pd.DataFrame]) -> None:
    pairs = {
        frozenset(zip(table["class"], table["gene"], strict=True)) for table in tables.values()
    }
    if len(pairs) != 1:
        raise ValueError(
            f"{len(tables)} tables of {len(pairs)} different sets of classes and genes cannot be "
            "compared.\n"
            "What to do: make all of them from the same cells and genes, such as model.adata."
        )


# --- the figures --------------------------------------------------------------------------------


def dot_plot(
    adata: ad.AnnData, genes: Mapping[str, Sequence[str]] | pd.DataFrame, class_key: str
) -> figures.DescribedFigure:
    """Draw a dot for each class and gene.

    Its size for how many cells have the gene, its colour for how much.

    Parameters
    ----------
    adata
        Cells x genes, with ``layers["counts"]``.
    genes
        Genes by class: what ``top`` returned, or names of genes by the name of a class. They are
        drawn in this order.
    class_key
        A column of ``obs`` with a class for each cell.

    Returns
    -------
    DescribedFigure
        A row a class, a column a gene. Size: the share of the cells of the class with at least one
        count. Colour: mean of log(1 + counts per 10,000), where 10,000 stands for all counts of
        ``adata`` in the cell.

    Raises
    ------
    ValueError
        If there are no genes, a class of ``genes`` is not among the cells, or for the same reasons
        as in ``wilcoxon``.
    KeyError
        If a gene or the column is missing.
    """
    chosen = _chosen(genes)
    classes = _require_classes(adata, class_key)
    missing = [name for name in chosen if name not in classes]
    if missing or not any(chosen.values()):
        raise ValueError(
            f"Classes without cells: {', '.join(missing) or 'none'}; genes: "
            f"{sum(map(len, chosen.values()))}.\n"
            "What to do: give at least one gene, by the name of a class that the cells have."
        )
    columns = [gene for names in chosen.values() for gene in names]
    log_normalisation.require_genes(adata, columns)
    values = log_normalisation.log_counts(adata)[:, columns].X.toarray()
    # Classes whose genes are drawn come first, so that the large dots lie along the diagonal.
    rows = [*chosen, *sorted(set(classes) - set(chosen))]
    seen = np.array([(values[classes == name] > 0).mean(axis=0) for name in rows])
    level = np.array([values[classes == name].mean(axis=0) for name in rows])
    return figures.DescribedFigure(
        _draw_dots(seen, level, rows, columns, [len(names) for names in chosen.values()]),
        f"Dot plot of {len(columns)} genes in {len(rows)} classes. "
        + " ".join(_say_most_specific(chosen, rows, columns, seen)),
    )


def _chosen(genes: Mapping[str, Sequence[str]] | pd.DataFrame) -> dict[str, list[str]]:
    if isinstance(genes, pd.DataFrame):
        genes = genes.T
    return {str(name): list(of_class) for name, of_class in genes.items()}


def _say_most_specific(
    chosen: Mapping[str, Sequence[str]], rows: list[str], columns: list[str], seen: np.ndarray
) -> Iterable[str]:
    """Name the gene of each class that is seen in more of its cells than in those of any other class, by the widest margin."""
    start = 0
    for row, (name, genes) in enumerate(chosen.items()):
        own = seen[:, start : start + len(genes)]
        others = np.delete(own, row, axis=0).max(axis=0)
        if len(genes):
            best = int(np.argmax(own[row] - others))
            yield (
                f"{name}: {columns[start + best]}, in {own[row, best]:.0%} of the cells and in at "
                f"most {others[best]:.0%} of another class."
            )
        start += len(genes)


def _draw_dots(
    seen: np.ndarray, level: np.ndarray, rows: list[str], columns: list[str], sizes: list[int]
) -> Figure:
    largest = 260  # square points, for a gene that all cells have
    with figures.style():
        figure = Figure(figsize=(3.6 + 0.36 * len(columns), 1.9 + 0.42 * len(rows)))
        axes = figure.subplots()
        y, x = np.indices(seen.shape)
        dots = axes.scatter(
            x, y, s=largest * seen, c=level, cmap=figures.COLOUR_MAP, edgecolor="0.4", linewidth=0.5
        )
        for edge in np.cumsum(sizes)[:-1]:
            axes.axvline(edge - 0.5, color="0.7", linewidth=1)
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=11)
        axes.set_yticks(range(len(rows)), rows, fontsize=12)
        axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6))
        bar = figure.colorbar(dots, ax=axes, pad=0.02)
        bar.set_label("mean of\nlog(1 + counts per 10,000)", fontsize=11)
        bar.ax.tick_params(labelsize=11)
        for share in (0.25, 0.5, 1):
            axes.scatter([], [], s=largest * share, color="0.6", label=f"{share:.0%}")
        axes.legend(
            title="cells with counts:",
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            fontsize=11,
            title_fontsize=11,
            alignment="left",
        )
    return figure


def volcano(
    table: pd.DataFrame, name: str, delta: float = DELTA, n: int = 8
) -> figures.DescribedFigure:
    """Draw the genes of one class.

    How much they differ against how probable it is that they differ.

    Parameters
    ----------
    table
        What ``of_each_class`` returned.
    name
        A class of the table.
    delta
        The one that ``of_each_class`` was given.
    n
        How many of the first genes of the class to label.

    Raises
    ------
    KeyError
        If the table has no such class, or is not one of ``of_each_class``.
    """
    if "Bayes factor" not in table:
        raise KeyError(
            "There is no column 'Bayes factor'. What to do: give the table of "
            "markers.of_each_class."
        )
    genes = table[table["class"] == name]
    if genes.empty:
        raise KeyError(
            f"There is no class '{name}'. Classes: {', '.join(sorted(set(table['class'])))}."
        )
    change, factor = genes["log2 fold change"], genes["Bayes factor"]
    limit = float(bayes_factor(PROBABLE))
    first = genes.head(n)
    with figures.style():
        figure = Figure(figsize=(7.2, 4.8))
        axes = figure.subplots()
        axes.plot(change, factor, "o", color="0.6", markersize=4, label="a gene")
        axes.plot(
            first["log2 fold change"],
            first["Bayes factor"],
            "D",
            color=figures.COLOURS[1],
            markersize=6,
            label=f"the first {len(first)} of the table",
        )
        for sign in (-1, 1):
            axes.axvline(sign * delta, color=figures.COLOURS[0], linestyle="--", linewidth=1)
        axes.axhline(limit, color=figures.COLOURS[2], linestyle=":", linewidth=1.5)
        axes.set_xlabel(
            f"log2 fold change, median of pairs of cells (dashed: ±{delta:g})", fontsize=12
        )
        axes.set_ylabel(f"Bayes factor, log odds (dotted: p = {PROBABLE})", fontsize=12)
        axes.set_title(f"{name} against all other cells", fontsize=13, loc="left")
        axes.tick_params(labelsize=11)
        # Room for the labels to the right of the points.
        axes.margins(x=0.12, y=0.1)
        axes.legend(loc="upper left", fontsize=11)
        figure.tight_layout()
        _label(axes, first)
    up, down = (int(((sign * change > 0) & (factor >= limit)).sum()) for sign in (1, -1))
    # No numbers of genes, and no names: another processor trains a slightly different model.
    more = "more" if up > down else "not more"
    twice = int((first["log2 fold change"] > 1).sum())
    return figures.DescribedFigure(
        figure,
        f"Scatter plot of {len(genes):,} genes of {name} against all other cells: log2 fold change "
        f"and Bayes factor. With a probability of at least {PROBABLE}, {more} genes are higher "
        f"than lower. The first {len(first)} of the table are labelled; {twice} of them are more "
        "than twice as high.",
    )


def _label(axes: Axes, genes: pd.DataFrame) -> None:
    """Write the names beside their points, each where it covers no other name and none of these points."""
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    places = [
        (side * 9, step * 13) for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5) for side in (1, -1)
    ]
    points = genes[["log2 fold change", "Bayes factor"]].to_numpy()
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in axes.transData.transform(points)]
    for gene, point in zip(genes["gene"], points, strict=True):
        for place in places:
            text = axes.annotate(
                gene,
                point,
                xytext=place,
                textcoords="offset points",
                ha="left" if place[0] > 0 else "right",
                va="center",
                fontsize=11,
                arrowprops={"arrowstyle": "-", "color": "0.5", "linewidth": 0.8, "shrinkA": 0},
            )
            text.update_positions(renderer)
            # Of the name alone; that of an annotation contains the line to its point.
            box = Text.get_window_extent(text, renderer)
            if not any(box.overlaps(other) for other in taken) or place == places[-1]:
                taken.append(box)
                break
            text.remove()
