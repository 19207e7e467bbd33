"""A model is judged on the cells that it should be judged on, and kept runs know their code."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scvi

from helpers import data, environment, training
from helpers.scale import evaluation


def test_the_negative_elbo_is_that_of_these_cells():
    environment.prepare(1)
    adata = data.load_pbmc()
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    model = scvi.model.SCVI(adata)
    training.train(model, "default", max_epochs=2, enable_progress_bar=False)
    held_out = evaluation.held_out_by_all([model])
    assert list(held_out) == sorted(model.validation_indices)
    found = evaluation.negative_elbo(model, held_out)
    # That of the curve is one draw, in training's own minibatches.
    assert found == pytest.approx(training.curves(model)["held-out cells"].iloc[-1], rel=0.01)
    assert evaluation.negative_elbo(model, held_out) == found, "the draws differ between models"
    parts = [evaluation.negative_elbo(model, half) for half in (held_out[:35], held_out[35:])]
    assert found == pytest.approx(np.mean(parts), rel=0.005)
    assert parts[0] != pytest.approx(parts[1], rel=0.005)
    nobody = type("Model", (), {"validation_indices": np.setdiff1d(np.arange(700), held_out)})
    with pytest.raises(ValueError, match="No cell was held out by all"):
        evaluation.held_out_by_all([model, nobody])


def test_agreement_is_on_the_cells_that_have_a_type(pbmc):
    types = pbmc.obs["cell_type"].copy()
    random = np.random.default_rng(0)
    known = pd.get_dummies(types).to_numpy(float) + 0.001 * random.normal(size=(700, 10))
    perfect = evaluation.agreement(known, types)
    assert perfect["k-means ARI"] == 1
    assert perfect["k-means NMI"] == pytest.approx(1)
    # Some types have fewer cells than half of 15 neighbours.
    assert perfect["kNN accuracy"] > 0.95
    shuffled = evaluation.agreement(random.permutation(known), types)
    assert shuffled["k-means ARI"] < 0.1
    assert shuffled["kNN accuracy"] < 0.5
    without = np.arange(700) % 3 == 0
    known[without] = random.permutation(known[without])
    assert evaluation.agreement(known, types)["k-means ARI"] < 0.9
    assert evaluation.agreement(known, types.mask(without))["k-means ARI"] == 1
    del pbmc.obs["cell_type"]
    nothing = evaluation.agreement(known, evaluation.cell_types(pbmc))
    assert list(nothing) == list(evaluation.MEASURES[1:])
    assert np.isnan(list(nothing.values())).all()


def test_settings_change_with_any_module_that_trains_or_judges(tmp_path, monkeypatch):
    before = evaluation.settings_key()
    assert evaluation.settings_key() == before
    read = Path.read_text
    changed = []

    def other(path, *how, **named):
        return read(path, *how, **named) + ("# changed" if path.name in changed else "")

    monkeypatch.setattr(Path, "read_text", other)
    for module in ("checkpoints.py", "presets.py", "evaluation.py"):
        changed[:] = [module]
        assert evaluation.settings_key() != before, module
    changed[:] = ["quizzes.py"]
    assert evaluation.settings_key() == before
    monkeypatch.setattr(evaluation.importlib.metadata, "version", lambda name: "0")
    assert evaluation.settings_key() != before
