"""The checks of the exercises.

Each lesson has its own in ``lesson_NN``; what they are made of is beside them.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from types import ModuleType, TracebackType
from typing import Any

from IPython import get_ipython

from helpers.practice.exercises.replies import Exercise, Reply

__all__ = ["Checks", "of_lesson"]


def of_lesson(number: str) -> Checks:
    """Open the checks of a lesson.

    Parameters
    ----------
    number
        Of the lesson, as its name begins: ``"03"`` or ``"05b"``.

    Returns
    -------
    Checks
        With one method for each exercise. Hints begin anew.

    Raises
    ------
    ValueError
        If the lesson has no exercises.
    """
    there = [
        each.name for each in pkgutil.iter_modules(__path__) if each.name.startswith("lesson_")
    ]
    if f"lesson_{number}" not in there:
        known = ", ".join(name.removeprefix("lesson_") for name in sorted(there))
        raise ValueError(f"There is no lesson {number!r} with exercises. There are: {known}.")
    checks = Checks(importlib.import_module(f"{__name__}.lesson_{number}"))
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((NameError,), checks.explain_missing_answer)
    return checks


class Checks:
    """The checks of one lesson. Each call that finds an answer wrong adds the next hint.

    Parameters
    ----------
    module
        A module with functions made by :func:`helpers.practice.exercises.replies.exercise`.
    """

    def __init__(self, module: ModuleType) -> None:
        self.exercises = {
            name: value for name, value in vars(module).items() if isinstance(value, Exercise)
        }
        self.wrong: Counter[str] = Counter()

    def __dir__(self) -> list[str]:
        return sorted(self.exercises)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.exercises:
            there = ", ".join(self.exercises)
            raise AttributeError(f"There is no check {name!r} in this lesson. There are: {there}.")
        exercise = self.exercises[name]

        def check(*answers: Any, **named: Any) -> Reply:
            reply = exercise.reply(answers, named, hints_given=self.wrong[name])
            if reply.verdict == Reply.NOT_YET:
                self.wrong[name] += 1
            return reply

        check.__doc__ = exercise.__doc__
        check.__signature__ = inspect.signature(exercise.look)  # type: ignore[attr-defined]
        return check

    def answers(self) -> set[str]:
        """Return the names of all answers that the lesson asks for."""
        return {name for each in self.exercises.values() for name in each.answers}

    def explain_missing_answer(
        self,
        shell: Any,
        kind: type[BaseException],
        error: NameError,
        traceback: TracebackType,
        tb_offset: int | None = None,
    ) -> None:
        """Say what to do where a check is run before there is an answer.

        Show other errors as ever.
        """
        if error.name not in self.answers():
            shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
            return
        text = (
            f"There is no `{error.name}` yet. Run the cell with your answer first. "
            "If that cell stopped with an error, its last line says why: fix it, and run it again."
        )
        # Still an error, so that "Run All" stops here, and a grader gives no marks.
        shell._showtraceback(kind, NameError(text), [text])
