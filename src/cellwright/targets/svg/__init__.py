"""Pictures of cells, in the notation that the field knows, derived from their graphs.

Yellow boxes have weights, pink shapes work unit by unit, wires that join put vectors end to end,
wires that part carry copies; a state that pointwise operations carry along is a belt on top.
`svg(single(graph))` is a picture's text.
"""

from cellwright.targets.svg.shapes import Picture
from cellwright.targets.svg.text import svg
from cellwright.targets.svg.views import focused, single, unrolled, versus

__all__ = ["Picture", "focused", "single", "svg", "unrolled", "versus"]
