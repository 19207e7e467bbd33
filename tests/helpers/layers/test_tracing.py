"""What one training step shows.

Which tensors come in, what is drawn, and what is compared with the data.
"""

from collections import Counter

import networkx as nx
import pytest
import scvi
import torch
from torch import nn

from helpers import data
from helpers.layers import tracing
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
