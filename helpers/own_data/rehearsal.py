"""Go the whole way of the script on a few cells, before it is said that cells are ready.

Genes are selected among all cells, as the script does; then a small part of the cells is set up,
trained for two steps, written to a file and read again.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scvi
from lightning.pytorch.utilities.seed import isolate_rng

from helpers.data import count_checks, matrices
from helpers.genes import selection
from helpers.own_data import writing
from helpers.own_data.findings import DECIDE, REPAIR, Finding
from helpers.scale import scaling

# Enough for two minibatches, and for a cell of each of some dozen batches.
CELLS = 100

# In at least so many cells a gene is to be seen, where the curve of the variance has to be had.
SEEN_IN = (3, 5, 10, 20)

# Under these names the script keeps its results.
OBSM, OBS = ("X_scVI", "X_umap"), ("scvi_cluster",)


def of_rehearsal(adata: ad.AnnData, layer: str | None, batch_key: str | None) -> list[Finding]:
    """Say at which step a run with these cells would fail; nothing if at none.

    Parameters
    ----------
    adata, layer, batch_key
        As for ``preflight.check``, which has found nothing that must be repaired.
    """
    # Random numbers go on as if nothing had been trained here, so that a report changes no result.
    with isolate_rng(), _silence():
        return list(_steps(adata, layer, batch_key))


def _steps(adata: ad.AnnData, layer: str | None, batch_key: str | None) -> Iterator[Finding]:
    adata, changed = writing.writeable(adata)
    lost = [note for note in changed if writing.LOST in note]
    selected, findings = _selected(adata, layer, batch_key)
    yield from findings
    if selected is None:
        return
    problems = count_checks.count_problems(selected, "counts", batch_key)
    if problems:
        yield _of_selected(selected, adata, layer, problems[0])
        return
    cells = _few(adata, batch_key)
    for step, attempt in (
        ("Two steps of training", lambda: _train(selected[cells].copy(), batch_key)),
        ("Writing the result, and reading it again", lambda: lost.extend(_kept(adata, cells))),
    ):
        try:
            attempt()
        except Exception as error:  # whatever would end the script
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield Finding(
                "rehearsal",
                f"{step} failed with {len(cells)} of the cells: {type(error).__name__}: {why}",
                REPAIR,
                "Look at what the message names; what the training does not need may be left out: "
                "adata = ad.AnnData(adata.X, obs=adata.obs, var=adata.var)",
            )
            return
    if lost:
        yield Finding(
            "rehearsal",
            "Not all of the file can be kept with the result. " + " ".join(lost),
            DECIDE,
            "Nothing, if you do not need it there; your file stays as it is",
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Print nothing inside this block."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "scvi")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# --- the steps ----------------------------------------------------------------------------------


def _as_in_the_script(adata: ad.AnnData, layer: str | None) -> ad.AnnData:
    counts = matrices.in_memory(adata.X if layer is None else adata.layers[layer])
    obs = pd.DataFrame(adata.obs).copy(deep=False)
    return ad.AnnData(obs=obs, var=adata.var[[]].copy(), layers={"counts": counts})


def _selected(
    adata: ad.AnnData, layer: str | None, batch_key: str | None
) -> tuple[ad.AnnData | None, list[Finding]]:
    """Select genes as the script does; return None where that fails, and what is to be said."""
    selected = _as_in_the_script(adata, layer)
    if selected.n_vars <= scaling.GENES:
        return selected, []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            selection.select(selected, scaling.GENES, batch_key)
        except Exception as error:  # whatever would end the script
            return None, [_without_selection(adata, layer, batch_key, error)]
    of_batches = [str(each.message) for each in said if selection.RANKED in str(each.message)]
    return selected, [
        Finding(
            "genes",
            text,
            DECIDE,
            "Nothing, if that is all right with you; or join small batches that were handled "
            "together",
        )
        for text in of_batches
    ]


def _without_selection(
    adata: ad.AnnData, layer: str | None, batch_key: str | None, error: Exception
) -> Finding:
    found = f"No genes can be selected. {str(error).splitlines()[0]}"
    where = matrices.matrix_name(layer)
    seen = matrices.by_cell(adata.X if layer is None else adata.layers[layer]).getnnz(axis=0)
    for cells in SEEN_IN:
        fewer = adata[:, seen >= cells].copy()
        with contextlib.suppress(Exception):  # then more is taken away
            trial = _as_in_the_script(fewer, layer)
            if trial.n_vars > scaling.GENES:
                selection.select(trial, scaling.GENES, batch_key)
            elif not trial.n_vars:
                break
            return Finding(
                "genes",
                found,
                REPAIR,
                f"Keep the genes that at least {cells} cells have",
                f"adata = adata[:, np.asarray((adata.{where} > 0).sum(axis=0)).ravel() >= {cells}]"
                ".copy()",
            )
    return Finding("genes", found, REPAIR, "Take more cells, or cells with more counts")


def _of_selected(
    selected: ad.AnnData, adata: ad.AnnData, layer: str | None, problem: count_checks.Problem
) -> Finding:
    """Say what is wrong with the selected genes: cells that have none of them."""
    where = matrices.matrix_name(layer)
    empty = matrices.by_cell(selected.layers["counts"]).sum(axis=1).A1 == 0
    if not empty.any():
        return Finding("rehearsal", problem.found, REPAIR, problem.fix)
    totals = np.asarray((adata.X if layer is None else adata.layers[layer]).sum(axis=1)).ravel()
    least = int(totals[empty].max()) + 1
    return Finding(
        "empty cells",
        f"{empty.sum():,} cells have counts, but none of the {selected.n_vars:,} genes that are "
        f"selected, the first is {adata.obs_names[empty.argmax()]}. scVI takes the logarithm of a "
        "cell's total, and 0 has none.",
        REPAIR,
        f"Keep the cells with at least {least:,} counts "
        f"({(totals >= least).sum():,} of {len(totals):,})",
        f"adata = adata[np.asarray(adata.{where}.sum(axis=1)).ravel() >= {least}].copy()",
    )


def _few(adata: ad.AnnData, batch_key: str | None) -> np.ndarray:
    """Return which cells are taken: some of all, and some of each batch."""
    rows = set(np.linspace(0, adata.n_obs - 1, min(CELLS, adata.n_obs)).astype(int))
    if batch_key is not None:
        first = ~adata.obs[batch_key].astype(str).duplicated().to_numpy()
        rows |= set(np.flatnonzero(first)[:CELLS])
    return np.array(sorted(rows))


def _train(few: ad.AnnData, batch_key: str | None) -> None:
    scvi.model.SCVI.setup_anndata(few, layer="counts", batch_key=batch_key)
    model = scvi.model.SCVI(few)
    try:
        model.train(
            max_epochs=1,
            train_size=1.0,
            batch_size=-(-few.n_obs // 2),
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )
        if not np.isfinite(model.get_latent_representation()).all():
            raise ValueError("the latent space holds values that are no numbers")
    finally:
        model.deregister_manager()


def _kept(adata: ad.AnnData, cells: np.ndarray) -> list[str]:
    """Write cells with results, read them again, and return what is missing."""
    few = adata[cells].copy()
    before = _names(few)
    make_room(few)
    for name in OBSM:
        few.obsm[name] = np.zeros((few.n_obs, 2), dtype=np.float32)
    few.obs[OBS[0]] = "0"
    with tempfile.TemporaryDirectory() as folder:
        notes = writing.write(Path(folder) / "cells.h5ad", few)
        again = ad.read_h5ad(Path(folder) / "cells.h5ad")
    said = " ".join(notes)
    missing = sorted(before - _names(again) - {*OBS, *OBSM})
    return [f"{name} is not in the file." for name in missing if repr(name) not in said]


def _names(adata: ad.AnnData) -> set[str]:
    parts = (adata.obs, adata.var, *(getattr(adata, name) for name in writing.MAPPINGS))
    return {str(name) for part in parts for name in part if name is not None}


def make_room(adata: ad.AnnData) -> None:
    """Give what a file has under the names of the results another name, in place.

    Parameters
    ----------
    adata
        Cells x genes. ``obsm["X_umap"]``, say, is then ``obsm["X_umap_of_file"]``.
    """
    for part, names in ((adata.obsm, OBSM), (adata.obs, OBS)):
        for name in names:
            if name in part:
                part[f"{name}_of_file"] = part[name]
                del part[name]
