"""Simulated batch effects, ways to remove them, and measures of what is left."""

import random

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from helpers import data
from helpers.batches import experiments
from helpers.genes import log_normalisation
from helpers.latent import neighbours
from tests.helpers.random_states import random_states

SHORT = {"max_epochs": 2, "enable_progress_bar": False}
ONLY_IN = {"pyramidal CA1": "A", "pyramidal SS": "B"}


@pytest.fixture(scope="module")
def whole_simulated(whole_cortex):
    return experiments.simulate(whole_cortex, 400, 100)


@pytest.fixture
def simulated(whole_simulated):
    return whole_simulated.copy()


def content(adata):
    """Return all that a function might change, to compare it afterwards."""
    layers = {name: adata.layers[name].toarray() for name in adata.layers if name is not None}
    return (
        [adata.X.toarray(), *layers.values()],
        list(layers),
        adata.obs.to_dict(),
        adata.var.to_dict(),
        list(adata.uns),
    )


def assert_same(one, other):
    for left, right in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert one[1:] == other[1:]


# --- cells with a known batch effect ------------------------------------------------------------


def test_before_the_effect_are_real_counts_and_batch_a_keeps_them(whole_cortex, simulated):
    before, after = (simulated.layers[name].toarray() for name in ("before", "counts"))
    real = whole_cortex[simulated.obs_names, simulated.var_names]
    np.testing.assert_array_equal(before, real.layers["counts"].toarray())
    assert list(simulated.obs["cell_type"]) == list(real.obs["cell_type"])
    assert simulated.shape == (400, 100) and simulated.obs_names.is_unique
    in_b = (simulated.obs["batch"] == "B").to_numpy()
    np.testing.assert_array_equal(after[~in_b], before[~in_b])
    assert (after <= before).all() and (after % 1 == 0).all() and (after >= 0).all()
    assert after[in_b].sum() < before[in_b].sum()
    np.testing.assert_array_equal(simulated.X.toarray(), after)
    data.check_counts(simulated, layer="counts", batch_key="batch")


def test_the_genes_are_the_most_variable_ones_of_these_cells(whole_cortex, simulated):
    counts = whole_cortex[simulated.obs_names].layers["counts"].toarray()
    index = counts.var(axis=0) / np.maximum(counts.mean(axis=0), 1e-9)
    chosen = whole_cortex.var_names.isin(simulated.var_names)
    assert np.median(index[chosen]) > 3 * np.median(index[~chosen])


def test_a_gene_keeps_its_molecules_with_its_true_probability(simulated):
    in_b = (simulated.obs["batch"] == "B").to_numpy()
    molecules, left = (
        np.asarray(simulated.layers[name][in_b].sum(axis=0)).ravel()
        for name in ("before", "counts")
    )
    kept = simulated.var["true_kept"].to_numpy()
    # A sum of binomial draws of the same probability is binomial.
    spread = np.sqrt(molecules * kept * (1 - kept))
    assert (np.abs(left - molecules * kept) <= 5 * spread + 1e-9).all()
    assert np.abs((left - molecules * kept) / spread).mean() > 0.5


def test_each_molecule_is_lost_by_itself(simulated):
    # If whole counts were scaled instead, no spread would be left around the expectation.
    in_b = (simulated.obs["batch"] == "B").to_numpy()
    before, after = (simulated.layers[name].toarray()[in_b] for name in ("before", "counts"))
    kept = simulated.var["true_kept"].to_numpy()
    squares, expected = (after - before * kept) ** 2, before * kept * (1 - kept)
    assert squares.sum() / expected.sum() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_logarithms_of_the_probabilities_are_uniform(whole_cortex, strength):
    adata = experiments.simulate(whole_cortex, 300, 800, strength=strength)
    lowest = np.log(1 - strength)
    found = kstest(np.log(adata.var["true_kept"]), "uniform", (lowest, -lowest))
    assert found.pvalue > 0.001


def test_without_strength_nothing_happens(whole_cortex):
    adata = experiments.simulate(whole_cortex, 200, 50, strength=0)
    np.testing.assert_array_equal(
        adata.layers["counts"].toarray(), adata.layers["before"].toarray()
    )


