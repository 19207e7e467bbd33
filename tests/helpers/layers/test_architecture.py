"""Hidden layers of real models.

Each number is derived from the sources of scvi-tools, not from the helper.

The rules behind them (scvi-tools 1.4 and 1.5, scvi.nn and scvi.module):

- FCLayers with n_layers=L holds L linear layers, and one for n_layers=0; all of them are hidden,
  because a mean, variance, scale or rate (a head) always follows, except in LinearDecoderSCVI and
  in TOTALVI's small FCLayers, which are the heads.
- A part is idle if no line of inference, generative and loss calls it, and ignored if one does and
  its result is dropped.
"""

import inspect
import random
import re
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from torch import nn
from torch.distributions import Distribution

from helpers import data
from helpers.layers import architecture, tracing
from tests.helpers.small_models import build, few

N_GENES = 60


# --- real cells, few of them --------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_cortex(whole_cortex):
    return few(whole_cortex, N_GENES)


@pytest.fixture
def cells(small_cortex):
    return small_cortex.copy()


@pytest.fixture(scope="module")
def small_citeseq():
    adata = few(data.load_citeseq(), N_GENES)
    seen = (
        adata.obsm["protein_expression"].groupby(adata.obs["batch"], observed=True).sum() > 0
    ).all()
    proteins = adata.obsm["protein_expression"].loc[:, seen.to_numpy()]
    adata.obsm["protein_expression"] = proteins.iloc[:, :8]
    return adata


def build_multivi(adata, **parameters):
    half = N_GENES // 2
    paired = mudata.MuData({"rna": adata[:, :half].copy(), "atac": adata[:, half:].copy()})
    scvi.model.MULTIVI.setup_mudata(
        paired,
        rna_layer="counts",
        atac_layer="counts",
        modalities={"rna_layer": "rna", "atac_layer": "atac"},
    )
    return scvi.model.MULTIVI(paired, n_genes=half, n_regions=half, **parameters)


def within(path, parts):
    return any(f"{path}.".startswith(f"{part}.") for part in parts)


def paths(table, state):
    return set(table.loc[table["state"] == state, "path"])


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.module.parameters())


# --- the table of models ------------------------------------------------------------------------

# SCVI always builds an encoder for the library size and a head for a dispersion of each cell.
LIBRARY, CELL_DISPERSION = "l_encoder", "decoder.px_r_decoder"
# And a head for zero inflation, which is computed whatever the likelihood.
ZEROS = "decoder.px_dropout_decoder"
# TOTALVI's counterparts run in every step.
TOTAL_LIBRARY = [f"encoder.l_gene_{part}" for part in ("encoder", "mean_encoder", "var_encoder")]
TOTAL_ZEROS = "decoder.px_dropout_decoder_gene"


def expect(reason, kind, hidden, idle=(), ignored=(), frozen=(), setup=None, **parameters):
    return pytest.param(kind, setup, parameters, hidden, idle, ignored, frozen, id=reason)


def encoder_decoder(n_encoder, n_decoder, **between):
    return {"encoder": n_encoder, **between, "decoder": n_decoder}


def scanvi(n_layers, n_classifier):
    # In the order of the lines of SCANVAE.loss.
    return encoder_decoder(n_layers, n_layers) | {
        "encoder_z2_z1": n_layers,
        "decoder_z1_z2": n_layers,
        "classifier": n_classifier,
    }


USUAL = {"kind": "SCVI", "idle": [LIBRARY, CELL_DISPERSION]}
LINEAR = {"kind": "LinearSCVI", "ignored": [ZEROS]}  # default likelihood nb has no zero inflation
SEMI = {"kind": "SCANVI", "idle": [LIBRARY, CELL_DISPERSION], "frozen": ["y_prior"]}
PROTEINS = {"kind": "TOTALVI", "ignored": [*TOTAL_LIBRARY, TOTAL_ZEROS]}

