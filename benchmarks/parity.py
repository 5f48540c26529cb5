"""Compare Cellwright's layers with torch.nn's, over every combination of their options.

    python benchmarks/parity.py        prints a Markdown table

For each combination both layers get the same weights, inputs, start states and random cotangents
on the output and on every final state; compared are the output, the final states and the
gradients of input, start states and every parameter. A tensor's absolute difference is
max |ours - torch's|; its relative difference is that over max |torch's|. The table holds the
largest over all tensors of all combinations.
"""

import argparse
import itertools
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import cellwright.nn

T, B, I, H, P = 5, 3, 4, 7, 3
KINDS = ("LSTM", "GRU", "RNN tanh", "RNN relu")
FORMS = ("batched", "unbatched", "packed, sorted", "packed, unsorted")
LENGTHS = {"packed, sorted": [5, 3, 2], "packed, unsorted": [2, 5, 3]}


@dataclass(frozen=True)
class Combination:
    """One setting of every option that torch.nn's layers have, dropout aside."""

    kind: str
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int
    form: str
    with_hx: bool
    dtype: torch.dtype

    def layer(self, home: object) -> nn.Module:
        """Build the layer, of torch.nn or of cellwright.nn."""
        name, _, nonlinearity = self.kind.partition(" ")
        options = {"nonlinearity": nonlinearity} if nonlinearity else {}
        options |= {"proj_size": self.proj_size} if self.proj_size else {}
        return getattr(home, name)(
            I,
            H,
            num_layers=self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            dtype=self.dtype,
            **options,
        )


def combinations() -> Iterator[Combination]:
    """Yield every combination; a projection is for LSTM alone."""
    both = (False, True)
    options = itertools.product(
        KINDS, (1, 2), both, both, both, (0, P), FORMS, both, (torch.float32, torch.float64)
    )
    for values in options:
        made = Combination(*values)
        if made.kind == "LSTM" or not made.proj_size:
            yield made


@dataclass(frozen=True)
class Difference:
    """The largest differences between two lists of tensors."""

    absolute: float
    relative: float

    @classmethod
    def between(cls, ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> "Difference":
        """Compare tensors pair by pair; NaN counts as infinitely far."""
        absolute = relative = 0.0
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            gap = (a - b).abs().max().nan_to_num(nan=torch.inf).item()
            absolute = max(absolute, gap)
            relative = max(relative, gap / max(b.abs().max().item(), 1e-30) if gap else 0.0)
        return cls(absolute, relative)

    def widest(self, other: "Difference") -> "Difference":
        """Return the larger of each."""
        return Difference(max(self.absolute, other.absolute), max(self.relative, other.relative))


def compare(case: Combination) -> tuple[Difference, Difference]:
    """Run one combination; return the differences of the values and of the gradients."""
    theirs, ours = case.layer(nn), case.layer(cellwright.nn)
    ours.load_state_dict(theirs.state_dict())
    x, hx = _arguments(case)
    results, gradients = zip(*(_run(case, layer, x, hx) for layer in (ours, theirs)), strict=True)
    return Difference.between(*results), Difference.between(*gradients)


def _arguments(case: Combination) -> tuple[Tensor, list[Tensor]]:
    """Draw an input and, where the combination has them, start states."""
    directions = 2 if case.bidirectional else 1
    leading = (T,) if case.form == "unbatched" else (B, T) if case.batch_first else (T, B)
    rows = () if case.form == "unbatched" else (B,)
    widths = [case.proj_size or H] + [H] * (case.kind == "LSTM")
    x = torch.randn(*leading, I, dtype=case.dtype)
    hx = [torch.randn(directions * case.num_layers, *rows, w, dtype=case.dtype) for w in widths]
    return x, hx if case.with_hx else []


def _run(
    case: Combination, layer: nn.Module, x: Tensor, hx: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return a layer's values and, under cotangents that are the same for both, its gradients."""
    x = x.detach().requires_grad_()
    hx = [h.detach().requires_grad_() for h in hx]
    given: Tensor | PackedSequence = x
    if case.form in LENGTHS:
        ordered = case.form == "packed, sorted"
        given = pack_padded_sequence(
            x, torch.tensor(LENGTHS[case.form]), case.batch_first, enforce_sorted=ordered
        )
    output, state = layer(given, (tuple(hx) if len(hx) > 1 else hx[0]) if hx else None)
    output = output.data if isinstance(output, PackedSequence) else output
    values = [output, *(state if isinstance(state, tuple) else (state,))]
    source = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(v.shape, generator=source, dtype=v.dtype) for v in values]
    leaves = [x, *hx, *layer.parameters()]
    return [v.detach() for v in values], list(torch.autograd.grad(values, leaves, cotangents))


def table() -> str:
    """Run every combination and return the Markdown table."""
    torch.manual_seed(0)
    lines = [
        "| dtype | combinations | | largest absolute | largest relative |",
        "|---|--:|---|--:|--:|",
    ]
    cases = list(combinations())
    for dtype in (torch.float32, torch.float64):
        chosen = [case for case in cases if case.dtype == dtype]
        values = gradients = Difference(0.0, 0.0)
        for case in chosen:
            found = compare(case)
            values, gradients = values.widest(found[0]), gradients.widest(found[1])
        name = str(dtype).removeprefix("torch.")
        for what, worst in (("values", values), ("gradients", gradients)):
            lines.append(
                f"| {name} | {len(chosen)} | {what} | {worst.absolute:.1e} | {worst.relative:.1e} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table; there is nothing to choose."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "LSTM with projections")  # torch, of its own speed
    print(
        f"torch {torch.__version__}: LSTM, GRU, RNN tanh, RNN relu; T={T} B={B} I={I} H={H} P={P}"
    )
    print()
    print(table())


if __name__ == "__main__":
    main()
