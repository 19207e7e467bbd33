"""A cache is made once, is never stale or half written, and is the same for every pandas."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

from helpers import data
from helpers.data import source_table
from helpers.paths import DATA, ROOT
from tests.helpers.data.served_files import TEXT, assert_same_cells, files_in


def test_cache_loads_in_under_a_second():
    data.load_cortex()
    start = time.process_time()
    data.load_cortex()
    assert time.process_time() - start < 1


def test_a_full_disk_is_explained_and_nothing_is_left(monkeypatch, tmp_path):
    def write(self, path, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ad.AnnData, "write_h5ad", write)
    with pytest.raises(source_table.SourceError, match="the disk is full"):
        data.load_pbmc(tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(source_table.SourceError, match="cannot be written"):
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
    """The caches are shared, and pandas 2 reads names that pandas 3 wrote as another type."""
    (tmp_path / "downloads").symlink_to(DATA / "downloads")
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
    assert cache.stat().st_mtime_ns == written, "each track would make the other's caches again"
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
    assert data.load_pbmc(tmp_path).shape == (700, 765)
    assert [path.name for path in files_in(tmp_path)] == ["pbmc.h5ad"]


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
        *(f"downloads/citeseq_all/{name}" for name in source_table.SOURCES["citeseq_all"].members),
    ]
    shutil.rmtree(tmp_path / "downloads")
    assert_same_cells(data.load_citeseq(tmp_path, cells="all"), first)
