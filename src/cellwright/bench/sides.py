"""Sides: the same cell with the same weights, in Cellwright and in torch, ready to be timed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cellwright import cells
from cellwright.bench.errors import BenchError, WishError
from cellwright.bench.measure import Run
from cellwright.bench.shapes import Shape
from cellwright.language import Cell
from cellwright.language.ops import Op
from cellwright.nn import Recurrent
from cellwright.runtime import Plan, plan

OURS, LOOP, NN = "cellwright", "loop", "torch.nn"
# torch.nn's layer of a cell of the catalogue, and what it is told besides the sizes.
LAYERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {}),
    "gru": ("GRU", {}),
    "rnn": ("RNN", {"nonlinearity": "tanh"}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
}
# Operations whose derivative jumps.
JUMPING = {Op.RELU, Op.ABS, Op.MAXIMUM, Op.MINIMUM, Op.WHERE}


@dataclass(frozen=True)
class Subject:
    """A cell to time, and its name in the tables."""

    name: str
    cell: type[Cell]

    @property
    def known(self) -> str | None:
        """The cell's name in the catalogue; None for a cell of the user's own."""
        return next((name for name, c in cells.CATALOGUE.items() if c is self.cell), None)

    @property
    def has_layer(self) -> bool:
        """Whether torch.nn has a layer of this cell."""
        return self.known in LAYERS

    def projection(self, width: int) -> int:
        """The size of the projection of a layer of so many units, 0 without one."""
        return max(1, width // 2) if "proj" in self.cell.graph.symbols else 0

    def plan(self, width: int) -> Plan:
        """The cell compiled for as many inputs as units, one bias an equation."""
        sizes = {"input": width, "hidden": width, "proj": self.projection(width)}
        return plan(self.cell, sizes)

    def layer(self, width: int, dtype: torch.dtype, backend: str) -> Recurrent:
        """A layer; where torch.nn has one too, with torch's parameters, both biases included."""
        return Recurrent(
            self.cell, width, width, proj_size=self.projection(width), dtype=dtype,
            split_bias=self.has_layer, backend=backend,
        )  # fmt: skip

    def torch_layer(self, width: int, dtype: torch.dtype) -> nn.Module:
        """torch.nn's own layer of this cell."""
        name, options = LAYERS[self.known or ""]
        projection = {"proj_size": self.projection(width)} if self.projection(width) else {}
        return getattr(nn, name)(width, width, dtype=dtype, **options, **projection)


def _own_widths(cell: type[Cell]) -> list[str]:
    return [s for s in cell.graph.symbols if s not in ("input", "hidden", "proj")]


def _whole_catalogue() -> list[str]:
    """The names of all cells that input and hidden size decide."""
    return [name for name, cell in cells.CATALOGUE.items() if not _own_widths(cell)]


def subjects(text: str) -> tuple[Subject, ...]:
    """Read cells parted by commas, names or file.py:Class; "all" for the catalogue's.

    All are those without widths of their own, whose sizes a benchmark cannot choose.

    Raises CellError for a cell that is not there, BenchError for one that cannot be timed.
    """
    specs = _whole_catalogue() if text.strip() == "all" else text.split(",")
    found: dict[str, Subject] = {}
    for spec in (part.strip() for part in specs):
        if not spec:
            raise WishError(f"cells: expected names parted by commas, or all; got {text!r:.60}")
        cell = cells.find(spec)
        subject = Subject(spec if spec in cells.CATALOGUE else cell.__name__, cell)
        if more := _own_widths(cell):
            raise BenchError(
                f"{cell.__name__}: has widths besides input, hidden and proj: {', '.join(more)}; "
                "a benchmark cannot choose their sizes"
            )
        found[subject.name] = subject
    return tuple(found.values())


@dataclass(frozen=True)
class Drawn:
    """Numbers for a call: inputs [T, B, I], and cotangents of the outputs and final states."""

    inputs: tuple[Tensor, ...]
    cotangents: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, subject: Subject, shape: Shape, dtype: torch.dtype, steps: int, seed: int = 1
    ) -> "Drawn":
        """Draw the first `steps` steps of a shape; the same numbers every time."""
        program = subject.plan(shape.width).program
        source = torch.Generator().manual_seed(seed)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=source, dtype=torch.float64).to(dtype)

        widths = program.widths()
        made = {n: normal(steps, shape.batch, widths[v]) for n, v in output_names(subject, shape)}
        names = subject.cell.graph.state_names
        for name, carry in zip(names, program.states, strict=True):
            made[f"last {name}"] = normal(1, shape.batch, carry.width)
        return cls(tuple(normal(steps, shape.batch, p.width) for p in program.inputs), made)


