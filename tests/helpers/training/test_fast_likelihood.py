"""The fast likelihood is that of scvi-tools.

The same numbers, the same gradients, and less work.
"""

import warnings

import pytest
import scvi
import torch
from scvi.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.training import fast_likelihood, minibatches
from helpers.training.fast_likelihood import (
    LARGEST_IN_TABLE,
    FastNegativeBinomial,
    FastSCVI,
    FastZeroInflatedNegativeBinomial,
)
from tests.helpers.small_models import build, few

TWINS = {
    "zinb": (ZeroInflatedNegativeBinomial, FastZeroInflatedNegativeBinomial),
    "nb": (NegativeBinomial, FastNegativeBinomial),
}
N_CELLS, N_GENES = 60, 80


def drawn_counts():
    """Most counts are small, some far above the table, and each edge of the table is among them."""
    counts = torch.distributions.NegativeBinomial(0.5, logits=torch.tensor(2.5)).sample(
        (N_CELLS, N_GENES)
    )
    edges = (0, 1, LARGEST_IN_TABLE - 1, LARGEST_IN_TABLE, LARGEST_IN_TABLE + 1, 300, 1284)
    counts[0, : len(edges)] = torch.tensor(edges, dtype=counts.dtype)
    return counts


def drawn_parameters(*samples):
    """Means, one dispersion a gene over several orders of magnitude, and logits of either sign."""
    return {
        "mu": torch.rand(*samples, N_CELLS, N_GENES, dtype=torch.double) * 20 + 1e-3,
        "theta": torch.logspace(-2, 3, N_GENES, dtype=torch.double),
        "zi_logits": torch.randn(*samples, N_CELLS, N_GENES, dtype=torch.double) * 3,
    }


def outcome(family, counts, parameters, dtype=torch.double):
    """Return the log probabilities, and the gradients of their mean over cells."""
    given = {
        name: parameter.to(dtype).clone().requires_grad_()
        for name, parameter in parameters.items()
        if name != "zi_logits" or issubclass(family, ZeroInflatedNegativeBinomial)
    }
    logs = family(**given).log_prob(counts.to(dtype))
    logs.sum(-1).mean().backward()
    return {"log_prob": logs.detach()} | {name: each.grad for name, each in given.items()}


def of_gammas(counts, theta):
    return torch.lgamma(counts + theta) - torch.lgamma(theta) - torch.lgamma(counts + 1)


def test_the_sum_of_logarithms_is_that_of_gamma_functions():
    counts, theta = drawn_counts().double(), drawn_parameters()["theta"]
    found = fast_likelihood.log_coefficient(counts, theta)
    torch.testing.assert_close(found, of_gammas(counts, theta), rtol=1e-9, atol=1e-9)


def test_its_first_values_are_known():
    """None for a count of 0, ln θ for 1, ln θ(θ+1)/2 for 2."""
    theta = torch.tensor([0.3, 7.0], dtype=torch.double)
    counts = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], dtype=torch.double)
    expected = torch.stack([torch.zeros(2), theta.log(), (theta * (theta + 1) / 2).log()])
    found = fast_likelihood.log_coefficient(counts, theta)
    torch.testing.assert_close(found, expected.double(), rtol=1e-14, atol=1e-14)


def test_its_gradient_is_that_of_finite_differences():
    counts = drawn_counts().double()[:3, :8]
    theta = torch.logspace(-1, 2, 8, dtype=torch.double).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: fast_likelihood.log_coefficient(counts, t), theta)


@pytest.mark.parametrize("samples", [(), (3,)])
@pytest.mark.parametrize("kind", TWINS)
def test_values_and_gradients_are_those_of_scvi_tools(kind, samples):
    counts, parameters = drawn_counts(), drawn_parameters(*samples)
    theirs, ours = (outcome(family, counts, parameters) for family in TWINS[kind])
    assert theirs.keys() == ours.keys()
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-6, atol=1e-11, msg=name)


@pytest.mark.parametrize("kind", TWINS)
def test_rounding_errors_are_no_larger_than_those_of_scvi_tools(kind):
    """Both in float32, against scvi-tools in float64."""
    counts, parameters = drawn_counts(), drawn_parameters()
    parameters = {name: each.float().double() for name, each in parameters.items()}
    exact = outcome(TWINS[kind][0], counts, parameters)
    theirs, ours = (outcome(each, counts, parameters, torch.float) for each in TWINS[kind])
    for name, expected in exact.items():
        error, own = ((each[name] - expected).abs().mean() for each in (ours, theirs))
        assert error <= own, name


@pytest.mark.parametrize("kind", TWINS)
@pytest.mark.parametrize(
    "changed",
    [
        lambda counts: counts + 0.5,
        lambda counts: counts - 1,
        lambda counts: torch.where(counts == 2, 2.001, counts),
    ],
    ids=["halves", "negative", "a few between"],
)
def test_other_counts_get_the_answer_of_scvi_tools(kind, changed):
    """Equal to the last bit."""
    counts, parameters = changed(drawn_counts()), drawn_parameters()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs = outcome(TWINS[kind][0], counts, parameters)
        expected = [str(each.message) for each in caught]
        caught.clear()
        ours = outcome(TWINS[kind][1], counts, parameters)
        assert [str(each.message) for each in caught] == expected
    assert len(expected) == (1 if kind == "zinb" else 0)
    for name in theirs:
        assert torch.equal(ours[name].nan_to_num(), theirs[name].nan_to_num())


