"""Lesson 01: genes that vary more than is usual for their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers.genes import selection
from helpers.practice.exercises.answer_checks import (
    Mistake,
    as_names,
    function,
    number,
    requirements,
)
from helpers.practice.exercises.replies import Reply, exercise, not_yet

# What the last exercise asks for: so few genes, and so large a share of cells whose class is voted
# right.
MAX_GENES, MIN_ACCURACY = 100, 0.94

# The classes are voted on in this number of principal components.
COMPONENTS = 30


@exercise(
    "The mean of the doubled counts is twice as large. How far from it is each count now?",
    'Compute it: `mt1 = fresh[:, "Mt1"].to_df(layer="counts")["Mt1"]`, then compare `(2 * '
    "mt1).var()` with `mt1.var()`.",
    "Each distance from the mean is twice as large. The variance is the mean of the *squared* "
    "distances.",
)
def doubled_counts(times: Any, *, adata: AnnData) -> Reply:
    """Say how the variance of a gene changes when each of its counts is doubled."""
    counts = _counts(adata, "Mt1")
    expected = (2 * counts).var() / counts.var()
    return number(
        "times",
        times,
        expected,
        unit="times",
        tolerance=0.01,
        praise="Twice the distances, four times their squares. The cells are the same as before, "
        "and yet the variance is four times as large: so a variance says nothing until it is "
        "compared with the mean.",
        mistakes=[
            Mistake(
                2,
                "That is so for the mean, and for the distances from it. The variance is made of "
                "*squared* distances.",
            ),
            Mistake(
                1,
                "Nothing changes in the cells, that is true. But variance is counted in squared "
                "counts, and the counts are larger.",
            ),
            Mistake(
                2**0.5, "That would be smaller than for the mean. Do you square, or take a root?"
            ),
            Mistake(
                (2 * counts).var(ddof=1),
                "That is the variance of the doubled counts. Divide it by the variance of the "
                "counts.",
            ),
        ],
    )


@exercise(
    "Three lines: standardise each count, limit the result, take the variance.",
    "Standardise: `(values - values.mean()) / expected_variance**0.5`. The limit is the root of "
    "the number of cells, `len(values) ** 0.5`.",
    "`np.minimum(standardised, limit)` limits each one; `.var()` of that is what is asked for.",
)
def by_hand(standardised_variance: Any, *, adata: AnnData) -> Reply:
    """Write a function that computes the standardised variance of a gene, with the limit."""
    table = _table(adata)
    exact = selection.standardised_variance(adata, table)
    # The one that varies most without a limit, so that the limit is seen to be missing, and some
    # that it does not touch.
    tried = ["Mt1", "Actb", "Plp1", (table["variance"] / table["expected variance"]).idxmax()]
    cases = [
        ((_counts(adata, gene), float(table.loc[gene, "expected variance"])), float(exact[gene]))
        for gene in tried
    ]
    return function(
        "standardised_variance",
        standardised_variance,
        cases,
        # Whether the squares are divided by n or n - 1, and the mean taken before or after the
        # limit, shows in the third digit.
        tolerance=0.03,
        praise=(
            "This is step 3 with its limit, for one gene. One call of `highly_variable_genes` "
            "does it for all of them."
        ),
        mistakes=[
            (
                lambda values, expected: values.var() / expected,
                "Right but for the limit: one cell with a huge count still makes the last gene "
                "look variable. Limit the standardised counts before you take their variance.",
            ),
            (
                lambda values, expected: ((values - values.mean()) / expected).var(),
                "You divide by the expected variance. Divide by its *root*: a distance is in "
                "counts, a variance in squared counts.",
            ),
            (
                lambda values, expected: _limited(values, expected).std(),
                "You return the spread (`std`), which is the root of the variance.",
            ),
            (
                lambda values, expected: values.var() / values.mean(),
                "You compare the variance with the mean, which is what chance alone gives "
                "(Poisson). Compare it with what is usual for other genes of this mean: "
                "`expected_variance`.",
            ),
            (
                lambda values, expected: np.minimum(values, len(values) ** 0.5).var() / expected,
                "You limit the counts themselves. Standardise first: the limit is for "
                "standardised counts.",
            ),
            (
                lambda values, expected: values.var(),
                "That is the variance. It is still to be compared with the expected one.",
            ),
            (
                _limited,
                "You return one standardised count for each cell. Take their variance: one number.",
            ),
        ],
    )


@exercise(
    "Make a table for the cells that are left, with the steps of the lesson. Mean, expected "
    "variance and limit all change.",
    'The cells: `others = fresh[fresh.obs["cell_type"] != "oligodendrocytes"].copy()`. Then '
    "`genes.mean_and_variance(others)`, and so on.",
    '`genes.standardised_variance(others, others_table)["Plp1"]`, where `others_table` has a '
    "column `expected variance` made by `genes.expected_variance(others_table)`.",
)
def without_a_class(plp1_left: Any, *, adata: AnnData) -> Reply:
    """Give the standardised variance of Plp1 among the cells that are no oligodendrocytes."""
    inside = (adata.obs["cell_type"] == "oligodendrocytes").to_numpy()
    whole, table = _table(adata), _table(adata[~inside])
    before = selection.standardised_variance(adata, whole)["Plp1"]
    after = selection.standardised_variance(adata[~inside], table)
    left = _counts(adata, "Plp1")[~inside]
    variance, usual = table.loc["Plp1", ["variance", "expected variance"]]
    rank = int(after.rank(ascending=False)["Plp1"])
    reply = number(
        "plp1_left",
        plp1_left,
        after["Plp1"],
        # The fit of the curve magnifies last digits.
        tolerance=0.01 * after["Plp1"],
        praise=f"It rises from {before:.1f} to {after['Plp1']:.0f}, number {rank} of "
        f"{len(after):,}. The mean falls to {left.mean():.0f} counts, so little variance is usual "
        f"for it; and {int((left >= 100).sum())} of the cells left still have 100 molecules or "
        "more. Which genes are highly variable depends on the cells: select again when you leave "
        "some out.",
        mistakes=[
            Mistake(
                before,
                "That is the value among all cells. Compute mean, variance and curve anew for "
                "those that are left.",
            ),
            Mistake(
                variance / usual,
                "Nearly: mean, variance and curve are right. The limit for single cells is "
                "missing; `genes.standardised_variance` has it.",
            ),
            Mistake(
                variance / whole.loc["Plp1", "expected variance"],
                "The variance is that of the cells left, the expected variance that of all. Fit "
                "the curve anew.",
            ),
            Mistake(
                variance, "That is the variance. Which variance is usual for a gene of its mean?"
            ),
            Mistake(
                selection.standardised_variance(adata[inside], _table(adata[inside]))["Plp1"],
                "These are the oligodendrocytes alone. The question is about all the others: `!=`.",
            ),
        ],
    )
    if not reply.is_right and reply.text.startswith("`plp1_left` is 0."):
        return not_yet(
            "Is that your prediction? It is what many expect: without oligodendrocytes, *Plp1* no "
            "longer varies. Now compute it."
        )
    return reply


@exercise(
    "Which genes did best in the lesson, when only 200 were allowed?",
    "`genes.select(few, 100)` leaves the 100 most variable genes in a copy `few = fresh.copy()`.",
    "Then `few_genes = few.var_names`. Or take the classes one by one, and for each some genes "
    "that are high in it.",
)
def few_genes(few_genes: Any, *, adata: AnnData) -> Reply:
    """Find a few genes that tell the classes apart."""
    if isinstance(few_genes, pd.DataFrame | pd.Series) and not isinstance(
        next(iter(few_genes.to_numpy().ravel()), None), str | bool | np.bool_
    ):
        return not_yet(
            "`few_genes` is a table or one of its columns. The names of the genes are its index: "
            "add `.index`."
        )
    given, problem = as_names("few_genes", few_genes, adata.var_names)
    if given is None:
        return not_yet(problem)
    chosen = list(dict.fromkeys(given))
    if len(chosen) <= COMPONENTS:
        return not_yet(
            f"You have {len(chosen)} different genes. The measure needs more than {COMPONENTS}: it "
            f"first reduces them to {COMPONENTS} principal components."
        )
    if len(chosen) > MAX_GENES:
        return not_yet(
            f"You have {len(chosen):,} genes; at most {MAX_GENES} are asked for. Which of them "
            "can go?"
        )
    accuracy = selection.class_accuracy(adata, pd.Index(chosen))
    return requirements(
        (True, f"{len(chosen)} genes.", ""),
        (
            accuracy >= MIN_ACCURACY,
            f"The class of {accuracy:.1%} of the cells is voted right.",
            f"The class of {accuracy:.1%} of the cells is voted right; {MIN_ACCURACY:.0%} is "
            f"asked for. {_advice(adata, chosen)}",
        ),
        praise=f"{len(chosen)} genes, and the class of {accuracy:.1%} of the cells is voted right. "
        "Compare that with all 4,000 in the table of the lesson: for these classes few genes "
        "will do, if they are well chosen.",
    )


def _advice(adata: AnnData, chosen: Sequence[str]) -> str:
    """Tell from which end of which list genes seem to be taken, and what is wrong with it."""
    table = _table(adata)
    table["standardised variance"] = selection.standardised_variance(adata, table)
    orders = {
        "mean": (
            "These are the genes with the most counts. A gene can be high in all classes alike."
        ),
        "variance": (
            "These are the genes with the largest variance. Some have it only because their "
            "counts are large."
        ),
    }
    for column, advice in orders.items():
        if set(chosen) == set(table[column].nlargest(len(chosen)).index):
            return advice
    if set(chosen) <= set(table["standardised variance"].nsmallest(2_000).index):
        return "All of these vary less than the selected genes do."
    return "Which genes vary most for their mean?"


def _table(adata: AnnData) -> pd.DataFrame:
    """Return mean, variance and expected variance of each gene: steps 1 and 2 of the lesson."""
    table = selection.mean_and_variance(adata)
    table["expected variance"] = selection.expected_variance(table)
    return table


def _counts(adata: AnnData, gene: str) -> np.ndarray:
    """Return the counts of a gene, one a cell."""
    return adata[:, gene].layers["counts"].toarray().ravel().astype(float)


def _limited(values: np.ndarray, expected: float) -> np.ndarray:
    """Return standardised counts, none above the root of the number of cells."""
    return np.minimum((values - values.mean()) / expected**0.5, len(values) ** 0.5)
