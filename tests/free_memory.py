"""Give back what tests leave in memory: a worker lives as long as the run."""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref
from collections.abc import Iterator

import psutil

# Looking for what may go takes a moment, so it waits until the process has grown by this, in bytes.
WORTHWHILE = 150_000_000


class Freer:
    """Frees memory whenever the process has grown since it last did."""

    def __init__(self) -> None:
        self.least = 0

    def __call__(self) -> None:
        """Free memory, if that is worthwhile."""
        process = psutil.Process()
        held = process.memory_info().rss
        if held > self.least + WORTHWHILE:
            free_memory()
            self.least = process.memory_info().rss
        self.least = min(self.least, held)


def free_memory() -> None:
    """Close figures and widgets, forget what only scvi-tools remembers, return what is free."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if "ipywidgets" in sys.modules:
        # Each one that was ever made is listed there, with the cells that its callbacks draw.
        sys.modules["ipywidgets"].Widget.close_all()
    if "scvi" in sys.modules:
        forget_cells()  # collects garbage
    else:
        gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def forget_cells() -> None:
    """Let go of cells that were set up for a model and that nothing else refers to any more.

    scvi-tools keeps a manager of each AnnData that was ever set up, in tables of the model's class,
    and each manager keeps its AnnData alive.
    """
    managers = {id(table[key]): table[key] for table in _tables() for key in table}
    cells = {}
    for number, manager in managers.items():
        cells[number] = weakref.ref(manager.adata)
        manager.adata = None
    gc.collect()
    for number, manager in managers.items():
        manager.adata = cells[number]()
    for table in _tables():
        for key in [key for key, manager in table.items() if manager.adata is None]:
            del table[key]


def _tables() -> Iterator[dict]:
    """Give the tables of managers of all kinds of models."""
    from scvi.model.base import BaseModelClass

    kinds = [BaseModelClass]
    for kind in kinds:
        kinds += [each for each in kind.__subclasses__() if each not in kinds]
        yield kind._setup_adata_manager_store
        yield from kind._per_instance_manager_store.values()
