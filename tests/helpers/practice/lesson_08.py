"""Typical wrong answers to the exercises of lesson 08: code, and words of the reply made for it."""

COUNTS = """
def counts_from(values, totals):
    return {}
"""

WRONG = {
    "too_large_to_square": [
        ("smallest = 256", "answer for `uint16`"),
        ("smallest = 181", "it just fits"),
        ("smallest = 32_768", "first *count* that does not fit"),
        ("smallest = 32_767", "That count fits"),
        ("smallest = 16_384", "take the square root"),
        ("smallest = 200", "too large"),
    ],
    "table_the_right_way": [
        ('from_text = reading.read("../data/genes_in_rows.csv")', "changed places"),
        (
            "import pandas as pd\n"
            'from_text = pd.read_csv("../data/genes_in_rows.csv", index_col=0)',
            "is a DataFrame",
        ),
        ("from_text = adata", "is it that file?"),
        ("from_text = adata[:, :300].copy()", "the numbers are not those of the file"),
        ('from_text = "../data/genes_in_rows.csv"', "is a str"),
    ],
    "counts_by_their_totals": [
        (COUNTS.format("np.expm1(values) * totals[:, None] / 1e4"), "round at the end"),
        (COUNTS.format("raw_counts.recover(values)"), "half of what was there"),
        (COUNTS.format("np.rint(np.expm1(values))"), "Whole numbers are not counts yet"),
        (COUNTS.format("np.expm1(values)"), "still multiplied by 10,000 / total"),
        (COUNTS.format("np.rint(values)"), "Rounding makes whole numbers, not counts"),
        (
            COUNTS.format("np.rint(np.exp(values) * totals[:, None] / 1e4)"),
            "`np.exp` forgets the 1",
        ),
        (COUNTS.format("np.rint(np.expm1(values) * 1e4 / totals[:, None])"), "upside down"),
        (COUNTS.format("np.rint(np.expm1(values) * totals[:, None])"), "still in it"),
        (COUNTS.format("np.rint(np.expm1(values) * totals / 1e4)"), "stopped in its line"),
    ],
    "plan_of_days": [
        ("days = [1, 1, 1, 1, 2, 2, 2, 2]", "Treatment and day are confounded"),
        ("days = [1, 1, 2, 2, 1, 1, 2, 2]", "Sex and day are confounded"),
        ("days = [1] * 8", "no more than 4 fit into a day"),
        ("days = [1, 2, 1, 2, 1, 2, 1, 1]", "5 on day 1"),
        ("days = [1, 2, 3, 4, 1, 2, 3, 4]", "The days are 1 and 2"),
        ("days = [1, 2]", "has 2 numbers"),
        ("days = {'mouse 1': 1}", "is a dict"),
    ],
}
