"""Background and foreground are found again where known, and gates are what their rules say."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from helpers.proteins import protein_counts, protein_figures


def with_known_humps(blood, n_above, low=10, high=800):
    """Synthetic counts of CD3: log-normal humps, and how many cells are in the upper one.

    Other proteins stay real.
    """
    random = np.random.default_rng(0)
    is_above = np.arange(blood.n_obs) % 100 < n_above
    centres = np.log(np.where(is_above, high, low))
    table = blood.obsm["protein_expression"].copy()
    table["CD3"] = np.rint(np.exp(random.normal(centres, 0.4))).astype(int)
    blood.obsm["protein_expression"] = table
    return is_above


@pytest.mark.parametrize("n_above", [10, 50, 85])
def test_known_humps_are_found_again(blood, n_above):
    is_above = with_known_humps(blood, n_above)
    found = protein_counts.thresholds(blood).loc["CD3"]
    np.testing.assert_allclose(found["background"], 10, rtol=0.2)
    np.testing.assert_allclose(found["foreground"], 800, rtol=0.2)
    assert found["threshold"].between(30, 350).all()
    np.testing.assert_allclose(found["above"], n_above / 100, atol=0.03)
    assert (protein_counts.above(blood, ["CD3"])["CD3"] == is_above).mean() > 0.98


def test_one_hump_has_no_threshold(blood):
    """Synthetic counts from a single log-normal distribution, which two normal ones fit as well."""
    with_known_humps(blood, 0)
    found = protein_counts.thresholds(blood).loc["CD3"]
    assert found[["threshold", "above"]].isna().all(axis=None)
    assert found[["background", "foreground"]].notna().all(axis=None)
    with pytest.raises(ValueError, match=r"CD3 in batch 10k have no two humps.*\n.*plot_histogram"):
        protein_counts.gate(blood)


def test_each_batch_has_its_own_threshold(blood):
    """Counted twice as deep, a batch has twice the threshold, and the same cells are above it."""
    before, there = protein_counts.thresholds(blood), protein_counts.above(blood, ["CD3", "CD19"])
    deeper = blood.obs["batch"] == "5k"
    blood.obsm["protein_expression"].loc[deeper.to_numpy()] *= 2
    after = protein_counts.thresholds(blood)
    ratio = after["threshold"] / before["threshold"]
    np.testing.assert_allclose(ratio.xs("10k", level="batch").dropna(), 1)
    np.testing.assert_allclose(ratio.xs("5k", level="batch")[["CD3", "CD14"]], 2, rtol=0.1)
    assert (protein_counts.above(blood, ["CD3", "CD19"]) == there).mean(axis=None) > 0.99


def test_a_threshold_divides_the_counts_as_it_says(blood):
    found = protein_counts.thresholds(blood)
    for protein, batch in found.dropna().index.to_list():
        row = found.loc[(protein, batch)]
        counts = blood.obsm["protein_expression"].loc[
            (blood.obs["batch"] == batch).to_numpy(), protein
        ]
        assert row["background"] < row["threshold"] < row["foreground"]
        assert row["above"] == pytest.approx((counts > row["threshold"]).mean())
    # All gates of the blood cells stand on two humps.
    for protein in protein_counts.rules():
        assert found.loc[protein, "threshold"].notna().all()


def test_groups_are_what_the_rules_say(blood):
    groups = protein_counts.gate(blood)
    table, found = blood.obsm["protein_expression"], protein_counts.thresholds(blood)["threshold"]
    fits = []
    for cell, batch in zip(blood.obs_names, blood.obs["batch"], strict=True):
        there = {
            name: table.loc[cell, name] > found[name, batch] for name in protein_counts.rules()
        }
        fits.append(
            [
                group
                for group, rule in protein_counts.GATES.items()
                if all(there[protein] == wanted for protein, wanted in rule.items())
            ]
        )
    assert max(map(len, fits)) == 1
    assert list(groups) == [(each or [protein_counts.NO_GROUP])[0] for each in fits]
    assert list(groups.index) == list(blood.obs_names)


def test_groups_have_the_rna_of_their_kind(blood):
    """The gates never saw these genes."""
    groups = protein_counts.gate(blood)
    assert groups.value_counts().to_dict() == {
        "CD4 T cells": 154,
        "monocytes": 110,
        "CD8 T cells": 41,
        "NK cells": 35,
        "B cells": 30,
        "no group": 30,
    }
    markers = {
        "B cells": "MS4A1",
        "CD4 T cells": "IL7R",
        "CD8 T cells": "CD8B",
        "NK cells": "GNLY",
        "monocytes": "LYZ",
    }
    totals = np.asarray(blood.layers["counts"].sum(axis=1)).ravel()
    for group, gene in markers.items():
        share = blood[:, gene].layers["counts"].toarray().ravel() / totals
        means = pd.Series(share, index=groups.index).groupby(groups, observed=True).mean()
        assert means.drop("no group").idxmax() == group


def test_gates_do_not_look_at_the_rna_and_change_nothing(blood, whole_blood):
    groups = protein_counts.gate(blood)
    blood.X = blood.layers["counts"] = blood.X * 0
    assert (protein_counts.gate(blood) == groups).all()
    pd.testing.assert_frame_equal(
        blood.obsm["protein_expression"], whole_blood.obsm["protein_expression"]
    )
    mixed = blood[np.random.default_rng(0).permutation(400)].copy()
    assert (protein_counts.gate(mixed)[groups.index] == groups).all()


def test_the_rules_are_shown_as_they_are():
    table = protein_counts.rules()
    for group, rule in protein_counts.GATES.items():
        assert table.loc[group].to_dict() == {
            name: {True: "+", False: "-", None: ""}[rule.get(name)] for name in table
        }


def test_centred_log_ratios_are_those_of_the_definition(blood):
    ratios = protein_counts.centred_log_ratio(blood)
    counts = blood.obsm["protein_expression"].to_numpy(float)
    expected = np.log(counts + 1) - np.log(counts + 1).mean(axis=1)[:, None]
    np.testing.assert_allclose(ratios, expected)
    assert list(ratios.columns) == list(blood.obsm["protein_expression"].columns)


def test_rna_beside_protein_is_counted(blood):
    table = protein_counts.beside_rna(blood)
    assert {"CD15", "CD25", "PD-1"}.isdisjoint(table.index)
    row, batch = table.loc["CD14"], blood.obs["batch"].to_numpy()
    protein = blood.obsm["protein_expression"]["CD14"].to_numpy()
    rna = blood[:, "CD14"].X.toarray().ravel()
    there = protein_counts.above(blood, ["CD14"])["CD14"].to_numpy()
    assert row["gene"] == "CD14" and row["cells with the protein"] == there.sum()
    assert row["of these, with RNA"] == pytest.approx((rna[there] > 0).mean())
    assert row["of the others, with RNA"] == pytest.approx((rna[~there] > 0).mean())
    expected = [spearmanr(protein[batch == name], rna[batch == name])[0] for name in ("10k", "5k")]
    assert row["rank correlation"] == pytest.approx(np.mean(expected))


def test_two_forms_of_one_gene_have_the_same_rna(blood):
    table = protein_counts.beside_rna(blood)
    assert table.loc["CD45RA", "gene"] == table.loc["CD45RO", "gene"]
    assert table.loc["CD45RA", "rank correlation"] < 0 < table.loc["CD45RO", "rank correlation"]


def test_missing_proteins_batches_and_genes_are_named(blood, pbmc):
    with pytest.raises(KeyError, match=r"data\.load_citeseq"):
        protein_counts.gate(pbmc)
    with pytest.raises(KeyError, match=r"no column 'donor'\. Columns: batch"):
        protein_counts.gate(blood, batch_key="donor")
    with pytest.raises(KeyError, match=r"no protein CD99\. Proteins: CD3, CD4"):
        protein_figures.plot_histogram(blood, "CD99")
    with pytest.raises(KeyError, match="No gene is known for CD15"):
        protein_figures.plot_beside_rna(blood, "CD15", protein_counts.gate(blood))
    with pytest.raises(KeyError, match=r"gene CD3E of the protein CD3.*before genes\.select"):
        protein_counts.beside_rna(blood[:, blood.var_names != "CD3E"].copy())
    del blood.obsm["protein_expression"]["CD56"]
    with pytest.raises(KeyError, match="no protein CD56"):
        protein_counts.gate(blood)


def test_too_few_cells_and_bad_counts_are_refused(blood):
    with pytest.raises(ValueError, match=r"Batch 5k has 20 cells; .*fewer than 50"):
        protein_counts.thresholds(blood[:220].copy())
    with pytest.raises(ValueError, match=r"1 cells have no group, the first is 'AAAC"):
        protein_figures.plot_beside_rna(blood, "CD4", protein_counts.gate(blood)[1:])
    gap = blood.copy()
    gap.obs["batch"] = gap.obs["batch"].astype(object).where(np.arange(400) != 7)
    with pytest.raises(ValueError, match=r"1 cells have no batch in obs\['batch'\]"):
        protein_counts.gate(gap)
    for wrong in (np.nan, -1.0):
        spoilt = blood.copy()
        table = spoilt.obsm["protein_expression"].astype(float)
        table.iloc[3, 2] = wrong
        spoilt.obsm["protein_expression"] = table
        with pytest.raises(ValueError, match=r"check_proteins\(adata\) says where"):
            protein_counts.thresholds(spoilt)
