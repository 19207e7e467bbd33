"""What a model learned as the batch effect, against the truth of simulated batches."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import environment
from helpers.batches import batch_effects, experiments
from tests.helpers.random_states import random_states
from tests.helpers.small_models import build, few

PAIR = ("pyramidal CA1", "pyramidal SS")
QUIET = {"enable_progress_bar": False}


@pytest.fixture(scope="module")
def balanced(whole_cortex):
    return experiments.simulate(whole_cortex, 600, 150)


@pytest.fixture(scope="module")
def both(balanced):
    environment.prepare()  # the fixture that does so comes later
    return experiments.train_both(balanced, **QUIET)


@pytest.fixture
def model(both):
    return both["scVI with batch_key"]


def test_a_decoder_that_ignores_batches_has_no_effect(whole_cortex):
    adata = few(whole_cortex, 30)
    model = build(adata, setup={"batch_key": "chip"})
    model.is_trained_ = True
    assert batch_effects.learned(model).abs().max() > 0.01
    # The layers of the decoder that are told the batch, in their last two columns.
    of_batch = [
        weights
        for weights in model.module.decoder.parameters()
        if weights.shape[-1:] == (model.module.n_latent + 2,)
    ]
    assert of_batch
    with torch.no_grad():
        for weights in of_batch:
            weights[:, -2:] = 0
    assert (batch_effects.learned(model) == 0).all()


def test_the_effect_is_recomputed_with_the_decoder(model):
    z = torch.tensor(model.get_latent_representation())
    library = torch.zeros(len(z), 1)

    def fractions(batch):
        with torch.inference_mode():
            of_batch = torch.full((len(z), 1), batch)
            scale, *_ = model.module.decoder("gene", z, library, of_batch)
        return scale.numpy()

    change = np.log(fractions(1) / fractions(0)).mean(axis=0)
    found = batch_effects.learned(model)
    assert list(found.index) == list(model.adata.var_names)
    # Here each cell is at its mean position, there at one that was drawn.
    np.testing.assert_allclose(found, change - change.mean(), atol=0.05)


def test_the_effect_found_is_about_the_true_one(both):
    table = batch_effects.compare(both["scVI with batch_key"], PAIR)
    effect, truth = table["learned batch effect"], table["true batch effect"]
    assert effect.corr(truth) > 0.8
    slopes = batch_effects.attribution(table)
    assert slopes.loc["learned batch effect", "true batch effect"] == pytest.approx(1, abs=0.25)
    assert slopes.loc["learned batch effect", "true class difference"] == pytest.approx(0, abs=0.12)


def test_the_truth_is_recomputed(balanced, model):
    table = batch_effects.compare(model, PAIR)
    truth = np.log(balanced.var["true_kept"])
    np.testing.assert_allclose(table["true batch effect"], truth - truth.mean())
    ca1, ss = (
        balanced.layers["before"][(balanced.obs["cell_type"] == name).to_numpy()].toarray()
        for name in PAIR
    )
    ratio = np.log(ss.sum(axis=0) + 1) - np.log(ca1.sum(axis=0) + 1)
    np.testing.assert_allclose(
        table["true class difference"], ratio - ratio.mean(), rtol=1e-4, atol=1e-5
    )
    reverse = batch_effects.compare(model, PAIR[::-1])
    for column in ("true class difference", "learned class difference"):
        np.testing.assert_allclose(reverse[column], -table[column], atol=1e-6)
    assert table.abs().mean().gt(0.1).all()
    np.testing.assert_allclose(table.mean(), 0, atol=1e-6)


def test_learned_columns_are_those_of_the_model(model):
    table = batch_effects.compare(model, PAIR)
    pd.testing.assert_series_equal(table["learned batch effect"], batch_effects.learned(model))
    with torch.inference_mode():
        torch.manual_seed(5)
        means = model.get_normalized_expression(transform_batch=["A", "B"], n_samples=5)
    of_class = means.groupby(model.adata.obs["cell_type"], observed=True).mean()
    ratio = np.log(of_class.loc[PAIR[1]] / of_class.loc[PAIR[0]])
    assert table["learned class difference"].corr(ratio) > 0.99
    np.testing.assert_allclose(table["learned class difference"], ratio - ratio.mean(), atol=0.15)


def test_a_decoder_may_have_a_scale_of_its_own_for_each_cell(model, monkeypatch):
    expected = batch_effects.compare(model, PAIR)
    original = model.get_normalized_expression
    factors = np.linspace(1, 400, model.adata.n_obs)[:, None]

    def scaled(adata=None, indices=None, **how):
        rows = range(model.adata.n_obs) if indices is None else indices
        return original(adata, indices, **how) * factors[rows]

    # As where there are size factors: the genes do not add up to 1.
    monkeypatch.setattr(model, "get_normalized_expression", scaled, raising=False)
    pd.testing.assert_frame_equal(batch_effects.compare(model, PAIR), expected, atol=1e-4)


def test_a_model_without_batch_key_knows_no_effect(both):
    table = batch_effects.compare(both["scVI"], PAIR)
    assert (table["learned batch effect"] == 0).all()
    assert table["learned class difference"].corr(table["true class difference"]) > 0.8
    slopes = batch_effects.attribution(table)
    assert (slopes.loc["learned batch effect"] == 0).all()


def test_where_class_and_batch_are_the_same_the_effect_contains_the_class(whole_cortex):
    pair = whole_cortex[whole_cortex.obs["cell_type"].isin(PAIR)]
    adata = experiments.simulate(pair, 500, 120, only_in=dict(zip(PAIR, "AB", strict=True)))
    model = experiments.train(adata, "batch", **QUIET)
    slopes = batch_effects.attribution(batch_effects.compare(model, PAIR))
    assert slopes.loc["learned batch effect", "true class difference"] > 0.4
    assert slopes.loc["learned class difference", "true class difference"] < 0.4


def test_slopes_are_found_again():
    numbers = np.random.default_rng(0)
    effect, difference, noise = numbers.normal(size=(3, 5000))
    table = pd.DataFrame(
        {
            "true batch effect": effect,
            "true class difference": difference + 0.5 * effect,
            "learned batch effect": 0.9 * effect + 0.3 * (difference + 0.5 * effect) + 0.1 * noise,
            "learned class difference": -0.2 * effect + 0.7 * (difference + 0.5 * effect),
        }
    )
    slopes = batch_effects.attribution(table)
    assert list(slopes.index) == ["learned batch effect", "learned class difference"]
    assert list(slopes.columns) == ["true batch effect", "true class difference"]
    np.testing.assert_allclose(slopes, [[0.9, 0.3], [-0.2, 0.7]], atol=0.01)


def test_nothing_is_changed_and_it_repeats(model):
    model.module.train()
    model.module.z_encoder.eval()
    modes = [part.training for part in model.module.modules()]
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    states, obs = random_states(), model.adata.obs.copy()
    table = batch_effects.compare(model, PAIR)
    assert random_states() == states
    assert [part.training for part in model.module.modules()] == modes
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, weights[name])
    pd.testing.assert_frame_equal(model.adata.obs, obs)
    model.module.eval()
    torch.rand(3)
    pd.testing.assert_frame_equal(batch_effects.compare(model, PAIR), table)


def test_models_and_cells_that_cannot_be_compared_are_refused(whole_cortex, both):
    with pytest.raises(ValueError, match=r"(?s)knows 1 batch.*batch_key"):
        batch_effects.learned(both["scVI"])
    adata = few(whole_cortex, 30)
    model = build(adata, setup={"batch_key": "plate"})
    with pytest.raises(ValueError, match="not trained"):
        batch_effects.learned(model)
    with pytest.raises(ValueError, match="not trained"):
        batch_effects.compare(model, PAIR)
    model.is_trained_ = True
    with pytest.raises(ValueError, match="knows 3 batch"):
        batch_effects.learned(model)
    with pytest.raises(ValueError, match="only known of simulated"):
        batch_effects.compare(model, PAIR)
    with pytest.raises(ValueError, match=r"class 'neurons'\. Classes: .*pyramidal CA1"):
        batch_effects.compare(both["scVI"], ("neurons", "pyramidal SS"))
