"""What one training step shows.

Which tensors come in, what is drawn, and what is compared with the data.
"""

from collections import Counter

import networkx as nx
import pytest
import scvi
import torch
from scvi.module.base import LossOutput
from torch import distributions, nn

from helpers import data
from helpers.layers import architecture, tracing
from helpers.training.minibatches import UntraceableModelError
from tests.helpers.small_models import build, few

N_GENES = 60


@pytest.fixture
def cells(whole_cortex):
    return few(whole_cortex, N_GENES)


@pytest.fixture(scope="module")
def small_citeseq():
    return few(data.load_citeseq(), N_GENES)


def of_the_loss(model, kind):
    """Return the nodes of a kind that lead to the loss, by name, with how many there are."""
    graph = tracing.trace(model).graph
    before = nx.ancestors(graph, end(graph))
    return Counter(graph.nodes[n]["name"] for n in before if graph.nodes[n]["kind"] == kind)


def end(graph):
    return next(node for node, kind in graph.nodes(data="kind") if kind == "loss")


# --- what is drawn, and what is compared with the data --------------------------------------------

NB, ZINB = "NegativeBinomial", "ZeroInflatedNegativeBinomial"


@pytest.mark.parametrize(
    ("kind", "parameters", "likelihoods", "n_samples"),
    [
        ("SCVI", {}, [ZINB], 1),
        ("SCVI", {"gene_likelihood": "nb"}, [NB], 1),
        ("SCVI", {"gene_likelihood": "poisson"}, ["Poisson"], 1),
        ("SCVI", {"gene_likelihood": "normal"}, ["Normal"], 1),
        ("SCVI", {"use_observed_lib_size": False}, [ZINB], 2),  # and the library size
        ("LinearSCVI", {}, [NB], 2),
        ("SCANVI", {}, [ZINB], 2),  # z1, whose own density is no likelihood of data, and z2
        # Of a latent, a library size that goes nowhere, and a background, two reach the loss. The
        # penalty for expressed proteins is a Bernoulli of ones, not of data.
        ("TOTALVI", {}, [NB, "NegativeBinomialMixture"], 2),
        ("PEAKVI", {}, ["Bernoulli"], 1),  # binary cross-entropy with (x > 0)
        ("CondSCVI", {}, [NB], 1),
    ],
)
def test_likelihoods_and_samples_are_those_of_the_loss(
    kind, parameters, likelihoods, n_samples, cells, small_citeseq
):
    model = build(small_citeseq.copy() if kind == "TOTALVI" else cells, kind, **parameters)
    assert of_the_loss(model, "likelihood") == Counter(likelihoods)
    assert of_the_loss(model, "sample") == {"Normal": n_samples}


def test_both_likelihoods_of_a_mixture_are_found(cells):
    model = build(cells, "AUTOZI")
    assert of_the_loss(model, "likelihood") == {NB: 1, ZINB: 1}
    # The probability of extra zeros is drawn as a ratio of two gamma numbers.
    assert of_the_loss(model, "sample") == {"Normal": 1, "Gamma": 2}


class AgreeingVAE(scvi.module.VAE):
    """Two heads are asked to agree, with a loss that is also a likelihood elsewhere."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.one, self.two = nn.Linear(self.n_latent, 3), nn.Linear(self.n_latent, 3)

    def loss(self, tensors, inference_outputs, generative_outputs, **kwargs):
        output = super().loss(tensors, inference_outputs, generative_outputs, **kwargs)
        z = inference_outputs["z"]
        asked = torch.sigmoid(self.two(z)).detach()
        agreement = nn.functional.binary_cross_entropy_with_logits(self.one(z), asked)
        output.loss = output.loss + agreement
        return output


class AgreeingSCVI(scvi.model.SCVI):
    _module_cls = AgreeingVAE


def test_a_comparison_of_two_computed_numbers_is_no_likelihood(cells):
    AgreeingSCVI.setup_anndata(cells, layer="counts")
    assert of_the_loss(AgreeingSCVI(cells), "likelihood") == {ZINB: 1}


def test_inputs_and_learned_numbers_are_found_by_name(cells, small_citeseq):
    model = build(cells, setup={"batch_key": "chip"}, dispersion="gene-batch")
    assert of_the_loss(model, "input") == {"X": 1}
    # A row picked by a code is a look-up, though it is computed as a product with zeros and ones.
    assert of_the_loss(model, "parameter") == {"px_r": 1}
    assert "px_r" not in of_the_loss(model, "linear")
    embedded = build(cells, setup={"batch_key": "chip"}, batch_representation="embedding")
    assert sum(of_the_loss(embedded, "lookup").values()) == 1
    assert of_the_loss(build(small_citeseq.copy(), "TOTALVI"), "input") == {"X": 1, "proteins": 1}


def test_networks_end_at_a_sample(cells):
    graph = tracing.trace(build(cells)).graph
    (sample,) = (
        node
        for node, kind in graph.nodes(data="kind")
        if kind == "sample" and node in nx.ancestors(graph, end(graph))
    )
    heads = {graph.nodes[node]["name"] for node in graph.predecessors(sample)}
    assert heads == {"z_encoder.mean_encoder.weight", "z_encoder.var_encoder.weight"}
    assert all(graph.edges[node, sample]["cut"] for node in graph.predecessors(sample))
    (first,) = graph.successors(sample)
    assert graph.nodes[first]["name"] == "decoder.px_decoder.fc_layers.Layer 0.0.weight"


# --- distributions of any make --------------------------------------------------------------------


class Bare(distributions.Distribution):
    """Declares none of what PyTorch's distributions declare, and has no mean."""

    def __init__(self, inside):
        self.inside = [inside]
        super().__init__(validate_args=False)

    def log_prob(self, value):
        return self.inside[0].log_prob(value=value)


