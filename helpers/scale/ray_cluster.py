"""Where a sweep runs: on this machine, or on the Ray cluster that ``RAY_ADDRESS`` names.

Ray and what belongs to it are the extra ``sweep`` of ``pyproject.toml``; without it, this module
can be imported and says what is missing.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from helpers import environment

# The packages of the extra, by the names under which they are imported.
PACKAGES = ("ray", "hyperopt", "scib_metrics")

# What a trial on the cortex cells takes at its peak, with room to spare (1,045 MiB; a CUDA build of
# PyTorch takes more).
TRIAL_BYTES = 1_250_000_000

# Room for the results of some hundred trials, in bytes.
MINIMUM_DISK = 50_000_000

# Ray answers within two or three.
ANSWER_SECONDS = 20

# A node that is not busy starts a process within some ten.
START_SECONDS = 90

# What a cluster's nodes must have in common with this machine.
SHARED_PACKAGES = ("scvi-tools", "torch", "numpy", "ray")

# Set before Ray is imported, unless somebody has set them.
VARIABLES = {
    # Nothing is sent to Ray's makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A trial reports the loss after each epoch, and all else once, at its end.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Seconds between two notes of which trials are finished. A finished trial that is not noted yet
    # would be run again.
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    # Ray's own table of trials, which scvi-tools asks for as well.
    "RAY_AIR_NEW_OUTPUT": "0",
}


# --- what is needed -----------------------------------------------------------------------------


def missing_packages() -> list[str]:
    """Return which packages a sweep would need and this environment lacks."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def require_packages() -> None:
    """Raise, with what to do, where Ray or what belongs to it is not installed.

    Raises
    ------
    ModuleNotFoundError
        With what is missing.
    """
    missing = missing_packages()
    if missing:
        raise ModuleNotFoundError(
            f"A sweep needs {', '.join(missing)}, and this environment has no such package.\n"
            "What to do: close JupyterLab and start it with `make lab ARGS=--sweep`, which "
            "installs them (without make: python3 commands lab --sweep). The stored "
            "results can be read without."
        )


def readiness() -> str:
    """Return one sentence that says whether and where a sweep can run, or what to do first."""
    try:
        require_packages()
    except ModuleNotFoundError as error:
        return str(error)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        return f"A sweep would run on the cluster at {address}, which RAY_ADDRESS names."
    if environment.available_memory() < TRIAL_BYTES:
        return (
            f"Ray is here, but a trial needs {TRIAL_BYTES / 1e9:.1f} GB, and "
            f"{environment.available_memory() / 1e9:.1f} GB are free."
        )
    at_once = trials_at_once()
    return (
        f"A sweep would run on this machine, {at_once} {'trial' if at_once == 1 else 'trials'} at "
        "a time."
    )


