"""Lesson 00: real single-cell counts, where they come from, and what they look like."""

from helpers.data.count_checks import check_counts
from helpers.data.datasets import load_citeseq, load_cortex, load_pbmc
from helpers.data.protein_checks import check_proteins
from helpers.data.source_table import sources

__all__ = [
    "check_counts",
    "check_proteins",
    "load_citeseq",
    "load_cortex",
    "load_pbmc",
    "sources",
]
