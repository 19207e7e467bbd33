"""Sliders for a walk through the latent space, and what the decoder expects at each step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from helpers import figures
from helpers.explorer import Captioned, Explorer
from helpers.figures import COLOURS, about
from helpers.latent import neighbours, traversal
from helpers.loss import latent_dimensions

# So many genes are drawn; the lines of more could not be told apart.
GENES = 4
LINES = tuple(zip(COLOURS[:GENES], ("-", "--", "-.", ":"), strict=True))

# Axis and text end here: fewer counts per 10,000 are hardly ever seen in a cell.
LOWEST = 0.1

# Points. A label of a line is at least this far from the next.
FONT = 13
LABEL = 1.25 * FONT

# How steps are marked, in both panels.
OWN = {"marker": "s", "color": "black", "markersize": 16, "fillstyle": "none", "markeredgewidth": 2}
NEAR = {"marker": "o", "color": COLOURS[5], "markersize": 9, "markeredgecolor": "black"}
HERE = {"marker": "D", "color": "black", "markersize": 9, "markeredgewidth": 2}
HOLLOW = {"markerfacecolor": "white"}


@dataclass(frozen=True)
class Walk:
    """A path through the latent space, and what lies along it.

    Attributes
    ----------
    start
        The class of the cell where it starts.
    row
        The row of that cell.
    own
        The step at which that cell lies, from 0.
    dimension
        The latent dimension, from 1.
    kl
        What this dimension tells about the cells (nats per cell).
    expression
        Expected counts per 10,000 (steps x genes); the index has the values along the dimension.
    nearest
        What ``traversal.nearest_cells`` returned for the steps.
    """

    start: str
    row: int
    own: int
    dimension: int
    kl: float
    expression: pd.DataFrame
    nearest: pd.DataFrame


def walk(
    model: traversal.Model,
    latent: NDArray[np.floating],
    start: tuple[str, int],
    dimension: int,
    kl: pd.Series,
    genes: Sequence[str] | None,
) -> Walk:
    """Compute all that is shown of a path.

    Parameters
    ----------
    model
        A trained model.
    latent
        The positions of all cells, as from ``traversal.centres``.
    start
        The class and the row of the cell where the path starts.
    dimension
        The latent dimension, from 1.
    kl
        What each dimension tells about the cells (nats per cell), as from
        ``latent_dimensions.dimensions_in_use``.
    genes
        Genes to draw. Of more than four, the four that respond most are drawn; of all if left out.
    """
    name, row = start
    path = traversal.path(model, row, dimension)
    if genes is None or len(genes) > GENES:
        genes = list(traversal.responders(model, row, dimension, GENES, genes).index)
    nearest = traversal.nearest_cells(latent, path)
    own = int(np.abs(path.index - latent[row, dimension - 1]).argmin())
    expression = traversal.expected(model, path, genes, cell=row)
    return Walk(name, row, own, dimension, float(kl[dimension]), expression, nearest)


def show(
    walked: Walk, step: int, embedding: NDArray[np.floating], classes: NDArray[np.str_]
) -> Captioned:
    """Return one step of a path.

    It has what the decoder expects there in numbers, and a drawing of the path.

    Parameters
    ----------
    walked
        What ``walk`` returned.
    step
        Which step, from 0.
    embedding
        A position in the plane for each cell (cells x 2).
    classes
        A class a cell.
    """
    here, at_cell = walked.expression.iloc[step], walked.expression.iloc[walked.own]
    genes = [
        f"{gene} {_counts(value)} (at the cell: {_counts(at_cell[gene])})"
        for gene, value in here.items()
    ]
    use = "in use" if walked.kl >= latent_dimensions.IN_USE else "not in use"
    return Captioned(
        f"From a cell of class {walked.start}, dimension {walked.dimension} ({use}, KL "
        f"{about(walked.kl, 2)} nats) at value {about(float(here.name), 2)}. Expected counts per "
        f"10,000: {', '.join(genes)}. {_say_nearest(walked, step, classes)} In the embedding each "
        "step is drawn at its nearest cell, hollow if that is not near.",
        figures.DescribedFigure(
            _draw(walked, step, embedding, classes), _say(walked, embedding, classes)
        ),
    )


def _counts(value: float) -> str:
    return about(value, 2) if value >= LOWEST else f"under {LOWEST}"


def _say_nearest(walked: Walk, step: int, classes: NDArray[np.str_]) -> str:
    row, distance, near = (walked.nearest[name].iloc[step] for name in ("row", "distance", "near"))
    if distance == 0:
        return "This is the position of the cell itself."
    which = "still that one" if row == walked.row else f"of class {classes[row]}"
    far = "" if near else "; that is not near, so the decoder extrapolates"
    return f"The nearest cell is {which}, {about(distance, 2)} typical distances away{far}."


def _say(walked: Walk, embedding: NDArray[np.floating], classes: NDArray[np.str_]) -> str:
    ends = walked.expression.iloc[[0, -1]]
    (first, last), low, high = ends.to_numpy(), *ends.index
    changes = [
        f"{gene} goes from {_counts(before)} to {_counts(after)}"
        for gene, before, after in zip(ends.columns, first, last, strict=True)
    ]
    passed = pd.unique(classes[walked.nearest["row"]])
    return (
        "Two panels. Left, a line chart of expected counts per 10,000 (logarithmic) against "
        f"latent dimension {walked.dimension}, from {about(low, 2)} to {about(high, 2)}: "
        f"{'; '.join(changes)}. Right, an embedding of {len(embedding):,} cells, and in it the "
        f"nearest cell of each of {len(walked.nearest)} steps, of which "
        f"{walked.nearest['near'].sum()} have a cell near. The nearest cells are of the classes "
        f"{', '.join(passed)}."
    )


# --- the drawing --------------------------------------------------------------------------------


def _draw(
    walked: Walk, step: int, embedding: NDArray[np.floating], classes: NDArray[np.str_]
) -> Figure:
    with figures.style():
        figure = Figure(figsize=(11, 5))
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.05))
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.22, top=0.93, wspace=0.3)
        _draw_expression(left, walked, step)
        _draw_embedding(right, walked, step, embedding, classes)
        marks = {
            "cell where the path starts": OWN,
            "position of the slider": HERE,
            "step with a cell near": NEAR,
            "no cell near (left: grey)": NEAR | HOLLOW,
        }
        handles = [
            Line2D([], [], linestyle="", label=label, **look) for label, look in marks.items()
        ]
        figure.legend(
            handles=handles, loc="lower center", ncols=4, fontsize=FONT, handletextpad=0.3
        )
    return figure


def _draw_expression(axes: Axes, walked: Walk, step: int) -> None:
    expression = walked.expression.clip(lower=LOWEST)
    values = expression.index.to_numpy()
    axes.set_yscale("log")
    # The same for all steps, so that heights can be compared while the slider moves.
    axes.set_ylim(expression.to_numpy().min() / 1.6, expression.to_numpy().max() * 1.6)
    axes.set_xlim(values[0], values[-1])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,g}")
    middles = (values[1:] + values[:-1]) / 2
    axes.stairs(
        (~walked.nearest["near"]).to_numpy(dtype=float),
        np.concatenate([values[:1], middles, values[-1:]]),
        transform=axes.get_xaxis_transform(),
        fill=True,
        color="0.88",
    )
    axes.axvline(values[step], color="black", linewidth=1)
    for (gene, line), (colour, dashes) in zip(expression.items(), LINES, strict=False):
        axes.plot(values, line, dashes, color=colour, linewidth=2.5, label=str(gene))
        axes.plot(values[walked.own], line.iloc[walked.own], **OWN, clip_on=False)
        axes.plot(values[step], line.iloc[step], **_here(walked, step), clip_on=False)
    _label_lines(axes, expression.iloc[-1])
    axes.set_xlabel(f"value in latent dimension {walked.dimension}", fontsize=FONT)
    axes.set_ylabel("expected counts per 10,000", fontsize=FONT)
    axes.set_title("what the decoder expects", fontsize=FONT)
    axes.tick_params(labelsize=FONT)


def _here(walked: Walk, step: int) -> dict[str, Any]:
    """Return the mark of the slider's position: hollow, as all steps, where no cell is near."""
    return HERE if walked.nearest["near"].iloc[step] else HERE | HOLLOW


