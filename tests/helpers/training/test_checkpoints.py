"""Checkpoints are never stale, never half-written, and run no code."""

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from helpers import data, training
from helpers.training import checkpoints, runs
from tests.helpers.evil import Evil, works
from tests.helpers.full_disk import full_disk, needs_limits
from tests.helpers.random_states import random_states
from tests.helpers.same_models import assert_same
from tests.helpers.small_models import SHORT, build, few, new_model, on_two_chips


@pytest.fixture
def adata(pbmc):
    return on_two_chips(pbmc)


def key(adata, train_kwargs=None, preset="class", **kwargs):
    model = new_model(adata, **kwargs)
    return runs._settings(model, preset, train_kwargs or {})["key"]


def the_file(folder):
    (file,) = folder.iterdir()
    return file


# --- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "setup"), [("SCVI", {}), ("TOTALVI", {"batch_key": "chip"}), ("SCANVI", {})]
)
def test_a_checkpoint_gives_back_what_scvi_tools_itself_would(kind, setup, tmp_path):
    def new():
        scvi.settings.seed = 0
        return build(few(data.load_citeseq(), 20), kind, setup)

    folder = tmp_path / "checkpoints"
    trained = training.load_or_train(new(), folder=folder, **SHORT)
    trained.save(str(tmp_path / "own"))
    theirs = type(trained).load(str(tmp_path / "own"), adata=trained.adata.copy())
    untrained = new()
    before = random_states()
    ours = runs.load_checkpoint(untrained, folder=folder, **SHORT)
    assert random_states() == before
    assert ours is untrained
    assert_same(ours, trained)
    assert_same(ours, theirs)
    assert ours.train_settings_ == trained.train_settings_
    assert set(vars(ours)) == set(vars(theirs))
    assert not hasattr(ours, "trainer")
    # Column by column, with the kinds of its values.
    values = [[type(value) for value in m.history["elbo_train"].iloc[:, 0]] for m in (ours, theirs)]
    assert values[0] == values[1]
    pd.testing.assert_frame_equal(training.curves(ours), training.curves(trained))


def test_a_loaded_model_can_be_used_and_saved_like_a_trained_one(adata, tmp_path):
    trained = training.load_or_train(new_model(adata), folder=tmp_path, **SHORT)
    loaded = training.load_or_train(new_model(adata.copy()), folder=tmp_path, **SHORT)
    loaded.save(str(tmp_path / "own"))
    assert_same(scvi.model.SCVI.load(str(tmp_path / "own"), adata=adata), trained)
    with pytest.raises(ValueError, match="trained before"):
        training.train(loaded, **SHORT)


# --- never stale --------------------------------------------------------------------------------


def test_the_same_run_has_the_same_key(adata):
    assert key(adata) == key(adata.copy())
    assert key(adata) == key(adata, train_kwargs={"enable_progress_bar": False})


def test_the_key_changes_with_all_that_decides_the_result(adata, monkeypatch):
    other_count = adata.copy()
    other_count.layers["counts"][0, 0] += 1
    other_name = adata.copy()
    other_name.var_names = ["renamed", *adata.var_names[1:]]
    other_chips = adata.copy()
    other_chips.obs["chip"] = adata.obs["chip"].to_numpy()[::-1]
    keys = [
        key(adata),
        key(adata, preset="default"),
        key(adata, train_kwargs={"max_epochs": 41}),
        key(adata, train_kwargs={"plan_kwargs": {"lr": 0.005}}),
        key(adata, seed=1),
        key(adata, n_layers=2),
        key(adata, gene_likelihood="nb"),
        key(adata, batch_key="chip"),
        key(other_chips, batch_key="chip"),
        key(other_count),
        key(other_name),
    ]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9.9")
    keys.append(key(adata))
    assert len(set(keys)) == len(keys)


