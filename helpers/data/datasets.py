"""Load the data sets of the lessons.

After the first call everything is read from the folder ``data/``. ``python -m helpers.data``
fetches all of it. Two exceptions are for those who want more at home:

- ``load_citeseq(cells="all")``, which scvi-tools downloads from the web, and for which no checksum
  is published;
- ``load_cortex(genes="all")``, the text file that the authors published.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import anndata as ad

from helpers.data import archives, cache
from helpers.data.source_table import SourceError
from helpers.paths import DATA

# The one switch for lessons: set to "all", it makes load_cortex() load all genes.
GENES_VARIABLE = "CORTEX_GENES"


def load_cortex(folder: Path = DATA, genes: str | None = None) -> ad.AnnData:
    """Load 3,005 mouse cortex and hippocampus cells, with 4,000 genes or all 19,972.

    They are those of Zeisel et al. 2015.

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
        return cache.load("cortex", archives.read_cortex, folder)
    if wanted == "all":
        return cache.load("cortex_all", archives.read_all_cortex, folder)
    asked = "genes" if genes else f"the environment variable {GENES_VARIABLE}"
    raise ValueError(f"There is no {asked}={wanted!r}.\nWhat to do: give 'packaged' or 'all'.")


def load_citeseq(folder: Path = DATA, cells: str = "packaged") -> ad.AnnData:
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
        return cache.load("citeseq", archives.read_citeseq, folder)
    if cells == "all":
        return cache.load("citeseq_all", archives.read_all_citeseq, folder)
    raise ValueError(f"There is no cells={cells!r}.\nWhat to do: give 'packaged' or 'all'.")


def load_pbmc(folder: Path = DATA) -> ad.AnnData:
    """Load 700 human blood cells x 765 genes, the small set that scanpy itself carries.

    They are some of those of Zheng et al. 2017.

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
    return cache.load("pbmc", archives.read_pbmc, folder)


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
