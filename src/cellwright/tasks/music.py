"""Polyphonic music as piano rolls: at each step the pitches that sound; the next are predicted.

The file format is the usual one of the chorale data sets: a JSON object of three parts, each a
list of pieces, a piece a list of steps, a step the list of the MIDI pitches that sound in it.

    {"train": [[[60, 64, 67], [60, 64, 67], [], [62, 65, 69]], ...], "valid": ..., "test": ...}
"""

import hashlib
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cellwright.language.errors import CellwrightError

LOWEST: Final = 21  # A0, a piano's lowest key as a MIDI number
HIGHEST: Final = 108  # C8
PITCHES: Final = HIGHEST - LOWEST + 1
PARTS: Final = ("train", "valid", "test")

Step = tuple[int, ...]
Piece = tuple[Step, ...]

MADE_UP: Final = "made-up"
_VOICES: Final = ((36, 41), (48, 53), (60, 65), (72, 77))  # the pitches that each walks through
_MOVES: Final = 0.25  # how often a voice goes on to its next pitch


class MusicError(CellwrightError):
    """A file that holds no piano rolls, or a cell that they cannot drive."""


@dataclass(frozen=True)
class Music:
    """Pieces for training, validation and test; each step's pitches ascend, each once."""

    name: str
    train: tuple[Piece, ...]
    valid: tuple[Piece, ...]
    test: tuple[Piece, ...]

    def part(self, name: str) -> tuple[Piece, ...]:
        """The pieces of "train", "valid" or "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def steps(self, part: str) -> int:
        """How many steps the pieces of a part have."""
        return sum(map(len, self.part(part)))

    @property
    def digest(self) -> str:
        """A checksum of the music alone: the same for any spelling of the same pieces."""
        content = json.dumps([self.part(name) for name in PARTS], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def read_music(path: Path | str) -> Music:
    """The music in a JSON file; MusicError names the file, the place, and what is wrong there."""
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MusicError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise MusicError(f"{path}: expected piano rolls as JSON, got something else: {why}") from (
            error
        )
    if not isinstance(values, dict) or set(values) != set(PARTS):
        wanted = f"an object with the parts {', '.join(PARTS)}"
        found = _shown(list(values) if isinstance(values, dict) else values)
        raise MusicError(f"{path}: expected {wanted}, got {found}")
    return Music(path.name, *(_pieces(f"{path}: {name}", values[name]) for name in PARTS))


def _pieces(place: str, values: Any) -> tuple[Piece, ...]:
    if not isinstance(values, list) or not values:
        raise MusicError(f"{place}: expected a list of at least one piece, got {_shown(values)}")
    return tuple(_piece(f"{place}[{k}]", value) for k, value in enumerate(values))


def _piece(place: str, values: Any) -> Piece:
    # the first step is only ever read, never predicted: a piece of one step teaches nothing
    if not isinstance(values, list) or len(values) < 2:
        raise MusicError(f"{place}: expected a list of at least two steps, got {_shown(values)}")
    return tuple(_step(f"{place}[{t}]", value) for t, value in enumerate(values))


def _step(place: str, values: Any) -> Step:
    if not isinstance(values, list):
        raise MusicError(f"{place}: expected the list of a step's pitches, got {_shown(values)}")
    for pitch in values:
        if type(pitch) is not int or not LOWEST <= pitch <= HIGHEST:
            raise MusicError(
                f"{place}: expected MIDI pitches, whole numbers from {LOWEST} to {HIGHEST}, "
                f"got {_shown(pitch)}"
            )
    return tuple(sorted(set(values)))


def _shown(value: object) -> str:
    return f"{json.dumps(value):.60}"


def made_up(seed: int = 0, pieces: tuple[int, int, int] = (60, 20, 20)) -> Music:
    """Music whose predictability is known: `least_nats()` is the best that any model can reach.

    Four voices, each in a range of its own; at each step a voice goes on to the next pitch of its
    range (after the highest comes the lowest) with a probability of 1/4, or stays. Pieces have 16
    to 48 steps. `pieces` counts those of the three parts. The same seed gives the same music.
    """
    rng = random.Random(f"made-up music {seed}")
    parts = [tuple(_made_up_piece(rng) for _ in range(count)) for count in pieces]
    return Music(MADE_UP, *parts)


def _made_up_piece(rng: random.Random) -> Piece:
    at = [rng.randint(low, high) for low, high in _VOICES]
    steps = [tuple(at)]
    for _ in range(rng.randint(15, 47)):
        for voice, (low, high) in enumerate(_VOICES):
            if rng.random() < _MOVES:
                at[voice] = at[voice] + 1 if at[voice] < high else low
        steps.append(tuple(at))
    return tuple(steps)


def least_nats() -> float:
    """The loss on `made_up` of a model that knows its rule, in nats for each step.

    Each pitch is predicted by itself, so each voice costs the entropy of its move twice: for the
    pitch where it is, and for the next one.
    """
    move = -_MOVES * math.log(_MOVES) - (1 - _MOVES) * math.log(1 - _MOVES)
    return 2 * len(_VOICES) * move
