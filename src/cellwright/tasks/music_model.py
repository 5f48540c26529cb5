"""A recurrent layer under a head of 88 sigmoids: the pitches of the next step, each by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from cellwright.compiler import Param
from cellwright.language.cell import Cell
from cellwright.nn import Recurrent
from cellwright.nn.parameters import MAY_HOLD
from cellwright.runtime import plan
from cellwright.tasks.music import LOWEST, PITCHES, Music, MusicError, Piece

TOGETHER = 64  # pieces scored in one call: bounds the memory, does not change the result

# Cells that would fit, and are better asked for by another name.
_UNDER_ANOTHER_NAME = {
    "DepthGated": "a single layer of it is the lowest one: depth-gated-lowest",
}


@dataclass(frozen=True)
class Rolls:
    """The pieces of each part as tensors [T, 88] of 0 and 1."""

    train: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    test: tuple[Tensor, ...]

    @classmethod
    def of(cls, music: Music) -> "Rolls":
        """The rolls of `music`."""
        parts = (music.train, music.valid, music.test)
        return cls(*(tuple(map(_roll, pieces)) for pieces in parts))


def _roll(piece: Piece) -> Tensor:
    roll = torch.zeros(len(piece), PITCHES)
    for t, pitches in enumerate(piece):
        roll[t, [pitch - LOWEST for pitch in pitches]] = 1.0
    return roll


def why_not(cell: type[Cell]) -> str | None:
    """Why no music model can be made of this cell; None if one can."""
    graph = cell.graph
    if cell.__name__ in _UNDER_ANOTHER_NAME and cell.__module__.startswith("cellwright."):
        return _UNDER_ANOTHER_NAME[cell.__name__]
    for leaf in graph.inputs[1:]:
        if str(graph.nodes[leaf].width) != "hidden":
            return f"it reads {graph.nodes[leaf].name} beside the music, and there is nothing else"
    if str(graph.nodes[graph.inputs[0]].width) != "input":
        return f"its input {graph.nodes[graph.inputs[0]].name} cannot be {PITCHES} wide"
    missing = [symbol for symbol in graph.symbols if symbol not in ("input", "hidden", "proj")]
    return f"it needs a size for its width {missing[0]}" if missing else None


@final
class MusicModel(nn.Module):
    """One layer of `cell`, `hidden` wide, and a head that gives a logit for each pitch.

    A cell's further inputs (the memory from below of a grid) are learned projections of the
    step, as in Kalchbrenner et al. (2015), section 3; a projected output is half as wide as the
    layer; of several outputs the first feeds the head. MusicError for a cell that cannot be used,
    CellError for one that cannot have this width.
    """

    def __init__(
        self, cell: type[Cell], hidden: int, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        if (why := why_not(cell)) is not None:
            raise MusicError(f"{cell.__name__}: {why}")
        graph = cell.graph
        proj = hidden // 2 if "proj" in graph.symbols else 0
        sizes = {"input": PITCHES, "hidden": hidden} | ({"proj": proj} if proj else {})
        self.recurrent = Recurrent(cell, PITCHES, hidden, proj_size=proj, device=device)
        self.below = nn.ModuleList(
            nn.Linear(PITCHES, hidden, bias=False, device=device) for _ in graph.inputs[1:]
        )
        width = graph.nodes[graph.outputs[0]].width
        assert width is not None  # every output of a checked graph has one
        self.head = nn.Linear(width.resolve(sizes), PITCHES, device=device)
        self._zeros = _zeros(cell, sizes)

    @property
    def parameter_count(self) -> int:
        """How many numbers are learned: the zeros of a matrix of blocks are none of them."""
        return sum(p.numel() for p in self.parameters()) - self._zeros

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits [T, B, 88] of the steps that follow those of x [T, B, 88]; lengths [B]."""
        inputs = (x, *(project(x) for project in self.below))
        out, _ = self.recurrent(inputs if len(inputs) > 1 else x, lengths=lengths)
        return self.head(out[0] if isinstance(out, tuple) else out)


def _zeros(cell: type[Cell], sizes: dict[str, int]) -> int:
    """How many weights of a layer are zero for good, counted without making any."""
    params = plan(cell, sizes, True).program.params
    return sum(_forbidden(param) for param in params if param.mask is not None)


def _forbidden(param: Param) -> int:
    assert param.mask is not None
    module = torch.arange(param.modules)
    never = ~MAY_HOLD[param.mask](module[:, None], module)
    columns = _units(param.columns, param.modules)
    made = [_units(block.stop - block.start, param.modules) for block in param.blocks]
    return sum(int((rows[:, None] * columns * never).sum()) for rows in made)


def _units(width: int, modules: int) -> Tensor:
    """How many units each module has, [modules]."""
    ends = torch.arange(modules + 1) * width // modules
    return ends.diff()


def nats_of_steps(model: MusicModel, rolls: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The loss of each predicted step, [T - 1, B], zero beyond a piece's end; and how many, [B].

    A step's loss is -ln p summed over the 88 pitches. The first step of a piece is not predicted.
    """
    lengths = torch.tensor([len(roll) - 1 for roll in rolls])
    padded = pad_sequence(list(rolls))  # [T, B, 88]
    logits = model(padded[:-1], lengths)
    losses = binary_cross_entropy_with_logits(logits, padded[1:], reduction="none").sum(-1)
    within = torch.arange(len(losses))[:, None] < lengths
    return losses.where(within, torch.zeros(())), lengths


@dataclass(frozen=True)
class Score:
    """The mean loss over all predicted steps, and the mean over pieces of each piece's mean."""

    nats: float
    nats_by_piece: float


def score(model: MusicModel, rolls: Sequence[Tensor]) -> Score:
    """The loss of `model` on pieces; the model is left in evaluation mode."""
    model.eval()
    total, by_piece, steps = 0.0, 0.0, 0
    with torch.no_grad():
        for start in range(0, len(rolls), TOGETHER):
            losses, lengths = nats_of_steps(model, rolls[start : start + TOGETHER])
            sums = losses.double().sum(0)  # [B]
            total += float(sums.sum())
            by_piece += float((sums / lengths).sum())
            steps += int(lengths.sum())
    return Score(total / steps, by_piece / len(rolls))
