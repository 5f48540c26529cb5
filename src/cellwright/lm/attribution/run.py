"""How a score is shared out among the tokens of a text: three measures, each a few batched passes.

S(x) = log p(target | x) - log sum over a of p(a | x) over the contrasted tokens a, or log p(target)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from cellwright.lm.attribution.spans import Span

if TYPE_CHECKING:
    from cellwright.lm.model import LanguageModel, States

ROWS: Final = 64  # texts in one batch; more of them would share less of what they have read
CALL_TOKENS: Final = 32_768  # read in one call without gradients: bounds the memory
GRADIENT_TOKENS: Final = 8_192  # with them: every step is kept


@dataclass(frozen=True)
class Question:
    """Why `target`, and none of `against`, after the tokens `ids` read from `state`.

    `spans` are what is replaced, one after the other up to the end of `ids`.
    """

    ids: tuple[int, ...]
    target: int
    against: tuple[int, ...]
    spans: tuple[Span, ...]
    state: "States | None" = None

    @property
    def first(self) -> int:
        """The first token that is looked at."""
        return self.spans[0].start


@dataclass(frozen=True)
class Shares:
    """What each span is given, for each of its replacements, in nats: [spans][replacements].

    `score` is S of the text; `baseline` the mean of S where all spans are replaced, or None where
    nobody asked.
    """

    score: float
    parts: tuple[tuple[float, ...], ...]
    baseline: float | None = None

    @property
    def means(self) -> tuple[float, ...]:
        """The mean over the replacements, 0 where there is none."""
        return tuple(sum(own) / len(own) if own else 0.0 for own in self.parts)


@contextmanager
def evaluating(model: "LanguageModel") -> Iterator[None]:
    """Within the block, the model is in eval mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def score(logits: Tensor, target: int, against: Sequence[int]) -> Tensor:
    """S of logits [B, vocab]: [B], in float64."""
    logs = torch.log_softmax(logits.double(), -1)
    scores = logs[:, target]
    return scores - torch.logsumexp(logs[:, list(against)], -1) if against else scores


def last_logits(model: "LanguageModel", ids: Sequence[int], state: "States | None") -> Tensor:
    """Logits [vocab] of the token after `ids`, in float64 on the CPU."""
    with evaluating(model), torch.no_grad():
        h, _ = model.recurrent(_embedded(model, ids), one_row(state))
        return model.decoder(h[-1]).double().cpu()


def ablation(model: "LanguageModel", asked: Question) -> Shares:
    """S(x) - S(x with the span replaced), by running the model.

    What stands before a group of spans is read once, and its state given to every row.
    """
    parts: list[tuple[float, ...]] = []
    whole, read, state = 0.0, 0, one_row(asked.state)
    with evaluating(model), torch.no_grad():
        for group in _groups(model, asked):
            start = 0 if _is_patched(model) else group[0].start
            if start > read:
                _, state = model.recurrent(_embedded(model, asked.ids[read:start]), state)
                read = start
            rest = asked.ids[start:]
            rows = [rest, *(_changed(asked, s, o, start) for s in group for o in s.others)]
            h, _ = model.recurrent(_embedded(model, rows), rows_of(state, len(rows)))
            scores = score(model.decoder(h[:, -1]), asked.target, asked.against).tolist()
            whole, drops = scores[0], iter([scores[0] - s for s in scores[1:]])
            parts += [tuple(next(drops) for _ in span.others) for span in group]
    return Shares(whole, tuple(parts))


def gradient(model: "LanguageModel", asked: Question) -> Shares:
    """-dS/dx . (E[replacement] - x), summed over the span: S along a straight line."""
    with _differentiating(model):
        origin, state = _origin(model, asked)
        x = _embedded(model, [asked.ids[origin:]])  # [1, T, E]
        scores, slopes = _slopes(model, asked, x, state)
        parts = []
        for span in asked.spans:
            at = slice(span.start - origin, span.stop - origin)
            moves = [x[0, at] - _embedded(model, other) for other in span.others]
            parts.append(tuple(float((slopes[0, at] * m).sum()) for m in moves))
    return Shares(float(scores[0]), tuple(parts))


