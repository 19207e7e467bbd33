"""Ways to look at a number, a word, names, several numbers, a function, or what it achieves.

Each returns a :class:`helpers.practice.exercises.replies.Reply`. What is compared is computed by
the caller from the lesson's own data and model, not stored.
"""

from __future__ import annotations

import copy
import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from helpers.practice.exercises.replies import Reply, not_yet, right


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give for a reason, and the reply that removes the reason.

    Parameters
    ----------
    value
        The number that this way of thinking leads to.
    reply
        What is right about it, and what is not.
    """

    value: float
    reply: str


def number(
    name: str,
    answer: Any,
    expected: float,
    *,
    praise: str,
    unit: str = "",
    tolerance: float = 0.0,
    mistakes: Sequence[Mistake] = (),
) -> Reply:
    """Look at a number.

    Parameters
    ----------
    name
        Of the learner's variable.
    answer
        What it holds.
    expected
        The right number.
    praise
        What to say of it: why it is right.
    unit
        For example "nats per cell".
    tolerance
        How far from ``expected`` is still right, in the unit.
    mistakes
        Compared in this order, with the same tolerance.
    """
    value, problem = as_number(name, answer, unit)
    if value is None:
        return not_yet(problem)
    # Computed numbers differ in the last digits.
    near = max(tolerance, 1e-9 * abs(expected))
    if abs(value - expected) <= near:
        return right(praise)
    for mistake in mistakes:
        if abs(value - mistake.value) <= max(tolerance, 1e-9 * abs(mistake.value)):
            return not_yet(mistake.reply)
    return not_yet(_how_wrong(name, value, expected, unit, near))


def as_number(name: str, answer: Any, unit: str = "") -> tuple[float | None, str]:
    """Return an answer as a number, or None and what is wrong with it."""
    wanted = f"a number{f' ({unit})' if unit else ''}"
    if isinstance(answer, str):
        return None, f"`{name}` is text. Write {wanted} without quotation marks."
    if isinstance(answer, bool):
        return None, f"`{name}` is {answer}. It should be {wanted}, not True or False."
    if callable(answer):
        return None, f"`{name}` is a function. Call it, and keep what it returns: {wanted}."
    if hasattr(answer, "detach"):  # a tensor, perhaps one that PyTorch follows
        answer = answer.detach().numpy()
    if getattr(answer, "size", None) == 1 and hasattr(answer, "item"):
        return as_number(name, answer.item(), unit)
    if hasattr(answer, "shape"):
        return None, (
            f"`{name}` has the shape {tuple(answer.shape)}. It should be one "
            f"number{f' ({unit})' if unit else ''}: have you forgotten a sum or a mean, or to pick "
            "one value?"
        )
    if not isinstance(answer, Real):
        return None, f"`{name}` is {a_kind(answer)}. It should be {wanted}."
    value = float(answer)
    if math.isnan(value):
        return (
            None,
            f"`{name}` is NaN, not a number. Somewhere 0 was divided by 0, or a value is missing.",
        )
    if math.isinf(value):
        return (
            None,
            f"`{name}` is infinite. Somewhere something was divided by 0, or the logarithm of 0 "
            "taken.",
        )
    return value, ""


def a_kind(value: Any) -> str:
    """Return the name of a value's type, with its article: "a list", "an int"."""
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeio' else 'a'} {kind}"


def model_problem(name: str, answer: Any, kind: type, how: str) -> str:
    """Say why an answer is no model of a kind, and how to make one; empty if it is one."""
    if isinstance(answer, type):
        return f"`{name}` is the class `{answer.__name__}`, not a model. Call it: {how}"
    if not isinstance(answer, kind):
        return f"`{name}` is {a_kind(answer)}. It should be a model: {how}"
    return ""