TABLE = [
    # SCVI: n_layers goes to encoder and decoder alike
    expect("n_layers is 1 by default", hidden=encoder_decoder(1, 1), **USUAL),
    expect("n_layers=1", hidden=encoder_decoder(1, 1), n_layers=1, **USUAL),
    expect("n_layers=2", hidden=encoder_decoder(2, 2), n_layers=2, **USUAL),
    expect("n_layers=3", hidden=encoder_decoder(3, 3), n_layers=3, **USUAL),
    expect("n_layers=4", hidden=encoder_decoder(4, 4), n_layers=4, **USUAL),
    expect("FCLayers has no empty form", hidden=encoder_decoder(1, 1), n_layers=0, **USUAL),
    expect(
        "a learned library size is encoded by one layer",
        "SCVI",
        encoder_decoder(1, 1, l_encoder=1),
        idle=[CELL_DISPERSION],
        use_observed_lib_size=False,
    ),
    expect(
        "whatever n_layers",
        "SCVI",
        encoder_decoder(3, 3, l_encoder=1),
        idle=[CELL_DISPERSION],
        use_observed_lib_size=False,
        n_layers=3,
    ),
    # SCVI: dispersion; all but gene-cell are a bare parameter
    expect("dispersion gene", hidden=encoder_decoder(1, 1), dispersion="gene", **USUAL),
    expect(
        "dispersion gene-batch is looked up",
        hidden=encoder_decoder(1, 1),
        dispersion="gene-batch",
        setup={"batch_key": "chip"},
        **USUAL,
    ),
    expect(
        "dispersion gene-label is looked up",
        hidden=encoder_decoder(1, 1),
        dispersion="gene-label",
        setup={"labels_key": "type"},
        **USUAL,
    ),
    expect(
        "dispersion gene-cell is a head",
        "SCVI",
        encoder_decoder(1, 1),
        idle=[LIBRARY],
        dispersion="gene-cell",
    ),
    # SCVI: likelihood
    expect("zinb uses the zeros", hidden=encoder_decoder(1, 1), gene_likelihood="zinb", **USUAL),
    expect(
        "nb has no zero inflation",
        hidden=encoder_decoder(1, 1),
        ignored=[ZEROS],
        gene_likelihood="nb",
        **USUAL,
    ),
    expect(
        "normal has its dispersion as a width",
        hidden=encoder_decoder(1, 1),
        ignored=[ZEROS],
        gene_likelihood="normal",
        **USUAL,
    ),
    expect(
        "poisson drops the dispersion of each cell too",
        "SCVI",
        encoder_decoder(2, 2),
        idle=[LIBRARY],
        ignored=[ZEROS, CELL_DISPERSION],
        gene_likelihood="poisson",
        dispersion="gene-cell",
        n_layers=2,
    ),
    # SCVI: covariates are more inputs of the same layers
    expect(
        "a batch is an input",
        hidden=encoder_decoder(2, 2),
        setup={"batch_key": "chip"},
        n_layers=2,
        **USUAL,
    ),
    expect(
        "so are covariates",
        hidden=encoder_decoder(2, 2),
        setup={
            "batch_key": "chip",
            "categorical_covariate_keys": ["plate"],
            "continuous_covariate_keys": ["age"],
        },
        n_layers=2,
        **USUAL,
    ),
    expect(
        "and in the encoder",
        hidden=encoder_decoder(2, 2),
        setup={
            "batch_key": "chip",
            "categorical_covariate_keys": ["plate"],
            "continuous_covariate_keys": ["age"],
        },
        n_layers=2,
        encode_covariates=True,
        **USUAL,
    ),
    expect(
        "an embedded batch is looked up",
        hidden=encoder_decoder(1, 1),
        setup={"batch_key": "chip"},
        batch_representation="embedding",
        **USUAL,
    ),
    expect(
        "in both networks",
        hidden=encoder_decoder(2, 2),
        setup={"batch_key": "chip"},
        batch_representation="embedding",
        encode_covariates=True,
        n_layers=2,
        **USUAL,
    ),
    expect(
        "a softmax of the latent has no weights",
        hidden=encoder_decoder(2, 2),
        latent_distribution="ln",
        n_layers=2,
        **USUAL,
    ),
    expect(
        "nor has layer normalisation here",
        hidden=encoder_decoder(2, 2),
        use_layer_norm="both",
        use_batch_norm="none",
        n_layers=2,
        **USUAL,
    ),
    # LinearSCVI: LinearDecoderSCVI is two maps side by side, and the library size is learned
    expect("linear decoder", hidden=encoder_decoder(1, 0, l_encoder=1), **LINEAR),
    expect(
        "n_layers goes to the encoder only",
        hidden=encoder_decoder(2, 0, l_encoder=1),
        n_layers=2,
        **LINEAR,
    ),
    expect(
        "observed library size",
        hidden=encoder_decoder(1, 0),
        idle=[LIBRARY],
        use_observed_lib_size=True,
        **LINEAR,
    ),
    expect(
        "zinb on a linear decoder",
        "LinearSCVI",
        encoder_decoder(1, 0, l_encoder=1),
        gene_likelihood="zinb",
    ),
    expect(
        "a batch on a linear decoder",
        hidden=encoder_decoder(1, 0, l_encoder=1),
        setup={"batch_key": "chip"},
        **LINEAR,
    ),
    # SCANVI: three more networks, all of n_layers; the prior of the labels is set, not learned
    expect("three more networks", hidden=scanvi(1, 1), **SEMI),
    expect(
        "a linear classifier has a head only", hidden=scanvi(1, 0), linear_classifier=True, **SEMI
    ),
    expect("n_layers goes to all of them", hidden=scanvi(2, 2), n_layers=2, **SEMI),
    expect(
        "but not to a linear classifier",
        hidden=scanvi(2, 0),
        n_layers=2,
        linear_classifier=True,
        **SEMI,
    ),
    expect(
        "cells without a label change no layer",
        hidden=scanvi(1, 1),
        setup={"labels_key": "known"},
        **SEMI,
    ),
    # TOTALVI: the encoder of the library size runs beside the encoder of z, whatever it is for
    expect("2 and 1 by default", hidden=encoder_decoder(2, 1), **PROTEINS),
    expect(
        "in two batches", hidden=encoder_decoder(2, 1), setup={"batch_key": "batch"}, **PROTEINS
    ),
    expect(
        "n_layers_encoder and n_layers_decoder",
        hidden=encoder_decoder(1, 3),
        n_layers_encoder=1,
        n_layers_decoder=3,
        **PROTEINS,
    ),
    expect(
        "the other way round",
        hidden=encoder_decoder(3, 2),
        n_layers_encoder=3,
        n_layers_decoder=2,
        setup={"batch_key": "batch"},
        **PROTEINS,
    ),
    expect(
        "zinb of TOTALVI",
        "TOTALVI",
        encoder_decoder(2, 1),
        ignored=TOTAL_LIBRARY,
        gene_likelihood="zinb",
    ),
    expect(
        "a learned library size is a shorter branch",
        "TOTALVI",
        encoder_decoder(2, 1),
        ignored=[TOTAL_ZEROS],
        use_observed_lib_size=False,
    ),
    # PEAKVI: the sequencing depth of a cell has a network as deep as the encoder
    expect("PEAKVI", "PEAKVI", encoder_decoder(2, 2, d_encoder=2)),
    expect(
        "PEAKVI with other depths",
        "PEAKVI",
        encoder_decoder(1, 3, d_encoder=1),
        n_layers_encoder=1,
        n_layers_decoder=3,
    ),
    expect("PEAKVI without depth", "PEAKVI", encoder_decoder(2, 2), model_depth=False),
    # AUTOZI: SCVI with learned numbers for each gene; both likelihoods are used at once
    expect("AUTOZI", "AUTOZI", encoder_decoder(1, 1), idle=[LIBRARY, CELL_DISPERSION]),
    expect(
        "AUTOZI with a learned library size",
        "AUTOZI",
        encoder_decoder(2, 2, l_encoder=1),
        idle=[CELL_DISPERSION],
        n_layers=2,
        use_observed_lib_size=False,
    ),
    # CondSCVI: the head of its decoder is an attribute of the module, beside the decoder
    expect("2 by default", "CondSCVI", encoder_decoder(2, 2)),
    expect("CondSCVI with 1", "CondSCVI", encoder_decoder(1, 1), n_layers=1),
    expect("CondSCVI with 3", "CondSCVI", encoder_decoder(3, 3), n_layers=3),
    expect(
        "a learned prior has no layer",
        "CondSCVI",
        encoder_decoder(2, 2),
        setup={"batch_key": "chip"},
        encode_covariates=True,
        prior="mog",
    ),
    expect(
        "one layer before the linear classifier of subtypes",
        "CondSCVI",
        encoder_decoder(3, 3) | {"linear_mapping": 1},
        setup={"fine_labels_key": "subtype"},
        n_layers=3,
    ),
]


