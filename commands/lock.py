"""One set-up at a time in one clone."""

import contextlib
import os
import sys
import time
from pathlib import Path

from commands.console import CommandError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Lock the file or raise OSError, without waiting."""
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Lock the file or raise OSError, without waiting."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def only_one(path: Path):
    """Hold a lock file; raise where another process holds it.

    The lock is the operating system's, so it ends with the process that holds it, however that
    dies. Children that inherit the yielded descriptor hold it too: a pip that outlives a killed
    set-up still keeps the next set-up out.

    Parameters
    ----------
    path
        The lock file; it names its holder, and stays when the lock is gone.

    Raises
    ------
    CommandError
        Where another set-up is running.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Byte 0 is what Windows locks, so the text begins behind it.
    with path.open("r+b" if path.exists() else "w+b") as file:
        try:
            _lock(file.fileno())
        except OSError:
            raise CommandError(_held_by(path)) from None
        file.truncate(0)
        file.write(f" process {os.getpid()}, begun at {time.strftime('%H:%M:%S')}".encode())
        file.flush()
        yield file.fileno()


def _held_by(path: Path) -> str:
    """Say who holds the lock and what to do."""
    try:
        with path.open("rb") as file:
            file.seek(1)
            holder = file.read().decode(errors="replace").strip()
    except OSError:
        holder = ""
    return (
        f"Another set-up is at work in this folder ({holder or 'process unknown'}).\n"
        "Wait until it is done, then run the same command again. If it was killed, its last step "
        "may still be ending: that takes a minute or two."
    )
