"""Look at cells before scVI is trained on them.

What is wrong, what to decide, what it will cost, and the line of Python that repairs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers import environment, figures
from helpers.data import count_checks, matrices, protein_checks
from helpers.latent import neighbours
from helpers.own_data import raw_counts
from helpers.scale import scaling
from helpers.training import schedules

OK, DECIDE, REPAIR = "ok", "decide", "repair"

# Lesson 01 selects so many genes, and what a training costs was measured with them.
GENES = scaling.GENES

# A training holds a tenth of the cells out, and clusters and maps join each cell to its 15 nearest.
FEWEST_CELLS = neighbours.NEIGHBOURS + 1

# The smallest data on which the kit has compared scVI with anything.
FEW_CELLS = 400

# A batch of fewer cells says little about its batch effect: as many as the kit asks for where
# TotalVI starts from a batch.
FEW_CELLS_IN_A_BATCH = protein_checks.FEWEST_CELLS

# The longest lists of human or mouse genes, with all that are not translated, have about 60,000 and
# 57,000 (GENCODE).
MANY_GENES = 80_000

# More batches than this are rather something else: a number, or the names of the cells.
MANY_BATCHES = 100

# Below this a cell is often an empty droplet.
FEW_COUNTS = 200

# scVI computes with 32-bit floats, which hold whole numbers exactly up to this.
LARGEST_EXACT = 2**24

BATCH_NAMES = re.compile(
    r"batch|sample|orig\.?ident|donor|patient|subject|individual|animal|mouse|day|date|lane|channel|"
    r"gem|chip|plate|well|pool|library|dataset|study|experiment|protocol|replicate|\brun",
    re.IGNORECASE,
)
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

# Cell Ranger joins samples and tells them apart by a number behind the barcode.
SAMPLE_NUMBER = re.compile(r"^[ACGT]{10,}-(\d+)$")

# A label of which more than this share of cells is in one batch is as good as in that batch alone;
# one stray cell changes nothing.
NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes
    ----------
    check
        What was looked at.
    found
        What there is, and where.
    verdict
        "ok"; "decide" (it runs, but look whether you mean it); "repair" (it would fail, or give
        wrong results).
    advice
        What to do; empty if nothing.
    call
        The line of Python that does it; empty if no line can.
    """

    check: str
    found: str
    verdict: str = OK
    advice: str = ""
    call: str = ""


COLUMNS = ("check", "found", "verdict", "what to do", "line of Python")


def check(
    adata: ad.AnnData,
    layer: str | None = None,
    batch_key: str | None = None,
    label_key: str | None = None,
) -> pd.DataFrame:
    """Report what scVI would meet in these cells. Nothing is changed.

    Parameters
    ----------
    adata
        Cells x genes.
    layer
        Name of the layer that holds the counts; None for ``X``.
    batch_key
        Column of ``obs`` that names the batch of a cell; None if there is only one batch.
    label_key
        Column of ``obs`` with what you know of a cell, such as its type; None if there is none.

    Returns
    -------
    DataFrame
        One row per finding: ``found``; ``verdict``: "ok", "decide" (it runs, but look whether you
        mean it) or "repair" (it would fail, or give wrong results); ``what to do``; ``line of
        Python``, which does it, where one does.

    Notes
    -----
    Time and memory are those of ``scaling``: measured on one machine, with 2,000 genes.
    """
    findings = list(_of_layout(adata))
    wrong = count_checks.count_problems(adata, layer, batch_key)
    findings += [_of_problem(each, adata, layer) for each in wrong]
    seen = {each.check for each in wrong}
    if not {"size", "counts"} & seen:
        findings += _of_counts(adata, layer, empty_cells="empty cells" in seen)
    if 0 not in adata.shape:
        findings += _of_names(adata)
        named = None if "batches" in seen else batch_key
        if "batches" not in seen:
            findings += _of_batches(adata, batch_key)
        findings += [*_of_labels(adata, named, label_key), *_of_costs(adata, named)]
    table = pd.DataFrame([astuple(each) for each in findings], columns=COLUMNS)
    return table.set_index("check")