@pytest.mark.parametrize(
    ("kind", "setup", "parameters", "hidden", "idle", "ignored", "frozen"), TABLE
)
def test_hidden_layers_are_those_of_the_sources(
    kind, setup, parameters, hidden, idle, ignored, frozen, cells, small_citeseq
):
    adata = small_citeseq.copy() if kind == "TOTALVI" else cells
    assert_anatomy(build(adata, kind, setup, **parameters), hidden, idle, ignored, frozen)


def assert_anatomy(model, hidden, idle=(), ignored=(), frozen=()):
    table = architecture.module_table(model)
    # A list, because the networks come in the order in which they run.
    assert list(architecture.hidden_layers(model).items()) == list(hidden.items())
    for state, parts in {"idle": idle, "ignored": ignored, "frozen": frozen}.items():
        assert paths(table, state) == {path for path in table["path"] if within(path, parts)}
        assert all(any(within(path, [part]) for path in table["path"]) for part in parts)
    assert set(table["state"]) <= {"trained", "frozen", "idle", "ignored"}
    assert table["parameters"].sum() == n_parameters(model)
    assert table["path"].is_unique


# Two encoders are mixed into one sample, from which two decoders start, so all keep their names.
MULTIVI_PATHS = [
    f"{part}_{modality}"
    for part in ("z_encoder", "l_encoder", "z_decoder")
    for modality in ("accessibility", "expression")
]


