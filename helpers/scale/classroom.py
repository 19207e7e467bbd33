"""What a class on JupyterHub needs, computed from what the lessons were measured to take.

``publishing/hub.py`` writes the guide for the hub and its values from the same numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.memory import MEASUREMENTS
from helpers.paths import DOCS

# What the hub is given; `make hub` writes it.
VALUES = DOCS / "jupyterhub-values.yaml"

# How many work at the same time, where nothing else is said.
LEARNERS = 200

# What Lab's own server takes beside the kernels, in MiB; measured once by hand.
LAB_SERVER = 85

# For what learners try out beyond the lessons.
MARGIN = 0.25

# Memory is asked for in whole multiples of so many MiB.
STEP = 64

# The share of a core that is set aside for each learner: if all press Run at once, a lesson takes
# at most four times as long as alone.
CPU_GUARANTEE = 0.25

# Of each node, for Kubernetes itself; an assumption. And the largest number of pods on a node, of
# which some belong to Kubernetes.
NODE_CORES, NODE_GIB, NODE_PODS = 0.5, 1.5, 100

# Cores and GiB of nodes that clouds and computing centres offer.
NODE_SIZES = ((4, 16), (8, 32), (16, 64), (32, 128))


def load(file: Path = MEASUREMENTS) -> dict[str, Any]:
    """Return what ``make study ARGS=costs`` measured.

    Raises
    ------
    FileNotFoundError
        If nothing was measured.
    ValueError
        If the file is damaged or has no lessons.
    """
    what_to_do = "What to do: make study ARGS=costs."
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file.name}. {what_to_do}")
    try:
        measured = json.loads(file.read_text("utf-8"))
        rows = measured["lessons"]
        needed = {"lesson", "CPU seconds", "wall seconds", "peak MiB"}
        complete = rows and all(needed <= set(row) for row in rows)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file.name} is damaged. {what_to_do} ({error})") from error
    if not complete:
        raise ValueError(f"{file.name} holds no complete lessons. {what_to_do}")
    return measured


def lessons(measured: Mapping[str, Any]) -> pd.DataFrame:
    """Return what each lesson takes when it is run alone on one core.

    Parameters
    ----------
    measured
        As from ``load``.

    Returns
    -------
    DataFrame
        One row per lesson: ``CPU seconds``, ``wall seconds``, and ``peak MiB`` of its largest
        process.
    """
    table = pd.DataFrame(measured["lessons"])
    return table.set_index("lesson").loc[:, ["CPU seconds", "wall seconds", "peak MiB"]]


def memory(measured: Mapping[str, Any]) -> pd.DataFrame:
    """Add up the memory of a learner.

    Parameters
    ----------
    measured
        As from ``load``.

    Returns
    -------
    DataFrame
        In MiB. Columns ``one kernel`` and ``two kernels``; the rows add up to ``together``;
        ``rounded up`` is what is asked for.

    Notes
    -----
    Only the peak of a lesson's largest process was measured. So a lesson that starts others (07 on
    Ray, 07b with ``LIVE = True``) takes more than is counted here.
    """
    largest = int(lessons(measured)["peak MiB"].max())
    columns = {}
    for kernels, name in ((1, "one kernel"), (2, "two kernels")):
        parts = {"largest lesson, for each kernel": kernels * largest, "Lab server": LAB_SERVER}
        parts[f"margin of {MARGIN:.0%}"] = math.ceil(MARGIN * sum(parts.values()))
        parts["together"] = sum(parts.values())
        parts["rounded up"] = STEP * math.ceil(parts["together"] / STEP)
        columns[name] = parts
    return pd.DataFrame(columns)


def nodes(
    measured: Mapping[str, Any],
    learners: int = LEARNERS,
    sizes: Sequence[tuple[int, int]] = NODE_SIZES,
) -> pd.DataFrame:
    """Tell how many nodes of each size a class needs.

    Parameters
    ----------
    measured
        As from ``load``.
    learners
        How many work at the same time, each with what is set aside for one kernel.
    sizes
        Cores and GiB of memory of a node.

    Returns
    -------
    DataFrame
        One row per size: ``cores`` and ``GiB`` of a node; how many learners fit ``by memory`` and
        ``by CPU``; ``learners a node``, the least of both and of the pods that a node may have;
        ``nodes``; ``GiB together``; and ``longest lesson (s)``, if all press Run at once.

    Raises
    ------
    ValueError
        If there are no learners, or a node is too small for one.
    """
    require_learners(learners)
    asked = int(memory(measured).loc["rounded up", "one kernel"])
    rows = []
    for cores, gib in sizes:
        by_memory = math.floor((gib - NODE_GIB) * 1024 / asked)
        by_cpu = math.floor((cores - NODE_CORES) / CPU_GUARANTEE)
        each = min(by_memory, by_cpu, NODE_PODS)
        if each < 1:
            raise ValueError(
                f"A node of {cores} cores and {gib} GiB is too small for one learner with {asked} "
                f"MiB and {CPU_GUARANTEE} cores. What to do: take larger nodes."
            )
        count = math.ceil(learners / each)
        longest = waiting(measured, learners, [count * (cores - NODE_CORES)]).iloc[:, 0].max()
        rows.append(
            {
                "cores": cores,
                "GiB": gib,
                "by memory": by_memory,
                "by CPU": by_cpu,
                "learners a node": each,
                "nodes": count,
                "GiB together": count * gib,
                "longest lesson (s)": longest,
            }
        )
    return pd.DataFrame(rows)


def waiting(
    measured: Mapping[str, Any],
    learners: int = LEARNERS,
    cores: Sequence[float] = (25, 50, 100, 200),
) -> pd.DataFrame:
    """Tell how long a lesson computes if all learners run all its cells at the same moment.

    Parameters
    ----------
    measured
        As from ``load``.
    learners
        How many.
    cores
        Numbers of cores that they share.

    Returns
    -------
    DataFrame
        One row per lesson, one column per number of cores, in seconds: the CPU seconds of all
        learners, shared between the cores; but not less than the wall seconds of a learner alone,
        because a lesson uses one core and also waits for files.

    Raises
    ------
    ValueError
        If there are no learners, or a number of cores is not above 0.
    """
    require_learners(learners)
    if min(cores) <= 0:
        raise ValueError(f"{min(cores)} cores cannot compute. What to do: give numbers above 0.")
    table = lessons(measured)
    shared = {f"{n:g} cores": table["CPU seconds"] * learners / n for n in cores}
    together = pd.DataFrame(shared).clip(lower=table["wall seconds"], axis=0)
    return together.round().astype(int)


def require_learners(learners: int) -> None:
    """Raise a ValueError where a class has nobody in it."""
    if learners < 1:
        raise ValueError(f"A class of {learners} needs nothing. What to do: learners=200.")
