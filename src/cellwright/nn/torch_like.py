"""`LSTM`, `GRU`, `RNN`: drop-ins for torch.nn's layers, same arguments, parameters and numbers."""

from typing import ClassVar

import torch

from cellwright import cells
from cellwright.language import Cell
from cellwright.nn.recurrent import Recurrent

NONLINEARITIES = {"tanh": "rnn", "relu": "rnn-relu"}

Device = torch.device | str | int | None


class _TorchLike(Recurrent):
    """What the three share: torch's name for the kind of layer, and both of its biases."""

    __constants__: ClassVar[list[str]] = ["mode", *Recurrent.__constants__]

    mode: str


class LSTM(_TorchLike):
    """torch.nn.LSTM's arguments, parameters and numbers; for the rest see `Recurrent`.

    Both of torch's biases are kept: what acts is `f.bias + f.bias_h`, so setting a forget bias
    exactly means to zero the second: `layer.blocks()["f.bias_h"].zero_()`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        learn_start: bool = False,
        backend: str = "auto",
        recompute: bool | int = False,
    ) -> None:
        super().__init__(
            cells.CATALOGUE["lstm-projected" if proj_size else "lstm"],
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout),
            *(bidirectional, proj_size, device, dtype),
            learn_start=learn_start,
            split_bias=True,
            backend=backend,
            recompute=recompute,
        )
        self.mode = "LSTM"


class GRU(_TorchLike):
    """torch.nn.GRU's arguments, parameters and numbers; for the rest see `Recurrent`.

    `proj_size` has its place among the arguments, as in torch, but no other value than 0.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        learn_start: bool = False,
        backend: str = "auto",
        recompute: bool | int = False,
    ) -> None:
        super().__init__(
            _without_projection(cells.CATALOGUE["gru"], proj_size),
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout),
            *(bidirectional, 0, device, dtype),
            learn_start=learn_start,
            split_bias=True,
            backend=backend,
            recompute=recompute,
        )
        self.mode = "GRU"


class RNN(_TorchLike):
    """torch.nn.RNN's arguments, parameters and numbers; for the rest see `Recurrent`.

    `nonlinearity` is `"tanh"` or `"relu"`, the fourth argument as in torch. `proj_size` has its
    place among the arguments, as in torch, but no other value than 0.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        learn_start: bool = False,
        backend: str = "auto",
        recompute: bool | int = False,
    ) -> None:
        super().__init__(
            _without_projection(simple_cell(nonlinearity), proj_size),
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout),
            *(bidirectional, 0, device, dtype),
            learn_start=learn_start,
            split_bias=True,
            backend=backend,
            recompute=recompute,
        )
        self.nonlinearity = nonlinearity
        self.mode = f"RNN_{nonlinearity.upper()}"


def simple_cell(nonlinearity: str) -> type[Cell]:
    """Return the simple recurrent cell with torch's name for what squashes it."""
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity is 'tanh' or 'relu', got {nonlinearity!r:.40}")
    return cells.CATALOGUE[NONLINEARITIES[nonlinearity]]


def _without_projection(cell: type[Cell], proj_size: int) -> type[Cell]:
    if proj_size:
        raise ValueError(f"proj_size is for LSTM alone, got proj_size={proj_size!r:.40}")
    return cell
