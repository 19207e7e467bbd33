"""Typical wrong answers to the exercises of lesson 02: code, and words of the reply made for it."""

BUILT = (
    "scvi.model.SCVI.setup_anndata(adata, layer='counts')\nyour_model = scvi.model.SCVI(adata)\n"
)
QUIETLY = "enable_progress_bar=False"

WRONG = {
    "default_steps": [
        ("n_steps = 133 * 469", "a tenth of the cells is held out"),
        ("n_steps = 400 * 422", "there are fewer"),
        ("n_steps = 133 * 421", "make one more"),
        ("n_steps = 133 * 54_000 / 128", "no part of a step"),
        ("n_steps = 20_000 / 60_000 * 400 * 54_000 / 128", "whole epochs"),
        ("n_steps = 133 * 54_000", "after each *minibatch*"),
        ("n_steps = 133 * 844", "class preset"),
        ("n_steps = 422", "one epoch"),
        ("n_steps = 133", "These are the epochs"),
        ("n_steps = 12", "too small"),
    ],
    "weight_at_the_end": [
        (
            "def last_kl_weight(n):\n    return training.default_epochs(n) / 400",
            "one rise too many",
        ),
        ("def last_kl_weight(n):\n    return 1.0", "however many are run"),
        (
            "def last_kl_weight(n):\n    return (round(20_000 / n * 400) - 1) / 400",
            "never more than 400 epochs",
        ),
        (
            "def last_kl_weight(n):\n    return min(1, (round(20_000 / n * 400) - 1) / 400)",
            "the last weight is 399/400",
        ),
        (
            "def last_kl_weight(n):\n    return (min(20_000 * 400 // n, 400) - 1) / 400",
            "behind the point",
        ),
        (
            "def last_kl_weight(n):\n    return (min(20_000 / n * 400, 400) - 1) / 400",
            "only whole epochs",
        ),
        (
            "def last_kl_weight(n):\n    return (training.default_epochs(n) - 1) / 4",
            "That is per cent",
        ),
        (
            "def last_kl_weight(n):\n    return training.default_epochs(n)",
            "the number of epochs",
        ),
        ("def last_kl_weight():\n    return 1", "takes 0 positional arguments"),
    ],
    "best_epoch": [
        ("best_epoch = 400", "the end of the run"),
        ("best_epoch = kept['elbo'].idxmin()", "no sign that the model does"),
        ("best_epoch = 200", "`kept` has all 400"),
        ("best_epoch = kept['held_out_loss'].idxmin()", "faded in"),
        ("best_epoch = kept['held_out_elbo'].idxmax()", "*worst* epoch"),
        ("best_epoch = kept['held_out_elbo'].argmin()", "epochs begin with 1"),
        ("best_epoch = kept['held_out_elbo'].min()", "in which epoch"),
        ("best_epoch = kept['held_out_elbo']", "pick one value"),
    ],
    "five_epochs": [
        ("your_model = scvi.model.SCVI", "not a model"),
        ("your_model = 'SCVI'", "is a str"),
        (BUILT, "not trained yet"),
        (
            BUILT + f"training.train(your_model, preset='default', max_epochs=1, {QUIETLY})",
            "What makes a step larger",
        ),
        (
            BUILT + f"your_model.train(max_epochs=6, batch_size=1024, {QUIETLY})",
            "6 epochs; 5 are the most",
        ),
        (
            BUILT + f"your_model.train(max_epochs=1, batch_size=512, train_size=1.0, {QUIETLY})",
            "on all cells",
        ),
        (
            "few = adata[:, :100].copy()\n"
            "scvi.model.SCVI.setup_anndata(few, layer='counts')\n"
            f"your_model = scvi.model.SCVI(few)\nyour_model.train(max_epochs=1, {QUIETLY})",
            "Fewer genes cost fewer nats",
        ),
    ],
}
