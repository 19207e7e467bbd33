"""Try many models on Ray, through scvi-tools' ``autotune``.

The same call runs on this machine, or, where the variable ``RAY_ADDRESS`` names one, on a cluster;
``ray_cluster`` sees to it. Without Ray, this module can be imported and says what is missing.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import inspect
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anndata as ad
import joblib
import pandas as pd
import scvi
from IPython.utils.capture import capture_output
from tqdm.auto import tqdm

from helpers.data import count_checks
from helpers.paths import DATA
from helpers.scale import evaluation, ray_cluster
from helpers.training import presets

if TYPE_CHECKING:
    from ray.tune import ResultGrid
    from scvi.autotune import AutotuneExperiment

FOLDER = DATA / "sweeps"

# How often trials whose process or node died are tried again.
RETRIES = 2

SEARCHED = ("model_params", "train_params")


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
    """Return the names that each part of a search space may hold, by scvi-tools and the presets."""
    model, module = scvi.model.SCVI, scvi.model.SCVI._module_cls
    of_the_module = set(inspect.signature(module).parameters)
    # SCVI fills these in from the cells.
    from_the_cells = {name for name in of_the_module if name.startswith("n_")} - {
        "n_hidden",
        "n_latent",
        "n_layers",
    }
    given = {"self", "adata", "registry", "kwargs", "callbacks", "logger", "trainer_kwargs"}
    of_presets = {name for preset in presets.PRESETS.values() for name in preset}
    return {
        "model_params": (set(inspect.signature(model).parameters) | of_the_module | {"seed"})
        - from_the_cells
        - given,
        "train_params": (set(inspect.signature(model.train).parameters) | of_presets | {"preset"})
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
        One row per trial: its parameters, ``sweep_trial.MEASURES``, the ``node`` that it ran on,
        and ``problem``, empty where the trial finished.

    Raises
    ------
    ModuleNotFoundError
        Without Ray and what belongs to it.
    ValueError
        If the search space has unknown parameters or nothing to try, or the cells have no counts.
    ConnectionError, RuntimeError, MemoryError
        As ``ray_cluster.connected``; RuntimeError also if no trial finished.
    OSError
        If the disk is full.
    KeyboardInterrupt
        If the sweep was stopped; what is finished is kept.
    """
    ray_cluster.require_packages()
    check(search_space)
    count_checks.check_counts(adata, layer="counts")
    # Ray takes a relative path for an address.
    folder = folder.resolve()
    ray_cluster.require_disk(folder)
    for name, value in ray_cluster.VARIABLES.items():
        os.environ.setdefault(name, value)
    from helpers.scale.sweep_trial import Trial

    Trial.setup_anndata(adata, layer="counts")
    total, own = n_trials(search_space), folder / name_of(adata, search_space)
    for name in ("ray.tune", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Ray says for each epoch of each trial what it knows: thousands of lines.
    with _progress(own, total), capture_output(), ray_cluster.connected():
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

    It is another one for other cells, values, versions or code.
    """
    from helpers.scale import sweep_trial

    decisive = [
        adata.layers["counts"],
        list(adata.obs_names),
        list(adata.var_names),
        list(evaluation.cell_types(adata).astype(str)),
        search_space,
        evaluation.settings_key(),
        inspect.getsource(sweep_trial),
    ]
    return f"sweep-{joblib.hash(decisive)[:16]}"


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
        "resources": {"cpu": 1, "memory": ray_cluster.TRIAL_BYTES},
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
    """Show inside this block how many trials have finished, and stop before the disk is full.

    How many is read from the files that Ray keeps.

    Raises
    ------
    OSError
        If the disk is nearly full; what is finished is kept.
    """
    done, full = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(1):
            show()
            free = shutil.disk_usage(folder.parent).free
            if free < ray_cluster.MINIMUM_DISK / 2 and not full.is_set():
                full.set()
                # As Ctrl-C does: Ray stops the trials and notes what is finished, while there is
                # room for that. Python handles it in the main thread.
                signal.raise_signal(signal.SIGINT)

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
    """Return the results of Ray, one row per trial that ended, see ``run``."""
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
    """Raise: the sweep was stopped, and goes on the next time, or what it reported was lost."""
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
