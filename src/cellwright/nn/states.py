"""States: the forms in which a layer's states come and go, and what lies behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellwright.nn import checks
from cellwright.nn.layers import Layer
from cellwright.nn.running import Start as At
from cellwright.nn.running import Tensors

# Nested as the layers are: a tensor, a tuple of them, or a tuple over layers of either.
States = Tensor | tuple["States", ...]


@dataclass(frozen=True)
class Start:
    """The states [B, width] before the first step and after a reset, by layer and direction."""

    first: Sequence[Tensors]
    fresh: Sequence[Tensors]

    def at(self, index: int) -> At:
        return At(self.first[index], self.fresh[index])


@dataclass(frozen=True)
class Group:
    """Layers whose states lie in one tensor each, [directions of all, B, width]."""

    states: tuple[tuple[str, int], ...]  # name and width
    places: int

    def given(self, hx: object, like: Tensor, batched: bool) -> list[Tensors]:
        """Check what a caller gives, and return it by layer and direction."""
        checked = checks.states(self.states, self.places, hx, like, batched)
        return [tuple([s[k] for s in checked]) for k in range(self.places)]

    def joined(self, parts: Sequence[Tensors], batched: bool) -> States:
        made = [torch.stack(s) for s in zip(*parts, strict=True)]
        made = made if batched else [s.squeeze(1) for s in made]
        return made[0] if len(made) == 1 else tuple(made)

    def paths(
        self, parts: Sequence[Tensors], change: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        made = [change(torch.stack(s)) for s in zip(*parts, strict=True)]
        return dict(zip((name for name, _ in self.states), made, strict=True))


@dataclass(frozen=True)
class Form:
    """What a stack's states look like from outside: as torch's where all layers' are alike."""

    groups: tuple[Group, ...]

    def given(self, hx: object, like: Tensor, batched: bool) -> list[Tensors]:
        """Check what a caller gives; the states [B, width] of each layer and direction."""
        if len(self.groups) == 1:
            return self.groups[0].given(hx, like, batched)
        held = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        if len(held) != len(self.groups):
            raise RuntimeError(
                f"hx holds a state for each of {len(self.groups)} layers, got {len(held)}"
            )
        pairs = zip(self.groups, held, strict=True)
        return [at for group, state in pairs for at in group.given(state, like, batched)]

    def joined(self, parts: Sequence[Tensors], batched: bool) -> States:
        """Return states [B, width], of each layer and direction, in the form of the caller's."""
        made = tuple([g.joined(own, batched) for g, own in self._shared(parts)])
        return made[0] if len(made) == 1 else made

    def paths(
        self, parts: Sequence[Tensors], change: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor] | tuple[dict[str, Tensor], ...]:
        """Return states over time, [T, B, width], by name."""
        made = tuple([g.paths(own, change) for g, own in self._shared(parts)])
        return made[0] if len(made) == 1 else made

    def _shared(self, parts: Sequence[Tensors]) -> list[tuple[Group, Sequence[Tensors]]]:
        shared, at = [], 0
        for group in self.groups:
            shared.append((group, parts[at : at + group.places]))
            at += group.places
        return shared


def form(layers: Sequence[Layer]) -> Form:
    """Return the form of a stack's states."""
    groups = tuple(Group(layer.states, len(layer.suffixes)) for layer in layers)
    if len({group.states for group in groups}) == 1:
        return Form((Group(groups[0].states, sum(g.places for g in groups)),))
    return Form(groups)
