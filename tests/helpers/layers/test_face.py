"""What holds for every function that looks at the layers of a model."""

import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from torch import nn
from torch.distributions import Distribution

from helpers.layers import (
    architecture,
    autograd_graph,
    descriptions,
    field_codes,
    learned_numbers,
    model_anatomy,
    side_inputs,
    tracing,
    untrained_parts,
    watched_distributions,
)
from helpers.training import minibatches
from tests.helpers.layers.expected_layers import build_multivi, encoder_decoder, states
from tests.helpers.small_models import build


def minified(cells, kind="latent_posterior_parameters"):
    model = build(cells)
    model.train(max_epochs=1, enable_progress_bar=False)
    mean, variance = model.get_latent_representation(return_dist=True)
    cells.obsm["X_latent_qzm"], cells.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata(kind)
    return model


def topic_model(cells):
    scvi.model.AmortizedLDA.setup_anndata(cells, layer="counts")
    return scvi.model.AmortizedLDA(cells, n_topics=3)


def doublet_finder(cells):
    model = build(cells)
    model.train(max_epochs=1, enable_progress_bar=False)
    return scvi.external.SOLO.from_scvi_model(model)


def two_kinds_of_cells(cells):
    scvi.external.ContrastiveVI.setup_anndata(cells, layer="counts")
    return scvi.external.ContrastiveVI(cells)


