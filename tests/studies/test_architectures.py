"""The trials that lesson 07 shows are those that were asked for."""

import itertools

import pytest

from helpers import results
from helpers.scale import sweep
from studies import architectures


@pytest.fixture(scope="module")
def kept():
    return results.load("architectures")


# --- the kept trials ----------------------------------------------------------------------------


@pytest.mark.parametrize("budget", architectures.BUDGETS)
def test_every_combination_is_kept_once(kept, budget):
    trials = kept[kept["budget"] == budget]
    expected = itertools.product(
        architectures.LAYERS, architectures.NEURONS, architectures.SEEDS[budget]
    )
    assert sorted(trials[architectures.KEYS].itertuples(index=False, name=None)) == sorted(expected)
    assert len(trials) == sweep.n_trials(architectures.search_space(budget))
    assert trials[[*architectures.BETTER, "CPU seconds"]].notna().all(axis=None)


def test_the_search_space_is_one_that_a_sweep_takes():
    for budget in architectures.BUDGETS:
        sweep.check(architectures.search_space(budget))


def test_kept_trials_of_a_seed_were_judged_on_the_same_cells_in_both_budgets(kept):
    assert (kept.groupby("seed")["held-out cells"].nunique() == 1).all()
    assert kept["held-out cells"].nunique() == kept["seed"].nunique()


def test_kept_trials_have_the_layers_that_were_asked_for(kept):
    for layers, trials in kept.groupby("n_layers"):
        assert set(trials["hidden layers"]) == {f"{{'encoder': {layers}, 'decoder': {layers}}}"}


def test_kept_parameters_are_those_of_the_architecture(kept):
    genes, latent = 2_000, 10
    for (layers, neurons), trials in kept.groupby(architectures.ARCHITECTURE):
        hidden = (layers - 1) * (neurons * neurons + neurons + 2 * neurons)
        encoder = genes * neurons + 3 * neurons + hidden + 2 * (neurons * latent + latent)
        # Two heads of one number per gene, and the dispersions.
        decoder = latent * neurons + 3 * neurons + hidden + 2 * (neurons * genes + genes) + genes
        assert set(trials["trained parameters"]) == {encoder + decoder}
