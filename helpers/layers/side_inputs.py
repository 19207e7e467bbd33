"""What enters the layers of a model from the side: the batch and other covariates, by name."""

from __future__ import annotations

from collections.abc import Iterator

from helpers.layers import model_anatomy, tracing


def told(anatomy: model_anatomy.Anatomy, path: str) -> dict[str, int | None]:
    """Say which fields of the minibatch enter a learned map directly, and as how many columns.

    Parameters
    ----------
    anatomy
        What the model is made of.
    path
        The path of a learned linear map in its table.

    Returns
    -------
    dict
        Columns by field, in their order. None where they are no columns of their own, such as where
        learned numbers for each batch are added to others. Columns that do not depend on the cell
        are under ``""``, or under the field of which they go through the categories in turn.
    """
    found: dict[str, int | None] = {}
    for part in next(_inputs(anatomy, path), []):
        beside = not part.kinds - {"codes", "lookup", "parameter", "input"}
        if part.columns and beside and len(part.fields) < 2:
            (name,) = part.fields or [_gone_through(anatomy, part.columns)]
            found[name] = (found.get(name) or 0) + part.columns
        else:
            found = dict.fromkeys(part.fields) | found
    return found


def _inputs(anatomy: model_anatomy.Anatomy, path: str) -> Iterator[list[tracing.Part]]:
    for node, data in anatomy.trace.graph.nodes(data=True):
        if data["kind"] == "linear" and model_anatomy.linear_path(anatomy.trace, node) == path:
            yield data["parts"]


def _gone_through(anatomy: model_anatomy.Anatomy, n_categories: int) -> str:
    """Name the field whose categories a model goes through, instead of reading that of the cell."""
    graph = anatomy.trace.graph
    read = {name for _, names in graph.nodes(data="fields") for name in names}
    unread = [
        name
        for name, number in anatomy.covariates.items()
        if number == n_categories and name not in read
    ]
    return unread[0] if len(unread) == 1 else ""


def networks_told(anatomy: model_anatomy.Anatomy, field: str) -> list[str]:
    """Return the networks of which a layer is told a field of the minibatch, such as ``batch``.

    It is told that of the cell; to go through all categories in turn is to be told nothing, and so
    is the only one that there is.
    """
    if anatomy.covariates.get(field) == 1:
        return []
    rows = anatomy.rows()
    rows = rows[rows["role"].isin(["hidden", "head"])]
    of_which = [
        any(field in part.fields for part in next(_inputs(anatomy, path), []))
        for path in rows["path"]
    ]
    return list(rows.loc[of_which, "network"].unique())
