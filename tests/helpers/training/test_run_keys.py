"""A run has a key that covers all that decides it, or none and a reason."""

import functools
import re
import threading

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from helpers import training
from helpers.training import checkpoints, run_keys, runs
from tests.helpers.small_models import SHORT


def toy():
    adata = scvi.data.synthetic_iid(batch_size=40, n_genes=20)
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    return adata


@pytest.fixture(scope="module")
def cells():
    return toy()


def new(cells, kind=scvi.model.SCVI, **parameters):
    scvi.settings.seed = 0
    return kind(cells, **parameters)


def settings(model, **train_kwargs):
    return runs._settings(model, "class", train_kwargs)


def key(model, **train_kwargs):
    return settings(model, **train_kwargs)["key"]


# --- what counts --------------------------------------------------------------------------------


def scale_the_loss(model, by=2.0):
    original = model.module.loss

    @functools.wraps(original)
    def loss(*args, **kwargs):
        output = original(*args, **kwargs)
        output.loss = output.loss * by
        return output

    model.module.loss = loss


def swap_the_activation(model):
    for part in model.module.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):
                setattr(part, name, nn.GELU())


class Plan(scvi.train.TrainingPlan):
    def training_step(self, *args):
        return super().training_step(*args)


class Splitter(scvi.dataloaders.DataSplitter):
    def train_dataloader(self):
        return super().train_dataloader()


CHANGES = {
    "a frozen part": lambda m: m.module.z_encoder.requires_grad_(False),
    "dropout": lambda m: setattr(m.module.z_encoder.encoder.fc_layers[0][3], "p", 0.9),
    "momentum": lambda m: setattr(m.module.z_encoder.encoder.fc_layers[0][1], "momentum", 0.5),
    "activation": swap_the_activation,
    "likelihood": lambda m: setattr(m.module, "gene_likelihood", "nb"),
    "an attribute": lambda m: setattr(m.module, "something", 3),
    "a weight": lambda m: m.module.px_r.data.add_(1),
    "a mode": lambda m: m.module.z_encoder.eval(),
    "a gradient hook": lambda m: m.module.px_r.register_hook(lambda gradient: 0 * gradient),
    "a forward hook": lambda m: m.module.z_encoder.register_forward_hook(lambda *a: None),
    "the loss": scale_the_loss,
    "the loss otherwise": functools.partial(scale_the_loss, by=3.0),
    "the plan": lambda m: setattr(m, "_training_plan_cls", Plan),
    "the splitter": lambda m: setattr(m, "_data_splitter_cls", Splitter),
    "a shared weight": lambda m: setattr(
        m.module.z_encoder.var_encoder, "weight", m.module.z_encoder.mean_encoder.weight
    ),
}


def test_a_model_that_was_changed_is_another_run(cells):
    def found():
        keys = {}
        for name, change in CHANGES.items():
            model = new(cells)
            change(model)
            keys[name] = key(model)
        return keys

    first = found()
    assert None not in first.values()
    assert len({key(new(cells)), *first.values()}) == len(CHANGES) + 1
    assert found() == first


def test_a_weight_that_is_shared_is_not_one_that_is_equal(cells):
    one, two = new(cells), new(cells)
    for model in (one, two):
        model.module.z_encoder.var_encoder.weight = model.module.z_encoder.mean_encoder.weight
    assert key(one) == key(two)
    own = two.module.z_encoder.mean_encoder.weight.detach().clone()
    two.module.z_encoder.var_encoder.weight = nn.Parameter(own)
    assert key(one) != key(two)


ROWS = np.arange(80)

ARGUMENTS = [
    {},
    {"plan_kwargs": {"optimizer_creator": lambda weights: torch.optim.SGD(weights, lr=0.1)}},
    {"plan_kwargs": {"optimizer_creator": lambda weights: torch.optim.SGD(weights, lr=0.2)}},
    {"plan_kwargs": {"anything": np.arange(2000)}},
    {"plan_kwargs": {"anything": np.where(np.arange(2000) == 1000, 0, np.arange(2000))}},
    {"datasplitter_kwargs": {"external_indexing": [ROWS[:70], ROWS[70:]]}},
    {"datasplitter_kwargs": {"external_indexing": [ROWS[10:], ROWS[:10]]}},
]


def test_arguments_count_with_all_that_is_in_them(cells):
    found = [key(new(cells), **arguments) for arguments in ARGUMENTS]
    assert None not in found
    assert len(set(found)) == len(ARGUMENTS)
    shown = {"enable_progress_bar": False, "simple_progress_bar": False}
    assert key(new(cells), **shown) == found[0]


