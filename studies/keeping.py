"""Make the runs of a study one by one, so that a stopped one goes on, and keep them as a table."""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import DATA, RESULTS


def make(
    name: str,
    keys: Mapping[str, Sequence[Any]],
    run: Callable[..., pd.DataFrame],
) -> pd.DataFrame:
    """Make all runs that are missing, and return them; interrupted work resumes where it stopped.

    Parameters
    ----------
    name
        The study. Until ``write`` or ``discard``, its finished runs stay in ``data/``.
    keys
        The columns that name a run, with the values of each; every combination is run.
    run
        Makes one run from its keys, by position, and returns rows that hold them.
    """
    unfinished = _unfinished(name)
    done = pd.read_csv(unfinished) if unfinished.exists() else pd.DataFrame()
    for values in itertools.product(*keys.values()):
        wanted = dict(zip(keys, values, strict=True))
        if len(done) and (done[list(wanted)] == pd.Series(wanted)).all(axis=1).any():
            continue
        print(", ".join(f"{key} {value}" for key, value in wanted.items()), "...", flush=True)
        done = pd.concat([done, run(*values)], ignore_index=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        done.to_csv(unfinished, index=False)
    return done


def write(name: str, table: pd.DataFrame, what: str, packages: Sequence[str]) -> None:
    """Keep a table in ``docs/results/``, with a first line that says where it comes from.

    Parameters
    ----------
    name
        The study.
    table
        What to keep, with four decimals.
    what
        What was run, with which seeds.
    packages
        The packages whose versions decide the result.
    """
    versions = ", ".join(f"{each} {importlib.metadata.version(each)}" for each in packages)
    header = f"# {what}, {versions}. {written_by(name)}\n"
    text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    file = RESULTS / f"{name}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(header + text, encoding="utf-8")
    discard(name)
    print(f"{len(table)} rows written to {file.name}")


def written_by(name: str) -> str:
    """Return the sentence that stands in everything that a study writes for people to read."""
    return f"Written by `make study ARGS={name}`; do not edit."


def discard(name: str) -> None:
    """Forget the runs of a study that were kept to go on from; the next call makes all anew."""
    _unfinished(name).unlink(missing_ok=True)


def _unfinished(name: str) -> Path:
    return DATA / f"unfinished_{name}.csv"
