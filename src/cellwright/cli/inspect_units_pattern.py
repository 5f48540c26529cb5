"""`cellwright inspect units --find`: where else the units of a stretch of text are on."""

import re
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cellwright.cli.faults import UsageFault
from cellwright.cli.quantities import count
from cellwright.cli.terminal import paragraph

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.inspect.units.pattern import Match, Pattern
    from cellwright.inspect.units.states import Tokens

AROUND = 24  # characters of context on each side of a match
WORDS_AROUND = 5
MATCHES = 10  # that are printed unless told otherwise


def stretch(read: "Tokens", find: str | None, select: str | None) -> tuple[int, int]:
    """The tokens that the flags name; UsageFault for none, or for both."""
    from cellwright.inspect.units.pattern import span_of

    if find is not None and select is not None:
        raise UsageFault("give --find or --select: one of the two")
    if find is not None:
        return span_of(read, find)
    found = re.fullmatch(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*", select or "")
    if found is None or not int(found[1]) < int(found[2]) <= len(read):
        raise UsageFault(
            f"--select: expected A:B, tokens A to B without B, with A < B <= {len(read)}, got "
            f"{select!r:.40}"
        )
    return int(found[1]), int(found[2])


def facts(read: "Tokens", pattern: "Pattern", name: str, state: str) -> dict[str, Any]:
    """The pattern as JSON values, with the text of each match."""
    made = pattern.to_dict()
    made["text"] = _said(read, pattern.first, pattern.end)
    for match, found in zip(made["matches"], pattern.matches, strict=True):
        match["text"] = _said(read, found.first, found.end)
    return {"measured": name, "state": state, **made}


def print_pattern(
    out: "Console", read: "Tokens", pattern: "Pattern", name: str, state: str
) -> None:
    """The units that are on, and the matches with what stands around them."""
    first, end, total = pattern.first, pattern.end, len(pattern.units)
    out.print(name, style="bold", soft_wrap=True)
    out.print(f"tokens {first}:{end}: ", _line(read, first, end, AROUND), sep="", soft_wrap=True)
    names = ", ".join(f"{on.column.place} {'high' if on.high else 'low'}" for on in pattern.units)
    paragraph(
        out,
        f"{total} unit{'s' * (total > 1)} of state {state} on throughout, more than "
        f"{pattern.above:g} standard deviations from the mean over this text: {names}.",
        indent="  ",
        first="",
    )
    if not pattern.matches:
        paragraph(out, f"\nNowhere else are at least {pattern.need} of them on together.")
        return
    out.print("\n   on  luck  Jaccard  token", style="label")
    for match in pattern.matches:
        out.print(
            f"{match.on:>5} {_luck(pattern, match):>5} {match.jaccard:>8.2f} {match.best:>6}  ",
            _line(read, match.best, match.best + end - first, AROUND),
            sep="",
            soft_wrap=True,
        )
    shown = len(pattern.matches)
    more = f", the best {shown} of {count(pattern.spans)}" if pattern.spans > shown else ""
    best = pattern.matches[0]
    out.print()
    paragraph(
        out,
        f"Places where at least {pattern.need} of the {total} are on throughout as many "
        f"tokens{more}. {best.on} or more are on in {count(pattern.found[best.on])} of "
        f"{count(pattern.stretches)} such stretches. Luck: in how many they would be, on average, "
        "if the values of each unit were shifted round the text by themselves. Jaccard: the units "
        "on in both stretches, over those on in either.",
    )


def _luck(pattern: "Pattern", match: "Match") -> str:
    expected = pattern.luck[match.on]
    return f"{expected:.2f}" if expected < 9.995 else f"{expected:.0f}"


def _line(read: "Tokens", first: int, end: int, around: int) -> Text:
    """A stretch in bold between brackets, with what stands around it, in one line."""
    beside = around if read.level == "char" else WORDS_AROUND
    gap = "" if read.exact else " "
    return Text.assemble(
        _one_line(_said(read, max(0, first - beside), first)),
        gap,
        (f"[{_one_line(_said(read, first, end))}]", "bold"),
        gap,
        _one_line(_said(read, end, min(len(read), end + beside))),
    )


def _said(read: "Tokens", first: int, end: int) -> str:
    between = "" if read.exact else " "
    return between.join(read.pieces[first:end])


def _one_line(text: str) -> str:
    signs = {"\n": "⏎", "\t": "⇥"}
    return "".join(signs.get(sign, sign if sign.isprintable() else "·") for sign in text)
