"""The answers that are tried in every exercise of a lesson, and what has to be replied to them."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from helpers.practice import exercises
from helpers.practice.exercises import parts
from tests.notebooks.needed_cells import names

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

# The least number of typical wrong answers that an exercise knows a reply to.
LEAST_WRONG = 2


@dataclass(frozen=True)
class Trial:
    """An answer that is tried.

    Parameters
    ----------
    kind
        ``"stub"``, ``"odd"``, ``"wrong"`` or ``"solution"``.
    code
        What the learner's cell holds.
    words
        A part of the reply that was made for this answer; empty where any reply of its kind will
        do.
    """

    kind: str
    code: str
    words: str = ""


@dataclass(frozen=True)
class Outcome:
    """What the check said: the reply without its hint, the hint, and the error if there was one."""

    said: str
    hint: str
    error: str


def number_of(stem: str) -> str:
    """Return the number in a lesson's name."""
    return stem.partition("_")[0]


def wrong_answers(stem: str) -> dict[str, list[tuple[str, str]]]:
    """Return the typical wrong answers of a lesson: for each check, code and words of the reply."""
    return importlib.import_module(f"tests.helpers.practice.lesson_{number_of(stem)}").WRONG


def trials(stem: str, notebook: NotebookNode, part: parts.Part) -> list[Trial]:
    """List the answers to try in an exercise: stub, odd ones, the solution, and last wrong ones.

    Wrong ones may take from the dict ``solved`` what the solution has made, such as a model.

    Parameters
    ----------
    stem
        The lesson's name.
    notebook, part
        The lesson, and the exercise in it.
    """
    check = parts.check_name(notebook.cells[part.check].source)
    answers = exercises.of_lesson(number_of(stem)).exercises[check].answers
    return [
        Trial("stub", notebook.cells[part.stub].source),
        *(Trial("odd", "\n".join(f"{name} = {odd}" for name in answers)) for odd in ODD),
        Trial("solution", part.code),
        *(Trial("wrong", code, words) for code, words in wrong_answers(stem)[check]),
    ]


def outcome(outputs: Sequence[Mapping[str, Any]]) -> Outcome:
    """Read what a check said from the outputs of its cell."""
    errors = ["\n".join(out["traceback"]) for out in outputs if out["output_type"] == "error"]
    said = [out["data"]["text/plain"] for out in outputs if out["output_type"] == "execute_result"]
    text, _, hint = (said[-1] if said else "").partition("\nHint ")
    return Outcome(text, hint, re.sub(r"\x1b\[[\d;]*m", "", "\n".join(errors)))


def faults(tried: Iterable[tuple[Trial, Outcome]]) -> list[str]:
    """Compare what a check said with what it has to say.

    Returns
    -------
    list
        A sentence for each fault, with the answer and the reply.
    """
    tried = list(tried)
    found = []
    for trial, told in tried:
        found += [
            f"{trial.kind} answer\n{trial.code}\n{fault}; {told}" for fault in _of(trial, told)
        ]
    n_wrong = sum(trial.kind == "wrong" for trial, _ in tried)
    if n_wrong < LEAST_WRONG:
        found.append(f"{n_wrong} typical wrong answers are tried; {LEAST_WRONG} are the least")
    return found


def _of(trial: Trial, told: Outcome) -> Iterator[str]:
    """Give the faults in the reply to one answer."""
    starts = {
        "stub": ("… Not answered yet.",),
        "odd": ("✗ Not yet.", "… Not answered yet."),
        "wrong": ("✗ Not yet.",),
        "solution": ("✓ Right.",),
    }[trial.kind]
    if told.error:
        yield f"stops with an error:\n{told.error}"
        return
    if not told.said.startswith(starts):
        yield f"the reply does not begin with {' or '.join(starts)}"
    if trial.words not in told.said:
        yield f"the reply lacks the words {trial.words!r}"
    if trial.kind == "odd" and "could not make sense" in told.said:
        yield "the check is at a loss"
    if trial.kind == "stub" and told.hint:
        yield "a hint before an answer"
    if trial.kind == "wrong" and not told.hint:
        yield "there is no hint"


def bound(code: str) -> set[str]:
    """Return the names that code binds, functions too."""
    functions = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    return functions | {
        name
        for node in ast.parse(code).body
        for name in names(ast.unparse(node), ast.Store)
        if not isinstance(node, ast.FunctionDef)
    }