@pytest.mark.parametrize(("n_encoder", "n_decoder"), [(2, 2), (1, 3)])
def test_multivi_without_proteins_ignores_their_networks(n_encoder, n_decoder, cells):
    model = build_multivi(cells, n_layers_encoder=n_encoder, n_layers_decoder=n_decoder)
    found = architecture.hidden_layers(model)
    assert found == {path: n_decoder if "decoder" in path else n_encoder for path in MULTIVI_PATHS}
    # They come in the order of the lines of MULTIVAE.inference, then of generative.
    order = ["z_encoder_accessibility", "z_encoder_expression", "l_encoder_expression"]
    assert list(found)[:3] == order
    # A mask gives the encoder of the missing proteins a weight of 1e-30, and their loss one of 0;
    # the numbers of their background are in no line of the step.
    assert_anatomy(
        model,
        found,
        idle=[
            "z_decoder_expression.px_r_decoder",
            "background_pro_alpha",
            "background_pro_log_beta",
        ],
        ignored=["z_encoder_protein", "z_decoder_pro", "py_r"],
    )


def test_the_dispersion_of_each_gene_does_not_train_with_poisson(cells):
    # It is raised to a power, and the Poisson distribution has no place for it.
    model = build(cells, gene_likelihood="poisson")
    table = architecture.module_table(model).set_index("path")
    assert table.loc["px_r", "state"] in ("idle", "ignored")
    assert architecture.hidden_layers(model) == {"encoder": 1, "decoder": 1}


