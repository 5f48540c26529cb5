"""Trace selections: which steps, rows and units somebody wants, by their labels."""

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex, TypeGuard

import torch
from torch import Tensor

from cellwright.runtime.trail import TraceError

# One label, some of them, or a range of them; None is all.
Choice = int | slice | Sequence[int] | None


def picked(labels: Sequence[int], choice: Choice, what: str) -> tuple[int, ...]:
    """Return the positions of the labels that a choice means.

    A number is a label, one below zero counts from the end of `labels`; a slice is of labels and
    leaves its stop out, as Python's do. TraceError for a label that is not there.
    """
    if choice is None:
        return tuple(range(len(labels)))
    if isinstance(choice, slice):
        return _between(labels, choice, what)
    wanted = [index(choice)] if is_one(choice) else _listed(choice, what)
    at = {label: k for k, label in enumerate(labels)}
    found = []
    for k in wanted:
        label = labels[k] if -len(labels) <= k < 0 else k
        if label not in at:
            raise TraceError(f"{what}: expected {_said(labels)}, got {k}")
        found.append(at[label])
    return tuple(found)


def is_one(choice: object) -> TypeGuard[SupportsIndex]:
    """Tell whether a choice is of one label, whose dimension then goes."""
    if isinstance(choice, bool) or getattr(choice, "ndim", 0):  # an array of one is a list
        return False
    try:
        index(choice)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _listed(choice: object, what: str) -> list[int]:
    as_list = getattr(choice, "tolist", None)  # of a tensor or an array
    choice = as_list() if callable(as_list) else choice
    made = list(choice) if isinstance(choice, Sequence) else None
    if made is None or isinstance(choice, str) or not all(is_one(k) for k in made):
        raise TraceError(f"{what}: expected a number, a list of numbers or a slice, got {choice!r}")
    if not made or len(set(made)) < len(made):
        raise TraceError(f"{what}: expected one or more numbers, each once, got {choice!r:.60}")
    return [int(k) for k in made]


def _between(labels: Sequence[int], choice: slice, what: str) -> tuple[int, ...]:
    edges = [k for k in (choice.start, choice.stop, choice.step) if k is not None]
    if not all(is_one(k) for k in edges) or (choice.step is not None and choice.step < 1):
        raise TraceError(f"{what}: expected a slice of whole numbers, going up, got {choice}")
    start, stop = (_edge(labels, edge) for edge in (choice.start, choice.stop))
    inside = [
        k
        for k, label in enumerate(labels)
        if (start is None or label >= start) and (stop is None or label < stop)
    ]
    if not inside:
        raise TraceError(f"{what}: nothing in {choice}; expected some of {_said(labels)}")
    return tuple(inside[:: choice.step or 1])


def _edge(labels: Sequence[int], edge: int | None) -> int | None:
    if edge is None or edge >= 0 or not labels:
        return edge
    return labels[max(edge, -len(labels))]


def _said(labels: Sequence[int]) -> str:
    if len(labels) > 1 and tuple(labels) == tuple(range(labels[0], labels[-1] + 1)):
        return f"{labels[0]} to {labels[-1]}"
    return ", ".join(map(str, labels[:12])) + (", ..." if len(labels) > 12 else "")


def taken(values: Tensor, dim: int, positions: Sequence[int]) -> Tensor:
    """Take some positions along a dimension, in new memory unless it is all of them."""
    if len(positions) == values.shape[dim] and tuple(positions) == tuple(range(len(positions))):
        return values
    return values.index_select(dim, torch.tensor(positions, device=values.device))
