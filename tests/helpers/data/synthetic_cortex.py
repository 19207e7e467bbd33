"""A made-up file in the layout of the full cortex text, for tests, which must not need the web.

It has the packaged genes with their real counts and classes, so that models find the classes again.
The genes that the package lacks are drawn at random and mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np

from helpers import data
from helpers.data import archives

CELLS, GENES = 3005, archives.CORTEX_GENES

# Mean counts of the drawn genes, spread evenly on a logarithmic scale: nearly all are seen in fewer
# cells than each packaged gene is.
RAREST, COMMONEST = 0.001, 0.7


def write(file: Path, cells: int = CELLS, genes: int = GENES, seed: int = 0) -> Path:
    """Write the file.

    Parameters
    ----------
    file
        Where to write it.
    cells, genes
        How many, at most 3,005 and 19,972. These make a file of 121 MB, which takes about ten
        seconds.
    seed
        Of the choice of cells and genes, of what is drawn, and of the order of the genes.

    Returns
    -------
    Path
        The file.
    """
    rng = np.random.default_rng(seed)
    real = data.load_cortex(genes="packaged")
    share = real.n_vars / GENES
    real = real[np.sort(rng.choice(real.n_obs, cells, replace=False))]
    real = real[:, np.sort(rng.choice(real.n_vars, round(genes * share), replace=False))].copy()
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for fields in (*_about_cells(real, rng), [""] * (cells + 2), *_genes(real, genes, rng)):
            lines.write("\t".join(map(str, fields)) + "\n")
    return file


def _about_cells(real: ad.AnnData, rng: np.random.Generator) -> Iterator[list[object]]:
    """Yield the fields of the rows about the cells; class and subclass are real."""
    classes = real.obs["cell_type"].cat
    rows = {
        "tissue": np.where(real.obs["cell_type"] == "pyramidal CA1", "ca1hippocampus", "sscortex"),
        "group #": classes.codes + 1,
        "total mRNA mol": real.X.sum(axis=1).A1.astype(int),
        "well": rng.integers(1, 97, real.n_obs),
        "sex": rng.choice([-1, 1], real.n_obs),
        "age": rng.integers(20, 32, real.n_obs),
        "diameter": rng.uniform(5, 20, real.n_obs).round(2),
        "cell_id": "made_up_" + real.obs_names,
        "level1class": real.obs["cell_type"],
        "level2class": real.obs["subclass"],
    }
    for name, values in rows.items():
        yield ["", name, *values]


def _genes(real: ad.AnnData, genes: int, rng: np.random.Generator) -> Iterator[list[object]]:
    """Yield the fields of the genes: name, cluster and counts."""
    counts = real.X.toarray().astype(int)
    size = counts.sum(axis=1) / counts.sum(axis=1).mean()
    means = np.exp(rng.uniform(np.log(RAREST), np.log(COMMONEST), genes))
    for gene in rng.permutation(genes):
        if gene < real.n_vars:
            name, values = real.var_names[gene], counts[:, gene]
        else:
            # A negative binomial distribution of dispersion 1, as genes of such means have.
            rates = means[gene] * size * rng.exponential(size=real.n_obs)
            name, values = f"drawn_{gene:05d}", rng.poisson(rates)
        yield [name, rng.integers(1, 10), *values.tolist()]
