"""Which cells of a lesson one of its cells needs, told from the names in them."""

import ast
from collections.abc import Sequence


def needed(sources: Sequence[str], last: int, given: str = "") -> list[int]:
    """Return the places of the cells to run for the cell at ``last``, in order, itself included.

    A cell is needed where it binds a name that a needed cell after it uses, and that the code
    ``given``, run just before the last cell, does not bind, and where it trains a model or sets
    cells up that have such a name. A name that is bound twice brings both cells: one too many does
    no harm.
    """
    used = names(sources[last], ast.Load) - names(given, ast.Store) | names(given, ast.Load)
    chosen = [last]
    for number in reversed(range(last)):
        if (names(sources[number], ast.Store) | changed(sources[number])) & used:
            used |= names(sources[number], ast.Load)
            chosen.insert(0, number)
    return chosen


def changed(source: str) -> set[str]:
    """Return the names of what a cell changes.

    So do ``training.train(model)`` and ``SCVI.setup_anndata(adata)``.
    """
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    changing = [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("train", "setup_anndata")
    ]
    objects = [each for call in changing for each in (call.func.value, *call.args)]
    return {each.id for each in objects if isinstance(each, ast.Name)}


def names(source: str, how: type[ast.expr_context]) -> set[str]:
    """Return the names that a cell uses (``ast.Load``) or binds (``ast.Store``), imports too."""
    nodes = list(ast.walk(ast.parse(source)))
    found = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, how)}
    if how is ast.Store:
        imported = [node for node in nodes if isinstance(node, ast.alias)]
        found |= {node.asname or node.name.partition(".")[0] for node in imported}
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return found
