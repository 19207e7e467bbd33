"""Typical wrong answers to the exercises of lesson 05b.

Code, and words of the reply made for it.
"""

WITHIN = """in_class = (small.obs["cell_type"] == "oligodendrocytes").to_numpy()
inside = denoising.correlations(small_model, list(shuffled), cells=in_class)
"""

WRONG = {
    "back_to_probability": [
        (f"def probability_of(bayes_factor):\n    return {returned}", words)
        for returned, words in (
            ("np.exp(bayes_factor)", "These are the odds"),
            ("1 / (1 + np.exp(bayes_factor))", "does *not* differ"),
            ("10**bayes_factor / (1 + 10**bayes_factor)", "not a power of 10"),
            ("2**bayes_factor / (1 + 2**bayes_factor)", "To base 2 are the fold changes"),
            ("bayes_factor / (1 + bayes_factor)", "the *logarithm* of the odds"),
            ("1 - np.exp(-bayes_factor)", "at 0 it should give one half"),
            ("100 / (1 + np.exp(-bayes_factor))", "in per cent"),
            ("0.95", "0 of 4 trials"),
            ("odds / (1 + odds)", "NameError"),
        )
    ]
    + [("probability_of = 0.95", "should be a function")],
    "good_markers": [
        ("your_markers = 'Abat'", "one text"),
        ("your_markers = ['ABAT', 'Nrip3', 'Elavl2']", "no gene of these cells"),
        ("your_markers = ['Abat', 'Nrip3', 'Abat']", "2 different genes; 3 are asked for"),
        ("your_markers = ['Nap1l5', 'Cplx1', 'Rab3c']", "many other cells have it as well"),
        ("your_markers = ['Abat', 'Nrip3', 'Slc2a1']", "it is *lower* in interneurons"),
        (
            "rows = by_scvi[by_scvi['class'] == 'interneurons'].set_index('gene')\n"
            "weak = rows[(rows['log2 fold change'] > 0) & (rows['probability'] < 0.5)].index[0]\n"
            "your_markers = ['Abat', 'Nrip3', weak]",
            "In too many pairs",
        ),
        ("your_markers = ['Abat', 'Nrip3', 'unnamed_3394']", "cannot name a single cell"),
        ("your_markers = []", "too strict, or turned round"),
        ("your_markers = by_scvi", "Take the names of its rows"),
        ("your_markers = [0, 1, 2]", "text in quotation marks"),
    ],
    "few_cells": [
        ("few = 100", "some of the cells"),
        ("few = adata", "Take fewer"),
        ("few = adata[::5]", "With so many"),
        ("few = adata[::10]", "with all cells"),
        ("few = adata[:, ::40]", "fewer *cells*"),
        (
            "few = adata[adata.obs['cell_type'] == 'pyramidal CA1'][:50]",
            "50 pyramidal CA1 cells and 0",
        ),
        ("few = adata[::400]", "next to no cells"),
        ("few = small[::20]", "Keep all genes"),
    ],
    "invented_in_one_class": [
        (
            "share_in_class = (denoising.correlations(small_model, "
            "list(shuffled))['denoised'].abs() > 0.5).mean()",
            "over all cells",
        ),
        (f"{WITHIN}share_in_class = (inside['counts'].abs() > 0.5).mean()", "in the *counts*"),
        ("share_in_class = (inside['denoised'].abs() <= 0.5).mean()", "do *not* have"),
        ("share_in_class = (inside['denoised'].abs() > 0.5).sum()", "the number of pairs"),
        ("share_in_class = inside['denoised'].abs().mean()", "the mean size"),
        ("share_in_class = (inside['denoised'].abs() > 0.5) * 1", "a sum or a mean"),
        ("share_in_class = 100 * (inside['denoised'].abs() > 0.5).mean()", "per cent"),
    ],
}
