"""Several processes share the cells, end with the same weights, and never hang."""

import os
import subprocess
import sys
import threading
import time
import types

import numpy as np
import psutil
import pytest
import torch

from helpers import data, environment, results
from helpers.scale import ddp, scaling

# Two processes need about ten seconds; a machine with other work takes longer, and no test depends
# on how long.
PATIENCE = 300


@pytest.fixture(scope="module")
def listening():
    """Note where the processes that are started here listen."""
    found, stop = set(), threading.Event()

    def look():
        while not stop.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                try:
                    found.update(
                        each.laddr.ip for each in child.net_connections() if each.status == "LISTEN"
                    )
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    yield found
    stop.set()
    watcher.join()


@pytest.fixture(scope="module")
def runs(listening):
    """Train the 630 training cells for two epochs.

    In one process, and in two with half the minibatch each.
    """
    return {
        "one": ddp.run(1, timeout=PATIENCE),
        "two": ddp.run(2, batch_size=64, timeout=PATIENCE),
    }


def test_cells_are_shared_out_and_none_is_left_out(runs):
    alone, (first, second) = runs["one"]["cells"][0], runs["two"]["cells"]
    assert len(alone) == len(set(alone)) == 630
    assert len(first) == len(second) == 315
    assert not set(first) & set(second)
    assert set(first) | set(second) == set(alone), "both runs hold the same cells out"


def test_two_halves_of_a_minibatch_make_the_same_number_of_steps(runs):
    # 630 / 128 and 315 / 64, rounded up.
    assert runs["one"]["steps an epoch"].tolist() == [5]
    assert runs["two"]["steps an epoch"].tolist() == [5, 5]


def test_weights_are_equal_bit_by_bit_and_running_averages_are_not(runs):
    two = runs["two"]
    assert two["weights"].nunique() == 1
    assert two["running averages"].nunique() == 2
    assert two["training loss"].nunique() == 1, "the loss is averaged over the processes"
    assert two["weights"].iloc[0] != runs["one"]["weights"].iloc[0]


def test_the_model_is_as_good_as_that_of_one_process(runs):
    for loss in ("training loss", "held-out loss"):
        np.testing.assert_allclose(runs["two"][loss], runs["one"][loss].iloc[0], rtol=0.01)
    assert runs["one"]["held-out loss"].between(700, 1100).all()


def test_nobody_listens_beyond_this_machine(runs, listening):
    assert listening == {"127.0.0.1"}


def test_the_kept_runs_are_still_what_comes_out(runs):
    """If this fails after a change of the versions: `make study ARGS=ddp`."""
    kept = list(ddp.load().values())
    for live, stored in zip(runs.values(), kept, strict=False):
        assert live["cells"].tolist() == stored["cells"].tolist()
        for loss in ("training loss", "held-out loss"):
            np.testing.assert_allclose(live[loss], stored[loss], rtol=1e-3)


def test_summary_counts_each_cell_once(runs):
    table = ddp.summary(runs)
    assert table.loc["two"].to_dict() == {
        "processes": 2,
        "steps an epoch": 5,
        "cells each": 315,
        "cells together": 630,
        "equal weights": True,
        "equal running averages": False,
    }
    # One process is equal to itself, which says nothing.
    assert table.loc["one", ["equal weights", "equal running averages"]].tolist() == ["-", "-"]
    assert table.loc["one", "cells each"] == table.loc["one", "cells together"] == 630
    other = runs["two"].assign(weights=["a", "b"])
    assert not ddp.summary({"": other})["equal weights"].iloc[0]


def test_seen_cells_are_told_by_their_counts():
    pbmc = data.load_pbmc()
    seen = ddp.SeenCells(pbmc)
    seen.on_train_epoch_start(None, None)
    rows = torch.as_tensor(pbmc.layers["counts"][[5, 600, 2]].toarray())
    seen.on_train_batch_end(None, None, None, {"X": rows}, 0)
    assert seen.epochs == [[[5, 600, 2]]]


