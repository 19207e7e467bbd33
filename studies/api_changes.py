"""What changed in the libraries: between the two version tracks, and since the last look.

It takes a snapshot of the track that it runs in (see ``studies.api_snapshot``), keeps it, and
writes how the tracks differ as a page. A test takes the snapshot again and compares it with the
kept one, so that a maintainer sees an upstream change before a learner does.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import markdown
from helpers.paths import RESULTS, ROOT
from studies import keeping
from studies.catalogue import Study

Snapshot = Mapping[str, Mapping[str, Any]]

STUDY = Study(
    name="api_changes",
    question="What differs in the libraries between version tracks, and since last time?",
    minutes=1,
    writes=("docs/results/api_changes.json", "docs/results/api_changes.md"),
    both_tracks=True,
)

FILE = RESULTS / "api_changes.json"
PAGE = RESULTS / "api_changes.md"

# The version tracks of requirements/tested.txt.
TRACKS = ("Python 3.11", "Python 3.12 or newer")

NOT_THERE = "not there"

# Other processors and versions add numbers in another order; training amplifies that.
TOLERANCE = 1e-3

# What each kind of entry is, in the order of the page.
KINDS = {
    "versions": "Packages that the kit and its tests stand on.",
    "models": "Models that scvi-tools exports.",
    "names": (
        "What helpers and lessons use of scvi-tools, Lightning, PyTorch, scanpy and others, "
        "private names among them."
    ),
    "methods": "Which function builds, trains and answers for each model.",
    "defaults": "Parameters of these functions and of what the kit calls by name.",
    "modules": "Modules of each model: class, network, role, columns, parameters and state.",
    "history keys": "What two epochs of training write down.",
    "tables": "Columns and types of what a trained model answers.",
    "warnings": (
        "What is raised while packages are imported and models are set up, built, trained and "
        "asked, with every filter off."
    ),
    "epochs": "Default epochs by number of cells.",
    "selected genes": "What `seurat_v3` chooses of the PBMC genes.",
    "numbers": f"Losses after two epochs with seed 0; alike means within {TOLERANCE * 100:g} %.",
}

# What is asked about depends on the code of the kit, so an entry that only one snapshot has says
# nothing of the libraries.
ASKED_BY_THE_KIT = ("names", "defaults")


def track() -> str:
    """Return the name of the version track of this Python."""
    return TRACKS[sys.version_info >= (3, 12)]


def load() -> dict[str, Snapshot]:
    """Return the kept snapshots by version track; none if there is no file yet."""
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def take() -> Snapshot:
    """Take a snapshot of the libraries here, in a process of its own (about ten seconds).

    Raises
    ------
    RuntimeError
        If the libraries cannot be used as the snapshot does; with the error.
    """
    # The filters of a session or of pytest would hide warnings.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "snapshot.json")
        answer = subprocess.run(
            [sys.executable, "-m", "studies.api_snapshot", str(file)],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
        )
        if answer.returncode:
            raise RuntimeError(
                "The installed libraries do not do what studies/api_snapshot.py asks of them any "
                "more:\n"
                f"{answer.stderr[-2000:]}\n"
                "What to do: see in the last lines what failed; the lessons that use it fail too. "
                "Fix both, then run make study ARGS=api_changes."
            )
        return json.loads(file.read_text("utf-8"))


def differences(
    first: Snapshot, second: Snapshot, names: tuple[str, str] = ("before", "now")
) -> pd.DataFrame:
    """Compare two snapshots.

    Parameters
    ----------
    first, second
        As from ``take``.
    names
        What to call the two.

    Returns
    -------
    DataFrame
        One row per difference: ``kind`` (a key of ``KINDS``), ``where``, and what it is in the
        first and in the second, or ``NOT_THERE``.
    """
    rows = []
    for kind in KINDS:
        before, now = _entries(kind, first, second), _entries(kind, second, first)
        for where in [*before, *(new for new in now if new not in before)]:
            pair = before.get(where, NOT_THERE), now.get(where, NOT_THERE)
            if not _alike(*pair):
                rows.append((kind, where, *pair))
    return pd.DataFrame(rows, columns=["kind", "where", *names])


def _entries(kind: str, snapshot: Snapshot, other: Snapshot) -> dict[str, Any]:
    """Return the entries of a kind that can be compared with the other snapshot."""
    entries = snapshot.get(kind, {})
    if kind in ASKED_BY_THE_KIT:
        entries = {where: value for where, value in entries.items() if where in other.get(kind, {})}
    if kind == "defaults":
        return {
            f"{function}: {parameter}": default
            for function, defaults in entries.items()
            for parameter, default in defaults.items()
        }
    return dict(entries)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)
    return one == other


# --- the page -----------------------------------------------------------------------------------


def page(snapshots: Mapping[str, Snapshot]) -> str:
    """Write how the version tracks differ as a page.

    Parameters
    ----------
    snapshots
        By version track, both of ``TRACKS``.

    Returns
    -------
    str
        Markdown, one section per kind; where nothing differs it says so.
    """
    first, second = (snapshots[name] for name in TRACKS)
    found = differences(first, second, TRACKS)
    key = ("Python", "scvi-tools", "torch", "anndata", "scanpy", "pandas")
    stand = [
        f"- {name}: "
        + ", ".join(f"{package} {snapshots[name]['versions'][package]}" for package in key)
        for name in TRACKS
    ]
    changed = found["kind"].value_counts()
    brief = ", ".join(f"{kind} {changed[kind]}" for kind in KINDS if kind in changed)
    parts = [
        "# What differs between the two version tracks",
        f"{keeping.written_by(STUDY.name)} All of it is in\n[{FILE.name}]({FILE.name}). Both "
        "tracks were asked the same, on the same cells.",
        "\n".join(stand),
        f"Differences: {brief or 'none'}.",
    ]
    for kind, meaning in KINDS.items():
        parts += [f"## {kind.capitalize()}", meaning]
        asked = len({*_entries(kind, first, second), *_entries(kind, second, first)})
        rows = found[found["kind"] == kind].drop(columns="kind")
        if rows.empty:
            parts.append(f"No difference in {asked:,} entries.")
        else:
            parts += [
                f"{len(rows)} of {asked:,} entries differ.",
                markdown.table(list(rows), rows.to_numpy()),
            ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Take the snapshot of this track and write the file and, once both are in it, the page.

    Return the exit status.
    """
    snapshots = load() | {track(): take()}
    text = json.dumps(snapshots, indent=0, ensure_ascii=False, sort_keys=True)
    FILE.write_text(text + "\n", "utf-8")
    print(f"{FILE.name} holds the snapshot of {track()}")
    if set(snapshots) == set(TRACKS):
        PAGE.write_text(page(load()), "utf-8")
        print(f"{PAGE.name} is written")
    return 0
