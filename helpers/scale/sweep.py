"""Try many models on Ray, through scvi-tools' ``autotune``: on this machine, or on a cluster.

The same call runs on this machine, or, where the variable ``RAY_ADDRESS`` names one, on a cluster.
Ray and what belongs to it are the extra ``sweep`` of ``pyproject.toml``; without it, this module
can be imported and says what is missing.
"""

from __future__ import annotations

import _thread
import contextlib
import difflib
import errno
import importlib.util
import inspect
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anndata as ad
import joblib
import pandas as pd
import psutil
import scvi
from IPython.utils.capture import capture_output
from tqdm.auto import tqdm

from helpers import environment, training
from helpers.data import count_checks
from helpers.paths import DATA
from studies import presets

if TYPE_CHECKING:
    from ray.tune import ResultGrid
    from scvi.autotune import AutotuneExperiment

FOLDER = DATA / "sweeps"

# The packages of the extra, by the names under which they are imported.
PACKAGES = ("ray", "hyperopt", "scib_metrics")

# What a trial on the cortex cells takes at its peak, with room to spare (1,045 MiB; a CUDA build of
# PyTorch takes more).
TRIAL_BYTES = 1_250_000_000

# Room for the results of some hundred trials, in bytes.
LEAST_DISK = 50_000_000

# How often trials whose process or node died are tried again.
RETRIES = 2

# Ray answers within two or three.
ANSWER_SECONDS = 20

# A node that is not busy starts a process within some ten.
START_SECONDS = 90

# What a cluster's nodes must have in common with this machine.
SHARED_PACKAGES = ("scvi-tools", "torch", "numpy", "ray")

SEARCHED = ("model_params", "train_params")

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
            "What to do: close JupyterLab and start it with `make lab-sweep`, which installs them "
            "(without make: python3 commands lab-sweep). The stored results can be read without."
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


# --- the search space ---------------------------------------------------------------------------


def check(search_space: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise unless a search space has only parameters that exist.

    Parameters
    ----------
    search_space
        As for ``run``.

    Raises
    ------
    ValueError
        With the parameter that does not exist and those that have a similar name; or if there is
        nothing to try.
    """
    known = known_parameters()
    for part, parameters in search_space.items():
        if part not in SEARCHED:
            raise ValueError(
                f"A search space has the parts {' and '.join(SEARCHED)}, not '{part}'. What to do: "
                "put parameters of SCVI(...) into model_params, those of train(...) into "
                "train_params."
            )
        for name, values in parameters.items():
            if name not in known[part]:
                raise ValueError(_unknown(part, name, known))
            if isinstance(values, list) and not values:
                raise ValueError(
                    f"{name} has no value to try. What to do: name one or more, such as {name}=[1, "
                    "2]."
                )
            if isinstance(values, tuple | range | set):
                raise ValueError(
                    f"{name} is a {type(values).__name__}, and only a list holds values to try. "
                    f"What to do: {name}={list(values)}."
                )
    if not any(search_space.values()):
        raise ValueError(
            "The search space is empty. What to do: name parameters and values, such as "
            '{"model_params": {"n_layers": [1, 2]}}.'
        )


def known_parameters() -> dict[str, set[str]]:
    """Return the names that each part of a search space may hold, read from scvi-tools and the presets."""
    model, module = scvi.model.SCVI, scvi.model.SCVI._module_cls
    of_the_module = set(inspect.signature(module).parameters)
    # SCVI fills these in from the cells.
    from_the_cells = {name for name in of_the_module if name.startswith("n_")} - {
        "n_hidden",
        "n_latent",
        "n_layers",
    }
    given = {"self", "adata", "registry", "kwargs", "callbacks", "logger", "trainer_kwargs"}
    presets = {name for preset in training.PRESETS.values() for name in preset}
    return {
        "model_params": (set(inspect.signature(model).parameters) | of_the_module | {"seed"})
        - from_the_cells
        - given,
        "train_params": (set(inspect.signature(model.train).parameters) | presets | {"preset"})
        - given,
    }


def _unknown(part: str, name: str, known: Mapping[str, set[str]]) -> str:
    """Say that a parameter is unknown, and which one may have been meant."""
    for other in SEARCHED:
        if other != part and name in known[other]:
            return f"{name} belongs into {other}, not into {part}."
    similar = difflib.get_close_matches(name, known[part], n=2, cutoff=0.5)
    meant = f"Did you mean {' or '.join(similar)}?" if similar else ""
    return (
        f"{part} has no parameter '{name}'. {meant}\nThere are: {', '.join(sorted(known[part]))}."
    )


def n_trials(search_space: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many trials a search space makes: all combinations of its lists."""
    number = 1
    for values in search_space.values():
        number *= n_trials(values) if isinstance(values, Mapping) else 1
        number *= len(values) if isinstance(values, list) else 1
    return number


def _for_ray(values: Any) -> Any:
    """Turn each list into a grid, of which Ray tries every value."""
    from ray import tune

    if isinstance(values, Mapping):
        return {name: _for_ray(value) for name, value in values.items()}
    return tune.grid_search(values) if isinstance(values, list) else values


# --- where it runs ------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster() -> Iterator[None]:
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
    Where Ray makes no clusters, on macOS and Windows, it does not; and this is how it tells.
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

    One a processor, if the free memory allows.
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
        A row a node: ``node``, the versions of ``SHARED_PACKAGES``, and ``the kit``, a digest of
        its code; None where something is missing.

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
        files = sorted(pathlib.Path(kit.submodule_search_locations[0]).glob("*.py"))
        code = b"".join(file.read_bytes() for file in files)
        return found | {"the kit": hashlib.sha256(code).hexdigest()[:8]}

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
            "What to do: set the kit up on each node from the same commit (make lab-sweep), "
            "and start Ray there from its environment."
        )


