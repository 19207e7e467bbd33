"""Answers to the exercises of a lesson, given in a real kernel after the cells that the check needs."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbclient
import nbformat

from helpers.paths import ROOT
from helpers.practice import exercises
from helpers.practice.exercises import parts
from tests.notebooks.needed_cells import names, needed
from tests.notebooks.one_at_a_time import turn

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What learners leave in a variable by accident, or bring from elsewhere.
ODD = (
    "None",
    "'12'",
    "''",
    "float('nan')",
    "float('inf')",
    "-1e9",
    "1j",
    "True",
    "[]",
    "[1, 2, 3]",
    "['x', None]",
    "{}",
    "{'a': 1}",
    "object()",
    "print",
    "lambda *given: 1 / 0",
    "lambda *given: given[99]",
    "lambda: 3",
    "int",
    "Ellipsis",
    "__import__('numpy').zeros((3, 4))",
    "__import__('numpy').full(5, float('nan'))",
    "__import__('pandas').DataFrame({'a': [1, None], 'b': ['x', 'y']})",
    "__import__('scipy.sparse').sparse.eye(3)",
    "__import__('torch').ones(2, requires_grad=True)",
    "__import__('anndata').AnnData()",
)


@dataclass(frozen=True)
class Trial:
    """An answer that is tried: the exercise's title, what kind of answer, and the code of it."""

    exercise: str
    kind: str
    code: str


@dataclass(frozen=True)
class Outcome:
    """What the check said: the reply without its hint, the hint, and the error if there was one."""

    said: str
    hint: str
    error: str


def number_of(lesson: Path) -> str:
    """Return the number in a lesson's name."""
    return lesson.stem.partition("_")[0]


@cache
def read(lesson: Path) -> nbformat.NotebookNode:
    """Read a stored lesson."""
    return nbformat.read(lesson, as_version=4)


def wrong_answers(lesson: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the typical wrong answers of a lesson: for each check, code and words of the reply."""
    return importlib.import_module(f"tests.helpers.practice.lesson_{number_of(lesson)}").WRONG


def check_of(lesson: Path, part: parts.Part) -> str:
    """Return the name of the check of an exercise."""
    return parts.check_name(read(lesson).cells[part.check].source)


def trials(lesson: Path) -> list[Trial]:
    """List the answers to try: stub, odd ones, wrong ones, and at last the solution."""
    found = []
    for part in parts.find(read(lesson)):
        check = check_of(lesson, part)
        found.append(Trial(part.title, "stub", read(lesson).cells[part.stub].source))
        answers = exercises.of_lesson(number_of(lesson)).exercises[check].answers
        for odd in ODD:
            code = "\n".join(f"{name} = {odd}" for name in answers)
            found.append(Trial(part.title, "odd", code))
        found += [Trial(part.title, "wrong", code) for code, _ in wrong_answers(lesson)[check]]
        found.append(Trial(part.title, "solution", part.code))
    return found


@cache
def outcomes(lesson: Path) -> dict[Trial, Outcome]:
    """Try all answers in one kernel, after the cells of the lesson that the checks need."""
    cells = read(lesson).cells
    found = {part.title: part for part in parts.find(read(lesson))}
    parts_of_exercises = {place for part in found.values() for place in (part.stub, part.check)}
    sources = [
        cell.source if cell.cell_type == "code" and number not in parts_of_exercises else ""
        for number, cell in enumerate(cells)
    ]
    tried = trials(lesson)
    used = "\n".join(
        [cells[part.check].source for part in found.values()] + [each.code for each in tried]
    )
    before = needed([*sources, used], len(sources))[:-1]
    code = [sources[number] for number in before]
    code += [f"{each.code}\n{cells[found[each.exercise].check].source}" for each in tried]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in code]
    )
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    )
    with turn(lesson), client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.allow_errors = number >= len(before)
            client.execute_cell(cell, number)
    replies = notebook.cells[len(before) :]
    return {each: _outcome(cell) for each, cell in zip(tried, replies, strict=True)}


def _outcome(cell: nbformat.NotebookNode) -> Outcome:
    """Read what a check said."""
    error = "\n".join(
        "\n".join(out.traceback) for out in cell.outputs if out.output_type == "error"
    )
    said = [out.data["text/plain"] for out in cell.outputs if out.output_type == "execute_result"]
    text, _, hint = (said[-1] if said else "").partition("\nHint ")
    return Outcome(text, hint, error)


def bound(code: str) -> set[str]:
    """Return the names that code binds, functions too."""
    functions = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    return functions | {
        name
        for node in ast.parse(code).body
        for name in names(ast.unparse(node), ast.Store)
        if not isinstance(node, ast.FunctionDef)
    }
