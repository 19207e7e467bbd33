"""Simpler descriptions of the same held-out cells, scored in the unit of the ELBO."""

import random
from functools import partial

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from scipy import stats
from scvi.distributions import NegativeBinomial
from sklearn.decomposition import PCA
from torch.distributions import Normal, Poisson

from helpers import figures
from helpers.loss import baselines
from tests.helpers.small_models import few

SHORT = {"max_epochs": 2, "enable_progress_bar": False}
POISSON = "Poisson, one mean per gene"
ONE_MEAN = "negative binomial, one mean per gene"
CLASSES = "negative binomial, one mean per gene and class"
PCA_ROW = "PCA, 2 components"
FREE = "scVI, reconstruction loss alone"
ELBO = "scVI, negative ELBO"
SAMPLED = "scVI, importance sampling"


def simulate(n_cells=400, n_genes=30, theta=2.0):
    """Draw negative binomial counts of cells of two classes, whose genes differ up to four-fold."""
    numbers = np.random.default_rng(0)
    classes = numbers.choice(["x", "y"], n_cells)
    fractions = numbers.dirichlet(np.ones(n_genes), 1) * np.ones((n_cells, 1))
    fractions[classes == "y"] *= numbers.choice([0.5, 1, 2], n_genes)
    fractions /= fractions.sum(axis=1, keepdims=True)
    means = 300 * np.exp(numbers.normal(0, 0.5, (n_cells, 1))) * fractions
    counts = numbers.poisson(numbers.gamma(theta, means / theta)).astype(np.float32)
    counts[:, 0] += 1  # no cell is empty
    return ad.AnnData(layers={"counts": counts}, obs=pd.DataFrame({"class": classes}).rename(str))


def train(adata, batch_key=None, train_kwargs=None, **parameters):
    scvi.model.SCVI.setup_anndata(adata, layer="counts", batch_key=batch_key)
    model = scvi.model.SCVI(adata, **{"n_latent": 2, "n_hidden": 16} | parameters)
    model.train(**SHORT | {"train_size": 0.6} | (train_kwargs or {}))
    return model


@pytest.fixture
def model():
    return train(simulate())


def split(model):
    """Return counts and library sizes of the training cells and of the held-out cells."""
    counts = model.adata.layers["counts"].astype(float)
    return [
        (counts[rows], counts[rows].sum(axis=1, keepdims=True))
        for rows in (model.train_indices, model.validation_indices)
    ]


def fraction_in(counts):
    return (counts.sum(axis=0) + 1) / (counts.sum() + counts.shape[1])


def score(model, **kwargs):
    return baselines.compare(model, **kwargs)["nats per cell"]


def likelihood(counts, means, theta):
    """Return the log-likelihood of each gene by SciPy's negative binomial."""
    return stats.nbinom.logpmf(counts, theta, theta / (theta + means)).sum(axis=0)


# --- the dispersion -----------------------------------------------------------------------------


def simulate_genes(theta):
    """Draw counts of a gene a theta, in 4,000 cells of differing means."""
    numbers = np.random.default_rng(1)
    means = np.exp(numbers.normal(1, 1, (4000, 1))) * np.ones(len(theta))
    return numbers.poisson(numbers.gamma(theta, means / theta)), means


def test_the_dispersion_of_simulated_counts_is_found_again():
    truth = np.array([0.05, 0.5, 2.0, 10.0])
    counts, means = simulate_genes(truth)
    assert baselines.dispersion(sp.csr_matrix(counts), means) == pytest.approx(truth, rel=0.1)


def test_no_other_dispersion_is_more_likely():
    counts, means = simulate_genes(np.array([0.05, 0.5, 2.0, 10.0]))
    theta = baselines.dispersion(sp.csr_matrix(counts), means)
    best = likelihood(counts, means, theta)
    for factor in (0.98, 1.02, *np.geomspace(0.001, 1000, 31)):
        assert (likelihood(counts, means, factor * theta) <= best + 1e-3).all()


