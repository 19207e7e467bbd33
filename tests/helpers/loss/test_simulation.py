"""Simulated cells follow the truth stored with them, and a model is measured against that."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from scipy import optimize, stats

from helpers import data, environment, training
from helpers.loss import simulation


def counts_of(adata):
    return adata.layers["counts"].toarray()


def true_mean(adata):
    log_mean = (
        adata.var["true_intercept"].to_numpy()
        + adata.obsm["true_latent"] @ adata.varm["true_loadings"].T
    )
    return adata.obs["size_factor"].to_numpy()[:, None] * np.exp(log_mean)


def truth_given(adata, cell, latent):
    """Return ln p(x | z), nats, of one cell for latent of shape (points, 2)."""
    row, theta = adata[cell].copy(), adata.var["true_dispersion"].to_numpy()
    log_mean = (
        row.var["true_intercept"].to_numpy() + np.atleast_2d(latent) @ row.varm["true_loadings"].T
    )
    mean = row.obs["size_factor"].to_numpy() * np.exp(log_mean)
    return stats.nbinom.logpmf(counts_of(row), theta, theta / (theta + mean)).sum(axis=1)


def new_model(adata, **setup):
    scvi.model.SCVI.setup_anndata(
        adata, **({"layer": "counts", "size_factor_key": "size_factor"} | setup)
    )
    return scvi.model.SCVI(adata, n_latent=2, gene_likelihood="nb", n_hidden=32)


def train(model, epochs):
    training.train(
        model,
        max_epochs=epochs,
        plan_kwargs={"lr": 0.01, "n_epochs_kl_warmup": 5},
        enable_progress_bar=False,
    )
    return model


@pytest.fixture(scope="module")
def model():
    """Trained for a second: worse than in the lesson, so gaps are larger than their noise."""
    environment.prepare(seed=0)
    return train(new_model(simulation.cells(n_cells=1000, n_genes=40)), epochs=20)


@pytest.fixture(scope="module")
def table(model):
    return simulation.compare(model)


# --- the cells ----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_cells_whatever_ran_before():
    first = simulation.cells(50, 20)
    np.random.seed(5)  # noqa: NPY002 -- moves the global generator on purpose
    second, other = simulation.cells(50, 20), simulation.cells(50, 20, seed=1)
    assert np.array_equal(counts_of(first), counts_of(second))
    assert np.array_equal(first.obsm["true_latent"], second.obsm["true_latent"])
    pd.testing.assert_frame_equal(first.var, second.var)
    assert not np.array_equal(counts_of(first), counts_of(other))
    assert not np.array_equal(first.var["true_intercept"], other.var["true_intercept"])


def test_more_cells_come_from_the_same_genes():
    few, many = simulation.cells(50, 40), simulation.cells(100, 40)
    pd.testing.assert_frame_equal(few.var, many.var)
    assert np.array_equal(few.varm["true_loadings"], many.varm["true_loadings"])


def test_the_cells_are_what_scvi_expects_and_say_that_they_are_simulated():
    adata = simulation.cells(30, 20)
    data.check_counts(adata)
    data.check_counts(adata, layer="counts")
    assert adata.shape == (30, 20)
    assert isinstance(adata.layers["counts"], sp.csr_matrix)
    assert adata.layers["counts"].dtype == np.float32
    assert adata.obs_names.str.startswith("simulated cell").all()
    assert adata.var_names.str.startswith("simulated gene").all()
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    # X is a copy, so that what a learner does to it leaves the counts alone.
    adata.X.data += 1
    data.check_counts(adata, layer="counts")
    assert (adata.X.data == adata.layers["counts"].data + 1).all()


def test_counts_have_the_mean_the_variance_and_the_zeros_of_the_truth():
    adata = simulation.cells(20_000, 40)
    counts, mean, theta = (
        counts_of(adata),
        true_mean(adata),
        adata.var["true_dispersion"].to_numpy(),
    )
    variance = mean + mean**2 / theta
    zero = stats.nbinom.pmf(0, theta, theta / (theta + mean))
    for seen, expected in (
        ((counts - mean) / np.sqrt(variance), 0),
        ((counts - mean) ** 2 / variance, 1),
        ((counts == 0) - zero, 0),
    ):
        # For each gene, the average over cells within five standard errors.
        assert (abs(seen.mean(axis=0) - expected) < 5 * stats.sem(seen)).all()


def test_latent_positions_and_size_factors_have_the_stated_distributions():
    adata = simulation.cells(20_000, 40)
    for values in (*adata.obsm["true_latent"].T, np.log(adata.obs["size_factor"]) / 0.3):
        assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(adata.obsm["true_latent"].T)[0, 1]) < 0.03


def test_cells_without_counts_are_refused():
    with pytest.raises(ValueError, match=r"of 500 simulated cells have no counts in 2 genes.*n_g"):
        simulation.cells(500, 2)


# --- the true log-likelihood --------------------------------------------------------------------


@pytest.mark.parametrize("n_genes", [10, 100])
def test_more_points_change_nothing(n_genes):
    adata = simulation.cells(100, n_genes)
    usual, finer = (
        simulation.true_log_likelihood(adata, **nodes) for nodes in ({}, {"n_nodes": 45})
    )
    assert usual == pytest.approx(finer, abs=1e-6)


def test_the_true_log_likelihood_is_the_integral_over_z():
    adata = simulation.cells(3, 10)
    axis = np.linspace(-6, 6, 121)
    latent = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for cell, seen in enumerate(simulation.true_log_likelihood(adata)):
        log_joint = truth_given(adata, cell, latent) + stats.norm.logpdf(latent).sum(axis=1)
        area = np.exp(log_joint - seen).reshape(121, 121)
        assert np.trapezoid(np.trapezoid(area, axis), axis) == pytest.approx(1, abs=1e-6)


def test_the_peak_is_searched_with_the_right_derivatives():
    # Wrong ones would only misplace the points of the integration, and so cost accuracy unseen.
    adata = simulation.cells(1, 10)
    cell = simulation._Cell(
        counts_of(adata)[0],
        adata.var["true_intercept"].to_numpy(),
        adata.varm["true_loadings"],
        adata.var["true_dispersion"].to_numpy(),
    )
    z = np.array([0.4, -1.1])
    slope, bend = (
        optimize.approx_fprime(z, cell.log_joint),
        optimize.approx_fprime(z, cell.gradient),
    )
    assert cell.gradient(z) == pytest.approx(slope, abs=1e-4)
    assert cell.curvature(z) == pytest.approx(-bend, abs=1e-4)


def test_importance_sampling_agrees_within_its_error():
    adata = simulation.cells(5, 30)
    random = np.random.default_rng(1)
    for cell, seen in enumerate(simulation.true_log_likelihood(adata)):
        # Around the true position, far wider than the posterior.
        centre = adata.obsm["true_latent"][cell]
        latent = centre + random.normal(size=(20_000, 2))
        log_ratio = (
            truth_given(adata, cell, latent)
            + stats.norm.logpdf(latent).sum(axis=1)
            - stats.norm.logpdf(latent, centre).sum(axis=1)
        )
        ratio = np.exp(log_ratio - seen)
        assert abs(ratio.mean() - 1) < 5 * stats.sem(ratio)
        assert stats.sem(ratio) < 0.05


def test_the_probabilities_of_all_counts_add_up_to_one():
    gene = simulation.cells(1000, 20)[:, :1].copy()
    gene.obs["size_factor"] = 0.7
    gene.layers["counts"] = sp.csr_matrix(np.arange(1000, dtype=np.float32)[:, None])
    assert np.exp(simulation.true_log_likelihood(gene)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("part", ["true_intercept", "true_dispersion", "size_factor", "loadings"])
def test_on_average_nothing_explains_the_cells_better_than_the_truth(part):
    adata = simulation.cells(300, 30)
    truth = simulation.true_log_likelihood(adata)
    if part == "loadings":
        adata.varm["true_loadings"] = 1.3 * adata.varm["true_loadings"]
    else:
        where = adata.obs if part == "size_factor" else adata.var
        where[part] = where[part] * 1.5
    lost = truth - simulation.true_log_likelihood(adata)
    assert lost.mean() > 3 * stats.sem(lost)


def test_some_of_the_cells_have_the_numbers_of_all():
    adata = simulation.cells(20, 30)
    some = simulation.true_log_likelihood(adata[[7, 3]])
    assert np.array_equal(some, simulation.true_log_likelihood(adata)[[7, 3]])


# --- a model against the truth ------------------------------------------------------------------


def test_it_compares_the_held_out_cells(model, table):
    held_out = model.adata[np.sort(model.validation_indices)]
    assert list(table.index) == list(held_out.obs_names)
    assert tuple(table.columns) == ("truth", "model", "negative ELBO")
    assert np.array_equal(table["truth"], -simulation.true_log_likelihood(held_out))


def in_double_precision(model):
    """Return functions of the model.

    The encoder's q of cells, and -ln p(x | z) of points for cells, by formula.
    """
    module = model.module
    rows = np.sort(model.validation_indices)
    x = torch.tensor(counts_of(model.adata[rows]))
    batch = torch.zeros((len(rows), 1))
    with torch.inference_mode():
        q, _ = module.z_encoder(torch.log1p(x), batch)
    theta = module.px_r.detach().exp().numpy().astype(float)
    size_factor = model.adata.obs["size_factor"].to_numpy()[rows]

    def log_likelihood(cell, latent):
        with torch.inference_mode():
            hidden = module.decoder.px_decoder(
                torch.tensor(latent, dtype=torch.float32), torch.zeros((len(latent), 1))
            )
            linear = module.decoder.px_scale_decoder[0](hidden).numpy().astype(float)
        mean = size_factor[cell] * np.logaddexp(0, linear)
        return stats.nbinom.logpmf(x[cell].numpy(), theta, theta / (theta + mean)).sum(axis=1)

    return q.loc.numpy().astype(float), q.scale.numpy().astype(float), log_likelihood


def test_the_likelihood_of_the_model_is_the_integral_over_z(model, table):
    _, _, log_likelihood = in_double_precision(model)
    grid = np.linspace(-5, 5, 101)
    latent = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_prior = stats.norm.logpdf(latent).sum(axis=1)
    difference = []
    for cell in range(12):
        log_joint = log_likelihood(cell, latent) + log_prior
        top = log_joint.max()
        area = np.exp(log_joint - top).reshape(101, 101)
        expected = -top - np.log(np.trapezoid(np.trapezoid(area, grid), grid))
        difference.append(table["model"].iloc[cell] - expected)
    # A thousand draws leave noise where q fits badly; cells differ by several nats.
    assert np.abs(difference).max() < 1
    assert abs(np.mean(difference)) < 0.15


def test_the_negative_elbo_is_reconstruction_loss_plus_kl(model, table):
    centre, spread, log_likelihood = in_double_precision(model)
    points, weights = np.polynomial.hermite_e.hermegauss(20)
    points = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)
    kl = ((centre**2 + spread**2 - 1) / 2 - np.log(spread)).sum(axis=1)
    expected = [
        kl[cell] - weights @ log_likelihood(cell, centre[cell] + points * spread[cell])
        for cell in range(len(table))
    ]
    difference = table["negative ELBO"] - expected
    assert abs(difference.mean()) < 0.05
    assert difference.abs().max() < 2


def test_on_average_the_elbo_is_above_the_model_and_the_model_above_the_truth(table):
    gaps = simulation.gaps(table)
    for name in ("the model is not the truth", "the bound is not tight"):
        assert gaps.loc[name, "nats per cell"] > 4 * gaps.loc[name, "standard error"]


def test_the_gaps_add_up(table):
    gaps = simulation.gaps(table)
    mean = gaps["nats per cell"]
    assert mean.iloc[:3].sum() == pytest.approx(mean["negative ELBO"])
    assert mean["truth"] == pytest.approx(table["truth"].mean())
    assert mean["the bound is not tight"] == pytest.approx(
        table["negative ELBO"].mean() - table["model"].mean()
    )
    between = table["model"] - table["truth"]
    assert gaps.loc["the model is not the truth", "standard error"] == pytest.approx(
        stats.sem(between)
    )


def test_training_closes_the_gaps(model, table):
    worse = simulation.gaps(simulation.compare(train(new_model(model.adata.copy()), epochs=1)))
    gaps = ["the model is not the truth", "the bound is not tight"]
    better = simulation.gaps(table).loc[gaps, "nats per cell"]
    assert (worse.loc[gaps, "nats per cell"] > 2 * better).all()


def test_it_repeats_and_leaves_the_random_numbers_alone(model, table):
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 -- scvi-tools uses it
    again = simulation.compare(model)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    pd.testing.assert_frame_equal(again, table)


def test_the_figure_says_the_numbers(table):
    figure, mean = simulation.plot(table), table.mean()
    gaps = simulation.gaps(table)["nats per cell"].iloc[1:3]
    for value in mean:
        assert f"{value:,.1f}" in figure.alt
    for gap in gaps:
        assert f"{gap:+.2f}" in figure.alt
    (axes,) = figure.figure.axes
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx(list(mean))
    low, high = axes.get_xlim()
    assert low < min(points)
    assert max(points) < high
    assert f"nats per cell, mean of {len(table)} held-out" in axes.get_xlabel()
    assert figure.png().startswith(b"\x89PNG")


# --- what is refused ----------------------------------------------------------------------------


def test_cells_with_an_unknown_truth_are_refused(pbmc):
    with pytest.raises(ValueError, match=r"truth.*not known.*simulation.cells\(\)"):
        simulation.true_log_likelihood(pbmc)
    pbmc.obs["size_factor"] = 1.0
    with pytest.raises(ValueError, match="not known"):
        simulation.compare(new_model(pbmc))
    lost = simulation.cells(10, 20)
    del lost.varm["true_loadings"]
    with pytest.raises(ValueError, match="not known"):
        simulation.true_log_likelihood(lost)


@pytest.mark.parametrize("setup", [{"layer": None}, {"size_factor_key": None}])
def test_a_model_that_reads_other_things_is_refused(setup):
    model = new_model(simulation.cells(50, 20), **setup)
    with pytest.raises(ValueError, match="does not read the counts and the size factors"):
        simulation.compare(model)


def test_an_untrained_model_is_refused():
    with pytest.raises(ValueError, match=r"not trained.*training.train\(model\)"):
        simulation.compare(new_model(simulation.cells(50, 20)))


def test_a_model_without_held_out_cells_is_refused():
    model = new_model(simulation.cells(50, 20))
    # Not by training.train, whose validation curve needs held-out cells.
    model.train(max_epochs=1, train_size=1.0, enable_progress_bar=False)
    with pytest.raises(ValueError, match="held no cells out"):
        simulation.compare(model)


def test_any_number_of_latent_dimensions_can_be_compared():
    adata = simulation.cells(200, 20)
    scvi.model.SCVI.setup_anndata(adata, layer="counts", size_factor_key="size_factor")
    model = train(scvi.model.SCVI(adata, n_latent=5, gene_likelihood="nb"), epochs=1)
    assert np.isfinite(simulation.compare(model)).all(axis=None)
