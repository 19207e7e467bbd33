"""Training that was interrupted goes on, and ends bit for bit as if it had not been."""

import contextlib
import functools
import itertools
import random
import signal
import subprocess
import sys
from unittest import mock

import anndata as ad
import lightning
import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

from helpers import data, training
from helpers.paths import ROOT
from helpers.training import checkpoints, resuming, run_keys, runs
from helpers.training.training_checks import TrainingChecks
from tests.helpers import killed_training
from tests.helpers.full_disk import full_disk, needs_limits
from tests.helpers.random_states import random_states
from tests.helpers.same_models import assert_same
from tests.helpers.small_models import build, few

EPOCHS = 8
QUIET = {"enable_progress_bar": False}
SHORT = {"max_epochs": EPOCHS} | QUIET

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def saved_after_each_epoch(monkeypatch):
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 0)


def new(kind="SCVI", setup=None):
    scvi.settings.seed = 0
    return build(few(data.load_citeseq(), 50), kind, setup)


def drawing_from_each_generator(model):
    """Let each step move the generators of Python and NumPy, as other models or callbacks may."""
    original = model.module.loss

    @functools.wraps(original)
    def loss(*args, **kwargs):
        move_on()
        return original(*args, **kwargs)

    model.module.loss = loss
    return model


def move_on():
    """Draw from each generator, as whoever runs another cell in between."""
    random.random()
    np.random.random()  # noqa: NPY002
    torch.rand(3)


@contextlib.contextmanager
def interrupted(model, epoch, minibatches=2, by=KeyboardInterrupt, held_out=False):
    """Interrupt the training inside an epoch, as the stop button does.

    Epochs are counted from 1, among those that are still to do.

    With ``held_out`` that is while it looks at the held-out cells, of which there is one minibatch.
    """
    steps = itertools.count(1)

    def stop(checks, *args, **kwargs):
        if checks.model is model and next(steps) > (epoch - 1) * minibatches:
            raise by

    # Not in the model: one whose loss does something else is another run.
    hook = "on_validation_batch_start" if held_out else "on_train_batch_start"
    with mock.patch.object(TrainingChecks, hook, stop), pytest.raises(by) as stopped:
        yield stopped


def minibatches_of(model):
    return int(model.loss_record_["minibatches", "number"].iloc[0])


# --- bit for bit --------------------------------------------------------------------------------

BATCHES = {"batch_key": "chip"}
# A rate that falls at each look, and an early stop that comes before the last epoch.
PLATEAU = {"plan_kwargs": {"lr_patience": 0, "lr_threshold": 100.0}}
STOPS = {
    "early_stopping": True,
    "early_stopping_warmup_epochs": 2,
    "early_stopping_patience": 4,
    "early_stopping_min_delta": 1e6,
}
ADVERSARY = {"adversarial_classifier": True}

RUNS = {
    "class": ("SCVI", {}, "class", {}),
    "default": ("SCVI", BATCHES, "default", {}),
    "default, stopped early": ("SCVI", {}, "default", STOPS),
    "every second epoch": ("SCVI", {}, "default", {"check_val_every_n_epoch": 2}),
    "on a plateau": (
        "SCVI",
        {},
        "default",
        {"plan_kwargs": {"reduce_lr_on_plateau": True, **PLATEAU["plan_kwargs"]}},
    ),
    "class, on a plateau": (
        "SCVI",
        {},
        "class",
        {"plan_kwargs": {"reduce_lr_on_plateau": True, **PLATEAU["plan_kwargs"]}},
    ),
    "proteins": ("TOTALVI", BATCHES, "few cells", ADVERSARY | PLATEAU),
    "proteins, stopped early": ("TOTALVI", BATCHES, "few cells", ADVERSARY | PLATEAU | STOPS),
    "proteins, class": ("TOTALVI", BATCHES, "class", ADVERSARY | PLATEAU),
    "labels": ("SCANVI", {}, "few cells", {}),
}