def test_counts_that_vary_less_than_poisson_counts_are_described_as_such():
    counts = np.full((500, 1), 4)
    means = np.full((500, 1), 4.0)
    theta = baselines.dispersion(sp.csr_matrix(counts), means)
    assert theta[0] == pytest.approx(baselines.DISPERSIONS[1], rel=0.01)
    assert likelihood(counts, means, theta) == pytest.approx(
        stats.poisson.logpmf(counts, means).sum(axis=0), rel=1e-4
    )


# --- the rows -----------------------------------------------------------------------------------


def test_one_mean_a_gene_is_recomputed(model):
    (learned, library), (counts, held_out_library) = split(model)
    fraction, table = fraction_in(learned), score(model)
    means = torch.tensor(held_out_library * fraction)
    by_poisson = Poisson(means).log_prob(torch.tensor(counts)).sum(dim=1).mean()
    assert table[POISSON] == pytest.approx(-float(by_poisson))
    theta = torch.tensor(baselines.dispersion(sp.csr_matrix(learned), library * fraction))
    by_negative_binomial = NegativeBinomial(mu=means, theta=theta).log_prob(torch.tensor(counts))
    assert table[ONE_MEAN] == pytest.approx(-float(by_negative_binomial.sum(dim=1).mean()))


def test_on_the_training_cells_a_dispersion_can_only_help(model):
    model.validation_indices = model.train_indices
    table = score(model)
    assert table[ONE_MEAN] < table[POISSON]


def test_knowing_more_of_simulated_cells_helps(model):
    table = score(model, class_key="class")
    assert list(table.index) == [POISSON, ONE_MEAN, CLASSES, PCA_ROW, FREE, ELBO, SAMPLED]
    assert table[POISSON] > table[ONE_MEAN] > table[PCA_ROW]
    assert table[ONE_MEAN] > table[CLASSES] + 1


def assert_score_of(fractions, held_out_fractions, model, found):
    """Recompute a score from fractions, with SciPy.

    Which share of the average is chosen is tested below.
    """
    (learned, library), (counts, held_out_library) = split(model)
    expected = []
    for share in baselines.SHARES:
        means, held_out_means = (
            size * ((1 - share) * own + share * fraction_in(learned))
            for size, own in ((library, fractions), (held_out_library, held_out_fractions))
        )
        theta = baselines.dispersion(sp.csr_matrix(learned), means)
        expected.append(-likelihood(counts, held_out_means, theta).sum() / len(counts))
    assert min(abs(found - value) for value in expected) < 1e-5


def test_classes_are_recomputed(model):
    learned, classes = split(model)[0][0], model.adata.obs["class"].to_numpy()
    described, held_out = classes[model.train_indices], classes[model.validation_indices]
    of_class = {
        name: learned[described == name].sum(axis=0) / learned[described == name].sum()
        for name in "xy"
    }
    found = score(model, class_key="class")[CLASSES]
    fractions = [np.stack([of_class[name] for name in names]) for names in (described, held_out)]
    assert_score_of(*fractions, model, found)


@pytest.mark.parametrize("components", [2, 5])
def test_components_are_recomputed_with_another_solver(model, components):
    (learned, library), (counts, held_out_library) = split(model)
    pca = PCA(components, svd_solver="full").fit(np.log1p(1e4 * learned / library))

    def turned_back(counts, library):
        position = pca.transform(np.log1p(1e4 * counts / library))
        fractions = np.expm1(np.clip(pca.inverse_transform(position), 0, None))
        return fractions / fractions.sum(axis=1, keepdims=True)

    factor = learned.sum(axis=0) + 1
    factor /= (library * turned_back(learned, library)).sum(axis=0) + 1
    fractions = [
        factor * turned_back(*cells) for cells in ((learned, library), (counts, held_out_library))
    ]
    fractions = [f / f.sum(axis=1, keepdims=True) for f in fractions]
    table = score(model, more_components=[5])
    assert_score_of(*fractions, model, table[f"PCA, {components} components"])