def test_roles_and_widths_are_those_of_the_layers(cells):
    table = architecture.module_table(build(cells, n_hidden=32, n_latent=7)).set_index("path")
    assert list(table.columns) == ["network", "role", "in", "out", "parameters", "state"]
    expected = {
        "z_encoder.encoder.fc_layers.Layer 0.0": (
            "encoder",
            "hidden",
            N_GENES,
            32,
            N_GENES * 32 + 32,
        ),
        "z_encoder.encoder.fc_layers.Layer 0.1": ("encoder", "normalisation", 32, 32, 64),
        "z_encoder.encoder.fc_layers.Layer 0.3": ("encoder", "activation", 32, 32, 0),
        "z_encoder.encoder.fc_layers.Layer 0.4": ("encoder", "dropout", 32, 32, 0),
        "z_encoder.mean_encoder": ("encoder", "head", 32, 7, 32 * 7 + 7),
        "z_encoder.var_encoder": ("encoder", "head", 32, 7, 32 * 7 + 7),
        "decoder.px_decoder.fc_layers.Layer 0.0": ("decoder", "hidden", 7, 32, 7 * 32 + 32),
        "decoder.px_scale_decoder.0": ("decoder", "head", 32, N_GENES, 33 * N_GENES),
        "decoder.px_scale_decoder.1": ("decoder", "activation", N_GENES, N_GENES, 0),
        "decoder.px_dropout_decoder": ("decoder", "head", 32, N_GENES, 33 * N_GENES),
        # Never called, and of a kind that is.
        "l_encoder.encoder.fc_layers.Layer 0.0": (
            "l_encoder",
            "hidden",
            N_GENES,
            32,
            N_GENES * 32 + 32,
        ),
        "l_encoder.mean_encoder": ("l_encoder", "head", 32, 1, 33),
        "decoder.px_r_decoder": ("decoder", "head", 32, N_GENES, 33 * N_GENES),
    }
    for path, row in expected.items():
        assert tuple(table.loc[path].iloc[:5]) == row, path
    assert table.loc["px_r", ["role", "parameters", "state"]].tolist() == [
        "parameter",
        N_GENES,
        "trained",
    ]


def test_an_embedded_batch_is_an_embedding_that_trains(cells):
    model = build(cells, setup={"batch_key": "chip"}, batch_representation="embedding")
    table = architecture.module_table(model)
    (embedding,) = table[table["role"] == "embedding"].itertuples()
    assert (embedding.parameters, embedding.out, embedding.state) == (2 * 5, 5, "trained")


def test_read_holds_what_the_other_functions_return(cells):
    model = build(cells, n_layers=2)
    anatomy = architecture.read(model)
    assert anatomy.model == "SCVI"
    assert anatomy.hidden_layers == architecture.hidden_layers(model)
    pd.testing.assert_frame_equal(anatomy.table, architecture.module_table(model))
    assert set(anatomy.rows()["state"]) == {"trained"}
    assert len(anatomy.rows(network="encoder", role="hidden")) == 2
    assert anatomy.hidden_layers_in(anatomy.rows(network="decoder")["path"]) == 2
    assert anatomy.hidden_layers_in([]) == 0


# --- random settings ----------------------------------------------------------------------------


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
    anatomy = architecture.read(model)
    assert anatomy.hidden_layers == hidden
    assert anatomy.table["parameters"].sum() == n_parameters(model)
    rows = anatomy.rows(role="hidden")
    assert set(rows["out"]) == {width}
    # A network of one branch has as many rows as layers; TOTALVI's networks have several branches.
    if kind != "TOTALVI":
        assert rows["network"].value_counts().to_dict() == {k: v for k, v in hidden.items() if v}


# --- models that were changed -------------------------------------------------------------------

WIDTH, LATENT = 24, 6


