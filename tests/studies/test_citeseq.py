"""The kept runs are what the methods give, and the groups are news to the model judged by them."""

import numpy as np
import pandas as pd
import pytest

from helpers import data, environment, genes, results
from helpers.batches import experiments
from helpers.genes import log_normalisation
from helpers.latent import clusters, neighbours
from helpers.proteins import protein_counts
from studies import citeseq

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def kept():
    return results.load("citeseq")


def test_all_methods_and_seeds_are_kept(kept):
    assert list(kept.columns) == ["method", "seed", *citeseq.COLUMNS, "negative ELBO"]
    wanted = [(method, seed) for method in citeseq.METHODS for seed in SEEDS]
    assert list(zip(kept["method"], kept["seed"], strict=True)) == wanted
    assert not kept[list(citeseq.COLUMNS)].isna().any(axis=None)
    trained = kept["method"].map(citeseq.METHODS).notna()
    assert (kept["negative ELBO"].notna() == trained).all()


@pytest.mark.parametrize(("method", "seed"), [("PCA", 1), ("Harmony", 2), ("proteins alone", 0)])
def test_what_needs_no_training_can_be_recomputed(kept, method, seed):
    again = citeseq.run(method, seed).iloc[0]
    row = kept.query("method == @method and seed == @seed").iloc[0]
    columns = list(citeseq.COLUMNS)
    # Neighbours at equal distance, and clusters, differ a little between versions.
    np.testing.assert_allclose(again[columns].astype(float), row[columns].astype(float), atol=0.03)


def test_positions_are_measured_on_the_cells_that_they_belong_to(blood):
    """Positions that are the groups themselves, and nothing of the batches, score as such.

    Shuffled, they do not.
    """
    groups = protein_counts.gate(blood)
    random = np.random.default_rng(0)
    known = pd.get_dummies(groups).to_numpy(float) + 0.01 * random.normal(size=(400, 6))
    perfect = citeseq.measure(known, blood)
    for name in citeseq.COLUMNS[:6]:
        assert perfect[name] > 0.95, name
    shuffled = citeseq.measure(random.permutation(known), blood)
    assert shuffled["k-means ARI"] < 0.1
    assert shuffled["CD8 T cells found"] < 0.2
    batch = pd.get_dummies(blood.obs["batch"]).to_numpy(float) + 0.01 * random.normal(size=(400, 2))
    assert citeseq.measure(batch, blood)["kNN batch accuracy"] == 1
    assert citeseq.measure(batch, blood)["iLISI"] < 0.05 < 0.8 < shuffled["iLISI"]


def test_cd8_t_cells_found_are_counted_by_hand(blood):
    genes.select(blood, batch_key="batch")
    positions = log_normalisation.principal_components(blood)
    groups = protein_counts.gate(blood).astype(str).to_numpy()
    gated = groups != protein_counts.NO_GROUP
    inside, names = positions[gated], groups[gated]
    found = []
    for cell in np.flatnonzero(names == "CD8 T cells"):
        distance = ((inside - inside[cell]) ** 2).sum(axis=1)
        distance[cell] = np.inf
        votes = pd.Series(names[distance.argsort()[:15]]).value_counts()
        found.append(votes.idxmax() == "CD8 T cells")
    measured = citeseq.measure(positions, blood)
    assert measured["CD8 T cells found"] == pytest.approx(np.mean(found), abs=0.03)
    assert measured["Leiden NMI"] == pytest.approx(
        clusters.compare({"": inside}, names, seeds=[0])["Leiden NMI"].iloc[0]
    )
    assert measured["iLISI"] == experiments.ilisi(positions, blood.obs["batch"])
    of_batches = neighbours.label_accuracy(positions, blood.obs["batch"])
    assert measured["kNN batch accuracy"] == of_batches


def test_the_hidden_proteins_are_all_that_a_gate_uses():
    environment.prepare(0)
    model = citeseq.build(citeseq.HIDDEN, 0)
    shown = set(model.protein_state_registry.column_names)
    used = {protein for rule in protein_counts.GATES.values() for protein in rule}
    assert not shown & used
    assert shown | used == set(data.load_citeseq().obsm["protein_expression"])
    for method, kind in (("scVI", "SCVI"), ("TotalVI, default training", "TOTALVI")):
        assert type(citeseq.build(method, 0)).__name__ == kind


def test_a_run_has_the_seed_and_preset_of_its_row(monkeypatch):
    seen = {}

    def train(model, preset, **how):
        seen.update(preset=preset, **how)
        model.train(max_epochs=1, check_val_every_n_epoch=1, enable_progress_bar=False)

    monkeypatch.setattr("helpers.training.train", train)
    first = citeseq.run("scVI, default training", 1)
    assert seen == {"preset": "default", "enable_progress_bar": False}
    assert first.loc[0, ["method", "seed"]].tolist() == ["scVI, default training", 1]
    again, other = (citeseq.run("scVI, default training", seed) for seed in (1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert first.loc[0, "negative ELBO"] != other.loc[0, "negative ELBO"]


def test_the_summary_and_the_origin_are_those_of_the_file(kept):
    values = kept.query("method == 'scVI'")["iLISI"]
    expected = f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"
    assert results.summary("citeseq", ["iLISI"]).loc["scVI", "iLISI"] == expected
    for part in ("400 PBMCs x 2,000 genes", "seeds 0, 1, 2", "scvi-tools 1."):
        assert part in results.origin("citeseq")
