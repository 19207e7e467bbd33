"""The verdicts of the page. (The page itself is made and read in test_run_script.)"""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from helpers import training
from helpers.loss import loss_ledger
from helpers.own_data import preflight, run_report


@pytest.fixture(scope="module")
def trained():
    """The SCVI of lesson 06b, with what the page needs."""
    model = training.load_or_train(training.blood_model("SCVI"), "few cells")
    model.adata.obsm["X_scVI"] = model.get_latent_representation()
    model.adata.obsm["X_umap"] = model.adata.obsm["X_scVI"][:, :2]
    model.adata.obs["scvi_cluster"] = np.where(model.adata.obsm["X_scVI"][:, 0] > 0, "a", "b")
    return model


def cells(latent, labels):
    """Cells at given positions; their counts hold only noise."""
    adata = ad.AnnData(
        sp.csr_matrix(np.random.default_rng(1).poisson(3, (len(latent), 20)), dtype=np.float32)
    )
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["X_scVI"] = latent
    adata.obs["label"] = labels
    return adata


POSITIONS = np.random.default_rng(0).normal(size=(300, 5))
HALVES = np.array(["a", "b"] * 150)


def test_batches_that_lie_apart_are_to_be_looked_at():
    apart = POSITIONS + 20 * (HALVES == "a")[:, None]
    found, verdict = run_report._mixing(cells(apart, HALVES), "label")
    assert "in 100% of cells; always naming the largest would, in 50%" in found
    assert verdict.startswith("look at the map")


def test_batches_that_are_mixed_are_ok():
    assert run_report._mixing(cells(POSITIONS, HALVES), "label")[1] == "ok"


def test_one_batch_is_no_batch():
    assert run_report._mixing(cells(POSITIONS, ["a"] * 300), "label")[1] == "leave batch_key out"


def test_scvi_that_finds_labels_where_pca_sees_noise_is_ok():
    apart = POSITIONS + 20 * (HALVES == "a")[:, None]
    found, verdict = run_report._rival(cells(apart, HALVES), "label")
    assert "in 100.0% of cells with scVI" in found
    assert verdict == "ok"


def test_where_neither_finds_labels_they_are_even():
    assert run_report._rival(cells(POSITIONS, HALVES), "label")[1] == "ok: about even"


def test_pca_that_is_ahead_is_said():
    adata = cells(POSITIONS, HALVES)
    adata.layers["counts"] = sp.csr_matrix(
        adata.X.toarray() + 200 * np.outer(HALVES == "a", np.arange(20) < 5)
    )
    assert run_report._rival(adata, "label")[1].startswith("PCA is ahead")


@pytest.mark.parametrize(
    "labels", [["a"] * 300, ["a", "b", *[None] * 298]], ids=["one value", "two cells"]
)
def test_labels_from_which_nothing_can_be_told_are_no_error(labels):
    found, verdict = run_report._rival(cells(POSITIONS, labels), "label")
    assert "too few to tell" in found
    assert verdict == "ok"


def test_the_settings_are_those_of_the_model(trained):
    settings = run_report.settings(trained)
    assert settings["SCVI: n_hidden"] == str(trained.init_params_["non_kwargs"]["n_hidden"])
    assert settings["setup_anndata: batch_key"] == "batch"
    assert settings["epochs"] == str(len(trained.history["elbo_train"]))
    assert settings["held-out cells"] == str(len(trained.validation_indices))


def test_the_methods_say_what_was_done(trained):
    text = run_report.methods(trained)
    table = loss_ledger.ledger(trained)
    assert f"for {len(table)} epochs on {len(trained.train_indices)} cells" in text
    assert "learning rate 0.004" in text
    assert "1 hidden layer in the encoder and 1 hidden layer in the decoder (128 neurons)" in text
    assert f"{table['held_out_elbo'].iloc[-1]:.4g}".rstrip("0") in text


def test_what_the_page_needs_is_asked_for(trained, tmp_path):
    findings = preflight.check(trained.adata, "counts", "batch")
    for place, name in (("obsm", "X_umap"), ("obsm", "X_scVI"), ("obs", "scvi_cluster")):
        kept = getattr(trained.adata, place)[name]
        del getattr(trained.adata, place)[name]
        with pytest.raises(
            ValueError, match=rf"needs adata.{place}\['{name}'\][^$]*What to do: adata"
        ):
            run_report.write(tmp_path / "page.html", trained, findings, "cells.h5ad")
        getattr(trained.adata, place)[name] = kept
    assert not (tmp_path / "page.html").exists()


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_page_that_was_there_is_replaced_only_by_a_whole_one(trained, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("the page of yesterday")
    findings = preflight.check(trained.adata, "counts", "batch")
    with monkeypatch.context() as patch:
        patch.setattr(
            run_report,
            "TEMPLATE",
            SimpleNamespace(read_text=lambda encoding: "{{ nothing_of_that }}"),
        )
        with pytest.raises(Exception, match="nothing_of_that"):
            run_report.write(page, trained, findings, "cells.h5ad")
    assert page.read_text() == "the page of yesterday"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_disk)
        with pytest.raises(
            OSError, match=r"Cannot write .*page.html: No space left[^$]*What to do"
        ):
            run_report.write(page, trained, findings, "cells.h5ad")
    assert page.read_text() == "the page of yesterday"
    assert run_report.write(page, trained, findings, "cells.h5ad") == page
    assert "<h1>scVI on cells.h5ad</h1>" in page.read_text("utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