@pytest.mark.parametrize("kind", TWINS)
def test_a_dispersion_of_each_cell_gets_the_answer_of_scvi_tools(kind):
    counts, parameters = drawn_counts(), drawn_parameters()
    parameters["theta"] = torch.rand(N_CELLS, N_GENES, dtype=torch.double) + 0.1
    theirs, ours = (outcome(family, counts, parameters) for family in TWINS[kind])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("counts", "theta"),
    [
        (torch.tensor([[0.5, 1.0]]), torch.ones(2)),
        (torch.tensor([[-1.0, 1.0]]), torch.ones(2)),
        (torch.tensor([[float("nan"), 1.0]]), torch.ones(2)),
        (torch.ones(3, 2), torch.ones(3, 2)),
        (torch.ones(3, 2), torch.ones(3, 1)),
    ],
    ids=["half", "negative", "no number", "theta of each cell", "theta of each cell for all genes"],
)
def test_what_the_table_cannot_answer_is_refused(counts, theta):
    with pytest.raises(ValueError, match="What to do"):
        fast_likelihood.log_coefficient(counts, theta)


def steps_of_both(adata, **parameters):
    """Return the losses and gradients of one step of scVI and of its twin with equal weights and cells."""
    results = []
    for family in (scvi.model.SCVI, FastSCVI):
        family.setup_anndata(adata, layer="counts", batch_key="chip", labels_key="type")
        scvi.settings.seed = 0
        model = family(adata, **parameters)
        cells = minibatches.minibatch(model)
        torch.manual_seed(0)
        _, generated, loss = model.module.train()(cells)
        loss.loss.backward()
        gradients = {name: each.grad for name, each in model.module.named_parameters()}
        results.append((type(generated["px"]), loss.loss.detach(), gradients))
    return results


@pytest.mark.parametrize("dispersion", ["gene", "gene-batch", "gene-label", "gene-cell"])
@pytest.mark.parametrize("likelihood", TWINS)
def test_a_step_of_the_model_is_that_of_scvi(whole_cortex, dispersion, likelihood):
    theirs, ours = steps_of_both(
        few(whole_cortex, 60), dispersion=dispersion, gene_likelihood=likelihood
    )
    assert (theirs[0], ours[0]) == TWINS[likelihood]
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-6, atol=0)
    for name, expected in theirs[2].items():
        if expected is None:
            assert ours[2][name] is None
        else:
            torch.testing.assert_close(ours[2][name], expected, rtol=1e-3, atol=1e-4, msg=name)


def test_other_distributions_stay_as_they_are(whole_cortex):
    theirs, ours = steps_of_both(few(whole_cortex, 60), gene_likelihood="poisson")
    assert theirs[0] is ours[0] is Poisson
    assert torch.equal(theirs[1], ours[1])


def trained(family, adata):
    family.setup_anndata(adata, layer="counts")
    scvi.settings.seed = 0
    model = family(adata)
    model.train(max_epochs=3, enable_progress_bar=False)
    return model


def test_a_training_run_and_its_results_are_those_of_scvi(whole_cortex):
    adata = few(whole_cortex, 60)
    theirs, ours = (trained(family, adata) for family in (scvi.model.SCVI, FastSCVI))
    names = [*(theirs.history or {})]
    assert "elbo_train" in names
    for name in names:
        expected = theirs.history[name].to_numpy(float)
        assert ours.history[name].to_numpy(float) == pytest.approx(expected, rel=1e-5)
    scvi.settings.seed = 0
    expected = theirs.get_marginal_ll(n_mc_samples=20, n_mc_samples_per_pass=10)
    scvi.settings.seed = 0
    found = ours.get_marginal_ll(n_mc_samples=20, n_mc_samples_per_pass=10)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


class Evaluated(TorchDispatchMode):
    """How many numbers each operation returned."""

    def __init__(self):
        super().__init__()
        self.numbers = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if isinstance(result, torch.Tensor):
            self.numbers[name] = self.numbers.get(name, 0) + result.numel()
        return result


@pytest.mark.parametrize("likelihood", TWINS)
def test_gamma_functions_are_left_to_large_counts(whole_cortex, likelihood):
    adata = few(whole_cortex, 60)
    model = build(adata, gene_likelihood=likelihood)
    cells = minibatches.minibatch(model)
    FastSCVI.setup_anndata(adata, layer="counts")
    with Evaluated() as plain:
        model.module.train()(cells)[-1].loss.backward()
    with Evaluated() as fast:
        FastSCVI(adata, gene_likelihood=likelihood).module.train()(cells)[-1].loss.backward()
    large = int((cells["X"] > LARGEST_IN_TABLE).sum())
    assert 0 < large < cells["X"].numel() / 2
    assert fast.numbers["lgamma"] == 3 * large
    assert fast.numbers["digamma"] == 2 * large
    assert plain.numbers["digamma"] == 2 * cells["X"].numel()