def test_the_share_of_the_average_is_not_chosen_on_the_cells_it_is_learned_from(model):
    # Classes of about five cells, drawn by lot, fit the cells that they are made of, and no others.
    model.adata.obs["lot"] = np.random.default_rng(0).integers(0, 50, model.adata.n_obs)
    cells, _ = baselines._split(model, "lot")
    assert baselines._share_of_average(baselines._learn_classes, cells) == max(baselines.SHARES)
    cells, _ = baselines._split(model, "class")
    assert baselines._share_of_average(baselines._learn_classes, cells) == min(baselines.SHARES)


def test_what_training_cells_never_show_is_possible(model):
    counts = model.adata.layers["counts"]
    counts[model.train_indices, 5] = 0
    counts[model.validation_indices, 5] = 3
    model.adata.obs["class"] = model.adata.obs["class"].where(np.arange(400) % 7 > 0)
    held_out = model.adata.obs_names[model.validation_indices[:4]]
    model.adata.obs.loc[held_out, "class"] = "only held out"
    assert np.isfinite(score(model, class_key="class")).all()


def test_a_class_without_training_cells_is_described_by_all(model):
    cells, held_out = baselines._split(model, None)
    unseen = baselines._Cells(held_out.counts, held_out.library, held_out.classes + 1)
    expected = np.tile(fraction_in(split(model)[0][0]), (len(held_out.library), 1))
    assert baselines._learn_classes(cells)(unseen) == pytest.approx(expected)


# --- what the rows may see ----------------------------------------------------------------------


def test_a_held_out_cell_counts_for_itself_only(model):
    held_out = model.validation_indices
    first, second = held_out[:60], held_out[60:]
    both = score(model, class_key="class")
    model.validation_indices = second
    of_second = score(model, class_key="class")
    model.validation_indices = first
    of_first = score(model, class_key="class")
    rows = [POISSON, ONE_MEAN, CLASSES, PCA_ROW]
    weighted = (len(first) * of_first + len(second) * of_second) / len(held_out)
    assert both[rows].to_numpy() == pytest.approx(weighted[rows].to_numpy())
    model.adata.layers["counts"][second] *= 3
    pd.testing.assert_series_equal(score(model, class_key="class"), of_first, check_exact=True)


def test_training_cells_are_what_the_rivals_learn_from(model):
    before = score(model)
    model.adata.layers["counts"][model.train_indices, 3] += 20
    moved = score(model) - before
    assert (moved[[POISSON, ONE_MEAN, PCA_ROW]].abs() > 1e-3).all()
    assert (moved[[ELBO, SAMPLED]] == 0).all()


# --- scVI ---------------------------------------------------------------------------------------


def test_the_rows_of_scvi_are_recomputed_with_its_module(model):
    # The last of two minibatches holds few cells, the largest: a mean of minibatches is far off.
    library = model.adata.layers["counts"].sum(axis=1)
    model.validation_indices = model.validation_indices[library[model.validation_indices].argsort()]
    assert 128 < len(model.validation_indices) < 200
    table = score(model)
    (tensors,) = model._make_data_loader(
        model.adata, indices=model.validation_indices, batch_size=1000
    )
    elbos, free, weights = [], [], []
    with torch.inference_mode():
        for _ in range(200):
            inferred, _, loss = model.module(tensors, loss_kwargs={"kl_weight": 1.0})
            reconstruction = loss.reconstruction_loss["reconstruction_loss"]
            elbos.append(float((reconstruction + loss.kl_local["kl_divergence_z"]).mean()))
            free.append(float(reconstruction.mean()))
            z = inferred["z"]
            prior = Normal(torch.zeros_like(z), 1).log_prob(z).sum(dim=1)
            weights.append(prior - reconstruction - inferred["qz"].log_prob(z).sum(dim=1))
    # Ours is the mean of fewer draws, so its error is the larger one.
    allowed = 5 * np.std(elbos) / np.sqrt(baselines.ELBO_DRAWS)
    assert table[ELBO] == pytest.approx(np.mean(elbos), abs=allowed)
    assert table[FREE] == pytest.approx(np.mean(free), abs=allowed)
    few = torch.stack(weights).reshape(4, baselines.IMPORTANCE_SAMPLES, -1)
    estimates = few.logsumexp(dim=1) - np.log(baselines.IMPORTANCE_SAMPLES)
    of_four = -estimates.mean(dim=1).numpy()
    assert table[SAMPLED] == pytest.approx(of_four.mean(), abs=0.02 + 5 * float(of_four.std()))
    assert table[SAMPLED] <= table[ELBO]


