"""Floor 5: recurrent layers and cells that are at home in PyTorch."""

from cellwright.nn.cells import GRUCell, LSTMCell, RecurrentCell, RNNCell
from cellwright.nn.recurrent import Recurrent
from cellwright.nn.torch_like import GRU, LSTM, RNN
from cellwright.nn.trace import Trace
from cellwright.runtime.trail import TraceError

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "Trace",
    "TraceError",
]