def _how_wrong(name: str, value: float, expected: float, unit: str, near: float) -> str:
    """Say what a wrong number has in common with the right one; never the right one."""
    shown = f"`{name}` is {value:,.6g}{f' {unit}' if unit else ''}."

    def is_close(to: float) -> bool:
        return abs(value - to) <= max(near, 1e-6 * abs(to))

    if is_close(-expected):
        return f"{shown} The size is right, the sign is not."
    if is_close(100 * expected):
        return f"{shown} That looks like per cent. The exercise asks for a share between 0 and 1."
    if is_close(expected / 100):
        return f"{shown} That looks like a share between 0 and 1. The exercise asks for per cent."
    if "nats" in unit and is_close(expected / math.log(2)):
        return f"{shown} That is in bits. Take the natural logarithm, and it is in nats."
    if abs(value - expected) <= 0.02 * abs(expected):
        return (
            f"{shown} That is very near. Have you rounded on the way, or left out something small?"
        )
    return f"{shown} That is too {'large' if value > expected else 'small'}."


def choice(
    name: str,
    answer: Any,
    expected: str,
    *,
    praise: str,
    others: Mapping[str, str],
) -> Reply:
    """Look at a word that is one of a few.

    Parameters
    ----------
    name
        Of the learner's variable.
    answer
        What it holds.
    expected
        The right word.
    praise
        Why it is right.
    others
        Each wrong word, and why it is wrong.
    """
    words = ", ".join(f'"{word}"' for word in sorted([expected, *others]))
    if not isinstance(answer, str):
        return not_yet(
            f"`{name}` is {a_kind(answer)}. Write one of these in quotation marks: {words}."
        )
    given = answer.strip().lower()
    if given == expected.lower():
        return right(praise)
    for word, reason in others.items():
        if given == word.lower():
            return not_yet(reason)
    return not_yet(f'"{answer}" is none of the words to choose from: {words}.')


def names(
    name: str,
    answer: Any,
    expected: Iterable[str],
    known: Iterable[str],
    *,
    praise: str,
    wrong: Mapping[str, str] | None = None,
    missing: Mapping[str, str] | None = None,
    spelling: Callable[[str], str] = str,
) -> Reply:
    """Look at a collection of names, in any order.

    Parameters
    ----------
    name
        Of the learner's variable.
    answer
        What it holds.
    expected
        The right names.
    known
        All names that exist, to tell a wrong one from a misspelt one.
    praise
        Why they are right.
    wrong, missing
        For names that people take by mistake or forget, the reason why they do not or do belong.
    spelling
        Turns each given name into the form of ``expected``, where several forms are meant alike.
    """
    expected, known = set(expected), set(known)
    given, problem = as_names(name, answer, known, spelling)
    if given is None:
        return not_yet(problem)
    taken, hit = set(given), len(set(given) & expected)
    if taken == expected:
        return right(praise)
    parts = [
        f"{hit} of your {len(taken)} {'name is' if len(taken) == 1 else 'names are'} right."
        if taken
        else f"`{name}` is empty."
    ]
    for each in sorted(taken - expected):
        parts.append((wrong or {}).get(each, f'"{each}" does not belong there.'))
    if lacking := sorted(expected - taken):
        parts += [(missing or {})[each] for each in lacking if each in (missing or {})]
        parts.append(f"{len(lacking)} {'is' if len(lacking) == 1 else 'are'} missing.")
    return not_yet(" ".join(parts))


def as_names(
    name: str, answer: Any, known: Iterable[str], spelling: Callable[[str], str] = str
) -> tuple[list[str] | None, str]:
    """Return an answer as a list of names that exist, or None and what is wrong with it."""
    if isinstance(answer, str):
        return None, f'`{name}` is one text. Write a list of names: `{name} = ["...", "..."]`.'
    try:
        given = list(answer)
    except (TypeError, NotImplementedError):
        return (
            None,
            f'`{name}` is {a_kind(answer)}. Write a list of names: `["...", "..."]`.',
        )
    odd = [each for each in given if not isinstance(each, str)]
    if odd:
        return (
            None,
            f"`{name}` should hold names (text in quotation marks); {odd[0]!r} is "
            f"{a_kind(odd[0])}.",
        )
    given, known = list(map(spelling, given)), set(known)
    unknown = [each for each in given if each not in known]
    if unknown:
        return None, f'"{unknown[0]}" does not exist here. Look how the names are spelt.'
    return given, ""


