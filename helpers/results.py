"""What studies found: runs that take minutes, made once, so that nobody waits for them.

``python -m studies`` lists the studies, and makes one anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import RESULTS


def load(name: str, **how: Any) -> pd.DataFrame:
    """Return the table that a study kept, one row per run.

    Parameters
    ----------
    name
        The name of the study, such as "batches".
    **how
        As for ``pandas.read_csv``.

    Raises
    ------
    ValueError
        If no results are kept under this name; it says under which there are.
    """
    return pd.read_csv(_path(name), comment="#", **how)


def origin(name: str) -> str:
    """Return one line that says how the runs of a study were made: models, seeds and versions.

    Raises
    ------
    ValueError
        As ``load``.
    """
    with _path(name).open(encoding="utf-8") as lines:
        return lines.readline().removeprefix("#").strip()


def summary(name: str, columns: Sequence[str], **which: Any) -> pd.DataFrame:
    """Return runs of several seeds as text: mean over the seeds, in brackets lowest and highest.

    Parameters
    ----------
    name
        The name of a study whose table has one row per ``method`` and seed.
    columns
        Which columns to show; methods without a value in any of them are left out.
    **which
        Which rows, as a column and its value: ``design="balanced"``.

    Raises
    ------
    ValueError
        As ``load``; or if there is no such column, or no row has this value.
    """
    table = load(name)
    for column in (*columns, *which):
        if column not in table:
            raise ValueError(
                f"The results of '{name}' have no column '{column}'. Columns: "
                f"{', '.join(table.columns)}."
            )
    for column, value in which.items():
        known = table[column].unique()
        if value not in known:
            raise ValueError(
                f"There is no {column} '{value}' in the results of '{name}'. There are: "
                f"{', '.join(map(str, known))}."
            )
        table = table[table[column] == value]
    return over_seeds(table, columns)


def over_seeds(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of runs as ``summary`` does.

    Parameters
    ----------
    table
        One row per ``method`` and seed.
    columns
        Which columns to show; methods without a value in any of them are left out.
    """
    found = table.groupby("method", sort=False)[list(columns)].agg(["mean", "min", "max"])
    found = found.dropna(how="all")
    return pd.DataFrame(
        {
            name: [
                f"{mean:.2f} ({lowest:.2f} to {highest:.2f})"
                for mean, lowest, highest in found[name].to_numpy()
            ]
            for name in columns
        },
        index=found.index,
    )


def _path(name: str) -> Path:
    file = RESULTS / f"{name}.csv"
    kept = sorted(each.stem for each in RESULTS.glob("*.csv"))
    if name not in kept:
        raise ValueError(f"No results of '{name}' are kept. Kept are: {', '.join(kept)}.")
    return file
