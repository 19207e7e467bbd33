"""Train one model in several processes: Lightning's distributed data parallel (DDP).

On a machine with several GPUs there is one process per GPU. The processes here use the processor,
so that all of it can be seen anywhere.

``python -m helpers.scale.ddp PROCESS SETTINGS`` is one such process; ``run`` starts them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import scvi
import torch
import torch.distributed
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback

from helpers import environment, results
from helpers.data import datasets
from helpers.paths import ROOT

# Some parameters of SCVI are idle: they get no gradient, and plain "ddp" waits for one and stops
# (see lesson 03).
STRATEGY = "ddp_find_unused_parameters_true"

# What a process takes at its peak: 842 MiB in the smallest run of docs/results/out_of_core.csv, of
# which importing takes 745 (docs/results/scaling.csv).
PROCESS_BYTES = 850 * 2**20

# Without these the processes would look for each other by the name of the machine, perhaps on a
# network that others can reach.
LOOPBACK = "127.0.0.1"


# --- start them ---------------------------------------------------------------------------------


def run(
    processes: int = 2,
    epochs: int = 2,
    batch_size: int = 128,
    seed: int = 0,
    timeout: float = 120,
) -> pd.DataFrame:
    """Train an SCVI on the 700 blood cells in so many processes, and see what each of them did.

    Parameters
    ----------
    processes
        How many; 1 trains as usual, without DDP.
    epochs
        Epochs to train; a tenth of the cells is held out.
    batch_size
        Cells in a minibatch of one process.
    seed
        Seed of initial weights, held-out cells and minibatches.
    timeout
        Seconds after which all processes are stopped.

    Returns
    -------
    DataFrame
        One row per process:

        ``steps an epoch``
            How many minibatches it had in an epoch.
        ``cells``
            Numbers of the cells that it had in the first epoch (a tuple, in the order in which they
            came).
        ``weights``, ``running averages``
            A fingerprint of all parameters, and of all running averages of batch normalisation,
            after the training. The same fingerprint: equal bit by bit.
        ``training loss``
            Of the last epoch, in nats per cell; DDP averages it over the processes.
        ``held-out loss``
            The negative ELBO of all held-out cells under the model of this process, in nats per
            cell.
        ``seconds``
            Of the training, without what comes before.

    Raises
    ------
    ValueError
        If there are fewer than 1 or more than 8 processes, or a number of epochs or cells that is
        not positive.
    MemoryError
        If so many processes would not fit into the free memory.
    RuntimeError
        If a process dies. The others are stopped, and the message has what it said last.
    TimeoutError
        If they take too long. All are stopped.
    """
    if not 1 <= processes <= 8:
        raise ValueError(
            f"{processes} processes: from 1 to 8 can be tried here. What to do: run(2)."
        )
    if min(epochs, batch_size) < 1:
        raise ValueError("epochs and batch_size must be at least 1.")
    environment.require_memory(processes * PROCESS_BYTES, f"Training in {processes} processes")
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "processes": processes,
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seed,
            "timeout": timeout,
            "folder": folder,
        }
        workers = []
        try:
            for process in range(processes):
                workers.append(_start(process, settings))
            _wait(workers, timeout, Path(folder))
        finally:
            _stop(workers)
        rows = [
            json.loads(_answer(folder, process).read_text("utf-8")) for process in range(processes)
        ]
    table = pd.DataFrame(rows).set_index("process")
    table["cells"] = table["cells"].map(tuple)
    return table


def _command(process: int, settings: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "helpers.scale.ddp", str(process), json.dumps(settings)]


def _start(process: int, settings: dict[str, Any]) -> subprocess.Popen:
    # LOCAL_RANK tells Lightning that somebody else starts the processes. One thread each, or they
    # would take the cores from each other.
    variables = os.environ | {
        "LOCAL_RANK": str(process),
        "NODE_RANK": "0",
        "MASTER_ADDR": LOOPBACK,
        "GLOO_SOCKET_IFNAME": loopback_interface(),
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    with _said(settings["folder"], process).open("wb") as output:
        return subprocess.Popen(
            _command(process, settings),
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def loopback_interface() -> str:
    """Return the name of the network interface that leads back to this machine, such as ``lo``.

    Raises
    ------
    OSError
        If there is none.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == LOOPBACK for address in addresses):
            return name
    raise OSError(
        f"No network interface has the address {LOOPBACK}, over which processes of one machine "
        "talk. What to do: run it on another machine, or in a container with a loopback interface."
    )


def _wait(workers: list[subprocess.Popen], timeout: float, folder: Path) -> None:
    """Wait for all, but for none of them once one has died: it would wait for an answer."""
    end = time.monotonic() + timeout
    while any(worker.poll() is None for worker in workers):
        _raise_for_dead(workers, folder)
        if time.monotonic() > end:
            raise TimeoutError(
                f"{len(workers)} processes were not done after {timeout:g} seconds and were "
                "stopped. What to do: train fewer epochs, or give them longer: run(timeout=...)."
            )
        time.sleep(0.1)
    _raise_for_dead(workers, folder)


