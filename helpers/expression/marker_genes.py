"""The first genes of each class, and how many of them are known markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

# Genes of the cortex data whose counts are higher in a class. The list is not independent of a test
# of these cells: it was made from the named genes with the strongest Wilcoxon test of the published
# classes, and from what is known of them. So it is partly circular to count how many of these genes
# a Wilcoxon test finds again. Some need no test of these cells: Plp1, Mbp, Cnp and Mobp belong to
# myelin, Slc1a2 takes up glutamate into astrocytes, Abat breaks down GABA, B2m is a part of MHC
# class I, Slc2a1 carries glucose through the walls of the vessels of the brain. Snap25 is in all
# neurons, and says only that a cell is one.
KNOWN: dict[str, tuple[str, ...]] = {
    "oligodendrocytes": ("Plp1", "Mbp", "Ugt8a", "Cnp", "Mobp"),
    "astrocytes_ependymal": ("Clu", "Mt1", "Slc1a2", "Atp1a2"),
    "interneurons": ("Nap1l5", "Cplx1", "Rab3c", "Abat"),
    "microglia": ("Ftl1", "B2m", "Ctsd", "Grn"),
    "pyramidal CA1": ("Cpne6", "Crym", "Gria1", "Neurod6"),
    "pyramidal SS": ("Pcsk2", "Mef2c", "Snap25", "Nrn1"),
    "endothelial-mural": ("Hes1", "Bsg", "Slc2a1"),
}

# What helpers.data calls a gene of which no symbol is known.
PLACEHOLDER = "unnamed_"


def top(table: pd.DataFrame, n: int = 5, named: bool = False) -> pd.DataFrame:
    """Return the names of the first genes of each class.

    Parameters
    ----------
    table
        What ``one_vs_rest`` or ``wilcoxon`` returned.
    n
        How many genes of each class.
    named
        Whether to pass over the genes that have only a placeholder name.

    Returns
    -------
    DataFrame
        One row per class, one column per place, from 1 to ``n``.

    Raises
    ------
    ValueError
        If a class has fewer genes than that.
    """
    if named:
        table = table.loc[~_is_placeholder(table["gene"])]
    genes = {name: rows["gene"].head(n).tolist() for name, rows in table.groupby("class")}
    if n < 1 or not genes or min(map(len, genes.values())) < n:
        raise ValueError(
            f"There are no {n} {'named ' * named}genes in each class. What to do: ask for fewer, "
            "and at least 1."
        )
    return pd.DataFrame.from_dict(genes, orient="index", columns=range(1, n + 1)).rename_axis(
        index="class", columns="place"
    )


def agreement(
    tables: Mapping[str, pd.DataFrame],
    known: Mapping[str, Sequence[str]] = KNOWN,
    n: int = 5,
    named: bool = True,
) -> pd.DataFrame:
    """Count the known markers among the top genes of each method, and the genes that methods share.

    A gene that has only a placeholder name cannot be found in a list of names: it is neither right
    nor wrong. So the top genes are by default those among the named genes.

    **What it cannot say.** Which method is better. ``KNOWN`` was made with a Wilcoxon test of the
    cortex cells, and so, it seems, was the choice of the genes that have a name there: 90 of the
    2,000 selected genes have one, but all 35 of the top 5 of the seven classes by Wilcoxon test.
    Both favour that test.

    Parameters
    ----------
    tables
        What ``one_vs_rest`` and ``wilcoxon`` returned, by the name of the method. All of the same
        classes and genes.
    known
        Known markers of each class, by its name. A class that is not in it has none.
    n
        How many top genes.
    named
        Whether the top genes are those among the named genes.

    Returns
    -------
    DataFrame
        One row per class, numbers of genes:

        ``known markers``
            Of the class, among the genes of the tables. No method can find more.
        ``<method>: known``
            Of the top ``n``.
        ``<method>: unnamed``
            Of the top ``n`` of *all* genes, how many have only a placeholder name.
        ``shared``
            In the top ``n`` of every method.

    Raises
    ------
    ValueError
        If there is no table, if they are of different classes or genes, if no class has a known
        marker among the genes, or if a class has fewer than ``n`` genes.
    """
    _require_alike(tables)
    every = next(iter(tables.values()), pd.DataFrame(columns=["class", "gene"]))
    available = {
        name: set(known.get(name, ())) & set(every["gene"]) for name in sorted(set(every["class"]))
    }
    if not any(available.values()):
        raise ValueError(
            "No class of these tables has a known marker among their genes.\n"
            "What to do: give known={'name of a class': ('name of a gene', ...)}, with names as "
            "in the tables."
        )
    first = {method: top(table, n, named) for method, table in tables.items()}
    of_all = {method: top(table, n) for method, table in tables.items()}
    rows = {}
    for name, markers in available.items():
        found = {method: set(genes.loc[name]) for method, genes in first.items()}
        rows[name] = (
            {"known markers": len(markers)}
            | {f"{method}: known": len(genes & markers) for method, genes in found.items()}
            | {
                f"{method}: unnamed": int(_is_placeholder(genes.loc[name]).sum())
                for method, genes in of_all.items()
            }
            | {"shared": len(set.intersection(*found.values()))}
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def _is_placeholder(genes: pd.Series) -> pd.Series:
    return genes.str.startswith(PLACEHOLDER)


def _require_alike(tables: Mapping[str, pd.DataFrame]) -> None:
    pairs = {
        frozenset(zip(table["class"], table["gene"], strict=True)) for table in tables.values()
    }
    if len(pairs) != 1:
        raise ValueError(
            f"{len(tables)} tables of {len(pairs)} different sets of classes and genes cannot be "
            "compared.\n"
            "What to do: make all of them from the same cells and genes, such as model.adata."
        )
