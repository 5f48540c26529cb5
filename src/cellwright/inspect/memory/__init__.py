"""The memory report: does a language model remember, how far back, and how does one know."""

from cellwright.inspect.memory.measuring import Asked, measure
from cellwright.inspect.memory.report import MemoryReport

__all__ = ["Asked", "MemoryReport", "measure"]