def two_normals(px):
    both = torch.stack([px.mu, px.theta.expand_as(px.mu)], dim=-1)
    weights = distributions.Categorical(logits=both.log())
    return distributions.MixtureSameFamily(
        weights, distributions.Normal(both, torch.ones_like(both))
    )


# What is returned instead of a negative binomial, and the name of the likelihood.
RETURNED = {
    "bare": (Bare, "Bare"),
    "independent": (
        lambda px: distributions.Independent(distributions.Poisson(px.mu), 1),
        "Poisson",
    ),
    "mixture": (two_normals, "MixtureSameFamily"),
    "transformed": (
        lambda px: distributions.TransformedDistribution(
            distributions.Normal(px.mu, px.theta), distributions.AffineTransform(1.0, 2.0)
        ),
        "TransformedDistribution",
    ),
}


@pytest.mark.parametrize("case", RETURNED)
def test_a_distribution_of_any_make_ends_the_decoder(case, cells):
    make, name = RETURNED[case]

    class VAE(scvi.module.VAE):
        def generative(self, *args, **kwargs):
            outputs = super().generative(*args, **kwargs)
            return outputs | {"px": make(outputs["px"])}

        def loss(self, tensors, inference_outputs, generative_outputs, **kwargs):
            px = generative_outputs["px"]
            found = -px.log_prob(tensors["X"]).sum()
            return LossOutput(loss=found, n_obs_minibatch=1)

    family = type("Other", (scvi.model.SCVI,), {"_module_cls": VAE})
    family.setup_anndata(cells, layer="counts")
    model = family(cells, gene_likelihood="nb")
    assert of_the_loss(model, "likelihood") == {name: 1}
    graph = tracing.trace(model).graph
    (node,) = (
        node for node in graph.predecessors(end(graph)) if graph.nodes[node]["kind"] == "likelihood"
    )
    # As many columns as the data, also where they are added up.
    assert graph.nodes[node]["width"] == N_GENES
    assert architecture.hidden_layers(model) == {"encoder": 1, "decoder": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda q: distributions.Independent(q, 1),
        lambda q: distributions.LogNormal(q.loc, q.scale),
        Bare,
    ],
    ids=["independent", "log-normal", "bare"],
)
def test_a_sample_of_any_make_ends_the_encoder(make, cells):
    class VAE(scvi.module.VAE):
        def inference(self, *args, **kwargs):
            outputs = super().inference(*args, **kwargs)
            posterior = make(outputs["qz"])
            drawn = posterior.rsample() if posterior.has_rsample else outputs["z"]
            return outputs | {"z": drawn}

    family = type("Other", (scvi.model.SCVI,), {"_module_cls": VAE})
    family.setup_anndata(cells, layer="counts")
    assert architecture.hidden_layers(family(cells)) == {"encoder": 1, "decoder": 1}


def test_an_error_without_a_message_is_named(cells):
    class VAE(scvi.module.VAE):
        def generative(self, *args, **kwargs):
            raise NotImplementedError

    family = type("Silent", (scvi.model.SCVI,), {"_module_cls": VAE})
    family.setup_anndata(cells, layer="counts")
    with pytest.raises(UntraceableModelError, match=r"Silent.*\(NotImplementedError\)"):
        architecture.hidden_layers(family(cells))
