"""What a check replies to a learner's answer, and the exercise that it belongs to."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from IPython.display import display


@dataclass(frozen=True)
class Reply:
    """What a check says.

    Parameters
    ----------
    verdict
        One of the three below.
    text
        What is right, what is wrong.
    hint
        The next hint, with its number; empty if there is none.
    """

    verdict: str
    text: str
    hint: str = ""

    RIGHT: ClassVar[str] = "Right"
    NOT_YET: ClassVar[str] = "Not yet"
    NOT_ANSWERED: ClassVar[str] = "Not answered yet"

    # The sign beside the word is for those who look; nobody has to tell red from green.
    SIGNS: ClassVar[Mapping[str, str]] = {RIGHT: "✓", NOT_YET: "✗", NOT_ANSWERED: "…"}

    def __repr__(self) -> str:
        said = f"{self.SIGNS[self.verdict]} {self.verdict}. {self.text}"
        return f"{said}\n{self.hint}" if self.hint else said

    def _repr_markdown_(self) -> str:
        said = f"**{self.SIGNS[self.verdict]} {self.verdict}.** {self.text}"
        return f"{said}\n\n*{self.hint}*" if self.hint else said

    @property
    def is_right(self) -> bool:
        """Whether the answer is right."""
        return self.verdict == self.RIGHT

    def marks(self, maximum: float) -> float:
        """Show the reply and return the marks for it.

        Nbgrader takes the number that a cell ends with.

        Parameters
        ----------
        maximum
            For a right answer. Every other gets 0.
        """
        display(self)
        return maximum if self.is_right else 0


def right(text: str) -> Reply:
    """Make the reply to a right answer."""
    return Reply(Reply.RIGHT, text)


def not_yet(text: str) -> Reply:
    """Make the reply to a wrong answer."""
    return Reply(Reply.NOT_YET, text)


class Exercise:
    """A question with a check and its hints.

    Parameters
    ----------
    look
        Gets the answers and what else it needs from the lesson, and returns a :class:`Reply`. A
        parameter without a default is an answer, and has the name that the learner gives it; what
        it needs from the lesson comes after ``*``.
    hints
        From a nudge to nearly the answer.
    """

    def __init__(self, look: Callable[..., Reply], hints: Sequence[str]) -> None:
        self.look = look
        self.hints = tuple(hints)
        self.__doc__ = look.__doc__
        self.answers = [
            parameter.name
            for parameter in inspect.signature(look).parameters.values()
            if parameter.kind is not parameter.KEYWORD_ONLY
        ]

    def reply(self, answers: Sequence[Any], named: Mapping[str, Any], hints_given: int) -> Reply:
        """Look at answers, with the next hint if they are wrong.

        Parameters
        ----------
        answers
            In the order of ``self.answers``.
        named
            What the check needs from the lesson.
        hints_given
            How often the answers were wrong before.

        Raises
        ------
        TypeError
            If the call itself is not one of this check: too few or too many answers.
        """
        given = inspect.signature(self.look).bind(*answers, **named).arguments
        open_ones = [name for name in self.answers if untouched(given[name])]
        if open_ones:
            names = " and ".join(f"`{name}`" for name in open_ones)
            return Reply(
                Reply.NOT_ANSWERED,
                f"Put your answer for {names} into the cell above in place of `...`, run that "
                "cell, then this one.",
            )
        try:
            reply = self.look(*answers, **named)
        except Exception as error:  # whatever a learner can make that no check thought of
            reply = not_yet(
                f"This check could not make sense of your answer ({type(error).__name__}: "
                f"{error}). Look at its type and shape: is it what the exercise asks for?"
            )
        if reply.verdict == Reply.NOT_YET and self.hints:
            number = min(hints_given, len(self.hints) - 1)
            hint = f"Hint {number + 1} of {len(self.hints)}: {self.hints[number]}"
            return replace(reply, hint=hint)
        return reply


def untouched(answer: Any) -> bool:
    """Tell whether an answer is still the one of the stub.

    That is ``...``, None, or a function that returns it.
    """
    if answer is ... or answer is None:
        return True
    if not inspect.isfunction(answer):
        return False
    steps = list(dis.get_instructions(answer))
    returned = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in steps} <= _STEPS_OF_A_STUB and set(returned) <= {None, ...}


# What Python makes of a function whose body is `...`, in all versions from 3.11 on.
_STEPS_OF_A_STUB = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


def exercise(*hints: str) -> Callable[[Callable[..., Reply]], Exercise]:
    """Make an exercise of a function that looks at answers.

    Parameters
    ----------
    hints
        At least one; each wrong answer brings the next.
    """
    if not hints:
        raise ValueError("An exercise needs a hint.")
    return lambda look: Exercise(look, hints)