def integrated_gradients(model: "LanguageModel", asked: Question, steps: int) -> Shares:
    """(x - b) . integral over s from 0 to 1 of dS/dx at b + s (x - b), summed over each span.

    b is the text with all spans replaced at once, one b for each replacement; where a span has
    fewer than another, its own serve in turn. The integral is Gauss's rule of `steps` points.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    with _differentiating(model):
        origin, state = _origin(model, asked)
        x = _embedded(model, asked.ids[origin:])  # [T, E]
        texts = list(_baselines(asked, origin))
        bases = _embedded(model, texts)  # [R, T, E]
        rule = list(zip((1 + nodes) / 2, weights / 2, strict=True))  # from 0 to 1
        points = [(k, s, w) for k in range(len(texts)) for s, w in rule]
        slopes = torch.zeros_like(bases, dtype=torch.float64)
        at_once = max(1, GRADIENT_TOKENS // len(x))
        for begin in range(0, len(points), at_once):
            chosen = points[begin : begin + at_once]
            rows = torch.stack([bases[k] + s * (x - bases[k]) for k, s, _ in chosen])
            for (k, _, w), slope in zip(chosen, _slopes(model, asked, rows, state)[1], strict=True):
                slopes[k] += w * slope
        shares = ((x - bases) * slopes).sum(-1).cpu()  # [R, T]
        low = score(_last(model, bases, state), asked.target, asked.against)
        whole = score(_last(model, x[None], state), asked.target, asked.against)
    parts = tuple(
        tuple(shares[:, s.start - origin : s.stop - origin].sum(1).tolist()) for s in asked.spans
    )
    return Shares(float(whole[0]), parts, float(low.mean()))


def one_row(state: "States | None") -> "States | None":
    """A state without a batch; one of a batch of a single row is taken for it.

    It is a copy: one that was made under torch.inference_mode() takes part in no gradient.
    """
    return _mapped(
        state, lambda s: s[:, 0].clone() if s.dim() == 3 and s.shape[1] == 1 else s.clone()
    )


def rows_of(state: "States | None", rows: int) -> "States | None":
    """The same state for each of so many rows."""
    return _mapped(state, lambda s: s.unsqueeze(1).expand(-1, rows, -1).contiguous())


def _mapped(state: "States | None", change: Callable[[Tensor], Tensor]) -> "States | None":
    if state is None or isinstance(state, Tensor):
        return None if state is None else change(state)
    return tuple(made for s in state if (made := _mapped(s, change)) is not None)


def _embedded(model: "LanguageModel", ids: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """Vectors of tokens [T], or of rows of tokens [B, T]."""
    weight = model.embedding.weight
    return weight.detach()[torch.tensor(ids, device=weight.device)]


def _is_patched(model: "LanguageModel") -> bool:
    """Whether values are replaced by step, so that every text must be read from its start."""
    return model.recurrent._patched is not None


def _groups(model: "LanguageModel", asked: Question) -> Iterator[list[Span]]:
    """Spans side by side that are replaced in one batch."""
    group: list[Span] = []
    rows = 1
    for span in asked.spans:
        start = 0 if _is_patched(model) else (group or [span])[0].start
        most = min(ROWS, CALL_TOKENS // (len(asked.ids) - start))
        if group and rows + len(span.others) > most:
            yield group
            group, rows = [], 1
        group.append(span)
        rows += len(span.others)
    yield group


def _changed(asked: Question, span: Span, other: Sequence[int], start: int) -> Sequence[int]:
    return (*asked.ids[start : span.start], *other, *asked.ids[span.stop :])


def _baselines(asked: Question, origin: int) -> Iterator[list[int]]:
    """The text from `origin` on with all spans replaced, by each of their replacements."""
    for k in range(max(1, *(len(span.others) for span in asked.spans))):
        made = list(asked.ids[origin:])
        for span in asked.spans:
            if span.others:
                made[span.start - origin : span.stop - origin] = span.others[k % len(span.others)]
        yield made


@contextmanager
def _differentiating(model: "LanguageModel") -> Iterator[None]:
    """Within the block, gradients can be taken whatever the caller has switched off."""
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        yield


def _origin(model: "LanguageModel", asked: Question) -> "tuple[int, States | None]":
    """Where the rows begin, and the state there: what stands before is read once."""
    state = one_row(asked.state)
    if asked.first == 0 or _is_patched(model):
        return 0, state
    return asked.first, model.recurrent(_embedded(model, asked.ids[: asked.first]), state)[1]


def _last(model: "LanguageModel", x: Tensor, state: "States | None") -> Tensor:
    h, _ = model.recurrent(x, rows_of(state, len(x)))
    return model.decoder(h[:, -1])


def _slopes(
    model: "LanguageModel", asked: Question, x: Tensor, state: "States | None"
) -> tuple[Tensor, Tensor]:
    """S [B] of vectors [B, T, E], and its gradient, [B, T, E] in float64."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        scores = score(_last(model, x, state), asked.target, asked.against)
        (slopes,) = torch.autograd.grad(scores.sum(), x)  # rows do not meet: each has its own
    return scores.detach(), slopes.double()
