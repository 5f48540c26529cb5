"""Agree: a cell as machine code and as its float64 reference, fed with the same numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from cellwright.cells import CATALOGUE
from cellwright.nn.running import How, Rows, Start, run
from cellwright.runtime import Plan, plan
from tests.cases import MASKS, widths

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Largest error of a tensor, relative to its largest element (to FLOOR where that is smaller:
# what cancels to nearly nothing keeps the rounding of its terms, which are of order one).
FORWARD = {torch.float32: 5e-6, torch.float64: 1e-13}
# A norm over one unit divides by sqrt(eps) = 1/316: its gradients keep that much less in float64.
BACKWARD = {torch.float32: 1e-5, torch.float64: 1e-12}
FLOOR = 0.5
LLVM, REFERENCE = How("llvm"), How("reference")


@dataclass(frozen=True)
class Case:
    """How a cell is run: how many rows and steps, which masks, how many threads.

    `recompute` is how many steps lie between the states that machine code keeps, 0: it keeps all.
    """

    batch: int
    steps: int
    masks: str = "no mask"
    threads: int = 1
    reverse: bool = False
    recompute: int = 0


@dataclass(frozen=True)
class Numbers:
    """What a run is given, as `nn.running.run` takes it, and the cotangents of what it returns."""

    inputs: tuple[Tensor, ...]  # [T, B, width]
    states: tuple[Tensor, ...]  # [B, width]
    params: tuple[Tensor, ...]
    fresh: tuple[Tensor, ...]  # [B, width]
    lengths: Tensor | None  # [B]
    reset: Tensor | None  # [T, B]
    cotangents: tuple[Tensor, ...]  # of the outputs, then of the final states

    def to(self, dtype: torch.dtype) -> "Numbers":
        """Return the same numbers in a dtype."""

        def cast(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t.to(dtype) for t in tensors)

        return replace(
            self,
            inputs=cast(self.inputs),
            states=cast(self.states),
            params=cast(self.params),
            fresh=cast(self.fresh),
            cotangents=cast(self.cotangents),
        )


def planned(name: str, inputs: int, hidden: int, with_bias: bool = True) -> Plan:
    """Return the plan of a catalogue cell."""
    return plan(CATALOGUE[name], widths(inputs, hidden), with_bias)


def reachable(made: Plan, state: str, drawn: Tensor) -> Tensor:
    """Return numbers that a state can hold: sLSTM divides by n, which is 1 at least."""
    return drawn.abs() + 1 if (made.cell.__name__, state) == ("SLSTM", "n") else drawn


def numbers(made: Plan, case: Case, seed: int = 0) -> Numbers:
    """Draw everything a run is given, in float64; past a row's end lies NaN."""
    generator = torch.Generator().manual_seed(seed)
    steps, batch = case.steps, case.batch
    program = made.program
    sized = program.widths()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = tuple(normal(steps, batch, p.width) for p in program.inputs)
    states = [
        tuple(reachable(made, c.name, normal(batch, c.width)) for c in program.states)
        for _ in range(2)
    ]
    # Preactivations of order one, whatever the width: nothing saturates, nothing runs away.
    params = tuple(normal(*p.shape) * 0.7 / max(1, p.columns) ** 0.5 for p in program.params)
    outputs = tuple(normal(steps, batch, sized[v]) for _, v in program.outputs)
    reset = ends = None
    masked, short = MASKS[case.masks]
    if masked:
        reset = torch.rand(steps, batch, generator=generator) < 0.4
    if short:  # one row runs to the end, one has no steps at all where there are several
        ends = torch.randint(1, steps + 1, (batch,), generator=generator)
        ends[0], ends[batch // 2] = 0, steps
        past = torch.arange(steps)[:, None] >= ends
        inputs = tuple(torch.where(past[..., None], torch.nan, x) for x in inputs)
    finals = tuple(normal(batch, c.width) for c in program.states)
    return Numbers(inputs, states[0], params, states[1], ends, reset, (*outputs, *finals))


def outcome(
    made: Plan, given: Numbers, how: How, *, reverse: bool = False, track: str = "xspr"
) -> dict[str, Tensor]:
    """Run a plan: its outputs, its final states, and the gradient of what it was given.

    `track` says of what: the inputs x, the states s, the parameters p, the states at a reset r.
    """
    program = made.program
    fresh = given.fresh if given.reset is not None else ()
    groups = dict(zip("xspr", (given.inputs, given.states, given.params, fresh), strict=True))
    names = [f"d {p.name}" for p in program.inputs] + [f"d {c.name}" for c in program.states]
    names += [f"d {p.name}" for p in program.params]
    names += [f"d {c.name} at a reset" for c in program.states]
    leaves = [
        [t.detach().clone().requires_grad_(k in track) for t in group]
        for k, group in groups.items()
    ]
    inputs, states, params, fresh = (tuple(group) for group in leaves)
    start = Start(states, fresh or states)
    rows = Rows(given.lengths, given.reset)
    outputs, final = run(made, inputs, start, params, rows, reverse, how)
    found = {f"output {k}": y.detach() for k, y in enumerate(outputs)}
    found |= {f"final {c.name}": y.detach() for c, y in zip(program.states, final, strict=True)}
    flat = chain.from_iterable(leaves)
    tracked = {n: t for n, t in zip(names, flat, strict=False) if t.requires_grad}
    if tracked:
        pairs = zip((*outputs, *final), given.cotangents, strict=True)
        kept = [(y, ct) for y, ct in pairs if y.requires_grad]
        grads = torch.autograd.grad(
            [y for y, _ in kept], [*tracked.values()], [ct for _, ct in kept], allow_unused=True
        )
        for (name, leaf), grad in zip(tracked.items(), grads, strict=True):
            found[name] = torch.zeros_like(leaf) if grad is None else grad
    return found


def both(
    made: Plan, case: Case, dtype: torch.dtype, *, seed: int = 0, track: str = "xspr"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what machine code finds, and what the float64 reference makes of the same numbers."""
    given = numbers(made, case, seed).to(dtype)
    torch.set_num_threads(case.threads)
    how = How("llvm", case.recompute or False)
    found = outcome(made, given, how, reverse=case.reverse, track=track)
    wide = given.to(torch.float64)
    return found, outcome(made, wide, REFERENCE, reverse=case.reverse, track=track)


def error(found: Tensor, wanted: Tensor) -> float:
    """The largest error of a tensor, relative to its largest element."""
    if not wanted.numel():
        return 0.0
    far = (found.double() - wanted).abs().max()
    return float(far / wanted.abs().max().clamp(min=FLOOR))


def assert_agree(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    dtype: torch.dtype,
    what: object = "",
    *,
    factor: float = 1.0,
    peer: Mapping[str, Tensor] | None = None,
) -> None:
    """Fail where a tensor has another shape or dtype, or is further off than the table says.

    `peer` is what the reference makes of the same numbers in the same dtype. Where a long run
    amplifies rounding, the peer is off as well, and four times its error is allowed.
    """
    assert found.keys() == wanted.keys()
    for name, want in wanted.items():
        got = found[name]
        assert got.shape == want.shape, (what, name)
        assert got.dtype == dtype, (what, name)
        assert want.isfinite().all(), (what, name, "the reference is not finite")
        bound = factor * (BACKWARD if name.startswith("d ") else FORWARD)[dtype]
        if peer is not None:
            bound = max(bound, 4 * error(peer[name], want))
        off = error(got, want)
        assert off <= bound, f"{what} {name}: off by {off:.2e}, allowed {bound:.0e}"
