"""Lesson 01: which genes to keep, and counts on a logarithmic scale."""

from helpers.genes.selection import (
    class_accuracy,
    compare_flavours,
    expected_variance,
    mean_and_variance,
    overlap,
    plot_mean_variance,
    plot_overlap,
    select,
    standardised_variance,
)

__all__ = [
    "class_accuracy",
    "compare_flavours",
    "expected_variance",
    "mean_and_variance",
    "overlap",
    "plot_mean_variance",
    "plot_overlap",
    "select",
    "standardised_variance",
]
