"""Memory report: whether a trained language model remembers, how far back, and how one knows."""

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cellwright.inspect.errors import InspectError
from cellwright.inspect.memory import context as memory_context
from cellwright.inspect.memory import gates as memory_gates
from cellwright.inspect.memory import gradients as memory_gradients
from cellwright.inspect.memory.methods import left_out, methods
from cellwright.inspect.memory.report import Decay, Facts, Gradient, MemoryReport
from cellwright.inspect.memory.text import Read, Source, read, source
from cellwright.inspect.memory.verdict import verdict
from cellwright.inspect.units.features import probe
from cellwright.lm.engine import as_begun
from cellwright.lm.model import LanguageModel
from cellwright.lm.run import read_config

LAGS = 200  # steps back, unless asked for another number
PLACES = 2048
WINDOWS = 64  # predictions whose gradient is taken
SHUFFLES = 50
UNITS = {"char": "character", "word": "word", "bpe": "token"}


@dataclass(frozen=True)
class Asked:
    """What to measure: how many places and lags, which contexts (None: the usual ones).

    Without `lags` they are 200, or what the text allows. `seed` is of what is shuffled.
    """

    places: int = PLACES
    contexts: Sequence[int] | None = None
    lags: int | None = None
    seed: int = 0

    @property
    def options(self) -> tuple[str, ...]:
        """What differs from the defaults, as one would type it; contexts cannot be typed."""
        given = {"--places": (self.places, PLACES), "--lags": (self.lags, None),
                 "--seed": (self.seed, 0)}  # fmt: skip
        return tuple(
            word
            for flag, (own, usual) in given.items()
            if own != usual
            for word in (flag, f"{own}")
        )


@dataclass(frozen=True)
class Subject:
    """Whose memory is measured: a model, and one with the weights that its training began with.

    `window` are the tokens of training's windows, `varied` whether their lengths were drawn.
    """

    name: str
    model: LanguageModel
    fresh: LanguageModel
    window: int
    varied: bool


