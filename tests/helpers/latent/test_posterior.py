"""What the positions are, and that renaming the dimensions changes nothing that the model says."""

import random

import numpy as np
import pytest
import scvi
import torch

from helpers import figures
from helpers.latent import neighbours, posterior
from tests.helpers.small_models import build, few

ORDER, SIGNS = [2, 0, 3, 1], [1, -1, -1, 1]


@pytest.fixture(scope="module")
def cells(whole_cortex):
    return few(whole_cortex, 60)


def trained(cells, setup=None, **parameters):
    model = build(cells, setup=setup, **{"n_latent": 4, "n_hidden": 16} | parameters)
    model.train(max_epochs=2, enable_progress_bar=False, batch_size=32)
    return model


@pytest.fixture(scope="module")
def model(cells):
    return trained(cells, setup={"batch_key": "chip"}, n_layers=2)


def expected_counts(model, positions):
    """Return what the decoder makes of positions, with everything else the same."""
    positions = torch.as_tensor(positions)
    n_cells = len(positions)
    with torch.inference_mode():
        return model.module.generative(
            positions,
            torch.full((n_cells, 1), np.log(1000.0)),
            torch.arange(n_cells)[:, None] % max(1, model.summary_stats.n_batch),
        )["px"].mean.numpy()


# --- renamed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "parameters"),
    [
        ({}, {}),
        ({"batch_key": "chip"}, {"n_layers": 2}),
        ({"batch_key": "chip"}, {"encode_covariates": True, "deeply_inject_covariates": False}),
        ({"categorical_covariate_keys": ["plate"], "continuous_covariate_keys": ["age"]}, {}),
        ({}, {"use_observed_lib_size": False, "dispersion": "gene-cell"}),
    ],
)
def test_renamed_model_has_the_dimensions_in_the_new_order(cells, setup, parameters):
    model = trained(cells, setup, **parameters)
    twin = posterior.renamed(model, ORDER, SIGNS)
    centres, variances = model.get_latent_representation(return_dist=True)
    new_centres, new_variances = twin.get_latent_representation(return_dist=True)
    assert np.allclose(new_centres, centres[:, ORDER] * SIGNS, atol=1e-5)
    assert np.allclose(new_variances, variances[:, ORDER], rtol=1e-4)
    # The positions have changed, so that agreement below is not that of a copy with itself.
    assert np.abs(new_centres - centres).max() > 0.1


def test_renamed_model_expects_the_same_counts(model):
    positions = model.get_latent_representation()
    twin = posterior.renamed(model, ORDER, SIGNS)
    same = expected_counts(twin, positions[:, ORDER] * np.array(SIGNS, np.float32))
    assert np.allclose(same, expected_counts(model, positions), rtol=1e-4)
    other = expected_counts(twin, positions)
    assert not np.allclose(other, expected_counts(model, positions), rtol=1e-2)


def test_renamed_model_has_the_same_kl_divergence_and_nearly_the_same_elbo(model):
    twin = posterior.renamed(model, ORDER, SIGNS)

    def negative_elbo(each):
        # The draws are other ones, since they fall on other dimensions; the mean over many is not.
        return -np.mean([each.get_elbo() for _ in range(30)])

    assert negative_elbo(twin) == pytest.approx(negative_elbo(model), abs=0.2)


def test_renamed_without_signs_only_reorders(model):
    twin = posterior.renamed(model, ORDER)
    assert np.allclose(
        twin.get_latent_representation(),
        model.get_latent_representation()[:, ORDER],
        atol=1e-5,
    )


def test_renamed_leaves_the_model_and_the_random_state_alone(model):
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = random.random(), np.random.random(), torch.get_rng_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    posterior.renamed(model, ORDER, SIGNS)
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert (random.random(), np.random.random()) == expected[:2]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), expected[2])


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4], [0, 1, 2, 3, 4]])
def test_renamed_wants_each_dimension_once(model, order):
    with pytest.raises(ValueError, match="0 to 3 is needed once"):
        posterior.renamed(model, order)


@pytest.mark.parametrize("signs", [[1, 1], [1, -1, 0, 1], [2, 1, 1, 1]])
def test_renamed_wants_a_sign_for_each(model, signs):
    with pytest.raises(ValueError, match="each 1 or -1"):
        posterior.renamed(model, ORDER, signs)


def test_renamed_wants_a_trained_model(cells):
    with pytest.raises(ValueError, match="not trained"):
        posterior.renamed(build(cells, n_latent=4), ORDER)


def test_renamed_refuses_other_latent_spaces(cells):
    for model in (
        trained(cells, latent_distribution="ln"),
        build(cells, "LinearSCVI", n_latent=4),
    ):
        with pytest.raises(TypeError, match="a way of its own"):
            posterior.renamed(model, ORDER)