# --- the sweep ----------------------------------------------------------------------------------


def run(
    adata: ad.AnnData, search_space: Mapping[str, Mapping[str, Any]], folder: Path = FOLDER
) -> pd.DataFrame:
    """Train SCVI with every combination in a search space, and return how good each became.

    The results are kept: if the work is stopped, the same call goes on, and finished trials are not
    run again. A trial whose process or node dies is tried again.

    Parameters
    ----------
    adata
        Cells with counts in ``layers["counts"]`` and, if they are known, types in
        ``obs["cell_type"]``. Batches are not looked at.
    search_space
        ``{"model_params": {...}, "train_params": {...}}``, the two parts that
        ``scvi.autotune.run_autotune`` has. But here a list holds values to try (there:
        ``tune.grid_search``), and anything else is the same in all trials. Besides the parameters
        of ``SCVI`` and its ``train`` there are ``seed`` (in ``model_params``), and in
        ``train_params`` ``preset`` and what presets may say.
    folder
        Where sweeps are kept, each in a folder named by cells, search space, versions and code.

    Returns
    -------
    DataFrame
        A row a trial: its parameters, ``sweep_trial.MEASURES``, the ``node`` that it ran on, and
        ``problem``, empty where the trial finished.

    Raises
    ------
    ModuleNotFoundError
        Without Ray and what belongs to it.
    ValueError
        If the search space has unknown parameters or nothing to try, or the cells have no counts.
    ConnectionError, RuntimeError, MemoryError
        As ``cluster``; RuntimeError also if no trial finished.
    OSError
        If the disk is full.
    KeyboardInterrupt
        If the sweep was stopped; what is finished is kept.
    """
    require_packages()
    check(search_space)
    count_checks.check_counts(adata, layer="counts")
    # Ray takes a relative path for an address.
    folder = folder.resolve()
    require_disk(folder)
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    from helpers.scale.sweep_trial import Trial

    Trial.setup_anndata(adata, layer="counts")
    total, own = n_trials(search_space), folder / name_of(adata, search_space)
    for name in ("ray.tune", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Ray says for each epoch of each trial what it knows: thousands of lines.
    with _progress(own, total), capture_output(), cluster():
        results = _results(adata, search_space, own)
    finished = table(results)
    if len(finished) < total:
        _say_why_some_are_missing(own, len(finished), total)
    if (finished["problem"] != "").all():
        raise RuntimeError(
            f"No trial finished. The first one says: {finished['problem'].iloc[0]}\n"
            "What to do: try the same values with SCVI and training.train in a notebook. All "
            f"messages are below {folder}."
        )
    return finished


def name_of(adata: ad.AnnData, search_space: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name under which a sweep is kept.

    Another one for other cells, values, versions or code.
    """
    from helpers.scale import sweep_trial

    decisive = [
        adata.layers["counts"],
        list(adata.obs_names),
        list(adata.var_names),
        list(sweep_trial.types(adata).astype(str)),
        search_space,
        presets.settings_key(),
        inspect.getsource(sweep_trial),
    ]
    return f"sweep-{joblib.hash(decisive)[:16]}"


def require_disk(folder: Path) -> None:
    """Raise unless results can be written.

    Raises
    ------
    OSError
        If the disk is full or the folder is not to be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < LEAST_DISK:
        raise OSError(
            errno.ENOSPC,
            f"The results of a sweep need about {LEAST_DISK / 1e6:.0f} MB, and {free / 1e6:.0f} MB "
            "are free. What to do: free some space, then run the same call again; finished trials "
            "are kept",
            str(folder),
        )


def _results(
    adata: ad.AnnData, search_space: Mapping[str, Mapping[str, Any]], folder: Path
) -> ResultGrid:
    """Start a sweep or go on with it, and try again what died."""
    from ray.tune import Tuner
    from scvi.autotune import AutotuneExperiment, run_autotune

    from helpers.scale.sweep_trial import METRIC, Trial

    asked = {
        "model_cls": Trial,
        "data": adata,
        "metrics": METRIC,
        "mode": "min",
        "search_space": _for_ray(search_space),
        "num_samples": 1,
        # Every trial gets its whole budget: the usual scheduler stops those that begin badly.
        "scheduler": "fifo",
        "searcher": "random",
        "seed": 1,
        "resources": {"cpu": 1, "memory": TRIAL_BYTES},
        "experiment_name": folder.name,
        "logging_dir": str(folder.parent),
    }
    if Tuner.can_restore(str(folder)):
        results = _go_on(AutotuneExperiment(**asked), folder)
    else:
        results = run_autotune(**asked, ignore_reinit_error=True).result_grid
    for _ in range(RETRIES):
        if not any(_died(result.error) for result in results):
            break
        results = _go_on(AutotuneExperiment(**asked), folder)
    return results


@contextlib.contextmanager
def _progress(folder: Path, total: int) -> Iterator[None]:
    """Show inside this block how many trials have finished, from the files that Ray keeps, and stop before the disk is full.

    Raises
    ------
    OSError
        If the disk is nearly full; what is finished is kept.
    """
    done, full = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(1):
            show()
            if shutil.disk_usage(folder.parent).free < LEAST_DISK / 2 and not full.is_set():
                full.set()
                # As Ctrl-C does: Ray stops the trials and notes what is finished, while there is
                # room for that.
                _thread.interrupt_main()

    def show() -> None:
        files = folder.glob("*/result.json")
        bar.n = sum('"node": ' in file.read_text("utf-8") for file in files)
        bar.refresh()

    with tqdm(total=total, desc="finished trials") as bar:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except KeyboardInterrupt:
            if not full.is_set():
                raise
        finally:
            done.set()
            watcher.join()
            show()
    if full.is_set():
        raise OSError(
            errno.ENOSPC,
            f"The disk is nearly full, so the sweep was stopped. {bar.n} of {total} trials are "
            "finished and kept. What to do: free some space, then run the same call again; it "
            "goes on from here",
            str(folder.parent),
        )


def _go_on(experiment: AutotuneExperiment, folder: Path) -> ResultGrid:
    """Run what is not finished: trials that never ran, were interrupted or failed."""
    from ray import tune
    from scvi.autotune._experiment import _trainable

    trainable = tune.with_resources(
        tune.with_parameters(_trainable, experiment=experiment), experiment.resources
    )
    return tune.Tuner.restore(str(folder), trainable, restart_errored=True).fit()


def _died(error: Exception | None) -> bool:
    """Tell whether a trial's process or node died, which may go well the next time.

    An error of its own code comes again.
    """
    from ray.exceptions import RayTaskError

    return error is not None and not isinstance(error, RayTaskError)


def table(results: ResultGrid) -> pd.DataFrame:
    """Return the results of Ray as a row a trial that ended, see ``run``."""
    from helpers.scale.sweep_trial import MEASURES

    rows, names = [], []
    for result in results:
        parameters = dict(_leaves(result.config or {}))
        names = list(parameters)
        report = result.metrics or {}
        if result.error is not None:
            rows.append({**parameters, "problem": _reason(result.error)})
        elif "node" in report:
            measures = {name: report[name] for name in (*MEASURES, "node")}
            rows.append({**parameters, **measures, "problem": ""})
    # A sweep that was resumed has its trials in another order.
    return pd.DataFrame(rows).sort_values(names, ignore_index=True) if rows else pd.DataFrame()


def _say_why_some_are_missing(folder: Path, n_finished: int, total: int) -> NoReturn:
    """Raise: either the sweep was stopped, and goes on the next time, or Ray believes it complete and it is not."""
    from ray.tune import ExperimentAnalysis

    # What Ray has noted in the folder, and will go by the next time. In memory it calls stopped
    # trials ended as well.
    noted = ExperimentAnalysis(str(folder)).trials
    if all(trial.status in ("TERMINATED", "ERROR") for trial in noted):
        raise OSError(
            errno.EIO,
            f"What {total - n_finished} of {total} trials reported is missing, perhaps because the "
            "disk was full. What to do: free some space, remove this folder, and run the same "
            "call again",
            str(folder),
        )
    raise KeyboardInterrupt(
        f"Stopped. {n_finished} of {total} trials are finished and kept; the same call goes on "
        f"with the other {total - n_finished}."
    )


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give the parameters of a trial without the parts that they belong to."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value


def _reason(error: Exception) -> str:
    """Say in one line why a trial failed."""
    from ray.exceptions import OutOfMemoryError, RayActorError

    if isinstance(error, OutOfMemoryError):
        return "out of memory: Ray stopped the trial when the memory of its node was nearly used up"
    if isinstance(error, RayActorError):
        return "its process or its node died"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
