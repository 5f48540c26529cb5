"""Layers: the cells of a stack compiled for their widths, and one of them over a sequence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from cellwright.language import Cell, cell_from_graph, cell_to_json
from cellwright.language.errors import CellError
from cellwright.language.masks import expected
from cellwright.language.stack import Stack
from cellwright.nn import checks
from cellwright.nn.masks import draw, draws, drop_weights
from cellwright.nn.running import How, Rows, Start, Tensors, parameters_of, run, weights_of
from cellwright.runtime import Plan, plan


@dataclass(frozen=True)
class Layer:
    """One layer: its cell at its widths.

    `plan` has the cell's masks at their means, `drawn` takes them as its last inputs, `masked`
    wide, and is None where nothing is drawn; `emitting` gives every state as well, of either.
    `names` are the parameters' attributes, a tuple for each direction. The layer reads the first
    `below` outputs of the layer below it, then the inputs of the stack at `outside`.
    """

    cell: type[Cell]
    sizes: Mapping[str, int]
    plan: Plan
    drawn: Plan | None
    emitting: tuple[Plan, Plan | None]
    masked: tuple[int, ...]
    states: tuple[tuple[str, int], ...]  # names and widths
    suffixes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    below: int = 0
    outside: tuple[int, ...] = ()

    @property
    def drawing(self) -> str:
        """The cell with its masks, as text that says all of it."""
        return cell_to_json(self.cell)

    def reads(self, given: Tensors, below: Tensors) -> Tensors:
        """Return the layer's inputs: outputs of the layer below, and inputs of the stack."""
        return (*below[: self.below], *(given[k] for k in self.outside))

    def run(
        self,
        module: nn.Module,
        values: Tensors,
        start: Start,
        rows: Rows,
        reverse: int,
        how: How,
        *,
        emit: bool,
    ) -> tuple[Tensors, Tensors, Tensors]:
        """Run one direction over [T, B, width]; returns outputs, final states and their paths.

        The paths, [T, B, width], are there where they are asked for with `emit`.
        """
        weights = weights_of(module, self.names[reverse])
        made = self.emitting[0] if emit else self.plan
        if module.training and self.drawn is not None:
            values = (*values, *draw(self.cell.graph, self.masked, values[0]))
            weights = drop_weights(self.drawn.program.params, weights)
            made = (self.emitting[1] if emit else self.drawn) or made
        outputs, final = run(made, values, start, weights, rows, bool(reverse), how)
        return outputs[: made.emitted], final, tuple([outputs[k] for k in made.trail])


@dataclass(frozen=True)
class Wanted:
    """The sizes that a stack is built with; `hidden` holds one for each layer."""

    input_size: int
    hidden: tuple[int, ...]
    proj_size: int
    widths: Mapping[str, int]
    bias: bool
    split_bias: bool


def compiled(cells: Sequence[type[Cell]], stack: Stack, wanted: Wanted) -> tuple[Layer, ...]:
    """Compile a stack's cells, each for the widths of what is below it; CellError as `checks`."""
    layers: list[Layer] = []
    graphs = [expected(cell.graph) for cell in cells]
    symbols = {symbol for graph in graphs for symbol in graph.symbols}
    for k, (cell, graph) in enumerate(zip(cells, graphs, strict=True)):
        # What is for the cell of another layer is not for this one; what is for none is refused.
        held = set(graph.symbols)
        proj = wanted.proj_size if "proj" in held or "proj" not in symbols else 0
        widths = {s: n for s, n in wanted.widths.items() if s in held or s not in symbols}
        if not layers:
            sizes = checks.widths(graph, wanted.input_size, wanted.hidden[k], proj, widths)
            layers.append(_layer(cell, sizes, stack, wanted, k))
            continue
        own = {"hidden": wanted.hidden[k], **widths} | ({"proj": proj} if proj else {})
        given, below = _widths_of_inputs(layers[0]), _widths_of_outputs(layers[-1])
        sizes = checks.fed(graph, own, given, below)
        outside = tuple([*given].index(name) for name in graph.input_names[len(below) :])
        layer = _layer(cell, sizes, stack, wanted, k)
        layers.append(replace(layer, below=min(len(below), len(graph.inputs)), outside=outside))
    if stack.tied and len({layer.plan.key for layer in layers}) > 1:
        raise CellError(
            f"{layers[0].cell.__name__}: tied layers share their weights, but the first reads "
            f"{wanted.input_size} features and the next one another number; give an input as wide "
            "as the output"
        )
    return tuple(layers)


def _layer(
    cell: type[Cell], sizes: Mapping[str, int], stack: Stack, wanted: Wanted, k: int
) -> Layer:
    number = 0 if stack.tied else k
    suffixes = (f"_l{number}", f"_l{number}_reverse")[: 1 + stack.both_ways[k]]
    source = checks.with_second_bias(cell) if wanted.split_bias else cell
    full = plan(source, sizes, wanted.bias)
    made = plan(at_means(source), sizes, wanted.bias)
    given = len(made.program.inputs)
    drawn = full if draws(source.graph) else None
    carries = zip(cell.graph.state_names, made.program.states, strict=True)
    return Layer(
        cell=cell,
        sizes=sizes,
        plan=made,
        drawn=drawn,
        emitting=(made.emitting_states(), drawn.emitting_states() if drawn else None),
        masked=tuple(port.width for port in full.program.inputs[given:]),
        states=tuple((name, carry.width) for name, carry in carries),
        suffixes=suffixes,
        names=tuple(parameters_of(made, suffix) for suffix in suffixes),
        outside=tuple(range(given)),
    )


def at_means(cell: type[Cell]) -> type[Cell]:
    """Return a cell with every mask at its mean, itself where it has none."""
    mean = expected(cell.graph)
    return cell if mean is cell.graph else cell_from_graph(mean)


def _widths_of_inputs(layer: Layer) -> dict[str, int]:
    """Return the inputs that a stack's first layer is given, by name."""
    names = expected(layer.cell.graph).input_names
    return dict(zip(names, (p.width for p in layer.plan.program.inputs), strict=True))


def _widths_of_outputs(layer: Layer) -> tuple[int, ...]:
    """Return the widths of what a layer gives to the one above, its directions side by side."""
    widths = layer.plan.program.widths()
    outputs = layer.plan.program.outputs[: layer.plan.emitted]
    return tuple(widths[value] * len(layer.suffixes) for _, value in outputs)
