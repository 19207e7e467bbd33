"""PyTorch's own record of a training step, which it keeps to compute gradients.

An operation in it is a node that knows the operations before it (``next_functions``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# Where an operation of PyTorch multiplies two matrices: its name in the record of the step, and the
# positions of the two. (Position 0 of the "add" forms is the bias.)
PRODUCTS = {
    "AddmmBackward0": (1, 2),
    "AddmvBackward0": (1, 2),
    "BaddbmmBackward0": (1, 2),
    "BmmBackward0": (0, 1),
    "ConvolutionBackward0": (0, 1),
    "LinearBackward0": (0, 1),
    "MmBackward0": (0, 1),
    "MvBackward0": (0, 1),
}

# Where it takes a row out of a table of learned numbers.
LOOKUP = "EmbeddingBackward0"

# Where it puts tensors side by side.
JOIN = "CatBackward0"

# A likelihood that is computed as a loss function of PyTorch instead of by a distribution.
LOSS_FUNCTIONS = {
    "BinaryCrossEntropyBackward0": "Bernoulli",
    "BinaryCrossEntropyWithLogitsBackward0": "Bernoulli",
}

# These only change the shape of a tensor: its numbers stay the same.
RESHAPES = (
    "Alias",
    "Expand",
    "Permute",
    "Reshape",
    "Slice",
    "Squeeze",
    "TBackward",
    "Unsqueeze",
    "View",
)


def is_observed(target: torch.Tensor) -> bool:
    """Whether these are zeros and ones, as seen in cells.

    Computed probabilities are others, and so is a constant.
    """
    return set(target.unique().tolist()) == {0.0, 1.0}


def reachable(starts: list[Any]) -> dict[Any, None]:
    """Return all operations that lead to these, in PyTorch's record of the step."""
    found: dict[Any, None] = {}
    waiting = [start for start in starts if start is not None]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += [before for before, _ in node.next_functions if before is not None]
    return found


def same_numbers(node: Any) -> Iterator[Any]:
    """Give an operation, and those before it that hold the same numbers in another shape."""
    while node is not None:
        yield node
        if not node.name().startswith(RESHAPES):
            return
        node = node.next_functions[0][0]


def columns(value: Any) -> int | None:
    """Return the number of columns of a tensor, or of what an operation gives; None if it has none.

    Of an operation that gives several tensors, the first counts.
    """
    if isinstance(value, torch.Tensor):
        shape = value.shape
    elif hasattr(value, "variable"):
        shape = value.variable.shape
    else:
        shape = value._input_metadata[0].shape if value and value._input_metadata else ()
    return int(shape[-1]) if len(shape) else None


def joined(node: Any) -> Iterator[Any]:
    """Give the operations whose columns were put side by side to make those of this one.

    That is the operation itself if nothing was. Columns without a gradient are left out.
    """
    inside = node
    while inside is not None and inside.name().startswith(RESHAPES):
        inside = inside.next_functions[0][0]
    if inside is not None and inside.name() == JOIN and columns(inside) == columns(node):
        # -1 and the like are kept as whole numbers without a sign.
        along = inside._saved_dim % 2**64
        last = len(inside._input_metadata[0].shape) - 1
        if along in (last, 2**64 - 1):
            for part, _ in inside.next_functions:
                yield from joined(part)
            return
    if node is not None:
        yield node
