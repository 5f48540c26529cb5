"""The workshop's bench: every cell timed beside its peers, on the machine at hand.

It times what is on the floors below, after the sides have been found to agree, and knows nothing
of files or windows.
"""

from cellwright.bench.errors import BenchError, Disagreement, WishError
from cellwright.bench.machine import Host, host
from cellwright.bench.measure import Pace, Stop, Stopped, Timing, interleaved
from cellwright.bench.report import Event, Report
from cellwright.bench.run import DTYPES, Wish, bench
from cellwright.bench.shapes import DEFAULT, QUICK, SHAPES, Shape, parse
from cellwright.bench.sides import Subject, subjects
from cellwright.bench.table import Table

__all__ = [
    "DEFAULT",
    "DTYPES",
    "QUICK",
    "SHAPES",
    "BenchError",
    "Disagreement",
    "Event",
    "Host",
    "Pace",
    "Report",
    "Shape",
    "Stop",
    "Stopped",
    "Subject",
    "Table",
    "Timing",
    "Wish",
    "WishError",
    "bench",
    "host",
    "interleaved",
    "parse",
    "subjects",
]
