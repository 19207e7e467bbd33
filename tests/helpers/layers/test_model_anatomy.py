"""What counts as a layer: random settings, and models that were changed."""

import dataclasses
import inspect
import re

import numpy as np
import pytest
import scvi
import torch
from scvi.model.base import BaseModelClass
from scvi.module.base import BaseModuleClass, LossOutput
from torch import distributions, nn

from helpers.layers import architecture, model_anatomy
from helpers.training import minibatches
from tests.helpers.layers.expected_layers import (
    CELL_DISPERSION,
    LATENT,
    LIBRARY,
    N_GENES,
    WIDTH,
    assert_anatomy,
    encoder_decoder,
    layers,
    n_parameters,
    paths,
    states,
)
from tests.helpers.small_models import build


def covariates(pick):
    setup = {
        "batch_key": pick([None, "chip"]),
        "categorical_covariate_keys": pick([None, ["plate"]]),
        "continuous_covariate_keys": pick([None, ["age"]]),
    }
    return {name: value for name, value in setup.items() if value}


def random_scvi(pick):
    depth, observed = pick([1, 2, 3, 4]), pick([True, False])
    parameters = {
        "n_layers": depth,
        "use_observed_lib_size": observed,
        "dispersion": pick(["gene", "gene-batch", "gene-label", "gene-cell"]),
        "gene_likelihood": pick(["zinb", "nb", "poisson", "normal"]),
        "latent_distribution": pick(["normal", "ln"]),
        "dropout_rate": pick([0, 0.1, 0.5]),
        "encode_covariates": pick([True, False]),
        "deeply_inject_covariates": pick([True, False]),
        "batch_representation": pick(["one-hot", "embedding"]),
        "use_batch_norm": pick(["none", "encoder", "decoder", "both"]),
        "use_layer_norm": pick(["none", "encoder", "decoder", "both"]),
    }
    library = {} if observed else {"l_encoder": 1}
    return covariates(pick), parameters, encoder_decoder(depth, depth, **library)


def random_linear(pick):
    depth, observed = pick([1, 2, 3, 4]), pick([True, False])
    parameters = {
        "n_layers": depth,
        "use_observed_lib_size": observed,
        # LinearSCVI does not tell its module how many labels there are, so gene-label fails.
        "dispersion": pick(["gene", "gene-batch"]),
        "gene_likelihood": pick(["zinb", "nb", "poisson"]),
        "latent_distribution": pick(["normal", "ln"]),
        "use_batch_norm": pick([True, False]),
        "bias": pick([True, False]),
    }
    library = {} if observed else {"l_encoder": 1}
    return {"batch_key": pick([None, "chip"])}, parameters, encoder_decoder(depth, 0, **library)


def random_scanvi(pick):
    setup, parameters, hidden = random_scvi(pick)
    depth, linear = parameters["n_layers"], pick([True, False])
    # SCANVI takes gene-label, but has no column in it for a cell without a label.
    more = {"linear_classifier": linear, "dispersion": pick(["gene", "gene-batch", "gene-cell"])}
    hidden |= {
        "encoder_z2_z1": depth,
        "decoder_z1_z2": depth,
        "classifier": 0 if linear else depth,
    }
    return setup | {"labels_key": pick(["type", "known"])}, parameters | more, hidden


def random_totalvi(pick):
    encoder, decoder = pick([1, 2, 3]), pick([1, 2, 3])
    parameters = {
        "n_layers_encoder": encoder,
        "n_layers_decoder": decoder,
        "gene_likelihood": pick(["zinb", "nb"]),
        "gene_dispersion": pick(["gene", "gene-batch"]),
        "protein_dispersion": pick(["protein", "protein-batch"]),
        "latent_distribution": pick(["normal", "ln"]),
        "use_observed_lib_size": pick([True, False]),
        "encode_covariates": pick([True, False]),
        "use_layer_norm": pick(["none", "both"]),
    }
    return {"batch_key": pick([None, "batch"])}, parameters, encoder_decoder(encoder, decoder)


