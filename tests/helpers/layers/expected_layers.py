"""What the tests of the layers share: models, and what their source code says of them."""

import mudata
import pytest
import scvi

from helpers.layers import architecture

N_GENES = 60


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


def states(model, part):
    table = architecture.module_table(model)
    assert table["parameters"].sum() == n_parameters(model)
    found = set(table.loc[[within(path, [part]) for path in table["path"]], "state"])
    assert found, f"nothing of {part} is in the table"
    return found


WIDTH, LATENT = 24, 6


def layers(model, network="z_encoder", inner="encoder"):
    """Return the nn.Sequential of the first layer of a network.

    Linear, norm, activation, dropout.
    """
    return getattr(getattr(model.module, network), inner).fc_layers[0]