# The others are variations of these three.
FEW = {"class", "proteins, stopped early", "labels"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FEW else pytest.mark.slow("nine kinds of training"))
        for name in RUNS
    ],
)
def test_an_interrupted_run_ends_as_if_it_had_not_been_interrupted(name, tmp_path, capsys):
    kind, setup, preset, kwargs = RUNS[name]
    kwargs = SHORT | kwargs
    whole = drawing_from_each_generator(new(kind, setup))
    training.train(whole, preset, folder=None, **kwargs)
    left = random_states()
    epochs = len(training.curves(whole)) if "second" not in name else EPOCHS
    assert epochs == (7 if "early" in name else EPOCHS)
    # In another kernel; in the same one again with the same model; in the first epoch; in the last.
    for stops in ([3], [4, 5], [1, epochs]):
        model = drawing_from_each_generator(new(kind, setup))
        for epoch in stops:
            done = _epochs_kept(tmp_path)
            with interrupted(model, epoch - done, minibatches_of(whole)) as stopped:
                training.train(model, preset, folder=tmp_path, **kwargs)
            expected = f"goes on after epoch {epoch - 1}." if epoch > 1 else "begins anew."
            assert str(stopped.value).endswith(expected)
        move_on()
        capsys.readouterr()
        if len(stops) == 1:
            model = drawing_from_each_generator(new(kind, setup))
        training.train(model, preset, folder=tmp_path, **kwargs)
        assert f"Going on after epoch {stops[-1] - 1} of {EPOCHS}." in capsys.readouterr().out
        assert random_states() == left
        assert_same(model, whole)
        assert model.train_settings_ == whole.train_settings_
        assert list(tmp_path.iterdir()) == []


def _epochs_kept(folder):
    files = list(folder.glob(".*.progress"))
    if not files:
        return 0
    key = files[0].name.split("-")[1].removesuffix(".progress")
    return checkpoints.read(files[0], key)["epochs"]


def test_keeping_the_progress_changes_nothing(tmp_path):
    with_it, without = new(), new()
    training.train(with_it, folder=tmp_path, **SHORT)
    left = random_states()
    training.train(without, folder=None, **SHORT)
    assert random_states() == left
    assert_same(with_it, without)
    assert list(tmp_path.iterdir()) == []
    # The model stays, and so does its trainer with all that it was given.
    assert with_it.trainer.strategy.checkpoint_io.state is None


# --- real kernels, really killed ----------------------------------------------------------------


@pytest.fixture
def kernel():
    """Begin a process that trains; none outlives the test."""
    begun = []

    def begin(folder, where):
        command = [sys.executable, "-m", "tests.helpers.killed_training", str(folder), str(where)]
        root = ROOT
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def until_it_waits(process):
    lines = iter(process.stdout.readline, "")
    assert any(line.strip() == "waiting" for line in lines), process.stderr.read()


def end(process):
    _, problems = process.communicate(timeout=300)
    return process.returncode, problems


@pytest.fixture(scope="module")
def whole():
    """The model of a kernel that nobody killed."""
    model = killed_training.untrained()
    training.train(model, folder=None, **killed_training.KWARGS)
    return model


def assert_goes_on(whole, folder, epochs, capsys):
    """Train in this process what was begun in another."""
    capsys.readouterr()
    model = killed_training.untrained()
    training.load_or_train(model, folder=folder, **killed_training.KWARGS)
    said = capsys.readouterr()
    assert said.out.count(f"Going on after epoch {epochs} of {killed_training.EPOCHS}.") == 1
    assert said.err == ""
    assert_same(model, whole)
    assert [path.suffix for path in folder.iterdir()] == [".pt"]


@needs_signals
def test_a_kernel_that_is_killed_again_and_again_loses_nothing(kernel, whole, tmp_path, capsys):
    moments, done = random.Random(0), 0
    for ending in ("SIGKILL", "SIGINT", "SIGTERM"):
        # Within two to four further epochs of two steps.
        step = moments.randint(3, 8)
        process = kernel(tmp_path, step)
        until_it_waits(process)
        process.send_signal(getattr(signal, ending))
        end(process)
        done += (step - 1) // 2
        assert _epochs_kept(tmp_path) == done
        assert not [path for path in tmp_path.iterdir() if path.suffix in (".pt", ".part")]
    assert_goes_on(whole, tmp_path, done, capsys)


@needs_signals
@pytest.mark.parametrize("where", ["half", "draft"])
def test_a_kernel_that_is_killed_while_it_writes_loses_one_epoch(
    where, kernel, whole, tmp_path, capsys
):
    assert end(kernel(tmp_path, where))[0] == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*.part"))) == 1
    assert_goes_on(whole, tmp_path, 1, capsys)


@needs_signals
def test_a_second_kernel_neither_waits_nor_disturbs(kernel, whole, tmp_path, capsys):
    first = kernel(tmp_path, 7)
    until_it_waits(first)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    second = killed_training.untrained()
    training.train(second, folder=tmp_path, **killed_training.KWARGS)
    assert "Another kernel trains this same model" in capsys.readouterr().err
    assert_same(second, whole)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    first.send_signal(signal.SIGUSR1)
    assert end(first) == (0, "")
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]
    stored = runs.load_checkpoint(
        killed_training.untrained(), folder=tmp_path, **killed_training.KWARGS
    )
    assert_same(stored, whole)


