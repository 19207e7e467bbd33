"""The trials that are kept, taken by a search space, and what is concluded from trials."""

import inspect
import itertools

import numpy as np
import pandas as pd
import pytest
import scvi

from helpers import results
from helpers.scale import evaluation, sweep, sweep_figures, sweep_results


@pytest.fixture(scope="module")
def kept():
    return results.load("architectures")


def made_up(effects, seeds=(1, 2, 3)):
    """Trials whose negative ELBO is that of the seed plus the effect of the architecture."""
    rows = []
    for (layers, neurons), seed in itertools.product(effects, seeds):
        value = 1_000 * seed + effects[layers, neurons]
        rows.append(
            {"n_layers": layers, "n_hidden": neurons, "seed": seed, "negative ELBO": value}
            | dict.fromkeys(("k-means ARI", "k-means NMI", "kNN accuracy"), value / 10_000)
            | {"held-out cells": f"of seed {seed}"}
        )
    return pd.DataFrame(rows)


# --- the kept trials ----------------------------------------------------------------------------


def test_every_measure_is_compared():
    assert tuple(sweep_results.BETTER) == evaluation.MEASURES


def test_the_default_of_the_sweep_is_that_of_scvi():
    parameters = inspect.signature(scvi.model.SCVI).parameters
    assert {
        name: parameters[name].default for name in sweep_results.ARCHITECTURE
    } == sweep_results.DEFAULT


def test_kept_trials_can_be_taken_by_a_search_space(kept):
    space = {
        "model_params": {"n_layers": [1, 3], "seed": [1, 2]},
        "train_params": {"preset": "class"},
    }
    taken = sweep_results.kept(space)
    assert len(taken) == sweep.n_trials(space)
    assert set(taken["n_hidden"]) == {sweep_results.DEFAULT["n_hidden"]}
    row = taken.iloc[-1]
    same = kept.query(
        "budget == @sweep_results.SHORT and n_layers == 3 and n_hidden == 128 and seed == 2"
    )
    assert row["negative ELBO"] == same["negative ELBO"].item()


CLASS = {"train_params": {"preset": "class"}}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({**CLASS, "model_params": {"n_layers": [1, 4]}}, r"n_layers = \[1, 4\] is not among"),
        (
            {**CLASS, "model_params": {"n_latent": [5]}},
            r"n_latent = \[5\] is not among .* at its default",
        ),
        ({"train_params": {"max_epochs": 3}}, "were trained with"),
        ({}, "were trained with"),
    ],
)
def test_what_is_not_kept_is_said(space, said):
    with pytest.raises(ValueError, match=said):
        sweep_results.kept(space)


# --- conclusions --------------------------------------------------------------------------------


def test_differences_are_those_of_the_architecture_whatever_the_seed():
    effects = {(1, 128): 0, (2, 128): 5, (1, 64): -3}
    compared = sweep_results.differences(made_up(effects).sample(frac=1, random_state=0))
    assert len(compared) == 6
    for row in compared.to_dict("records"):
        assert row["negative ELBO"] == effects[row["n_layers"], row["n_hidden"]]


def test_pairs_spread_less_than_seeds():
    trials = made_up({(1, 128): 0, (2, 128): 5, (1, 64): -3})
    trials.loc[(trials["n_layers"] == 2) & (trials["seed"] == 2), "negative ELBO"] += 6
    by_seed, within = sweep_results.spreads(trials)
    assert by_seed == pytest.approx(1_000)
    # 5, 11, 5 and three times -3.
    assert within == pytest.approx((np.std([5, 11, 5], ddof=1) + 0) / 2)


def test_a_trial_that_did_not_finish_is_named():
    trials = made_up({(1, 128): 0, (2, 128): 5}).assign(problem="")
    trials.loc[3, ["negative ELBO", "problem"]] = [np.nan, "out of memory"]
    with pytest.raises(
        ValueError, match=r"n_layers=2, n_hidden=128 with seed 1 did not finish: out of memory"
    ):
        sweep_results.differences(trials)


