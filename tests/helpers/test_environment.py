"""A lesson runs the same everywhere, and says first what is missing."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import environment, memory


def test_prepare_makes_random_numbers_repeat():
    def draw():
        environment.prepare(seed=3)
        return np.random.random(), torch.rand(1).item()  # noqa: NPY002 -- the generator that scvi-tools seeds

    assert draw() == draw()


def test_prepare_uses_one_thread():
    torch.set_num_threads(2)
    environment.prepare()
    assert torch.get_num_threads() == 1


def test_one_thread_is_left_after_the_genes_are_selected():
    code = (
        "import torch; from helpers import data, environment, genes; environment.prepare();"
        "genes.select(data.load_pbmc(), 100); print(torch.get_num_threads())"
    )
    caps = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    free = {name: value for name, value in os.environ.items() if name not in caps}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=free, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["1"]


def test_this_machine_is_ready():
    table = environment.check()
    assert (table["verdict"] == "ok").all(), table.to_string()
    assert set(environment.PACKAGES) <= set(table.index)


def test_what_is_missing_is_said_with_its_cure(monkeypatch, tmp_path):
    torch.set_num_threads(2)
    monkeypatch.setattr(environment, "available_memory", lambda: 300_000_000)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1")
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    verdicts = environment.check(tmp_path)["verdict"]
    assert verdicts["free memory"].startswith("close other notebooks")
    assert verdicts["threads"] == "call environment.prepare()"
    assert verdicts["scvi-tools"] == "run `make lab` again"
    assert verdicts["Python"] == "run `make lab` again"
    assert verdicts["free disk"] == "ok"


def test_a_missing_package_is_named(monkeypatch):
    def version(name):
        if name == "scikit-misc":
            raise environment.importlib.metadata.PackageNotFoundError(name)
        return "99"

    monkeypatch.setattr("importlib.metadata.version", version)
    assert environment.check().loc["scikit-misc", "found"] == "missing"


def test_the_announced_limit_counts(monkeypatch):
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    free = environment.available_memory()
    monkeypatch.setenv("MEM_LIMIT", str(memory.used_together() + 50_000_000))
    assert 0 < environment.available_memory() <= 60_000_000 < free
    monkeypatch.setenv("MEM_LIMIT", "1")
    assert environment.available_memory() == 0


def test_require_memory_says_what_to_do(monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda: 500_000_000)
    environment.require_memory(400_000_000, "This")
    with pytest.raises(
        MemoryError, match=r"This needs about 2.0 GB of memory; 0.5 GB are free.\nWhat to do: close"
    ):
        environment.require_memory(2_000_000_000, "This")
