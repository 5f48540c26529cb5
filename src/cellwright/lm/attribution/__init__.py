"""Which tokens of a text a prediction owes to what: ablation, the gradient, integrated gradients.

S(x) = log p(target | x), or log p(target | x) - log sum over a of p(a | x) for contrasted tokens a

ablation[j]              mean over r of S(x) - S(x with j replaced by r)
gradient[j]              mean over r of -dS/dx_j . (E[r] - x_j)
integrated gradients[j]  mean over r of (x_j - b_j) . integral of dS/dx_j from b to x,
                         b the embedded text with every token replaced by its r (Sundararajan,
                         Taly & Yan 2017, equation 1)

All three are in nats, and positive where a token speaks for the target. They agree where S is
linear in the embeddings; where they do not, the ablation has asked the model itself.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, SupportsIndex

METHODS: Final = ("ablation", "gradient", "integrated-gradients")
Token = str | SupportsIndex  # as the vocabulary names it, or its id


@dataclass(frozen=True)
class Part:
    """A token or word that was looked at: its place, and what it is given, in nats.

    Tokens `start` to `stop` - 1 of the text. `score` is the mean over the `replacements`, `low`
    and `high` the least and the most that one of them alone gives.
    """

    text: str
    start: int
    stop: int
    score: float
    low: float
    high: float
    replacements: tuple[str, ...]


@dataclass(frozen=True)
class Companion:
    """The same question answered by another method, and how far it agrees.

    `correlation` is Spearman's rank correlation of the scores' sizes, over all parts; None for
    fewer than eight. `disagreement` is a sentence, empty where there is none.
    """

    method: str
    scores: tuple[float, ...]
    correlation: float | None
    disagreement: str


@dataclass(frozen=True, repr=False)
class Attribution:
    """What a prediction owes to each of the tokens before it, in nats.

    The token `target` is predicted after token `at` of the text, with `probability`; `score` is
    its log, or with contrasted tokens `against` the log of its odds against them. `chosen` says
    who named the target: "given", or "next" of the text, or "likeliest". `parts` are the
    tokens or words (`spans`) that were looked at, in the order of the text; a token is what
    `level` says: char, word or bpe. `left_out` tokens before them were read and not looked at,
    `unknown` of all were read as `<unk>`. For integrated gradients
    `baseline` is the mean score of the replaced texts, `completeness` the sum of all scores less
    `score` - `baseline`, which would be 0 with endless `steps`. `companions` are the same by the
    other methods, and `warning` says where they disagree; it is empty where they do not.
    """

    method: str
    parts: tuple[Part, ...]
    at: int
    target: str
    chosen: str
    against: tuple[str, ...]
    probability: float
    against_probabilities: tuple[float, ...]
    score: float
    level: str | None
    spans: str
    left_out: int
    unknown: int
    companions: tuple[Companion, ...]
    warning: str
    steps: int | None = None
    baseline: float | None = None
    completeness: float | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The texts of the parts."""
        return tuple(part.text for part in self.parts)

    @property
    def scores(self) -> tuple[float, ...]:
        """The scores of the parts, in nats."""
        return tuple(part.score for part in self.parts)

    @property
    def by_method(self) -> dict[str, tuple[float, ...]]:
        """The scores of the parts by each method that was asked, the chosen one first."""
        return {self.method: self.scores, **{c.method: c.scores for c in self.companions}}

    @property
    def question(self) -> str:
        """What was scored, as a formula: log p('sings') - log p('sing')."""
        first = f"log p({self.target!r})"
        if not self.against:
            return first
        others = " + ".join(f"p({token!r})" for token in self.against)
        return f"{first} − log {others}" if len(self.against) == 1 else f"{first} − log({others})"

    @property
    def headline(self) -> str:
        """What was scored, its score, where, and which token it is if nobody named it."""
        said = f"{self.question} = {signed(self.score)} nats after token {self.at}"
        return said + _CHOSEN[self.chosen].format(target=self.target)

    def how(self, method: str | None = None) -> str:
        """How the scores of a method, or of the chosen one, were computed, in sentences."""
        most = max(len(part.replacements) for part in self.parts)
        what = "word" if self.spans == "word" else "token"
        others = f"{most} others" if most > 1 else "one other" if most else "nothing"
        said = _HOW[method or self.method].format(what=what, others=others)
        left_out = f" The first {self.left_out} tokens were read and not looked at."
        return said + (left_out if self.left_out and not method else "")

    def top(self, n: int = 5) -> tuple[Part, ...]:
        """The `n` parts with the largest scores, whatever their sign."""
        return tuple(sorted(self.parts, key=lambda part: -abs(part.score))[:n])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        """The question, the ten strongest parts in the order of the text, and the warning."""
        shown = sorted(self.top(10), key=lambda part: part.start)
        width = max(len(repr(part.text)) for part in shown)
        lines = [f"{self.headline}, {self.method}"]
        for part in shown:
            spread = f"({signed(part.low)} to {signed(part.high)})"
            lines.append(
                f"{part.start:>6} {part.text!r:<{width}} {signed(part.score):>8}  {spread}"
            )
        if len(self.parts) > len(shown):
            lines.append(f"{len(self.parts) - len(shown):>6} more with less effect")
        return "\n".join([*lines, *([f"warning: {self.warning}"] if self.warning else [])])

    def _repr_html_(self) -> str:
        from cellwright.lm.attribution.html import html_of

        return html_of(self)


_CHOSEN: Final = {
    "given": "",
    "next": " ({target!r} is the text's next token)",
    "likeliest": " ({target!r} is the likeliest next token)",
}
_HOW: Final = {
    "ablation": (
        "Ablation: each {what} is replaced by {others} in turn, the model reads the changed text, "
        "and the score is how much the prediction loses, on average."
    ),
    "gradient": (
        "Gradient: the slope of the prediction at the text as it is, times the way from each "
        "{what} to {others}, on average: a straight line in the place of the model."
    ),
    "integrated-gradients": (
        "Integrated gradients: the slope of the prediction along the straight way from a text in "
        "which every {what} is replaced to the text as it is, on average over {others}. The "
        "scores add up to what the prediction gains on that way."
    ),
}


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign: +1.25, −0.30; 0.00 for what rounds to it."""
    shown = f"{value:+.{digits}f}".replace("-", "−")
    return shown if shown.strip("+−0.") else shown[1:]