def test_trials_that_cannot_be_paired_are_refused():
    trials = made_up({(1, 128): 0, (2, 128): 5})
    with pytest.raises(ValueError, match=r"n_layers=1, n_hidden=128 is there twice"):
        sweep_results.differences(pd.concat([trials, trials]))
    with pytest.raises(ValueError, match=r"Seed 1 has no trial with the default"):
        sweep_results.differences(trials.drop(index=0))
    trials.loc[trials.index[-1], "held-out cells"] = "others"
    with pytest.raises(ValueError, match=r"seed 3, n_layers=2, n_hidden=128 was judged on other"):
        sweep_results.differences(trials)


def test_verdict_is_given_only_where_all_seeds_agree():
    trials = made_up({(1, 128): 0, (2, 128): 5, (1, 64): -3, (3, 64): 1})
    trials.loc[(trials["n_layers"] == 3) & (trials["seed"] == 2), "negative ELBO"] -= 2
    compared = sweep_results.differences(trials)
    verdicts = sweep_results.verdicts(compared, "negative ELBO")
    assert verdicts["verdict"].to_dict() == {
        (1, 64): "better",
        (2, 128): "worse",
        (3, 64): "seeds disagree",
    }
    assert verdicts.loc[(3, 64), "better in"] == "1 of 3"
    assert verdicts.loc[(3, 64), ["mean", "lowest", "highest"]].tolist() == pytest.approx(
        [1 / 3, -1, 1]
    )
    # Of an accuracy more is better.
    by_accuracy = sweep_results.verdicts(compared, "kNN accuracy")["verdict"]
    assert by_accuracy[2, 128] == "better"
    assert by_accuracy[1, 64] == "worse"


def test_no_difference_is_no_verdict():
    compared = sweep_results.differences(made_up({(1, 128): 0, (2, 128): 0}))
    assert sweep_results.verdicts(compared, "negative ELBO")["verdict"].item() == "seeds disagree"


def test_the_winner_is_the_lowest_loss_and_the_highest_agreement():
    trials = made_up({(1, 128): 0, (2, 128): 5, (1, 64): -3}, seeds=(1, 2))
    trials.loc[(trials["n_layers"] == 2) & (trials["seed"] == 2), "negative ELBO"] -= 100
    lowest = sweep_results.winners(trials)
    assert lowest.loc[1, ["n_layers", "n_hidden"]].tolist() == [1, 64]
    assert lowest.loc[2, ["n_layers", "n_hidden"]].tolist() == [2, 128]
    assert sweep_results.winners(trials, "kNN accuracy").loc[1, "n_layers"] == 2


def test_chance_of_agreement_is_what_throwing_coins_gives():
    coins = np.random.default_rng(0).random((20_000, 8, 5)) < 0.5
    alike = coins.all(axis=2) | ~coins.any(axis=2)
    assert sweep_results.by_chance(5, 8) == pytest.approx(alike.any(axis=1).mean(), abs=0.02)
    assert sweep_results.by_chance(1, 3) == 1


# --- figures ------------------------------------------------------------------------------------


def test_figure_of_differences_says_what_it_shows():
    trials = made_up({(1, 128): 0, (2, 128): 5, (1, 64): -3})
    figure = sweep_figures.plot_differences(
        {"short": sweep_results.differences(trials)}, "negative ELBO"
    )
    assert "1 layer of 64 -3 (better), 2 layers of 128 +5 (worse)" in figure.alt
    axes = figure.figure.axes[0]
    dots = {label.get_text(): [] for label in axes.get_yticklabels()}
    assert list(dots) == ["1 layer of 64", "2 layers of 128"]
    assert "negative ELBO" in axes.get_xlabel() and "lower is better" in axes.get_xlabel()
    drawn = {
        line.get_ydata()[0]: set(line.get_xdata())
        for line in axes.lines
        if len(line.get_xdata()) == 3
    }
    assert drawn == {0: {-3}, 1: {5}}


def test_figure_of_trials_shows_each_and_says_how_far_seeds_lie_apart():
    trials = made_up({(1, 128): 0, (2, 128): 5, (1, 64): -3})
    figure = sweep_figures.plot_trials(trials)
    assert "9 trials above their 3 seeds" in figure.alt
    assert "up to 2,000 apart" in figure.alt and "span 8 on average" in figure.alt
    shown = np.concatenate([line.get_ydata() for line in figure.figure.axes[0].lines])
    assert sorted(shown) == sorted(trials["negative ELBO"])
