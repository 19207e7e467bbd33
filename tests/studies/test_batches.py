"""The kept runs are what the methods give."""

import numpy as np
import pandas as pd
import pytest

from helpers import data, results
from helpers.batches import batch_effects, experiments
from helpers.proteins import protein_counts
from studies import batches, keeping

SIMULATED = batches.DESIGNS[:3]
UNTRAINED = ["PCA, before the effect", "PCA", "Harmony"]
TRAINED = ["scVI, before the effect", "scVI", "scVI with batch_key"]
REAL = [
    "PCA",
    "Harmony",
    "scVI",
    "scVI with batch_key",
    "scVI with batch_key, default training",
    "scVI with batch_key, class preset",
    "scVI with batch_key, 100 epochs",
]


@pytest.fixture(scope="module")
def kept():
    return results.load("batches")


def of(kept, design, seed):
    return kept.query("design == @design and seed == @seed").set_index("method")


@pytest.mark.parametrize(
    ("design", "seed"), [("balanced", 0), ("two classes confounded", 1), ("real PBMCs", 0)]
)
def test_what_needs_no_training_can_be_recomputed(kept, design, seed):
    adata = batches.cells(design, seed)
    again = experiments.measure(batches.without_training(design, adata, seed), adata)
    expected = of(kept, design, seed).loc[again.index, again.columns]
    # Neighbours at equal distance, and clusters, differ a little between versions.
    pd.testing.assert_frame_equal(again, expected, rtol=0, atol=0.03)
    assert set(again.index) <= set(expected.index)


def test_harmony_has_the_seed_of_the_run():
    adata = batches.cells("real PBMCs", 2)
    found = batches.without_training("real PBMCs", adata, 2)
    expected = experiments.harmony(found["PCA"], adata, seed=2)
    np.testing.assert_array_equal(found["Harmony"], expected)
    assert np.abs(experiments.harmony(found["PCA"], adata) - expected).max() > 1e-6


def test_all_designs_seeds_and_methods_are_kept(kept):
    assert list(kept.columns) == ["design", "seed", "method", *batches.COLUMNS]
    for design in batches.DESIGNS:
        for seed in (0, 1, 2):
            methods = REAL if design == "real PBMCs" else [*UNTRAINED, *TRAINED]
            assert sorted(of(kept, design, seed).index) == sorted([*methods, "random positions"])
    assert not kept[list(experiments.BETTER)].isna().any().any()
    simulated_and_trained = kept["design"].isin(SIMULATED) & kept["method"].isin(TRAINED)
    slopes = kept[list(batches.ATTRIBUTION)].notna()
    assert (slopes.all(axis=1) == simulated_and_trained).all()
    assert (slopes.any(axis=1) == simulated_and_trained).all()


def test_designs_are_what_they_say():
    balanced, confounded, fully = (batches.cells(design, 0) for design in SIMULATED)
    assert list(balanced.obs_names) == list(confounded.obs_names)
    tables = [
        pd.crosstab(adata.obs["cell_type"].astype(str), adata.obs["batch"])
        for adata in (balanced, confounded, fully)
    ]
    assert [(table == 0).to_numpy().sum() for table in tables] == [0, 2, 2]
    assert [len(table) for table in tables] == [7, 7, 2]
    for table in tables[1:]:
        assert table.loc["pyramidal CA1", "B"] == table.loc["pyramidal SS", "A"] == 0
    assert [adata.n_obs for adata in (balanced, confounded, fully)] == [1200] * 3
    real = batches.cells("real PBMCs", 0)
    groups = protein_counts.gate(data.load_citeseq())
    groups = groups[groups != protein_counts.NO_GROUP]
    assert real.shape == (len(groups), 1000)
    assert list(real.obs["cell_type"]) == list(groups)
    assert list(real.obs_names) == list(groups.index)
    with pytest.raises(ValueError, match=r"no design 'nested'\. Designs: balanced, "):
        batches.cells("nested", 0)


