"""Run a command in a process of its own, and watch what it takes in time and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import psutil
from jupyter_client.kernelspec import get_kernel_spec


def watch(command: Sequence[str], cores: int | None = None, **how: Any) -> dict[str, Any]:
    """Run a command, and measure it with all the processes that it starts.

    Parameters
    ----------
    command
        The program and its arguments.
    cores
        How many processor cores it may use; all if left out.
    **how
        As for ``subprocess.Popen``.

    Returns
    -------
    dict
        ``CPU seconds`` of all its processes together, ``wall seconds``, ``peak MiB`` (resident
        memory of the largest process), read twenty times a second; and ``output``, what it printed.

    Raises
    ------
    subprocess.CalledProcessError
        If the command fails.
    """
    peak, cpu = 0, {}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        start = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, **how) as process:
            first = psutil.Process(process.pid)
            if cores and hasattr(os, "sched_getaffinity"):  # macOS cannot tie a process to a core
                first.cpu_affinity(sorted(os.sched_getaffinity(0))[:cores])
            while process.poll() is None:
                for each in (first, *first.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        peak = max(peak, each.memory_info().rss)
                        times = each.cpu_times()
                        cpu[each.pid] = times.user + times.system
                time.sleep(0.05)
        wall = time.perf_counter() - start
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return {
        "CPU seconds": round(sum(cpu.values()), 1),
        "wall seconds": round(wall, 1),
        "peak MiB": round(peak / 2**20),
        "output": output,
    }


def kernel_variables() -> dict[str, str]:
    """Return the variables of a lesson's kernel, which say how many threads it may use."""
    return os.environ | get_kernel_spec("python3").env
