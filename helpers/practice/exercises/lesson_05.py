"""Lesson 05: how sure a position is, other numbers for the cells, clusters, more dimensions."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
from numpy.typing import NDArray

from helpers.latent import clusters, neighbours
from helpers.loss.latent_dimensions import IN_USE, dimensions_in_use
from helpers.practice.exercises.answer_checks import (
    Mistake,
    a_kind,
    as_number,
    choice,
    model_problem,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet

# Of 15 neighbours on average 0.15 may change, since equally distant cells may change places.
ALL_NEIGHBOURS = 0.99

# A dimension that is correlated with an old one by more than this is that one by another name.
SAME_DIMENSION = 0.95

MORE_DIMENSIONS = 30


@exercise(
    "The width of a cloud is the square root of its variance. Take the mean over the ten "
    "dimensions, then over the cells of a class.",
    "`pd.Series(np.sqrt(variances).mean(axis=1)).groupby(classes.to_numpy()).mean()` has the "
    "seven means.",
    "What would make a position unsure? Look which classes have few counts a cell, and few cells "
    "to learn from.",
)
def widest_clouds(least_sure: Any, *, model: scvi.model.SCVI) -> Reply:
    """Name the class whose clouds are widest in the mean."""
    classes = model.adata.obs["cell_type"].astype(str).to_numpy()
    _, variances = model.get_latent_representation(return_dist=True)
    counts = np.asarray(model.adata.layers["counts"].sum(axis=1), dtype=float).ravel()
    cells = pd.DataFrame({"width": np.sqrt(variances).mean(axis=1), "counts": counts})
    means = cells.groupby(classes).mean()
    widest = str(means["width"].idxmax())
    others = {
        str(name): (
            f"The clouds of {name} have a mean width of {row['width']:.2f}. Another class has "
            "wider ones."
        )
        for name, row in means.drop(index=widest).iterrows()
    }
    largest = pd.Series(classes).value_counts().idxmax()
    # Pairs and no dictionary: one class may have two of these reasons. Two classes have nearly the
    # same narrowest clouds, and on some processors the largest class is the one that has them.
    reasons = (
        (largest, "It has most cells, and most to learn from."),
        ("oligodendrocytes", "It takes much room on the map; that says nothing of its clouds."),
        (str(means["width"].idxmin()), "Its clouds are the narrowest of all."),
        (
            str(means["counts"].idxmin()),
            "A good thought: it has the fewest counts a cell, and its clouds are wide. They are "
            "not the widest.",
        ),
    )
    for name, reason in reasons:
        if name in others:
            others[name] += f" {reason}"
    ranks = cells.corr(method="spearman").loc["width", "counts"]
    n_cells = int((classes == widest).sum())
    return choice(
        "least_sure",
        least_sure,
        widest,
        praise=(
            f"Its clouds have a mean width of {means.loc[widest, 'width']:.2f}, against "
            f"{means['width'].min():.2f} for the narrowest class. Its cells have few counts "
            f"({means.loc[widest, 'counts']:,.0f} on average), and there are only {n_cells} of "
            "them to learn from. Over all cells, width and number of counts have a rank "
            f"correlation of {ranks:.1f}: the fewer counts, the less sure the position."
        ),
        others=others,
    )


@exercise(
    "Which changes leave all distances between cells as they are? Moving, mirroring, turning. "
    "Which of these mixes the dimensions?",
    "The lesson turned by a random angle: `latent_space @ ortho_group.rvs(10, random_state=0)`. "
    "Other angles come from other random states.",
    "`yours = latent_space @ ortho_group.rvs(10, random_state=3)`. (The ten principal components "
    "are another answer: they turn, too.)",
)
def other_numbers(
    yours: Any, *, latent_space: NDArray[np.floating], turned: NDArray[np.floating]
) -> Reply:
    """Make ten other numbers for each cell, with the same nearest neighbours."""
    positions, problem = _positions("yours", yours, latent_space.shape)
    if positions is None:
        return not_yet(problem)
    for known, reply in (
        (latent_space, "These are the ten numbers themselves. Make others of them."),
        (
            turned,
            "That is `turned` of the lesson, and it would do. Find another one: how many angles "
            "are there?",
        ),
    ):
        if np.allclose(positions, known, atol=1e-4):
            return not_yet(reply)
    if not positions.std(axis=0).all():
        return not_yet("A column of `yours` is the same in all cells, so it tells nothing.")
    kept = neighbours.shared(latent_space, positions)
    both = np.corrcoef(latent_space, positions, rowvar=False)[: latent_space.shape[1]]
    alike = np.abs(both[:, latent_space.shape[1] :])
    renamed = int((alike.max(axis=0) > SAME_DIMENSION).sum())
    stretched = renamed == alike.shape[1] and kept < ALL_NEIGHBOURS
    return requirements(
        (
            kept >= ALL_NEIGHBOURS,
            f"{kept:.0%} of the neighbours stay.",
            f"Only {kept:.0%} of the neighbours stay."
            + (
                " You have stretched some dimensions more than others. A dimension has a scale, "
                "and neighbours depend on it."
                if stretched
                else " Distances have changed: a turn keeps them, another mixture does not."
            ),
        ),
        (
            not renamed,
            "No dimension is an old one.",
            f"{renamed} of your dimensions {'is an old one' if renamed == 1 else 'are old ones'}, "
            "moved, mirrored, scaled or in another place: their correlation with it is beyond "
            f"{SAME_DIMENSION} or -{SAME_DIMENSION}. Mix the dimensions.",
        ),
        praise=(
            f"{kept:.0%} of the neighbours stay, and the largest correlation of one of your "
            f"dimensions with an old one is {alike.max():.2f}. Maps and clusters of your numbers "
            "are as good as those of the model's. So what a single dimension seems to tell was "
            "never a property of the cells."
        ),
    )


def _positions(
    name: str, answer: Any, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, str]:
    """Return an answer as positions of cells, or None and what is wrong with it."""
    wanted = f"It should be a table with the shape {shape}: one row per cell, ten numbers each."
    if isinstance(answer, str | bytes) or callable(answer):
        return None, f"`{name}` is {a_kind(answer)}. {wanted}"
    if hasattr(answer, "detach"):
        answer = answer.detach()
    try:
        positions = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return (
            None,
            f"`{name}` is {a_kind(answer)} that does not hold only numbers. {wanted}",
        )
    if positions.shape != shape:
        turned = " Have rows and columns changed places?" if positions.shape == shape[::-1] else ""
        drawn = (
            " A map has lost most of what ten numbers tell."
            if positions.shape == (shape[0], 2)
            else ""
        )
        return None, f"`{name}` has the shape {positions.shape}. {wanted}{turned}{drawn}"
    if not np.isfinite(positions).all():
        return None, f"`{name}` holds values that are NaN or infinite. Was something divided by 0?"
    return positions, ""


@exercise(
    "At resolution 0.5 microglia share a cluster with the cells of the blood vessels. Does a "
    "finer clustering divide it?",
    '`clusters.confusion(clusters.leiden(graph, your_resolution), classes)["microglia"]` says how '
    "many microglia are in each cluster. Try values above 1.",
    "Try 1, 2, 3, ... and look at the first that gives microglia a cluster.",
)
def own_cluster(your_resolution: Any, *, graph: ad.AnnData, classes: pd.Series) -> Reply:
    """Find a resolution at which most microglia have a cluster for themselves."""
    value, problem = as_number("your_resolution", your_resolution)
    if value is None:
        return not_yet(problem)
    if value <= 0:
        return not_yet(
            f"`your_resolution` is {value:g}. It should be above 0: the higher, the more clusters."
        )
    if value > 10:
        return not_yet(
            f"`your_resolution` is {value:g}. That makes hundreds of clusters, and takes long. "
            "Stay below 10."
        )
    found = clusters.leiden(graph, value)
    table = clusters.confusion(found, classes)
    microglia = table["microglia"]
    cluster = microglia.idxmax()
    there, whole, all_of_them = microglia.max(), table.loc[cluster].sum(), microglia.sum()
    in_it = table.loc[cluster].drop("microglia")
    agreement = clusters.agreement(found, classes)["ARI"]
    return requirements(
        (
            2 * there >= all_of_them,
            f"One cluster holds {there} of {all_of_them} microglia.",
            f"No cluster holds half of the {all_of_them} microglia; the fullest has {there}. So "
            "fine a clustering divides them as well: take a lower resolution.",
        ),
        (
            2 * there >= whole,
            f"Most of its {whole} cells are microglia.",
            f"Only {there} of its {whole} cells are microglia, and {in_it.max()} are of the class "
            f"{in_it.idxmax()}. "
            + (
                "You have as many clusters as there are classes, or nearly. That does not make "
                "them the classes. Take a higher resolution."
                if abs(len(table) - table.shape[1]) <= 1
                else "Take a higher resolution."
            ),
        ),
        praise=(
            f"{there} of {all_of_them} microglia are in one cluster of {whole} cells. The price: "
            f"there are {len(table)} clusters now for {table.shape[1]} classes, and the ARI is "
            f"{agreement:.2f}. A resolution that finds the rare class divides the large ones. No "
            "single resolution is right, and the highest ARI is not what you want if you look for "
            "a rare kind of cell."
        ),
    )


@exercise(
    "Train it as in lesson 02, with one more setting. `loss.dimensions_in_use(wider)` then has a "
    "row for each dimension.",
    "A dimension is in use from 0.1 nats per cell on. Count the rows whose `kl` is at least "
    "`loss.IN_USE`.",
    '`n_in_use = (loss.dimensions_in_use(wider)["kl"] >= loss.IN_USE).sum()`',
)
def more_dimensions(wider: Any, n_in_use: Any, *, model: scvi.model.SCVI) -> Reply:
    """Train a model with 30 latent dimensions, and say how many of them are in use."""
    problem = _problem_of_wider(wider)
    if problem:
        return not_yet(problem)
    kl = dimensions_in_use(wider)["kl"]
    used = int((kl >= IN_USE).sum())
    named = (model.adata.obs["subclass"] != "(none)").to_numpy()
    subclasses = model.adata.obs["subclass"][named]
    ten, thirty = (
        neighbours.label_accuracy(each.get_latent_representation()[named], subclasses)
        for each in (model, wider)
    )
    before = dimensions_in_use(model)["kl"]
    return number(
        "n_in_use",
        n_in_use,
        used,
        unit="dimensions",
        praise=(
            f"{used} of {MORE_DIMENSIONS} are in use: more room does not mean that the model takes "
            f"it. All together they tell {kl.sum():.0f} nats; the ten of the lesson's model tell "
            f"{before.sum():.0f}. The neighbours name the subclass of {thirty:.0%} of the cells, "
            f"with ten dimensions of {ten:.0%}."
        ),
        mistakes=_distinct(
            Mistake(
                MORE_DIMENSIONS,
                "So many were built. Whether a dimension is used shows in its KL divergence: some "
                "tell next to nothing.",
            ),
            Mistake(
                MORE_DIMENSIONS - used,
                "So many are *not* in use. The question is about the others.",
            ),
            Mistake(
                int((before >= IN_USE).sum()),
                "That is so for `model`, with its ten dimensions. Ask `wider`.",
            ),
            Mistake(
                int((kl >= 1).sum()),
                "So many have 1 nat or more. In use means 0.1 nats per cell or more: "
                "`loss.IN_USE`.",
            ),
        ),
    )


def _distinct(*mistakes: Mistake) -> list[Mistake]:
    """Make one mistake of those that lead to the same number.

    How many dimensions are in use hangs on the training: with 20 of 30, ten are not, and ten has
    the lesson's model as well. Nobody can tell then what a learner thought.
    """
    replies: dict[float, list[str]] = {}
    for mistake in mistakes:
        replies.setdefault(mistake.value, []).append(mistake.reply)
    return [Mistake(value, " Or: ".join(said)) for value, said in replies.items()]


def _problem_of_wider(wider: Any) -> str:
    """Say why a model is not the one that is asked for, or nothing."""
    if problem := model_problem("wider", wider, scvi.model.SCVI, "`scvi.model.SCVI(adata, ...)`."):
        return problem
    if wider.module.n_latent != MORE_DIMENSIONS:
        return (
            f"`wider` has {wider.module.n_latent} latent dimensions. Build it with "
            f"`n_latent={MORE_DIMENSIONS}`."
        )
    if not wider.is_trained:
        return "`wider` has the right size, and it is not trained yet: `training.train(wider)`."
    return ""
