"""Published losses on the chorales of Bach, and the checksum that tells that music."""

from dataclasses import dataclass
from typing import Final

from cellwright.tasks.music import Music

# The 382 chorales in quarter notes, split 229, 76 and 77 as by Boulanger-Lewandowski et al. (2012).
_CHORALES: Final = "b702883239b05883cbdc0718d1be956a2cafa3fe26c840050dddece8cfef4e5e"


@dataclass(frozen=True)
class Published:
    """A figure from a paper: nats for each step of the test, and whose."""

    cell: str
    source: str
    test_nats: float


FIGURES: Final = (
    Published("tanh RNN", "Chung et al. 2014", 9.10),
    Published("GRU", "Chung et al. 2014", 8.54),
    Published("LSTM", "Chung et al. 2014", 8.67),
    Published("best of all", "Greff et al. 2015", 8.38),
    Published("LSTM", "Bai et al. 2018", 8.45),
    Published("GRU", "Bai et al. 2018", 8.43),
    Published("RNN", "Bai et al. 2018", 8.91),
)


def figures_for(music: Music) -> tuple[Published, ...]:
    """The published figures on this music; none for any other than the chorales."""
    return FIGURES if music.digest == _CHORALES else ()
