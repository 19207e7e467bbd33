"""One run of a lesson at a time, whichever test runs it.

Two that train the same model at once say so on stderr.
"""

from pathlib import Path

from filelock import FileLock

from helpers.paths import ROOT


def turn(lesson: Path) -> FileLock:
    """Give the lock to hold while a lesson runs.

    Parameters
    ----------
    lesson
        Its notebook.
    """
    folder = ROOT / ".cache" / "lessons-that-run"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{lesson.stem}.lock", timeout=1_800)