def measure(
    run: Path,
    text: str | Path | None = None,
    asked: Asked | None = None,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> MemoryReport:
    """Measure how far back a run's model remembers on a text.

    text: the text itself, a file, or None for the run's validation text (its training text where
    it has none); of a long one, its first 50,000 tokens. The same arguments give the same numbers.
    `on_progress` hears what is done next. InspectError for a text that is too short or of another
    kind, and for a model whose numbers are none; RunError for a directory that is no run.
    """
    began = time.perf_counter()
    config = read_config(run)
    model = LanguageModel.from_pretrained(run)
    assert model.tokenizer is not None
    given = source(run, text, model.tokenizer)
    fresh = as_begun(config, model)
    subject = Subject(f"{run}", model, fresh, config.steps, config.vary_steps)
    made = report(subject, given, asked or Asked(), on_progress)
    seconds = time.perf_counter() - began
    return dataclasses.replace(made, facts=dataclasses.replace(made.facts, seconds=seconds))


def report(
    subject: Subject, given: Source, asked: Asked, on_progress: Callable[[str], None]
) -> MemoryReport:
    """Measure a subject's memory on a text; `seconds` are left at 0."""
    if asked.places < 2:
        raise InspectError(f"places: expected at least 2, got {asked.places}")
    tokens = len(given.ids)
    chosen = memory_context.places(tokens, asked.places, asked.contexts)
    windows = _windows(tokens, asked.lags)
    wanted = [*chosen.starts, *windows.starts, *memory_gates.starts(tokens)]
    on_progress("reading the text")
    model, fresh = (_exact(m) for m in (subject.model, subject.fresh))
    after, before = read(model, given.ids, wanted), _control(read(fresh, given.ids, wanted))
    _check(subject.name, after)
    context = memory_context.measure(
        after, before, chosen, asked.seed, lambda k: on_progress(f"{k} tokens of context")
    )
    on_progress("gradients by lag")
    gradients, silent = _gradients(after, before, windows)
    on_progress("gates")
    gating = memory_gates.look(after)
    first = None if before is None else memory_gates.look(before)
    half_lives = memory_gates.half_lives(gating, first, silent)
    on_progress("units")
    probes = None
    if before is not None:
        probes = probe(model, given.ids, untrained=fresh, shuffles=SHUFFLES, seed=asked.seed)
    facts = _facts(subject, given, asked)
    made = MemoryReport(
        facts=facts,
        verdict=(),
        context=context,
        gradients=gradients,
        half_lives=half_lives,
        gates=gating.gates,
        dead=gating.dead,
        probes=() if probes is None else probes.probed,
        methods=methods(facts, context, windows, given.whole, _computed_in(subject.model)),
        left_out=left_out(subject.model.cell, silent, half_lives, (gating, first), probes),
    )
    return dataclasses.replace(made, verdict=verdict(made, varied=subject.varied))


def _exact(model: LanguageModel) -> LanguageModel:
    """A model in evaluation mode that computes in float32, or float64 where its weights are."""
    if model.embedding.weight.dtype not in (torch.float32, torch.float64):
        model = copy.deepcopy(model).float()
    return model.eval()


def _computed_in(model: LanguageModel) -> str:
    """In which numbers the report computes: the weights', or float32 where they are smaller."""
    dtype = model.embedding.weight.dtype
    if dtype in (torch.float32, torch.float64):
        return f"{dtype}".removeprefix("torch.")
    return f"float32, although the weights are {dtype}".replace("torch.", "")


def _control(before: Read) -> Read | None:
    """The untrained model's reading, where its predictions are numbers."""
    return before if bool(before.losses[1:].isfinite().all()) else None


def _windows(tokens: int, lags: int | None) -> memory_gradients.Windows:
    """Windows whose targets are evenly spread; InspectError for lags that no text so long has."""
    steps = min(LAGS, tokens // 2) if lags is None else lags
    if not 1 <= steps <= tokens - 2:
        raise InspectError(
            f"lags: expected 1 to {tokens - 2} for a text of {tokens} tokens, got {steps}"
        )
    return memory_gradients.Windows(
        memory_context.spread(steps + 1, tokens - 1, WINDOWS), steps + 1
    )


def _check(name: str, after: Read) -> None:
    if not bool(after.losses[1:].isfinite().all()):
        raise InspectError(
            f"{name}: some of the model's predictions are not numbers, its training has diverged; "
            "there is no memory to measure"
        )


def _gradients(
    trained: Read, untrained: Read | None, windows: memory_gradients.Windows
) -> tuple[tuple[Gradient, ...], dict[str, str]]:
    """The gradients in float64, and what has none to show, or not at all lags, and why."""
    after = _norms(trained, windows)
    before = {} if untrained is None else _norms(untrained, windows)
    made, silent = [], {}
    for name, values in after.items():
        first = before.get(name)
        if name != "x" and not values.any() and (first is None or not first.any()):
            silent[name] = "no gradient of a prediction passes through it"
            continue
        decays: list[Decay | None] = [None, None]
        for k, (of, norms) in enumerate(((name, values), (f"{name} untrained", first))):
            if norms is None:
                continue
            lags = memory_gradients.finite_lags(norms)
            if lags < windows.steps:
                silent[f"{of} from {lags} steps back on"] = "too large for numbers"
            if lags:
                decays[k] = memory_gradients.decay(norms[:, :lags])
        if decays[0] is not None:
            made.append(Gradient(name, decays[0], decays[1]))
    return tuple(made), silent


def _norms(r: Read, windows: memory_gradients.Windows) -> dict[str, Tensor]:
    exact = copy.deepcopy(r.model).double().requires_grad_(False)
    return memory_gradients.norms(dataclasses.replace(r, model=exact), windows)


def _facts(subject: Subject, given: Source, asked: Asked) -> Facts:
    model = subject.model
    assert model.tokenizer is not None
    return Facts(
        run=subject.name,
        cell=model.cell.__name__,
        layers=model.shape.layers,
        hidden=model.shape.hidden,
        parameters=model.parameter_count,
        text=given.name,
        tokens=len(given.ids),
        unknown=given.unknown,
        unit=UNITS[model.tokenizer.level],
        window=subject.window,
        threads=torch.get_num_threads(),
        seconds=0.0,
        options=asked.options,
    )
