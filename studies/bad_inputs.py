"""Write ``docs/bad_inputs.md``: what learners bring and do, and what the kit says to it.

Each answer is given anew.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers import environment
from helpers.paths import DOCS
from tests.bad_inputs import cases

FILE = DOCS / "bad_inputs.md"

SECTIONS: dict[str, Sequence[cases.Case | cases.Cells | cases.File]] = {
    "Cells": cases.CELLS,
    "Files": cases.FILES,
    "The environment, and the order of things": cases.ENVIRONMENT,
}

TOP = """\
# What goes wrong, and what the kit says

Written by `make bad-inputs` from the cases in `tests/bad_inputs/`; do not edit. Each case was done, and this is what was said; the tests do it again. What is said of cells
is a row of the pre-flight report (lesson 08): its line of Python is run in the tests, and mends them.
"""


def main() -> int:
    """Do everything that is wrong, and write the page; return the exit status."""
    environment.prepare()
    text = TOP
    for title, section in SECTIONS.items():
        rows = [f"| {each.what} | {answer(each.attempt)} |\n" for each in section]
        text += f"\n## {title}\n\n| what is wrong | what is said |\n| --- | --- |\n{''.join(rows)}"
    FILE.write_text(text, "utf-8")
    print(f"{sum(map(len, SECTIONS.values()))} cases written to {FILE.name}")
    return 0


def answer(attempt: Callable[[Path], str]) -> str:
    """Return what was said, as a cell of a table.

    Without the paths of this machine, and of a traceback the last words.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Path(folder).chmod(0o777)
        said = attempt(Path(folder)).replace(folder, "FOLDER")
    said = said.rpartition("Traceback (most recent call last):")[2]
    said = re.split(r"\n(?=\w[\w.]*(?:Error|Exception): )", said)[-1]
    said = said.replace(str(Path.cwd()), "HERE").replace(str(cases.ROOT), "HERE")
    return re.sub(r"\s*\n\s*", "<br>", said.strip()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
