"""Look at cells before scVI is trained on them: what is wrong, what to decide, what it will cost, and the line of Python that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers import data, environment, figures, raw_counts, scaling, training

OK, DECIDE, MEND = "ok", "decide", "mend"

# Lesson 01 selects so many genes, and what a training costs was measured with them.
GENES = scaling.GENES

# With fewer, the tenth that scvi-tools holds out has no cell, and its training stops with a message about a data loader.
FEWEST_CELLS = 10

# The smallest data on which the kit has compared scVI with anything.
FEW_CELLS = 400

# A batch of fewer cells says little about its batch effect: as many as the kit asks for where TotalVI starts from a batch.
FEW_CELLS_IN_A_BATCH = data.FEWEST_CELLS

# The longest lists of human or mouse genes, with all that are not translated, have about 60,000 and 57,000 (GENCODE).
MANY_GENES = 80_000

# More batches than this are rather something else: a number, or the names of the cells.
MANY_BATCHES = 100

# Below this a cell is often an empty droplet.
FEW_COUNTS = 200

# scVI computes with 32-bit floats, which hold whole numbers exactly up to this.
LARGEST_EXACT = 2**24

BATCH_NAMES = re.compile(
    r"batch|sample|donor|patient|subject|individual|mouse|day|date|lane|channel|chip|plate|pool|library|dataset|study|protocol|replicate|\brun",
    re.IGNORECASE,
)
BARCODE = re.compile(r"^(?:[^ACGT]*[_-])?[ACGT]{10,}(?:[-_.].*)?$")

# Genes of nearly every cell, in mouse and man, by which names of genes are told from names of cells.
COMMON_GENES = frozenset(
    {
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
    }
)


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
        "ok"; "decide" (it runs, but look whether you mean it); "mend" (it would fail, or give wrong results).
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


COLUMNS = ("check", "found", "verdict", "what to do", "mending call")


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
        A row a finding: ``found``; ``verdict``: "ok", "decide" (it runs, but look whether you mean it) or "mend"
        (it would fail, or give wrong results); ``what to do``; ``mending call``, the line of Python that does it, where one does.

    Notes
    -----
    Time and memory are those of ``scaling``: measured on one machine, with 2,000 genes.
    """
    findings = list(_of_layout(adata))
    wrong = data.count_problems(adata, layer, batch_key)
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
    mend, decide = (int((report["verdict"] == each).sum()) for each in (MEND, DECIDE))
    decisions = f"{decide} {'thing' if decide == 1 else 'things'} to decide"
    if mend:
        return f"Not ready: {mend} to mend, {decisions}."
    return f"Ready, with {decisions}." if decide else "Ready."


def require_ready(report: pd.DataFrame) -> None:
    """Raise if something must be mended before a training.

    Parameters
    ----------
    report
        What ``check`` returned.

    Raises
    ------
    ValueError
        With a line for each thing to mend: what, where, and what to do.
    """
    rows = report[report["verdict"] == MEND]
    if len(rows):
        lines = [
            f"- {row['found']} {row['what to do']}{': ' + row['mending call'] if row['mending call'] else ''}"
            for _, row in rows.iterrows()
        ]
        raise ValueError("scVI cannot use these data as they are.\n" + "\n".join(lines))


# --- the checks ---------------------------------------------------------------------------------


def _of_problem(problem: data.Problem, adata: ad.AnnData, layer: str | None) -> Finding:
    """Return a problem as a finding; where the counts are gone but can be had back, with that as its cure."""
    if problem.check == "counts" and not problem.call and not data.places_with_counts(adata, layer):
        for place, made_by in raw_counts.places(adata):
            return Finding(
                problem.check,
                f"{problem.found} adata.{place} holds counts that were {made_by}.",
                MEND,
                "They can be had back; then layer = 'counts'",
                f"adata.layers['counts'] = raw_counts.recover(adata.{place})",
            )
    return Finding(problem.check, problem.found, MEND, problem.cure, problem.call)


def _of_layout(adata: ad.AnnData) -> Iterator[Finding]:
    size = f"{adata.n_obs:,} cells x {adata.n_vars:,} genes"
    if _turned(adata):
        yield Finding(
            "size",
            f"{size}: the names of the cells look like genes ({adata.obs_names[0]}), or those of the genes like cells ({adata.var_names[0]}).",
            MEND,
            "Turn the table",
            "adata = adata.T.copy()",
        )
    elif 0 < adata.n_obs < FEWEST_CELLS or adata.n_vars == 1:
        yield Finding(
            "size",
            f"{size}. scVI compares cells by their genes, and holds a tenth of the cells out: it needs many of both, and no fewer than {FEWEST_CELLS} cells.",
            MEND,
            "Load all cells and genes",
        )
    elif 0 < adata.n_obs < FEW_CELLS:
        yield Finding(
            "size",
            f"{size}. So few cells can hardly train a network: nothing smaller than {FEW_CELLS} cells was tried here.",
            DECIDE,
            "Take more cells, or PCA of the log-normalised counts",
        )
    elif adata.n_obs:
        yield Finding("size", size)
    if adata.isbacked:
        yield Finding(
            "storage",
            f"X stays in the file {adata.filename.name}; lesson 07b trains on such a file, with more care.",
            DECIDE,
            "Read it into memory, if it fits",
            "adata = adata.to_memory()",
        )