def _label_lines(axes: Axes, ends: pd.Series) -> None:
    """Write each gene's name at the right end of its line, where it overlaps no other."""
    moved = _moved(axes, np.array([(1, height) for height in ends]))
    for (gene, height), up, (colour, _) in zip(ends.items(), moved, LINES, strict=False):
        axes.annotate(
            str(gene),
            (1, height),
            xytext=(12, up),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=FONT,
            fontweight="bold",
        )


def _moved(axes: Axes, places: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return by how many points to move labels up so that no two are at the same height."""
    heights = axes.transData.transform(places)[:, 1] * 72 / axes.figure.dpi
    order = np.argsort(heights, kind="stable")
    # The gaps taken out, heights must rise; where they do not, labels gather around their mean
    # height.
    gaps = LABEL * np.arange(len(heights))
    apart = np.empty(len(heights))
    apart[order] = isotonic_regression(heights[order] - gaps).x + gaps
    return apart - heights


def _draw_embedding(
    axes: Axes,
    walked: Walk,
    step: int,
    embedding: NDArray[np.floating],
    classes: NDArray[np.str_],
) -> None:
    axes.plot(*embedding.T, ".", color="0.8", markersize=5, markeredgewidth=0, zorder=1)
    steps = embedding[walked.nearest["row"]]
    axes.plot(*steps.T, color="black", linewidth=0.8)
    for near, look in ((False, NEAR | HOLLOW), (True, NEAR)):
        axes.plot(*steps[walked.nearest["near"] == near].T, linestyle="", **look)
    # matplotlib would choose the limits only when it draws, and the names are placed before.
    axes.autoscale_view()
    names = np.unique(classes)
    # Over the upper edge of the class rather than in its middle, where the path starts.
    places = np.array([_upper_edge(embedding[classes == name]) for name in names])
    for name, place, up in zip(names, places, _moved(axes, places), strict=True):
        axes.annotate(
            str(name),
            place,
            xytext=(0, up),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=FONT,
            # Below the marks.
            zorder=1.5,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axes.plot(*embedding[walked.row], **OWN)
    axes.plot(*steps[step], **_here(walked, step))
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel("embedding, first axis", fontsize=FONT)
    axes.set_ylabel("embedding, second axis", fontsize=FONT)
    axes.set_title("the nearest cell of each step", fontsize=FONT)


def _upper_edge(points: NDArray[np.floating]) -> tuple[float, float]:
    """Return a place for the name of a class.

    It is the middle of its upper edge, without the tenth of its cells that lie highest.
    """
    return float(np.median(points[:, 0])), float(np.percentile(points[:, 1], 90))


# --- the sliders --------------------------------------------------------------------------------


def explore(
    model: traversal.Model,
    embedding: ArrayLike,
    classes: ArrayLike,
    genes: Sequence[str] | None = None,
    start: str | None = None,
    dimension: int = 1,
) -> Explorer:
    """Show a slider along a latent dimension, and what the decoder expects at each step.

    Beside it are the nearest cells in an embedding. An embedding has no place for a position that
    no cell has, so each step is drawn at the nearest cell: filled if it is near, hollow if not (see
    ``traversal.nearest_cells``).

    Parameters
    ----------
    model
        A trained model of ``scvi.model.SCVI`` or ``scvi.model.LinearSCVI``.
    embedding
        A position in the plane for each cell of its data, such as t-SNE or UMAP (cells x 2).
    classes
        A class a cell. A path starts at the most typical cell of a class,
        ``traversal.typical_cells``.
    genes
        Names of genes. Up to four are drawn as they are; of more, the four whose expected
        expression changes most along the path. All genes of the model if left out.
    start
        The class to begin with; the first in alphabetical order if left out.
    dimension
        The latent dimension to begin with, from 1.

    Returns
    -------
    Explorer
        Shown where it is the last line of a cell; it begins at the cell itself.

    Raises
    ------
    TypeError, ValueError, KeyError
        As for ``traversal.path`` and ``traversal.expected``, and if embedding or classes do not fit
        the cells, or there is no such class.
    """
    latent = traversal.centres(model)
    plane = _require_embedding(embedding, len(latent))
    labels = neighbours.require_labels(classes, len(latent))
    starts = traversal.typical_cells(latent, labels)
    start = str(starts.index[0]) if start is None else start
    if start not in starts:
        raise ValueError(f"There is no class '{start}'. Classes: {', '.join(starts.index)}.")
    kl = latent_dimensions.dimensions_in_use(model)["kl"]

    @functools.cache
    def walk_from(start: str, dimension: int) -> Walk:
        return walk(model, latent, (start, starts[start]), dimension, kl, genes)

    first = walk_from(start, dimension)
    wide: dict[str, Any] = {"style": {"description_width": "initial"}, "layout": {"width": "30em"}}
    sliders = {
        "start": widgets.Dropdown(
            options=list(starts.index), value=start, description="start from class", **wide
        ),
        "dimension": widgets.IntSlider(
            value=dimension,
            min=1,
            max=latent.shape[1],
            description="latent dimension",
            continuous_update=False,
            **wide,
        ),
        "position": widgets.IntSlider(
            value=first.own,
            max=len(first.nearest) - 1,
            description="position",
            continuous_update=False,
            **wide,
        ),
    }

    def to_the_cell(change: Any) -> None:
        sliders["position"].value = walk_from(
            sliders["start"].value, sliders["dimension"].value
        ).own

    # Before the Explorer observes them: the picture of a new path begins at its cell.
    for name in ("start", "dimension"):
        sliders[name].observe(to_the_cell, names="value")
    return Explorer(
        sliders,
        lambda start, dimension, position: show(
            walk_from(start, dimension), position, plane, labels
        ),
    )


def _require_embedding(embedding: ArrayLike, n_cells: int) -> NDArray[np.floating]:
    plane = np.asarray(embedding, dtype=float)
    if plane.shape != (n_cells, 2) or not np.isfinite(plane).all():
        raise ValueError(
            f"The embedding has the shape {plane.shape}; two finite numbers for each of the "
            f"model's {n_cells:,} cells are needed. What to do: compute it for all cells of the "
            "model, in two dimensions, for example adata.obsm['X_umap']."
        )
    return plane
