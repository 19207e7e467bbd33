"""Typical wrong answers to the exercises of lesson 01: code, and words of the reply made for it."""

TABLE = """
def whole_table(cells):
    table = genes.mean_and_variance(cells)
    table["expected variance"] = genes.expected_variance(table)
    return table
"""
OTHERS = TABLE + "others = fresh[fresh.obs['cell_type'] != 'oligodendrocytes']\n"


def defined(*lines):
    return "def standardised_variance(values, expected):\n    " + "\n    ".join(lines)


WRONG = {
    "doubled_counts": [
        ("times = 2", "*squared* distances"),
        ("times = 1", "the counts are larger"),
        ("times = 2 ** 0.5", "take a root"),
        ("times = (2 * fresh[:, 'Mt1'].to_df(layer='counts')).var()", "Divide it by"),
        ("times = 0.25", "too small"),
    ],
    "by_hand": [
        (defined("return values.var() / expected"), "but for the limit"),
        (
            defined("return ((values - values.mean()) / expected ** 0.5).var()"),
            "but for the limit",
        ),
        (defined("return ((values - values.mean()) / expected).var()"), "Divide by its *root*"),
        (
            defined(
                "z = (values - values.mean()) / expected ** 0.5",
                "return np.minimum(z, len(z) ** 0.5).std()",
            ),
            "the root of the variance",
        ),
        (defined("return values.var() / values.mean()"), "Poisson"),
        (
            defined("return np.minimum(values, len(values) ** 0.5).var() / expected"),
            "Standardise first",
        ),
        (defined("return values.var()"), "still to be compared"),
        (
            defined(
                "z = (values - values.mean()) / expected ** 0.5",
                "return np.minimum(z, len(z) ** 0.5)",
            ),
            "one standardised count for each cell",
        ),
        (defined("return 1"), "0 of 4 trials are right"),
        (defined("values.var() / expected"), "returns nothing"),
    ],
    "without_a_class": [
        ("plp1_left = 0", "Is that your prediction?"),
        (
            TABLE + "plp1_left = genes.standardised_variance(fresh, whole_table(fresh))['Plp1']",
            "among all cells",
        ),
        (
            OTHERS
            + (
                "plp1_left = genes.standardised_variance(others, whole_table(others), "
                "clip=False)['Plp1']"
            ),
            "limit for single cells is missing",
        ),
        (
            OTHERS
            + (
                "plp1_left = whole_table(others).loc['Plp1', 'variance'] / "
                "whole_table(fresh).loc['Plp1', 'expected variance']"
            ),
            "Fit the curve anew",
        ),
        (
            OTHERS + "plp1_left = whole_table(others).loc['Plp1', 'variance']",
            "Which variance is usual",
        ),
        (
            TABLE
            + "inside = fresh[fresh.obs['cell_type'] == 'oligodendrocytes']\n"
            + "plp1_left = genes.standardised_variance(inside, whole_table(inside))['Plp1']",
            "the oligodendrocytes alone",
        ),
        (
            OTHERS + "plp1_left = genes.standardised_variance(others, whole_table(others))",
            "pick one value",
        ),
    ],
    "few_genes": [
        (
            "few_genes = genes.mean_and_variance(fresh)['mean'].nlargest(100).index",
            "the most counts",
        ),
        (
            "few_genes = genes.mean_and_variance(fresh)['variance'].nlargest(100).index",
            "the largest variance",
        ),
        ("few_genes = genes.mean_and_variance(fresh)['mean'].nlargest(100)", "add `.index`"),
        ("few_genes = fresh.var_names[:100]", "vary most for their mean"),
        ("few_genes = fresh.var_names", "at most 100 are asked for"),
        ("few_genes = ['Plp1', 'Atp1a2']", "needs more than 30"),
        ("few_genes = ['Plp1', 'Nosuchgene']", "does not exist here"),
        (
            "low = sc.pp.highly_variable_genes(fresh, n_top_genes=2000, layer='counts', "
            "flavor='seurat_v3', inplace=False)\n"
            "few_genes = low['variances_norm'].nsmallest(100).index",
            "vary less than the selected genes do",
        ),
    ],
}