def _turned(adata: ad.AnnData) -> bool:
    """Tell whether cells and genes seem to have changed places."""
    genes = adata.var_names[:1000].astype(str)
    like_barcodes = np.mean([bool(BARCODE.match(name)) for name in genes]) if len(genes) else 0
    like_genes = COMMON_GENES & set(adata.obs_names.astype(str).str.lower())
    return bool(like_barcodes > 0.5 or (len(like_genes) >= 2 and not _has_common_genes(adata)))


def _has_common_genes(adata: ad.AnnData) -> bool:
    return bool(COMMON_GENES & set(adata.var_names.astype(str).str.lower()))


def _of_counts(adata: ad.AnnData, layer: str | None, empty_cells: bool) -> Iterator[Finding]:
    """Say where the counts are, how they are stored, how deep the cells are, and which genes have none."""
    matrix = data.in_memory(adata.X if layer is None else adata.layers[layer])
    where = data.matrix_name(layer)
    counts = sp.csr_matrix(matrix)
    largest = int(counts.data.max()) if counts.nnz else 0
    zeros = 1 - np.count_nonzero(counts.data) / (counts.shape[0] * counts.shape[1])
    if largest > LARGEST_EXACT:
        yield Finding(
            "counts",
            f"The largest number in {where} is {largest:,}. A 32-bit float holds whole numbers exactly up to {LARGEST_EXACT:,} only, and no cell has so many molecules.",
            MEND,
            "Look where this matrix comes from: sums over many cells and intensities are not counts",
        )
    elif largest == 1:
        yield Finding(
            "counts",
            f"{where} holds 0 and 1 only. Were counts made into yes and no, or is it open chromatin (ATAC)?",
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
            f"{unseen:,} of {adata.n_vars:,} genes have no count in any cell. They are never selected, and take room.",
            DECIDE,
            "Drop them",
            f"adata = adata[:, np.asarray(adata.{where}.sum(axis=0)).ravel() > 0].copy()",
        )


def _of_storage(adata: ad.AnnData, matrix: Any, where: str, largest: int) -> Iterator[Finding]:
    whole = np.issubdtype(matrix.dtype, np.integer)
    # Of a sparse matrix scanpy takes the squares as 64-bit floats.
    if not sp.issparse(matrix) and whole and largest**2 > np.iinfo(matrix.dtype).max:
        yield Finding(
            "storage",
            f"{where} is stored as {matrix.dtype}. scanpy squares the counts in that type when it selects genes; {largest:,} squared overflows "
            "without a word, and other genes are selected.",
            MEND,
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
            f"{where} has every 0 written out: {_megabytes(matrix.nbytes)}. Sparse, it takes {_megabytes(as_csr)}.",
            DECIDE,
            "Make it sparse",
            f"adata.{where} = sp.csr_matrix(adata.{where})",
        )
    elif sp.issparse(matrix) and matrix.format != "csr":
        yield Finding(
            "storage",
            f"{where} is sorted by gene ({matrix.format.upper()}), and a minibatch takes cells: each step looks through all genes.",
            DECIDE,
            "Sort it by cell",
            f"adata.{where} = sp.csr_matrix(adata.{where})",
        )


def _of_depth(counts: sp.csr_matrix) -> Finding:
    totals = np.asarray(counts.sum(axis=1)).ravel()
    poor = int((totals < FEW_COUNTS).sum())
    found = f"Counts of a cell: {figures.about(float(np.median(totals)))} in the middle, from {totals.min():,.0f} to {totals.max():,.0f}."
    if not poor:
        return Finding("depth", found)
    return Finding(
        "depth",
        f"{found} {poor:,} cells have fewer than {FEW_COUNTS}, as empty droplets do.",
        DECIDE,
        "Look at a histogram of the totals, and drop what is no cell",
    )


