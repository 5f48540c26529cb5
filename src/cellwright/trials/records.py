"""The rows of a comparison on music: what they hold, and how they are read again."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cellwright.lm.fields import FLAG, LOSS, Rule, number, optional, read_fields, text, whole

FAR: Final = 0.05  # a parameter count further from the budget than this share is worth a warning


@dataclass(frozen=True)
class MusicRow:
    """One training. Losses are nats for each step, those of the epoch that validated best.

    `difference` is to the budget of parameters; `curve` is the validation before training and
    after each epoch; `train_nats` is None where no epoch was better than the start.
    `test_nats` is the mean over all steps, `test_nats_by_piece` the mean of the pieces' means.
    `broke_down`: a loss or gradient was not finite, and training ended there.
    """

    cell: str
    lr: float
    seed: int
    hidden: int
    parameters: int
    difference: int
    best_epoch: int
    train_nats: float | None
    valid_nats: float
    test_nats: float
    test_nats_by_piece: float
    broke_down: bool
    seconds: float
    curve: tuple[float, ...]

    @property
    def epochs(self) -> int:
        """How many epochs were trained and validated."""
        return len(self.curve) - 1


_CURVE: Final = Rule(
    lambda v: isinstance(v, list) and bool(v) and all(map(LOSS.holds, v)), "a list of losses"
)
_RULES: Final[Mapping[str, Rule]] = {
    "cell": text(),
    "lr": number(0, above=True),
    "seed": whole(0, 2**63 - 1),
    "hidden": whole(1),
    "parameters": whole(1),
    "difference": whole(-(1 << 62)),
    "best_epoch": whole(),
    "train_nats": optional(LOSS),
    "valid_nats": LOSS,
    "test_nats": LOSS,
    "test_nats_by_piece": LOSS,
    "broke_down": FLAG,
    "seconds": number(0),
    "curve": _CURVE,
}


def read_row(place: str, values: object) -> MusicRow:
    """The row that JSON values hold; RunError names the field that is not as it should be."""
    fields = read_fields(place, values, _RULES)
    return MusicRow(**{**fields, "curve": tuple(fields["curve"])})


assert tuple(_RULES) == tuple(field.name for field in dataclasses.fields(MusicRow))
