"""Trace names: what can be seen of a layer, and the patterns that choose from it."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cellwright.language.masks import expected
from cellwright.language.ops import COMPARISONS
from cellwright.nn.layers import Layer
from cellwright.runtime.trail import NEXT, PRE, PREV, Named, TraceError, named_values

SPELLED = re.compile(r"layers\.(\d+)(_reverse)?\.(.+)")


@dataclass(frozen=True)
class Place:
    """A named value of one layer in one direction; in full it is `layers.0.f`.

    What a backward direction computes is `layers.0_reverse.f`, as torch names its weights.
    """

    layer: int
    reverse: bool
    seen: Named

    @property
    def name(self) -> str:
        return f"layers.{self.layer}{'_reverse' * self.reverse}.{self.seen.name}"


def places(layers: Sequence[Layer]) -> dict[str, Place]:
    """List all that can be seen of a stack, by name, the lowest layer first."""
    found: dict[str, Place] = {}
    for k, layer in enumerate(layers):
        graph = layer.plan.cell.graph
        kept = named_values(graph)
        if layer.drawn is not None:  # what training draws for must be there in evaluation too
            kept = {
                n: seen for n, seen in kept.items() if n in named_values(layer.drawn.cell.graph)
            }
        for reverse in range(len(layer.suffixes)):
            made = (Place(k, bool(reverse), seen) for seen in kept.values())
            found |= {place.name: place for place in made}
    return found


def chosen(patterns: str | Iterable[str], layers: Sequence[Layer]) -> dict[str, Place]:
    """Return the places that patterns name, in the order of the stack.

    TraceError for a pattern that names nothing; it lists the nearest names.
    """
    known = places(layers)
    if isinstance(patterns, str):
        patterns = (patterns,)
    wanted: set[str] = set()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TraceError(f"names are texts like 'layers.0.f' or '*.f', got {pattern!r:.60}")
        wanted |= set(matching(pattern, known) or _unknown(pattern, known, layers))
    if not wanted:
        raise TraceError("names: none given; '*' is every equation, state and input")
    return {name: place for name, place in known.items() if name in wanted}


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the full names that a pattern stands for.

    `*` and `?` are as in file names; without its layer a name means that of every layer. `.pre`
    and `.prev` are met only by a pattern that ends in them: `*` is never a preactivation.
    """
    stem, ending = _parted(_plain(pattern))
    found = []
    for name in names:
        full, own = _parted(name)
        short = full.split(".", 2)[-1]
        if own == ending and (fnmatchcase(full, stem) or fnmatchcase(short, stem)):
            found.append(name)
    return found


def parts(name: str) -> tuple[int, bool, str]:
    """Return the layer of a full name, whether it is of the backward direction, and the rest."""
    match = SPELLED.fullmatch(name)
    if match is None:
        raise TraceError(f"{name!r:.60} is no name of a trace; expected one like 'layers.0.f'")
    return int(match[1]), match[2] is not None, match[3]


def _plain(pattern: str) -> str:
    """Spell a state after the step, `c.next`, as `c`."""
    return re.sub(rf"{re.escape(NEXT)}(?=({re.escape(PRE)})?$)", "", pattern)


def _parted(name: str) -> tuple[str, str]:
    for ending in (PREV, PRE):
        if name.endswith(ending):
            return name.removesuffix(ending), ending
    return name, ""


def nearest(pattern: str, names: Iterable[str]) -> str:
    """Name what a pattern may have been meant for: `did you mean layers.0.f?`, or all there is."""
    names = list(names)
    own = [name.split(".", 2)[-1] for name in names]
    wanted = pattern.split(".", 2)[-1] if pattern.startswith("layers.") else pattern
    close = [short for short in own if wanted.startswith(short) and "." not in short]  # f of forget
    close += difflib.get_close_matches(wanted, dict.fromkeys(own), n=3, cutoff=0.5)
    close = list(dict.fromkeys(close))[:3]
    if pattern.startswith("layers."):  # in that layer if there is one, else in the nearest
        held = [[n for n, short in zip(names, own, strict=True) if short == c] for c in close]
        close = [difflib.get_close_matches(pattern, full, n=1, cutoff=0.0)[0] for full in held]
    if pattern.startswith("layers."):  # those of its layer, or, if there is none, of all
        layer = ".".join(pattern.split(".", 2)[:2]) + "."
        own = [name for name in names if name.startswith(layer)] or names
    known = ", ".join(dict.fromkeys(own))
    return f"did you mean {' or '.join(close)}?" if close else f"known: {known}"


def _unknown(pattern: str, known: Mapping[str, Place], layers: Sequence[Layer]) -> Sequence[str]:
    """Raise TraceError for a pattern that names nothing."""
    cell = layers[0].cell.__name__
    stem, ending = _parted(_plain(pattern))
    if ending == PRE and matching(stem, known):
        raise TraceError(
            f"{cell}: {stem} has no {PRE.lstrip('.')}: no squashing function makes it; "
            f"{nearest(pattern, [n for n in known if n.endswith(PRE)] or known)}"
        )
    for layer in layers:
        for name, index in expected(layer.cell.graph).equations:
            if name == stem and layer.cell.graph.nodes and _is_truth(layer, index):
                raise TraceError(f"{cell}: {name} is a truth value, which no trace holds")
    raise TraceError(f"{cell}: no value is named {pattern!r:.80}; {nearest(pattern, [*known])}")


def _is_truth(layer: Layer, index: int) -> bool:
    return expected(layer.cell.graph).nodes[index].op in COMPARISONS