def _raise_for_dead(workers: list[subprocess.Popen], folder: Path) -> None:
    dead = [number for number, worker in enumerate(workers) if worker.poll() not in (None, 0)]
    if not dead:
        return
    parts = []
    for number in dead:
        said = _said(folder, number).read_text("utf-8", errors="replace").strip().splitlines()
        parts.append(
            f"Process {number} of {len(workers)} died with status {workers[number].returncode}. "
            f"It said last: {said[-1] if said else 'nothing'}"
        )
    raise RuntimeError(
        "\n".join(parts)
        + (
            "\n"
            "The others were stopped. What to do: fix what it says; with status -9 there was too "
            "little memory, so use fewer processes."
        )
    )


def _stop(workers: Iterable[subprocess.Popen]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def _said(folder: Path | str, process: int) -> Path:
    return Path(folder, f"said {process}.txt")


def _answer(folder: Path | str, process: int) -> Path:
    return Path(folder, f"answer {process}.json")


# --- what each of them does ---------------------------------------------------------------------


class SeenCells(Callback):
    """Note which cells come by in each minibatch, by their counts.

    Parameters
    ----------
    cells
        Cells x genes with ``layers["counts"]``; no two cells with the same counts.
    """

    def __init__(self, cells: ad.AnnData) -> None:
        rows = _float_rows(cells.layers["counts"].toarray())
        self.numbers = {row: number for number, row in enumerate(rows)}
        self.epochs: list[list[list[int]]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a new list."""
        self.epochs.append([])

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Look the rows of the minibatch up."""
        rows = _float_rows(batch[scvi.REGISTRY_KEYS.X_KEY].numpy())
        self.epochs[-1].append([self.numbers[row] for row in rows])


def _float_rows(matrix: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(matrix, dtype=np.float32)]


def fingerprint(tensors: Iterable[torch.Tensor]) -> str:
    """Return eight characters that are the same if all bits of all tensors are."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def train(process: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Train in this process, with the others if there are any.

    Parameters
    ----------
    process
        The number of this process, from 0.
    settings
        ``processes``, ``epochs``, ``batch_size``, ``seed``, ``timeout`` as for ``run``; ``folder``,
        where the processes meet.

    Returns
    -------
    dict
        ``process``, and a value for each column of ``run``.
    """
    environment.prepare(settings["seed"])
    cells = datasets.load_pbmc()
    scvi.model.SCVI.setup_anndata(cells, layer="counts")
    model = scvi.model.SCVI(cells)
    seen = SeenCells(cells)
    shared = {}
    if settings["processes"] > 1:
        _meet(process, settings)
        shared = {
            "devices": settings["processes"],
            "strategy": STRATEGY,
            # Otherwise a cluster's scheduler, if we are inside one of its jobs, would be asked for
            # the number of this process.
            "plugins": LightningEnvironment(),
        }
    start = time.perf_counter()
    model.train(
        max_epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        accelerator="cpu",
        enable_progress_bar=False,
        callbacks=[seen],
        # With DDP scvi-tools writes its history to a file, by default below the current folder.
        log_save_dir=str(Path(settings["folder"], f"log {process}")),
        **shared,
    )
    seconds = time.perf_counter() - start
    first = seen.epochs[0]
    return {
        "process": process,
        "steps an epoch": len(first),
        "cells": [cell for minibatch in first for cell in minibatch],
        "weights": fingerprint(model.module.parameters()),
        "running averages": fingerprint(model.module.buffers()),
        "training loss": float(model.trainer.callback_metrics["train_loss"]),
        "held-out loss": -float(model.get_elbo(indices=model.validation_indices)),
        "seconds": seconds,
    }


def _meet(process: int, settings: dict[str, Any]) -> None:
    """Join the other processes by way of a file.

    Lightning would open a port that other machines can reach.
    """
    meeting_point = Path(settings["folder"], "meeting point")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{meeting_point}",
        rank=process,
        world_size=settings["processes"],
        timeout=timedelta(seconds=settings["timeout"]),
    )


def main(arguments: list[str]) -> int:
    """Be one of the processes; return the exit status."""
    process, settings = int(arguments[0]), json.loads(arguments[1])
    answer = train(process, settings)
    _answer(settings["folder"], process).write_text(json.dumps(answer), encoding="utf-8")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


# --- compare ------------------------------------------------------------------------------------


def load() -> dict[str, pd.DataFrame]:
    """Return the runs of the study ``ddp`` by name, each as from ``run``, without ``seconds``."""
    # A digest of digits alone would be read as a number.
    table = results.load("ddp", dtype={"weights": str, "running averages": str})
    table["cells"] = [tuple(map(int, cells.split())) for cells in table["cells"]]
    return {
        str(name): rows.drop(columns="run").set_index("process")
        for name, rows in table.groupby("run", sort=False)
    }


def summary(runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Put runs side by side.

    Parameters
    ----------
    runs
        Tables of ``run`` by a name for each.

    Returns
    -------
    DataFrame
        One row per run: ``processes``; ``steps an epoch`` of each; ``cells each`` and
        ``cells together`` in the first epoch, each cell counted once; ``equal weights`` in all
        processes, and ``equal running averages``; "-" for both where there is one process.
    """
    rows = {}
    for name, table in runs.items():
        own = [len(set(cells)) for cells in table["cells"]]
        several = len(table) > 1
        rows[name] = {
            "processes": len(table),
            "steps an epoch": int(table["steps an epoch"].iloc[0]),
            "cells each": int(max(own)),
            "cells together": len(set().union(*table["cells"])),
            "equal weights": table["weights"].nunique() == 1 if several else "-",
            "equal running averages": table["running averages"].nunique() == 1 if several else "-",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