def test_a_run_has_each_slope_in_its_column(monkeypatch, whole_cortex):
    adata = experiments.simulate(whole_cortex, 300, 60)
    model = experiments.train(adata, "batch", max_epochs=2, enable_progress_bar=False)
    monkeypatch.setattr(batches, "cells", lambda design, seed: adata)
    monkeypatch.setattr(batches, "models", lambda design, adata, seed: {"a model": model})
    table = batches.run("balanced", 4)
    assert list(table.columns) == ["design", "seed", "method", *batches.COLUMNS]
    assert set(table["design"]) == {"balanced"} and set(table["seed"]) == {4}
    assert list(table["method"]) == [*UNTRAINED, "a model", "random positions"]
    row = table.set_index("method").loc["a model"]
    slopes = batch_effects.attribution(batch_effects.compare(model, experiments.PAIR))
    for found, learned, true in (
        ("batch effect found", "learned batch effect", "true batch effect"),
        ("class difference in the batch effect", "learned batch effect", "true class difference"),
        ("batch effect in the class difference", "learned class difference", "true batch effect"),
        ("class difference found", "learned class difference", "true class difference"),
    ):
        assert row[found] == pytest.approx(slopes.loc[learned, true])


def test_the_kept_runs_say_what_the_lesson_says(kept):
    means = kept.groupby(["design", "method"])[list(batches.COLUMNS)].mean()
    balanced, confounded, fully = (means.loc[design] for design in SIMULATED)
    mixing = balanced["kNN batch accuracy"]
    assert mixing["scVI"] > 0.95 and mixing["scVI with batch_key"] < 0.6
    effect = means["class difference in the batch effect"].xs("scVI with batch_key", level="method")
    assert abs(effect["balanced"]) < 0.05 < 0.15 < effect["two classes confounded"]
    assert effect["two classes confounded"] < 0.5 < effect["fully confounded"]
    found = means["class difference found"].xs("scVI with batch_key", level="method")
    assert found["balanced"] > 1.5 * found["two classes confounded"] > found["fully confounded"]
    # Yet the two classes still lie apart where others tell what the batch effect is.
    assert confounded.loc["scVI with batch_key", "kNN class accuracy"] > 0.9
    assert fully.loc["scVI with batch_key", "ARI"] < 0.1 < 0.8 < fully.loc["scVI", "ARI"]


def test_the_summary_is_recomputed(kept):
    table = results.summary("batches", list(experiments.BETTER), design="balanced")
    assert list(table.columns) == list(experiments.BETTER)
    assert list(table.index) == list(of(kept, "balanced", 0).index)
    # The mean of these three is not the one in the middle.
    method = "scVI with batch_key"
    values = [of(kept, "balanced", seed).loc[method, "ARI"] for seed in (0, 1, 2)]
    expected = f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    assert table.loc[method, "ARI"] == expected
    slopes = results.summary("batches", batches.ATTRIBUTION, design="balanced")
    assert list(slopes.index) == TRAINED
    with pytest.raises(ValueError, match="no design 'nested'"):
        results.summary("batches", ["ARI"], design="nested")


def test_origin_says_how_they_were_made():
    origin = results.origin("batches")
    for part in (
        "1,200 cortex cells x 500 genes",
        "370 PBMCs x 1,000",
        "seeds 0, 1, 2",
        "scvi-tools 1.",
    ):
        assert part in origin
    assert not origin.startswith("#")


def test_every_design_and_seed_is_run(monkeypatch, tmp_path):
    done = []

    def run(design, seed):
        done.append((design, seed))
        row = {"design": design, "seed": seed, "method": "scVI"}
        return pd.DataFrame([row | dict.fromkeys(batches.COLUMNS, len(done) / 3)])

    monkeypatch.setattr(batches, "run", run)
    monkeypatch.setattr(keeping, "DATA", tmp_path / "data")
    for module in (keeping, results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    assert batches.main() == 0
    assert done == [(design, seed) for design in batches.DESIGNS for seed in batches.SEEDS]
    np.testing.assert_allclose(results.load("batches")["ARI"], np.arange(1, 13) / 3, atol=1e-4)