@pytest.fixture
def model(cells):
    return build(cells, n_hidden=WIDTH, n_latent=LATENT)


def layers(model, network="z_encoder", inner="encoder"):
    """Return the nn.Sequential of the first layer of a network.

    Linear, norm, activation, dropout.
    """
    return getattr(getattr(model.module, network), inner).fc_layers[0]


def states(model, part):
    table = architecture.module_table(model)
    assert table["parameters"].sum() == n_parameters(model)
    found = set(table.loc[[within(path, [part]) for path in table["path"]], "state"])
    assert found, f"nothing of {part} is in the table"
    return found


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
    with pytest.raises(tracing.UntraceableModelError, match=rf"{kind}.*cannot be counted"):
        architecture.hidden_layers(model)


@pytest.mark.filterwarnings("ignore")
def test_data_without_a_logarithm_are_refused(cells):
    cells.layers["counts"] = cells.layers["counts"].toarray().astype("float32") - 2
    with pytest.raises((ValueError, tracing.UntraceableModelError)):
        architecture.hidden_layers(build(cells))


def test_a_loss_that_is_no_number_is_refused(model):
    # After a training that diverged no gradient is a number, which must not read as "nothing
    # trains".
    model.module.px_r.data.fill_(torch.nan)
    with pytest.raises((ValueError, tracing.UntraceableModelError)):
        architecture.hidden_layers(model)


def test_a_cell_without_counts_does_not_matter(cells):
    cells.layers["counts"][5] = 0
    cells.layers["counts"].eliminate_zeros()
    assert_anatomy(build(cells), encoder_decoder(1, 1), idle=[LIBRARY, CELL_DISPERSION])


# --- what never trains, and in words ------------------------------------------------------------

# What the library encoder of SCVI holds: a layer with its normalisation, and two heads.
LIBRARY_SIZE = (N_GENES * 128 + 128) + 2 * 128 + 2 * (128 + 1)
HEAD = 128 * N_GENES + N_GENES


def as_tuples(table):
    columns = ["part", "network", "state", "hidden layers", "parameters", "trains with"]
    assert list(table.columns) == columns
    return [tuple(row) for row in table.itertuples(index=False)]


def test_unused_names_the_setting_that_would_use_each_part_of_scvi(cells):
    library = ("l_encoder", "l_encoder", "idle", 1, LIBRARY_SIZE, "use_observed_lib_size=False")
    spread = ("decoder.px_r_decoder", "decoder", "idle", 0, HEAD, "dispersion='gene-cell'")
    zeros = ("decoder.px_dropout_decoder", "decoder", "ignored", 0, HEAD, "gene_likelihood='zinb'")
    assert as_tuples(architecture.unused(build(cells))) == [library, spread]
    # The library encoder has one hidden layer, whatever n_layers.
    found = as_tuples(architecture.unused(build(cells, gene_likelihood="nb", n_layers=3)))
    assert found == [library, spread, zeros]
    assert as_tuples(architecture.unused(build(cells, use_observed_lib_size=False))) == [spread]


def test_unused_keeps_the_other_settings_of_the_model(cells):
    # An observed size factor has the last word over use_observed_lib_size.
    cells.obs["size"] = np.asarray(cells.layers["counts"].sum(axis=1)).ravel()
    model = build(cells, setup={"size_factor_key": "size"}, dispersion="gene-cell", n_hidden=16)
    table = architecture.unused(model).set_index("part")
    assert list(table.index) == ["l_encoder"]
    assert table.loc["l_encoder", "trains with"] == ""
    assert table.loc["l_encoder", "parameters"] == (N_GENES * 16 + 16) + 32 + 2 * 17


def test_nothing_is_unused_where_all_is_used(cells):
    model = build(cells, "PEAKVI")
    assert as_tuples(architecture.unused(model)) == []
    text = architecture.explain(model)
    assert "never run" not in text
    assert "reaches the loss" not in text


