"""Typical wrong answers to the exercises of lesson 06b.

Code, and words of the reply made for it.
"""

NEITHER = "(blood[{cells}, ['CD8A', 'CD8B']].layers['counts'].toarray() == 0)"
ABOVE = NEITHER.format(cells="protein_counts.above(blood, ['CD8a'])['CD8a'].to_numpy()")
ALL = NEITHER.format(cells=":")
CD8 = NEITHER.format(cells="(groups == 'CD8 T cells').to_numpy()")

WRONG = {
    "unseen_in_rna": [
        (f"share_without = {CD8}[:, 0].mean()", "Some of these cells have CD8B"),
        (f"share_without = {CD8}[:, 1].mean()", "Some of these cells have CD8A"),
        (f"share_without = {CD8}.any(axis=1).mean()", "lack one *or* the other"),
        (f"share_without = 1 - {CD8}.all(axis=1).mean()", "Turn it round"),
        (f"share_without = 1 - {CD8}.any(axis=1).mean()", "Asked for is neither"),
        (
            f"share_without = {ABOVE}.all(axis=1).mean()",
            "NK cells can have CD8a",
        ),
        (f"share_without = {CD8}.mean(axis=0).prod()", "lacks both more often"),
        (f"share_without = {ALL}.all(axis=1).mean()", "share of all cells"),
        (f"share_without = {CD8}.all(axis=1).sum()", "how many cells"),
        (f"share_without = 100 * {CD8}.all(axis=1).mean()", "per cent"),
    ],
    "no_foreground": [
        ("not_to_trust = ['PD-1']", "a single one in batch 5k"),
        ("not_to_trust = ['PD-1', 'CD25', 'TIGIT']", "an honest answer"),
        ("not_to_trust = ['CD25', 'CD15', 'CD19']", "Few cells have it (8%)"),
        ("not_to_trust = ['CD25', 'CD15']", "The last histogram"),
        ("not_to_trust = ['PD-1', 'CD25', 'CD15', 'CD56']", "hardly ever counted"),
        ("not_to_trust = ['PD-1', 'CD25', 'CD15', 'CD4']", "about the denoised value"),
        ("not_to_trust = ['PD-1', 'CD25', 'CD15', 'CD45RA']", "is its RNA"),
        ("not_to_trust = ['PD1']", "does not exist here"),
        ("not_to_trust = 'PD-1'", "one text"),
    ],
    "same_batch_for_all": [
        ("cd19 = tables['CD19']['denoised']", "Is each cell still in its own batch"),
        ("cd19 = tables['CD19']['count']", "as they were measured"),
        ("cd19 = tables['CD19']['probability of foreground']", "Are these probabilities"),
        ("cd19 = model.get_normalized_expression(transform_batch='5k')", "holds two things"),
        ("cd19 = model.get_normalized_expression(transform_batch='5k')[1]", "Take its column CD19"),
        ("cd19 = of_b_cells", "each of the 400 cells"),
        ("cd19 = 0 * tables['CD19']['count'] + 100", "has to stay"),
        ("cd19 = tables['CD19']['denoised'] - 5", "0 or more"),
        ("cd19 = tables['CD19']['denoised'].where(groups == 'B cells')", "0 or more"),
        ("cd19 = -tables['CD19']['denoised']", "0 or more"),
    ],
    "fair_judges": [
        ("judges = list(model.adata.var_names[:5])", "Whoever has seen the answer"),
        (
            "judges = ['CD4', 'RPL3', 'RPL5', 'RPL11', 'RPL13']",
            "TotalVI was given the protein CD4",
        ),
        (
            "judges = ['CD3E', 'RPL3', 'RPL5', 'RPL11', 'RPL13']",
            "TotalVI was given the protein CD3",
        ),
        ("judges = ['RPL3', 'RPL5', 'RPL11', 'RPL13']", "Five are asked for"),
        ("judges = ['RPL3', 'RPL3', 'RPL5', 'RPL11', 'RPL13']", "holds 4 different genes"),
        ("judges = ['PLEKHN1', 'RPL3', 'RPL5', 'RPL11', 'RPL13']", "PLEKHN1 has counts in 2"),
        ("judges = ['CD45RA', 'RPL3', 'RPL5', 'RPL11', 'RPL13']", "does not exist here"),
    ],
}
