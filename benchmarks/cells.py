"""Every cell as machine code, beside the reference path and torch.nn's own layers.

    python benchmarks/cells.py [--cells lstm,gru] [--repeats 9] [--threads 2]

One layer of each cell, on the shapes T, B, I = H. The paths agree (checked first), and are timed in
one process, in turn. The table shows medians in ms and two ratios: how many times faster machine
code is than the reference path (a loop of torch operations with the input's product hoisted out,
as fast as one written by hand: benchmarks/loop.py), and than torch.nn's layer where there is one.
Training is forward and backward to the input and all parameters.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from loop import machine, timed

from cellwright.cells import CATALOGUE
from cellwright.nn import Recurrent

SHAPES = (
    (100, 1, 64),
    (100, 1, 256),
    (100, 16, 128),
    (100, 32, 256),
    (64, 64, 512),
    (35, 20, 650),
    (1000, 8, 128),
)
PEERS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
AGREEMENT = 1e-4  # float32, over the first steps: later, some cells magnify any rounding
CHECKED = 20


def layers(cell: str, width: int) -> dict[str, Any]:
    """Build the same cell on each path, and torch.nn's layer of that name, if any."""
    proj = width // 2 if cell == "lstm-projected" else 0
    torch.manual_seed(0)
    ours = Recurrent(cell, width, width, proj_size=proj, backend="llvm")
    reference = Recurrent(cell, width, width, proj_size=proj, backend="reference")
    reference.load_state_dict(ours.state_dict())
    found = {"llvm": ours, "reference": reference}
    if cell in PEERS:
        found["torch.nn"] = getattr(torch.nn, PEERS[cell])(width, width)
    return found


def inference(layer: Any, x: torch.Tensor) -> Callable[[], None]:
    """Return a forward pass without gradients."""

    def step() -> None:
        with torch.inference_mode():
            layer(x)

    return step


def training(layer: Any, x: torch.Tensor) -> Callable[[], None]:
    """Return a forward and a backward pass."""
    mine = x.clone().requires_grad_()

    def step() -> None:
        layer.zero_grad()
        mine.grad = None
        layer(mine)[0].sum().backward()

    return step


def medians(runs: list[Callable[[], None]], repeats: int) -> list[float]:
    """Time functions in turn; return each one's median in ms."""
    for run in (*runs, *runs):
        run()
    rows = [[timed(run) for run in runs] for _ in range(repeats)]
    return [1e3 * statistics.median(column) for column in zip(*rows, strict=True)]


def row(cell: str, shape: tuple[int, int, int], repeats: int) -> dict[str, list[float]]:
    """Check one cell on one shape, and time it: path -> [inference, training] in ms."""
    steps, batch, width = shape
    found = layers(cell, width)
    x = torch.randn(steps, batch, width)
    with torch.no_grad():
        wanted = found["reference"](x[:CHECKED])[0]
        made = found["llvm"](x[:CHECKED])[0]
        difference = (made - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    if not difference < AGREEMENT:
        raise SystemExit(f"{cell} {shape}: the two paths differ by {difference:.1e}")
    kinds = [
        medians([make(m, x) for m in found.values()], repeats) for make in (inference, training)
    ]
    return {name: [kind[k] for kind in kinds] for k, name in enumerate(found)}


def main() -> None:
    """Print the table, and the geometric means of each cell's ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", default=",".join(CATALOGUE))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{machine()}; medians of {args.repeats}\n")
    print("| cell | T, B, I = H | inference, ms | x reference | x torch.nn ", end="")
    print("| training, ms | x reference | x torch.nn |\n|---|---|--:|--:|--:|--:|--:|--:|")
    for cell in args.cells.split(","):
        ratios: dict[str, list[list[float]]] = {"reference": [[], []], "torch.nn": [[], []]}
        for shape in SHAPES:
            found = row(cell, shape, args.repeats)
            cells = []
            for kind in (0, 1):
                cells.append(f"{found['llvm'][kind]:.2f}")
                for peer, kept in ratios.items():
                    if peer in found:
                        kept[kind].append(found[peer][kind] / found["llvm"][kind])
                    cells.append(f"{kept[kind][-1]:.2f}" if peer in found else "")
            print(f"| {cell} | {', '.join(map(str, shape))} | {' | '.join(cells)} |", flush=True)
        means = [
            f"{statistics.geometric_mean(ratios[peer][kind]):.2f}" if ratios[peer][kind] else ""
            for kind in (0, 1)
            for peer in ratios
        ]
        print(f"| **{cell}** | mean | | {means[0]} | {means[1]} | | {means[2]} | {means[3]} |")


if __name__ == "__main__":
    main()
