"""Which features of a file are genes: files call them as they like."""

from __future__ import annotations

import re
from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd

from helpers.data import count_checks
from helpers.own_data.findings import DECIDE, REPAIR, Finding

# The columns of var in which files keep the kind of a feature.
COLUMNS = ("feature_types", "feature_type", "feature_biotype", "modality")

GENES = re.compile(r"gene expression|^(?:genes?|gex|m?rna|transcripts?|expression)$", re.IGNORECASE)

# What is measured besides genes: proteins, guides, tags of samples, and open chromatin.
OTHERS = re.compile(
    r"antibod|protein|\badt|peak|atac|chromatin|accessib|crispr|guide|sgrna|multiplex|hashtag|"
    r"\bhto|\bcmo|antigen|vdj",
    re.IGNORECASE,
)


def column(adata: ad.AnnData) -> str | None:
    """Return the column of ``var`` with the kinds of features; None if there is none."""
    return next((name for name in COLUMNS if name in adata.var), None)


def names_of_genes(kinds: pd.Series) -> list[str] | None:
    """Return how genes are called among kinds of features.

    None if no name is known here: then they cannot be told. An empty list if all kinds are known,
    and none is genes.
    """
    different = [str(kind) for kind in pd.unique(kinds.dropna())]
    genes = [kind for kind in different if GENES.search(kind)]
    if genes or not different:
        return genes or None
    return [] if all(OTHERS.search(kind) for kind in different) else None


def genes_only(adata: ad.AnnData) -> ad.AnnData:
    """Keep the genes, where there are genes and other features, and note what is left out.

    Antibodies, guides and peaks are other features, and scVI is for genes.
    """
    name = column(adata)
    genes = names_of_genes(adata.var[name]) if name else None
    if not genes:
        return adata
    kept = adata.var[name].isin(genes).to_numpy()
    if kept.all():
        return adata
    others = adata.var[name][~kept].astype(object).fillna("without a kind").value_counts()
    adata = adata[:, kept].copy()
    adata.uns["left_out"] = {str(kind): int(n) for kind, n in others.items() if n}
    return adata


def of_features(adata: ad.AnnData) -> Iterator[Finding]:
    """Say which features are no genes, and of how many genomes genes are."""
    name = column(adata)
    kinds = adata.var[name] if name else pd.Series(dtype=object)
    counted = kinds.astype(object).value_counts()
    listed = count_checks.listed(counted.index[:8])
    genes = names_of_genes(kinds)
    if genes == []:
        yield Finding(
            "features",
            f"No feature is a gene: var[{name!r}] holds {listed} only. scVI is for counts of "
            "genes.",
            REPAIR,
            "Take the file with the genes of these cells; for open chromatin there is "
            "scvi.model.PEAKVI, for genes and chromatin together scvi.model.MULTIVI",
        )
    elif counted.size > 1:
        found = "Not all are genes: " + ", ".join(f"{kind} {n:,}" for kind, n in counted.items())
        if genes is None:
            yield Finding(
                "features",
                f"var[{name!r}] holds {counted.size} kinds of features: {listed}. Are all of them "
                "genes?",
                DECIDE,
                "If not, keep those that are",
            )
        elif set(genes) != {str(kind) for kind in counted.index}:
            yield Finding(
                "features",
                f"{found}. scVI would take all of them for genes.",
                DECIDE,
                "Keep the genes",
                _line(name, genes),
            )
    elif left_out := adata.uns.get("left_out"):
        listed = ", ".join(f"{kind} {n:,}" for kind, n in left_out.items())
        yield Finding("features", f"Only genes were read; left out: {listed}.")
    yield from _of_genomes(adata)


def _line(name: str, kept: list[str]) -> str:
    test = f"== {kept[0]!r})" if len(kept) == 1 else f".isin({kept!r}))"
    space = " " if len(kept) == 1 else ""
    return f"adata = adata[:, (adata.var[{name!r}]{space}{test}.to_numpy()].copy()"


def _of_genomes(adata: ad.AnnData) -> Iterator[Finding]:
    if "genome" not in adata.var or adata.X is None:
        return
    genomes = adata.var["genome"].astype(object)
    counted = genomes[genomes != ""].value_counts()
    if len(counted) < 2:
        return
    totals = pd.Series(np.asarray(adata.X.sum(axis=0)).ravel()).groupby(genomes.to_numpy()).sum()
    most = str(totals[counted.index].idxmax())
    yield Finding(
        "genomes",
        "Genes of " + ", ".join(f"{genome} {n:,}" for genome, n in counted.items()) + ". Cells of "
        "several species lie apart by that alone, and a virus is a few genes of its own.",
        DECIDE,
        "Keep one, unless you mean all of them",
        _line("genome", [most]),
    )