class Skipping(torch.nn.Module):
    """Two first maps, and the positions once more beside what the first one made of them."""

    def __init__(self, n_latent, n_genes):
        super().__init__()
        self.first = torch.nn.Linear(n_latent, 8)
        self.beside = torch.nn.Linear(8 + n_latent, n_genes)
        self.dropout = torch.nn.Linear(n_latent, n_genes)

    def forward(self, dispersion, z, library, *categories):
        first = torch.relu(self.first(z))
        scale = torch.softmax(self.beside(torch.cat([first, z], dim=-1)), dim=-1)
        return scale, None, library.exp() * scale, self.dropout(z)


class Normalising(Skipping):
    """The positions are given to something that is no linear map."""

    def __init__(self, n_latent, n_genes):
        super().__init__(n_latent, n_genes)
        self.norm = torch.nn.LayerNorm(n_latent)
        self.norm.weight.data.copy_(torch.linspace(0.5, 2, n_latent))

    def forward(self, dispersion, z, *others):
        return super().forward(dispersion, self.norm(z), *others)


class Bare(Skipping):
    """One weight in no module multiplies the positions, and little comes of it."""

    def __init__(self, n_latent, n_genes):
        super().__init__(n_latent, n_genes)
        self.slope = torch.nn.Parameter(torch.linspace(0, 0.1, n_latent))

    def forward(self, dispersion, z, library, *categories):
        scale, _, rate, dropout = super().forward(dispersion, z, library, *categories)
        return scale, None, rate, dropout + (z @ self.slope)[..., None]


class OtherWidths(scvi.module.VAE):
    """The prior of each dimension has a width of its own."""

    def generative(self, *args, **kwargs):
        widths = torch.linspace(0.5, 2, self.n_latent)
        return super().generative(*args, **kwargs) | {"pz": torch.distributions.Normal(0, widths)}


def with_decoder(decoder):
    class Other(scvi.module.VAE):
        def __init__(self, n_input, *args, n_latent, **kwargs):
            super().__init__(n_input, *args, n_latent=n_latent, **kwargs)
            self.decoder = decoder(n_latent, n_input)

    return Other


def own(cells, module):
    """Return a model of a class of one's own, with weights that are not small."""
    kind = type("Own", (scvi.model.SCVI,), {"_module_cls": module})
    scvi.settings.seed = 0
    kind.setup_anndata(cells, layer="counts")
    model = kind(cells, n_latent=4, n_hidden=16)
    model.train(max_epochs=2, enable_progress_bar=False, batch_size=32)
    return model


def losses(model, renaming=None):
    """Return the loss of each cell, at positions that are drawn once and may be renamed."""
    module = model.module.eval()
    (batch,) = model._make_data_loader(adata=model.adata, batch_size=model.adata.n_obs)
    with torch.inference_mode():
        torch.manual_seed(0)
        inference = module.inference(**module._get_inference_input(batch))
        noise = torch.randn(inference["z"].shape, generator=torch.manual_seed(1))
        if renaming is not None:
            order, signs = renaming
            noise = noise[:, order] * torch.tensor(signs)
        inference["z"] = inference["qz"].loc + inference["qz"].scale * noise
        generative = module.generative(**module._get_generative_input(batch, inference))
        loss = module.loss(batch, inference, generative)
    return sum([*loss.reconstruction_loss.values(), *loss.kl_local.values()]).numpy()


def test_a_decoder_with_several_first_maps_is_renamed_in_all_of_them(cells):
    model = own(cells, with_decoder(Skipping))
    # Two different losses, or nothing would be shown.
    assert np.abs(losses(model) - losses(model, (ORDER, SIGNS))).max() > 0.01
    twin = posterior.renamed(model, ORDER, SIGNS)
    assert np.allclose(losses(twin, (ORDER, SIGNS)), losses(model), rtol=1e-5)


@pytest.mark.parametrize(
    "module",
    [with_decoder(Normalising), with_decoder(Bare), OtherWidths],
    ids=["normalised", "a bare weight", "other priors"],
)
def test_a_model_that_renaming_would_change_is_refused(cells, module):
    model = own(cells, module)
    before = losses(model)
    with pytest.raises(TypeError, match=r"way of its own.*would change.*What to do"):
        posterior.renamed(model, ORDER, SIGNS)
    assert (losses(model) == before).all()


def test_a_model_without_counts_is_refused_and_one_with_them_is_renamed(cells):
    for kind in ("latent_posterior_parameters", "latent_posterior_parameters_with_counts"):
        model = trained(cells.copy())
        centres, variances = model.get_latent_representation(return_dist=True)
        model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = centres, variances
        model.minify_adata(kind)
        if kind.endswith("with_counts"):
            found = posterior.renamed(model, ORDER, SIGNS).get_latent_representation()
            assert np.allclose(found, centres[:, ORDER] * SIGNS, atol=1e-5)
        else:
            with pytest.raises(ValueError, match="counts are gone"):
                posterior.renamed(model, ORDER, SIGNS)


