"""The terms that a module reports of its loss, and what each of them adds to it.

Nothing is taken from a formula. What a term adds is the term times the derivative of the loss with
respect to it, which PyTorch knows in each step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from scvi.module.base import LossOutput
from torch.autograd.graph import GradientEdge

# A term that was computed anew for the report is named if the loss moves with it like this, as a
# share of how the loss moves: 4-byte floats leave a trace of rounding.
UNEXPLAINED = 1e-3

# Further numbers that a module reports are no terms if the loss does not depend on them: this share
# of the loss is rounding.
NOTHING = 1e-7


class Terms(NamedTuple):
    """What a module reports of a minibatch, by its own names.

    Attributes
    ----------
    reconstruction, kl_local, kl_global, other
        Tensors with a number for each cell, or one for all. ``other`` is the loss of a classifier,
        and whatever the module calls extra metrics.
    """

    reconstruction: dict[str, torch.Tensor]
    kl_local: dict[str, torch.Tensor]
    kl_global: dict[str, torch.Tensor]
    other: dict[str, torch.Tensor]

    @property
    def all(self) -> dict[str, torch.Tensor]:
        """All terms by name."""
        return {**self.other, **self.reconstruction, **self.kl_local, **self.kl_global}


def reported(loss: LossOutput) -> Terms:
    """Return the terms that a module reports, as tensors, whatever it made them of."""
    other: dict[str, Any] = {}
    for name, value in (loss.extra_metrics or {}).items():
        # What is more than a number for each cell, such as positions, is no term.
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim < 2:
            other[name] = value
    if loss.classification_loss is not None:
        other["classification_loss"] = loss.classification_loss
    return Terms(
        _tensors(loss.reconstruction_loss),
        _tensors(loss.kl_local),
        _tensors(loss.kl_global),
        _tensors(other),
    )


def slopes(loss: LossOutput, terms: Terms) -> dict[str, torch.Tensor]:
    """Return the derivative of the loss with respect to each term that it is known to hold.

    Parameters
    ----------
    loss
        What the module returned for a training step.
    terms
        What it reports there.

    Returns
    -------
    dict
        Tensors in the shape of the terms. A term that was computed anew for the report is no part
        of the loss to PyTorch. It gets the one weight with which the loss moves like it wherever
        both are computed from the same numbers, if there is such a weight; else it is left out, as
        is a term without a derivative.
    """
    total = loss.loss.sum()
    learned = {name: term for name, term in terms.all.items() if term.requires_grad}
    direct = torch.autograd.grad(
        total, list(learned.values()), retain_graph=True, allow_unused=True
    )
    known = {name: slope for name, slope in zip(learned, direct, strict=True) if slope is not None}
    whole = loss.loss.grad_fn, loss.loss.output_nr
    # scvi-tools fills what a module does not report with 0 x loss.
    anew = {
        name: term
        for name, term in learned.items()
        if name not in known and whole not in _edges(term)
    }
    if anew:
        rest = total - sum((known[name] * learned[name]).sum() for name in known)
        for name, weight in _weights_of_copies(rest, anew).items():
            known[name] = torch.full_like(anew[name], weight)
    return {
        name: slope
        for name, slope in known.items()
        if name not in terms.other or _matters(slope, learned[name], total)
    }


def _tensors(parts: Any) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value).float() for name, value in (parts or {}).items()}


def _matters(slope: torch.Tensor, term: torch.Tensor, total: torch.Tensor) -> bool:
    added = (slope * term.detach()).sum().abs()
    return bool(added > NOTHING * total.detach().abs())


def _weights_of_copies(rest: torch.Tensor, terms: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return one weight for each term, so that the rest of a loss moves like their weighted sum.

    Where all of them together do not explain it, each is tried alone; those that do not either are
    left out.
    """
    together = _common_weights(rest, terms)
    if together or len(terms) == 1:
        return together
    alone = [_common_weights(rest, {name: term}) for name, term in terms.items()]
    return {name: weight for found in alone for name, weight in found.items()}


def _common_weights(rest: torch.Tensor, terms: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the weights of terms that explain the rest where their computations meet, or none."""
    meeting = _meeting_edges(rest, list(terms.values()))
    if not meeting:
        return {}

    def derivative(value: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(value, meeting, retain_graph=True, allow_unused=True)
        shapes = [edge.node._input_metadata[edge.output_nr].shape for edge in meeting]
        return torch.cat(
            [
                (torch.zeros(shape) if part is None else part.cpu()).reshape(-1).double()
                for part, shape in zip(parts, shapes, strict=True)
            ]
        )

    moves = derivative(rest)
    of_terms = torch.stack([derivative(term.sum()) for term in terms.values()], dim=1)
    weights = torch.linalg.lstsq(of_terms, moves[:, None], driver="gelsd").solution[:, 0]
    if (moves - of_terms @ weights).norm() > UNEXPLAINED * moves.norm():
        return {}
    return dict(zip(terms, weights.tolist(), strict=True))


def _meeting_edges(rest: torch.Tensor, terms: list[torch.Tensor]) -> list[GradientEdge]:
    """Return where the computations of some terms meet that of the loss, coming from the terms."""
    in_loss = _edges(rest)
    meeting, seen = [], set()
    waiting = [(term.grad_fn, term.output_nr) for term in terms]
    while waiting:
        edge = waiting.pop()
        if edge[0] is None or edge in seen:
            continue
        seen.add(edge)
        if edge in in_loss:
            meeting.append(GradientEdge(*edge))
        else:
            waiting += edge[0].next_functions
    return meeting


def _edges(value: torch.Tensor) -> set[tuple[Any, int]]:
    """Return all that a value was computed from, as PyTorch's operations and their outputs."""
    seen: set[tuple[Any, int]] = set()
    waiting = [(value.grad_fn, value.output_nr)]
    while waiting:
        edge = waiting.pop()
        if edge[0] is not None and edge not in seen:
            seen.add(edge)
            waiting += edge[0].next_functions
    return seen
