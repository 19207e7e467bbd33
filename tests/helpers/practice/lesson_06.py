"""Typical wrong answers to the exercises of lesson 06: code, and words of the reply made for it."""

WRONG = {
    "without_weight": [
        ("proteins_in_epoch_2 = added.loc[2, 'reconst_loss_protein']", "weight included"),
        ("proteins_in_epoch_2 = added.loc[2, 'reconst_loss_protein'] / 0.03", "a tenth off"),
        ("proteins_in_epoch_2 = ledger.loc[2, 'reconstruction']", "Take the genes away"),
        (
            "proteins_in_epoch_2 = added.loc[2, 'reconst_loss_protein'] * ledger.loc[2, "
            "'kl_weight']",
            "multiplied by the weight once more",
        ),
        (
            "proteins_in_epoch_2 = (added['reconst_loss_protein'] / ledger['kl_weight']).iloc[2]",
            "right for epoch 3",
        ),
        (
            "proteins_in_epoch_2 = added['reconst_loss_protein'] / ledger['kl_weight']",
            "pick one value",
        ),
        (
            "proteins_in_epoch_2 = added.loc[1, 'reconst_loss_protein'] / ledger.loc[1, "
            "'kl_weight']",
            "0 was divided by 0",
        ),
    ],
    "long_enough": [
        ("n_epochs = 80", "ends with a weight of 0.38"),
        ("n_epochs = 213", "Round up"),
        ("n_epochs = 192", "a tenth is held out"),
        ("n_epochs = 75_000", "These are the steps"),
        ("n_epochs = 107", "TotalVI's have 256 cells"),
        ("n_epochs = 400", "SCVI's warm-up"),
        ("n_epochs = 30", "preset for few cells"),
    ],
    "deeper_and_used": [
        ("your_totalvi = scvi.model.TOTALVI", "not a model"),
        ("your_totalvi = rna_alone", "is a SCVI"),
        ("your_totalvi = model", "Two or more are asked for. ✗ Ignored: 47%"),
        ("your_totalvi = scvi.model.TOTALVI(blood, n_layers_decoder=2)", "do not wake a part"),
        (
            "your_totalvi = scvi.model.TOTALVI(blood, n_layers_encoder=3, gene_likelihood='zinb')",
            "made the encoder deeper",
        ),
    ],
    "where_it_begins": [
        ("def divide(counts):\n    return 0", "A count above zero is no sign of it"),
        ("def divide(counts):\n    return 100", "The same threshold for all"),
        ("def divide(counts):\n    return np.median(counts)", "half of the cells above it"),
        ("def divide(counts):\n    return counts.mean()", "the few cells with most counts"),
        ("def divide(counts):\n    return counts.max() / 2", "spreads over thousands"),
        (
            "def divide(counts):\n    return (np.log1p(counts.min()) + np.log1p(counts.max())) / 2",
            "Turn them back into counts",
        ),
        ("def divide(counts):\n    return counts > 100", "one number"),
        ("def divide(counts):\n    return counts.max() / 10", "CD45RA in batch 5k: the threshold"),
        ("def divide(counts):\n    counts.mean()", "returns nothing"),
        ("divide = 100", "It should be a function"),
    ],
}
