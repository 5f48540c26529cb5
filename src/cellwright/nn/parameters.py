"""Parameters: the packed weights of a layer, their names and their first values."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cellwright.compiler import Low, Param
from cellwright.language.graph import IDENTITY

ZERO_AT_FIRST = ("norm_shift",)
ONE_AT_FIRST = ("norm_gain",)

Params = tuple[Param, ...]


def attribute(param: Param, suffix: str) -> str:
    """Name a parameter's attribute: `weight_ih` + `_l0_reverse`.

    A bias of no matrix is `bias_l0` in a layer, but `bias_h` in a cell, whose `bias` says whether
    there are biases at all.
    """
    return param.name + (suffix or ("_h" if param.name == "bias" else ""))


def register(module: nn.Module, params: Params, suffix: str, **factory: object) -> None:
    """Give a module the parameters of a plan, named like torch's."""
    for param in params:
        made = torch.empty(param.shape, **factory)  # type: ignore[call-overload]
        module.register_parameter(attribute(param, suffix), nn.Parameter(made))


def weights(module: nn.Module, params: Params, suffix: str) -> tuple[Tensor, ...]:
    """Return a module's weights, in the order in which a plan takes them.

    They are looked up by name at every call, so whatever torch puts in a parameter's place counts:
    a parametrization, a pruned or normed weight, a tensor of `functional_call`.
    """
    return tuple(getattr(module, attribute(param, suffix)) for param in params)


def initialise(module: nn.Module, groups: Sequence[tuple[Params, str, int]]) -> None:
    """Draw parameters from U(-1/sqrt(H), 1/sqrt(H)) as torch does; norms start as the identity.

    What a cell's words say of a weight's start comes before that.
    groups: parameters, their suffix and H. Nothing changes where one of them cannot be drawn.
    """
    drawn = [
        (param, _own(module, attribute(param, suffix)), 1.0 / math.sqrt(hidden_size))
        for params, suffix, hidden_size in groups
        for param in params
    ]
    for param, weight, bound in drawn:
        if param.name.startswith(ONE_AT_FIRST):
            nn.init.ones_(weight)
        elif param.name.startswith(ZERO_AT_FIRST):
            nn.init.zeros_(weight)
        else:
            nn.init.uniform_(weight, -bound, bound)
        with torch.no_grad():
            _begin(param, weight)
            if param.mask is not None:
                weight.mul_(kept(param, weight))


def _begin(param: Param, weight: Tensor) -> None:
    """Give the rows of each equation that says how they start their first values."""
    for block in param.blocks:
        rows = weight[block.start : block.stop]
        if block.begins == IDENTITY:
            rows.copy_(torch.eye(*rows.shape, dtype=rows.dtype, device=rows.device))
        elif isinstance(block.begins, float):
            rows.fill_(block.begins)


# Which blocks of a matrix may hold something, by the number of their row and of their column.
MAY_HOLD: dict[Low, Callable[[Tensor, Tensor], Tensor]] = {
    Low.UPPER_BLOCKS: lambda row, column: row <= column,
    Low.DIAGONAL_BLOCKS: lambda row, column: row == column,
}


def kept(param: Param, like: Tensor) -> Tensor:
    """Return 1 where a matrix of blocks may be non-zero and 0 elsewhere, [rows, columns]."""
    assert param.mask is not None

    def module_of(width: int) -> Tensor:
        unit = torch.arange(1, width + 1, device=like.device)
        return (unit * param.modules - 1) // width

    rows = torch.cat([module_of(block.stop - block.start) for block in param.blocks])
    return MAY_HOLD[param.mask](rows[:, None], module_of(param.columns)).to(like.dtype)


def views(module: nn.Module, params: Params, suffix: str) -> dict[str, Tensor]:
    """Return each equation's weights as views: `{"f.x": [H, I], "f.h": [H, H], "f.bias": [H]}`."""
    return {
        block.key: _own(module, attribute(param, suffix)).detach()[block.start : block.stop]
        for param in params
        for block in param.blocks
    }


def _own(module: nn.Module, name: str) -> nn.Parameter:
    """Return a parameter that the module itself holds; what is computed cannot be written to."""
    parameter = module._parameters.get(name)
    if parameter is None:
        raise RuntimeError(
            f"{type(module).__name__}.{name} is computed from other parameters (a parametrization, "
            f"a norm, a pruning mask), so writing to it would change nothing: set those instead, "
            f"or read {name} itself"
        )
    return parameter
