"""The files with which a class gets the lessons on JupyterHub: a guide, and the hub's values.

``python -m publishing.hub`` (``make hub``) writes ``docs/jupyterhub.md`` and
``docs/jupyterhub-values.yaml`` from what the lessons were measured to take.
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import markdown
from helpers.memory import MEASUREMENTS
from helpers.paths import DOCS, ROOT
from helpers.scale import classroom
from helpers.scale.classroom import LEARNERS, VALUES
from publishing import texts

PAGE = DOCS / "jupyterhub.md"

# A lesson uses one thread, so a second core would have nothing to do.
CPU_LIMIT = 1

# JupyterHub finds no authenticator of this name and does not start, so that nobody forgets to
# choose one.
PLACEHOLDER = "choose-an-authenticator"

THREAD_CAPS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def image(project: Path = ROOT / "pyproject.toml") -> tuple[str, str]:
    """Return name and tag of the image that the hub starts, from the project's address and version.

    Parameters
    ----------
    project
        A ``pyproject.toml`` with ``version`` and ``urls.Repository``.

    Raises
    ------
    ValueError
        If it has none.
    """
    try:
        about = tomllib.loads(project.read_text("utf-8"))["project"]
        address, tag = about["urls"]["Repository"], about["version"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ValueError(
            f"{project.name} says no version or no address of the project ({error}). What to do: "
            "write both there."
        ) from error
    owner_and_name = address.removeprefix("https://github.com/").strip("/")
    # A registry refuses capital letters. So a placeholder in capitals stays one, and fails.
    name = owner_and_name if owner_and_name.isupper() else owner_and_name.lower()
    return f"ghcr.io/{name}", tag


def values(measured: Mapping[str, Any], learners: int = LEARNERS) -> str:
    """Write the values for the Zero to JupyterHub Helm chart, as YAML with comments.

    Parameters
    ----------
    measured
        As from ``classroom.load``.
    learners
        How many work at the same time.

    Raises
    ------
    ValueError
        If there are no learners.
    """
    classroom.require_learners(learners)
    asked = classroom.memory(measured).loc["rounded up"]
    name, tag = image()
    return texts.fill(
        "jupyterhub-values.yaml",
        learners=learners,
        servers=learners + math.ceil(learners / 20),
        image=name,
        tag=tag,
        memory_guarantee=asked["one kernel"],
        memory_limit=asked["two kernels"],
        cpu_guarantee=classroom.CPU_GUARANTEE,
        cpu_limit=CPU_LIMIT,
        thread_caps=THREAD_CAPS,
        authenticator=PLACEHOLDER,
    )


def page(measured: Mapping[str, Any], learners: int = LEARNERS) -> str:
    """Write the guide, with the tables of ``helpers.scale.classroom``, as Markdown.

    Parameters
    ----------
    measured
        As from ``classroom.load``.
    learners
        How many work at the same time.
    """
    name, tag = image()
    memory = classroom.memory(measured)
    return texts.fill(
        "jupyterhub.md",
        measurements=MEASUREMENTS.relative_to(DOCS).as_posix(),
        learners=learners,
        image=name,
        tag=tag,
        largest=classroom.lessons(measured)["peak MiB"].idxmax(),
        asked=f"{memory.loc['rounded up', 'one kernel']:,}",
        cpu_guarantee=classroom.CPU_GUARANTEE,
        system_cores=classroom.NODE_CORES,
        system_gib=classroom.NODE_GIB,
        pods=classroom.NODE_PODS,
        memory_table=_table(memory.reset_index(names="")),
        node_table=_table(classroom.nodes(measured, learners)),
        waiting_table=_table(classroom.waiting(measured, learners).reset_index()),
    )


def _table(numbers: pd.DataFrame) -> str:
    rows = [
        [f"{entry:,}" if isinstance(entry, int | float) else str(entry) for entry in row]
        for row in numbers.astype(object).itertuples(index=False)
    ]
    heads = list(numbers.columns)
    return markdown.table(heads, rows, numbers=heads[1:])


def main() -> int:
    """Write the values and the page; return the exit status."""
    measured = classroom.load()
    for file, text in ((VALUES, values(measured)), (PAGE, page(measured))):
        texts.write(file, text)
        print(f"{file.name} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
