"""Draw the genes that differ between groups of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from helpers import figures
from helpers.expression.differential_expression import (
    DELTA,
    PROBABLE,
    bayes_factor,
    require_classes,
)
from helpers.genes import log_normalisation


def dot_plot(
    adata: ad.AnnData, genes: Mapping[str, Sequence[str]] | pd.DataFrame, class_key: str
) -> figures.DescribedFigure:
    """Draw a dot for each class and gene.

    Its size stands for how many cells have the gene, its colour for how much.

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
        One row per class, one column per gene. Size: the share of the cells of the class with at
        least one count. Colour: mean of log(1 + counts per 10,000), where 10,000 stands for all
        counts of
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
    classes = require_classes(adata, class_key)
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
        + " ".join(_say_most_specific(chosen, columns, seen)),
    )


def _chosen(genes: Mapping[str, Sequence[str]] | pd.DataFrame) -> dict[str, list[str]]:
    if isinstance(genes, pd.DataFrame):
        genes = genes.T
    return {str(name): list(of_class) for name, of_class in genes.items()}


def _say_most_specific(
    chosen: Mapping[str, Sequence[str]], columns: list[str], seen: np.ndarray
) -> Iterable[str]:
    """Name the gene of each class that tells it best from every other class."""
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
    """Draw how much the genes of one class differ, against how probable it is that they do.

    Parameters
    ----------
    table
        What ``one_vs_rest`` returned.
    name
        A class of the table.
    delta
        The one that ``one_vs_rest`` was given.
    n
        How many of the first genes of the class to label.

    Raises
    ------
    KeyError
        If the table has no such class, or is not one of ``one_vs_rest``.
    """
    if "Bayes factor" not in table:
        raise KeyError(
            "There is no column 'Bayes factor'. What to do: give the table of "
            "differential_expression.one_vs_rest."
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
    """Write the names beside their points, where they cover no other name and no point."""
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