@pytest.mark.filterwarnings("ignore:Changing the sparsity")
def test_a_stale_checkpoint_is_not_loaded(adata, tmp_path):
    training.load_or_train(new_model(adata), folder=tmp_path, **SHORT)
    adata.layers["counts"][0, 0] += 1
    assert runs.load_checkpoint(new_model(adata), folder=tmp_path, **SHORT) is None


def test_a_checkpoint_under_the_name_of_another_run_is_left_aside(adata, tmp_path, capsys):
    training.load_or_train(new_model(adata), folder=tmp_path, **SHORT)
    other = new_model(adata, seed=1)
    settings = runs._settings(other, "class", SHORT)
    the_file(tmp_path).rename(checkpoints.path(settings, tmp_path))
    assert runs.load_checkpoint(other, folder=tmp_path, **SHORT) is None
    assert "belongs to another run" in capsys.readouterr().err


# --- never half-written -------------------------------------------------------------------------


def empty(content):
    return b""


def truncated(content):
    return content[:1000]


def without_its_end(content):
    return content[:-1]


def with_a_flipped_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [empty, truncated, without_its_end, with_a_flipped_bit])
def test_a_damaged_checkpoint_is_replaced(damage, adata, tmp_path, capsys):
    training.load_or_train(new_model(adata), folder=tmp_path, **SHORT)
    file = the_file(tmp_path)
    whole = file.stat().st_size
    file.write_bytes(damage(file.read_bytes()))
    model = training.load_or_train(new_model(adata), folder=tmp_path, **SHORT)
    assert "cannot be read" in capsys.readouterr().err
    assert model.is_trained
    assert file.stat().st_size == whole
    assert runs.load_checkpoint(new_model(adata), folder=tmp_path, **SHORT) is not None