# --- the table ----------------------------------------------------------------------------------


def test_the_table_says_what_each_row_knows_and_pays(model):
    table = baselines.compare(model)
    assert CLASSES not in table.index
    assert list(table["pays for the position"]) == ["-", "-", "no", "no", "yes", "yes"]
    assert table.loc[ONE_MEAN, "knows of the cell"] == "library size"
    assert "2 numbers" in table.loc[PCA_ROW, "knows of the cell"]


def random_states():
    _, key, position, *_ = np.random.get_state()  # noqa: NPY002 -- the generator of the session
    return random.getstate(), list(key), position, torch.get_rng_state().tolist()


def test_it_repeats_bit_by_bit_and_leaves_random_numbers_alone(model):
    first = baselines.compare(model, class_key="class")
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    torch.rand(3)
    before = random_states()
    pd.testing.assert_frame_equal(
        baselines.compare(model, class_key="class"), first, check_exact=True
    )
    assert random_states() == before


def test_it_works_on_real_sparse_counts_with_batches(whole_pbmc):
    table = score(train(few(whole_pbmc, 40), batch_key="chip"))
    assert np.isfinite(table).all()
    assert table[POISSON] > table[ONE_MEAN]


def test_the_figure_says_and_shows_the_numbers(model):
    table = baselines.compare(model, class_key="class")
    drawn = baselines.plot(table)
    (axes,) = drawn.figure.axes
    dots = {
        axes.get_yticklabels()[int(row)].get_text(): value
        for line in axes.lines
        for value, row in np.asarray(line.get_xydata()).tolist()
    }
    assert dots == table["nats per cell"].to_dict()
    assert axes.get_xlim()[0] > 0
    for name, value in table["nats per cell"].items():
        assert f"{name}: {figures.about(value, 2)}" in drawn.alt


# --- errors -------------------------------------------------------------------------------------


def test_models_that_cannot_be_compared_are_refused():
    adata = simulate()
    refuse = partial(pytest.raises, ValueError)
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    with refuse(match=r"not trained.*training\.train"):
        baselines.compare(scvi.model.SCVI(adata))
    with refuse(match=r"held no cells out.*train_size=1"):
        baselines.compare(train(adata, train_kwargs={"train_size": 1.0}))
    with refuse(match=r"'normal'.*zinb, nb, poisson"):
        baselines.compare(train(adata, gene_likelihood="normal"))
    with refuse(match="observed library size"):
        baselines.compare(train(adata, use_observed_lib_size=False))
    scvi.model.SCANVI.setup_anndata(
        adata, layer="counts", labels_key="class", unlabeled_category="?"
    )
    with pytest.raises(TypeError, match=r"SCANVI.*scvi\.model\.SCVI"):
        baselines.compare(scvi.model.SCANVI(adata))


def test_numbers_that_are_not_whole_and_unknown_columns_are_refused(model):
    with pytest.raises(KeyError, match=r"no column 'cell_type'\. Columns: .*class"):
        baselines.compare(model, class_key="cell_type")
    model.adata.layers["counts"][0, 0] = 0.5
    with pytest.raises(ValueError, match=r"not whole.*layer="):
        baselines.compare(model)
