"""What learners bring and do, and what the kit says to it; each answer is given anew."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers import environment
from helpers.paths import RESULTS, ROOT
from studies import keeping
from studies.catalogue import Study
from tests.bad_inputs import cases

STUDY = Study(
    name="bad_inputs",
    question="What does the kit say to all that learners bring and do wrong?",
    minutes=2,
    writes=("docs/results/bad_inputs.md",),
)

FILE = RESULTS / "bad_inputs.md"

SECTIONS: dict[str, Sequence[cases.Case | cases.Cells | cases.File]] = {
    "Cells": cases.CELLS,
    "Files": cases.FILES,
    "The environment, and the order of things": cases.ENVIRONMENT,
}

TOP = f"""\
# What goes wrong, and what the kit says

{keeping.written_by(STUDY.name)} The cases are those of `tests/bad_inputs/`.
Each was done, and this is what was said; the tests do it again. What is said of cells is a row of
the pre-flight report (lesson 08): its line of Python is run in the tests, and fixes them.
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

    The paths of this machine are left out, and of a traceback all but the last words.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Path(folder).chmod(0o777)
        said = attempt(Path(folder)).replace(folder, "FOLDER")
    said = said.rpartition("Traceback (most recent call last):")[2]
    said = re.split(r"\n(?=\w[\w.]*(?:Error|Exception): )", said)[-1]
    said = said.replace(str(Path.cwd()), "HERE").replace(str(ROOT), "HERE")
    return re.sub(r"\s*\n\s*", "<br>", said.strip()).replace("|", "\\|")
