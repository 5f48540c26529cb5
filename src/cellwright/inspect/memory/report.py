"""A memory report: whether a language model remembers, how far back, and how one knows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cellwright.inspect.units.probes import Probed

SCREENS = ("verdict", "context", "gradients", "half-lives", "gates", "units")


@dataclass(frozen=True)
class Facts:
    """What was measured: a run, its cell and sizes, and the text.

    `unit` is what a token is called, "character", "word" or "token"; `window` the tokens through
    which training sent gradients back; `seconds` how long the report took. `options` are words
    that the command line needs, beside the run and the text, to measure the same again.
    """

    run: str
    cell: str
    layers: int
    hidden: int
    parameters: int
    text: str
    tokens: int
    unknown: int
    unit: str
    window: int
    threads: int
    seconds: float
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """A sentence of the verdict, and the screen on which its number stands."""

    text: str
    screen: str


@dataclass(frozen=True)
class Losses:
    """Mean loss in nats by how many tokens are known before the predicted one.

    `full` is the loss with all the text before, over all places, and each loss is `full` plus the
    mean excess over it, paired by place; `error` is the standard error of that excess.
    """

    loss: tuple[float, ...]
    error: tuple[float, ...]
    full: float


@dataclass(frozen=True)
class Context:
    """Loss against context: the state set to zero `contexts[k]` tokens back.

    reset      the trained model, states zero before the context, at `places` places
    stranger   the same, but the context follows other text instead of nothing
    shuffled   all text before is there, but what lies next before the context, as much again (at
               least 64 tokens), stands in another order
    untrained  `reset` for weights as training began with them; None where they give no numbers
    controls   at how many of the places `stranger`, `shuffled` and `untrained` were measured
    guessing   the loss of guessing by how often each token occurs in the text; `guessing_error` is
               the standard error of what it is above all the text before
    lacking    the longest context that is shown to lack something: its loss is above that of all
               the text before by more than three standard errors and more than 0.005 nats; None
               where none is
    enough     the first context that is shown to be enough, as are all longer ones: the loss and
               three standard errors are less than 0.005 nats above that of all the text before;
               None where none is
    """

    contexts: tuple[int, ...]
    places: int
    controls: int
    reset: Losses
    stranger: Losses
    shuffled: Losses
    untrained: Losses | None
    guessing: float
    guessing_error: float
    lacking: int | None
    enough: int | None

    @property
    def used(self) -> int | None:
        """The context used, where no other measured lies between `lacking` and `enough`."""
        if self.enough is None:
            return None
        at = self.contexts.index(self.enough)
        below = self.contexts[at - 1] if at else None
        return self.enough if below == self.lacking else None


@dataclass(frozen=True)
class Decay:
    """Norms of a gradient by lag: the median over places, and the quartiles around it."""

    lags: tuple[int, ...]
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Gradient:
    """How the gradient of log p of the true next token falls off, by `of` what.

    `of` is "x" for the embedded tokens, or "layers.0.c" for a state of a layer. `untrained` is None
    where it gives no numbers.
    """

    of: str
    trained: Decay
    untrained: Decay | None


@dataclass(frozen=True)
class HalfLives:
    """How many steps each unit of a state keeps half of what it holds, by its gates alone.

    ln 2 / -ln f, f the geometric mean over the text of what the unit is multiplied with, `keep`;
    None where it never fades. `resets`: the keep of some units is 0 at some steps and otherwise 1,
    as a clock's is, and f is 0; theirs is the mean number of steps from one 0 to the next instead.
    `untrained` is None where it gives no numbers.
    """

    layer: int
    state: str
    keep: str
    trained: tuple[float | None, ...]
    untrained: tuple[float | None, ...] | None
    resets: bool = False


@dataclass(frozen=True)
class Gate:
    """A gate's values over the text.

    `low`, `high`: shares below 0.1 and above 0.9; `histogram`: shares in 20 equal bins of 0 to 1;
    `shut`, `open`: units below 0.01, above 0.99, at every token.
    """

    layer: int
    name: str
    low: float
    high: float
    histogram: tuple[float, ...]
    shut: tuple[int, ...]
    open: tuple[int, ...]
    units: int


@dataclass(frozen=True)
class Dead:
    """Units of a layer's output that hardly move: within 0.01 of one value at every token.

    They are called dead, and may still carry something: weights can make much of little.
    """

    layer: int
    dead: tuple[int, ...]
    units: int


@dataclass(frozen=True)
class MemoryReport:
    """The six screens: verdict, context, gradients, half-lives, gates and units.

    `methods` says for each screen how its numbers were computed; `left_out` what could not be
    measured, by screen, and why.
    """

    facts: Facts
    verdict: tuple[Sentence, ...]
    context: Context
    gradients: tuple[Gradient, ...]
    half_lives: tuple[HalfLives, ...]
    gates: tuple[Gate, ...]
    dead: tuple[Dead, ...]
    probes: tuple[Probed, ...]
    methods: Mapping[str, str]
    left_out: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return asdict(self)

    def _repr_html_(self) -> str:
        from cellwright.inspect.memory.page import notebook

        return notebook(self)
