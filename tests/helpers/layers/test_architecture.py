"""Hidden layers are those that scvi-tools' source code says, model by model."""

import pandas as pd
import pytest
import scvi
from torch import nn

from helpers.layers import architecture, descriptions, model_anatomy
from tests.helpers.layers.expected_layers import (
    CELL_DISPERSION,
    LIBRARY,
    LINEAR,
    N_GENES,
    PROTEINS,
    SEMI,
    TOTAL_LIBRARY,
    TOTAL_ZEROS,
    USUAL,
    ZEROS,
    assert_anatomy,
    build_multivi,
    encoder_decoder,
    expect,
    n_parameters,
    scanvi,
)
from tests.helpers.small_models import build

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
    anatomy = model_anatomy.read(model)
    assert anatomy.model == "SCVI"
    assert anatomy.hidden_layers == architecture.hidden_layers(model)
    pd.testing.assert_frame_equal(anatomy.table, architecture.module_table(model))
    assert set(anatomy.rows()["state"]) == {"trained"}
    assert len(anatomy.rows(network="encoder", role="hidden")) == 2
    assert anatomy.hidden_layers_in(anatomy.rows(network="decoder")["path"]) == 2
    assert anatomy.hidden_layers_in([]) == 0


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
    assert "(4 such layers, in branches side by side)" in descriptions.summary(model)


def test_parameters_by_state_add_up_to_what_torch_counts(model):
    sizes = architecture.parameters_by_state(model)
    total = sum(value.numel() for value in model.module.parameters())
    assert sizes.loc["all", "parameters"] == total
    assert sizes["parameters"].drop("all").sum() == total
    idle = sizes.loc["idle", "parameters"] / total
    assert sizes.loc["idle", "share"] == f"{idle:.0%}"


def test_compared_models_stay_in_their_order(cells):
    # The second has none of the networks of the first, and the third has them again.
    linear = build(cells.copy(), "LinearSCVI")
    scvi.external.RNAStereoscope.setup_anndata(cells, layer="counts", labels_key="type")
    bare = scvi.external.RNAStereoscope(cells)
    models = {"linear": linear, "bare": bare, "again": linear}
    sizes = architecture.compare(models)
    assert list(sizes.index) == list(models)
    assert sizes["parameters"].tolist() == [n_parameters(model) for model in models.values()]
    assert sizes["encoder"].isna().tolist() == [False, True, False]
    assert sizes.loc["again", "encoder"] == 1
    assert sizes.loc["again", "more"] == -sizes.loc["bare", "more"]


def test_no_models_cannot_be_compared():
    with pytest.raises(ValueError, match=r"no models to compare.*give \{'SCVI': model"):
        architecture.compare({})


def test_compared_models_grow_by_what_a_layer_costs(cells):
    models = {number: build(cells.copy(), n_layers=number) for number in (1, 2, 3)}
    sizes = architecture.compare(models)
    assert sizes["encoder"].to_list() == sizes["decoder"].to_list() == [1, 2, 3]
    width = 128  # scVI's default
    layer = width * width + width + 2 * width
    assert sizes["more"].to_list()[1:] == [2 * layer, 2 * layer]
    # Linear, normalisation, activation and dropout in the encoder; the decoder has no dropout.
    assert sizes["modules"].diff().to_list()[1:] == [7, 7]
