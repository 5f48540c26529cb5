"""The reference path against loops written by hand, in torch, with a hoisted input projection.

    python benchmarks/loop.py [--repeats 21] [--threads 2]

Both sides compute the same numbers (checked first). Each pair is timed in one process, in turn,
and the table shows medians and the ratio hand-written / Cellwright: above 1, Cellwright is faster.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping

import torch
from cells import whole
from torch import Tensor

from cellwright.bench import Pace, host, interleaved
from cellwright.nn import Recurrent

SHAPES = ((100, 1, 64), (100, 1, 256), (100, 16, 128), (100, 32, 256), (35, 20, 650))
AGREEMENT = 1e-4  # float32, over 100 steps


def rnn(x: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """An Elman network."""
    h = x.new_zeros(x.shape[1], w["weight_hh_l0"].shape[1])
    u, ys = w["weight_hh_l0"].t(), []
    for a in torch.nn.functional.linear(x, w["weight_ih_l0"], w["bias_ih_l0"]).unbind(0):
        h = torch.tanh(torch.addmm(a, h, u))
        ys.append(h)
    return torch.stack(ys)


def lstm(x: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """An LSTM with a forget gate."""
    h = x.new_zeros(x.shape[1], w["weight_hh_l0"].shape[1])
    c, u, ys = torch.zeros_like(h), w["weight_hh_l0"].t(), []
    for a in torch.nn.functional.linear(x, w["weight_ih_l0"], w["bias_ih_l0"]).unbind(0):
        i, f, g, o = torch.addmm(a, h, u).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys)


def peephole(x: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """An LSTM with peepholes, the output gate's on the new cell state."""
    h = x.new_zeros(x.shape[1], w["weight_hh_l0"].shape[1])
    c, u, ys = torch.zeros_like(h), w["weight_hh_l0"].t(), []
    p_i, p_f = w["weight_ch_l0"].chunk(2)
    p_o = w["weight_c_next_h_l0"]
    for a in torch.nn.functional.linear(x, w["weight_ih_l0"], w["bias_ih_l0"]).unbind(0):
        i, f, g, o = torch.addmm(a, h, u).chunk(4, 1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys)


def gru(x: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """A GRU with the reset gate after the matrix."""
    h = x.new_zeros(x.shape[1], w["weight_hh_l0"].shape[1])
    u, ys = w["weight_hh_l0"].t(), []
    bias = torch.cat((torch.zeros(2 * h.shape[1]), w["bias_hh_l0"]))
    for a in torch.nn.functional.linear(x, w["weight_ih_l0"], w["bias_ih_l0"]).unbind(0):
        a_r, a_z, a_n = a.chunk(3, 1)
        u_r, u_z, u_n = torch.addmm(bias, h, u).chunk(3, 1)
        r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
        n = torch.tanh(a_n + r * u_n)
        h = (1 - z) * n + z * h
        ys.append(h)
    return torch.stack(ys)


LOOPS: dict[str, Callable[[Tensor, Mapping[str, Tensor]], Tensor]] = {
    "rnn": rnn,
    "lstm": lstm,
    "peephole": peephole,
    "gru": gru,
}


def pair(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> list[float]:
    """Time two functions in turn; return the medians in ms and their ratio."""
    mine, other = (found.median for found in interleaved((ours, theirs), Pace(repeats)))
    return [1e3 * mine, 1e3 * other, other / mine]


def compare(
    cell: str, shape: tuple[int, int, int], repeats: int
) -> tuple[list[float], list[float]]:
    """Check that both sides agree, then time inference and training (forward and backward)."""
    steps, batch, width = shape
    torch.manual_seed(0)
    layer = Recurrent(cell, width, width, backend="reference")
    weights = dict(layer.named_parameters())
    x = torch.randn(steps, batch, width)
    difference = (layer(x)[0] - LOOPS[cell](x, weights)).abs().max().item()
    if not difference < AGREEMENT:
        raise SystemExit(f"{cell} {shape}: the two sides differ by {difference:.1e}")

    def train(run: Callable[[], Tensor]) -> Callable[[], object]:
        def step() -> None:
            layer.zero_grad()
            run().sum().backward()

        return step

    def infer(run: Callable[[], Tensor]) -> Callable[[], object]:
        def step() -> None:
            with torch.inference_mode():
                run()

        return step

    def ours() -> Tensor:
        return layer(x)[0]

    def theirs() -> Tensor:
        return LOOPS[cell](x, weights)

    return (
        pair(infer(ours), infer(theirs), repeats),
        pair(train(ours), train(theirs), repeats),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=whole(1), default=21)
    parser.add_argument("--threads", type=whole(1), default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{host()}; ms, medians of {args.repeats}; ratio = by hand / Cellwright\n")
    print("| cell | T, B, I = H | inference | by hand | ratio | training | by hand | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = []
    for cell in LOOPS:
        for shape in SHAPES:
            infer, train = compare(cell, shape, args.repeats)
            ratios += [infer[2], train[2]]
            cells = [f"{infer[0]:.2f}", f"{infer[1]:.2f}", f"{infer[2]:.2f}"]
            cells += [f"{train[0]:.2f}", f"{train[1]:.2f}", f"{train[2]:.2f}"]
            print(f"| {cell} | {', '.join(map(str, shape))} | {' | '.join(cells)} |", flush=True)
    print(f"\ngeometric mean of the ratios {statistics.geometric_mean(ratios):.2f}, ", end="")
    print(f"lowest {min(ratios):.2f}")


if __name__ == "__main__":
    main()
