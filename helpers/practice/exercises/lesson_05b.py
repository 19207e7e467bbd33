"""Lesson 05b: what a Bayes factor says, marker genes, p-values, and correlations out of nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi

from helpers.expression import denoising, differential_expression
from helpers.practice.exercises.answer_checks import Mistake, a_kind, function, number, requirements
from helpers.practice.exercises.replies import Reply, exercise, not_yet

# What the exercises ask for; their texts name the same numbers.
PROBABLE, SEEN, SEEN_ELSEWHERE, MIN_MARKERS = 0.9, 0.8, 0.4, 3
CLASS, SIGNIFICANT, MIN_CELLS = "pyramidal CA1", 0.05, 10

# More cells than this are not tested anew: nearly all genes are significant then, and the test
# takes seconds.
MAX_CELLS = 600


@exercise(
    "The Bayes factor is the logarithm of p / (1 - p). What undoes a natural logarithm?",
    "Let `odds = np.exp(bayes_factor)`. That is p / (1 - p). Solve for p.",
    "`return odds / (1 + odds)`",
)
def back_to_probability(probability_of: Any, *, by_scvi: pd.DataFrame) -> Reply:
    """Write a function that computes the probability from a Bayes factor."""
    rows = by_scvi.sort_values("probability", ignore_index=True)
    rows = rows.iloc[(np.array([0, 0.3, 0.7, 0.95]) * len(rows)).astype(int)]
    cases = [
        ((float(row["Bayes factor"]),), float(row["probability"])) for _, row in rows.iterrows()
    ]
    (weak,), weak_p = cases[0]
    (strong,), strong_p = cases[-1]
    return function(
        "probability_of",
        probability_of,
        cases,
        tolerance=1e-5,
        praise=(
            f"A Bayes factor of {weak:.1f} is a probability of {weak_p:.2f}, one of {strong:.1f} "
            f"is {strong_p:.2f}: as in the table. Both columns say the same, and neither says how "
            "*large* the difference is."
        ),
        mistakes=_WRONG_PROBABILITIES,
    )


_WRONG_PROBABILITIES: list[tuple[Callable[..., float], str]] = [
    (
        math.exp,
        "These are the odds, p / (1 - p): how much more often it differs than not. One step is "
        "left, from the odds to p.",
    ),
    (
        lambda factor: 1 / (1 + math.exp(factor)),
        "That is the probability that the gene does *not* differ. The other one is 1 minus that.",
    ),
    (
        lambda factor: 10**factor / (1 + 10**factor),
        "The way is right. But the Bayes factor here is a natural logarithm: `np.exp`, not a "
        "power of 10.",
    ),
    (
        lambda factor: 2**factor / (1 + 2**factor),
        "The way is right. But the Bayes factor here is a natural logarithm: `np.exp`. To base 2 "
        "are the fold changes.",
    ),
    (
        lambda factor: factor / (1 + factor),
        "You have used the Bayes factor as odds. It is the *logarithm* of the odds; undo that "
        "first.",
    ),
    (
        lambda factor: 1 - math.exp(-factor),
        "Near for large ones, but at 0 it should give one half: there the gene differs as often "
        "as not. Start from the odds, `np.exp(bayes_factor)`.",
    ),
    (
        lambda factor: 100 * math.exp(factor) / (1 + math.exp(factor)),
        "That is in per cent. A probability is a number from 0 to 1.",
    ),
]


@exercise(
    "`candidates` has a column for each requirement. Which comparisons keep the rows that meet "
    "all of them?",
    "A probability says nothing of the direction: `log2 fold change` has to be above 0.",
    'Keep rows with `candidates["probability"] >= 0.9`, `candidates["log2 fold change"] > 0`, '
    '`candidates["cells with counts"] >= 0.8` and `candidates["other cells with counts"] <= 0.4`, '
    "joined by `&` with brackets around each. Their index holds the names.",
)
def good_markers(your_markers: Any, *, by_scvi: pd.DataFrame, adata: ad.AnnData) -> Reply:
    """Find three genes or more that mark the interneurons, by the model and in the counts."""
    genes, problem = _genes(your_markers, set(adata.var_names))
    if problem:
        return not_yet(problem)
    table = by_scvi[by_scvi["class"] == "interneurons"].set_index("gene").loc[genes]
    others = (adata.obs["cell_type"] != "interneurons").to_numpy()
    seen = sp.csr_matrix(adata[:, genes].layers["counts"] > 0)
    elsewhere = np.asarray(seen[others].mean(axis=0)).ravel()
    table = table.assign(elsewhere=elsewhere)
    change, probability = table["log2 fold change"], table["probability"]
    lower = table[change <= 0]
    unsure = table[(change > 0) & (probability < PROBABLE)]
    rare = table[table["cells with counts"] < SEEN]
    common = table[table["elsewhere"] > SEEN_ELSEWHERE]
    return requirements(
        (
            len(genes) >= MIN_MARKERS,
            f"{len(genes)} genes.",
            f"{len(genes)} {'gene' if len(genes) == 1 else 'different genes'}; {MIN_MARKERS} "
            "are asked for at least.",
        ),
        (
            lower.empty,
            "All are higher in interneurons.",
            _first(
                lower,
                "{gene} differs with a probability of {probability:.2f}, but it is *lower* in "
                "interneurons: its log2 fold change is {change:.1f}.",
            ),
        ),
        (
            unsure.empty,
            "In nine of ten pairs of cells or more they differ, or they are lower.",
            _first(
                unsure,
                "{gene} differs with a probability of {probability:.2f} only. In too many pairs "
                "it does not tell an interneuron from another cell.",
            ),
        ),
        (
            rare.empty,
            f"All are seen in {SEEN:.0%} of the interneurons or more.",
            _first(
                rare,
                "{gene} has counts in {here:.0%} of the interneurons. A marker that is missing in "
                "so many cannot name a single cell, however large its fold change.",
            ),
        ),
        (
            common.empty,
            f"All are seen in {SEEN_ELSEWHERE:.0%} of the other cells or fewer.",
            _first(
                common,
                "{gene} has counts in {here:.0%} of the interneurons, and in {elsewhere:.0%} of "
                "the other cells. It is stronger in interneurons, but many other cells have it as "
                "well.",
            ),
        ),
        praise=(
            f"{len(genes)} genes that the model and the counts agree on. In "
            f"{probability.min():.0%} of pairs or more they are higher, and at most "
            f"{elsewhere.max():.0%} of the other cells have a count. Not all known markers pass: "
            "among the packaged genes, which are those seen in most cells, a gene of one class "
            "only is rare."
        ),
    )


def _genes(answer: Any, known: set[str]) -> tuple[list[str], str]:
    """Return the different genes of an answer, and what is wrong with it, if anything."""
    if isinstance(answer, str):
        return [], '`your_markers` is one text. Write a list of names: `["...", "...", "..."]`.'
    if isinstance(answer, pd.DataFrame):
        return [], "`your_markers` is a table. Take the names of its rows: `list(table.index)`."
    try:
        given = list(answer)
    except (TypeError, NotImplementedError):
        return (
            [],
            f'`your_markers` is {a_kind(answer)}. Write a list of names: `["...", "...", "..."]`.',
        )
    if not given:
        return [], "`your_markers` is empty. Is one of the limits too strict, or turned round?"
    for each in given:
        if not isinstance(each, str):
            return (
                [],
                "`your_markers` should hold names (text in quotation marks); one of them is "
                f"{a_kind(each)}.",
            )
        if each not in known:
            return (
                [],
                f'"{each}" is no gene of these cells. Look how the names are spelt: Abat, not '
                "ABAT.",
            )
    return list(dict.fromkeys(given)), ""


def _first(genes: pd.DataFrame, text: str) -> str:
    """Say of the first of some genes what is wrong with it."""
    if genes.empty:
        return ""
    row = genes.iloc[0]
    return text.format(
        gene=row.name,
        probability=row["probability"],
        change=row["log2 fold change"],
        here=row["cells with counts"],
        elsewhere=row["elsewhere"],
    )


@exercise(
    "The fold changes are properties of the genes. What else do small p-values need?",
    "Take every fifth cell, every tenth, every twentieth: `adata[::20]`. How many genes are "
    "significant each time?",
    '`few = adata[::50]`. To count, call `differential_expression.wilcoxon(few, "cell_type")`, '
    'keep the class "pyramidal CA1", and look at its `adjusted p value`.',
)
def few_cells(few: Any, *, adata: ad.AnnData, by_wilcoxon: pd.DataFrame) -> Reply:
    """Choose cells among which fewer than half of the genes have a small p-value."""
    problem = _problem_of_cells(few, adata)
    if problem:
        return not_yet(problem)
    of_class = (few.obs["cell_type"] == CLASS).to_numpy()
    here, elsewhere = int(of_class.sum()), int((~of_class).sum())
    if min(here, elsewhere) < MIN_CELLS:
        return not_yet(
            f"`few` has {here} {CLASS} cells and {elsewhere} others. Keep {MIN_CELLS} of each "
            "at least: with next to no cells no test finds anything."
        )
    if few.n_obs > MAX_CELLS:
        return not_yet(
            f"`few` has {few.n_obs:,} of {adata.n_obs:,} cells. With so many, more than half of "
            "the genes are significant. Take fewer."
        )
    # The others as one class, so that a class with a single cell does no harm.
    two = ad.AnnData(
        obs=pd.DataFrame({"class": np.where(of_class, CLASS, "others")}, index=few.obs_names),
        var=few.var[[]],
        layers={"counts": few.layers["counts"].copy()},
    )
    tested = differential_expression.wilcoxon(two, "class").query("`class` == @CLASS")
    before = by_wilcoxon.query("`class` == @CLASS")
    significant, of_all = (
        int((each["adjusted p value"] < SIGNIFICANT).sum()) for each in (tested, before)
    )
    changes, changes_of_all = (each["log2 fold change"].abs().median() for each in (tested, before))
    return requirements(
        (
            2 * significant < len(tested),
            f"{significant} of {len(tested):,} genes are significant.",
            f"With {few.n_obs} cells, {significant:,} of {len(tested):,} genes still have an "
            f"adjusted p-value below {SIGNIFICANT}; with all cells {of_all:,}. Fewer than half are "
            "asked for.",
        ),
        praise=(
            f"{significant} of {len(tested):,} genes with {few.n_obs} cells; with all "
            f"{adata.n_obs:,} cells {of_all:,}. The genes are the same, and their fold changes are "
            f"no smaller: {changes:.1f} in the median, against {changes_of_all:.1f}. A p-value "
            "asks whether there is a difference at all. With enough cells the answer is nearly "
            "always yes."
        ),
    )


def _problem_of_cells(few: Any, adata: ad.AnnData) -> str:
    """Say what is wrong with some of the cells, or nothing."""
    if not isinstance(few, ad.AnnData):
        return f"`few` is {a_kind(few)}. It should be some of the cells, for example `adata[::5]`."
    if "cell_type" not in few.obs or "counts" not in few.layers:
        return (
            "`few` has no cell types or no counts. Take it from `adata`, for example `adata[::5]`."
        )
    if few.n_vars < adata.n_vars:
        return (
            f"`few` has {few.n_vars:,} of {adata.n_vars:,} genes. Keep all genes and take fewer "
            "*cells*: what stands before the comma in `adata[cells, genes]`."
        )
    if not set(few.obs_names) <= set(adata.obs_names):
        return (
            "`few` has cells that are not in `adata`. Take it from `adata`, for example "
            "`adata[::5]`."
        )
    return ""


@exercise(
    "`denoising.correlations` takes `cells`: a mask that is True for the cells to use.",
    "As in the lesson: in how many pairs is the column `denoised` beyond 0.5 *or* -0.5? A share "
    "of all pairs, so a mean.",
    '`(within["denoised"].abs() > 0.5).mean()`, where `within` is what '
    "`denoising.correlations(small_model, list(shuffled), cells=of_class)` returns.",
)
def invented_in_one_class(share_in_class: Any, *, small_model: scvi.model.SCVI) -> Reply:
    """Count pairs of shuffled genes that denoising correlates within the oligodendrocytes."""
    adata = small_model.adata
    genes = list(adata.var_names[adata.var["shuffled"]])
    classes = adata.obs["cell_type"].astype(str).to_numpy()
    within = {
        name: denoising.correlations(small_model, genes, cells=classes == name)
        for name in ("oligodendrocytes", "pyramidal CA1", "pyramidal SS")
    }
    over_all = denoising.correlations(small_model, genes)
    inside = within["oligodendrocytes"]
    shares = {name: _strong(table["denoised"]) for name, table in within.items()}
    share, all_cells = shares["oligodendrocytes"], _strong(over_all["denoised"])
    compared = (
        "more than" if share > all_cells else "as much as" if share == all_cells else "less than"
    )
    return number(
        "share_in_class",
        share_in_class,
        share,
        tolerance=0.003,
        praise=(
            f"{share:.0%} of the pairs, {compared} over all cells ({all_cells:.0%}), in one class "
            "of cells, and with genes that have nothing to do with one another. In pyramidal CA1 "
            f"it is {shares['pyramidal CA1']:.0%}, in pyramidal SS {shares['pyramidal SS']:.0%}. "
            "You cannot foresee it; only shuffled genes tell."
        ),
        mistakes=[
            Mistake(
                all_cells,
                "That is the share over all cells. Give `cells=` a mask that is True for the "
                "oligodendrocytes.",
            ),
            Mistake(
                _strong(inside["counts"]),
                "That is so in the *counts*, where nothing is invented. Look at the column "
                "`denoised`.",
            ),
            Mistake(
                share * len(inside),
                f"That is the number of pairs. Divide it by all {len(inside)} of them.",
            ),
            Mistake(
                float(inside["denoised"].abs().mean()),
                "That is the mean size of the correlations. The question is in what share of the "
                "pairs it is beyond 0.5 or -0.5.",
            ),
            Mistake(
                1 - share,
                "That is the share of the pairs that do *not* have a strong correlation.",
            ),
        ],
    )


def _strong(correlations: pd.Series) -> float:
    """Return the share of correlations that are strong."""
    return float((correlations.abs() > denoising.STRONG).mean())
