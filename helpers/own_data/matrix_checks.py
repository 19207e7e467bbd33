"""What scVI would meet in the matrix of counts, and in the names of its cells and genes."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers import figures
from helpers.data import count_checks, matrices
from helpers.latent import neighbours
from helpers.own_data import feature_kinds, orientation, raw_counts
from helpers.own_data.findings import DECIDE, REPAIR, Finding, megabytes

# A training holds a tenth of the cells out, and clusters and maps join each cell to its 15 nearest.
FEWEST_CELLS = neighbours.NEIGHBOURS + 1

# The smallest data on which the kit has compared scVI with anything.
FEW_CELLS = 400

# Below this a cell is often an empty droplet.
FEW_COUNTS = 200

# scVI computes with 32-bit floats, which hold whole numbers exactly up to this.
LARGEST_EXACT = 2**24

# A number as the name of a gene: the file had none, or they are in a column.
NUMBER = re.compile(r"^\d+$")

# A cell in which so many genes were counted has one of which there is a single molecule, and most
# genes are like that. If in more than this share of such cells the smallest number is the most
# frequent and is more than 1, numbers were multiplied and rounded.
MANY_SEEN = 20
WITHOUT_A_ONE = 0.02


def of_problem(problem: count_checks.Problem, adata: ad.AnnData, layer: str | None) -> Finding:
    """Return a problem as a finding.

    Where the counts are gone but can be recovered, its fix is to recover them.
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
                "They can be recovered; then layer = 'counts'",
                f"adata.layers['counts'] = raw_counts.recover(adata.{name})",
            )
        if adata.raw is not None and raw_counts.how_made(matrices.in_memory(adata.raw.X)):
            return Finding(
                problem.check,
                f"{problem.found} adata.raw holds more genes, with counts that can be recovered.",
                REPAIR,
                "Take those, and look again",
                "adata = adata.raw.to_adata()",
            )
    return Finding(problem.check, problem.found, REPAIR, problem.fix, problem.call)


def of_layout(adata: ad.AnnData) -> Iterator[Finding]:
    """Say how many cells and genes there are, which way the table lies, and where it is kept."""
    size = f"{adata.n_obs:,} cells x {adata.n_vars:,} genes"
    if orientation.turned_by_names(adata):
        yield Finding(
            "size",
            f"{size}: the names of the cells look like genes ({adata.obs_names[0]}), or those of "
            f"the genes like cells ({adata.var_names[0]}).",
            REPAIR,
            "Turn the table",
            "adata = adata.T.copy()",
        )
    elif orientation.turned_by_numbers(adata):
        yield Finding(
            "size",
            f"{size}. The totals of what should be cells ({adata.obs_names[0]} ...) differ far "
            f"more than those of what should be genes ({adata.var_names[0]} ...), as if a row were "
            "a gene.",
            REPAIR,
            "Turn the table; if its rows are cells, say so: "
            f"adata.uns['{orientation.NOTE}'] = 'columns'",
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


def of_counts(adata: ad.AnnData, layer: str | None, empty_cells: bool) -> Iterator[Finding]:
    """Say where the counts are, how they are stored, how many a cell has, and what has none."""
    matrix = matrices.in_memory(adata.X if layer is None else adata.layers[layer])
    where = matrices.matrix_name(layer)
    counts = matrices.by_cell(matrix)
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
    yield from _of_parts(adata, layer, counts)
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
    yield from feature_kinds.of_features(adata)


def _of_parts(adata: ad.AnnData, layer: str | None, counts: sp.csr_matrix) -> Iterator[Finding]:
    """Say whether another matrix holds all these counts and more.

    Counts of spliced and unspliced molecules are often kept beside those of all.
    """
    total = counts.sum(dtype=np.float64)
    for line in count_checks.matrices_with_counts(adata, layer):
        name = line.partition(" = ")[2]
        if line.startswith("adata"):
            continue
        other = matrices.by_cell(adata.X if name == "None" else adata.layers[literal_eval(name)])
        larger = other.sum(dtype=np.float64)
        if larger > total and (counts > other).nnz == 0:
            yield Finding(
                "counts",
                f"{matrices.matrix_name(layer)} holds {total:,.0f} counts, and "
                f"{matrices.matrix_name(literal_eval(name))} {larger:,.0f}: the same, and more. "
                "The first may be a part, such as spliced molecules only.",
                DECIDE,
                "Take all counts",
                line,
            )
            return


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
    if sp.issparse(matrix) and not sp.isspmatrix(matrix):
        yield Finding(
            "storage",
            f"{where} is one of the new sparse arrays of scipy, which scvi-tools does not take in "
            "all versions.",
            REPAIR,
            "Make it a sparse matrix",
            f"adata.{where} = sp.csr_matrix(adata.{where})",
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
    if why := _made_whole(counts, totals):
        return Finding("depth", f"{found} {why}", REPAIR, "Go back to the raw counts")
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


def _made_whole(counts: sp.csr_matrix, totals: np.ndarray) -> str:
    """Say by what whole numbers are no counts, but were normalised and rounded; empty if not."""
    many = np.flatnonzero(counts.getnnz(axis=1) >= MANY_SEEN)
    multiplied = 0
    for cell in many:
        values = counts.data[counts.indptr[cell] : counts.indptr[cell + 1]]
        numbers, times = np.unique(values[values > 0], return_counts=True)
        often = len(numbers) and times[0] == times.max() and times[0] > times.sum() / 8
        multiplied += bool(often and numbers[0] > 1)
    if multiplied > WITHOUT_A_ONE * len(many):
        return (
            f"In {multiplied:,} cells the most frequent count above 0 is not 1, as in nearly every "
            "cell where molecules were counted, but the smallest that there is: they were "
            "normalised and rounded."
        )
    low, middle, high = np.percentile(totals, [16, 50, 84])
    # Of equal cells the totals still differ by chance, by the square root of the total.
    if totals.min() < totals.max() and middle and (high - low) / 2 < np.sqrt(middle) / 2:
        return (
            "The totals differ by less than chance alone would make them differ: they were "
            "normalised and rounded."
        )
    return ""


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
        elif what == "gene names" and all(map(NUMBER.match, text)):
            yield _of_numbers(adata)
        else:
            yield Finding(what, f"{len(names):,} different names, from {names[0]} to {names[-1]}.")


def _of_numbers(adata: ad.AnnData) -> Finding:
    """Say that genes are called by numbers, and which column of ``var`` may have their names."""
    found = f"The genes are called by numbers, from {adata.var_names[0]} to {adata.var_names[-1]}."
    for name in adata.var:
        values = adata.var[name].astype(object)
        text = all(isinstance(value, str) and not NUMBER.match(value) for value in values)
        if text and values.nunique() > adata.n_vars / 2:
            return Finding(
                "gene names",
                f"{found} var[{name!r}] seems to have their names, such as {values.iloc[0]}.",
                REPAIR,
                "Take those",
                f"adata.var_names = adata.var[{name!r}].astype(str).tolist()",
            )
    return Finding(
        "gene names",
        f"{found} No result can then name a gene.",
        DECIDE,
        "Look for the list of their names where the file was made: adata.var_names = ...",
    )