def test_the_session_counts_where_it_decides(cells, monkeypatch):
    before = key(new(cells))
    for name, value in (("batch_size", 99), ("dl_persistent_workers", True)):
        with monkeypatch.context() as patch:
            patch.setattr(scvi.settings, name, value)
            assert key(new(cells)) != before, name
    hook = torch.nn.modules.module.register_module_forward_hook(lambda *a: None)
    assert key(new(cells)) != before
    hook.remove()
    model = new(cells)
    torch.set_default_dtype(torch.float64)
    try:
        assert key(model) != before
    finally:
        torch.set_default_dtype(torch.float32)
    assert key(new(cells)) == before


def own(beta=1.0, factor=1.0):
    """Return a model of the user's own, as a cell of a notebook defines it."""

    class Module(scvi.module.VAE):
        def loss(self, *args, beta=beta, **kwargs):
            output = super().loss(*args, **kwargs)
            output.loss = output.loss * beta * factor
            return output

    class Model(scvi.model.SCVI):
        _module_cls = Module

    return Model


def test_the_code_of_a_model_of_ones_own_counts(cells):
    keys = []
    for kind in (own(), own(), own(beta=2.0), own(factor=2.0)):
        kind.setup_anndata(cells, batch_key="batch")
        keys.append(key(new(cells, kind)))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_query_counts_with_what_surgery_froze(cells):
    reference = new(cells)
    reference.is_trained_ = True
    keys = []
    for unfrozen in (False, True, False):
        scvi.settings.seed = 0
        query = scvi.data.synthetic_iid(batch_size=40, n_genes=20)
        query.obs["batch"] = pd.Categorical(["new"] * query.n_obs)
        model = scvi.model.SCVI.load_query_data(query, reference, unfrozen=unfrozen)
        keys.append(key(model))
    assert keys[0] == keys[2] != keys[1]


def test_other_columns_count_only_if_code_reads_them():
    class Reads(scvi.dataloaders.DataSplitter):
        def train_dataloader(self):
            assert "fold" in self.adata_manager.adata.obs
            return super().train_dataloader()

    adata = toy()
    keys = {Splitter: [], Reads: []}
    for fold in (0, 1):
        adata.obs["fold"] = fold
        for splitter, found in keys.items():
            model = new(adata)
            model._data_splitter_cls = splitter
            found.append(key(model))
    assert keys[Splitter][0] == keys[Splitter][1]
    assert keys[Reads][0] != keys[Reads][1]


# --- no key -------------------------------------------------------------------------------------


def lda():
    adata = scvi.data.synthetic_iid(batch_size=20, n_genes=10)
    scvi.model.AmortizedLDA.setup_anndata(adata)
    return scvi.model.AmortizedLDA(adata, n_topics=2)


@pytest.mark.parametrize(
    ("change", "kwargs", "why"),
    [
        (lambda m: None, {"callbacks": [Callback()]}, "callbacks were given"),
        (lambda m: None, {"ckpt_path": "a.ckpt"}, "ckpt_path"),
        (lambda m: setattr(m.module, "lock", threading.Lock()), {}, r"module\.lock \(lock\)"),
        (lambda m: None, {"plan_kwargs": {"a": (n for n in ())}}, r"plan_kwargs\.a \(generator\)"),
    ],
)
def test_a_run_without_a_key_says_why(change, kwargs, why, cells):
    model = new(cells)
    change(model)
    found = settings(model, **kwargs)
    assert found["key"] is None
    assert re.search(why, found["why no key"])


def test_models_of_pyro_and_sessions_without_a_seed_have_no_key(cells, monkeypatch):
    assert "outside PyTorch" in settings(lda())["why no key"]
    model = new(cells)
    monkeypatch.setattr(scvi.settings, "_seed", None)
    assert "seed is None" in settings(model)["why no key"]


def test_counts_in_a_file_have_no_key(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert not run_keys.is_in_memory(backed.X)
    assert run_keys.is_in_memory(cells.X)


def test_without_a_key_nothing_is_read_or_written(cells, tmp_path, capsys):
    for _ in range(2):
        model = training.load_or_train(new(cells), folder=tmp_path, callbacks=[Callback()], **SHORT)
        assert model.is_trained
        said = capsys.readouterr().err
        assert "No checkpoint is used" in said and "callbacks were given" in said
        assert "What to do" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"no key.*callbacks.*model\.save"):
        checkpoints.save(model, tmp_path)


def test_a_frozen_encoder_does_not_get_the_run_of_another(cells, tmp_path):
    for frozen in (False, True):
        model = new(cells)
        model.module.z_encoder.requires_grad_(not frozen)
        before = model.module.z_encoder.mean_encoder.weight.detach().clone()
        training.load_or_train(model, folder=tmp_path, **SHORT)
        assert torch.equal(before, model.module.z_encoder.mean_encoder.weight) is frozen
    assert len(list(tmp_path.iterdir())) == 2