def numbers(
    name: str,
    answer: Any,
    expected: np.ndarray,
    *,
    praise: str,
    unit: str = "",
    tolerance: float = 1e-6,
    mistakes: Sequence[tuple[np.ndarray, str]] = (),
) -> Reply:
    """Look at an array, a column or a list of numbers.

    Parameters
    ----------
    name
        Of the learner's variable.
    answer
        What it holds; a sparse matrix will do.
    expected
        The right numbers, any shape.
    praise
        Why they are right.
    unit
        For example "counts".
    tolerance
        Largest difference of one number that is still right, in the unit.
    mistakes
        Arrays that a way of thinking leads to, with the reply to it. They may have another shape.
    """
    wanted = np.asarray(expected, dtype=float)
    given, problem = _as_array(name, answer, wanted.shape)
    if given is None:
        return not_yet(problem)
    for wrong, reply in mistakes:
        wrong = np.asarray(wrong, dtype=float)
        if given.shape == wrong.shape and np.allclose(given, wrong, rtol=1e-6, atol=tolerance):
            return not_yet(reply)
    if given.ndim == 0 and wanted.ndim:
        return not_yet(
            f"`{name}` is one number. It should hold {wanted.size:,}, with the shape "
            f"{wanted.shape}."
        )
    if given.shape != wanted.shape:
        turned = (
            " Have rows and columns changed places?" if given.shape == wanted.shape[::-1] else ""
        )
        return not_yet(
            f"`{name}` has the shape {given.shape}; it should be {wanted.shape}.{turned}"
        )
    if missing := int(np.isnan(given).sum()):
        return not_yet(
            f"{missing:,} of the {given.size:,} numbers in `{name}` are NaN: 0 was divided by 0, "
            "or values are missing."
        )
    good = np.isclose(given, wanted, rtol=1e-6, atol=tolerance)
    if good.all():
        return right(praise)
    if np.allclose(given, -wanted, rtol=1e-6, atol=tolerance):
        return not_yet(f"All numbers in `{name}` have the right size and the wrong sign.")
    if np.allclose(
        np.sort(given, axis=None), np.sort(wanted, axis=None), rtol=1e-6, atol=tolerance
    ):
        return not_yet(f"`{name}` holds the right numbers in another order.")
    return not_yet(
        f"{good.sum():,} of the {good.size:,} numbers in `{name}`{f' ({unit})' if unit else ''} "
        "are right."
    )


def _as_array(name: str, answer: Any, shape: tuple[int, ...]) -> tuple[np.ndarray | None, str]:
    """Return an answer as an array of numbers, or None and what is wrong with it."""
    if isinstance(answer, str) or callable(answer):
        kind = "text" if isinstance(answer, str) else "a function"
        return None, f"`{name}` is {kind}. It should hold numbers, with the shape {shape}."
    given = _floats(answer)
    if given is None:
        return (
            None,
            f"`{name}` is {a_kind(answer)} and does not hold only numbers. It should have the "
            f"shape {shape}.",
        )
    return given, ""


def _floats(answer: Any) -> np.ndarray | None:
    """Return numbers in any container as an array.

    It is None where there is anything else, text of digits too.
    """
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    if hasattr(answer, "detach"):
        answer = answer.detach()
    try:
        if np.asarray(answer).dtype.kind in "US":
            return None
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return None


