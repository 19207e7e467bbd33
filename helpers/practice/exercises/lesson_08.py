"""Lesson 08: what overflows, which way a table lies, counts from values, and a plan of days."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.own_data import batch_checks, raw_counts
from helpers.practice.exercises.answer_checks import Mistake, a_kind, function, number, requirements
from helpers.practice.exercises.replies import Reply, exercise, not_yet, right

# How many genes are in the table of exercise 2.
FEW_GENES = 300

# What the published values of exercise 3 are multiplied with.
TARGET = 1e4

# The mice of exercise 4, from the first to the eighth, and how many fit into a day.
TREATMENT = ["drug"] * 4 + ["none"] * 4
SEX = ["female", "female", "male", "male"] * 2
MAX_A_DAY = 4


@exercise(
    "What is the largest number that fits? The *square* of the count has to fit, not the count.",
    "The square must not exceed 32,767. What is the square root of that?",
    "181 × 181 is 32,761. What comes next?",
)
def too_large_to_square(smallest: Any) -> Reply:
    """Find the smallest count whose square overflows 16 bits with a sign."""
    largest = int(np.iinfo(np.int16).max)
    counts = np.arange(1, largest, dtype=np.int64)
    with np.errstate(over="ignore"):
        squares = np.square(counts.astype(np.int16))
    first = int(counts[squares != counts**2][0])
    return number(
        "smallest",
        smallest,
        first,
        unit="molecules",
        praise=(
            f"{first} squared is {first**2:,}, more than {largest:,}. NumPy makes "
            f"{int(squares[first - 1]):,} of it, and says nothing. Half of the 65,536 numbers are "
            "below 0, so it begins at smaller counts than in `uint16`."
        ),
        mistakes=[
            Mistake(
                256,
                "That is the answer for `uint16`, which goes up to 65,535. With a sign there is "
                "half the room.",
            ),
            Mistake(first - 1, f"The square of that is {(first - 1) ** 2:,}: it just fits."),
            Mistake(
                largest + 1,
                "That is the first *count* that does not fit. scanpy squares the counts, so it "
                "goes wrong much earlier.",
            ),
            Mistake(largest, "That count fits. What about its square?"),
            Mistake(
                (largest + 1) // 2,
                "Half of it is for doubling a count. Squaring grows faster: take the square root.",
            ),
        ],
    )


@exercise(
    "Which way does the table lie? Run `preflight.check(reading.read(...))` on it, and look at "
    "the first row.",
    "`reading.read` has an argument for tables in which a row is a gene.",
    '`reading.read("../data/genes_in_rows.csv", genes_in=...)`, with "rows" or "columns".',
)
def table_the_right_way(from_text: Any, *, adata: ad.AnnData) -> Reply:
    """Read a table whose rows are genes."""
    wanted = adata[:, :FEW_GENES]
    if isinstance(from_text, pd.DataFrame):
        return not_yet(
            "`from_text` is a DataFrame. scVI works on an AnnData, which `reading.read` of the "
            "helpers returns."
        )
    if not isinstance(from_text, ad.AnnData):
        return not_yet(
            f"`from_text` is {a_kind(from_text)}. It should be an AnnData, as `reading.read` "
            "returns it."
        )
    if from_text.shape == wanted.shape[::-1] and set(from_text.obs_names) == set(wanted.var_names):
        return not_yet(
            f"Cells and genes have changed places: {from_text.n_obs} cells that are called "
            f"{from_text.obs_names[0]} and so on. Those are genes. scVI does not look at names, so "
            "it would not tell you."
        )
    if set(from_text.obs_names) != set(wanted.obs_names) or set(from_text.var_names) != set(
        wanted.var_names
    ):
        return not_yet(
            f"`from_text` has {from_text.n_obs:,} cells x {from_text.n_vars:,} genes. In the file "
            f"are {wanted.n_obs} cells and {wanted.n_vars} genes: is it that file?"
        )
    counts = _dense(wanted.layers["umi"])
    given = _dense(from_text[wanted.obs_names, wanted.var_names].X)
    if not np.array_equal(given, counts):
        return not_yet(
            "Cells and genes are right, the numbers are not those of the file. Read it afresh, "
            "and change nothing."
        )
    return right(
        f"{from_text.n_obs} cells x {from_text.n_vars} genes, and all {counts.size:,} counts are "
        "right. Read the other way round, it has the shape of data as well; only the names tell. "
        "The report looks at them."
    )


def _dense(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)


@exercise(
    "Undo the steps from the last one to the first: the logarithm, then the 10,000, then the "
    "total.",
    "`np.expm1` undoes ln(1 + x). Then values are 10,000 × count / total. Totals are one a cell: "
    "`totals[:, None]` puts them beside the rows.",
    "`np.expm1(values) * totals[:, None] / 1e4`, and at last `np.rint(...)`, because the values "
    "were stored with few digits.",
)
def counts_by_their_totals(counts_from: Any, *, published: ad.AnnData) -> Reply:
    """Write a function that turns published values back into counts, given the cells' totals."""
    values = _dense(published.raw.X[:40])
    totals = published.obs["n_counts"].to_numpy(dtype=float)[:40]
    # In the second of these cells no gene has a single molecule.
    few = np.array([[1.0, 0, 3, 2], [2, 4, 0, 6]])
    given = few.sum(axis=1) + 8
    cases = [(np.log1p(TARGET * few / given[:, None]), given), (values, totals)]

    def amounts(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
        return np.expm1(values) * totals[:, None] / TARGET

    return function(
        "counts_from",
        _returning_dense(counts_from) if callable(counts_from) else counts_from,
        [(case, np.rint(amounts(*case))) for case in cases],
        praise=(
            "Whole numbers in both trials. In one of them a cell has no gene with a single "
            "molecule: `raw_counts.recover`, which does not know the totals, would make half of "
            "its counts. So keep the totals when you publish values."
        ),
        mistakes=[
            (
                amounts,
                "Nearly: these are the counts but for the last digits, such as 2.0000003. Counts "
                "are whole numbers, so round at the end: `np.rint(...)`.",
            ),
            (
                lambda values, totals: raw_counts.recover(values).toarray(),
                "`recover` takes the smallest value of a cell for one molecule. In one cell here "
                "the smallest count is 2, so it makes half of what was there. You have the "
                "totals: use them.",
            ),
            (
                lambda values, totals: np.rint(np.expm1(values)),
                "The logarithm is undone, and the rest rounded. Whole numbers are not counts yet: "
                "each is still multiplied by 10,000 / total.",
            ),
            (
                lambda values, totals: np.expm1(values),
                "The logarithm is undone. Each value is still multiplied by 10,000 / total.",
            ),
            (
                lambda values, totals: np.rint(values),
                "Rounding makes whole numbers, not counts. First undo what was done: the "
                "logarithm, then 10,000 / total.",
            ),
            (
                lambda values, totals: np.rint(np.exp(values) * totals[:, None] / TARGET),
                "The logarithm was taken of 1 + x, so that 0 stays 0. `np.exp` forgets the 1; "
                "`np.expm1` takes it off again.",
            ),
            (
                lambda values, totals: np.rint(np.expm1(values) * TARGET / totals[:, None]),
                "The last step is upside down: values are 10,000 × count / total, so counts are "
                "value × total / 10,000.",
            ),
            (
                lambda values, totals: np.rint(np.expm1(values) * totals[:, None]),
                "Nearly: the 10,000 are still in it.",
            ),
        ],
    )


def _returning_dense(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that returns a sparse matrix count as one that returns all numbers."""

    @functools.wraps(answer)
    def dense(*arguments: Any) -> Any:
        value = answer(*arguments)
        return value.toarray() if sp.issparse(value) else value

    return dense


@exercise(
    "Four mice fit into a day, and the day is the batch. What must not happen with the "
    "treatments? And with the sexes?",
    "Write the eight mice below one another, with treatment and sex. Put one or two drug mice on "
    "each day, and look at the sexes then.",
    "Take the first of each pair on day 1 and the second on day 2: each pair has the same "
    "treatment and the same sex.",
)
def plan_of_days(days: Any) -> Reply:
    """Choose a day for each of eight mice so that day, treatment and sex can be told apart."""
    given, problem = _as_days(days)
    if given is None:
        return not_yet(problem)
    sizes = pd.Series(given).value_counts().sort_index()
    if sizes.max() > MAX_A_DAY:
        listed = " and ".join(f"{size} on day {day}" for day, size in sizes.items())
        return not_yet(
            f"{listed}: no more than {MAX_A_DAY} fit into a day. So there are two days of "
            f"{MAX_A_DAY}."
        )
    return requirements(
        *(
            _of_the_design(given, name, values)
            for name, values in (("treatment", TREATMENT), ("sex", SEX))
        ),
        praise=(
            "Each treatment and each sex is on both days. So the day can be told from the drug, "
            "and `batch_key` can take it away. After a confounded experiment no method could have "
            "done that for you."
        ),
    )


def _as_days(days: Any) -> tuple[list[int] | None, str]:
    """Return an answer as eight whole numbers, or None and what is wrong with it."""
    wanted = "a list of eight numbers, the day of each mouse, such as [1, 1, 2, ...]"
    if isinstance(days, str | dict):
        return None, f"`days` is {a_kind(days)}. It should be {wanted}."
    try:
        given = [float(day) for day in days]
    except Exception:  # whatever cannot be gone through, or holds no numbers
        return (
            None,
            f"`days` is {a_kind(days)} and not eight numbers. It should be {wanted}.",
        )
    if len(given) != len(TREATMENT):
        return None, f"`days` has {len(given)} numbers. It should be {wanted}."
    if not all(day in (1, 2) for day in given):
        odd = next(day for day in given if day not in (1, 2))
        return None, f"`days` holds {odd:g}. The days are 1 and 2."
    return [int(day) for day in given], ""


def _of_the_design(days: Sequence[int], name: str, values: Sequence[str]) -> tuple[bool, str, str]:
    """Ask the pre-flight report whether the values can be told from the days."""
    of_each = batch_checks.FEW_CELLS_IN_A_BATCH
    obs = pd.DataFrame({"day": np.repeat(days, of_each), name: np.repeat(values, of_each)})
    cells = ad.AnnData(obs=obs.set_index(obs.index.astype(str)))
    table = batch_checks.shared_labels(cells, "day", name)
    alone = [str(value) for value in table.index[table["in one batch"]]]
    return (
        not alone,
        f"Each {name} is on both days.",
        f"{name.capitalize()} and day are confounded: {' and '.join(alone)} "
        f"{'is' if len(alone) == 1 else 'are'} on one day only. Nobody can tell then what comes "
        f"from the {name} and what from the day.",
    )
