"""What it takes to read the full cortex text as a stream and as scvi-tools reads it, measured once and kept.

``python -m studies.cortex_text_runs`` (``make cortex-text-runs``) measures on a stand-in of full
size, and writes ``docs/cortex_text_runs.csv``. It needs Linux, whose kernel keeps the peak of the
memory of a process.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers import results
from helpers.data import download
from helpers.paths import DOCS
from studies import costs
from tests.helpers.data import synthetic_cortex

FILE = DOCS / "cortex_text_runs.csv"

ROUNDS = (1, 2, 3)

READER, SCVI = "stream reader", "scvi.data.cortex"
FIRST, LATER = "load_cortex, first call", "load_cortex, later calls"

# What is imported, and what is measured. ``folder`` has the text under the name that scvi-tools
# gives it.
LOAD = ("from helpers import data", "data.load_cortex(folder, genes='all')")
WAYS = {
    READER: ("from helpers import cortex_text", "cortex_text.read(folder / 'expression.bin')"),
    SCVI: ("import scvi", "scvi.data.cortex(save_path=str(folder))"),
    FIRST: LOAD,
    LATER: LOAD,
}

# Run in a process of its own. The listed checksum is of the original, and not of its stand-in.
MEASURED = """\
import dataclasses, json, pathlib, sys, time
import psutil
{imports}
folder, md5 = pathlib.Path(sys.argv[1]), sys.argv[2]
if "data" in globals():
    data.SOURCES["cortex_all"] = dataclasses.replace(data.SOURCES["cortex_all"], md5=md5)
imported = psutil.Process().memory_info().rss / 2**20
wall, cpu = time.perf_counter(), time.process_time()
adata = {call}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
status = dict(line.split(":") for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) / 2**10
from studies import cortex_text_runs
print()
print(json.dumps({{
    "wall seconds": wall,
    "CPU seconds": cpu,
    "import MiB": imported,
    "peak MiB": peak - imported,
    "counts": cortex_text_runs.fingerprint(adata),
}}))
"""


def fingerprint(adata: ad.AnnData) -> str:
    """Return a short checksum of the counts, cell for cell, whether they are dense or sparse and of whichever type."""
    counts = sp.csr_matrix(adata.X)
    counts.sort_indices()
    digest = hashlib.sha256(repr(counts.shape).encode())
    for array in (counts.indptr, counts.indices, counts.data):
        digest.update(array.astype(np.int64).tobytes())
    return digest.hexdigest()[:12]


def measure(way: str, folder: Path) -> dict[str, object]:
    """Read the text in a fresh process, and measure it.

    Parameters
    ----------
    way
        A key of ``WAYS``.
    folder
        A folder with the text in ``expression.bin``; the cache is kept there, too.

    Returns
    -------
    dict
        ``way``; ``wall seconds`` and ``CPU seconds`` of the call; ``import MiB``, the memory of the
        process before it, and ``peak MiB``, how much more there was at most; and ``counts``, see
        ``fingerprint``.

    Raises
    ------
    subprocess.CalledProcessError
        If the process fails.
    """
    imports, call = WAYS[way]
    code = MEASURED.format(imports=imports, call=call)
    md5 = download.md5_of(folder / "expression.bin")
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder), md5],
        cwd=costs.ROOT,
        env=costs.kernel_variables(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return {"way": way, **json.loads(said.splitlines()[-1])}


def run(number: int, way: str, folder: Path) -> pd.DataFrame:
    """Return one row: ``round``, and what ``measure`` returns."""
    cache = folder / "cortex_all.h5ad"
    if way == FIRST:
        cache.unlink(missing_ok=True)
    elif way == LATER and not cache.exists():
        measure(FIRST, folder)
    return pd.DataFrame([{"round": number, **measure(way, folder)}])


def load() -> pd.DataFrame:
    """Return the kept runs: a row a round and way, see ``measure``."""
    return results.load(FILE, dtype={"counts": str})


def origin() -> str:
    """Return one line that says how the kept runs were made: file and versions."""
    return results.origin(FILE)


def medians(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a way: the medians of seconds and MiB over the rounds.

    Parameters
    ----------
    table
        As from ``load``.
    """
    numbers = table.drop(columns=["round", "counts"])
    return numbers.groupby("way", sort=False).median()


def main() -> int:
    """Make all runs that are missing and write the file; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        print("Writing a stand-in of full size ...", flush=True)
        synthetic_cortex.write(Path(folder, "expression.bin"))
        keys = {"round": ROUNDS, "way": list(WAYS)}
        runs = results.make(FILE, keys, partial(run, folder=Path(folder)))
    what = (
        "A made-up text in the layout of the full cortex, 121 MB, 3,005 cells x 19,972 genes, "
        "read in a fresh process with one thread, file in the cache of the system, peak above "
        "what the import takes"
    )
    packages = ("scvi-tools", "numpy", "scipy", "anndata")
    results.write(FILE, runs, what, packages, "make cortex-text-runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