# --- what cannot be kept ------------------------------------------------------------------------


@needs_limits
def test_a_full_disk_does_not_stop_the_training_and_is_said_once(tmp_path, capsys):
    whole, model = new(), new()
    training.train(whole, folder=None, **SHORT)
    with full_disk():
        training.train(model, folder=tmp_path, **SHORT)
    said = capsys.readouterr().err
    assert said.count("progress of this training cannot be kept") == 1
    assert "What to do: make room on the disk" in said
    assert_same(model, whole)
    assert list(tmp_path.iterdir()) == []


@needs_limits
def test_a_disk_that_fills_up_keeps_what_was_written_before(tmp_path, capsys):
    model = new()
    with interrupted(model, 3):
        training.train(model, folder=tmp_path, **SHORT)
    with full_disk(), interrupted(model, 4) as stopped:
        training.train(model, folder=tmp_path, **SHORT)
    assert "cannot be kept" in (said := capsys.readouterr().err)
    assert "goes on after epoch 2." in said
    assert str(stopped.value).endswith("goes on after epoch 2.")
    assert _epochs_kept(tmp_path) == 2


def test_a_folder_that_cannot_be_written_to_does_not_stop_the_training(tmp_path, capsys):
    (tmp_path / "occupied").write_text("a file is here")
    model = new()
    training.train(model, folder=tmp_path / "occupied" / "checkpoints", **SHORT)
    assert model.is_trained
    assert capsys.readouterr().err.count("cannot be kept in") == 1
    other = new()
    with interrupted(other, 4) as stopped:
        training.train(other, folder=tmp_path / "occupied" / "checkpoints", **SHORT)
    assert "begins anew" in str(stopped.value)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9]])
def test_a_damaged_progress_begins_anew(damage, tmp_path, capsys):
    whole, model = new(), new()
    training.train(whole, folder=None, **SHORT)
    with interrupted(model, 5, minibatches_of(whole)):
        training.train(model, folder=tmp_path, **SHORT)
    (file,) = tmp_path.glob(".*.progress")
    file.write_bytes(damage(file.read_bytes()))
    training.train(model, folder=tmp_path, **SHORT)
    said = capsys.readouterr()
    assert "cannot be read" in said.err
    assert "Going on" not in said.out
    assert_same(model, whole)
    assert list(tmp_path.iterdir()) == []


def test_the_progress_of_another_lightning_begins_anew(tmp_path, monkeypatch, capsys):
    model = new()
    with monkeypatch.context() as patch:
        patch.setattr(lightning, "__version__", "0.1")
        with interrupted(model, 5):
            training.train(model, folder=tmp_path, **SHORT)
    training.train(model, folder=tmp_path, **SHORT)
    assert "Going on" not in capsys.readouterr().out
    assert len(training.curves(model)) == EPOCHS


class Watch(Callback):
    pass


@pytest.mark.parametrize(
    "kwargs",
    [{"callbacks": [Watch()]}, {"logger": False}, {"devices": 1}, {"strategy": "auto"}],
)
def test_a_run_that_cannot_be_repeated_or_keeps_its_own_books_is_trained_without(kwargs, tmp_path):
    model = new()
    settings = SHORT | {"check_val_every_n_epoch": None} | kwargs
    with interrupted(model, 3) as stopped:
        training.train(model, folder=tmp_path, **settings)
    assert "begins anew" in str(stopped.value)
    assert list(tmp_path.iterdir()) == []
    training.train(model, folder=tmp_path, **settings)
    assert model.is_trained


def test_counts_that_stay_in_a_file_have_no_key_to_go_on_with(tmp_path):
    model = new()
    settings = runs._settings(model, "class", SHORT)
    assert settings["key"] is not None
    model.adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert not run_keys.is_in_memory(backed.X)


# --- what is left behind ------------------------------------------------------------------------


def test_short_trainings_never_touch_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 1e9)
    training.train(new(), folder=tmp_path / "checkpoints", **SHORT)
    assert not (tmp_path / "checkpoints").exists()


