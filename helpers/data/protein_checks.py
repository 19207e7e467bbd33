"""Whether a table holds counts of proteins that TotalVI can be trained on."""

from __future__ import annotations

from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd

from helpers.data.count_checks import Problem, batch_problems, listed, number_problems

# TotalVI fits the background of the proteins to 100 cells that it draws from each batch, with
# replacement, if there are more than 10 proteins; training goes on from there. Drawn from 200
# packaged cells, this start varies by 4 to 6 %; if a batch has 20 of them, it is off by 9 to 13 %,
# if it has 5, by 18 to 25 %, and with one cell, by 40 to 60 %. TotalVI takes it as equally sure in
# all cases.
FEWEST_CELLS = 20

MANY_PROTEINS = 10

_NOT_MEASURED = (
    "TotalVI takes that as not measured: it fills in what it expects from other batches, and adds "
    "an adversarial term to the loss, a classifier that guesses the batch."
)


def check_proteins(
    adata: ad.AnnData, key: str = "protein_expression", batch_key: str | None = None
) -> None:
    """Raise unless a table is what TotalVI expects.

    It expects cells x proteins, raw counts, and each protein seen in each batch.

    Parameters
    ----------
    adata
        The data.
    key
        Name of the table in ``obsm``: a DataFrame with the proteins as columns, or a dense array.
        Prefer a DataFrame: anndata then compares the names of its rows with those of the cells, and
        the results of TotalVI have the names of the proteins.
    batch_key
        Column of ``obs`` that names the batch of a cell; None if there is only one batch.

    Raises
    ------
    ValueError
        With one line for each thing that is wrong: what, where, and how to repair it.

    Notes
    -----
    A single protein is enough for TotalVI, and so are cells without any protein count: these
    pass. A batch needs ``FEWEST_CELLS`` cells if there are more than ``MANY_PROTEINS`` proteins.
    """
    problems = [*_layout_problems(adata, key), *batch_problems(adata, batch_key)]
    if not problems:
        table = pd.DataFrame(adata.obsm[key])
        problems = list(_value_problems(table, adata, key)) or list(
            _batch_problems(table, adata, batch_key)
        )
    if problems:
        raise ValueError(
            "TotalVI cannot use these proteins.\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )


def _layout_problems(adata: ad.AnnData, key: str) -> Iterator[str]:
    try:
        tables = dict(adata.obsm)
        rows = getattr(tables.get(key), "index", adata.obs_names)
        in_place = rows.equals(adata.obs_names)
    except ValueError:
        # anndata before 0.13 compares the names whenever obsm is looked at, later ones only when a
        # table is put there.
        tables, in_place = {}, False
    if not in_place:
        yield (
            "A table in obsm has other rows than the cells, or in another order: it was sorted or "
            "renamed after it was put there. Load the data again, and change a copy of the table "
            "only."
        )
        return
    if key not in tables:
        yield (
            f"There is no table '{key}' in obsm. Tables: {listed(tables)}. Name the one with the "
            "proteins."
        )
        return
    table = tables[key]
    if not isinstance(table, pd.DataFrame | np.ndarray) or table.ndim != 2:
        yield (
            f"obsm['{key}'] is a {type(table).__name__}, and neither a DataFrame nor a dense array "
            f"of cells x proteins. Make it one: adata.obsm['{key}'] = pd.DataFrame(..., "
            "index=adata.obs_names, columns=...)."
        )
    elif 0 in table.shape:
        yield (
            f"obsm['{key}'] is empty: {table.shape[0]} cells x {table.shape[1]} proteins. Load the "
            "proteins again, or use SCVI, which needs none."
        )
    else:
        yield from _column_problems(pd.DataFrame(table), key)


def _column_problems(table: pd.DataFrame, key: str) -> Iterator[str]:
    names = table.columns
    if names.isna().any() or (names == "").any():
        column = (names.isna() | (names == "")).argmax()
        yield (
            f"Column {column} of obsm['{key}'] has no name. Name all proteins: "
            f"adata.obsm['{key}'].columns = [...]."
        )
    if names.duplicated().any():
        yield (
            f"More than one column of obsm['{key}'] is called "
            f"{listed(names[names.duplicated()].unique())}. Give each antibody its own name, or "
            "add up the columns."
        )
    # The types of pandas itself, which can have gaps, are none of NumPy's.
    wrong = [not isinstance(each, np.dtype) or each.kind not in "iuf" for each in table.dtypes]
    if any(wrong):
        yield (
            f"No plain numbers but {table.dtypes[wrong].iloc[0]} in obsm['{key}'], in "
            f"{listed(names[wrong])}. Convert it: adata.obsm['{key}'] = "
            f"adata.obsm['{key}'].astype('float32')."
        )


def _value_problems(table: pd.DataFrame, adata: ad.AnnData, key: str) -> Iterator[Problem]:
    def name(number: int) -> str:
        row, column = divmod(number, table.shape[1])
        return f"cell {adata.obs_names[row]}, protein {table.columns[column]}"

    def hint() -> tuple[str, str]:
        return "Go back to the counts of the antibodies (before log1p or a centred log-ratio)", ""

    yield from number_problems(table.to_numpy().ravel(), f"obsm['{key}']", name, hint)


def _batch_problems(table: pd.DataFrame, adata: ad.AnnData, batch_key: str | None) -> Iterator[str]:
    batches = ["of all cells"] * len(table) if batch_key is None else adata.obs[batch_key]
    for name, cells in table.groupby(np.asarray(batches, dtype=str)):
        batch = f"Batch {name}"
        unseen = cells.columns[cells.sum() == 0]
        if len(unseen) == table.shape[1]:
            yield (
                f"{batch} ({len(cells):,} cells) has no count of any protein. {_NOT_MEASURED} If "
                "it was measured, load its proteins. If not, leave the batch out; or, if you want "
                "TotalVI to fill in, train without this check."
            )
        elif len(unseen):
            yield (
                f"{batch} ({len(cells):,} cells) has no count of {listed(unseen)}. "
                f"{_NOT_MEASURED} If it was not measured, drop the protein; if the zeros are real, "
                "train without this check: TOTALVI(adata, override_missing_proteins=True)."
            )
        if len(cells) < FEWEST_CELLS and table.shape[1] > MANY_PROTEINS:
            yield (
                f"{batch} has {len(cells)} cells, fewer than {FEWEST_CELLS}. TotalVI guesses the "
                "background of each protein from cells of the batch before it trains, and from so "
                "few the guess is poor. Take more cells, leave the batch out, or train without "
                "this check: TOTALVI(adata, empirical_protein_background_prior=False)."
            )
