"""Remove what set-up and the tools made."""

import shutil

from commands.console import CommandError, say
from commands.environment import LATEST, NEWEST, ROOT, VENV
from commands.lock import only_one


def main(arguments: list[str]) -> int:
    """Remove environments and caches; ``--data`` removes the fetched data too."""
    if arguments not in ([], ["--data"]):
        raise CommandError(f"clean takes --data or nothing, not: {' '.join(arguments)}")
    cache = ROOT / ".cache"
    found = [VENV, LATEST, NEWEST, *ROOT.glob("*.egg-info")]
    for folder in ("commands", "helpers", "publishing", "studies", "tests"):
        found += (ROOT / folder).rglob("__pycache__")
    for folder in ("docs", "notebooks"):
        found += (ROOT / folder).rglob(".ipynb_checkpoints")
    if arguments:
        found.append(ROOT / "data")
    with only_one(cache / "set-up.lock"):
        for folder in filter(lambda path: path.exists(), found):
            say(f"Removing {folder.relative_to(ROOT)}")
            shutil.rmtree(folder)
    shutil.rmtree(cache)
    return 0