def random_peakvi(pick):
    encoder, decoder, depth = pick([1, 2, 3]), pick([1, 2, 3]), pick([True, False])
    parameters = {
        "n_layers_encoder": encoder,
        "n_layers_decoder": decoder,
        "model_depth": depth,
        "region_factors": pick([True, False]),
        "use_batch_norm": pick(["none", "encoder", "decoder", "both"]),
        "use_layer_norm": pick(["encoder", "both"]),
        "encode_covariates": pick([True, False]),
        "deeply_inject_covariates": pick([True, False]),
    }
    library = {"d_encoder": encoder} if depth else {}
    return covariates(pick), parameters, encoder_decoder(encoder, decoder, **library)


def random_condscvi(pick):
    depth = pick([1, 2, 3, 4])
    parameters = {
        "n_layers": depth,
        "prior": pick(["normal", "mog"]),
        "encode_covariates": pick([True, False]),
        "weight_obs": pick([True, False]),
    }
    return {"batch_key": pick([None, "chip"])}, parameters, encoder_decoder(depth, depth)


RANDOM = {
    "SCVI": random_scvi,
    "LinearSCVI": random_linear,
    "SCANVI": random_scanvi,
    "TOTALVI": random_totalvi,
    "PEAKVI": random_peakvi,
    "CondSCVI": random_condscvi,
}


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_settings_n_layers_is_counted(seed, cells, small_citeseq):
    numbers = np.random.default_rng(seed)

    def pick(options):
        return options[numbers.integers(len(options))]

    kind = list(RANDOM)[seed % len(RANDOM)]
    setup, parameters, hidden = RANDOM[kind](pick)
    # No other width is in this range, so a hidden layer cannot be taken for anything else.
    width = int(numbers.integers(20, 40))
    adata = small_citeseq.copy() if kind == "TOTALVI" else cells
    model = build(adata, kind, setup, n_hidden=width, n_latent=pick([3, 10]), **parameters)
    anatomy = model_anatomy.read(model)
    assert anatomy.hidden_layers == hidden
    assert anatomy.table["parameters"].sum() == n_parameters(model)
    rows = anatomy.rows(role="hidden")
    assert set(rows["out"]) == {width}
    # A network of one branch has as many rows as layers; TOTALVI's networks have several branches.
    if kind != "TOTALVI":
        assert rows["network"].value_counts().to_dict() == {k: v for k, v in hidden.items() if v}


def renamed_scvi(names):
    """Return SCVI with other names for the attributes of its module, in all lines of its source."""
    source = inspect.getsource(inspect.getmodule(scvi.module.VAE))
    source = re.sub(r"(?<=self\.)\w+", lambda match: names.get(match[0], match[0]), source)
    space = {"__name__": scvi.module.VAE.__module__}
    exec(source, space)
    return type("RenamedSCVI", (scvi.model.SCVI,), {"_module_cls": space["VAE"]})


class Small(nn.Module):
    """A network that scvi-tools does not know."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.one = nn.Linear(n_in, 16)
        self.two = nn.Linear(16, n_out)

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


class Matrix(nn.Module):
    """A linear layer written by hand."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.values = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)

    def forward(self, x):
        return x @ self.values


class Sum(Matrix):
    def forward(self, x):
        return torch.einsum("ci,ij->cj", x, self.values)


