"""Trace pictures: a trace in a notebook, without script or network.

For each value a small map of its first row: time to the right, units downwards. The scale is one
for a whole value, never one for each step: 0 to 1 for a sigmoid, -1 to 1 for a tanh, and for what
has no bounds the 99th percentile of its size on either side of 0. The scale is printed, and each
field says its number when it is pointed at.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cellwright.nn.trace import Trace

# What is drawn of a trace: a page stays below 200 kB.
MOST_VALUES, MOST_STEPS, MOST_UNITS = 24, 48, 16
MOST_BYTES, BYTES_A_FIELD = 170_000, 95  # of all fields; of one, without its token
LEAST_STEPS = 24  # drawn before more units are: a trace is read along time
LONGEST = 16  # signs of a token
FIELD = 12  # pixels
BLUE, WHITE, ORANGE, TEAL = (33, 102, 172), (247, 247, 244), (190, 84, 0), (0, 105, 92)
BOUNDED = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def page(trace: "Trace") -> str:
    """Return a trace as HTML: what it holds, and a map of the first values."""
    names = list(trace.values)
    rows = [_row(trace, name) for name in names[:MOST_VALUES]]
    more = len(names) - MOST_VALUES
    rest = f"<p>and {more} more values</p>" if more > 0 else ""
    title = html.escape(f"Trace of {trace.source}: {trace._sizes()}")
    head = "".join(
        f'<th scope="col" style="text-align:left">{text}</th>'
        for text in ("name", "least", "mean", "largest", f"map{_of_which(trace)}")
    )
    return (
        f'<div class="cellwright-trace"><p><b>{title}</b></p>'
        f'<table style="border-collapse: separate; border-spacing: 1em .4em">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{rest}</div>"
    )


def _of_which(trace: "Trace") -> str:
    row = f" of row {trace.batch[0]}" if len(trace.batch) > 1 and "batch" in trace.dims else ""
    return f"{row}: time to the right, units downwards"


def _row(trace: "Trace", name: str) -> str:
    v = trace.values[name].detach().float().cpu()
    numbers = (v.min(), v.mean(), v.max()) if v.numel() else ()
    cells = "".join(f"<td>{number.item():.4g}</td>" for number in numbers) or "<td></td>" * 3
    drawn = _map(trace, name, _flat(trace, v)) if v.numel() else ""
    title = f'<th scope="row" style="text-align:left">{html.escape(name)}</th>'
    return f"<tr>{title}{cells}<td>{drawn}</td></tr>"


def _flat(trace: "Trace", v: Tensor) -> Tensor:
    """Return the first row of a batch as [time, unit]."""
    dims = list(trace.dims)
    if "batch" in dims:
        v = v.select(dims.index("batch"), 0)
        dims.remove("batch")
    for at, dim in enumerate(("time", "unit")):
        if dim not in dims:
            v = v.unsqueeze(at)
            dims.insert(at, dim)
    return v if dims == ["time", "unit"] else v.T


def _map(trace: "Trace", name: str, v: Tensor) -> str:
    low, high, said = _scale(trace.bent.get(name, ""), v)
    drawn = min(len(trace.values), MOST_VALUES)
    longest = max((len(_token(trace, t).encode()) for t in range(v.shape[0])), default=0)
    room = MOST_BYTES // (BYTES_A_FIELD + longest) // drawn
    steps = min(v.shape[0], LEAST_STEPS)
    units = max(1, min(v.shape[1], MOST_UNITS, room // steps))
    steps = max(1, min(v.shape[0], MOST_STEPS, room // units))
    fields = "".join(
        _field(trace, name, v[t, u].item(), (t, u), (low, high))
        for t in range(steps)
        for u in range(units)
    )
    cut = f"; {steps} of {v.shape[0]} steps, {units} of {v.shape[1]} units drawn"
    whole = (steps, units) == tuple(v.shape)
    said = html.escape(f"{said}{'' if whole else cut}")
    size = f'width="{steps * FIELD}" height="{units * FIELD}"'
    label = html.escape(f"{name}, {said}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} aria-label="{label}">'
        f"{fields}</svg><br><small>{said}</small>"
    )


def _scale(bent: str, v: Tensor) -> tuple[float, float, str]:
    if bent in BOUNDED:
        low, high = BOUNDED[bent]
        return low, high, f"scale {low:g} to {high:g}"
    sizes = v.abs()[v.isfinite()]
    edge = torch.quantile(sizes[: 1 << 20], 0.99).item() if sizes.numel() else 1.0
    edge = edge or 1.0
    return -edge, edge, f"scale -{edge:.3g} to {edge:.3g}, the 99th percentile"


def _field(
    trace: "Trace", name: str, value: float, at: tuple[int, int], scale: tuple[float, float]
) -> str:
    t, u = at
    said = f"{value:+.3g} unit {trace.units[name][u]} step {trace.time[t]}{_token(trace, t)}"
    drawn = f"M{t * FIELD} {u * FIELD}h{FIELD}v{FIELD}h-{FIELD}z"
    return f'<path d="{drawn}" fill="{_colour(value, *scale)}"><title>{said}</title></path>'


def _token(trace: "Trace", t: int) -> str:
    """What a field says of its token, as HTML."""
    if trace.tokens is None:
        return ""
    token = trace.tokens[t]
    short = token if len(token) <= LONGEST else f"{token[: LONGEST - 1]}…"
    return html.escape(f" {short!r}", quote=False)


def _colour(value: float, low: float, high: float) -> str:
    """Return white to teal on a scale from 0, else blue over white at 0 to orange."""
    if value != value:  # NaN
        return "#808080"
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    if low == 0:
        return _mixed(WHITE, TEAL, share)
    return _mixed(WHITE, ORANGE if share > 0.5 else BLUE, abs(2 * share - 1))


def _mixed(a: Sequence[int], b: Sequence[int], share: float) -> str:
    parts = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)