def test_a_process_takes_no_more_than_is_asked_for():
    kept = results.load("out_of_core")
    alone = kept["peak MiB"].min()
    assert alone <= ddp.PROCESS_BYTES / 2**20 < 1.1 * alone
    assert scaling.load()["import MiB"].max() < ddp.PROCESS_BYTES / 2**20


def test_a_fingerprint_changes_with_one_bit():
    tensor = torch.ones(1000)
    before = ddp.fingerprint([tensor])
    assert before == ddp.fingerprint([torch.ones(1000)])
    tensor[777] += 2**-23
    assert before != ddp.fingerprint([tensor])


# --- what goes wrong ----------------------------------------------------------------------------


def started():
    return [
        child
        for child in psutil.Process().children()
        if "helpers.scale.ddp" in " ".join(child.cmdline())
        or "time.sleep" in " ".join(child.cmdline())
    ]


def instead_of(process, code, monkeypatch):
    """Let one of the processes run other code."""
    usual = ddp._command

    def command(number, settings):
        return [sys.executable, "-c", code] if number == process else usual(number, settings)

    monkeypatch.setattr(ddp, "_command", command)


def test_a_process_that_dies_ends_all_and_says_why(monkeypatch):
    instead_of(1, "raise SystemExit('no space left on this planet')", monkeypatch)
    start = time.monotonic()
    with pytest.raises(
        RuntimeError, match=r"Process 1 of 2 died with status 1.*no space left on this planet"
    ):
        ddp.run(2, timeout=PATIENCE)
    assert time.monotonic() - start < PATIENCE / 2
    assert not started()


DIES_IN_TRAINING = """
import os, sys, json
from helpers.scale import ddp
def die(*_): os._exit(7)
ddp.SeenCells.on_train_batch_end = die
settings = json.loads(sys.argv[1])
ddp.train(1, settings)
"""


def test_a_process_that_dies_in_the_middle_of_training_ends_all(monkeypatch):
    usual = ddp._command

    def command(process, settings):
        if process == 0:
            return usual(process, settings)
        return [sys.executable, "-c", DIES_IN_TRAINING, usual(process, settings)[-1]]

    monkeypatch.setattr(ddp, "_command", command)
    with pytest.raises(RuntimeError, match="Process 1 of 2 died with status 7"):
        ddp.run(2, timeout=PATIENCE)
    assert not started()


def test_processes_that_take_too_long_are_stopped(monkeypatch):
    monkeypatch.setattr(
        ddp,
        "_command",
        lambda *_: [sys.executable, "-c", "import time; time.sleep(600)"],
    )
    with pytest.raises(TimeoutError, match=r"2 processes were not done after 0\.3 seconds"):
        ddp.run(2, timeout=0.3)
    assert not started()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"processes": 0}, "from 1 to 8"),
        ({"processes": 9}, "from 1 to 8"),
        ({"epochs": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_senseless_numbers_start_nothing(how, message, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(ValueError, match=message):
        ddp.run(**how)


def test_too_little_memory_is_said_before_the_start(monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda: 10**9)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(MemoryError, match=r"Training in 2 processes needs about 1\.8 GB"):
        ddp.run(2)


def test_the_loopback_is_found_by_its_address(monkeypatch):
    one, other = (types.SimpleNamespace(address=address) for address in ("10.0.0.7", "127.0.0.1"))
    interfaces = {"eth0": [one], "loop": [one, other]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)
    assert ddp.loopback_interface() == "loop"


def test_no_loopback_is_said(monkeypatch):
    monkeypatch.setattr(psutil, "net_if_addrs", dict)
    with pytest.raises(OSError, match="No network interface has the address"):
        ddp.loopback_interface()


def test_nothing_is_left_in_the_folder(runs):
    assert not os.path.exists(ddp.ROOT / "lightning_logs")  # noqa: PTH110