@needs_limits
def test_a_full_disk_leaves_the_checkpoint_that_was_there_and_nothing_half_written(adata, tmp_path):
    model = new_model(adata)
    training.train(model, folder=None, **SHORT)
    with full_disk(), pytest.raises(OSError, match=r"File too large|No space left"):
        checkpoints.save(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
    file = checkpoints.save(model, tmp_path)
    kept = file.read_bytes()
    with full_disk(), pytest.raises(OSError, match=r"File too large|No space left"):
        checkpoints.save(model, tmp_path)
    assert the_file(tmp_path) == file
    assert file.read_bytes() == kept


@needs_limits
def test_a_model_that_cannot_be_kept_is_trained_all_the_same(adata, tmp_path, capsys):
    with full_disk():
        model = training.load_or_train(new_model(adata), folder=tmp_path, **SHORT)
    said = capsys.readouterr().err
    assert "trained, but cannot be kept" in said
    assert "What to do: make room" in said
    assert model.get_latent_representation().shape == (700, 10)
    # As the message says.
    checkpoints.save(model, tmp_path)
    assert_same(runs.load_checkpoint(new_model(adata), folder=tmp_path, **SHORT), model)


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(adata, tmp_path, capsys):
    (tmp_path / "occupied").write_text("a file is here")
    folder = tmp_path / "occupied" / "checkpoints"
    model = training.load_or_train(new_model(adata), folder=folder, **SHORT)
    assert model.is_trained
    assert f"cannot be kept in {folder}" in capsys.readouterr().err
    with pytest.raises(OSError, match="occupied"):
        checkpoints.save(model, folder)


def test_drafts_of_dead_processes_are_removed_and_those_of_others_left(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    drafts = {
        name: tmp_path / f".SCVI-0.pt.{process}.part"
        for name, process in {"dead": dead.pid, "alive": os.getppid(), "own": os.getpid()}.items()
    }
    for draft in drafts.values():
        draft.write_text("half")
    (tmp_path / ".of-somebody.part").write_text("else")
    checkpoints.write(tmp_path / "x.pt", "key", {"one": 1})
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([".of-somebody.part", drafts["alive"].name, "x.pt"])


def test_only_a_model_with_known_settings_is_kept(adata, tmp_path):
    model = new_model(adata)
    model.train(**SHORT)
    with pytest.raises(ValueError, match=r"training.train\(model\)"):
        checkpoints.save(model, tmp_path)


def test_a_model_whose_weights_are_elsewhere_is_not_kept(tmp_path):
    scvi.model.AmortizedLDA.setup_anndata(cells := few(data.load_pbmc(), 20), layer="counts")
    model = scvi.model.AmortizedLDA(cells)
    model.train_settings_ = {"model": "AmortizedLDA", "key": "0"}
    with pytest.raises(ValueError, match=r"outside PyTorch.*model\.save"):
        checkpoints.save(model, tmp_path)


# --- data only ----------------------------------------------------------------------------------


def test_what_is_written_comes_back_with_its_kinds(tmp_path):
    table = pd.DataFrame({"n": [1, 2], "name": ["a", "b"], "x": [0.1, np.nan]})
    mixed = pd.DataFrame({"v": pd.Series([0.1 + 0.2, 3], dtype=object)}, index=pd.Index([5, 9]))
    mixed.index.name = "step"
    several = table.set_axis(pd.MultiIndex.from_tuples([("a", ""), ("b", 1), ("b", 2)]), axis=1)
    content = {
        "tables": [table, mixed, several, table.iloc[:0]],
        "tuple": (1, None, (np.float64(0.5), "text")),
        "cells": np.array([2, 3], dtype=np.uint32),
        "tensor": torch.tensor([0.1], dtype=torch.float64),
    }
    checkpoints.write(tmp_path / "x.pt", "key", content)
    back = checkpoints.read(tmp_path / "x.pt", "key")
    assert back is not None
    for one, other in zip(content["tables"], back["tables"], strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_index_type="exact")
    assert back["tuple"] == (1, None, (0.5, "text"))
    assert back["cells"].dtype == np.uint32 and back["cells"].tolist() == [2, 3]
    assert torch.equal(back["tensor"], content["tensor"])
    assert checkpoints.read(tmp_path / "missing.pt", "key") is None


def as_pickle(evil, key):
    return pickle.dumps(evil)


def as_torch(evil, key):
    written = io.BytesIO()
    torch.save({"format": checkpoints.FORMAT, "key": key, "content": evil}, written)
    return written.getvalue()


def sealed(evil, key):
    content = as_torch(evil, key)
    return checkpoints._seal(content) + content


@pytest.mark.parametrize("disguise", [as_pickle, as_torch, sealed])
@pytest.mark.parametrize("ending", [".pt", ".progress"])
def test_code_in_place_of_a_checkpoint_is_not_run(disguise, ending, adata, tmp_path, capsys):
    trace = tmp_path / "was run"
    assert works(trace)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    settings = runs._settings(new_model(adata), "class", SHORT)
    name = f"SCVI-{settings['key']}"
    file = folder / (f"{name}.pt" if ending == ".pt" else f".{name}.progress")
    file.write_bytes(disguise(Evil(trace), settings["key"]))
    model = training.load_or_train(new_model(adata), folder=folder, **SHORT)
    assert not trace.exists()
    assert model.is_trained
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert disguise is not sealed or f"asks to run {os.mkdir.__module__}.mkdir" in said
    # It is gone, and what was trained anew is in its place.
    assert the_file(folder).name == f"{name}.pt"
    assert_same(runs.load_checkpoint(new_model(adata), folder=folder, **SHORT), model)
    assert not trace.exists()


# --- model files of scvi-tools ------------------------------------------------------------------


@pytest.fixture
def saved(adata, tmp_path):
    """The folder of a model that scvi-tools saved."""
    model = new_model(adata, batch_key="chip")
    training.train(model, folder=None, **SHORT)
    model.save(str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.mark.parametrize("kind", ["SCVI", "TOTALVI", "SCANVI"])
@pytest.mark.parametrize("by", ["the kit", "scvi-tools"])
def test_an_ordinary_model_file_loads_as_scvi_tools_loads_it(kind, by, tmp_path):
    model = build(few(data.load_citeseq(), 20), kind)
    if by == "the kit":
        training.train(model, folder=None, **SHORT)
    else:
        model.train(**SHORT)
    model.save(str(tmp_path / "own"))
    ours = checkpoints.load_model(tmp_path / "own", few(data.load_citeseq(), 20))
    theirs = type(model).load(str(tmp_path / "own"), adata=few(data.load_citeseq(), 20))
    assert type(ours) is type(theirs)
    assert set(vars(ours)) == set(vars(theirs))
    if by == "the kit":
        assert_same(ours, theirs)
    else:
        assert np.array_equal(ours.get_latent_representation(), theirs.get_latent_representation())


def changed(file, change):
    content = torch.load(file, weights_only=False)
    change(content)
    torch.save(content, file)


class Asks:
    """Ask for a function by name when unpickled, with one argument."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("model_state_dict", lambda trace: Evil(trace)),
        ("attr_dict", lambda trace: Asks(eval, f"__import__('os').mkdir({str(trace)!r})")),
        ("attr_dict", lambda trace: Asks(getattr, pd.DataFrame, "eval")),
        ("var_names", lambda trace: Asks(pd.read_pickle, str(trace))),
        ("attr_dict", lambda trace: Asks(torch.load, str(trace))),
    ],
)
def test_a_model_file_that_asks_to_run_something_is_refused_by_name(
    place, asked, saved, adata, tmp_path
):
    trace = tmp_path / "was run"
    evil = asked(trace)
    function = evil.__reduce__()[0]

    def change(content):
        content[place] = {"innocent": content[place], "other": evil}

    changed(saved / "model.pt", change)
    with pytest.raises(ValueError, match=f"asks to run .*{function.__name__}") as refused:
        checkpoints.load_model(saved, adata)
    assert "nothing" in str(refused.value).lower()
    assert "What to do" in str(refused.value)
    assert not trace.exists()


def test_a_method_that_a_model_file_names_is_not_called(saved, adata):
    def change(content):
        content["attr_dict"]["registry_"]["setup_method_name"] = "convert_legacy_save"

    changed(saved / "model.pt", change)
    with pytest.raises(ValueError, match="cannot be loaded"):
        checkpoints.load_model(saved, adata)


@pytest.mark.parametrize("name", ["NOSUCH", "utils", "__name__"])
def test_a_model_file_of_something_else_is_refused(name, saved, adata):
    def change(content):
        content["attr_dict"]["registry_"]["model_name"] = name

    changed(saved / "model.pt", change)
    with pytest.raises(ValueError, match="cannot be loaded"):
        checkpoints.load_model(saved, adata)


@pytest.mark.parametrize("damage", [empty, truncated])
def test_a_damaged_or_missing_model_file_is_said(damage, saved, adata, tmp_path):
    file = saved / "model.pt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"cannot be loaded.*What to do"):
        checkpoints.load_model(saved, adata)
    with pytest.raises(FileNotFoundError, match=r"no .*model\.pt.*model\.save"):
        checkpoints.load_model(tmp_path / "elsewhere", adata)


@pytest.mark.filterwarnings("ignore:`torch.jit.s")
def test_a_program_in_place_of_a_model_is_refused_unread(saved, adata, monkeypatch):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(saved / "model.pt"))
    read = []
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: read.append(args))
    with pytest.raises(ValueError, match="cannot be loaded"):
        checkpoints.load_model(saved, adata)
    assert not read


def test_nothing_is_run_even_if_the_first_look_at_a_file_overlooks_it(tmp_path):
    trace = tmp_path / "was run"
    with pytest.raises(pickle.UnpicklingError, match=r"asks to run \w+\.mkdir"):
        checkpoints._HARMLESS_PICKLE.load(io.BytesIO(pickle.dumps(Evil(trace))))
    assert not trace.exists()
