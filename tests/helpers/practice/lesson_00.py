"""Typical wrong answers to the exercises of lesson 00: code, and words of the reply made for it."""

WRONG = {
    "same_count": [
        ("actb_per_10000 = [30, 30]", "parts of very different totals"),
        (
            "actb_per_10000 = 1_000 * 30 / per_cell.loc[['cell_2459', 'cell_0088'], 'library "
            "size']",
            "ten times",
        ),
        (
            "actb_per_10000 = 100 * 30 / per_cell.loc[['cell_2459', 'cell_0088'], 'library size']",
            "per cent",
        ),
        (
            "actb_per_10000 = 10_000 * 30 / per_cell.loc[['cell_2459', 'cell_0088'], 'genes seen']",
            "molecules",
        ),
        ("actb_per_10000 = [10_000 * 30 / adata.n_vars] * 2", "the same for all cells"),
        (
            "actb_per_10000 = [10_000 * 60 / per_cell.loc[['cell_2459', 'cell_0088'], 'library "
            "size'].sum()] * 2",
            "a library size of its own",
        ),
        (
            "actb_per_10000 = per_cell.loc[['cell_2459', 'cell_0088'], 'library size']",
            "Which part of each",
        ),
        (
            "actb_per_10000 = 10_000 * 30 / per_cell.loc[['cell_0088', 'cell_2459'], 'library "
            "size']",
            "another order",
        ),
        ("actb_per_10000 = 10_000 * 30 / 2051", "both numbers in a list"),
    ],
    "lost_classes": [
        ("lost = ['microglia', 'endothelial-mural']", "judged by the figure"),
        (
            "lost = ['microglia', 'endothelial-mural', 'astrocytes_ependymal', 'oligodendrocytes']",
            "not the number",
        ),
        ("lost = ['interneurons']", "interneurons would lose 4 cells, which is 1%"),
        ("lost = ['astrocytes']", "does not exist here"),
        ("lost = 'microglia'", "one text"),
    ],
    "look_less_closely": [
        ("keep = 0.175", "scaled the entries"),
        ("keep = 0.1", "not a tenth of the *entries*"),
        ("keep = 5", "not per cent"),
        ("keep = 0", "no molecule is left"),
        ("keep = 0.5", "Keep fewer molecules"),
        ("keep = 0.01", "Keep more molecules"),
        ("keep = [0.05]", "is a list"),
    ],
    "counts_or_not": [
        ("holds_counts = lambda matrix: matrix[0, 0] % 1 == 0", "the first entry only"),
        ("holds_counts = lambda matrix: str(matrix.dtype).startswith('int')", "stored as 3.0"),
        ("holds_counts = lambda matrix: (matrix == matrix.astype(int)).all()", "-1 is whole"),
        ("holds_counts = lambda matrix: matrix.min() >= 0", "not negative either"),
        ("holds_counts = lambda matrix: (matrix % 1 == 0) & (matrix >= 0)", "add `.all()`"),
        ("holds_counts = lambda matrix: (matrix % 1 == 0).any()", "ask for all entries"),
        ("holds_counts = lambda matrix: matrix.max() > 20", "Large numbers do not make counts"),
        ("holds_counts = lambda matrix: True", "3 of 9 trials are right"),
        ("holds_counts = lambda matrix: matrix.is_whole()", "AttributeError"),
        ("holds_counts = True", "should be a function"),
    ],
}
