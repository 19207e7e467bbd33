"""Lesson 06b: RNA beside protein, the foreground, denoising across batches, and a fair judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.model import TOTALVI

from helpers.latent import neighbours
from helpers.practice.exercises.answer_checks import (
    Mistake,
    a_kind,
    as_names,
    names,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet, right
from helpers.proteins import protein_counts

# A gene that fewer cells have says little.
ENOUGH_CELLS = 40


@exercise(
    'Take the cells with `groups == "CD8 T cells"`, and the counts of both genes in them: '
    '`blood[cells, ["CD8A", "CD8B"]].layers["counts"]`.',
    "For each cell add the two counts. Neither was counted where the sum is 0.",
    "The mean of `sum == 0` over the 41 cells is the share.",
)
def unseen_in_rna(share_without: Any, *, blood: AnnData, groups: pd.Series) -> Reply:
    """Share of CD8 T cells without a count of both genes of CD8."""
    cells = (groups == "CD8 T cells").to_numpy()
    a, b = (_counts(blood, gene) == 0 for gene in ("CD8A", "CD8B"))
    above = protein_counts.above(blood, ["CD8a"])["CD8a"].to_numpy()
    share = float((a & b)[cells].mean())
    return number(
        "share_without",
        share_without,
        share,
        tolerance=0.004,
        praise=(
            f"With CD8A alone it was {a[cells].mean():.0%} of the CD8 T cells, with both genes "
            f"{share:.0%} are left. Two genes catch more than one. But whoever takes only cells "
            f"with RNA of CD8 still misses {(a & b)[cells].sum()} of {cells.sum()}."
        ),
        mistakes=[
            Mistake(a[cells].mean(), "That is without CD8A. Some of these cells have CD8B."),
            Mistake(b[cells].mean(), "That is without CD8B. Some of these cells have CD8A."),
            Mistake(
                (a | b)[cells].mean(),
                "These cells lack one *or* the other. Neither means: CD8A is 0 *and* CD8B is 0.",
            ),
            Mistake(
                1 - share, "That is the share in which at least one was counted. Turn it round."
            ),
            Mistake(
                1 - (a | b)[cells].mean(),
                "That is the share in which *both* were counted. Asked for is neither.",
            ),
            Mistake(
                (a & b)[above].mean(),
                f"These are all {above.sum()} cells above the CD8a threshold. Some of them are no "
                "CD8 T cells: NK cells can have CD8a, too. Take those that the gate calls so.",
            ),
            Mistake(
                a[cells].mean() * b[cells].mean(),
                "The product would be right if the two genes had nothing to do with each other. A "
                "cell with few molecules lacks both more often. Count.",
            ),
            Mistake((a & b).mean(), "That is the share of all cells. Take the CD8 T cells alone."),
            Mistake((a & b)[cells].sum(), "That is how many cells. Divide by all CD8 T cells."),
        ],
    )


def _counts(blood: AnnData, gene: str) -> np.ndarray:
    return np.asarray(blood[:, gene].layers["counts"].todense()).ravel()


@exercise(
    "Look for two humps: `protein_figures.plot_histogram(blood, ...)`, or "
    "`protein_counts.thresholds(blood)` for all proteins.",
    "In the table, NaN means that there are no two humps. One batch without them is enough.",
    "`protein_counts.thresholds(blood)` has NaN for three proteins. PD-1 is one.",
)
def no_foreground(not_to_trust: Any, *, blood: AnnData) -> Reply:
    """Name the proteins whose probability of foreground means nothing in a batch."""
    table = protein_counts.thresholds(blood)
    missing = table["threshold"].isna().groupby(level="protein").any()
    cells = table["above"].groupby(level="protein").mean()
    two = "has two humps in both batches, so background and foreground can be told apart"
    return names(
        "not_to_trust",
        not_to_trust,
        missing.index[missing],
        list(blood.obsm[protein_counts.KEY]),
        praise=(
            "Where there is one hump, nothing tells the model which of its two distributions to "
            "use. It puts out a probability all the same."
        ),
        wrong={
            "TIGIT": (
                f"TIGIT {two}. Its counts are small, and the humps lie close together: so the "
                "model is sure of fewer cells, and says so. A probability of 0.5 is an honest "
                "answer."
            ),
            "CD19": (
                f"CD19 {two}. Few cells have it ({cells['CD19']:.0%}), but these are far from the "
                "others."
            ),
            "CD56": f"CD56 {two}. That its RNA is hardly ever counted is another matter.",
            "CD4": (
                f"CD4 {two}. Denoised CD4 may be larger than the count, but that is about the "
                "denoised value."
            ),
            "CD45RA": f"CD45RA {two}. What cannot be told from CD45RO is its RNA.",
        },
        missing={
            "CD15": (
                "There is one with two humps in batch 10k and a single one in batch 5k: there you "
                "cannot trust it."
            ),
            "PD-1": "The last histogram of the lesson shows one.",
        },
    )


@exercise(
    "Denoised values keep the batch of a cell, unless you ask for another. Which argument did the "
    "lesson name?",
    '`model.get_normalized_expression(transform_batch="5k")` returns two tables: genes first, '
    "proteins second.",
    '`_, denoised = model.get_normalized_expression(transform_batch="5k", n_samples=25)`, and of '
    '`denoised` the column "CD19".',
)
def same_batch_for_all(cd19: Any, *, blood: AnnData, groups: pd.Series) -> Reply:
    """Denoised CD19 of all cells, so that the batches can be compared."""
    values, problem = _of_cells(cd19, blood)
    if values is None:
        return not_yet(problem)
    batch = blood.obs["batch"].to_numpy(dtype=str)
    is_b, others = ((groups == name).to_numpy() for name in ("B cells", "CD4 T cells"))
    of_b = {name: float(np.median(values[is_b & (batch == name)])) for name in ("10k", "5k")}
    elsewhere = {name: float(np.median(values[others & (batch == name)])) for name in of_b}
    if max(of_b.values()) <= 1.5:
        return not_yet(
            "None of the B cells has more than about 1. Are these probabilities? Denoised is the "
            "foreground times its probability, on the scale of counts."
        )
    counts = blood.obsm[protein_counts.KEY]["CD19"].to_numpy(float)
    if np.allclose(values, counts):
        return not_yet(
            "These are the counts as they were measured. They hold the background, and the batch."
        )
    ratio = max(of_b.values()) / max(min(of_b.values()), 1e-9)
    fold = min(of_b[name] / max(elsewhere[name], 1e-9) for name in of_b)
    shown = f"{of_b['10k']:,.0f} in batch 10k and {of_b['5k']:,.0f} in batch 5k"
    return requirements(
        (
            ratio < 1.5,
            f"Median of the B cells: {shown}.",
            f"Median of the B cells: {shown}, {ratio:.1f} times as much in one as in the other. "
            "Less than 1.5 times is asked for. Is each cell still in its own batch?",
        ),
        (
            fold > 10,
            "B cells have far more than CD4 T cells.",
            "B cells do not have even ten times as much as CD4 T cells. What makes all cells "
            "alike makes the batches alike, too. The difference of the cell types has to stay.",
        ),
        praise=(
            f"Median of the B cells: {shown}, and more than ten times that of CD4 T cells. Little "
            "of the batch is left, and the biology is there. What is left of the difference may "
            "be real, or a correction that is not complete: 15 B cells in each batch cannot tell."
        ),
    )


def _of_cells(given: Any, blood: AnnData) -> tuple[np.ndarray | None, str]:
    """Return a number for each cell, or None and what is wrong with it."""
    if isinstance(given, tuple) and len(given) == 2:
        return (
            None,
            "`cd19` holds two things. `get_normalized_expression` returns genes and proteins: "
            "take the second, and of it the column CD19.",
        )
    if isinstance(given, pd.DataFrame) and "CD19" in given and given.shape[1] > 1:
        return None, '`cd19` holds a table. Take its column CD19: `...["CD19"]`.'
    if isinstance(given, str) or callable(given):
        return (
            None,
            f"`cd19` is {'text' if isinstance(given, str) else 'a function'}. It should hold a "
            "number for each cell.",
        )
    if isinstance(given, pd.Series) and set(given.index) == set(blood.obs_names):
        given = given.loc[blood.obs_names]
    try:
        values = np.asarray(given.toarray() if hasattr(given, "toarray") else given, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        return (
            None,
            f"`cd19` is {a_kind(given)} and does not hold a number for each cell.",
        )
    if values.size != blood.n_obs:
        return (
            None,
            f"`cd19` has the shape {values.shape}. It should hold a number for each of the "
            f"{blood.n_obs} cells.",
        )
    if not np.isfinite(values).all() or (values < 0).any():
        return (
            None,
            "`cd19` has numbers that are negative, infinite or NaN. A denoised protein is 0 or "
            "more.",
        )
    return values.ravel(), ""


@exercise(
    "Which genes has neither model seen? Compare `blood.var_names` with `model.adata.var_names`.",
    'Take genes that at least 40 cells have: `(blood.layers["counts"] > 0).sum(axis=0)`. And no '
    "gene whose protein TotalVI was given: `protein_counts.GENES`.",
    "Many genes that all cells need are left, such as those whose names begin with RPL.",
)
def fair_judges(judges: Any, *, blood: AnnData, model: TOTALVI, spaces: Mapping[str, Any]) -> Reply:
    """Choose five genes that neither model has seen, and that so can judge both."""
    given, problem = as_names("judges", judges, blood.var_names)
    if given is None:
        return not_yet(problem)
    if len(given) != 5 or len(set(given)) != 5:
        return not_yet(f"`judges` holds {len(set(given))} different genes. Five are asked for.")
    seen = [gene for gene in given if gene in model.adata.var_names]
    if seen:
        return not_yet(
            f"Both models were trained on {' and '.join(seen)}: "
            f"{'it is' if len(seen) == 1 else 'they are'} among the {model.adata.n_vars:,} genes. "
            "Whoever has seen the answer cannot be tested with it."
        )
    of_genes = {gene: protein for protein, gene in protein_counts.GENES.items()}
    unfair = [gene for gene in given if gene in of_genes]
    if unfair:
        return not_yet(
            f"Neither model has seen the RNA of {unfair[0]}. But TotalVI was given the protein "
            f"{of_genes[unfair[0]]}, and SCVI was not. That is not fair."
        )
    counts = np.asarray(blood[:, given].layers["counts"].todense())
    cells = dict(zip(given, (counts > 0).sum(axis=0), strict=True))
    rarest = min(cells, key=lambda gene: cells[gene])
    if cells[rarest] < ENOUGH_CELLS:
        return not_yet(
            f"{rarest} has counts in {cells[rarest]} of {blood.n_obs} cells. So rare a gene says "
            f"little; take genes with counts in at least {ENOUGH_CELLS} cells."
        )
    scores = judge(blood, counts, spaces)
    said = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
    return right(
        "Neither model has seen these genes, nor the proteins made from them. So the check asks: "
        "how well do the 15 nearest neighbours of a cell tell its expression of them? "
        f"Correlation, mean of the five: {said}. Would five other genes, or another seed, put the "
        "models into the same order? Try it, before you name a winner."
    )


def judge(blood: AnnData, counts: np.ndarray, spaces: Mapping[str, Any]) -> dict[str, float]:
    """Return how well neighbours tell unseen genes.

    It is the mean correlation for each space, and for random positions.
    """
    library = np.asarray(blood.layers["counts"].sum(axis=1))
    expression = np.log1p(1e4 * counts / library)
    positions = {
        **spaces,
        "random positions": np.random.default_rng(0).normal(size=(blood.n_obs, 10)),
    }
    told = {
        name: expression[neighbours.nearest(each)].mean(axis=1) for name, each in positions.items()
    }
    return {
        name: float(
            np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(expression.T, of.T, strict=True)])
        )
        for name, of in told.items()
    }
