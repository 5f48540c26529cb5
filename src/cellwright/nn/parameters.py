"""Parameters: the packed weights of a layer, their names and their first values."""

import math

import torch
from torch import Tensor, nn

from cellwright.compiler import Param

ZERO_AT_FIRST = ("norm_shift",)
ONE_AT_FIRST = ("norm_gain",)


def register(module: nn.Module, params: tuple[Param, ...], suffix: str, **factory: object) -> None:
    """Give a module the parameters of a plan, named like torch's: `weight_ih` + `_l0_reverse`."""
    for param in params:
        made = torch.empty(param.shape, **factory)  # type: ignore[call-overload]
        module.register_parameter(param.name + suffix, nn.Parameter(made))


def initialise(weight: Tensor, param: Param, hidden_size: int) -> None:
    """Draw a parameter from U(-1/sqrt(H), 1/sqrt(H)) as torch does; norms start as the identity."""
    if param.name.startswith(ONE_AT_FIRST):
        nn.init.ones_(weight)
    elif param.name.startswith(ZERO_AT_FIRST):
        nn.init.zeros_(weight)
    else:
        bound = 1.0 / math.sqrt(hidden_size)
        nn.init.uniform_(weight, -bound, bound)
    if param.upper_blocks:
        with torch.no_grad():
            weight.mul_(upper_blocks(param, weight))


def upper_blocks(param: Param, like: Tensor) -> Tensor:
    """Return 1 where a block-triangular matrix may be non-zero and 0 elsewhere, [rows, columns]."""

    def module_of(width: int) -> Tensor:
        unit = torch.arange(1, width + 1, device=like.device)
        return (unit * param.upper_blocks - 1) // width

    return (module_of(param.rows)[:, None] <= module_of(param.columns)).to(like.dtype)


def views(params: tuple[Param, ...], weights: list[Tensor]) -> dict[str, Tensor]:
    """Return each equation's weights as views: `{"f.x": [H, I], "f.h": [H, H], "f.bias": [H]}`."""
    return {
        block.key: weight.detach()[block.start : block.stop]
        for param, weight in zip(params, weights, strict=True)
        for block in param.blocks
    }
