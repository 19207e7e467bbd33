"""The top genes, and how many of them are known."""

import pandas as pd
import pytest

from helpers.expression import differential_expression, marker_genes
from tests.helpers.expression.shared import CLASS


def test_known_markers_are_named_genes_of_the_cortex_data(whole_cortex):
    assert set(marker_genes.KNOWN) == set(whole_cortex.obs[CLASS])
    genes = [gene for of_class in marker_genes.KNOWN.values() for gene in of_class]
    assert len(genes) == len(set(genes)) == 28
    assert whole_cortex.var.loc[genes, "symbol_known"].all()


def test_a_placeholder_is_what_the_data_call_a_gene_without_a_symbol(whole_cortex):
    names = pd.Series(whole_cortex.var_names, whole_cortex.var_names)
    assert (marker_genes._is_placeholder(names) == ~whole_cortex.var["symbol_known"]).all()


def table_of(**genes):
    return pd.DataFrame(
        [(name.replace("_", " "), gene) for name, of_class in genes.items() for gene in of_class],
        columns=["class", "gene"],
    )


ONE = table_of(x=["unnamed_1", "A", "B", "C", "D"], y=["D", "unnamed_1", "C", "B", "A"])
OTHER = table_of(x=["C", "B", "A", "D", "unnamed_1"], y=["A", "B", "C", "D", "unnamed_1"])


def test_the_top_genes_are_the_first_of_each_class():
    found = marker_genes.top(ONE, 3)
    assert list(found.index) == ["x", "y"] and list(found.columns) == [1, 2, 3]
    assert list(found.loc["x"]) == ["unnamed_1", "A", "B"]
    assert list(found.loc["y"]) == ["D", "unnamed_1", "C"]
    assert list(marker_genes.top(ONE, 3, named=True).loc["x"]) == ["A", "B", "C"]
    assert list(marker_genes.top(ONE, 3, named=True).loc["y"]) == ["D", "C", "B"]
    assert marker_genes.top(ONE).shape == (2, 5)
    for n, named in ((6, False), (5, True), (0, False)):
        with pytest.raises(ValueError, match=f"no {n} .*genes in each class"):
            marker_genes.top(ONE, n, named=named)


def test_agreement_is_counted_by_hand():
    known = {"x": ("A", "C", "Nope"), "z": ("A",)}
    found = marker_genes.agreement({"one": ONE, "other": OTHER}, known, n=2)
    assert list(found.columns) == [
        "known markers",
        "one: known",
        "other: known",
        "one: unnamed",
        "other: unnamed",
        "shared",
    ]
    # Named: one A, B and D, C; other C, B and A, B.
    assert list(found.loc["x"]) == [2, 1, 1, 1, 0, 1]
    assert list(found.loc["y"]) == [0, 0, 0, 1, 0, 0]
    every = marker_genes.agreement({"one": ONE, "other": OTHER}, known, n=2, named=False)
    # All: one unnamed_1, A and D, unnamed_1; other as before.
    assert list(every.loc["x"]) == [2, 1, 1, 1, 0, 0]
    three = marker_genes.agreement({"one": ONE, "other": OTHER, "again": ONE}, known, n=3)
    assert list(three["shared"]) == [3, 2]


def test_real_tables_can_be_compared(model):
    tables = {
        "scVI": differential_expression.one_vs_rest(model, CLASS),
        "Wilcoxon": differential_expression.wilcoxon(model.adata, CLASS),
    }
    found = marker_genes.agreement(tables, n=3)
    assert list(found.index) == sorted(marker_genes.KNOWN)
    available = {
        name: sum(gene in model.adata.var_names for gene in genes)
        for name, genes in marker_genes.KNOWN.items()
    }
    assert found["known markers"].to_dict() == available
    for method in tables:
        assert (found[f"{method}: known"] <= found["known markers"]).all()
    columns = ["class", "gene", "log2 fold change", "mean counts", "cells with counts"]
    for table in tables.values():
        assert set(columns) <= set(table)


def test_tables_that_cannot_be_compared_are_refused():
    fewer = ONE[ONE["gene"] != "D"]
    with pytest.raises(ValueError, match=r"2 tables of 2 different.*\n.*same cells and genes"):
        marker_genes.agreement({"one": ONE, "fewer": fewer}, {"x": ("A",)}, n=2)
    with pytest.raises(ValueError, match="2 different"):
        marker_genes.agreement({"a": ONE, "b": ONE[ONE["class"] == "x"]}, {"x": ("A",)}, n=2)
    with pytest.raises(ValueError, match="0 tables"):
        marker_genes.agreement({}, n=2)
    for known in ({}, {"x": ("Nope",)}, {"z": ("A",)}):
        with pytest.raises(ValueError, match=r"No class .* known marker.*\n.*known="):
            marker_genes.agreement({"one": ONE}, known, n=2)