def verdict(report: pd.DataFrame) -> str:
    """Say in one sentence whether the cells are ready.

    Parameters
    ----------
    report
        What ``check`` returned.
    """
    repair, decide = (int((report["verdict"] == each).sum()) for each in (REPAIR, DECIDE))
    decisions = f"{decide} {'thing' if decide == 1 else 'things'} to decide"
    if repair:
        return f"Not ready: {repair} to repair, {decisions}."
    return f"Ready, with {decisions}." if decide else "Ready."


def text(report: pd.DataFrame) -> str:
    """Return what is not ok as lines: what, where, and what to do.

    Parameters
    ----------
    report
        What ``check`` returned.
    """
    lines = []
    for row in report[report["verdict"] != OK].to_dict("records"):
        fix = ": ".join(part for part in (row["what to do"], row["line of Python"]) if part)
        lines.append(f"- {row['verdict']}: {row['found']} {fix}")
    return "\n".join(lines)


def require_ready(report: pd.DataFrame) -> None:
    """Raise if something must be repaired before a training.

    Parameters
    ----------
    report
        What ``check`` returned.

    Raises
    ------
    ValueError
        With a line for each thing to repair: what, where, and what to do.
    """
    wrong = report[report["verdict"] == REPAIR]
    if len(wrong):
        raise ValueError(f"scVI cannot use these data as they are.\n{text(wrong)}")


# --- the checks ---------------------------------------------------------------------------------


