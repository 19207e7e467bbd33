"""Have the distributions of PyTorch tell when they are made, sampled, or asked for a probability.

A distribution is often made of others (``Independent``, mixtures, transformed ones), which it makes
and asks in turn. Only the outermost counts: it is what the model named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch.distributions import Distribution, Independent

Note = Callable[[Distribution, Any, tuple], None]


@contextlib.contextmanager
def watched(method: str, note: Note) -> Iterator[None]:
    """Have a method of every distribution note its result and arguments, inside this block.

    Parameters
    ----------
    method
        Its name, such as ``log_prob``.
    note
        Takes the distribution, the result, and all arguments in their order.
    """
    inside = False

    def noted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(self: Distribution, *args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:
                return original(self, *args, **kwargs)
            inside = True
            try:
                result = original(self, *args, **kwargs)
            finally:
                inside = False
            note(self, result, (*args, *kwargs.values()))
            return result

        return wrapped

    originals = {
        family: vars(family)[method] for family in _families(Distribution) if method in vars(family)
    }
    for family, original in originals.items():
        setattr(family, method, noted(original))
    try:
        yield
    finally:
        for family, original in originals.items():
            setattr(family, method, original)


def name_of(distribution: Distribution) -> str:
    """Return the name of a distribution's class; of what is inside, where it only adds up."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return type(distribution).__name__


def _families(base: type) -> set[type]:
    """Return a class and all that are derived from it."""
    return {base}.union(*(_families(family) for family in base.__subclasses__()))
