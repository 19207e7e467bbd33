"""The drawing shows what the anatomy holds.

No more, no less, and nothing on top of something else.
"""

import itertools
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
import scvi
from matplotlib.patches import FancyBboxPatch

from helpers import data
from helpers.layers import architecture, architecture_drawing
from helpers.paths import ROOT

# Inches: what fits beside Lab's file browser, and what fits a screen's height.
SCREEN = (10.5, 9.5)


def scvi_model(cortex, **settings):
    few = cortex[::30, :100].copy()
    few.obs["batch"] = [f"{number % 2}" for number in range(few.n_obs)]
    scvi.model.SCVI.setup_anndata(few, layer="counts", batch_key="batch")
    return scvi.model.SCVI(few, **settings)


@pytest.fixture(scope="module")
def totalvi():
    blood = data.load_citeseq()[:, :100].copy()
    scvi.model.TOTALVI.setup_anndata(blood, "protein_expression", batch_key="batch", layer="counts")
    return scvi.model.TOTALVI(blood)


def texts(drawing):
    return [text.get_text() for text in drawing.figure.axes[0].texts]


def boxes(drawing):
    return [patch for patch in drawing.figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


@pytest.mark.parametrize("n_layers", [1, 4])
def test_each_hidden_layer_and_head_that_runs_has_its_box(cortex, n_layers):
    model = scvi_model(cortex, n_layers=n_layers, n_hidden=32)
    shown = texts(architecture_drawing.draw(model))
    assert shown.count("hidden layer") == 2 * n_layers
    assert shown.count("32") == 2 * n_layers
    for head in ("mean_encoder", "var_encoder", "px_scale_decoder", "px_dropout_decoder"):
        assert shown.count(head) == 1


def test_dropout_and_batch_stand_where_they_enter(cortex):
    shown = texts(architecture_drawing.draw(scvi_model(cortex, n_layers=2, encode_covariates=True)))
    notes = Counter(text for text in shown if re.search("dropout 0|batch", text))
    assert notes == {"+2 batch, dropout 0.1": 2, "+2 batch": 2}
    without = texts(architecture_drawing.draw(scvi_model(cortex, dropout_rate=0.0)))
    assert not [text for text in without if "dropout 0" in text]


def test_idle_and_ignored_parts_look_different_from_each_other(cortex, totalvi):
    idle = architecture_drawing.draw(scvi_model(cortex))
    assert sum(box.get_linestyle() == "--" for box in boxes(idle)) == 2
    assert {"l_encoder", "decoder.px_r_decoder"} <= set(texts(idle))
    assert not any(box.get_hatch() for box in boxes(idle))
    ignored = architecture_drawing.draw(totalvi)
    table = architecture.module_table(totalvi)
    linear = table["role"].isin(["hidden", "head"]) & (table["state"] == "ignored")
    assert sum(bool(box.get_hatch()) for box in boxes(ignored)) == linear.sum()
    assert not any(box.get_linestyle() == "--" for box in boxes(ignored))


def test_no_box_covers_another_and_all_fit_one_screen(cortex, totalvi):
    for model in (scvi_model(cortex), scvi_model(cortex, n_layers=4), totalvi):
        drawing = architecture_drawing.draw(model)
        width, height = drawing.figure.get_size_inches()
        assert width <= SCREEN[0] and height <= SCREEN[1]
        outlines = {box.get_bbox().bounds for box in boxes(drawing)}
        for (x, y, width, height), (other_x, other_y, *_) in itertools.combinations(outlines, 2):
            assert abs(x - other_x) >= width or abs(y - other_y) >= height


def test_alternative_text_says_what_the_picture_says(cortex, totalvi):
    alt = architecture_drawing.draw(scvi_model(cortex, n_layers=3, n_hidden=32)).alt
    assert "3 hidden layers of 32 in the encoder and 3 of 32 in the decoder" in alt
    assert "100 columns" in alt and "10 latent dimensions" in alt
    assert "zero inflated negative binomial" in alt
    assert "never runs: l_encoder, decoder.px_r_decoder" in alt
    both = architecture_drawing.draw(totalvi).alt
    assert "14 columns" in both and "negative binomial mixture" in both
    assert "encoder.l_gene_encoder" in both.partition("Ignored")[2]


# The same here and in another Python.
PICTURE_OF_TOTALVI = """
import hashlib, scvi
from helpers import data, environment
from helpers.layers import architecture_drawing
environment.prepare(seed=0)
blood = data.load_citeseq()[:, :50].copy()
scvi.model.TOTALVI.setup_anndata(blood, "protein_expression", batch_key="batch", layer="counts")
picture = architecture_drawing.draw(scvi.model.TOTALVI(blood)).png()
digest = hashlib.sha256(picture).hexdigest()
"""


def test_same_model_gives_the_same_picture_in_every_session():
    """The order of a set differs from one Python to the next; a picture must not depend on it."""
    here = {}
    exec(PICTURE_OF_TOTALVI, here)
    seed = "0" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    elsewhere = subprocess.run(
        [sys.executable, "-c", f"{PICTURE_OF_TOTALVI}print(digest)"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
        text=True,
    )
    assert elsewhere.stdout.strip() == here["digest"]


@pytest.mark.parametrize("kind", ["LinearSCVI", "PEAKVI", "AUTOZI"])
def test_other_models_can_be_drawn(cortex, kind):
    few = cortex[::30, :100].copy()
    family = getattr(scvi.model, kind)
    family.setup_anndata(few, layer="counts")
    drawing = architecture_drawing.draw(family(few))
    assert drawing.png().startswith(b"\x89PNG")
    for network in architecture.hidden_layers(family(few)):
        assert network in drawing.alt


def test_a_model_that_runs_a_network_twice_can_be_drawn(cortex):
    # Of what was decoded for another batch it asks the encoder once more.
    few = cortex[::30, :50].copy()
    few.obs["batch"] = [f"{number % 2}" for number in range(few.n_obs)]
    scvi.external.SysVI.setup_anndata(few, layer="counts", batch_key="batch")
    shown = texts(architecture_drawing.draw(scvi.external.SysVI(few)))
    assert shown.count("hidden layer") == 4
    assert shown.count("latent dimensions") == 1
