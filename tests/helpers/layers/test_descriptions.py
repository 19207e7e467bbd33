"""The sentences say the numbers of the tables."""

import re

import pytest

from helpers.layers import architecture, descriptions, untrained_parts
from tests.helpers.layers.expected_layers import N_GENES, TOTAL_LIBRARY, TOTAL_ZEROS, WIDTH, layers
from tests.helpers.small_models import build


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
        kind: (model, descriptions.explain(model), untrained_parts.unused(model))
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
    assert "Dropout is 0.3 in the encoder, and" in descriptions.explain(
        build(cells, dropout_rate=0.3)
    )
    assert "no dropout" in descriptions.explain(build(cells, dropout_rate=0))


def test_explain_says_what_is_frozen(model):
    layers(model)[0].requires_grad_(False)
    text = descriptions.explain(model)
    assert f"{N_GENES * WIDTH + WIDTH:,} parameters in the encoder are frozen" in text
