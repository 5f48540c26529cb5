"""NT-ASGD: plain SGD, then the mean of its weights from the moment it gets no better.

Merity, Keskar & Socher 2018 (arXiv 1708.02182), algorithm 1, with an epoch between validations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cellwright.lm.model import LanguageModel


def triggered(losses: Sequence[float], non_monotone: int) -> bool:
    """Whether a validation was worse than the best of those more than `non_monotone` before it.

    losses: of the epochs 1, 2, ...; with n = non_monotone, some t > n + 1 has
    losses[t] > min(losses[1], ..., losses[t - 1 - n]).
    """
    return any(
        losses[t] > min(losses[: t - non_monotone]) for t in range(non_monotone + 1, len(losses))
    )


@final
class Averaging:
    """The validations so far and, once they have triggered it, the running mean of the weights.

    The optimizer never sees the mean: it is what is validated, published and tested.
    """

    def __init__(self, model: "LanguageModel", non_monotone: int) -> None:
        self.model: Final = model
        self.non_monotone: Final = non_monotone
        self.losses: list[float] = []
        self.under_way = False  # whether the steps from now on are averaged
        self.steps = 0  # whose weights the mean is of
        self.means: dict[str, Tensor] = {}

    def hear(self, nats: float) -> None:
        """Take note of an epoch's validation."""
        self.losses.append(nats)
        self.under_way = triggered(self.losses, self.non_monotone)

    def take_step(self) -> None:
        """Take the weights after a step into the mean, if it is under way."""
        if not self.under_way:
            return
        self.steps += 1
        live = self.model.tensors()
        if not self.means:
            self.means = {name: tensor.detach().clone() for name, tensor in live.items()}
            return
        with torch.no_grad():
            for name, mean in self.means.items():
                mean.lerp_(live[name], 1 / self.steps)  # mean += (live - mean) / steps

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model has the mean's weights, if there is a mean."""
        if not self.means:
            yield
            return
        live = {name: tensor.detach().clone() for name, tensor in self.model.tensors().items()}
        self.model.load_tensors(self.means)
        try:
            yield
        finally:
            self.model.load_tensors(live)

    def tensors(self) -> dict[str, Tensor]:
        """What `restore` needs besides the mean itself; with a mean, the weights it is not."""
        made = {
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "steps": torch.tensor(self.steps),
        }
        if self.means:
            made |= {f"live.{name}": tensor for name, tensor in self.model.tensors().items()}
        return made

    def restore(self, tensors: Mapping[str, Tensor], published: Mapping[str, Tensor]) -> None:
        """Go back to `tensors()`, with `published` for the mean; the model gets its own weights.

        KeyError, ValueError or RuntimeError for tensors that are of no such averaging.
        """
        losses, steps = tensors["losses"], int(tensors["steps"])
        if losses.dim() != 1 or not bool(torch.isfinite(losses).all()) or steps < 0:
            raise ValueError("averaging: expected finite losses and a count of steps")
        self.losses, self.steps, self.means = [float(nats) for nats in losses], steps, {}
        self.under_way = triggered(self.losses, self.non_monotone)
        own = self.model.tensors()
        if steps and not self.under_way:
            raise ValueError("averaging: steps are averaged that no validation has triggered")
        if not steps:
            return
        live = {name: tensors[f"live.{name}"] for name in own}
        for name, tensor in live.items():
            if tensor.shape != own[name].shape:
                raise ValueError(f"averaging: {name}: expected shape {list(own[name].shape)}")
        self.means = {name: published[name].to(own[name]) for name in own}
        self.model.load_tensors(live)