def test_hidden_layers_of_a_branch_that_never_runs_are_those_it_holds(model):
    # The second is of a shape that occurs nowhere in the model.
    model.module.near = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 2))
    model.module.far = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    table = architecture.unused(model).set_index("part")
    assert table.loc["near", "hidden layers"] == 1
    assert pd.isna(table.loc["far", "hidden layers"])
    assert "far (hidden layers unknown, 58 parameters)" in architecture.explain(model)


def test_linear_layers_are_those_of_the_module_one_by_one(small_citeseq):
    """TotalVI: 2 + 4 hidden layers train, and 2 + 5 heads.

    1 hidden layer and 2 + 1 heads are dropped.
    """
    model = build(small_citeseq.copy(), "TOTALVI")
    counts = architecture.linear_layers(model)
    assert counts.loc[("encoder", "hidden")].to_dict() == {"trained": 2, "ignored": 1}
    assert counts.loc[("encoder", "head")].to_dict() == {"trained": 2, "ignored": 2}
    assert counts.loc[("decoder", "hidden")].to_dict() == {"trained": 4, "ignored": 0}
    assert counts.loc[("decoder", "head")].to_dict() == {"trained": 5, "ignored": 1}
    built = sum(isinstance(part, nn.Linear) for part in model.module.modules())
    assert counts.to_numpy().sum() == built
    assert "(4 such layers, in branches side by side)" in architecture.summary(model)


def test_parameters_by_state_add_up_to_what_torch_counts(model):
    sizes = architecture.parameters_by_state(model)
    total = sum(value.numel() for value in model.module.parameters())
    assert sizes.loc["all", "parameters"] == total
    assert sizes["parameters"].drop("all").sum() == total
    idle = sizes.loc["idle", "parameters"] / total
    assert sizes.loc["idle", "share"] == f"{idle:.0%}"


def test_compared_models_grow_by_what_a_layer_costs(cells):
    models = {number: build(cells.copy(), n_layers=number) for number in (1, 2, 3)}
    sizes = architecture.compare(models)
    assert sizes["encoder"].to_list() == sizes["decoder"].to_list() == [1, 2, 3]
    width = 128  # scVI's default
    layer = width * width + width + 2 * width
    assert sizes["more"].to_list()[1:] == [2 * layer, 2 * layer]
    # Linear, normalisation, activation and dropout in the encoder; the decoder has no dropout.
    assert sizes["modules"].diff().to_list()[1:] == [7, 7]


@pytest.fixture(scope="module")
def explained(small_cortex, small_citeseq):
    """Return models of each kind with what is said of them."""
    made = {
        "SCVI": build(small_cortex.copy(), n_layers=2),
        "LinearSCVI": build(small_cortex.copy(), "LinearSCVI", n_layers=2),
        "SCANVI": build(small_cortex.copy(), "SCANVI", linear_classifier=True),
        "PEAKVI": build(small_cortex.copy(), "PEAKVI", n_hidden=30),
        "CondSCVI": build(small_cortex.copy(), "CondSCVI"),
        "TOTALVI": build(small_citeseq.copy(), "TOTALVI"),
    }
    return {
        kind: (model, architecture.explain(model), architecture.unused(model))
        for kind, model in made.items()
    }


@pytest.mark.parametrize("kind", ["SCVI", "LinearSCVI", "SCANVI", "PEAKVI", "CondSCVI", "TOTALVI"])
def test_explain_says_the_numbers_of_the_other_functions(kind, explained):
    model, text, unused = explained[kind]
    first, *rest = text.splitlines()
    assert first.startswith(f"{kind} trains ")
    table = architecture.module_table(model)
    for network, number in architecture.hidden_layers(model).items():
        where = f"(the )?{network}\\b"
        assert re.search(rf"\b{number or 'none'}( hidden layers?)?( of \d+)? in {where}", first)
        in_network = table["network"].eq(network) & table["role"].eq("hidden")
        for width in table.loc[in_network & table["state"].eq("trained"), "out"]:
            assert re.search(rf"of {width} in {where}", first)
    for part in unused["part"]:
        assert sum(part in line for line in rest) == 1
    # Parts of one network that one setting would use share a sentence, and their numbers a sum.
    for _, alike in unused.groupby(["network", "state", "trains with"]):
        (line,) = (line for line in rest if alike["part"].iloc[0] in line)
        assert f"{alike['parameters'].sum():,} parameters" in line
        assert alike["trains with"].iloc[0] in line