def draws(subject: Subject, shape: Shape, dtype: torch.dtype, steps: int) -> list[Drawn]:
    """Draw what to compare sides on: once, or several times for a cell whose gradient jumps.

    Where a relu's argument rounds to either side of zero, two right sides have gradients far apart;
    hardly on one draw after another.
    """
    ops = {instr.op for instr in subject.plan(shape.width).program.instrs}
    seeds = (1, 2, 3) if ops & JUMPING else (1,)
    return [Drawn.of(subject, shape, dtype, steps, seed) for seed in seeds]


def output_names(subject: Subject, shape: Shape) -> list[tuple[str, str]]:
    """Name a layer's outputs: `output`, or `output 0`, `output 1`, with the program's values."""
    values = [value for _, value in subject.plan(shape.width).program.outputs]
    several = len(values) > 1
    return [(f"output {k}" if several else "output", value) for k, value in enumerate(values)]


@dataclass(frozen=True)
class Outcome:
    """What a side computed, by name: outputs and final states; gradients, where it has any."""

    values: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """One way to run a cell: what it computes, and the calls to time; `train` None: it cannot."""

    name: str
    outcome: Callable[[Drawn], Outcome]
    infer: Run
    train: Run | None


def torch_side(name: str, layer: Any, names: tuple[list[str], list[str]], x: Any) -> Side:
    """Make a side of a torch module; `names` are those of its outputs and of its states."""
    mine = tuple(t.clone().requires_grad_() for t in x)
    infer_on, train_on = one_or_all(x), one_or_all(mine)

    def infer() -> None:
        with torch.inference_mode():
            layer(infer_on)

    def train() -> None:
        layer.zero_grad()
        for t in mine:
            t.grad = None
        total(layer(train_on)[0]).backward()

    return Side(name, lambda drawn: _outcome(layer, names, drawn), infer, train)


def _outcome(layer: Any, names: tuple[list[str], list[str]], drawn: Drawn) -> Outcome:
    """Run forward and backward under the drawn cotangents."""
    inputs = tuple(t.clone().requires_grad_() for t in drawn.inputs)
    output, state = layer(one_or_all(inputs))
    outputs = output if isinstance(output, tuple) else (output,)
    states = state if isinstance(state, tuple) else (state,)
    values = dict(zip(names[0], outputs, strict=True))
    values |= zip(names[1], states, strict=True)
    leaves = {f"input {k}": t for k, t in enumerate(inputs)} | dict(layer.named_parameters())
    moved = [key for key, value in values.items() if value.requires_grad]  # a count of steps is not
    grads = torch.autograd.grad(
        [values[key] for key in moved],
        list(leaves.values()),
        [drawn.cotangents[key] for key in moved],
        allow_unused=True,
        materialize_grads=True,
    )
    return Outcome(
        {key: value.detach() for key, value in values.items()},
        dict(zip(leaves, grads, strict=True)),
    )


def total(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The sum of all that a layer emits, as a loss to time."""
    if isinstance(output, Tensor):
        return output.sum()
    return torch.stack([y.sum() for y in output]).sum()


def one_or_all(items: Sequence[Tensor]) -> Any:
    """Tensors as a layer takes them: one by itself, several in a tuple."""
    return items[0] if len(items) == 1 else tuple(items)


@dataclass(frozen=True)
class Sides:
    """Cellwright's side and its peers, with the same weights."""

    layer: Recurrent
    ours: Side
    peers: tuple[Side, ...]


def build(subject: Subject, shape: Shape, dtype: torch.dtype) -> Sides:
    """Build a cell as machine code, as a loop in torch and, where there is one, torch's layer."""
    torch.manual_seed(0)
    layer = subject.layer(shape.width, dtype, "llvm")
    names = [n for n, _ in output_names(subject, shape)], [f"last {n}" for n in layer.state_names]
    x = Drawn.of(subject, shape, dtype, shape.steps).inputs
    modules: dict[str, nn.Module] = {}
    if subject.has_layer:
        modules[NN] = subject.torch_layer(shape.width, dtype)
    modules[LOOP] = subject.layer(shape.width, dtype, "reference")
    for module in modules.values():
        module.load_state_dict(layer.state_dict())
    peers = tuple(torch_side(name, module, names, x) for name, module in modules.items())
    return Sides(layer, torch_side(OURS, layer, names, x), peers)
