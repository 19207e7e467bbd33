"""Sweeps: what is refused before they start, and real ones on a cluster of two nodes here."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import ray
import scvi
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from helpers import environment, training
from helpers.paths import ROOT
from helpers.scale import evaluation, ray_cluster, sweep, sweep_trial
from tests.helpers.small_models import few

QUICK = {"max_epochs": 2, "least_steps": 0}
SPACE = {"model_params": {"n_layers": [1, 2], "seed": [1, 2]}, "train_params": QUICK}


# --- before anything runs -----------------------------------------------------------------------


def test_without_ray_the_module_loads_and_says_how_to_get_it():
    # What is not there is not imported, whatever the name of the module.
    code = """
import sys, importlib.util
found = importlib.util.find_spec
absent = ("ray", "hyperopt", "scib_metrics")
importlib.util.find_spec = lambda name, *more: None if name in absent else found(name, *more)
sys.modules.update(dict.fromkeys(absent))
from helpers.scale import sweep
try:
    sweep.run(None, {})
except ModuleNotFoundError as error:
    print(error)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "needs ray, hyperopt, scib_metrics" in answer.stdout
    assert "make lab ARGS=--sweep" in answer.stdout


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"model_params": {"n_layer": [1]}}, "no parameter 'n_layer'. Did you mean n_layers"),
        ({"model_params": {"max_epochs": [1]}}, "max_epochs belongs into train_params"),
        ({"train_params": {"n_hidden": 64}}, "n_hidden belongs into model_params"),
        ({"model_params": {"n_input": [10]}}, "no parameter 'n_input'"),
        ({"model": {"n_layers": [1]}}, "not 'model'"),
        ({"model_params": {"n_layers": []}}, "n_layers has no value to try"),
        ({"model_params": {"n_layers": (1, 2)}}, r"only a list holds values .* n_layers=\[1, 2\]"),
        ({"model_params": {}}, "search space is empty"),
        ({}, "search space is empty"),
    ],
)
def test_a_search_space_that_cannot_be_run_is_refused_with_the_reason(space, said):
    with pytest.raises(ValueError, match=said):
        sweep.check(space)


def test_what_scvi_and_the_presets_take_is_known(cortex):
    known = sweep.known_parameters()
    assert {"n_layers", "n_hidden", "n_latent", "dropout_rate", "dispersion", "seed"} <= known[
        "model_params"
    ]
    # An argument of the module, which SCVI hands on.
    assert "use_layer_norm" in known["model_params"]
    assert {"max_epochs", "batch_size", "plan_kwargs", "lr_rise", "preset"} <= known["train_params"]
    # Every one that is called known must be taken.
    small = few(cortex, 20)
    scvi.model.SCVI.setup_anndata(small, layer="counts")
    scvi.model.SCVI(small, use_layer_norm="both", n_layers=2)


def test_number_of_trials_is_that_of_the_combinations():
    assert sweep.n_trials(SPACE) == 4
    nested = {"train_params": {"plan_kwargs": {"lr": [0.1, 0.2]}, "batch_size": [1, 2, 3]}}
    assert sweep.n_trials(nested) == 6
    assert sweep.n_trials({"model_params": {"n_layers": 2}}) == 1


def test_the_address_is_taken_from_the_environment(cortex, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
        sweep.run(few(cortex, 20), SPACE, tmp_path)
    assert not ray.is_initialized()


def test_too_little_memory_for_one_trial_is_said_before_ray_starts(cortex, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster.environment, "available_memory", lambda: 10**8)
    with pytest.raises(MemoryError, match=r"Each trial of a sweep needs about 1\.2 GB"):
        sweep.run(few(cortex, 20), SPACE, tmp_path)
    assert not ray.is_initialized()


def test_a_full_disk_is_said_before_ray_starts(cortex, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 10, 1_000_000))
    with pytest.raises(OSError, match="about 50 MB, and 1 MB are free") as caught:
        sweep.run(few(cortex, 20), SPACE, tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert not ray.is_initialized()


def test_the_reason_of_a_failure_is_one_line_in_plain_words():
    assert sweep._reason(OutOfMemoryError("three\npages")).startswith("out of memory: Ray stopped")
    assert sweep._reason(ActorDiedError()) == "its process or its node died"
    assert sweep._reason(ValueError("first\n\nValueError: the cause\n")) == "ValueError: the cause"
    assert sweep._reason(ValueError()) == "ValueError"
    assert sweep._died(ActorDiedError()) and sweep._died(OutOfMemoryError("no memory"))
    assert not sweep._died(None)
    assert not sweep._died(RayTaskError("train", "trace", ValueError("its own")))


def test_a_sweep_is_stopped_before_the_disk_is_full(tmp_path, monkeypatch, request):
    # A test run in the background of a shell ignores interrupts; a kernel does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    usage = namedtuple("usage", "total used free")
    (tmp_path / "sweep" / "trial").mkdir(parents=True)
    (tmp_path / "sweep" / "trial" / "result.json").write_text('{"epoch": 1}\n{"node": "a"}\n')
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 0, 10**6))
    with (
        pytest.raises(OSError, match=r"nearly full.* 1 of 4 trials are finished") as caught,
        sweep._progress(tmp_path / "sweep", 4),
    ):
        for _ in range(300):
            time.sleep(0.1)
        pytest.fail("It was not stopped.")
    assert caught.value.errno == errno.ENOSPC
    # Any other interruption stays one.
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 0, 10**9))
    with pytest.raises(KeyboardInterrupt), sweep._progress(tmp_path / "sweep", 4):
        raise KeyboardInterrupt


