"""Whether a matrix holds raw counts that a model can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import anndata as ad
import numpy as np

from helpers.data.matrices import are_counts, by_cell, layers, matrix_name


@dataclass(frozen=True)
class Problem:
    """Something that keeps a model from using data.

    Attributes
    ----------
    check
        What was looked at: "size", "counts", "empty cells", "batches".
    found
        What is wrong, and where.
    fix
        What to do.
    call
        The line of Python that does it, where one does.
    """

    check: str
    found: str
    fix: str
    call: str = ""

    def __str__(self) -> str:
        return (
            f"{self.found} {self.fix}: {self.call}." if self.call else f"{self.found} {self.fix}."
        )


def check_counts(adata: ad.AnnData, layer: str | None = None, batch_key: str | None = None) -> None:
    """Raise unless a matrix is what scVI expects.

    It expects cells x genes, raw counts, and at least one in every cell.

    Parameters
    ----------
    adata
        The data.
    layer
        Name of the layer that holds the counts; None for ``X``.
    batch_key
        Column of ``obs`` that names the batch of a cell; None if there is only one batch.

    Raises
    ------
    ValueError
        With one line for each thing that is wrong: what, where, and how to repair it.
    """
    problems = count_problems(adata, layer, batch_key)
    if problems:
        raise ValueError(
            "These data are not ready for scVI.\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )


def count_problems(
    adata: ad.AnnData, layer: str | None = None, batch_key: str | None = None
) -> list[Problem]:
    """Return what ``check_counts`` raises for; an empty list if there is nothing.

    Parameters
    ----------
    adata, layer, batch_key
        As for ``check_counts``. The values are looked at only where there is a matrix with values.
    """
    return list(_layout_problems(adata, layer, batch_key)) or list(_value_problems(adata, layer))


def matrices_with_counts(adata: ad.AnnData, layer: str | None = None) -> list[str]:
    """Return the lines of Python that take the other matrices with raw counts.

    The matrix with the largest total comes first.

    Parameters
    ----------
    adata
        Cells x genes.
    layer
        The matrix that is not looked at: a layer, or None for ``X``.
    """
    candidates = {
        f"layer = {name!r}": matrix for name, matrix in layers(adata).items() if name != layer
    }
    if layer is not None and adata.X is not None:
        candidates["layer = None"] = adata.X
    if adata.raw is not None:
        candidates["adata = adata.raw.to_adata()"] = adata.raw.X
    totals = {
        line: float(by_cell(matrix).sum(dtype=np.float64))
        for line, matrix in candidates.items()
        if are_counts(matrix)
    }
    # A layer with a part of the counts, such as those that were not spliced, has a smaller total.
    return sorted(totals, key=totals.__getitem__, reverse=True)


def _layout_problems(
    adata: ad.AnnData, layer: str | None, batch_key: str | None
) -> Iterator[Problem]:
    if 0 in adata.shape:
        yield Problem(
            "size",
            f"The matrix is empty: {adata.n_obs} cells x {adata.n_vars} genes.",
            "Load the data again, or loosen the filter that emptied it",
        )
    if layer is None and adata.X is None:
        others = matrices_with_counts(adata, layer)
        yield Problem(
            "counts",
            f"There is no matrix in X. Layers: {listed(layers(adata))}.",
            "Take the one with the counts" if others else "Name the one with the counts: layer=...",
            others[0] if others else "",
        )
    if layer is not None and layer not in adata.layers:
        there = adata.X is not None
        yield Problem(
            "counts",
            f"There is no layer '{layer}'. Layers: {listed(layers(adata))}.",
            "If X holds the counts" if there else "Name the one with the counts: layer=...",
            f"adata.{matrix_name(layer)} = adata.X.copy()" if there else "",
        )
    yield from batch_problems(adata, batch_key)


def batch_problems(adata: ad.AnnData, batch_key: str | None) -> Iterator[Problem]:
    """Yield what keeps a column of ``obs`` from naming the batch of each cell."""
    if batch_key is None:
        return
    if batch_key not in adata.obs:
        yield Problem(
            "batches",
            f"There is no column '{batch_key}' in obs. Columns: {listed(adata.obs)}.",
            "Name the one with the batches: batch_key=...",
        )
    elif (missing := adata.obs[batch_key].isna().to_numpy()).any():
        yield Problem(
            "batches",
            f"{missing.sum():,} cells have no batch in obs['{batch_key}'], the first is "
            f"{adata.obs_names[missing.argmax()]}.",
            "Drop them",
            f"adata = adata[adata.obs[{batch_key!r}].notna()].copy()",
        )


def _value_problems(adata: ad.AnnData, layer: str | None) -> Iterator[Problem]:
    matrix = adata.X if layer is None else adata.layers[layer]
    where = matrix_name(layer)
    if not np.issubdtype(matrix.dtype, np.number):
        yield Problem(
            "counts",
            f"{where} holds {matrix.dtype}, not numbers.",
            "Convert it",
            f"adata.{where} = adata.{where}.astype('float32')",
        )
        return
    if matrix.dtype == np.float16:
        yield Problem(
            "counts",
            f"{where} holds {matrix.dtype}, numbers of 16 bits: whole numbers only up to 2,048, "
            "and scipy has no sparse matrix of them.",
            "Convert it, and look again. If a count is above 2,048, take another file",
            f"adata.{where} = adata.{where}.astype('float32')",
        )
        return
    # Zeros that are not stored have nothing to check.
    entries = by_cell(matrix)
    values = entries.data

    def name(number: int) -> str:
        row = np.searchsorted(entries.indptr, number, side="right") - 1
        return f"cell {adata.obs_names[row]}, gene {adata.var_names[entries.indices[number]]}"

    def hint() -> tuple[str, str]:
        others = matrices_with_counts(adata, layer)
        if others:
            return "Raw counts seem to be elsewhere; take those", others[0]
        return (
            "Go back to the raw counts (before normalize_total, log1p or scale) and keep them: "
            "adata.layers['counts'] = adata.X.copy(). Estimates of counts (alevin, CellBender, "
            "kallisto, RSEM, salmon, SoupX) may be rounded, or given to scVI as they are",
            "",
        )

    yield from number_problems(values, where, name, hint)
    empty = np.asarray(entries.sum(axis=1)).ravel() == 0
    if empty.all() and not values.any():
        yield Problem(
            "empty cells",
            f"All {adata.n_obs:,} cells have no count at all in {where}.",
            "Take another matrix, or load the data again",
        )
    elif empty.any() and not (values < 0).any():
        yield Problem(
            "empty cells",
            f"{empty.sum():,} cells without any count in {where}, the first is "
            f"{adata.obs_names[empty.argmax()]}. scVI takes the logarithm of a cell's total, and 0 "
            "has none.",
            "Keep only cells with a count",
            f"adata = adata[np.asarray(adata.{where}.sum(axis=1)).ravel() > 0].copy()",
        )


def number_problems(
    values: np.ndarray, where: str, name: Callable[[int], str], hint: Callable[[], tuple[str, str]]
) -> Iterator[Problem]:
    """Yield what keeps numbers from being counts.

    ``name`` names cell and feature of an entry by its index, ``hint`` gives fix and call.
    """

    def found(wrong: np.ndarray) -> str:
        first = int(wrong.argmax())
        return (
            f"{wrong.sum():,} entries of {where}, the first is {values[first]:.6g} ({name(first)})"
        )

    finite = np.isfinite(values)
    negative = finite & (values < 0)
    fractional = finite & (values != np.rint(values))
    if not finite.all():
        yield Problem(
            "counts",
            f"Not a number or infinite: {found(~finite)}.",
            "Find the step that made them; do not replace them with zeros unseen",
        )
    if negative.any():
        yield Problem(
            "counts",
            f"Negative: {found(negative)}. The matrix was scaled or centred.",
            *hint(),
        )
    elif fractional.any():
        yield Problem(
            "counts",
            f"Not whole numbers: {found(fractional)}. The matrix was normalised or "
            "log-transformed, or holds estimated counts.",
            *hint(),
        )


def listed(names: Iterable[object]) -> str:
    """Return names in quotes with commas between them, or "none"."""
    return ", ".join(f"'{name}'" for name in names) or "none"
