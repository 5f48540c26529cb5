"""The walkthrough as one page: the model, its equations, a text, and what computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cellwright.inspect.errors import InspectError
from cellwright.inspect.files import check_replaceable, put_page
from cellwright.inspect.walk.facts import (
    live_facts,
    page_facts,
    stored_facts,
    versus_facts,
)
from cellwright.inspect.walk.pack import Floats, Rounded, difference
from cellwright.inspect.walk.parts import body
from cellwright.inspect.walk.values import Reading, read
from cellwright.web import LARGEST, page

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

MOST_TOKENS: Final = 400  # of a text; walk_text.js has the same number
AGREES: Final = 5e-4  # the largest difference of logits for which a page of rounded weights is live
STYLES: Final = ("page.css", "walk.css")
SCRIPTS: Final = (
    "page.js",
    "walk_engine.js",
    "walk_pack.js",
    "walk_text.js",
    "walk_lines.js",
    "walk_view.js",
    "walk_steps.js",
    "walk.js",
)
ROOM_FOR_REST: Final = 200_000  # bytes of a page that are not numbers
SPARE: Final = 4_000  # bytes that rounded weights leave free: their room is known to a thousandth
ONE_TEXT: Final = "so this page shows the text it was made with and no other."


@dataclass(frozen=True)
class Written:
    """A page that was written: its bytes, whether it computes by itself, and if not, why."""

    size: int
    live: bool
    why: str


def write_page(
    out: Path,
    model: "LanguageModel",
    text: str,
    versus: "LanguageModel | None" = None,
    beside: Sequence[str] = (),
) -> Written:
    """Write the walkthrough of a model and a text into the file `out`, whole or not at all.

    `versus` is a second model that reads the same text; its tokens must be the first one's.
    `beside` names runs that could be one, for the page to mention.
    Errors: InspectError for a text that is too long for a page, or a file that holds something
    else; RunError where it cannot be written.
    """
    check_replaceable(out)
    made, live, why = build_page(model, text, versus, beside)
    return Written(put_page(out, made), live, why)


def build_page(
    model: "LanguageModel",
    text: str,
    versus: "LanguageModel | None" = None,
    beside: Sequence[str] = (),
) -> tuple[str, bool, str]:
    """Return the page, whether it is live, and if not, a sentence that says why.

    Live is a page whose weights fit in float32, or rounded to a grid as fine as fits where the
    logits stay within AGREES of PyTorch's.
    """
    reading = read(model, text)
    if reading.steps > MOST_TOKENS:
        raise InspectError(
            f"--text: expected at most {MOST_TOKENS} tokens, got {reading.steps}; give a part of it"
        )
    if versus is not None:
        _check_alike(model, versus)
    asked = _Asked(model, versus, reading, text, tuple(beside))
    made, why = asked.live()
    if made is None:
        made = asked.stored(why)
    size = len(made.encode("utf-8"))
    if size > LARGEST:
        fits = max(1, int(reading.steps * (LARGEST - ROOM_FOR_REST) / size))
        raise InspectError(
            f"--text: {reading.steps} tokens of this model make a page of {size / 1e6:.1f} MB, at "
            f"most {LARGEST / 1e6:.0f} MB; give a text of about {fits} tokens"
        )
    return made, not why, why


@dataclass(frozen=True)
class _Asked:
    """What a page is to show, in every form that it may take."""

    model: "LanguageModel"
    versus: "LanguageModel | None"
    reading: Reading
    text: str
    beside: tuple[str, ...]

    @property
    def models(self) -> list["LanguageModel"]:
        return [self.model, *([self.versus] if self.versus is not None else [])]

    def live(self) -> tuple[str | None, str]:
        """Return the page that computes by itself, or None and why there is none."""
        weights = sum(model.parameter_count for model in self.models)
        if 5 * weights + ROOM_FOR_REST <= LARGEST:
            floats = Floats()
            return self._page(self._with_models(floats), floats), ""
        large = f"Stored: with {weights:,} weights the model does not fit into a page of {_most()}"
        numbers = Rounded()
        facts = self._with_models(numbers)
        rest = len(self._page(facts, numbers).encode("utf-8"))
        packed = numbers.packed(LARGEST - rest - SPARE)
        if packed is None:
            return None, f"{large}, {ONE_TEXT}"
        specs = [facts["model"], *([facts["versus"]["model"]] if self.versus is not None else [])]
        worst = max(
            difference(model, spec, packed, self.reading.ids)
            for model, spec in zip(self.models, specs, strict=True)
        )
        if not worst <= AGREES:
            return None, (
                f"{large}: rounded so that they fit, its logits would differ from PyTorch's by "
                f"{worst:.0e}; {ONE_TEXT}"
            )
        return self._page({**facts, "rounded": packed.facts()}, numbers), ""

    def stored(self, why: str) -> str:
        """Return the page that shows what was computed here."""
        floats = Floats()
        facts = self._facts() | stored_facts(self.model, self.reading, floats) | {"why": why}
        if self.versus is not None:
            facts["versus"] = versus_facts(self.versus, self.model, self.text, None)
        return self._page(facts, floats)

    def _facts(self) -> dict[str, Any]:
        return page_facts(self.model, self.reading, self.text) | {"invite": _invite(self.beside)}

    def _with_models(self, numbers: Floats) -> dict[str, Any]:
        facts = self._facts() | live_facts(self.model, self.reading, numbers)
        if self.versus is not None:
            facts["versus"] = versus_facts(self.versus, self.model, self.text, numbers)
        return facts

    def _page(self, facts: Mapping[str, Any], numbers: Floats) -> str:
        return page(
            f"{self.model.cell.__name__} reads {_short(self.text)}",
            styles=STYLES,
            body=body(self.model, self.reading, _short(self.text)),
            data={"facts": facts},
            blobs={"floats": numbers.bytes()},
            scripts=SCRIPTS,
        )


def _most() -> str:
    return f"{LARGEST / 1e6:.0f} MB"


def _invite(beside: Sequence[str]) -> str:
    """Say how a second model comes to be shown; `beside` are runs of the same vocabulary."""
    if beside:
        return (
            f"Beside this run lie others that read the same tokens: {', '.join(beside)}. To see "
            "one of them here, name it: cellwright inspect walkthrough RUN --text … --versus OTHER"
        )
    return (
        "To see another cell here, train one on the same text and name it: "
        "cellwright inspect walkthrough RUN --text … --versus OTHER"
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line if len(line) <= 48 else line[:47] + '…'}”"


def _check_alike(model: "LanguageModel", versus: "LanguageModel") -> None:
    assert model.tokenizer is not None and versus.tokenizer is not None
    if model.tokenizer.digest != versus.tokenizer.digest:
        raise InspectError(
            "--versus: its vocabulary is another one, so the two do not read the same tokens; "
            "train both on the same text"
        )
