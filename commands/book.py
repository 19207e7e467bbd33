"""Make the book: all lessons with their stored outputs, and all pages.

It is read without Jupyter and without a network.
"""

import re
import shutil
import tempfile
from pathlib import Path

from commands.console import CommandError, say, tail
from commands.environment import ROOT, own_environment, variables
from commands.process import run_with_log
from commands.set_up import set_up

BOOK = ROOT / "build" / "book"

# myst-nb counts the lines of a notebook so.
LINES_OF_A_CELL = 10_000


def main(arguments: list[str]) -> int:
    """Set up, make the book anew, and say where it is."""
    if arguments:
        raise CommandError(f"book takes no arguments, not: {' '.join(arguments)}")
    environment = own_environment()
    set_up(environment, frozenset({"book"}))
    say("Making the book (about ten seconds).")
    make(ROOT, BOOK, environment.python, variables(environment))
    say(f"\nOpen it in a browser; it needs no network and no server:\n  {BOOK / 'index.html'}")
    return 0


def make(root: Path, folder: Path, python: Path, environment: dict[str, str]) -> None:
    """Make the book of a clone.

    What was in the folder is replaced, but only by a book without problems.

    Every page is made each time. Sphinx could leave out those whose source is unchanged: that saves
    one second of six, and misses the link to a heading that was renamed on another page.

    Parameters
    ----------
    root
        The clone.
    folder
        Where the book goes.
    python
        An interpreter with the extra ``book``.
    environment
        The variables that Sphinx runs with.

    Raises
    ------
    CommandError
        If a page has a problem, such as a link that leads nowhere; it lists all of them.
    """
    cache = root / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="book-", dir=cache) as name:
        made, log = Path(name, "book"), Path(name, "log")
        sphinx = [python, "-m", "sphinx", "--no-color", "-b", "html", "-n", "-W", "--keep-going"]
        places = ["-c", root / "publishing" / "book", "-d", Path(name, "read"), root, made]
        if run_with_log([*map(str, [*sphinx, *places])], log, cwd=root, env=environment):
            raise CommandError(_explain(log, root))
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, folder)


def _explain(log: Path, root: Path) -> str:
    """List the problems that Sphinx found, or say how it ended."""
    text = log.read_text("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if "WARNING: " in line or "ERROR: " in line]
    problems = sorted({_located(line, root) for line in lines})
    if not problems:
        ending = "\n".join(tail(log, 20))
        return f"Sphinx stopped without a book. Its last words:\n{ending}"
    listed = "\n".join(f"  {problem}" for problem in problems)
    return (
        "The pages have problems, so there is no new book:\n"
        f"{listed}\n"
        "What to do: repair each (a lesson in its .py; `make notebooks` brings the .ipynb in "
        "step), then run the same command again."
    )


def _located(line: str, root: Path) -> str:
    """Name the file and the line of a problem; in a notebook, the cell and its line."""
    line = line.replace(f"{root}/", "").replace(f"{root}\\", "")
    found = re.match(r"(.*\.ipynb):(\d+): (.*)", line)
    if found is None:
        return line
    cell, number = divmod(int(found[2]), LINES_OF_A_CELL)
    return f"{found[1]}, cell {cell}, near its line {number}: {found[3]}"