def test_half_of_each_class_is_in_each_batch(simulated):
    table = pd.crosstab(simulated.obs["cell_type"].astype(str), simulated.obs["batch"])
    assert (table["A"] - table["B"]).isin([0, 1]).all()
    assert len(table) == 7


def test_classes_can_be_in_one_batch_alone(whole_cortex, whole_simulated):
    adata = experiments.simulate(whole_cortex, 400, 100, only_in=ONLY_IN)
    table = pd.crosstab(adata.obs["cell_type"].astype(str), adata.obs["batch"])
    assert table.loc["pyramidal CA1", "B"] == 0 < table.loc["pyramidal CA1", "A"]
    assert table.loc["pyramidal SS", "A"] == 0 < table.loc["pyramidal SS", "B"]
    others = table.drop(index=list(ONLY_IN))
    assert (others["A"] - others["B"]).isin([0, 1]).all()
    # All but the assignment is the same.
    assert list(adata.obs_names) == list(whole_simulated.obs_names)
    assert list(adata.var["true_kept"]) == list(whole_simulated.var["true_kept"])


def test_the_seed_decides_all(whole_cortex, simulated):
    again = experiments.simulate(whole_cortex, 400, 100)
    assert_same(content(again), content(simulated))
    other = experiments.simulate(whole_cortex, 400, 100, seed=1)
    assert list(other.obs_names) != list(simulated.obs_names)
    assert list(other.var["true_kept"]) != list(simulated.var["true_kept"])


def test_which_cells_are_in_b_has_nothing_to_do_with_their_order(simulated):
    of_class = simulated.obs["batch"][simulated.obs["cell_type"] == "pyramidal CA1"].to_numpy()
    changes = (of_class[1:] != of_class[:-1]).mean()
    assert changes == pytest.approx(0.5, abs=0.2)


