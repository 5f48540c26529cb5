"""Floor 5: recurrent layers that are at home in PyTorch."""

from cellwright.nn.recurrent import Recurrent
from cellwright.nn.torch_like import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]
