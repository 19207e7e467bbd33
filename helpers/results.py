"""Runs that take minutes, made once and kept in ``docs/``, so that nobody waits for them."""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import DATA


def load(file: Path, **how: Any) -> pd.DataFrame:
    """Return the table that was kept.

    Parameters
    ----------
    file
        The CSV file; its first line says where the table comes from.
    **how
        As for ``pandas.read_csv``.
    """
    return pd.read_csv(file, comment="#", **how)


def origin(file: Path) -> str:
    """Return the first line of a kept file: what was run, with which seeds and versions."""
    with file.open(encoding="utf-8") as lines:
        return lines.readline().removeprefix("#").strip()


def spread(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return runs of several seeds as text.

    Mean over the seeds, and in brackets the lowest and the highest.

    Parameters
    ----------
    table
        A row a ``method`` and seed.
    columns
        Which columns to show; methods without a value in any of them are left out.
    """
    over_seeds = table.groupby("method", sort=False)[list(columns)].agg(["mean", "min", "max"])
    over_seeds = over_seeds.dropna(how="all")
    return pd.DataFrame(
        {
            name: [
                f"{mean:.2f} ({lowest:.2f} to {highest:.2f})"
                for mean, lowest, highest in over_seeds[name].to_numpy()
            ]
            for name in columns
        },
        index=over_seeds.index,
    )


def make(
    file: Path,
    keys: Mapping[str, Sequence[Any]],
    run: Callable[..., pd.DataFrame],
) -> pd.DataFrame:
    """Make all runs that are missing, and return them; interrupted work goes on where it was.

    Parameters
    ----------
    file
        The file that will keep them. Until ``write`` does, finished runs stay in ``data/`` under
        its name.
    keys
        The columns that name a run, with the values of each; every combination is run.
    run
        Makes one run from its keys, by position, and returns rows that hold them.
    """
    unfinished = _unfinished(file)
    done = pd.read_csv(unfinished) if unfinished.exists() else pd.DataFrame()
    for values in itertools.product(*keys.values()):
        wanted = dict(zip(keys, values, strict=True))
        if len(done) and (done[list(wanted)] == pd.Series(wanted)).all(axis=1).any():
            continue
        print(", ".join(f"{name} {value}" for name, value in wanted.items()), "...", flush=True)
        done = pd.concat([done, run(*values)], ignore_index=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        done.to_csv(unfinished, index=False)
    return done


def write(
    file: Path, table: pd.DataFrame, what: str, packages: Sequence[str], command: str
) -> None:
    """Keep a table, with a first line that says where it comes from.

    Parameters
    ----------
    file
        Where to write it.
    table
        What to keep, with four decimals.
    what
        What was run, with which seeds.
    packages
        The packages whose versions decide the result.
    command
        The command that makes it again.
    """
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    header = f"# {what}, {versions}. Written by {command}; do not edit.\n"
    text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    file.write_text(header + text, encoding="utf-8")
    _unfinished(file).unlink(missing_ok=True)
    print(f"{len(table)} rows written to {file.name}")


def _unfinished(file: Path) -> Path:
    return DATA / file.name
