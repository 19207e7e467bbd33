"""Look at cells before scVI is trained on them.

The report says what is wrong and which line of Python repairs it, what to decide, and what it will
cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple

import anndata as ad
import pandas as pd

from helpers.data import count_checks
from helpers.own_data import batch_checks, cost_checks, matrix_checks, rehearsal, writing
from helpers.own_data.findings import DECIDE, OK, REPAIR, Finding

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
    Where nothing must be repaired, the way of ``scripts/my_run.py`` is rehearsed: genes are
    selected among all cells, and a hundred cells are set up, trained for two steps, written and
    read again. What fails there must be repaired, too.

    Time and memory are those of ``scaling``: measured on one machine, with 2,000 genes.
    """
    findings = list(matrix_checks.of_layout(adata))
    wrong = count_checks.count_problems(adata, layer, batch_key)
    findings += [matrix_checks.of_problem(each, adata, layer) for each in wrong]
    seen = {each.check for each in wrong}
    if not {"size", "counts"} & seen:
        findings += matrix_checks.of_counts(adata, layer, empty_cells="empty cells" in seen)
    if 0 not in adata.shape:
        findings += matrix_checks.of_names(adata)
        named = None if "batches" in seen else batch_key
        if "batches" not in seen:
            findings += batch_checks.of_batches(adata, batch_key)
        findings += [
            *batch_checks.of_labels(adata, named, label_key),
            *cost_checks.of_costs(adata, named),
        ]
    findings += _of_reading(adata)
    if all(each.verdict != REPAIR for each in findings):
        findings += rehearsal.of_rehearsal(adata, layer, batch_key)
    table = pd.DataFrame([astuple(each) for each in findings], columns=COLUMNS)
    return table.set_index("check")


def _of_reading(adata: ad.AnnData) -> Iterator[Finding]:
    """Say what was changed, or left out, when the file was read."""
    notes = [str(note) for note in adata.uns.get(writing.NOTES, [])]
    if not notes:
        return
    lost = any(writing.LOST in note or "are left out" in note for note in notes)
    found = " ".join(notes[:6]) + (f" And {len(notes) - 6} more." if len(notes) > 6 else "")
    yield Finding(
        "file", found, *([DECIDE, "Nothing, if you do not need what is left out"] if lost else [])
    )


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
