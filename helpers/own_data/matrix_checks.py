"""What scVI would meet in the matrix of counts, and in the names of its cells and genes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers import figures
from helpers.data import count_checks, matrices
from helpers.latent import neighbours
from helpers.own_data import raw_counts
from helpers.own_data.findings import DECIDE, REPAIR, Finding, megabytes

# A training holds a tenth of the cells out, and clusters and maps join each cell to its 15 nearest.
FEWEST_CELLS = neighbours.NEIGHBOURS + 1

# The smallest data on which the kit has compared scVI with anything.
FEW_CELLS = 400

# Below this a cell is often an empty droplet.
FEW_COUNTS = 200

# scVI computes with 32-bit floats, which hold whole numbers exactly up to this.
LARGEST_EXACT = 2**24

BARCODE = re.compile(r"^(?:.*[_:-])?[ACGT]{10,}x?(?:[-_.:].*)?$")

GENE_ID = re.compile(r"^ENS[A-Z]*G\d{6,}")

# Genes of nearly every cell, in mouse and man, by which names of genes are told from names of
# cells.
COMMON_GENES = frozenset(
    [
        "actb",
        "b2m",
        "calm1",
        "eef1a1",
        "ftl1",
        "fth1",
        "gapdh",
        "malat1",
        "rpl10",
        "rplp0",
        "rps18",
        "tmsb4x",
    ]
)


def of_problem(problem: count_checks.Problem, adata: ad.AnnData, layer: str | None) -> Finding:
    """Return a problem as a finding.

    Where the counts are gone but can be had back, its fix is to have them back.
    """
    if (
        problem.check == "counts"
        and not problem.call
        and not count_checks.matrices_with_counts(adata, layer)
    ):
        for name, made_by in raw_counts.candidates(adata):
            return Finding(
                problem.check,
                f"{problem.found} adata.{name} holds counts that were {made_by}.",
                REPAIR,
                "They can be had back; then layer = 'counts'",
                f"adata.layers['counts'] = raw_counts.recover(adata.{name})",
            )
        if adata.raw is not None and raw_counts.how_made(matrices.in_memory(adata.raw.X)):
            return Finding(
                problem.check,
                f"{problem.found} adata.raw holds more genes, with counts that can be had back.",
                REPAIR,
                "Take those, and look again",
                "adata = adata.raw.to_adata()",
            )
    return Finding(problem.check, problem.found, REPAIR, problem.fix, problem.call)


def of_layout(adata: ad.AnnData) -> Iterator[Finding]:
    """Say how many cells and genes there are, which way the table lies, and where it is kept."""
    size = f"{adata.n_obs:,} cells x {adata.n_vars:,} genes"
    if _turned(adata):
        yield Finding(
            "size",
            f"{size}: the names of the cells look like genes ({adata.obs_names[0]}), or those of "
            f"the genes like cells ({adata.var_names[0]}).",
            REPAIR,
            "Turn the table",
            "adata = adata.T.copy()",
        )
    elif 0 < adata.n_obs < FEWEST_CELLS or adata.n_vars == 1:
        yield Finding(
            "size",
            f"{size}. scVI compares cells by their genes, and holds a tenth of the cells out: it "
            f"needs many of both, and no fewer than {FEWEST_CELLS} cells.",
            REPAIR,
            "Load all cells and genes",
        )
    elif 0 < adata.n_obs < FEW_CELLS:
        yield Finding(
            "size",
            f"{size}. So few cells can hardly train a network: nothing smaller than {FEW_CELLS} "
            "cells was tried here.",
            DECIDE,
            "Take more cells, or PCA of the log-normalised counts",
        )
    elif adata.n_obs:
        yield Finding("size", size)
    if adata.isbacked:
        yield Finding(
            "storage",
            f"X stays in the file {adata.filename.name}; lesson 07b trains on such a file, with "
            "more care.",
            DECIDE,
            "Read it into memory, if it fits",
            "adata = adata.to_memory()",
        )


def _turned(adata: ad.AnnData) -> bool:
    """Tell whether cells and genes seem to have changed places."""
    return _share(BARCODE, adata.var_names) > 0.5 or (
        _like_genes(adata.obs_names) and not _like_genes(adata.var_names)
    )


def _share(pattern: re.Pattern[str], names: pd.Index) -> float:
    # Not astype(str): pandas 3 leaves a missing name missing.
    few = [str(name) for name in names[:1000]]
    return float(np.mean([bool(pattern.match(name)) for name in few])) if few else 0.0


def _like_genes(names: pd.Index) -> bool:
    known = COMMON_GENES & {str(name).lower() for name in names}
    return len(known) >= 2 or _share(GENE_ID, names) > 0.5


def of_counts(adata: ad.AnnData, layer: str | None, empty_cells: bool) -> Iterator[Finding]:
    """Say where the counts are, how they are stored, how many a cell has, and what has none."""
    matrix = matrices.in_memory(adata.X if layer is None else adata.layers[layer])
    where = matrices.matrix_name(layer)
    counts = sp.csr_matrix(matrix)
    largest = int(counts.data.max()) if counts.nnz else 0
    zeros = 1 - np.count_nonzero(counts.data) / (counts.shape[0] * counts.shape[1])
    if largest > LARGEST_EXACT:
        yield Finding(
            "counts",
            f"The largest number in {where} is {largest:,}. A 32-bit float holds whole numbers "
            f"exactly up to {LARGEST_EXACT:,} only, and no cell has so many molecules.",
            REPAIR,
            "Look where this matrix comes from: sums over many cells and intensities are not "
            "counts",
        )
    elif largest == 1:
        yield Finding(
            "counts",
            f"{where} holds 0 and 1 only. Were counts made into yes and no, or is it open "
            "chromatin (ATAC)?",
            DECIDE,
            "Load the counts themselves; for open chromatin there is scvi.model.PEAKVI",
        )
    else:
        yield Finding(
            "counts", f"Whole numbers from 0 to {largest:,} in {where}, {zeros:.0%} of them 0."
        )
    yield from _of_storage(matrix, where, largest)
    if not empty_cells:
        yield _of_depth(counts)
    unseen = int((counts.getnnz(axis=0) == 0).sum()) if counts.nnz else 0
    if unseen:
        yield Finding(
            "empty genes",
            f"{unseen:,} of {adata.n_vars:,} genes have no count in any cell; they are not "
            "selected.",
        )
    kinds = adata.var.get("feature_types")
    if kinds is not None and kinds.nunique() > 1:
        listed = ", ".join(f"{kind} {n:,}" for kind, n in kinds.value_counts().items() if n)
        yield Finding(
            "features",
            f"Not all are genes: {listed}. scVI would take all of them for genes.",
            DECIDE,
            "Keep the genes",
            "adata = adata[:, (adata.var['feature_types'] == 'Gene Expression').to_numpy()].copy()",
        )
    elif left_out := adata.uns.get("left_out"):
        listed = ", ".join(f"{kind} {n:,}" for kind, n in left_out.items())
        yield Finding("features", f"Only genes were read; left out: {listed}.")


def _of_storage(matrix: Any, where: str, largest: int) -> Iterator[Finding]:
    whole = np.issubdtype(matrix.dtype, np.integer)
    # Of a sparse matrix scanpy takes the squares as 64-bit floats.
    if not sp.issparse(matrix) and whole and largest**2 > np.iinfo(matrix.dtype).max:
        yield Finding(
            "storage",
            f"{where} is stored as {matrix.dtype}. scanpy squares the counts in that type when it "
            f"selects genes; {largest:,} squared overflows without a word, and other genes are "
            "selected.",
            REPAIR,
            "Make it sparse, of floats",
            f"adata.{where} = sp.csr_matrix(adata.{where}, dtype='float32')",
        )
        return
    as_csr = (
        8 * np.count_nonzero(matrix) + 4 * matrix.shape[0]
        if isinstance(matrix, np.ndarray)
        else np.inf
    )
    if isinstance(matrix, np.ndarray) and matrix.nbytes > 1.5 * as_csr:
        yield Finding(
            "storage",
            f"{where} has every 0 written out: {megabytes(matrix.nbytes)}. Sparse, it takes "
            f"{megabytes(as_csr)}.",
            DECIDE,
            "Make it sparse",
            f"adata.{where} = sp.csr_matrix(adata.{where})",
        )
    elif sp.issparse(matrix) and matrix.format != "csr":
        yield Finding(
            "storage",
            f"{where} is sorted by gene ({matrix.format.upper()}), and a minibatch takes cells: "
            "each step looks through all genes.",
            DECIDE,
            "Sort it by cell",
            f"adata.{where} = sp.csr_matrix(adata.{where})",
        )


def _of_depth(counts: sp.csr_matrix) -> Finding:
    totals = np.asarray(counts.sum(axis=1)).ravel()
    poor = int((totals < FEW_COUNTS).sum())
    found = (
        f"Counts of a cell, of these genes: {figures.about(float(np.median(totals)))} in the "
        f"middle, from {totals.min():,.0f} to {totals.max():,.0f}."
    )
    if totals.min() == totals.max() and len(totals) > 1:
        return Finding(
            "depth",
            f"All cells have the same total, {totals.max():,.0f}, which counts never do: they were "
            "normalised, or thinned, and rounded.",
            REPAIR,
            "Go back to the raw counts",
        )
    if not poor:
        return Finding("depth", found)
    fix = (
        "Take the filtered matrix of Cell Ranger, not the raw one"
        if poor > len(totals) / 2
        else "Look at a histogram of the totals, and drop what is no cell"
    )
    return Finding(
        "depth",
        f"{found} {poor:,} cells have fewer than {FEW_COUNTS}, as empty droplets do.",
        DECIDE,
        fix,
    )


def of_names(adata: ad.AnnData) -> Iterator[Finding]:
    """Say whether each cell and each gene has a name of its own."""
    for what, names, attribute in (
        ("cell names", adata.obs_names, "obs_names"),
        ("gene names", adata.var_names, "var_names"),
    ):
        text = pd.Index([str(name) for name in names])
        missing = names.isna() | text.isin(["", "nan", "None"])
        if missing.any():
            yield Finding(
                what,
                f"{missing.sum():,} of {len(names):,} names are missing, the first at index "
                f"{int(np.argmax(missing))}.",
                REPAIR,
                "Give all of them a name",
                f"adata.{attribute} = [str(name) if name and name == name and name not in ('nan', "
                f"'None') else f'unnamed_{{i}}' for i, name in enumerate(adata.{attribute})]",
            )
        elif text.duplicated().any():
            double = text[text.duplicated()].unique()
            yield Finding(
                what,
                f"Names that are there more than once: {len(double):,}, the first is {double[0]}. "
                "What is looked up by such a name is the wrong thing, or too many.",
                REPAIR,
                "Number them"
                if what == "gene names"
                else "If they are different cells, and not one file read twice, number them",
                f"adata.{attribute}_make_unique()",
            )
        elif not all(isinstance(name, str) for name in names):
            yield Finding(
                what,
                f"The names are {names.dtype}, not text, the first is {names[0]}.",
                REPAIR,
                "Make text of them",
                f"adata.{attribute} = adata.{attribute}.astype(str)",
            )
        else:
            yield Finding(what, f"{len(names):,} different names, from {names[0]} to {names[-1]}.")