def _of_names(adata: ad.AnnData) -> Iterator[Finding]:
    for what, names, attribute in (
        ("cell names", adata.obs_names, "obs_names"),
        ("gene names", adata.var_names, "var_names"),
    ):
        text = pd.Index(names.astype(str))
        missing = names.isna() | np.isin(text, ["", "nan", "None"])
        if missing.any():
            yield Finding(
                what,
                f"{missing.sum():,} of {len(names):,} names are missing, the first at place {int(np.argmax(missing))}.",
                MEND,
                "Give all of them a name",
                f"adata.{attribute} = [name if name not in ('', 'nan', 'None') else f'unnamed_{{i}}' for i, name in enumerate(adata.{attribute}.astype(str))]",
            )
        elif text.duplicated().any():
            double = text[text.duplicated()].unique()
            yield Finding(
                what,
                f"{len(double):,} names are there more than once, the first is {double[0]}. What is looked up by name would be ambiguous.",
                MEND,
                "Number them",
                f"adata.{attribute}_make_unique()",
            )
        elif not all(isinstance(name, str) for name in names):
            yield Finding(
                what,
                f"The names are {names.dtype}, not text, the first is {names[0]!r}.",
                MEND,
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
    found = f"obs['{batch_key}'] has {len(sizes):,} {'batch' if len(sizes) == 1 else 'batches'}: {listed}{' ...' if len(sizes) > 8 else ''} cells."
    if len(sizes) == 1:
        yield Finding(
            "batches",
            found,
            DECIDE,
            "Leave it out: one batch has nothing to be compared with",
            "batch_key = None",
        )
    elif len(sizes) > max(2, adata.n_obs // FEW_CELLS_IN_A_BATCH) or len(sizes) > MANY_BATCHES:
        kind = "numbers" if pd.api.types.is_float_dtype(batches) else "different values"
        yield Finding(
            "batches",
            f"{found} So many {kind} are no batches: scVI would give each its own weights.",
            MEND,
            "Name a column with a few batches, or put these values into groups first: pd.cut(...)",
        )
    elif sizes.min() < FEW_CELLS_IN_A_BATCH:
        yield Finding(
            "batches",
            f"{found} A batch of fewer than {FEW_CELLS_IN_A_BATCH} cells says little about its effect.",
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
    if not likely:
        return Finding("batches", "No batches are named, and no column of obs looks like one.")
    return Finding(
        "batches",
        f"No batches are named, but obs['{likely[0]}'] looks like some ({adata.obs[likely[0]].nunique()} values).",
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
            f"There is no column '{label_key}' in obs. Columns: {', '.join(map(str, adata.obs)) or 'none'}.",
            MEND,
            "Name the one with what you know of the cells: label_key=...",
        )
        return
    if batch_key is None or adata.obs[batch_key].nunique() < 2:
        yield Finding(
            "batch and label",
            f"obs['{label_key}'] has {adata.obs[label_key].nunique()} values, and there is one batch.",
        )
        return
    table = shared_labels(adata, batch_key, label_key)
    alone = table[table["batches"] == 1]
    share = alone["cells"].sum() / table["cells"].sum()
    if not len(alone):
        yield Finding(
            "batch and label",
            f"Each of the {len(table)} values of obs['{label_key}'] is in at least two batches.",
        )
        return
    names = ", ".join(map(str, alone.index[:4])) + (" ..." if len(alone) > 4 else "")
    whole = "Batch and label are confounded: no" if len(alone) == len(table) else "For these no"
    yield Finding(
        "batch and label",
        f"{len(alone)} of {len(table)} values of obs['{label_key}'] are in one batch only ({names}), {share:.0%} of the cells. "
        f"{whole} method can tell the batch from the biology (lesson 05c).",
        DECIDE,
        "Do not compare them across batches; better, get cells of each kind in each batch",
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
        A row a label: ``cells``, and ``batches``, how many batches have at least one cell of it.
    """
    table = pd.crosstab(adata.obs[label_key].astype(object), adata.obs[batch_key].astype(object))
    return pd.DataFrame({"cells": table.sum(axis=1), "batches": (table > 0).sum(axis=1)})


def _of_costs(adata: ad.AnnData, batch_key: str | None) -> Iterator[Finding]:
    """Say how many genes to select, and what a training with them takes."""
    if adata.n_vars > MANY_GENES:
        yield Finding(
            "genes",
            f"{adata.n_vars:,} are more than a genome has genes. Are they transcripts, peaks, or genes of two species?",
            DECIDE,
            "Add up the transcripts of each gene; for peaks there is scvi.model.PEAKVI",
        )
    elif adata.n_vars > GENES:
        batch = f", batch_key='{batch_key}'" if batch_key else ""
        yield Finding(
            "genes",
            f"{adata.n_vars:,} genes, of which you select {GENES:,}: genes.select(adata{batch}), see lesson 01.",
        )
    cost = expected(adata.n_obs)
    needed = int(cost["MiB"].max()) * 2**20
    free = environment.available_memory()
    found = f"A training takes about {_megabytes(needed)} more than the cells do; {free / 1e9:.1f} GB are free."
    if needed > free:
        yield Finding(
            "memory",
            found,
            MEND,
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
        A row a preset ("class", "default"): ``epochs``; ``seconds`` of one processor core and ``MiB`` of memory above the imports, both from
        the straight lines of ``scaling``.
    """
    rows = {}
    for preset in scaling.PRESETS[::-1]:
        measured = scaling.load(preset)
        # Below the smallest size that was measured the line may come out below 0; that size is dear enough.
        size = max(n_cells, int(measured["cells"].min()))
        table = scaling.estimate(measured, [size])
        row = table[table["cells"] == size].iloc[-1]
        epochs = training.lengths(n_cells, preset)["epochs"]
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