def test_simulating_leaves_cells_and_random_numbers_alone(cortex):
    states, before = random_states(), cortex.copy()
    experiments.simulate(cortex, 200, 50)
    assert random_states() == states
    assert (cortex.layers["counts"] != before.layers["counts"]).nnz == 0
    assert list(cortex.obs) == ["cell_type", "subclass"] and list(cortex.var) == ["symbol_known"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 1.0}, r"strength=1\.0 is out of range.*below 1"),
        ({"strength": -0.1}, "out of range"),
        ({"n_cells": 4000}, r"n_cells=4,000.*3,005"),
        ({"n_genes": 1}, r"n_genes=1 .*4,000"),
        ({"only_in": {"neurons": "A"}}, r"'neurons'.*Classes: .*pyramidal CA1"),
        ({"only_in": {"microglia": "C"}}, r"'C'.*Batches: A, B"),
        ({"n_genes": 2, "strength": 0.9}, "no counts"),
    ],
)
def test_impossible_simulations_are_refused(whole_cortex, arguments, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        experiments.simulate(whole_cortex, **{"n_cells": 300, "n_genes": 50} | arguments)


def test_cells_that_lose_all_counts_are_named():
    counts = sp.csr_matrix([[0, 3], [2, 0]], dtype=np.float32)
    experiments._require_counts_left(counts)
    counts[0, 1] = 0
    counts.eliminate_zeros()
    with pytest.raises(
        ValueError, match=r"(?s)1 of 2 cells have no counts left in 2 genes.*n_genes"
    ):
        experiments._require_counts_left(counts)


def test_all_cells_in_one_batch_are_refused(whole_cortex):
    everywhere = dict.fromkeys(whole_cortex.obs["cell_type"].unique(), "A")
    with pytest.raises(ValueError, match=r"(?s)All cells are in batch A.*only_in"):
        experiments.simulate(whole_cortex, 200, 50, only_in=everywhere)


def test_cells_without_classes_or_counts_are_refused(cortex):
    with pytest.raises(KeyError, match=r"no column 'cell_type'\. Columns: subclass"):
        experiments.simulate(_without(cortex, "cell_type"), 200, 50)
    broken = cortex[:300].copy()
    broken.layers["counts"] = broken.layers["counts"] * 0.5
    with pytest.raises(ValueError, match="Not whole numbers"):
        experiments.simulate(broken, 200, 50)
    del broken.layers["counts"]
    with pytest.raises(ValueError, match="no layer 'counts'"):
        experiments.simulate(broken, 200, 50)
    gaps = cortex[:300].copy()
    gaps.obs["cell_type"] = gaps.obs["cell_type"].where(np.arange(300) > 2)
    with pytest.raises(ValueError, match="3 of 300 cells have no label"):
        experiments.simulate(gaps, 200, 50)


def _without(adata, column):
    few = adata[:300].copy()
    del few.obs[column]
    return few


# --- representations ----------------------------------------------------------------------------


def clouds(shift, n_cells=300, seed=0):
    """Return two kinds of cells in two batches that lie a shift apart, synthetic."""
    numbers = np.random.default_rng(seed)
    kinds = np.tile([0, 1], n_cells // 2)
    in_b = np.repeat([0, 1], n_cells // 2)
    positions = numbers.normal(size=(n_cells, 3))
    positions[:, 0] += 20 * kinds
    positions[:, 1] += shift * in_b
    obs = pd.DataFrame(
        {"batch": np.array(["A", "B"])[in_b], "cell_type": np.array(["x", "y"])[kinds]},
        index=[f"cell {i}" for i in range(n_cells)],
    )
    return positions, ad.AnnData(np.ones((n_cells, 1), dtype=np.float32), obs=obs)


def test_harmony_takes_a_shift_away_and_keeps_the_kinds_apart():
    positions, adata = clouds(shift=6)
    kept = positions.copy()
    corrected = experiments.harmony(positions, adata)
    assert corrected.shape == positions.shape
    table = experiments.measure({"before": positions, "after": corrected}, adata)
    assert table.loc["before", "kNN batch accuracy"] > 0.99
    assert table.loc["after", "kNN batch accuracy"] < 0.8
    assert table.loc["after", "kNN class accuracy"] == 1
    np.testing.assert_array_equal(positions, kept)


def test_harmony_repeats_and_leaves_random_numbers_alone():
    positions, adata = clouds(shift=6)
    first, states = experiments.harmony(positions, adata), random_states()
    np.testing.assert_array_equal(experiments.harmony(positions, adata), first)
    assert random_states() == states
    assert np.abs(experiments.harmony(positions, adata, seed=1) - first).max() > 1e-6


def test_harmony_reads_the_column_that_it_is_given():
    positions, adata = clouds(shift=6)
    adata.obs["plate"] = adata.obs.pop("batch")
    corrected = experiments.harmony(positions, adata, batch_key="plate")
    assert neighbours.label_accuracy(corrected, adata.obs["plate"]) < 0.8
    with pytest.raises(KeyError, match=r"no column 'batch'\. Columns: cell_type, plate"):
        experiments.harmony(positions, adata)
    with pytest.raises(ValueError, match="300 labels and 299 positions"):
        experiments.harmony(positions[1:], adata, batch_key="plate")
    adata.obs["one"] = "A"
    with pytest.raises(ValueError, match="same label"):
        experiments.harmony(positions, adata, batch_key="one")


def test_a_model_is_trained_on_a_copy_and_the_session_stays_as_it_is(simulated):
    scvi.settings.seed = 7
    # On from where the seed begins.
    torch.rand(3)
    np.random.normal()  # noqa: NPY002
    random.random()
    before, states = content(simulated), random_states()
    model = experiments.train(simulated, "batch", layer="before", **SHORT)
    assert_same(content(simulated), before)
    assert random_states() == states and scvi.settings.seed == 7
    setup = model.registry["setup_args"]
    assert (setup["layer"], setup["batch_key"]) == ("before", "batch")
    assert model.is_trained and len(model.history["elbo_train"]) == 2


def test_the_seed_of_a_model_decides_its_result(simulated):
    def latent(seed):
        return experiments.train(simulated, seed=seed, **SHORT).get_latent_representation()

    first = latent(3)
    scvi.settings.seed = 11
    np.testing.assert_array_equal(latent(3), first)
    assert np.abs(latent(4) - first).max() > 0.1


def test_two_models_differ_in_what_they_know_of_batches_alone(simulated):
    simulated.obs["plate"] = simulated.obs["batch"]
    both = experiments.train_both(simulated, batch_key="plate", seed=5, **SHORT)
    assert list(both) == ["scVI", "scVI with batch_key"]
    without, with_batches = both.values()
    assert without.registry["setup_args"]["batch_key"] is None
    assert with_batches.registry["setup_args"]["batch_key"] == "plate"
    assert without.train_settings_["seed"] == with_batches.train_settings_["seed"] == 5
    np.testing.assert_array_equal(without.validation_indices, with_batches.validation_indices)
    alone = experiments.train(simulated, "plate", seed=5, **SHORT)
    np.testing.assert_array_equal(
        alone.get_latent_representation(), with_batches.get_latent_representation()
    )


def test_batches_that_a_model_cannot_use_are_refused(simulated):
    with pytest.raises(ValueError, match="no column 'plate' in obs"):
        experiments.train(simulated, "plate", **SHORT)
    simulated.obs["one"] = "A"
    with pytest.raises(ValueError, match="same label"):
        experiments.train(simulated, "one", **SHORT)
    simulated.obs["gaps"] = simulated.obs["batch"].where(np.arange(400) > 0)
    with pytest.raises(ValueError, match="1 cells have no batch"):
        experiments.train(simulated, "gaps", **SHORT)
    simulated.layers["counts"] = simulated.layers["counts"] * 0.3
    with pytest.raises(ValueError, match="Not whole numbers"):
        experiments.train(simulated, **SHORT)


# --- measures -----------------------------------------------------------------------------------


def lisi(positions, labels, perplexity=30):
    """Return the local inverse Simpson index of each cell, after Korsunsky et al. 2019."""
    distances, result = cdist(positions, positions), []
    for row in range(len(positions)):
        near = np.argsort(distances[row])[1 : 3 * perplexity]
        away = distances[row, near]

        def weights(beta, away=away):
            raw = np.exp(-beta * (away - away.min()))
            return raw / raw.sum()

        def surplus(beta, weights=weights):
            p = weights(beta)
            return -(p * np.log(np.maximum(p, 1e-300))).sum() - np.log(perplexity)

        p = weights(brentq(surplus, 1e-6, 1e4))
        result.append(1 / sum(p[labels[near] == name].sum() ** 2 for name in set(labels)))
    return np.array(result)


@pytest.mark.parametrize("names", [["A", "B"], ["A", "B", "C"]])
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_ilisi_is_recomputed(names, shift):
    numbers = np.random.default_rng(2)
    codes = numbers.integers(0, len(names), 250)
    positions = numbers.normal(size=(250, 4)) + shift * codes[:, None]
    labels = np.array(names)[codes]
    expected = (np.median(lisi(positions, labels)) - 1) / (len(names) - 1)
    assert experiments.ilisi(positions, labels) == pytest.approx(expected, abs=1e-3)


def test_batches_that_lie_apart_are_not_mixed():
    positions, adata = clouds(shift=50, n_cells=400)
    row = experiments.measure({"apart": positions}, adata).loc["apart"]
    assert row["kNN batch accuracy"] == 1
    assert row["iLISI"] == pytest.approx(0, abs=1e-6)
    assert row["kNN class accuracy"] == 1


def test_batches_without_effect_are_mixed_and_kinds_are_kept_apart():
    positions, adata = clouds(shift=0, n_cells=400)
    row = experiments.measure({"mixed": positions}, adata).loc["mixed"]
    assert row["kNN batch accuracy"] == pytest.approx(0.5, abs=0.1)
    assert row["iLISI"] > 0.85
    assert row["kNN class accuracy"] == row["ARI"] == 1
    distances, kinds = cdist(positions, positions), adata.obs["cell_type"].to_numpy()
    own, other = (
        np.array([d[same == wanted].sum() / ((same == wanted).sum() - wanted) for d, same in rows])
        for wanted in (True, False)
        for rows in [[(distances[i], kinds == kinds[i]) for i in range(400)]]
    )
    expected = ((other - own) / np.maximum(own, other)).mean()
    assert row["silhouette"] == pytest.approx(expected, abs=1e-6)


def test_kinds_that_overlap_are_not_kept_apart():
    positions, adata = clouds(shift=0, n_cells=400)
    positions = positions[:, 1:]
    row = experiments.measure({"mixed": positions}, adata).loc["mixed"]
    assert row["ARI"] == pytest.approx(0, abs=0.05)
    assert row["kNN class accuracy"] == pytest.approx(0.5, abs=0.1)


def test_the_last_row_is_what_no_information_gets():
    positions, adata = clouds(shift=50, n_cells=400)
    adata.obs["batch"] = np.where(np.arange(400) < 300, "A", "B")
    table = experiments.measure({"a": positions, "b": positions[:, :2]}, adata)
    assert list(table.index) == ["a", "b", experiments.RANDOM_POSITIONS]
    assert list(table.columns) == list(experiments.BETTER)
    nothing = table.iloc[-1]
    assert nothing["kNN batch accuracy"] == pytest.approx(0.75, abs=0.05)
    assert nothing["kNN class accuracy"] == pytest.approx(0.5, abs=0.1)
    # Of two batches, one with three quarters: 1 / (0.75^2 + 0.25^2) - 1.
    assert nothing["iLISI"] == pytest.approx(0.6, abs=0.1)
    assert nothing["ARI"] == pytest.approx(0, abs=0.05)
    assert nothing["silhouette"] == pytest.approx(0, abs=0.05)


def test_measures_repeat_and_read_the_columns_they_are_given():
    positions, adata = clouds(shift=2)
    states = random_states()
    table = experiments.measure({"a": positions}, adata)
    assert random_states() == states
    swapped = experiments.measure({"a": positions}, adata, batch_key="cell_type", class_key="batch")
    assert swapped.loc["a", "kNN batch accuracy"] == table.loc["a", "kNN class accuracy"]
    assert swapped.loc["a", "kNN class accuracy"] == table.loc["a", "kNN batch accuracy"]
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    pd.testing.assert_frame_equal(experiments.measure({"a": positions}, adata), table)


def test_what_cannot_be_measured_is_refused():
    positions, adata = clouds(shift=2)
    with pytest.raises(KeyError, match=r"no column 'plate'\. Columns: batch, cell_type"):
        experiments.measure({"a": positions}, adata, batch_key="plate")
    with pytest.raises(ValueError, match="300 labels and 200 positions"):
        experiments.measure({"a": positions[:200]}, adata)
    one_class = adata.copy()
    one_class.obs["cell_type"] = "x"
    with pytest.raises(ValueError, match="same label, 'x'"):
        experiments.measure({"a": positions}, one_class)
    with pytest.raises(ValueError, match="same label, 'A'"):
        experiments.measure({"a": positions[:150]}, adata[:150])
    gaps = adata.copy()
    gaps.obs["batch"] = gaps.obs["batch"].where(np.arange(300) > 3)
    with pytest.raises(ValueError, match="4 of 300 cells have no label"):
        experiments.measure({"a": positions}, gaps)
    with pytest.raises(ValueError, match=r"(?s)Batch B has 15 cells.*15 neighbours"):
        experiments.measure({"a": positions[:165]}, adata[:165])
    experiments.measure({"a": positions[:166]}, adata[:166])
    with pytest.raises(ValueError, match=r"(?s)There are 90 cells.*90 nearest"):
        experiments.measure({"a": positions[105:195]}, adata[105:195])
    experiments.measure({"a": positions[105:196]}, adata[105:196])


def test_the_simulated_effect_is_plain_and_can_be_removed(whole_cortex):
    adata = experiments.simulate(whole_cortex)
    positions = log_normalisation.principal_components(adata)
    table = experiments.measure(
        {
            "before": log_normalisation.principal_components(adata, layer="before"),
            "after": positions,
            "Harmony": experiments.harmony(positions, adata),
        },
        adata,
    )
    mixed = table["kNN batch accuracy"]
    assert mixed["after"] > 0.9 > 0.6 > mixed["Harmony"] > mixed["before"] - 0.02
    assert (table["kNN class accuracy"].iloc[:3] > 0.9).all()
