"""What tests leave in memory goes, and what is still in use stays as it is."""

import weakref

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scvi
from anndata import AnnData

from helpers import environment
from tests import free_memory


@pytest.fixture(autouse=True)
def prepared():
    environment.prepare(seed=0)


def cells():
    counts = np.random.default_rng(0).poisson(1.0, size=(20, 5)).astype("float32")
    adata = AnnData(counts)
    scvi.model.SCVI.setup_anndata(adata)
    return adata


def model_of(adata):
    model = scvi.model.SCVI(adata, n_hidden=4, n_latent=2)
    model.is_trained_ = True
    model.module.eval()
    return model


def test_cells_that_only_scvi_remembers_are_forgotten():
    gone = weakref.ref(cells())
    model = model_of(cells())
    also_gone = weakref.ref(model.adata)
    del model
    assert gone() is not None, "scvi-tools lets go of them by itself: free_memory is not needed"
    free_memory.free_memory()
    assert gone() is None
    assert also_gone() is None


def test_cells_that_a_widget_draws_are_forgotten():
    adata, slider = cells(), widgets.IntSlider()
    gone = weakref.ref(adata)
    slider.observe(lambda change, adata=adata: adata.n_obs)
    del adata, slider
    free_memory.free_memory()
    assert gone() is None


def test_what_is_in_use_goes_on_as_before(caplog):
    adata, model = cells(), model_of(cells())
    before = model.get_latent_representation()
    plt.figure()
    free_memory.free_memory()
    assert plt.get_fignums() == []
    np.testing.assert_array_equal(model.get_latent_representation(), before)
    assert model.adata_manager.adata is model.adata
    assert model_of(adata).get_latent_representation().shape == (20, 2), "it is still set up"
    assert "transfer" not in caplog.text


def test_memory_is_freed_only_where_that_is_worthwhile(monkeypatch):
    freed = []
    monkeypatch.setattr(free_memory, "free_memory", lambda: freed.append(1))
    free = free_memory.Freer()
    free()
    free()
    assert freed == [1]
    free.least = free.least // 2  # as if it had doubled since
    free()
    assert freed == [1, 1]