def require_disk(folder: Path) -> None:
    """Raise unless results can be written.

    Raises
    ------
    OSError
        If the disk is full or the folder is not to be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < MINIMUM_DISK:
        raise OSError(
            errno.ENOSPC,
            f"The results of a sweep need about {MINIMUM_DISK / 1e6:.0f} MB, and "
            f"{free / 1e6:.0f} MB are free. What to do: free some space, then run the same call "
            "again; finished trials are kept",
            str(folder),
        )


# --- connect ------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Be connected to Ray inside this block.

    It uses, in this order: a Ray that is connected already; the cluster that ``RAY_ADDRESS`` names;
    a new Ray on this machine, which listens on it alone, lets in only who has its token, and is
    stopped after the block. A new one gets a processor for each trial for which there is memory.

    Raises
    ------
    ConnectionError
        If there is no cluster at the address.
    RuntimeError
        If a node of the cluster has other packages than this machine.
    MemoryError
        If there is not enough memory for a single trial, on this machine or on any node.
    """
    import ray

    if ray.is_initialized():
        require_room(ray.nodes())
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        require_reachable(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    else:
        environment.require_memory(TRIAL_BYTES, "Each trial of a sweep")
        with out_of_reach():
            ray.init(
                "local",  # not one that somebody else has left running here
                num_cpus=trials_at_once(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=200_000_000,
                runtime_env=worker_python(),
            )
    try:
        if address:
            require_same_packages(packages_of_nodes())
        require_room(ray.nodes())
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def out_of_reach() -> Iterator[None]:
    """Let a Ray that starts inside this block listen on this machine only.

    On Linux it would open its ports to all that can reach this machine, as a cluster needs it.
    Where Ray makes no clusters, on macOS and Windows, it does not; and this is how it tells. There
    is a variable of the environment for it, too, but Ray reads it only while it is imported.
    """
    from ray._private import ray_constants

    clusters = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters


def worker_python() -> dict[str, str]:
    """Return how Ray is told which Python runs the trials on this machine.

    Ray puts the path into a line for the shell as it is. With a space in it no trial would ever
    start, and Ray would wait.
    """
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def trials_at_once() -> int:
    """Return how many trials this machine can run side by side.

    It is one per processor, if the free memory allows.
    """
    processors = (
        len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else os.cpu_count() or 1
    )
    return max(1, min(processors, environment.available_memory() // TRIAL_BYTES))


def require_reachable(address: str) -> None:
    """Raise unless a Ray cluster answers at an address.

    Parameters
    ----------
    address
        As in ``RAY_ADDRESS``: ``host:port``, or ``auto`` for a cluster that runs on this machine.

    Raises
    ------
    ConnectionError
        With what was tried, and what to do.
    """
    # Ray itself would try for minutes, and then end the process.
    ask = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        subprocess.run(ask, check=True, capture_output=True, text=True, timeout=ANSWER_SECONDS)
        return
    except (OSError, ValueError) as error:
        reason = str(error)
    except subprocess.TimeoutExpired:
        reason = f"what is there has not answered as Ray does for {ANSWER_SECONDS} seconds"
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise ConnectionError(
        f"There is no Ray cluster at {address}, which the variable RAY_ADDRESS names: {reason}\n"
        "What to do: start one there (lesson 07 says how), or name another as host:port, or unset "
        "RAY_ADDRESS to use this machine alone. If a token is missing: copy .ray/auth_token from "
        "the home folder of the first node, and set RAY_AUTH_MODE=token."
    )


def require_room(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise unless one node at least can run a trial: Ray would wait for such a node for ever.

    Parameters
    ----------
    nodes
        As from ``ray.nodes()``.

    Raises
    ------
    MemoryError
        With what the largest node has, and what a trial needs.
    """
    free = [
        node["Resources"].get("memory", 0)
        for node in nodes
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]
    if max(free, default=0) < TRIAL_BYTES:
        raise MemoryError(
            f"A trial needs a processor and {TRIAL_BYTES / 1e9:.1f} GB of memory; the largest of "
            f"{len(free)} nodes with a processor has {max(free, default=0) / 1e9:.1f} GB.\n"
            "What to do: close other programs there, or add a larger node."
        )


def packages_of_nodes() -> pd.DataFrame:
    """Return what each node of the connected cluster has, and this process, which comes first.

    Returns
    -------
    DataFrame
        One row per node: ``node``, the versions of ``SHARED_PACKAGES``, and ``the kit``, a digest
        of its code; None where something is missing.

    Raises
    ------
    RuntimeError
        If a node starts no process.
    """
    import ray
    from ray.exceptions import GetTimeoutError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    packages = SHARED_PACKAGES

    # Inside a function it travels as it is: a node without the kit could not find it by its name.
    def look() -> dict[str, str | None]:
        import hashlib
        import pathlib
        from importlib import metadata, util

        found: dict[str, str | None] = {}
        for name in packages:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = None
        kit = util.find_spec("helpers")
        if kit is None or not kit.submodule_search_locations:
            return found | {"the kit": None}
        package = pathlib.Path(kit.submodule_search_locations[0])
        code = hashlib.sha256()
        for file in sorted(package.rglob("*.py")):
            name = file.relative_to(package).as_posix()
            code.update(name.encode() + b"\0" + file.read_bytes())
        return found | {"the kit": code.hexdigest()[:8]}

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    asked = [
        ray.remote(look)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote()
        for node in nodes
    ]
    try:
        answers = ray.get(asked, timeout=START_SECONDS)
    except GetTimeoutError:
        raise RuntimeError(
            f"A node of the cluster has not started a Python for {START_SECONDS} seconds. What to "
            "do: see whether it is busy, and whether the path of its environment has a space in "
            "it, with which Ray cannot start one."
        ) from None
    rows = [{"node": "this process", **look()}]
    rows += [{"node": node, **found} for node, found in zip(nodes, answers, strict=True)]
    return pd.DataFrame(rows)


def require_same_packages(nodes: pd.DataFrame) -> None:
    """Raise unless all nodes of a cluster have the same packages and the same code of the kit.

    Parameters
    ----------
    nodes
        As from ``packages_of_nodes``.

    Raises
    ------
    RuntimeError
        With the node and what it lacks: trials on it would fail, or might give other numbers.
    """
    here, *others = nodes.to_dict("records")
    wrong = [
        f"node {other['node'][:8]} has {name} "
        f"{'not at all' if pd.isna(other[name]) else other[name]}, this process {here[name]}"
        for other in others
        for name in (*SHARED_PACKAGES, "the kit")
        if other[name] != here[name]
    ]
    if wrong:
        raise RuntimeError(
            "The nodes of the cluster differ: " + "; ".join(wrong) + ".\n"
            "What to do: set the kit up on each node from the same commit (make lab ARGS=--sweep), "
            "and start Ray there from its environment."
        )
