"""`LSTM`, `GRU`, `RNN`: drop-ins for torch.nn's layers, same arguments, parameters and numbers."""

from cellwright import cells
from cellwright.nn.recurrent import Recurrent


class _TorchLike(Recurrent):
    """What the three share: torch's mode name and both of its biases."""

    __constants__ = ["mode", *Recurrent.__constants__]

    mode: str


class LSTM(_TorchLike):
    """torch.nn.LSTM's arguments, parameters and numbers; for the rest see `Recurrent`.

    Both of torch's biases are kept: what acts is `f.bias + f.bias_h`, so setting a forget bias
    exactly means to zero the second: `layer.blocks()["f.bias_h"].zero_()`.
    """

    def __init__(self, input_size: int, hidden_size: int, *args, **kwargs) -> None:  # noqa: ANN002, ANN003
        proj_size = args[5] if len(args) > 5 else kwargs.get("proj_size", 0)
        cell = cells.CATALOGUE["lstm-projected" if proj_size else "lstm"]
        super().__init__(cell, input_size, hidden_size, *args, split_bias=True, **kwargs)
        self.mode = "LSTM"


class GRU(_TorchLike):
    """torch.nn.GRU's arguments, parameters and numbers; for the rest see `Recurrent`."""

    def __init__(self, input_size: int, hidden_size: int, *args, **kwargs) -> None:  # noqa: ANN002, ANN003
        if "proj_size" in kwargs:
            raise ValueError("proj_size is for LSTM alone, not for GRU")
        cell = cells.CATALOGUE["gru"]
        super().__init__(cell, input_size, hidden_size, *args, split_bias=True, **kwargs)
        self.mode = "GRU"


class RNN(_TorchLike):
    """torch.nn.RNN's arguments, parameters and numbers; for the rest see `Recurrent`.

    `nonlinearity` is `"tanh"` or `"relu"`, the fourth argument as in torch.
    """

    def __init__(self, input_size: int, hidden_size: int, *args, **kwargs) -> None:  # noqa: ANN002, ANN003
        if "proj_size" in kwargs:
            raise ValueError("proj_size is for LSTM alone, not for RNN")
        nonlinearity = args[1] if len(args) > 1 else kwargs.pop("nonlinearity", "tanh")
        args = (*args[:1], *args[2:])
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity is 'tanh' or 'relu', got {nonlinearity!r:.40}")
        cell = cells.CATALOGUE["rnn" if nonlinearity == "tanh" else "rnn-relu"]
        super().__init__(cell, input_size, hidden_size, *args, split_bias=True, **kwargs)
        self.nonlinearity = nonlinearity
        self.mode = f"RNN_{nonlinearity.upper()}"