def test_explain_names_the_settings_of_scvi(explained):
    lines = explained["SCVI"][1].splitlines()
    assert any("l_encoder" in line and "use_observed_lib_size=False" in line for line in lines)
    assert any("px_r_decoder" in line and "dispersion='gene-cell'" in line for line in lines)
    assert "2 hidden layers of 128 in the encoder and 2 of 128 in the decoder" in lines[0]
    assert lines[1] == "Dropout is 0.1 in the encoder, and nowhere else."


def test_explain_finds_no_hidden_layer_in_a_linear_decoder(explained):
    assert "none in the decoder" in explained["LinearSCVI"][1]


def test_explain_names_the_settings_of_totalvi(explained):
    lines = explained["TOTALVI"][1].splitlines()
    assert any(TOTAL_ZEROS in line and "gene_likelihood='zinb'" in line for line in lines)
    (library,) = (line for line in lines if TOTAL_LIBRARY[0] in line)
    assert all(part in library for part in TOTAL_LIBRARY)
    assert "use_observed_lib_size=False" in library
    assert "1 hidden layer," in library
    # EncoderTOTALVI and DecoderTOTALVI both pass their rate on, 0.2 each.
    assert lines[1] == "Dropout is 0.2 in the encoder and 0.2 in the decoder, and nowhere else."


def test_explain_says_where_dropout_is(cells):
    assert "Dropout is 0.3 in the encoder, and" in architecture.explain(
        build(cells, dropout_rate=0.3)
    )
    assert "no dropout" in architecture.explain(build(cells, dropout_rate=0))


def test_explain_says_what_is_frozen(model):
    layers(model)[0].requires_grad_(False)
    text = architecture.explain(model)
    assert f"{N_GENES * WIDTH + WIDTH:,} parameters in the encoder are frozen" in text


# --- what is no model ---------------------------------------------------------------------------


def minified(cells):
    model = build(cells)
    model.train(max_epochs=1, enable_progress_bar=False)
    mean, variance = model.get_latent_representation(return_dist=True)
    cells.obsm["X_latent_qzm"], cells.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata()
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
        tracing.UntraceableModelError,
        "written in Pyro.*SCVI or TOTALVI",
    ),
    "a step of its own": (
        two_kinds_of_cells,
        tracing.UntraceableModelError,
        "SCVI or TOTALVI",
    ),
    "another contract": (
        doublet_finder,
        tracing.UntraceableModelError,
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
        architecture.unused,
        architecture.explain,
        architecture.read,
    ):
        with pytest.raises(error, match=advice):
            function(wrong)


# --- nothing is disturbed -----------------------------------------------------------------------


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
    architecture.unused(model)
    architecture.explain(model)


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
    [architecture.hidden_layers, architecture.unused, architecture.explain],
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
    with pytest.raises(tracing.UntraceableModelError, match=r"SCVI.*no such layer"):
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
    model.module(tracing.minibatch(model))
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


# --- the helper knows no model ------------------------------------------------------------------


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
    for helper in (architecture, tracing):
        text = Path(helper.__file__).read_text()
        assert {name for name in names if re.search(rf"\b{name}\b", text)} == set()
    classes = {type(model).__name__ for model in models} - {"SCVI", "TOTALVI"}
    for helper in (architecture, tracing):
        text = Path(helper.__file__).read_text()
        assert {name for name in classes if re.search(rf"\b{name}\b", text)} == set()
