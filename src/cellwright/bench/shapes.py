"""Shapes: how many steps, rows and units a layer is timed with."""

import re
from dataclasses import dataclass

from cellwright.bench.errors import WishError

_SHAPE = re.compile(r"([1-9]\d{0,17})x([1-9]\d{0,17})x([1-9]\d{0,17})")


@dataclass(frozen=True)
class Shape:
    """T steps of B rows, with as many inputs as units; written TxBxH."""

    steps: int
    batch: int
    width: int

    def __str__(self) -> str:
        return f"{self.steps}x{self.batch}x{self.width}"

    @property
    def rows(self) -> int:
        """Rows of all steps: T * B."""
        return self.steps * self.batch


SHAPES = (
    Shape(100, 1, 64),
    Shape(100, 1, 256),
    Shape(100, 16, 128),
    Shape(100, 32, 256),
    Shape(64, 64, 512),
    Shape(35, 20, 650),
    Shape(1000, 8, 128),
    Shape(37, 5, 77),  # no size is a multiple of a vector or a tile
    Shape(2000, 1, 96),  # one row, long
    Shape(5, 256, 384),  # wide and short
)
# What a run without --shapes takes, so that it ends after about a minute.
DEFAULT = (Shape(100, 1, 256), Shape(100, 32, 256), Shape(35, 20, 650), Shape(37, 5, 77))
QUICK = (Shape(100, 1, 64), Shape(100, 16, 128))


def parse(text: str) -> tuple[Shape, ...]:
    """Read shapes parted by commas, "all" for every shape of ours; each is kept once.

    Raises WishError that shows how a shape is written.
    """
    if text.strip() == "all":
        return SHAPES
    found = []
    for part in text.split(","):
        match = _SHAPE.fullmatch(part.strip())
        if match is None:
            raise WishError(
                f"shapes: expected steps x rows x units, as in 100x16x128, or all; got {part!r:.40}"
            )
        found.append(Shape(*(int(number) for number in match.groups())))
    return tuple(dict.fromkeys(found))
