"""`LanguageModel.attribute`: what is asked, checked; put to the methods; their answers compared."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from cellwright.lm.attribution import METHODS, Attribution, Part, Token, run
from cellwright.lm.attribution.judge import judged
from cellwright.lm.attribution.run import Question, Shares
from cellwright.lm.attribution.spans import (
    SPANS,
    AttributionError,
    Span,
    token_id,
    token_spans,
    word_spans,
)

if TYPE_CHECKING:
    from cellwright.lm.model import LanguageModel, States

FURTHEST: Final = 128  # tokens that are looked at where nobody says how many
STEPS: Final = 32  # of integrated gradients


@dataclass(frozen=True)
class Asked:
    """The arguments of `LanguageModel.attribute`; AttributionError for those out of range."""

    target: Token | None = None
    method: str = "ablation"
    against: Token | Sequence[Token] | None = None
    at: int | None = None
    replacements: Token | Sequence[Token] | None = None
    spans: str = "token"
    steps: int | None = None
    furthest: int | None = FURTHEST

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise AttributionError(
                f"method: expected one of {', '.join(METHODS)}, got {self.method!r:.60}"
            )
        if self.spans not in SPANS:
            raise AttributionError(
                f"spans: expected one of {', '.join(SPANS)}, got {self.spans!r:.60}"
            )
        if self.steps is not None and self.method != "integrated-gradients":
            raise AttributionError(f"steps: are of integrated-gradients; {self.method} takes none")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise AttributionError(f"steps: expected 1 to 1000, got {self.steps}")
        if self.furthest is not None and self.furthest < 1:
            raise AttributionError(f"furthest: expected at least 1 token, got {self.furthest}")


def attribute(
    model: "LanguageModel",
    ids: Sequence[int],
    named: Callable[[int], str],
    asked: Asked,
    state: "States | None" = None,
) -> Attribution:
    """`LanguageModel.attribute` for token ids; `named` shows a token."""
    if any(p.is_inference() for p in model.parameters()):
        raise AttributionError(
            "attribute: the model was made under torch.inference_mode(), where no gradient can be "
            "taken of it; make it outside"
        )
    end = _place(asked.at, len(ids))
    read = tuple(ids[: end + 1])
    logits = run.last_logits(model, read, state)
    if not bool(torch.isfinite(logits).all()):
        raise AttributionError(
            f"text: the model's logits after token {end} are not numbers; it overflows, or its "
            "weights are not finite: train it with a smaller --lr or --clip"
        )
    wanted, chosen = _target(model, ids, asked, int(logits.argmax()))
    contrast = _contrast(model, asked.against, wanted, named)
    spans = _window(_spans(model, ids, named, asked), read, asked.furthest)
    if not any(span.others for span in spans):
        raise AttributionError(
            "replacements: none differs from what it would replace, so there is nothing to ask; "
            "name others"
        )
    question = Question(read, wanted, contrast, spans, state)
    steps = asked.steps or STEPS
    shares = {name: _ask(model, question, name, steps) for name in _needed(asked.method)}
    p = torch.softmax(logits, -1)
    made = Attribution(
        method=asked.method,
        parts=_parts(model, shares[asked.method], question, named),
        at=end,
        target=named(wanted),
        chosen=chosen,
        against=tuple(map(named, contrast)),
        probability=float(p[wanted]),
        against_probabilities=tuple(float(p[k]) for k in contrast),
        score=float(run.score(logits[None], wanted, contrast)),
        level=model.tokenizer.level if model.tokenizer is not None else None,
        spans=asked.spans,
        left_out=question.first,
        unknown=_unknown(model, read),
        companions=(),
        warning="",
    )
    return judged(made, shares, steps)


def _place(at: int | None, length: int) -> int:
    if at is None:
        return length - 1
    if not 0 <= at < length:
        raise AttributionError(f"at: expected 0 to {length - 1}, a token of the text, got {at}")
    return int(at)


def _target(
    model: "LanguageModel", ids: Sequence[int], asked: Asked, likeliest: int
) -> tuple[int, str]:
    """The token asked for; else the one that follows `at` in the text, else the likeliest."""
    if asked.target is not None:
        return token_id(model.tokenizer, model.shape.vocab, asked.target, "target"), "given"
    if asked.at is not None and asked.at + 1 < len(ids):
        return ids[asked.at + 1], "next"
    return likeliest, "likeliest"


def _contrast(
    model: "LanguageModel",
    against: Token | Sequence[Token] | None,
    target: int,
    named: Callable[[int], str],
) -> tuple[int, ...]:
    tokens = _several(against, "against")
    found = [token_id(model.tokenizer, model.shape.vocab, t, "against") for t in tokens]
    if target in found:
        raise AttributionError(
            f"against: {named(target)!r} is the target itself; name another token"
        )
    return tuple(dict.fromkeys(found))


def _several(tokens: Token | Sequence[Token] | None, what: str) -> Sequence[Token]:
    if tokens is None:
        return ()
    if isinstance(tokens, str) or not isinstance(tokens, Sequence):
        return (tokens,)
    if not tokens:
        raise AttributionError(f"{what}: expected one token at least, got none; leave it out")
    return tokens


def _spans(
    model: "LanguageModel", ids: Sequence[int], named: Callable[[int], str], asked: Asked
) -> tuple[Span, ...]:
    """The parts of the whole text, with what takes their place."""
    tokenizer, vocab, spans = model.tokenizer, model.shape.vocab, asked.spans
    unknown = tokenizer.unknown_id if tokenizer is not None else None
    others = _several(asked.replacements, "replacements")
    if spans == "word" and tokenizer is None:
        raise AttributionError("spans: this model has no tokenizer, so it knows no words")
    if spans == "token" or tokenizer is None or tokenizer.level == "word":
        given = [[token_id(tokenizer, vocab, t, "replacements")] for t in others]
        return token_spans(ids, vocab, given, unknown)
    given = []
    for other in others:
        word = tokenizer.encode(other) if isinstance(other, str) and other else None
        given.append(word or [token_id(tokenizer, vocab, other, "replacements")])
    return word_spans(ids, [named(k) for k in ids], vocab, given, unknown)


def _window(spans: Sequence[Span], read: Sequence[int], furthest: int | None) -> tuple[Span, ...]:
    """The spans of the last `furthest` tokens read; one that begins before them is whole."""
    first = 0 if furthest is None else max(0, len(read) - furthest)
    kept = [s for s in spans if s.stop > first and s.start < len(read)]
    last = kept[-1]
    if last.stop > len(read):  # the text goes on within this word
        own = tuple(read[last.start :])
        others = dict.fromkeys(other[: len(own)] for other in last.others)
        kept[-1] = Span(last.start, len(read), tuple(o for o in others if o != own))
    return tuple(kept)


def _needed(method: str) -> tuple[str, ...]:
    """The methods that are run: the costly one only where it was asked for."""
    return METHODS if method == "integrated-gradients" else METHODS[:2]


def _ask(model: "LanguageModel", asked: Question, method: str, steps: int) -> Shares:
    if method == "ablation":
        found = run.ablation(model, asked)
    elif method == "gradient":
        found = run.gradient(model, asked)
    else:
        found = run.integrated_gradients(model, asked, steps)
    if not all(math.isfinite(value) for value in found.means):
        raise AttributionError(
            f"text: {method} overflows on it; the model's weights are too large, or not finite"
        )
    return found


def _parts(
    model: "LanguageModel", shares: Shares, asked: Question, named: Callable[[int], str]
) -> tuple[Part, ...]:
    def text(tokens: Sequence[int]) -> str:
        if model.tokenizer is not None and model.tokenizer.level == "bpe":
            return model.tokenizer.decode(tokens)  # one character may be several tokens
        return "".join(map(named, tokens))

    return tuple(
        Part(
            text(asked.ids[span.start : span.stop]),
            span.start,
            span.stop,
            mean,
            min(own, default=0.0),
            max(own, default=0.0),
            tuple(map(text, span.others)),
        )
        for span, own, mean in zip(asked.spans, shares.parts, shares.means, strict=True)
    )


def _unknown(model: "LanguageModel", ids: Sequence[int]) -> int:
    unknown = model.tokenizer.unknown_id if model.tokenizer is not None else None
    return 0 if unknown is None else list(ids).count(unknown)
