"""How many genes to select, and what a training with them takes."""

from __future__ import annotations

from collections.abc import Iterator

import anndata as ad
import pandas as pd

from helpers import environment, figures
from helpers.own_data.findings import DECIDE, REPAIR, Finding, megabytes
from helpers.scale import scaling
from helpers.training import schedules

# Lesson 01 selects so many genes, and what a training costs was measured with them.
GENES = scaling.GENES

# The longest lists of human or mouse genes, with all that are not translated, have about 60,000 and
# 57,000 (GENCODE).
MANY_GENES = 80_000


def of_costs(adata: ad.AnnData, batch_key: str | None) -> Iterator[Finding]:
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
        batch = f", batch_key={batch_key!r}" if batch_key else ""
        yield Finding(
            "genes",
            f"{adata.n_vars:,} genes, of which you select {GENES:,}: genes.select(adata{batch}), "
            "see lesson 01.",
        )
    cost = expected(adata.n_obs)
    needed = int(cost["MiB"].max()) * 2**20
    free = environment.available_memory()
    found = (
        f"Cells of {GENES:,} genes and their training take about {megabytes(needed)}; "
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
        # Below the smallest size that was measured the line may come out below 0; that size is
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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{figures.about(seconds, 1)} s"
    return (
        f"{figures.about(seconds / 60, 1)} min" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    )
