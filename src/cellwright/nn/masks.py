"""Masks: what a layer draws while it trains, for the inputs of its cell that are masks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellwright.compiler import Param
from cellwright.language.graph import Graph
from cellwright.language.masks import masks

Tensors = tuple[Tensor, ...]


def draw(graph: Graph, widths: Sequence[int], like: Tensor) -> Tensors:
    """Draw a cell's masks, [T, B, width] each, for an input `like`, [T, B, ...].

    widths: one for each mask. They come from torch's generator of the input's device, in the order
    of the declaration: one seed gives one set of masks, whatever path runs.
    """
    steps, batch = like.shape[:2]
    drawn = []
    for slot, width in zip(masks(graph), widths, strict=True):
        held = 1 if slot.per_sequence else steps
        mask = _kept(like.new_empty(held, batch, width), slot.rate, slot.high)
        drawn.append(mask.expand(steps, batch, width))
    return tuple(drawn)


def drop_weights(params: Sequence[Param], weights: Tensors) -> Tensors:
    """Return a cell's weights with DropConnect on the blocks that have a rate for it."""
    return tuple(
        weight * _weight_mask(param, weight) if any(b.drop for b in param.blocks) else weight
        for param, weight in zip(params, weights, strict=True)
    )


def _weight_mask(param: Param, weight: Tensor) -> Tensor:
    """Draw the mask of a packed parameter, 1 in the rows that are not dropped."""
    parts = [
        _kept(torch.empty_like(rows), block.drop, 1 / (1 - block.drop))
        if block.drop
        else torch.ones_like(rows)
        for block in param.blocks
        for rows in (weight[block.start : block.stop],)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _kept(empty: Tensor, rate: float, high: float) -> Tensor:
    """Fill a tensor with zeros at a rate, and `high` elsewhere."""
    drawn = torch.bernoulli(torch.full_like(empty.detach(), 1 - rate))
    return drawn if high == 1 else drawn * high


def draws(graph: Graph) -> bool:
    """Tell whether a layer of the cell draws anything while it trains."""
    return bool(masks(graph)) or any(node.attr("drop") for node in graph.nodes)


def shown(graph: Graph) -> list[str]:
    """Say what is drawn and at which rate, for a layer's repr: `mask_h=0.05`."""
    rates = dict.fromkeys(node.attr("drop") for node in graph.nodes if node.attr("drop"))
    weights = [f"weight_drop={rate:g}" for rate in rates]
    return [f"{slot.name}={slot.rate:g}" for slot in masks(graph)] + weights


def once_per_sequence(graph: Graph) -> str | None:
    """Name what holds for a whole sequence, which a single step cannot draw; None: nothing."""
    held = [slot.name for slot in masks(graph) if slot.per_sequence]
    if held:
        return held[0]
    return "the mask of its weights" if any(node.attr("drop") for node in graph.nodes) else None