def test_an_order_may_be_a_view(model):
    backwards = np.arange(4)[::-1]
    centres = model.get_latent_representation()
    twin = posterior.renamed(model, backwards, np.array(SIGNS)[::-1])
    expected = centres[:, backwards] * np.array(SIGNS)[::-1]
    assert np.allclose(twin.get_latent_representation(), expected, atol=1e-5)


# --- variance_explained -------------------------------------------------------------------------


def test_variance_explained_of_known_tables():
    groups = np.repeat(["a", "b"], 2)
    positions = np.column_stack([[1, 1, 3, 3], [1, 3, 1, 3], [0, 2, 2, 4], [5, 5, 5, 5]])
    assert posterior.variance_explained(positions, groups) == pytest.approx([1, 0, 0.5, 0])


def test_variance_explained_is_that_of_a_regression_on_the_classes(whole_cortex):
    positions = np.log1p(whole_cortex.layers["counts"][:, 700:705].toarray())
    classes = whole_cortex.obs["cell_type"]
    indicators = (classes.to_numpy()[:, None] == classes.unique().to_numpy()).astype(float)
    fitted = indicators @ np.linalg.lstsq(indicators, positions, rcond=None)[0]
    expected = fitted.var(axis=0) / positions.var(axis=0)
    assert posterior.variance_explained(positions, classes) == pytest.approx(expected, rel=1e-4)


def test_variance_explained_wants_labels_that_fit():
    with pytest.raises(ValueError, match="3 labels and 2 positions"):
        posterior.variance_explained(np.zeros((2, 2)), ["a", "b", "c"])
    with pytest.raises(ValueError, match="same label"):
        posterior.variance_explained(np.zeros((2, 2)), ["a", "a"])


# --- figures ------------------------------------------------------------------------------------


def test_clouds_lie_at_the_centres_and_are_two_standard_deviations_wide(model, cells):
    drawing = posterior.plot_posteriors(model, cells.obs["cell_type"], n_cells=10)
    centres, variances = model.get_latent_representation(return_dist=True)
    chosen = sorted(np.argsort(centres.std(axis=0))[-2:])
    axes = drawing.figure.axes[0]
    assert [str(int(s) + 1) in label for s, label in zip(chosen, _labels(axes), strict=True)] == [
        True,
        True,
    ]
    assert len(axes.patches) == 10
    for cloud, cell in zip(axes.patches, np.linspace(0, 127, 10).round().astype(int), strict=True):
        assert cloud.center == pytest.approx(centres[cell, chosen])
        assert (cloud.width, cloud.height) == pytest.approx(4 * np.sqrt(variances[cell, chosen]))
    width = np.sqrt(variances).mean() / centres.std(axis=0).mean()
    assert f"is {figures.about(width, 1)} of" in drawing.alt
    assert "128 cells" in drawing.alt


def _labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def test_clouds_have_the_colour_of_their_class(model, cells):
    classes = cells.obs["cell_type"].astype(str).to_numpy()
    axes = posterior.plot_posteriors(model, classes, n_cells=20).figure.axes[0]
    in_legend = {
        text.get_text(): handle.get_facecolor()[0][:3]
        for text, handle in zip(
            axes.get_legend().get_texts(), axes.get_legend().legend_handles, strict=True
        )
    }
    assert set(in_legend) == set(classes)
    for cloud, cell in zip(axes.patches, np.linspace(0, 127, 20).round().astype(int), strict=True):
        assert cloud.get_facecolor()[:3] == pytest.approx(in_legend[classes[cell]])


def test_clouds_need_two_dimensions_and_a_trained_model(cells):
    with pytest.raises(ValueError, match="one latent dimension"):
        posterior.plot_posteriors(trained(cells, n_latent=1), cells.obs["cell_type"])
    with pytest.raises(ValueError, match="not trained"):
        posterior.plot_posteriors(build(cells), cells.obs["cell_type"])


def test_class_means_are_drawn(model, cells):
    positions = model.get_latent_representation()
    classes = cells.obs["cell_type"].astype(str).to_numpy()
    drawing = posterior.plot_class_means({"one": positions, "other": -2 * positions}, classes)
    for axes, factor in zip(drawing.figure.axes, (1, -2), strict=False):
        image = axes.images[0]
        for row, name in enumerate(np.unique(classes)):
            expected = factor * positions[classes == name].mean(axis=0)
            assert np.asarray(image.get_array())[row] == pytest.approx(expected, rel=1e-4)
        assert image.get_clim()[0] == -image.get_clim()[1]
    share = posterior.variance_explained(positions, classes).max()
    assert drawing.alt.count(f"{'more' if share > 0.5 else 'less'} than half (") == 2


def test_class_means_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        posterior.plot_class_means({}, ["a", "b"])


def test_turning_the_latent_space_keeps_all_neighbours(model):
    positions = model.get_latent_representation().astype(float)
    turned = positions @ np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    assert neighbours.shared(positions, turned) == 1