class Around(nn.Module):
    """A linear layer written by hand around another layer, which makes it no leaf."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.values = nn.Parameter(torch.randn(width, width) / width**0.5)

    def forward(self, x):
        return torch.relu(self.inner(x)) @ self.values


class Skip(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return x + self.part(x)


class Beside(nn.Module):
    """A network with a branch beside it that comes to nothing."""

    def __init__(self, network, branch, how):
        super().__init__()
        self.network, self.branch, self.how = network, branch, how

    def forward(self, x, *rest):
        if self.how == "dropped":
            self.branch(x)
        elif self.how == "without gradient, and dropped":
            with torch.no_grad():
                self.branch(x)
        elif self.how == "multiplied by 0":
            x = x + 0 * self.branch(x)
        elif self.how == "masked out":
            x = torch.where(torch.ones_like(x, dtype=torch.bool), x, self.branch(x))
        return self.network(x, *rest)


class Recurrent(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x.unsqueeze(0))[0].squeeze(0)


class Paired(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x, x)


@pytest.mark.parametrize(
    "branch",
    [
        lambda: nn.Linear(WIDTH, WIDTH),
        lambda: nn.Linear(
            3, 5
        ),  # no layer of the model has this shape, so nothing can be tried on it
        lambda: nn.Sequential(nn.Linear(N_GENES, 8), nn.ReLU(), nn.Linear(8, 2)),
        lambda: Small(N_GENES, 2),
        lambda: Matrix(4, 4),
        lambda: nn.GRU(4, 4),  # could not be counted, and need not be
        lambda: nn.Bilinear(4, 4, 4),
    ],
    ids=["layer", "odd layer", "layers", "own class", "own layer", "recurrent", "bilinear"],
)
def test_a_branch_that_never_runs_is_idle_and_not_counted(branch, model):
    model.module.branch = branch()
    assert states(model, "branch") == {"idle"}
    assert architecture.hidden_layers(model) == {"encoder": 1, "decoder": 1}


@pytest.mark.parametrize(
    "how", ["dropped", "without gradient, and dropped", "multiplied by 0", "masked out"]
)
@pytest.mark.parametrize("branch", [Small, nn.Linear, Matrix])
def test_a_branch_that_comes_to_nothing_is_ignored_and_not_counted(how, branch, model):
    model.module.z_encoder = Beside(model.module.z_encoder, branch(N_GENES, N_GENES), how)
    assert states(model, "z_encoder.branch") == {"ignored"}
    assert states(model, "z_encoder.network") == {"trained"}
    assert architecture.hidden_layers(model) == {"encoder": 1, "decoder": 1}


@pytest.mark.parametrize("network", ["z_encoder", "decoder"])
@pytest.mark.parametrize(
    ("extra", "n_more"),
    [
        (lambda: nn.Linear(WIDTH, WIDTH), 1),
        (lambda: Small(WIDTH, WIDTH), 2),
        (lambda: Matrix(WIDTH, WIDTH), 1),
        (lambda: Sum(WIDTH, WIDTH), 1),
        (lambda: Around(WIDTH), 2),
        (lambda: Skip(nn.Linear(WIDTH, WIDTH)), 1),
        (lambda: Skip(Small(WIDTH, WIDTH)), 2),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)), 1),
    ],
    ids=["linear", "two", "@", "einsum", "around", "skip", "two skipped", "weight norm"],
)
def test_a_layer_put_into_a_network_is_counted(network, extra, n_more, model):
    inner = {"z_encoder": "encoder", "decoder": "px_decoder"}[network]
    layers(model, network, inner).append(extra())
    found = architecture.hidden_layers(model)
    expected = {"encoder": 1, "decoder": 1}
    expected["encoder" if network == "z_encoder" else "decoder"] += n_more
    assert found == expected
    assert states(model, network) <= {"trained", "idle"}


def test_a_learned_slope_is_no_layer(model):
    assert isinstance(layers(model)[3], nn.ReLU)
    layers(model)[3] = nn.PReLU()
    assert architecture.hidden_layers(model) == encoder_decoder(1, 1)
    assert states(model, "z_encoder") == {"trained"}


def test_a_layer_inside_a_wrapper_around_the_first_layer_is_counted(model):
    first = layers(model)
    first[0] = nn.Sequential(nn.Linear(N_GENES, 30), nn.ReLU(), nn.Linear(30, WIDTH))
    assert architecture.hidden_layers(model) == {"encoder": 2, "decoder": 1}
    first[0] = Small(N_GENES, WIDTH)
    assert architecture.hidden_layers(model) == {"encoder": 2, "decoder": 1}


def test_a_layer_around_a_whole_network_is_counted(model):
    # Its output is the input of the encoder, a batch index aside.
    network = model.module.z_encoder

    class Before(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = nn.Linear(N_GENES, N_GENES), network

        def forward(self, x, *rest):
            return self.rest(self.first(x), *rest)

    model.module.z_encoder = Before()
    assert architecture.hidden_layers(model) == {"encoder": 2, "decoder": 1}


class RotatedVAE(scvi.module.VAE):
    """The latent is multiplied with a matrix that belongs to the module itself."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rotation = nn.Parameter(torch.randn(self.n_latent, self.n_latent))

    def generative(self, z, **kwargs):
        return super().generative(z @ self.rotation, **kwargs)


