"""The report tries what the script will do, so that "Ready" means that a run comes to its end."""

import random

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from helpers.own_data import preflight, rehearsal, writing

REASON = "a sample of cells cannot be kept"


def small_batch(adata, n):
    adata.obs["sample"] = ["large"] * (adata.n_obs - n) + ["small"] * n
    return preflight.check(adata, None, "sample")


@pytest.mark.parametrize("few", [1, 40])
def test_batch_without_a_ranking_is_named(few, blood):
    """Of 40 cells the curve cannot be fitted, though they are many enough for a batch."""
    report = small_batch(blood, few)
    row = report.loc[[("rank genes" in found) for found in report["found"]]]
    assert list(row["verdict"]) == [preflight.DECIDE]
    assert f"small {few} cells" in row["found"].iloc[0]


def test_cells_without_a_selected_gene_are_repaired_by_the_line(blood):
    """The script would stop at them, though they have counts."""
    adata = blood
    few = np.asarray((adata.X > 0).sum(axis=0)).ravel()
    counts = adata.X.tolil()
    rare = int(np.flatnonzero(few == few.min())[0])
    counts[0] = 0
    counts[0, rare] = 1
    adata.X = counts.tocsr()
    report = preflight.check(adata)
    row = report.loc["empty cells"]
    assert row["verdict"] == preflight.REPAIR
    assert "1 cells have counts, but none of the 2,000 genes" in row["found"]
    names = {"adata": adata, "np": np}
    exec(row["line of Python"], names)
    assert names["adata"].n_obs == 399
    preflight.require_ready(preflight.check(names["adata"]))


def test_what_fails_in_the_rehearsal_must_be_repaired(pbmc, monkeypatch):
    for name in ("_train", "_kept"):
        with monkeypatch.context() as patch:

            def failing(*arguments):
                raise RuntimeError(REASON)

            patch.setattr(rehearsal, name, failing)
            report = preflight.check(pbmc)
            assert REASON in report.loc["rehearsal", "found"]
            with pytest.raises(ValueError, match=REASON):
                preflight.require_ready(report)


def test_latent_space_without_numbers_is_found(pbmc, monkeypatch):
    broken = np.full((100, 10), np.nan)
    monkeypatch.setattr(scvi.model.SCVI, "get_latent_representation", lambda self: broken)
    assert "no numbers" in preflight.check(pbmc).loc["rehearsal", "found"]


def test_random_numbers_go_on_as_without_a_report(pbmc):
    """A report before a training changes no weight of it."""

    def drawn():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    scvi.settings.seed = 1
    without = drawn()
    scvi.settings.seed = 1
    preflight.check(pbmc)
    assert drawn() == without


def test_what_the_file_has_under_the_names_of_results_stays(pbmc):
    pbmc.obsm["X_umap"], pbmc.obs["scvi_cluster"] = np.ones((700, 2)), "mine"
    rehearsal.make_room(pbmc)
    assert "X_umap" not in pbmc.obsm
    assert (pbmc.obsm["X_umap_of_file"] == 1).all()
    assert (pbmc.obs["scvi_cluster_of_file"] == "mine").all()


def odd(adata):
    """Cells with all that a file does not hold as it is."""
    table = pd.DataFrame(
        {
            "group": pd.cut(np.arange(adata.n_obs), 3),
            "mixed": [1, "a"] * (adata.n_obs // 2),
            "word": pd.array(["x", None] * (adata.n_obs // 2), dtype="string"),
            "yes": pd.array([True, None] * (adata.n_obs // 2), dtype="boolean"),
            5: np.arange(adata.n_obs),
        },
        index=pd.Index([str(name) for name in adata.obs_names], dtype="string"),
    )
    adata = ad.AnnData(adata.X, var=adata.var)
    adata.obs = pd.concat([table, table[["mixed"]]], axis=1)
    adata.var["_index"] = adata.var_names.tolist()
    adata.uns["nested"] = {"object": object(), "kept": [1, 2]}
    return adata


@pytest.mark.filterwarnings("ignore")
def test_all_that_can_be_kept_is_kept_and_the_rest_named(pbmc, tmp_path):
    adata = odd(pbmc)
    notes = writing.write(tmp_path / "cells.h5ad", adata)
    again = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert set(again.obs) == {"group", "mixed", "mixed-1", "word", "yes", "5"}
    assert list(again.obs_names) == list(map(str, adata.obs_names))
    assert again.obs["mixed"].astype(str).tolist() == ["1", "a"] * 350
    assert again.obs["word"].isna().sum() == 350
    assert list(again.var["index_of_file"]) == list(again.var_names)
    assert list(map(str, again.uns["nested"]["kept"])) == ["1", "2"]
    assert [note for note in notes if writing.LOST in note] == [
        "uns['nested']['object'] is left out: a file cannot hold it."
    ]
    for place in ("obs['group']", "obs[5]", "var['_index']"):
        assert any(note.startswith(place) for note in notes)


@pytest.mark.filterwarnings("ignore")
def test_report_names_what_is_lost(pbmc):
    report = preflight.check(odd(pbmc))
    row = report.loc["rehearsal"]
    assert row["verdict"] == preflight.DECIDE
    assert "uns['nested']['object'] is left out" in row["found"]
