"""What a run of the tests says at its end: where the time went, the memory, what was not tried."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

# As much as a worker may take at its peak, in GB.
MOST_GB = 1.5

# How a test that needs a browser begins the reason for which it is skipped.
NO_BROWSER = "there is no Chromium on this machine"

# Of each worker, by its name.
PEAKS = pytest.StashKey[dict[str, tuple[float, float]]]()

# How many tests a choice left out.
LEFT_OUT = pytest.StashKey[int]()


def peaks() -> tuple[float, float]:
    """Return the most memory that this process held, and the most that one it started did, in GB.

    Both are 0 on Windows, where the system does not tell.
    """
    if sys.platform == "win32":
        return 0, 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    own, started = (
        resource.getrusage(who).ru_maxrss * unit / 1e9
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own, started


def pytest_deselected(items):
    """Count what is left out."""
    if items:
        stash = items[0].config.stash
        stash[LEFT_OUT] = stash.get(LEFT_OUT, 0) + len(items)


def pytest_sessionfinish(session):
    """Tell the process that reports what only this worker knows."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["peaks"] = peaks()
        config.workeroutput["left out"] = config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Note what a worker tells; each leaves out the same tests."""
    if told := getattr(node, "workeroutput", {}):
        node.config.stash.setdefault(PEAKS, {})[node.gateway.id] = tuple(told["peaks"])
        node.config.stash[LEFT_OUT] = told["left out"]


def pytest_terminal_summary(terminalreporter, config):
    """Say it all."""
    stats = terminalreporter.stats
    reports = [each for kind in stats.values() for each in kind if hasattr(each, "duration")]
    lines = slowest_files([(each.nodeid, each.duration) for each in reports])
    lines += memory_of(config.stash.get(PEAKS, {"the process of the tests": peaks()}))
    without_browser = sum(NO_BROWSER in str(each.longrepr) for each in stats.get("skipped", ()))
    slow_ones = config.option.markexpr == "not slow" and not config.option.keyword
    lines += not_tried(without_browser, config.stash.get(LEFT_OUT, 0) if slow_ones else 0)
    terminalreporter.section("where the time and the memory went")
    for line in lines:
        terminalreporter.line(line)


def slowest_files(durations: list[tuple[str, float]], number: int = 10) -> list[str]:
    """Return the files that took longest, with their seconds.

    Parameters
    ----------
    durations
        Ids of tests and the seconds of one part of them.
    number
        How many files.
    """
    seconds: Counter[str] = Counter()
    for name, duration in durations:
        seconds[name.partition("::")[0]] += duration
    rows = [f"{spent:8.1f} s  {file}" for file, spent in seconds.most_common(number)]
    if len(seconds) > 1:
        rows.append(f"{seconds.total():8.1f} s  all {len(seconds)} files together")
        return rows
    return []


def memory_of(peaks: dict[str, tuple[float, float]]) -> list[str]:
    """Say how much memory the workers took, and whether it was too much."""
    if not any(own for own, _ in peaks.values()):
        return []
    worker = max(peaks, key=lambda name: peaks[name])
    own, started = peaks[worker][0], max(started for _, started in peaks.values())
    over = f", which is more than {MOST_GB:g} GB" if own > MOST_GB else ""
    return [
        f"At most {own:.1f} GB of memory in a worker ({worker}){over}; "
        f"{started:.1f} GB in a program that one started."
    ]


def not_tried(without_browser: int, left_out: int) -> list[str]:
    """Say what was left out, and how it can be tried."""
    lines = []
    if without_browser:
        lines.append(
            f"{without_browser} tests in a browser were not tried: {NO_BROWSER}. Install it "
            "(Debian, Ubuntu: sudo apt-get install chromium), then run make test-all."
        )
    if left_out:
        lines.append(
            f"{left_out} tests were left out, which take minutes by their nature; make test-all "
            "runs them, too."
        )
    return lines