def test_an_interruption_loses_no_finished_epoch_however_long_ago_the_last_was_written(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 1e9)
    whole, model = new(), new()
    training.train(whole, folder=None, **SHORT)
    # In the tenth minibatch: the second of the fifth epoch, so the weights have moved on since the
    # fourth.
    with interrupted(model, 10, 1) as stopped:
        training.train(model, folder=tmp_path, **SHORT)
    assert str(stopped.value).endswith("goes on after epoch 4.")
    training.train(model, folder=tmp_path, **SHORT)
    assert f"Going on after epoch 4 of {EPOCHS}." in capsys.readouterr().out
    assert_same(model, whole)


def test_an_interrupted_model_is_as_untrained_as_before(tmp_path):
    model, other = new(), new()
    before = {name: weights.clone() for name, weights in model.module.state_dict().items()}
    modes = [part.training for part in model.module.modules()]
    # As in a kernel, whoever began this process.
    of_this_process = signal.signal(signal.SIGINT, signal.default_int_handler)
    with interrupted(model, 4):
        training.train(model, folder=tmp_path, **SHORT)
    assert not model.is_trained
    assert all(torch.equal(w, before[n]) for n, w in model.module.state_dict().items())
    assert [part.training for part in model.module.modules()] == modes
    # While it ends, Lightning ignores a second one; afterwards none.
    assert signal.signal(signal.SIGINT, of_this_process) is signal.default_int_handler
    # Other settings are another run.
    training.train(model, "default", folder=tmp_path, **SHORT)
    training.train(other, "default", folder=None, **SHORT)
    assert_same(model, other)


def test_a_look_at_the_held_out_cells_can_be_interrupted(tmp_path):
    """The model is then in the mode in which it does not learn."""
    whole, model = new(), new()
    training.train(whole, folder=None, **SHORT)
    with interrupted(model, 4, 1, held_out=True):
        training.train(model, folder=tmp_path, **SHORT)
    assert _epochs_kept(tmp_path) == 3
    assert all(part.training for part in model.module.modules())
    training.train(model, folder=tmp_path, **SHORT)
    assert_same(model, whole)


def test_an_error_is_raised_as_it_is_and_the_run_goes_on_afterwards(tmp_path, capsys):
    whole, model = new(), new()
    training.train(whole, folder=None, **SHORT)
    with interrupted(model, 6, minibatches_of(whole), by=ZeroDivisionError):
        training.train(model, folder=tmp_path, **SHORT)
    training.train(model, folder=tmp_path, **SHORT)
    assert f"Going on after epoch 5 of {EPOCHS}." in capsys.readouterr().out
    assert_same(model, whole)


def test_a_checkpoint_is_made_from_an_interrupted_run(tmp_path):
    whole, model = new(), new()
    training.train(whole, folder=None, **SHORT)
    with interrupted(model, 3, minibatches_of(whole)):
        training.load_or_train(model, folder=tmp_path, **SHORT)
    assert_same(training.load_or_train(model, folder=tmp_path, **SHORT), whole)
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".pt"
    assert_same(runs.load_checkpoint(new(), folder=tmp_path, **SHORT), whole)


@needs_limits
def test_a_model_that_cannot_be_stored_keeps_its_progress(tmp_path, capsys):
    model = new()
    with interrupted(model, EPOCHS):
        training.load_or_train(model, folder=tmp_path, **SHORT)
    with full_disk():
        assert training.load_or_train(model, folder=tmp_path, **SHORT).is_trained
    assert "cannot be kept" in capsys.readouterr().err
    assert _epochs_kept(tmp_path) == EPOCHS - 1


def test_the_progress_bar_begins_where_the_run_goes_on(tmp_path, capsys):
    model = new()
    with interrupted(model, 6):
        training.train(model, folder=tmp_path, max_epochs=EPOCHS)
    capsys.readouterr()
    training.train(model, folder=tmp_path, max_epochs=EPOCHS)
    bar = "".join(capsys.readouterr())
    assert f" {EPOCHS}/{EPOCHS} " in bar
    assert f" 5/{EPOCHS} " in bar
    assert f" 1/{EPOCHS} " not in bar


def test_a_lock_is_left_to_nobody(tmp_path):
    first, second = (resuming.Progress({"model": "SCVI", "key": "0"}, tmp_path) for _ in range(2))
    first.note({"epochs": 1})
    second.note({"epochs": 2})
    assert (first.epochs_saved, second.epochs_saved) == (1, 0)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".progress"]
    first.release()
    third = resuming.Progress({"model": "SCVI", "key": "0"}, tmp_path)
    third.find()
    assert third.found["epochs"] == 1
    third.remove()
    assert list(tmp_path.iterdir()) == []