def function(
    name: str,
    answer: Any,
    cases: Sequence[tuple[tuple[Any, ...], Any]],
    *,
    praise: str,
    tolerance: float = 1e-6,
    mistakes: Sequence[tuple[Callable[..., Any], str]] = (),
) -> Reply:
    """Look at a function: call it, and look at what it returns.

    Parameters
    ----------
    name
        Of the learner's function.
    answer
        What the name holds.
    cases
        Arguments, and the number or array to be returned for them.
    praise
        Why it is right.
    tolerance
        Largest difference that is still right.
    mistakes
        Functions that people write, with the reply to each. One that returns the same as the
        learner's in all cases is taken for it.
    """
    if not callable(answer):
        return not_yet(
            f"`{name}` is {a_kind(answer)}. It should be a function: begin with `def {name}(`."
        )
    returned = []
    for arguments, _ in cases:
        value, problem = call(name, answer, arguments)
        if problem:
            return not_yet(problem)
        returned.append(value)

    def agree(wanted: Sequence[Any]) -> list[bool]:
        return [_same(value, each, tolerance) for value, each in zip(returned, wanted, strict=True)]

    good = agree([expected for _, expected in cases])
    if all(good):
        return right(praise)
    for wrong, reply in mistakes:
        if all(agree([wrong(*copy.deepcopy(arguments)) for arguments, _ in cases])):
            return not_yet(reply)
    arguments, expected = cases[good.index(False)]
    value = returned[good.index(False)]
    return not_yet(
        f"{sum(good)} of {len(good)} trials are right. {_written(name, arguments)} returns "
        f"{_short(value)}; expected was {_short(expected)}."
    )


def call(name: str, answer: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, str]:
    """Call a learner's function with copies of arguments.

    Return its value, and what went wrong, if anything.
    """
    written = _written(name, arguments)
    try:
        value = answer(*copy.deepcopy(list(arguments)))
    except KeyboardInterrupt:
        return None, f"You stopped {written} while it ran. Is there a loop in it that never ends?"
    except (Exception, SystemExit) as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.name == getattr(answer, "__name__", "")
        ]
        where = f" in its line `{frames[-1].line}`" if frames and frames[-1].line else ""
        return None, f"{written} stopped{where} with {type(error).__name__}: {error}."
    if value is None:
        return None, f"{written} returns nothing. Does its last line begin with `return`?"
    return value, ""


def _same(value: Any, expected: Any, tolerance: float) -> bool:
    """Tell whether two numbers or arrays are the same, apart from rounding."""
    given, wanted = _floats(value), np.asarray(expected, dtype=float)
    if given is None:
        return False
    return given.shape == wanted.shape and np.allclose(given, wanted, rtol=1e-6, atol=tolerance)


def _written(name: str, arguments: Sequence[Any]) -> str:
    return f"`{name}({', '.join(map(_short, arguments))})`"


def _short(value: Any) -> str:
    shape = getattr(value, "shape", ())
    if shape and np.size(value) > 6:
        return f"<{type(value).__name__} of shape {tuple(shape)}>"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return (
        np.array2string(value, precision=4, separator=", ")
        if isinstance(value, np.ndarray)
        else repr(value)
    )


def requirements(*facts: tuple[bool, str, str], praise: str) -> Reply:
    """Look at what an answer achieves, where many answers are right.

    Parameters
    ----------
    facts
        Whether a requirement is met, what to say if it is, and what to say if not.
    praise
        What to say if all are met.
    """
    if all(met for met, _, _ in facts):
        return right(praise)
    said = [
        f"{Reply.SIGNS[Reply.RIGHT]} {yes}" if met else f"{Reply.SIGNS[Reply.NOT_YET]} {no}"
        for met, yes, no in facts
    ]
    return not_yet(" ".join(said))


def combine(*replies: Reply) -> Reply:
    """Join the replies to the parts of an answer; it is right if all parts are."""
    if all(reply.is_right for reply in replies):
        return right(" ".join(reply.text for reply in replies))
    return not_yet(" ".join(f"{Reply.SIGNS[reply.verdict]} {reply.text}" for reply in replies))
