"""One unit at one token, as rows that can be checked by hand."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cellwright.compiler.build import EPSILON
from cellwright.inspect.errors import InspectError
from cellwright.inspect.walk.lines import Line, has_own_line, lines
from cellwright.inspect.walk.steps import Walk, walk
from cellwright.inspect.walk.values import Array, LayerWeights, Reading
from cellwright.language.graph import Graph
from cellwright.language.ops import Op
from cellwright.targets.equations import PLAIN
from cellwright.targets.formulas import sides

TITLES = {
    "in": "What comes in",
    "forget": "Forget",
    "write": "Write",
    "update": "Update",
    "reveal": "Reveal",
}


@dataclass(frozen=True)
class Row:
    """One line: which step of the walk, whose value, its formula, the numbers in it, the value.

    `unit` counts from 0 within the value's own vector; `name` is None for a part of an equation.
    """

    step: str
    name: str | None
    unit: int
    formula: str
    numbers: str
    value: float


@dataclass(frozen=True)
class Spot:
    """Where somebody looks: a token and a unit, both counted from 0, in a layer."""

    layer: int
    token: int
    unit: int


def number(value: float) -> str:
    """Six decimals, and a true minus: digits enough to recompute the next line's first four."""
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e6):
        text = f"{value:.5e}"
    else:
        text = f"{value:.6f}"
    return text.replace("-", "−")


def rows(reading: Reading, spot: Spot) -> list[Row]:
    """Return the walk of one unit through one step of a layer.

    Errors: InspectError for a token, a layer or a unit that is not there.
    """
    check(reading, spot)
    layer = reading.layers[spot.layer]
    made = _Rows(layer, reading.values[spot.layer], spot)
    return list(made.all(walk(layer.graph)))


def check(reading: Reading, spot: Spot) -> None:
    """Raise InspectError for a place outside of what was read."""
    if not 0 <= spot.layer < len(reading.layers):
        raise InspectError(
            f"--layer: expected 0 to {len(reading.layers) - 1}, got {spot.layer}; the model has "
            "no such layer"
        )
    if not 0 <= spot.token < reading.steps:
        raise InspectError(
            f"--at: expected 0 to {reading.steps - 1}, the last token of the text, got {spot.token}"
        )
    width = units(reading.layers[spot.layer])
    if not 0 <= spot.unit < width:
        raise InspectError(
            f"--unit: expected 0 to {width - 1}, the layer's last unit, got {spot.unit}"
        )


def units(layer: LayerWeights) -> int:
    """How many units a layer has: the width of its widest state."""
    return max(layer.widths[state.leaf] for state in layer.graph.states)


class _Rows:
    def __init__(self, layer: LayerWeights, values: tuple[Array, ...], spot: Spot) -> None:
        self.layer, self.spot = layer, spot
        self.graph: Graph = layer.graph
        self.values = [v[spot.token] for v in values]
        self.table = lines(self.graph)
        self.formulas = sides(self.graph, PLAIN)

    def all(self, found: Walk) -> Iterator[Row]:
        for state in self.graph.states:
            if self.spot.unit < self.layer.widths[state.leaf]:
                value = self._value(state.leaf, self.spot.unit)
                yield Row("in", f"{state.name}[t-1]", self.spot.unit, "", "", value)
        known: set[int] = set()
        for step in ("forget", "write", "update", "reveal"):
            for index in getattr(found, step):
                yield from self._item(step, index, known)
                known.add(index)

    def _item(self, step: str, index: int, known: set[int]) -> Iterator[Row]:
        if self.spot.unit >= self.layer.widths[index]:
            return
        found: dict[int, int] = {}
        self._visit(index, self.spot.unit, known, found)
        for node, unit in found.items():
            yield self._row(step, self.table[node], unit)

    def _visit(self, index: int, unit: int, known: set[int], found: dict[int, int]) -> None:
        """Note the unit of each value that has a line on the way to a unit of `index`."""
        line = self.table[index]
        for token in line.tokens:
            if isinstance(token, str) or token in known or token in found:
                continue
            if has_own_line(self.graph, token):
                source, at = token, unit
                if line.kind in ("part", "concat"):
                    source, at = self._source(index, unit)
                if source == token:
                    self._visit(token, at, known, found)
        found[index] = unit

    def _source(self, index: int, unit: int) -> tuple[int, int]:
        """Which argument of a part or of a concatenation a unit is of, and which unit of it."""
        node = self.graph.nodes[index]
        if node.op is Op.PART:
            part = node.attr("index")
            assert isinstance(part, int)
            return node.args[0], unit + part * self.layer.widths[index]
        for arg in node.args:
            if unit < self.layer.widths[arg]:
                return arg, unit
            unit -= self.layer.widths[arg]
        raise AssertionError("a unit beyond its vector")

    def _value(self, index: int, unit: int) -> float:
        vector = self.values[index]
        return float(vector[unit if len(vector) > 1 else 0])

    def _row(self, step: str, line: Line, unit: int) -> Row:
        node = self.graph.nodes[line.node]
        name = None if node.name is None else _shown(node.name, self.graph.state_names)
        value = self._value(line.node, unit)
        return Row(step, name, unit, self.formulas[line.node], self._numbers(line, unit), value)

    def _numbers(self, line: Line, unit: int) -> str:
        if line.kind in ("part", "concat"):
            source, at = self._source(line.node, unit)
            whole = self.graph.nodes[source].name or "the vector"
            return f"unit {at} of {whole}"
        if line.kind == "layer_norm":
            return self._normed(line, unit)
        if line.kind == "diagonal":
            weight = float(self.layer.weights[line.node]["weight"][unit])
            (arg,) = self.graph.nodes[line.node].args
            return f"{number(weight)} · {_factor(self._value(arg, unit))}"
        if line.kind == "linear":
            (arg,) = self.graph.nodes[line.node].args
            return f"row {unit} of the matrix times {self.layer.widths[arg]} numbers"
        text = "".join(self._signs(line, unit))
        return f"{text} = {self._sum(line, unit)}" if line.terms else text

    def _signs(self, line: Line, unit: int) -> Iterator[str]:
        """Yield a line's signs and numbers; a negative number after a sign is in parentheses."""
        for position, token in enumerate(line.tokens):
            if isinstance(token, str):
                yield token
            else:
                value = self._value(token, unit)
                before = line.tokens[position - 1] if position else "("
                opens = isinstance(before, str) and before.endswith("(")
                yield number(value) if opens else _factor(value)

    def _sum(self, line: Line, unit: int) -> str:
        parts = []
        for sign, node in line.terms:
            value = self._value(node, unit)
            plain = not parts and sign > 0
            parts.append(number(value) if plain else f"{'−+'[sign > 0]} {_factor(value)}")
        return " ".join(parts)

    def _normed(self, line: Line, unit: int) -> str:
        (arg,) = self.graph.nodes[line.node].args
        v = self.values[arg]
        weights = self.layer.weights[line.node]
        mean, deviation = float(v.mean()), float(np.sqrt(v.var() + EPSILON))
        return (
            f"({number(float(v[unit]))} − {_factor(mean)}) / {number(deviation)} · "
            f"{_factor(float(weights['gain'][unit]))} + {_factor(float(weights['shift'][unit]))}"
        )


def _factor(value: float) -> str:
    text = number(value)
    return f"({text})" if text.startswith("−") else text


def _shown(name: str, states: tuple[str, ...]) -> str:
    """`c.next` is c[t]."""
    return f"{name.removesuffix('.next')}[t]" if name.endswith(".next") else name
