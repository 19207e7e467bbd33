"""Typical wrong answers to the exercises of lesson 07: code, and words of the reply made for it."""

PAIRED = """
def paired_difference(table, n_layers, n_hidden):
    chosen = (table["n_layers"] == n_layers) & (table["n_hidden"] == n_hidden)
    usual = (table["n_layers"] == 1) & (table["n_hidden"] == 128)
    ours, default = (table[rows].set_index("seed")["negative ELBO"] for rows in (chosen, usual))
    return {}
"""

# One epoch each: the check looks at what differs, not at how good they are.
SHORT = """
import scvi
from helpers import data, environment

blood = data.load_pbmc()
scvi.model.SCVI.setup_anndata(blood, layer="counts")

def short(seed=1, epochs=1, cells=blood, lr=0.001, **choices):
    environment.prepare(seed)
    each = scvi.model.SCVI(cells, **choices)
    each.train(max_epochs=epochs, plan_kwargs={"lr": lr}, enable_progress_bar=False)
    return each

usual = short()
"""

WRONG = {
    "seeds_against_luck": [
        ("n_seeds = 2", "12.5 of the 50 win"),
        ("n_seeds = 5", "1.56 of the 50 win"),
        ("n_seeds = 7", "one seed fewer will do"),
        ("n_seeds = 8", "fewer seeds will do"),
        ("n_seeds = 25", "Asked is the number of seeds"),
        ("n_seeds = '6'", "is text"),
    ],
    "equal_seconds": [
        ("n_epochs = 14", "equal *epochs*"),
        ("n_epochs = 14 * 16 / 12", "upside down"),
        ("n_epochs = 14 * 778628 / 1816452", "ratio of the parameters"),
        ("n_epochs = 11", "Round down"),
        ("n_epochs = 12.1", "These are the seconds"),
    ],
    "within_a_seed": [
        (PAIRED.format("ours.mean() - default.mean()"), "Subtract within each seed first"),
        (PAIRED.format("(default - ours).mean()"), "the sign is not"),
        (PAIRED.format("default.mean() - ours.mean()"), "Two things"),
        (PAIRED.format("(ours - default).sum()"), "the sum over the seeds"),
        (PAIRED.format("(ours - default).dropna().sort_index()"), "one a seed"),
        (PAIRED.format("ours.mean()"), "Nothing is subtracted yet"),
        (PAIRED.format("(ours.to_numpy() - default.to_numpy()).mean()"), "stopped"),
    ],
    "fair_pair": [
        (f"{SHORT}other = short(seed=2, n_latent=5)", "different held-out cells"),
        (f"{SHORT}other = short(epochs=2, n_latent=5)", "differ in epochs"),
        (f"{SHORT}other = short(lr=0.002, n_latent=5)", "differ in learning rate"),
        (
            f"{SHORT}other = short(n_latent=5)\nother.train_settings_ = {{'train_kwargs': {{}}}}",
            "in two ways",
        ),
        (f"{SHORT}other = short()", "the same architecture"),
        (f"{SHORT}other = usual", "one and the same model"),
        (f"{SHORT}other = scvi.model.SCVI(blood, n_latent=5)", "`other` is not trained yet"),
        (f"{SHORT}other = scvi.model.SCVI", "not a model"),
        (f"{SHORT}other = usual.train", "is a method"),
        (f"{SHORT}other = usual\nusual = short(n_latent=5)", "not the default architecture"),
        (f"{SHORT}other = short(n_latent=5, gene_likelihood='nb')", "also differ in"),
        (
            f"{SHORT}fewer = blood[:, :500].copy()\n"
            "scvi.model.SCVI.setup_anndata(fewer, layer='counts')\n"
            "other = short(cells=fewer, n_latent=5)",
            "different cells or genes",
        ),
    ],
}