class RotatedSCVI(scvi.model.SCVI):
    _module_cls = RotatedVAE


def test_a_matrix_of_the_module_itself_is_a_layer_of_the_network_that_uses_it(cells):
    RotatedSCVI.setup_anndata(cells, layer="counts")
    model = RotatedSCVI(cells)
    assert architecture.hidden_layers(model) == {"encoder": 1, "decoder": 2}
    assert states(model, "rotation") == {"trained"}


class BatchLayersVAE(scvi.module.VAE):
    """The batch goes through an embedding and a layer of its own before it joins the latent."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.a_table = nn.Embedding(2, 4)
        self.batch_layer = nn.Linear(4, self.n_latent)

    def generative(self, z, batch_index, **kwargs):
        moved = z + self.batch_layer(self.a_table(batch_index.squeeze(-1)))
        return super().generative(moved, batch_index=batch_index, **kwargs)


class BatchLayersSCVI(scvi.model.SCVI):
    _module_cls = BatchLayersVAE


def test_a_layer_on_top_of_learned_numbers_is_counted(cells):
    # Both factors of its product are learned; the weights are the layer's.
    BatchLayersSCVI.setup_anndata(cells, layer="counts", batch_key="chip")
    table = architecture.module_table(BatchLayersSCVI(cells)).set_index("path")
    assert table.loc["batch_layer", ["role", "state"]].tolist() == ["hidden", "trained"]
    assert table.loc["a_table", ["role", "state"]].tolist() == ["embedding", "trained"]
    assert architecture.hidden_layers(BatchLayersSCVI(cells)) == {"encoder": 1, "decoder": 2}


def build_renamed(cells, names, **parameters):
    family = renamed_scvi(names)
    family.setup_anndata(cells, layer="counts")
    model = family(cells, **parameters)
    assert set(names.values()) <= set(dict(model.module.named_children()))
    return model


@pytest.mark.parametrize(
    "names",
    [
        {"z_encoder": "px_scale", "decoder": "dropout_head", "l_encoder": "mean_head"},
        {"z_encoder": "decoder", "decoder": "z_encoder", "l_encoder": "encoder"},
    ],
    ids=["misleading", "swapped"],
)
def test_names_do_not_matter(names, cells):
    idle = [names["l_encoder"], f"{names['decoder']}.px_r_decoder"]
    assert_anatomy(build_renamed(cells, names, n_layers=3), encoder_decoder(3, 3), idle)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_a_network_with_the_name_of_another_kind_is_still_listed(name, cells):
    names = {"l_encoder": name, "decoder": "rates"}
    model = build_renamed(cells, names, n_layers=2, use_observed_lib_size=False)
    found = architecture.hidden_layers(model)
    assert sorted(found.values()) == [1, 2, 2]
    assert (found["encoder"], found["decoder"]) == (2, 2)


@pytest.mark.parametrize("kind", ["SCVI", "LinearSCVI", "CondSCVI"])
def test_networks_in_one_container_are_told_apart(kind, cells):
    model = build(cells, kind, n_layers=2)
    before = architecture.hidden_layers(model)
    module, names = model.module, ["z_encoder", "decoder"]
    links = {name: property(lambda self, name=name: self.networks[name]) for name in names}
    parts = {name: module._modules.pop(name) for name in names}
    module.__class__ = type("Contained", (type(module),), links)
    module.networks = nn.ModuleDict(parts)
    assert architecture.hidden_layers(model) == before
    assert before["encoder"] == 2


def test_a_shared_layer_is_counted_once_in_the_parameters(cells):
    model = build(cells, n_layers=3)
    network = model.module.z_encoder.encoder.fc_layers
    network[2][0] = network[1][0]
    table = architecture.module_table(model)
    assert table["parameters"].sum() == n_parameters(model)
    # It still runs twice.
    assert architecture.hidden_layers(model) == {"encoder": 3, "decoder": 3}


@pytest.mark.parametrize("bias", [True, False])
def test_shared_weights_are_counted_once_in_the_parameters(bias, cells):
    model = build(cells, n_layers=3)
    network = model.module.z_encoder.encoder.fc_layers
    network[2][0] = nn.Linear(128, 128, bias=bias)
    network[2][0].weight = network[1][0].weight
    table = architecture.module_table(model)
    assert table["parameters"].sum() == n_parameters(model)
    roles = table.set_index("path")["role"]
    assert roles["z_encoder.encoder.fc_layers.Layer 2.0"] == "hidden"
    assert architecture.hidden_layers(model) == {"encoder": 3, "decoder": 3}


def test_a_frozen_layer_is_frozen_and_counted(cells):
    model = build(cells, n_layers=2)
    layers(model)[0].requires_grad_(False)
    table = architecture.module_table(model)
    assert paths(table, "frozen") == {"z_encoder.encoder.fc_layers.Layer 0.0"}
    assert architecture.hidden_layers(model) == {"encoder": 2, "decoder": 2}
    model.module.requires_grad_(False)
    table = architecture.module_table(model)
    assert architecture.hidden_layers(model) == {"encoder": 2, "decoder": 2}
    assert set(table.loc[table["parameters"] > 0, "state"]) == {"frozen", "idle"}


def test_a_reference_that_waits_for_new_batches_is_frozen(cells):
    # load_query_data: what was learned is kept, and weights for the new batches are added.
    reference = build(cells, setup={"batch_key": "chip"}, n_layers=2)
    reference.train(max_epochs=1, enable_progress_bar=False)
    query = cells.copy()
    query.obs["chip"] = "c"
    model = scvi.model.SCVI.load_query_data(query, reference)
    assert architecture.hidden_layers(model) == {"encoder": 2, "decoder": 2}
    table = architecture.module_table(model)
    assert {"z_encoder.mean_encoder", "decoder.px_scale_decoder.0"} <= paths(table, "frozen")
    assert "decoder.px_decoder.fc_layers.Layer 0.0" in paths(table, "trained")
    assert table["parameters"].sum() == n_parameters(model)


@pytest.mark.parametrize(
    "part",
    [
        lambda: Recurrent(nn.GRU(WIDTH, WIDTH)),
        lambda: Recurrent(nn.LSTM(WIDTH, WIDTH)),
        lambda: nn.GRUCell(WIDTH, WIDTH),
        lambda: Paired(nn.Bilinear(WIDTH, WIDTH, WIDTH)),
    ],
    ids=["GRU", "LSTM", "GRUCell", "Bilinear"],
)
def test_what_cannot_be_counted_is_refused(part, model):
    layers(model).append(part())
    kind = type(list(layers(model)[-1].modules())[-1]).__name__
    with pytest.raises(minibatches.UntraceableModelError, match=rf"{kind}.*cannot be counted"):
        architecture.hidden_layers(model)


@pytest.mark.filterwarnings("ignore")
def test_data_without_a_logarithm_are_refused(cells):
    cells.layers["counts"] = cells.layers["counts"].toarray().astype("float32") - 2
    with pytest.raises((ValueError, minibatches.UntraceableModelError)):
        architecture.hidden_layers(build(cells))


def test_a_loss_that_is_no_number_is_refused(model):
    # After a training that diverged no gradient is a number, which must not read as "nothing
    # trains".
    model.module.px_r.data.fill_(torch.nan)
    with pytest.raises((ValueError, minibatches.UntraceableModelError)):
        architecture.hidden_layers(model)


def test_a_cell_without_counts_does_not_matter(cells):
    cells.layers["counts"][5] = 0
    cells.layers["counts"].eliminate_zeros()
    assert_anatomy(build(cells), encoder_decoder(1, 1), idle=[LIBRARY, CELL_DISPERSION])


@dataclasses.dataclass
class Latent:
    """What inference returns, in a form of its own."""

    z: torch.Tensor
    more: dict


class HandWritten(BaseModuleClass):
    """A module that shares nothing with those of scvi-tools but its three steps."""

    def __init__(self, n_genes, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(WIDTH, 2 * LATENT)
        self.back = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_genes))

    def _get_inference_input(self, tensors, **kwargs):
        return {"x": tensors["X"]}

    def _get_generative_input(self, tensors, inference_outputs, **kwargs):
        return {"z": inference_outputs["latent"].z}

    def inference(self, x):
        mean, log_scale = self.head(self.body(torch.log1p(x))).chunk(2, dim=-1)
        posterior = distributions.Normal(mean, log_scale.exp())
        return {"latent": Latent(posterior.rsample(), {"posterior": posterior})}

    def generative(self, z):
        return {"counts": distributions.Poisson(self.back(z).exp())}

    def loss(self, tensors, inference_outputs, generative_outputs):
        posterior = inference_outputs["latent"].more["posterior"]
        kl = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(dim=-1)
        reconstruction = -generative_outputs["counts"].log_prob(tensors["X"]).sum(dim=-1)
        return LossOutput(
            loss=(reconstruction + kl).mean(), reconstruction_loss=reconstruction, kl_local=kl
        )

    def sample(self, *args, **kwargs):
        raise NotImplementedError


class HandWrittenModel(BaseModelClass):
    def __init__(self, adata, body):
        super().__init__(adata)
        self.module = HandWritten(self.summary_stats.n_vars, body)
        self.init_params_ = self._get_init_params(locals())

    setup_anndata = classmethod(scvi.model.SCVI.setup_anndata.__func__)

    def train(self):
        raise NotImplementedError


class Tokens(nn.Module):
    """Each gene is a token of 8 numbers, which look at each other."""

    def __init__(self):
        super().__init__()
        self.given, self.given_back = nn.Linear(1, 8), nn.Linear(8, WIDTH)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        tokens = self.given(x.unsqueeze(-1))
        seen, _ = self.attention(tokens, tokens, tokens)
        return torch.relu(self.given_back(seen.mean(dim=1)))


def convolution():
    return nn.Sequential(
        nn.Unflatten(1, (1, N_GENES)),
        nn.Conv1d(1, 3, 5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * (N_GENES - 4), WIDTH),
        nn.ReLU(),
    )


def hand_written(cells, body):
    cells.X = cells.layers["counts"].toarray()
    HandWrittenModel.setup_anndata(cells, layer="counts")
    return HandWrittenModel(cells, body)


@pytest.mark.parametrize(
    ("body", "hidden", "widths"),
    [
        (lambda: nn.Sequential(nn.Linear(N_GENES, WIDTH), nn.ReLU()), 1, {WIDTH}),
        # Three channels, and what is made of them.
        (convolution, 2, {3, WIDTH}),
        # Tokens, query-key-value (three times 8), the attention's own output, and what it becomes.
        (Tokens, 4, {8, 24, WIDTH}),
    ],
    ids=["linear", "convolution", "attention"],
)
def test_a_module_written_by_hand_is_read(body, hidden, widths, cells):
    anatomy = model_anatomy.read(hand_written(cells, body()))
    assert anatomy.hidden_layers == {"encoder": hidden, "decoder": 1}
    assert set(anatomy.widths(network="encoder")) == widths
    assert set(anatomy.table["state"]) == {"trained"}


@pytest.mark.parametrize("part", [nn.GRU, nn.LSTM])
def test_a_recurrent_module_written_by_hand_is_refused(part, cells):
    model = hand_written(cells, Recurrent(part(N_GENES, WIDTH)))
    with pytest.raises(minibatches.UntraceableModelError, match="cannot be counted"):
        architecture.hidden_layers(model)
