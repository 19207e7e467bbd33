"""What a person sees: steps with their times, errors, and the end of a log."""

import contextlib
import time
from pathlib import Path


class CommandError(Exception):
    """What is wrong, where, and what to do; shown without a traceback."""


def say(text: str = "") -> None:
    """Print at once, so that the lines of child processes come in the right order."""
    print(text, flush=True)


@contextlib.contextmanager
def step(number: int, total: int, title: str):
    """Say that a step begins, and how long it took once it is done."""
    say(f"[{number}/{total}] {title} ...")
    start = time.monotonic()
    yield
    say(f"      done in {time.monotonic() - start:.0f} s")


def tail(log: Path, count: int) -> list[str]:
    """Give a log's last lines without reading all of it."""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 20_000))
        text = file.read().decode(errors="replace")
    return text.replace("\r", "\n").splitlines()[-count:]