def test_cells_without_counts_are_refused_before_ray_starts(cortex, tmp_path):
    small = few(cortex, 20)
    small.layers["counts"] = small.layers["counts"].log1p()
    with pytest.raises(ValueError, match="counts"):
        sweep.run(small, SPACE, tmp_path)
    assert not ray.is_initialized()


def test_a_sweep_is_kept_under_a_name_of_its_own(cortex):
    small = few(cortex, 20)
    name = sweep.name_of(small, SPACE)
    assert sweep.name_of(small.copy(), dict(SPACE)) == name
    assert sweep.name_of(small, SPACE | {"train_params": {}}) != name
    small.layers["counts"] = small.layers["counts"] * 2
    assert sweep.name_of(small, SPACE) != name


# --- a cluster of two nodes ---------------------------------------------------------------------


def node_of_one_processor():
    return {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def two_nodes():
    os.environ.update(ray_cluster.VARIABLES)
    cluster = Cluster(initialize_head=True, head_node_args=node_of_one_processor())
    cluster.second = cluster.add_node(**node_of_one_processor())
    ray.init(
        cluster.address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env=ray_cluster.worker_python(),
    )
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def cells(whole_cortex):
    return few(whole_cortex, 50)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def done(two_nodes, cells, kept):
    return sweep.run(cells, SPACE, kept)


def reports(folder):
    """Return, by trial, the process that reported its end."""
    ends = {}
    for file in folder.glob("*/*/result.json"):
        for line in file.read_text("utf-8").splitlines():
            if '"node": ' in line:
                ends.setdefault(file.parent.name, []).append(line)
    return ends


def failures(folder):
    """Return how many failures Ray has noted."""
    return sum(file.read_text("utf-8").count("Failure # ") for file in folder.glob("*/*/error.txt"))


def test_both_nodes_work_and_every_combination_is_there_once(done, two_nodes):
    assert set(done["node"]) == {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert len(set(done["node"])) == 2
    assert sorted(zip(done["n_layers"], done["seed"], strict=True)) == [
        (layers, seed) for layers in (1, 2) for seed in (1, 2)
    ]
    assert (done["problem"] == "").all()
    assert set(sweep_trial.MEASURES) <= set(done.columns)


def test_a_cluster_that_is_there_is_reached_and_its_nodes_are_like_this_process(two_nodes):
    ray_cluster.require_reachable(two_nodes.address)
    nodes = ray_cluster.packages_of_nodes()
    assert len(nodes) == 3
    assert not nodes.isna().to_numpy().any()
    assert set(nodes.drop(columns="node").nunique()) == {1}
    ray_cluster.require_same_packages(nodes)


def test_what_is_reported_is_what_the_same_training_gives_here(done, cells):
    row = done.query("n_layers == 2 and seed == 2").iloc[0]
    environment.prepare(2)
    adata = cells.copy()
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    model = scvi.model.SCVI(adata, n_layers=2)
    training.train(model, **QUICK, enable_progress_bar=False)
    again = evaluation.judge(model, model.validation_indices, evaluation.cell_types(adata))
    assert row["negative ELBO"] == pytest.approx(again["negative ELBO"], rel=1e-5)
    assert row["held-out cells"] == again["held-out cells"]
    assert row["hidden layers"] == "{'encoder': 2, 'decoder': 2}"


def test_seeds_hold_out_other_cells_and_architectures_the_same(done):
    by_seed = done.groupby("seed")["held-out cells"]
    assert (by_seed.nunique() == 1).all()
    assert done["held-out cells"].nunique() == done["seed"].nunique()


def test_a_finished_sweep_is_not_run_again(done, cells, kept):
    before = reports(kept)
    again = sweep.run(cells, SPACE, kept)
    pd.testing.assert_frame_equal(again, done)
    assert reports(kept) == before


def test_a_trial_with_an_error_of_its_own_leaves_the_others_whole(two_nodes, cells, tmp_path):
    # No memory holds a network so wide.
    space = {"model_params": {"n_hidden": [8, 10**10], "seed": 1}, "train_params": QUICK}
    table = sweep.run(cells, space, tmp_path)
    good, bad = table.iloc[0], table.iloc[1]
    assert good["problem"] == "" and np.isfinite(good["negative ELBO"])
    assert "memory" in bad["problem"] and np.isnan(bad["negative ELBO"])
    # It would come again, so it is not tried again, before the same call is made anew.
    assert failures(tmp_path) == 1
    pd.testing.assert_frame_equal(sweep.run(cells, space, tmp_path), table)
    assert failures(tmp_path) == 2


def test_if_no_trial_finishes_the_reason_is_said(two_nodes, cells, tmp_path):
    space = {"model_params": {"dispersion": ["none"]}, "train_params": QUICK}
    with pytest.raises(RuntimeError, match=r"No trial finished\..*`dispersion` must be one of"):
        sweep.run(cells, space, tmp_path)


def when(condition, act):
    """Do something from another thread once a condition holds."""

    def wait():
        while not condition():
            time.sleep(0.05)
        act()

    threading.Thread(target=wait, daemon=True).start()


def at_work(node):
    """Return the processes of trials that train on a node."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [each for each in raylet.children(recursive=True) if "ImplicitFunc.train" in each.name()]


def test_a_trial_whose_process_dies_is_tried_again(two_nodes, cells, tmp_path):
    space = {"model_params": {"seed": [1, 2]}, "train_params": {"max_epochs": 40}}
    killed = []

    def kill():
        killed.extend(at_work(two_nodes.second))
        killed[0].kill()

    when(lambda: at_work(two_nodes.second), kill)
    table = sweep.run(cells, space, tmp_path)
    assert len(killed) == 1
    assert (table["problem"] == "").all()
    assert np.isfinite(table["negative ELBO"]).all()


def test_a_sweep_that_is_stopped_keeps_what_is_finished_and_goes_on(two_nodes, cells, tmp_path):
    when(lambda: reports(tmp_path), lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"Stopped\. [1-3] of 4 trials are finished"):
        sweep.run(cells, SPACE, tmp_path)
    before = reports(tmp_path)
    assert 1 <= len(before) < 4
    table = sweep.run(cells, SPACE, tmp_path)
    assert len(table) == 4
    assert (table["problem"] == "").all()
    after = reports(tmp_path)
    assert {trial: after[trial] for trial in before} == before
    assert all(len(ends) == 1 for ends in after.values())


def test_reports_that_are_gone_are_said(two_nodes, done, cells, kept, tmp_path):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    node = done["node"].iloc[0]
    lost = (done["node"] == node).sum()
    for state in tmp_path.glob("*/experiment_state-*.json"):
        text = state.read_text("utf-8")
        without = re.sub(rf'[\\"]+node[\\"]+: [\\"]+{node}[\\"]+,? ?', "", text)
        assert without != text
        state.write_text(without, "utf-8")
    with pytest.raises(OSError, match=f"What {lost} of 4 trials reported is missing") as caught:
        sweep.run(cells, SPACE, tmp_path)
    assert Path(caught.value.filename).parent == tmp_path


def test_a_killed_sweep_loses_nothing_that_was_finished(two_nodes, cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    code = f"""
import anndata, ray
from pathlib import Path
from helpers.scale import ray_cluster, sweep
ray.init({two_nodes.address!r}, runtime_env=ray_cluster.worker_python())
sweep.run(anndata.read_h5ad("cells.h5ad"), {SPACE}, Path("kept"))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kept = tmp_path / "kept"
    while not reports(kept) and child.poll() is None:
        time.sleep(0.1)
    before = reports(kept)
    # Ray notes each second what is finished.
    time.sleep(2)
    child.kill()
    child.wait()
    assert before
    table = sweep.run(cells, SPACE, kept)
    assert len(table) == 4
    assert (table["problem"] == "").all()
    after = reports(kept)
    assert {trial: after[trial] for trial in before} == before


def test_a_sweep_outlives_the_death_of_a_node(two_nodes, cells, tmp_path):
    space = {
        "model_params": {"n_layers": [1, 2], "seed": [1, 2]},
        "train_params": {"max_epochs": 40},
    }

    def second_node_is_at_work_again():
        ends = "".join(end for trial in reports(tmp_path).values() for end in trial)
        return two_nodes.second.node_id in ends and at_work(two_nodes.second)

    when(
        second_node_is_at_work_again,
        lambda: two_nodes.remove_node(two_nodes.second, allow_graceful=False),
    )
    raylet = two_nodes.second.all_processes["raylet"][0].process
    table = sweep.run(cells, space, tmp_path)
    # Ray itself may take some seconds more to count the node among the dead.
    assert raylet.poll() is not None
    assert len(table) == 4
    assert (table["problem"] == "").all()
    assert table["node"].nunique() == 2
