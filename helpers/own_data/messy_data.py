"""Real cells in a file as they often come: with problems that a training would not report."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

from helpers.data import datasets
from helpers.own_data import reading
from helpers.paths import DATA
from helpers.proteins import protein_counts
from helpers.scratch import scratch_folder

# By this a file is known that may be written anew.
MADE_HERE = "spoiled_for_lesson_08"

# Drops of liquid in which no cell was caught.
EMPTY_DROPLETS = 3


def write(path: Path | str, folder: Path = DATA) -> Path:
    """Write the 400 packaged blood cells as a colleague might hand them over.

    Parameters
    ----------
    path
        The ``.h5ad`` file to write.
    folder
        Where the packaged cells are kept.

    Returns
    -------
    Path
        The file: 403 rows x 14,520 genes. ``X`` holds log-normalised values; ``layers["umi"]`` the
        counts, in 16 bits, with every 0 written out; the last three rows are empty droplets; two
        genes have the same name; ``obs["day"]`` is the batch, 1 or 2, and ``obs["type"]`` what the
        surface proteins say, where they say something.

    Raises
    ------
    SourceError
        If the packaged cells cannot be fetched or read.
    FileExistsError
        If there is a file that this function did not make; it is left as it is.
    """
    path = Path(path)
    if path.exists() and MADE_HERE not in reading.read(path).uns:
        raise FileExistsError(
            f"{path} is there, and was not made here, so it is left as it is.\n"
            "What to do: give another name; your own file you read with reading.read."
        )
    blood = datasets.load_citeseq(folder)
    drops = sp.csr_matrix((EMPTY_DROPLETS, blood.n_vars), dtype=np.float32)
    counts = sp.csr_matrix(sp.vstack([blood.X, drops]))
    groups = protein_counts.gate(blood).astype(object)
    names = [*blood.obs_names, *(f"empty droplet {i + 1}" for i in range(EMPTY_DROPLETS))]
    day = blood.obs["batch"].map({"10k": 1, "5k": 2}).astype(int).tolist()
    adata = ad.AnnData(
        counts.copy(),
        obs=pd.DataFrame(
            {
                "day": [*day, *[1] * EMPTY_DROPLETS],
                "type": [
                    *groups.where(groups != protein_counts.NO_GROUP),
                    *[None] * EMPTY_DROPLETS,
                ],
            },
            index=names,
        ),
        var=pd.DataFrame(index=blood.var_names),
        uns={MADE_HERE: True},
        layers={"umi": counts.astype(np.uint16).toarray()},
    )
    twice = adata.var_names.tolist()
    twice[1] = twice[0]
    adata.var_names = twice
    with warnings.catch_warnings():
        # Of the empty droplets and the two equal names, which are meant.
        warnings.simplefilter("ignore")
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    with scratch_folder(path.parent) as scratch:
        draft = scratch / path.name
        adata.write_h5ad(draft, compression="gzip")
        return draft.replace(path)


def with_values_as_counts(path: Path | str) -> ad.AnnData:
    """Return the cells of such a file with the wrong matrix as counts.

    Parameters
    ----------
    path
        The file that ``write`` made.

    Returns
    -------
    AnnData
        The 400 cells, without the empty droplets, which would stop a training. ``layers["counts"]``
        holds the log-normalised values.
    """
    adata = reading.read(path)
    adata.var_names_make_unique()
    adata = adata[:-EMPTY_DROPLETS].copy()
    adata.layers["counts"] = adata.X
    return adata