def _of_problem(problem: count_checks.Problem, adata: ad.AnnData, layer: str | None) -> Finding:
    """Return a problem as a finding.

    Where the counts are gone but can be had back, with that as its fix.
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


def _of_layout(adata: ad.AnnData) -> Iterator[Finding]:
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


def _of_counts(adata: ad.AnnData, layer: str | None, empty_cells: bool) -> Iterator[Finding]:
    """Say where the counts are, how they are stored, and how many cells and genes have."""
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
    yield from _of_storage(adata, matrix, where, largest)
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


def _of_storage(adata: ad.AnnData, matrix: Any, where: str, largest: int) -> Iterator[Finding]:
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
            f"{where} has every 0 written out: {_megabytes(matrix.nbytes)}. Sparse, it takes "
            f"{_megabytes(as_csr)}.",
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


def _of_names(adata: ad.AnnData) -> Iterator[Finding]:
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


def _of_batches(adata: ad.AnnData, batch_key: str | None) -> Iterator[Finding]:
    if batch_key is None:
        yield _of_unnamed_batches(adata)
        return
    batches = pd.Series(adata.obs[batch_key])
    sizes = batches.value_counts()
    sizes = sizes[sizes > 0]
    listed = ", ".join(f"{name} {size:,}" for name, size in sizes.head(8).items())
    found = (
        f"obs['{batch_key}'] has {len(sizes):,} {'batch' if len(sizes) == 1 else 'batches'}: "
        f"{listed}{' ...' if len(sizes) > 8 else ''} cells."
    )
    if len(sizes) == 1:
        yield Finding(
            "batches",
            found,
            DECIDE,
            "Leave it out: one batch has nothing to be compared with",
            "batch_key = None",
        )
    elif len(sizes) > max(2, adata.n_obs // FEW_CELLS_IN_A_BATCH):
        kind = "numbers" if pd.api.types.is_float_dtype(batches) else "different values"
        yield Finding(
            "batches",
            f"{found} So many {kind} are no batches: scVI would give each its own weights.",
            REPAIR,
            "Name a column with a few batches, or put these values into groups first: pd.cut(...)",
        )
    elif sizes.min() < FEW_CELLS_IN_A_BATCH:
        yield Finding(
            "batches",
            f"{found} A batch of fewer than {FEW_CELLS_IN_A_BATCH} cells says little about its "
            "effect.",
            DECIDE,
            "Join small batches that were handled together, or leave them out",
        )
    else:
        yield Finding("batches", found)


def _of_unnamed_batches(adata: ad.AnnData) -> Finding:
    likely = [
        name
        for name in adata.obs.columns
        if BATCH_NAMES.search(str(name)) and 1 < adata.obs[name].nunique() <= MANY_BATCHES
    ]
    numbers = [
        found[1] for name in map(str, adata.obs_names) if (found := SAMPLE_NUMBER.match(name))
    ]
    if not likely and len(numbers) == adata.n_obs and len(set(numbers)) > 1:
        return Finding(
            "batches",
            f"No batches are named, but the names of the cells end in {len(set(numbers))} numbers, "
            "as those of joined samples do.",
            DECIDE,
            "Make a column of them, and name it: batch_key = 'sample'",
            "adata.obs['sample'] = adata.obs_names.str.rsplit('-', n=1).str[-1]",
        )
    if not likely:
        return Finding("batches", "No batches are named, and no column of obs looks like one.")
    return Finding(
        "batches",
        f"No batches are named, but obs['{likely[0]}'] looks like some "
        f"({adata.obs[likely[0]].nunique()} values).",
        DECIDE,
        "If its cells were handled apart, name it",
        f"batch_key = '{likely[0]}'",
    )


def _of_labels(
    adata: ad.AnnData, batch_key: str | None, label_key: str | None
) -> Iterator[Finding]:
    if label_key is None:
        return
    if label_key not in adata.obs:
        yield Finding(
            "batch and label",
            f"There is no column '{label_key}' in obs. Columns: "
            f"{', '.join(map(str, adata.obs)) or 'none'}.",
            REPAIR,
            "Name the one with what you know of the cells: label_key=...",
        )
        return
    labels = adata.obs[label_key]
    found = (
        f"obs['{label_key}'] has {labels.nunique():,} values, and {labels.isna().sum():,} cells "
        "have none."
    )
    if labels.nunique() < 2:
        yield Finding(
            "batch and label",
            found,
            DECIDE,
            "One value says nothing; leave it out",
            "label_key = None",
        )
    elif batch_key is None or adata.obs[batch_key].nunique() < 2:
        yield Finding("batch and label", f"{found} There are no two batches to compare it with.")
    else:
        yield _of_design(adata, batch_key, label_key)


def _of_design(adata: ad.AnnData, batch_key: str, label_key: str) -> Finding:
    """Say whether batches and labels can be told apart.

    Whether each label is in more batches, and each batch has more labels.
    """
    table = shared_labels(adata, batch_key, label_key)
    alone = table[table["in one batch"]]
    if len(alone):
        share = alone["cells"].sum() / table["cells"].sum()
        names = ", ".join(map(str, alone.index[:4])) + (" ..." if len(alone) > 4 else "")
        whole = "Batch and label are confounded: no" if len(alone) == len(table) else "For these no"
        return Finding(
            "batch and label",
            f"{len(alone)} of {len(table)} values of obs['{label_key}'] are in one batch only, or "
            f"nearly so ({names}), {share:.0%} of the cells. {whole} method can tell the batch "
            "from the biology (lesson 05c).",
            DECIDE,
            "Do not compare them across batches; better, get cells of each kind in each batch",
        )
    labels_of_batch = adata.obs.groupby(adata.obs[batch_key].astype(str))[label_key].nunique()
    if (labels_of_batch <= 1).all():
        return Finding(
            "batch and label",
            f"Each of the {len(labels_of_batch)} batches has one value of obs['{label_key}'] only, "
            "as with donors who are ill or well. What differs between values also differs between "
            "batches, and batch_key takes some of it away (lesson 05c).",
            DECIDE,
            "Compare donors, not cells; and train without batch_key as well",
        )
    return Finding(
        "batch and label",
        f"Each of the {len(table)} values of obs['{label_key}'] is in at least two batches.",
    )


def shared_labels(adata: ad.AnnData, batch_key: str, label_key: str) -> pd.DataFrame:
    """Count in how many batches each label is.

    Parameters
    ----------
    adata
        Cells x genes.
    batch_key, label_key
        Columns of ``obs``. Cells without a label are left out.

    Returns
    -------
    DataFrame
        One row per label: ``cells``; ``batches``, how many batches have at least one cell of it;
        and ``in one batch``, whether one batch has all of them, or more than 95 % of them though it
        has less than 80 % of all cells.
    """
    table = pd.crosstab(adata.obs[label_key].astype(object), adata.obs[batch_key].astype(object))
    largest = table.max(axis=1) / table.sum(axis=1)
    of_all = (table.sum(axis=0) / table.to_numpy().sum())[table.idxmax(axis=1)].to_numpy()
    return pd.DataFrame(
        {
            "cells": table.sum(axis=1),
            "batches": (table > 0).sum(axis=1),
            "in one batch": (largest == 1) | ((largest > NEARLY_ALL) & (of_all < 0.8)),
        }
    )


def _of_costs(adata: ad.AnnData, batch_key: str | None) -> Iterator[Finding]:
    """Say how many genes to select, and what a training with them takes."""
    if adata.n_vars > MANY_GENES:
        yield Finding(
            "genes",
            f"{adata.n_vars:,} are more than a genome has genes. Are they transcripts, peaks, or "
            "genes of two species?",
            DECIDE,
            "Add up the transcripts of each gene; for peaks there is scvi.model.PEAKVI",
        )
    elif adata.n_vars > GENES:
        batch = f", batch_key='{batch_key}'" if batch_key else ""
        yield Finding(
            "genes",
            f"{adata.n_vars:,} genes, of which you select {GENES:,}: genes.select(adata{batch}), "
            "see lesson 01.",
        )
    cost = expected(adata.n_obs)
    needed = int(cost["MiB"].max()) * 2**20
    free = environment.available_memory()
    found = (
        f"Cells of {GENES:,} genes and their training take about {_megabytes(needed)}; "
        f"{free / 1e9:.1f} GB are free."
    )
    if needed > free:
        yield Finding(
            "memory",
            found,
            REPAIR,
            "Close other notebooks (Kernel > Shut Down All Kernels), or take a part of the cells",
        )
    else:
        yield Finding("memory", found)
    said = "; ".join(
        f"{preset} preset {row['epochs']:.0f} epochs, about {_duration(row['seconds'])}"
        for preset, row in cost.iterrows()
    )
    yield Finding("time", f"With {GENES:,} genes on one core: {said}.")


def expected(n_cells: int) -> pd.DataFrame:
    """Return what a training of so many cells x 2,000 genes takes.

    Parameters
    ----------
    n_cells
        Number of cells.

    Returns
    -------
    DataFrame
        One row per preset ("class", "default"): ``epochs``; ``seconds`` of one processor core and
        ``MiB`` of memory above the imports, both from the straight lines of ``scaling``.
    """
    rows = {}
    for preset in scaling.PRESETS[::-1]:
        measured = scaling.load(preset)
        # Below the smallest size that was measured the line may come out below 0; that size is dear
        # enough.
        size = max(n_cells, int(measured["cells"].min()))
        table = scaling.estimate(measured, [size])
        row = table[table["cells"] == size].iloc[-1]
        epochs = schedules.run_length(n_cells, preset)["epochs"]
        rows[preset] = {
            "epochs": epochs,
            "seconds": epochs * row["epoch seconds"],
            "MiB": row["peak MiB"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("preset")


def _megabytes(n_bytes: float) -> str:
    return f"{figures.about(n_bytes / 1e6, 2)} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{figures.about(seconds, 1)} s"
    return (
        f"{figures.about(seconds / 60, 1)} min" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    )