# What is passed, and what the message says to do.
BAD = {
    "the data": (
        lambda cells: cells,
        TypeError,
        r"Pass a model such as scvi\.model\.SCVI\(adata\)",
    ),
    "a name": (lambda cells: "SCVI", TypeError, "Pass a model such as"),
    "nothing": (lambda cells: None, TypeError, "Pass a model such as"),
    "a class": (
        lambda cells: scvi.model.SCVI,
        TypeError,
        r"Build one and pass that: SCVI\(adata\)",
    ),
    "a module": (lambda cells: build(cells).module, TypeError, "model, not model.module"),
    "a module's class": (lambda cells: scvi.module.VAE, TypeError, "Pass a model such as"),
    "no data": (lambda cells: scvi.model.SCVI(), ValueError, r"SCVI\.setup_anndata\(adata"),
    "minified data": (minified, ValueError, "Load the model with the full data"),
    "Pyro": (
        topic_model,
        minibatches.UntraceableModelError,
        "written in Pyro.*SCVI or TOTALVI",
    ),
    "a step of its own": (
        two_kinds_of_cells,
        minibatches.UntraceableModelError,
        "SCVI or TOTALVI",
    ),
    "another contract": (
        doublet_finder,
        minibatches.UntraceableModelError,
        "inference, generative part and loss.*SCVI or TOTALVI",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_model_is_refused_with_what_to_pass(case, cells):
    make, error, advice = BAD[case]
    wrong = make(cells)
    for function in (
        architecture.hidden_layers,
        architecture.module_table,
        untrained_parts.unused,
        descriptions.explain,
        model_anatomy.read,
    ):
        with pytest.raises(error, match=advice):
            function(wrong)


def test_minified_data_that_kept_their_counts_are_looked_at_as_before(cells):
    expected = descriptions.explain(build(cells.copy()))
    model = minified(cells.copy(), "latent_posterior_parameters_with_counts")
    kept = model.module.minified_data_type
    assert descriptions.explain(model) == expected
    assert architecture.hidden_layers(model) == encoder_decoder(1, 1)
    assert model.module.minified_data_type == kept


def test_a_module_that_is_not_written_in_pytorch_is_refused_for_that(model):
    model.module = object()
    with pytest.raises(minibatches.UntraceableModelError, match="not written in PyTorch"):
        architecture.hidden_layers(model)


def families(base=Distribution):
    return {base}.union(*(families(family) for family in base.__subclasses__()))


def sampling_and_likelihood():
    return {
        (family, name): vars(family).get(name)
        for family in families()
        for name in ("__init__", "rsample", "log_prob", "sample")
    }


def look_at_all(model):
    architecture.hidden_layers(model)
    architecture.module_table(model)
    untrained_parts.unused(model)
    descriptions.explain(model)


def test_the_model_stays_as_it_is(cells):
    model = build(cells)
    model.train(max_epochs=1, enable_progress_bar=False)
    model.module.l_encoder.requires_grad_(False)
    module = model.module
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    attributes = {part: set(vars(part)) for part in module.modules()}
    flags = {name: value.requires_grad for name, value in module.named_parameters()}
    gradients = {
        name: None if value.grad is None else value.grad.clone()
        for name, value in module.named_parameters()
    }
    columns, state = list(cells.obs), dict(vars(model))
    look_at_all(model)
    # Running averages included.
    assert set(module.state_dict()) == set(weights)
    assert all(torch.equal(module.state_dict()[name], weights[name]) for name in weights)
    assert {part: set(vars(part)) for part in module.modules()} == attributes
    for name, value in module.named_parameters():
        assert value.requires_grad == flags[name]
        before = gradients[name]
        assert value.grad is before or torch.equal(value.grad, before)
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks
    assert not {"inference", "generative", "loss", "_get_generative_input"} & set(vars(module))
    assert list(cells.obs) == columns
    assert vars(model) == state


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode(training, model):
    model.module.train(training)
    model.module.decoder.train(not training)
    modes = {path: part.training for path, part in model.module.named_modules()}
    look_at_all(model)
    assert {path: part.training for path, part in model.module.named_modules()} == modes


def random_states():
    """Return where the generators of PyTorch, NumPy and Python stand, short enough to print."""
    keys = np.random.get_state()  # noqa: NPY002 -- the state of the global generator
    states = (torch.get_rng_state().numpy().tobytes(), keys[1].tobytes(), random.getstate())
    return [*map(hash, states), keys[2:]]


@pytest.mark.parametrize(
    "function",
    [architecture.hidden_layers, untrained_parts.unused, descriptions.explain],
    ids=lambda each: each.__name__,
)
def test_random_numbers_stay_as_they_are(function, model):
    before = random_states()
    function(model)
    assert random_states() == before


def test_distributions_are_restored(model):
    before = sampling_and_likelihood()
    look_at_all(model)
    assert sampling_and_likelihood() == before


def test_distributions_are_restored_after_an_error(model):
    class Broken(nn.Module):
        def forward(self, *args):
            raise ValueError("no such layer")

    model.module.decoder = Broken()
    before = sampling_and_likelihood()
    with pytest.raises(minibatches.UntraceableModelError, match=r"SCVI.*no such layer"):
        architecture.hidden_layers(model)
    assert sampling_and_likelihood() == before
    assert not {"inference", "generative", "loss", "_get_generative_input"} & set(
        vars(model.module)
    )


@pytest.mark.parametrize("kind", ["SCVI", "LinearSCVI", "SCANVI", "TOTALVI", "PEAKVI", "CondSCVI"])
def test_training_does_not_change_the_result(kind, cells, small_citeseq):
    model = build(small_citeseq.copy() if kind == "TOTALVI" else cells, kind)
    before, table = architecture.hidden_layers(model), architecture.module_table(model)
    model.train(max_epochs=1, enable_progress_bar=False)
    assert architecture.hidden_layers(model) == before
    pd.testing.assert_frame_equal(architecture.module_table(model), table)


def test_what_a_module_keeps_of_its_last_step_does_not_matter(small_citeseq):
    # TOTALVI keeps a distribution, whose tensors remember how they were computed.
    model = build(small_citeseq.copy(), "TOTALVI")
    model.module(minibatches.minibatch(model))
    assert architecture.hidden_layers(model) == encoder_decoder(2, 1)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_session_does_not_change_the_result(mode, model):
    table = architecture.module_table(model)
    with mode():
        pd.testing.assert_frame_equal(architecture.module_table(model), table)
        assert architecture.hidden_layers(model) == encoder_decoder(1, 1)
    model.module.eval()
    pd.testing.assert_frame_equal(architecture.module_table(model), table)


def test_gradients_that_were_left_over_do_not_count(model):
    for parameter in model.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert states(model, "l_encoder") == {"idle"}


KNOWING_NO_MODEL = (
    architecture,
    autograd_graph,
    descriptions,
    field_codes,
    learned_numbers,
    model_anatomy,
    side_inputs,
    tracing,
    untrained_parts,
    watched_distributions,
)


def test_no_name_of_a_part_of_a_model_is_in_the_helper(cells, small_citeseq):
    models = [build(cells, kind) for kind in ("SCVI", "LinearSCVI", "SCANVI", "PEAKVI", "AUTOZI")]
    models += [
        build(cells, setup={"batch_key": "chip"}, batch_representation="embedding"),
        build(cells, "CondSCVI", {"fine_labels_key": "subtype"}, prior="mog"),
        build(small_citeseq.copy(), "TOTALVI"),
        build_multivi(cells),
    ]
    names = {
        name
        for model in models
        for path in [
            *(path for path, _ in model.module.named_modules()),
            *(path for path, _ in model.module.named_parameters()),
            *(path for path, _ in model.module.named_buffers()),
        ]
        for name in re.findall(r"[A-Za-z_]\w+", path)
    }
    assert {"l_encoder", "px_r_decoder", "z_encoder", "px_decoder", "l_gene_encoder"} <= names
    # What every PyTorch module has, the words of the lesson, and plain English.
    names -= {"encoder", "decoder", "weight", "bias", "output", "batch", "Layer"}
    names |= {type(model).__name__ for model in models} - {"SCVI", "TOTALVI"}
    for module in KNOWING_NO_MODEL:
        text = Path(module.__file__).read_text()
        assert {name for name in names if re.search(rf"\b{name}\b", text)} == set()
