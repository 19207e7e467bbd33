"""What is read from the archives are real counts, and the expected ones."""

import hashlib
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi

from helpers import data
from helpers.data import archives, cortex_symbols, fetching, source_table
from helpers.data import cortex_text as reader
from tests.helpers.data.served_files import N_GENES


def test_cortex_has_the_published_classes(whole_cortex):
    assert whole_cortex.obs["cell_type"].value_counts().to_dict() == {
        "pyramidal CA1": 939,
        "oligodendrocytes": 820,
        "pyramidal SS": 399,
        "interneurons": 290,
        "endothelial-mural": 235,
        "astrocytes_ependymal": 224,
        "microglia": 98,
    }
    assert whole_cortex.obs["subclass"].nunique() > 7


def test_cortex_genes_are_ordered_by_the_cells_that_have_them(whole_cortex):
    cells = whole_cortex.X.getnnz(axis=0)
    assert (np.diff(cells) <= 0).all()
    assert cells.min() == 1111


@pytest.mark.parametrize(
    ("gene", "cell_type"),
    [
        ("Plp1", "oligodendrocytes"),
        ("Mbp", "oligodendrocytes"),
        ("Slc1a2", "astrocytes_ependymal"),
        ("Atp1a2", "astrocytes_ependymal"),
        ("B2m", "microglia"),
        ("Ugt8a", "oligodendrocytes"),
        ("Cnp", "oligodendrocytes"),
        ("Mobp", "oligodendrocytes"),
        ("Clu", "astrocytes_ependymal"),
        ("Mt1", "astrocytes_ependymal"),
        ("Ftl1", "microglia"),
        ("Ctsd", "microglia"),
        ("Grn", "microglia"),
        ("Neurod6", "pyramidal CA1"),
        ("Crym", "pyramidal CA1"),
        ("Pcsk2", "pyramidal SS"),
        ("Nrn1", "pyramidal SS"),
        ("Slc2a1", "endothelial-mural"),
        ("Hes1", "endothelial-mural"),
        ("Rab3c", "interneurons"),
        ("Bsg", "endothelial-mural"),
        ("Nap1l5", "interneurons"),
    ],
)
def test_known_symbols_stand_at_the_right_genes(gene, cell_type, whole_cortex):
    """A marker has its largest share of the library in its own class.

    A symbol that is off by one row would not.
    """
    counts = np.asarray(whole_cortex[:, gene].X.todense()).ravel()
    share = counts / np.asarray(whole_cortex.X.sum(axis=1)).ravel()
    assert (
        pd.Series(share).groupby(whole_cortex.obs["cell_type"].to_numpy()).mean().idxmax()
        == cell_type
    )


def test_named_genes_have_the_counts_of_a_published_named_copy(whole_cortex):
    """The digest was taken from a copy of the matrix that came with its symbols (GSE60361)."""
    named = sorted(whole_cortex.var_names[whole_cortex.var["symbol_known"]])
    counts = whole_cortex[:, named].to_df().to_numpy().astype("<i4")
    assert hashlib.sha256(counts.tobytes()).hexdigest() == (
        "5322b16359d22fe8862d4e441b43913fdf2e891aea9c563d6c40ff6ea426907b"
    )


def test_cortex_symbols_are_marked(whole_cortex):
    unnamed = whole_cortex.var_names.str.startswith("unnamed_")
    assert (unnamed == ~whole_cortex.var["symbol_known"]).all()
    assert whole_cortex.var["symbol_known"].sum() == len(cortex_symbols.SYMBOLS)


def test_citeseq_has_two_batches_and_fourteen_proteins():
    adata = data.load_citeseq()
    proteins = adata.obsm["protein_expression"]
    assert adata.obs["batch"].value_counts().to_dict() == {"10k": 200, "5k": 200}
    assert proteins.shape == (400, 14)
    assert proteins.index.equals(adata.obs_names)
    assert {"CD3", "CD4", "CD8a", "CD14", "CD19"} <= set(proteins.columns)
    assert (proteins.to_numpy() >= 0).all()
    # CD3 is on T cells and CD14 on monocytes: no cell type has much of both.
    assert np.corrcoef(np.log1p(proteins["CD3"]), np.log1p(proteins["CD14"]))[0, 1] < 0


@pytest.mark.filterwarnings("ignore")  # the file is in an older layout
def test_pbmc_counts_add_up_to_no_more_than_the_published_totals(whole_pbmc):
    published = ad.read_h5ad(fetching.fetch("pbmc")).obs["n_counts"].to_numpy()
    totals = np.asarray(whole_pbmc.X.sum(axis=1)).ravel()
    assert (totals <= published).all()


def test_all_genes_come_in_the_form_of_the_packaged_ones(web, whole_cortex, cortex_text, tmp_path):
    adata = data.load_cortex(tmp_path, genes="all")
    by_scvi = scvi.data.cortex(save_path=str(cortex_text.parent))
    np.testing.assert_array_equal(adata.X.toarray(), by_scvi.X)
    for matrix in (adata.X, adata.layers["counts"]):
        assert isinstance(matrix, sp.csr_matrix)
        assert matrix.dtype == np.float32
        assert (matrix != adata.X).nnz == 0
    assert adata.X is not adata.layers["counts"]
    data.check_counts(adata, layer="counts")
    assert set(whole_cortex.obs) <= set(adata.obs) and set(whole_cortex.var) <= set(adata.var)
    assert list(adata.obs["cell_type"].cat.categories) == list(
        whole_cortex.obs["cell_type"].cat.categories
    )
    known = adata.var["symbol_known"].to_numpy()
    assert known.dtype == bool and known.all()
    source = adata.uns["source"]
    assert source["sha256"] == hashlib.sha256(web.content).hexdigest()
    assert source["citation"] == source_table.SOURCES["cortex"].citation
    code = [Path(module.__file__).read_bytes() for module in (archives, cortex_symbols, reader)]
    assert source["read_by"] == hashlib.sha256(b"".join(code)).hexdigest()


def test_a_text_with_other_genes_is_refused(web, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "CORTEX_GENES", N_GENES + 1)
    with pytest.raises(source_table.SourceError, match=r"the file ends after 300 of 301 genes"):
        data.load_cortex(tmp_path, genes="all")
    assert not (tmp_path / "cortex_all.h5ad").exists()


def test_a_damaged_download_says_what_to_delete(blood_files, tmp_path):
    place = tmp_path / "downloads" / "citeseq_all"
    place.mkdir(parents=True)
    for name, content in blood_files.items():
        (place / name).write_bytes(content[:100_000])
    with pytest.raises(source_table.SourceError, match=rf"{place}.*(?s:.*)delete this folder"):
        data.load_citeseq(tmp_path, cells="all")


def test_an_isotype_control_is_called_so():
    names = ["CD3_TotalSeqB", "PD-1_TotalSeqB", "IgG1_control_TotalSeqB", "IgG2a_control_TotalSeqB"]
    table = pd.DataFrame(np.ones((2, 4)), columns=names)
    made = archives._citeseq(
        sp.csr_matrix(np.eye(2)), pd.Index(["a", "b"]), table, ["x", "y"], ["1", "2"]
    )
    assert list(made.obsm["protein_expression"]) == [
        "CD3", "PD-1", "IgG1 (isotype control)", "IgG2a (isotype control)"
    ]  # fmt: skip
