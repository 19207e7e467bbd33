"""Typical wrong answers to the exercises of lesson 04: code, and words of the reply made for it."""

LOSS, ELBO = 2705.72 + 0.4 * 28.72, 2705.72 + 28.72

TRAINED = "nb_model = solved['plain']\n"

WRONG = {
    "one_epoch": [
        (f"weight, train_loss, negative_elbo = 161 / 400, {LOSS}, {ELBO}", "160 times and not 161"),
        (f"weight, train_loss, negative_elbo = 1, {LOSS}, {ELBO}", "when the warm-up is over"),
        (f"weight, train_loss, negative_elbo = 160 / 4, {LOSS}, {ELBO}", "the class preset"),
        (f"weight, train_loss, negative_elbo = 160, {LOSS}, {ELBO}", "Each of them is 1/400"),
        (f"weight, train_loss, negative_elbo = 40, {LOSS}, {ELBO}", "the class preset"),
        (f"weight, train_loss, negative_elbo = 0.4, {ELBO}, {ELBO}", "in full here"),
        (f"weight, train_loss, negative_elbo = 0.4, {ELBO}, {LOSS}", "has the weight in it"),
        (f"weight, train_loss, negative_elbo = 0.4, 2705.72, {ELBO}", "loss alone"),
        (
            f"weight, train_loss, negative_elbo = 0.4, 0.4 * {ELBO}, {ELBO}",
            "multiplied the whole sum",
        ),
        (
            f"weight, train_loss, negative_elbo = 0.4, 2705.72 + 0.4, {ELBO}",
            "added the weight itself",
        ),
        (
            f"weight, train_loss, negative_elbo = 0.4025, 2705.72 + 0.4025 * 28.72, {ELBO}",
            "one step smaller",
        ),
        (f"weight, train_loss, negative_elbo = 0.4, {LOSS}, -{ELBO}", "the other sign"),
        (
            f"weight, train_loss, negative_elbo = 0.4, {LOSS}, 2705.72 - 28.72",
            "both are added",
        ),
        (f"weight, train_loss, negative_elbo = 0.4, {LOSS}, 2705.72", "has to be paid for"),
        (f"weight, train_loss, negative_elbo = 0.4, {LOSS}, '2734'", "is text"),
    ],
    "price_of_a_zero": [
        (f"def cost_of_zero(mean, theta, extra):\n    return {returned}", words)
        for returned, words in (
            ("extra + (1 - extra) * (theta / (theta + mean)) ** theta", "it is right"),
            (
                "np.log(extra + (1 - extra) * (theta / (theta + mean)) ** theta)",
                "the sign is not",
            ),
            ("-np.log2(extra + (1 - extra) * (theta / (theta + mean)) ** theta)", "in bits"),
            ("-np.log10(extra + (1 - extra) * (theta / (theta + mean)) ** theta)", "base 10"),
            ("-theta * np.log(theta / (theta + mean))", "plain negative binomial"),
            ("-np.log(extra)", "each 0 were an extra zero"),
            ("-np.log((1 - extra) * (theta / (theta + mean)) ** theta)", "also be an extra zero"),
            ("-np.log(extra + (theta / (theta + mean)) ** theta)", "chance is not asked"),
            (
                "-np.log(extra) - np.log((1 - extra) * (theta / (theta + mean)) ** theta)",
                "one *or* the other",
            ),
            ("-np.log(extra + (1 - extra) * theta / (theta + mean))", "to the power"),
            ("mean", "0 of 5 trials"),
            ("theta / 0", "ZeroDivisionError"),
        )
    ]
    + [("cost_of_zero = 0.7", "should be a function")],
    "plan_for_many_cells": [
        ("your_plan = {}", "ends at 0.497"),
        ("your_plan = 50", "a dictionary"),
        ("your_plan = {'n_epochs_kl_warmup': 150}", "1 in 50 of 200 epochs"),
        ("your_plan = {'n_epochs_kl_warmup': 0}", "A warm-up begins near 0"),
        ("your_plan = {'n_epochs_kl_warmup': 1}", "hardly a warm-up"),
        ("your_plan = {'n_epochs_kl_warmup': 50, 'max_kl_weight': 2}", "dimensions collapse"),
        ("your_plan = {'max_epochs': 400}", "a setting of `train`"),
        ("your_plan = {'n_epochs_warmup': 50}", "no setting 'n_epochs_warmup'"),
        ("your_plan = {'lr': 0.01}", "does not change the KL weight"),
        ("your_plan = {'n_steps_kl_warmup': 5000}", "only if `n_epochs_kl_warmup` is None"),
        ("your_plan = {'n_epochs_kl_warmup': '50'}", "should be a number"),
        ("your_plan = {'plan_kwargs': {'n_epochs_kl_warmup': 50}}", "Leave this word out"),
        ("your_plan = {'min_kl_weight': 2}", "larger than `max_kl_weight`"),
    ],
    "extra_zeros": [
        ("plain, saved = scvi.model.SCVI, 40", "not a model"),
        ("plain, saved = model, 40", "the same likelihood"),
        (
            "plain, saved = scvi.model.SCVI(adata, gene_likelihood='poisson'), 40",
            "more than the extra zeros",
        ),
        (
            "plain, saved = scvi.model.SCVI(adata, gene_likelihood='nb', n_latent=20), 40",
            "one thing at a time",
        ),
        ("plain, saved = scvi.model.SCVI(adata, gene_likelihood='nb'), 40", "not trained yet"),
        (
            "plain, saved = scvi.model.SCVI(adata, gene_likelihood='nb'), 40\n"
            "plain.train(max_epochs=1, enable_progress_bar=False)",
            "with another loss",
        ),
        (
            "scvi.settings.seed = 1\n"
            "plain, saved = scvi.model.SCVI(adata, gene_likelihood='nb'), 40\n"
            "plain.train(max_epochs=1, enable_progress_bar=False)",
            "other held-out cells",
        ),
        (
            f"{TRAINED}plain = nb_model\n"
            "of_both = [each.get_elbo(indices=held_out) for each in (plain, model)]\n"
            "saved = float(of_both[0] - of_both[1])",
            "the sign is not",
        ),
        (
            "plain, saved = nb_model, -float(nb_model.get_elbo(indices=held_out))",
            "of `plain` alone",
        ),
        (
            "plain = nb_model\n"
            "saved = loss.ledger(plain)['train_loss'].iloc[-1] - ledger['train_loss'].iloc[-1]",
            "measured with dropout",
        ),
        ("plain, saved = nb_model, '40'", "is text"),
    ],
}
