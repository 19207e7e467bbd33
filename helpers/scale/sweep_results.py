"""What trials of a sweep say about architectures: each against the default, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import pandas as pd

from helpers import environment, results
from helpers.data import datasets
from helpers.genes import selection
from helpers.scale import evaluation

ARCHITECTURE = ["n_layers", "n_hidden"]
KEYS = [*ARCHITECTURE, "seed"]

# What SCVI takes if nobody chooses, and what the others are compared with.
DEFAULT = {"n_layers": 1, "n_hidden": 128}

SHORT, LONG = "class preset", "three times as long"

# Two budgets, so that nobody takes for a fault of large networks what is a fault of a short
# training.
BUDGETS = {
    SHORT: {"preset": "class"},
    # The same course with a third of the learning rate, in three times the epochs.
    LONG: {"preset": "class", "max_epochs": 42, "plan_kwargs": {"lr": 0.005}},
}

# Whether a lower or a higher value is better.
BETTER = dict.fromkeys(evaluation.MEASURES, "higher") | {"negative ELBO": "lower"}


def cells() -> ad.AnnData:
    """Return the cells that the trials were trained on: cortex, 2,000 genes, as in lesson 02."""
    environment.prepare()
    adata = datasets.load_cortex(genes="packaged")
    selection.select(adata)
    return adata


def kept(space: Mapping[str, Mapping[str, object]], budget: str = SHORT) -> pd.DataFrame:
    """Return those of the kept trials that a search space asks for.

    Parameters
    ----------
    space
        As for ``sweep.run``; an architecture that it does not name in ``model_params`` is as in
        ``DEFAULT``, and without ``seed`` all seeds are returned.
    budget
        A key of ``BUDGETS``, with the same ``train_params``.

    Raises
    ------
    ValueError
        If a parameter was not varied, a value not tried, or the training is another one.
    """
    if dict(space.get("train_params", {})) != BUDGETS[budget]:
        raise ValueError(
            f"The kept trials of '{budget}' were trained with {BUDGETS[budget]}. What to do: run "
            "the sweep, or ask for these."
        )
    trials = results.load("architectures")
    trials = trials.loc[trials["budget"] == budget]
    for name, values in (DEFAULT | dict(space.get("model_params", {}))).items():
        wanted = values if isinstance(values, list) else [values]
        tried = sorted(trials[name].unique()) if name in KEYS else []
        if not set(wanted) <= set(tried):
            raise ValueError(
                f"{name} = {wanted} is not among the kept trials, which have "
                f"{tried or 'it at its default'}. What to do: run the sweep."
            )
        trials = trials.loc[trials[name].isin(wanted)]
    return trials.reset_index(drop=True)


def differences(trials: pd.DataFrame) -> pd.DataFrame:
    """Compare every trial with the default architecture of the same seed.

    Parameters
    ----------
    trials
        As from ``results.load("architectures")``, of one budget, or from ``sweep.run``.

    Returns
    -------
    DataFrame
        One row per trial that has not the default architecture: ``n_layers``, ``n_hidden``,
        ``seed``, and the columns of ``BETTER`` as trial minus default.

    Raises
    ------
    ValueError
        If a trial did not finish, a seed lacks the default architecture, has an architecture twice,
        or was judged on other cells than the default.
    """
    unfinished = trials[trials["negative ELBO"].isna()]
    if len(unfinished):
        first = unfinished.iloc[0]
        raise ValueError(
            f"{_name(first)} with seed {first['seed']} did not finish: "
            f"{first.get('problem', 'no reason is kept')}. What to do: run the sweep again, or "
            "leave this seed out."
        )
    twice = trials.duplicated(KEYS)
    if twice.any():
        raise ValueError(
            f"{_name(trials[twice].iloc[0])} is there twice with the same seed. What to do: give "
            "the trials of one budget."
        )
    is_default = _is_default(trials)
    default = trials[is_default].set_index("seed")
    others = trials[~is_default].set_index("seed")
    alone = sorted(set(others.index) - set(default.index))
    if alone:
        raise ValueError(
            f"Seed {alone[0]} has no trial with the default ({_name(DEFAULT)}), so nothing can be "
            "compared with it."
        )
    partner = default.loc[others.index]
    unequal = others["held-out cells"].to_numpy() != partner["held-out cells"].to_numpy()
    if unequal.any():
        raise ValueError(
            f"With seed {others.index[unequal][0]}, {_name(others[unequal].iloc[0])} was judged on "
            "other held-out cells than the default, so the difference says nothing."
        )
    columns = list(BETTER)
    difference = others[columns].to_numpy(dtype=float) - partner[columns].to_numpy(dtype=float)
    table = pd.DataFrame(difference, columns=columns, index=others.index)
    return (
        pd.concat([others[ARCHITECTURE], table], axis=1)
        .reset_index()
        .reindex(columns=[*KEYS, *columns])
    )


def _is_default(trials: pd.DataFrame) -> pd.Series:
    return (trials[ARCHITECTURE] == pd.Series(DEFAULT)).all(axis=1)


def spreads(trials: pd.DataFrame, column: str = "negative ELBO") -> pd.Series:
    """Tell how much less differences within a seed spread than values over seeds.

    Parameters
    ----------
    trials
        As from ``results.load("architectures")``, of one budget.
    column
        A key of ``BETTER``.

    Returns
    -------
    Series
        Standard deviations over the seeds: of the default architecture, and of the difference to
        the default (mean over the architectures).
    """
    by_architecture = differences(trials).groupby(ARCHITECTURE)[column]
    return pd.Series(
        {
            "default architecture, over the seeds": trials.loc[_is_default(trials), column].std(),
            "difference to the default, over the seeds": by_architecture.std().mean(),
        },
        name=f"spread of the {column}",
    )


def verdicts(compared: pd.DataFrame, column: str) -> pd.DataFrame:
    """Say for each architecture whether all seeds agree that it beats the default, or loses.

    Parameters
    ----------
    compared
        As from ``differences``.
    column
        A key of ``BETTER``.

    Returns
    -------
    DataFrame
        One row per architecture: ``mean``, ``lowest`` and ``highest`` difference over the seeds,
        ``better in`` how many of them, and ``verdict``: "better" or "worse" if all seeds say so,
        else "seeds disagree".
    """
    by_architecture = compared.groupby(ARCHITECTURE)[column]
    sign = -1 if BETTER[column] == "lower" else 1
    better = by_architecture.apply(lambda values: int((sign * values > 0).sum()))
    worse = by_architecture.apply(lambda values: int((sign * values < 0).sum()))
    seeds = by_architecture.size()
    verdict = pd.Series("seeds disagree", index=seeds.index)
    verdict[better == seeds] = "better"
    verdict[worse == seeds] = "worse"
    return pd.DataFrame(
        {
            "mean": by_architecture.mean(),
            "lowest": by_architecture.min(),
            "highest": by_architecture.max(),
            "better in": [f"{good} of {all_}" for good, all_ in zip(better, seeds, strict=True)],
            "verdict": verdict,
        }
    )


def winners(trials: pd.DataFrame, column: str = "negative ELBO") -> pd.DataFrame:
    """Return which architecture is best with each seed.

    It is what you would choose if this were your only seed.

    Parameters
    ----------
    trials
        As from ``results.load("architectures")``, of one budget.
    column
        A key of ``BETTER``.

    Returns
    -------
    DataFrame
        One row per seed: ``n_layers``, ``n_hidden`` and ``column`` of the best trial.
    """
    by_seed = trials.groupby("seed")[column]
    best = by_seed.idxmin() if BETTER[column] == "lower" else by_seed.idxmax()
    return trials.loc[best, ["seed", *ARCHITECTURE, column]].set_index("seed")


def by_chance(seeds: int, architectures: int) -> float:
    """Return how probable it is that all seeds agree about some architecture by luck alone.

    At least one then seems to differ from the default, though none does.

    Parameters
    ----------
    seeds
        Number of seeds; without a difference each says "better" or "worse" like a coin.
    architectures
        Number of architectures that are compared with the default, taken as independent of one
        another.
    """
    return 1 - (1 - 2 * 0.5**seeds) ** architectures


def costs(trials: pd.DataFrame) -> pd.DataFrame:
    """Return what each architecture costs.

    Columns ``trained parameters``, and ``CPU seconds`` of a training (median over the seeds).
    """
    return pd.DataFrame(
        trials.groupby(ARCHITECTURE)[["trained parameters", "CPU seconds"]].median()
    )


def _name(row: object) -> str:
    return f"n_layers={row['n_layers']}, n_hidden={row['n_hidden']}"
