"""A memory report with made-up numbers that are all different: what a page of one is tried on."""

import math
from collections.abc import Callable

from cellwright.inspect.memory.report import (
    Context,
    Dead,
    Decay,
    Facts,
    Gate,
    Gradient,
    HalfLives,
    Losses,
    MemoryReport,
    Probed,
    Sentence,
)

CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LAGS = tuple(range(101))
UNITS = 32


def example() -> MemoryReport:
    """A report on two layers of an LSTM; the text holds what a page must escape."""
    return MemoryReport(
        facts=Facts(
            run="runs/book </script>",
            cell="LSTM",
            layers=2,
            hidden=UNITS,
            parameters=21_345,
            text="runs/book: its validation text",
            tokens=10_000,
            unknown=3,
            unit="character",
            window=50,
            threads=2,
            seconds=41.7,
        ),
        verdict=(
            Sentence("Predictions improve with up to 64 characters of context.", "context"),
            Sentence(
                "Trained with windows of 50 characters: no gradient ever linked events further "
                "apart.",
                "gradients",
            ),
            Sentence(
                "31 % of the memory cells keep half their content for over 50 steps.", "half-lives"
            ),
            Sentence("12 % of the values of i in layer 0 are below 0.1.", "gates"),
            Sentence("Unit 17 of layer 1 tells whether a quotation is open: AUC 0.94.", "units"),
        ),
        context=_context(),
        gradients=tuple(
            Gradient(name, _decay(first, slow), _decay(first * 3, fast))
            for name, first, slow, fast in (
                ("x", 0.21, 19.0, 3.1),
                ("layers.0.h", 0.13, 17.0, 2.9),
                ("layers.0.c", 0.17, 23.0, 4.1),
                ("layers.1.h", 0.31, 11.0, 2.3),
                ("layers.1.c", 0.37, 29.0, 3.7),
            )
        ),
        half_lives=tuple(
            HalfLives(layer, "c", "f", _lives(layer, 90.0), _lives(layer, 1.4)) for layer in (0, 1)
        ),
        gates=tuple(_gate(layer, k, name) for layer in (0, 1) for k, name in enumerate("ifo")),
        dead=(Dead(0, (5, 19), UNITS), Dead(1, (), UNITS)),
        probes=(
            Probed("in a quotation", 0.083, 1, "c", 17, 0.943, True, (0.581, 0.612), 0.714, 0.533),
            Probed("bracket depth > 0", 0.004, 0, "h", 3, 0.71, False, (0.69, 0.73), 0.66, 0.51),
        ),
        methods={
            "verdict": "Sentences made from the numbers below.",
            "context": "1024 places, evenly spread; bars: one standard error, paired by place.",
            "gradients": "64 windows of 101 characters, one backward pass; median, quartiles.",
            "half-lives": "ln 2 / -ln f, f the geometric mean over the text.",
            "gates": "All values over the text; 20 equal bins.",
            "units": "Chosen on the first half of the text, measured on its second.",
        },
        left_out={"units": "the bracket depth: fewer than 20 tokens with it"},
    )


def _context() -> Context:
    def losses(of: Callable[[int], float], full: float) -> Losses:
        made = tuple(of(k) for k in CONTEXTS)
        return Losses(made, tuple(0.02 + 0.3 / (1 + k) for k in CONTEXTS), full)

    return Context(
        contexts=CONTEXTS,
        places=1024,
        controls=128,
        reset=losses(lambda k: 1.62 + 1.9 * math.exp(-math.log(1 + k)), 1.62),
        stranger=losses(lambda k: 1.625 + 1.7 * math.exp(-math.log(1 + k)), 1.62),
        shuffled=losses(lambda k: 1.622 + 1.6 * math.exp(-math.log(1 + k)), 1.62),
        untrained=losses(lambda k: 4.17 + 0.003 / k, 4.17),
        guessing=3.31,
        guessing_error=0.031,
        lacking=32,
        enough=64,
    )


def _decay(first: float, steps: float) -> Decay:
    middle = tuple(first * math.exp(-lag / steps) for lag in LAGS)
    return Decay(LAGS, middle, tuple(m / 2.1 for m in middle), tuple(m * 2.3 for m in middle))


def _lives(layer: int, longest: float) -> tuple[float | None, ...]:
    made = [0.6 + longest * (k / UNITS) ** 3 + layer / 7 for k in range(UNITS)]
    return (*made[:-1], None)


def _gate(layer: int, number: int, name: str) -> Gate:
    peak = 5 * number + 3 * layer + 2
    weights = [math.exp(-(((k - peak) / 4) ** 2)) for k in range(20)]
    shares = tuple(w / sum(weights) for w in weights)
    stuck = ((4,), (7, 9)) if name == "f" and layer else ((), ())
    return Gate(layer, name, sum(shares[:2]), sum(shares[18:]), shares, *stuck, UNITS)
