"""Lesson 00: counts, their zeros, and how much was counted in each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers.data import counts
from helpers.practice.exercises.answer_checks import as_number, function, names, numbers
from helpers.practice.exercises.replies import Reply, exercise, not_yet, right

# Two cells with the same count of Actb and very different library sizes.
TWO_CELLS = ("cell_2459", "cell_0088")


@exercise(
    "The two counts are equal. What else was counted in the two cells, and how much of it?",
    '`per_cell.loc[two_cells, "library size"]` are the totals. What part of its total is *Actb* '
    "in each cell?",
    "Divide each count by the total of its cell, then multiply by 10,000.",
)
def same_count(actb_per_10000: Any, *, adata: AnnData) -> Reply:
    """Give the counts of Actb per 10,000 counts in two cells."""
    cells = adata[list(TWO_CELLS)]
    per_cell = counts.per_cell(cells)
    actb = cells[:, "Actb"].to_df(layer="counts")["Actb"].to_numpy(float)
    sizes = per_cell["library size"].to_numpy(float)
    expected = 10_000 * actb / sizes
    return numbers(
        "actb_per_10000",
        actb_per_10000,
        expected,
        unit="counts per 10,000",
        # Rounded to whole numbers will do.
        tolerance=0.6,
        praise=f"The same count, and {expected[0] / expected[1]:.0f} times the share: the first "
        f"cell has {sizes[0]:,.0f} counts in all, the second {sizes[1]:,.0f}. This is normalising, "
        "done by hand for two counts.",
        mistakes=[
            (
                actb,
                "These are the counts as they are. They are equal, but they are parts of very "
                "different totals.",
            ),
            (
                1_000 * actb / sizes,
                "You have divided by the right totals. The exercise asks for counts per 10,000, "
                "ten times as many.",
            ),
            (
                100 * actb / sizes,
                "You have divided by the right totals. This is per cent; the exercise asks for "
                "counts per 10,000.",
            ),
            (
                10_000 * actb / per_cell["genes seen"].to_numpy(float),
                "You have divided by the number of *genes* seen. The library size is the number "
                "of *molecules*: the sum of all counts.",
            ),
            (
                np.full(2, 10_000 * actb[0] / adata.n_vars),
                "You have divided by the number of genes in the table. It is the same for all "
                "cells, so it cannot make them comparable.",
            ),
            (
                np.full(2, 10_000 * 2 * actb[0] / sizes.sum()),
                "You have divided by the total of both cells. Each cell has a library size of its "
                "own.",
            ),
            (expected[0], "That is the first cell, and right. Give both numbers in a list."),
            (expected[1], "That is the second cell, and right. Give both numbers in a list."),
            (
                sizes,
                "These are the library sizes. Which part of each is *Actb*?",
            ),
        ],
    )


@exercise(
    "For each class you need two numbers: how many of its cells would go, and how many it has.",
    '`is_small = per_cell["library size"] < 5000` says True for the cells that would go. Group it '
    'by `adata.obs["cell_type"]`.',
    'The mean of True and False is the share of True: `is_small.groupby(adata.obs["cell_type"], '
    "observed=True).mean()`.",
)
def lost_classes(lost: Any, *, adata: AnnData) -> Reply:
    """Name the classes that lose more than half of their cells below 5,000 counts."""
    classes = adata.obs["cell_type"]
    small = counts.per_cell(adata)["library size"] < 5_000
    share = small.groupby(classes, observed=True).mean()
    gone = small.groupby(classes, observed=True).sum()
    expected = list(share.index[share > 0.5])
    kept = {
        name: f"{name} would lose {gone[name]:,} cells, which is {share[name]:.0%} of the class."
        for name in share.index.difference(expected)
    }
    return names(
        "lost",
        lost,
        expected,
        classes.cat.categories,
        praise=(
            f"{_listed(share[expected])}. These are small cells, not bad ones. A limit for all "
            "classes alike throws away biology."
        ),
        wrong=kept
        | {
            "oligodendrocytes": (
                f"{kept.get('oligodendrocytes', '')} Many cells, but of the second largest class: "
                "the share counts, not the number."
            )
        },
        missing={
            "astrocytes_ependymal": "Have you judged by the figure? Count, class by class.",
        },
    )


def _listed(shares: pd.Series) -> str:
    """Write shares as "a 70 %, b 20 %"."""
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


@exercise(
    "Losing molecules makes zeros. Does it make more of them, or fewer, than `keep=0.2` did in "
    "the lesson?",
    "Try some values: `counts.share_of_zeros(counts.thin(adata, keep=0.1))`. Is that still too "
    "few zeros?",
    "The right ones lie between 0.03 and 0.08.",
)
def look_less_closely(keep: Any, *, adata: AnnData) -> Reply:
    """Find the share of molecules with which nine of ten entries are zero."""
    value, problem = as_number("keep", keep, "a probability from 0 to 1")
    if value is None:
        return not_yet(problem)
    if value > 1:
        return not_yet(
            f"`keep` is {value:,.6g}. It is the probability that a molecule is kept: a number "
            "between 0 and 1, not per cent."
        )
    if value <= 0:
        return not_yet(
            f"`keep` is {value:,.6g}. It is a probability, so it cannot be below 0; and with 0 no "
            "molecule is left, and *all* entries are zero."
        )
    zeros = counts.share_of_zeros(counts.thin(adata, value))
    if 0.89 <= zeros <= 0.91:
        return right(
            f"{zeros:.1%} zeros with {value:.1%} of the molecules. Nothing has changed in the "
            "cells: the same gene that is on is now a zero in many of them. So you cannot tell "
            "from the zeros alone how many genes are off."
        )
    before = counts.share_of_zeros(adata)
    shown = f"With `keep = {value:.6g}`, {zeros:.1%} of the entries are zero"
    if abs(value - 0.1 / (1 - before)) < 0.005:
        return not_yet(
            f"{shown}, not 90 %. You have scaled the entries that are not zero by `keep`. But a "
            "count of 20 that loses most of its molecules is seldom zero."
        )
    if abs(value - 0.1) < 0.005:
        return not_yet(
            f"{shown}, not 90 %. A tenth of the *molecules* is not a tenth of the *entries*: large "
            "counts stay above zero."
        )
    if zeros < 0.89:
        return not_yet(f"{shown}: too few. Keep fewer molecules.")
    return not_yet(f"{shown}: too many. Keep more molecules.")


@exercise(
    "Two things make a number impossible as a count. One is in the message of `check_counts` "
    "above; what is the other?",
    "`matrix % 1` is what is left after dividing by 1: zero for whole numbers. `.all()` asks "
    "whether something is true of all entries.",
    "Both must hold for all entries: `(matrix % 1 == 0).all()` and `(matrix >= 0).all()`.",
)
def counts_or_not(holds_counts: Any, *, adata: AnnData) -> Reply:
    """Write a function that tells whether an array can hold counts."""
    corner = adata.layers["counts"][:50].toarray().astype(float)
    scaled = 10_000 * corner / corner.sum(axis=1, keepdims=True)
    cases = [
        (np.array([[0, 3], [1, 2]]), True),
        (np.array([[0.0, 3.0], [1.0, 2.0]]), True),
        (np.array([[0.0, 2.0], [3.0, 0.5]]), False),
        (np.array([[2.397895, 0.0], [0.0, 0.693147]]), False),
        (np.array([[671.352, 26.5], [30.25, 1.5]]), False),
        (np.array([[2.0, 0.0], [-1.0, 1.0]]), False),
        (corner, True),
        (scaled, False),
        (np.log1p(scaled), False),
    ]
    return function(
        "holds_counts",
        holds_counts,
        [((matrix,), answer) for matrix, answer in cases],
        praise=(
            "Whole numbers, none below zero, looked at one and all. scVI itself looks at a few "
            "and only warns, so a check of your own is worth its line."
        ),
        mistakes=[
            (
                lambda matrix: matrix.flat[0] % 1 == 0,
                "You look at the first entry only. In the third trial the fraction is in the last "
                "one.",
            ),
            (
                lambda matrix: matrix.dtype.kind in "iu",
                "You ask how the numbers are *stored*. A count of 3 may be stored as 3.0, as it "
                "is in `adata`. Ask whether the value is whole.",
            ),
            (
                lambda matrix: (matrix % 1 == 0).all(),
                "Whole numbers are recognised. But -1 is whole, too, and nobody can catch -1 "
                "molecules.",
            ),
            (
                lambda matrix: (matrix >= 0).all(),
                "Negative numbers are found. But normalised values are not negative either: they "
                "are not whole.",
            ),
            (
                lambda matrix: (matrix >= 0) & (matrix % 1 == 0),
                "For each entry your function is right, and it returns one True or False for "
                "each. The exercise asks for *one* answer: add `.all()`.",
            ),
            (
                lambda matrix: (matrix % 1 == 0).any(),
                "You ask whether *some* entry is whole. Zeros are whole in any matrix: ask for "
                "all entries.",
            ),
            (
                lambda matrix: matrix.max() > 20,
                "Large numbers do not make counts: normalised values can be large, and in a small "
                "matrix counts can be small.",
            ),
        ],
    )
