"""Numbers as a page holds them: float32, or, for a model too large for that, rounded.

A rounded matrix is whole numbers times a step. Of each whole number the high bits, of which few
are frequent, are deflated; the low ones are as good as random and stand as they are. The bits then
become signs: UTF-8 holds 6.7 bits a byte where base 85 holds 6.4.
"""

import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cellwright.inspect.walk.rounding import Shared
from cellwright.inspect.walk.values import Array, layers_of, run

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

FINER: Final = 4.0  # times as fine is a table of tokens: it is small, and much depends on it
COARSEST: Final = 0.25  # times as fine as others is a matrix that is easily rounded, at the least
ZEROS: Final = 0.01  # of a matrix: with more it has blocks of zeros
MOST: Final = 2**24  # the largest whole number, of 8 high bits and 16 low ones
HIGH: Final = 127  # the largest high part, a signed byte
BITS_A_BYTE: Final = 6.745  # of UTF-8, a little less than it holds

# Signs of one byte hold 7 bits, of two bytes 13, of three bytes 19; walk_pack.js has the same.
ONE: Final = "".join(map(chr, range(0x20, 0x7F))).translate({ord(c): None for c in '"<\\'})
TWO, TWOS, THREE = 0xA0, 0x800 - 0xA0, 0x3400


class Floats:
    """Numbers one after the other in float32; each array is told where it lies."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, values: "Array | Sequence[float]") -> list[int]:
        """Add an array: [where it begins, how many numbers]."""
        flat = np.asarray(values, dtype="<f4").ravel()
        self.parts.append(flat.tobytes())
        self.size += flat.size
        return [self.size - flat.size, int(flat.size)]

    def matrix(self, values: Array, inputs: Array | None = None, finer: float = 1.0) -> list[int]:
        """Add a matrix; here it is an array like any other."""
        return self.add(values)

    def bytes(self) -> bytes:
        return b"".join(self.parts)


@dataclass(frozen=True)
class _Matrix:
    values: Array  # [R, C]
    shared: Shared | None
    finer: float

    def whole(self, step: float) -> NDArray[np.int32]:
        return np.rint(self.values.ravel() / step).astype(np.int32)

    def good(self, step: float) -> NDArray[np.int32]:
        """The same, each column making good what those before it lack."""
        if self.shared is None:
            return self.whole(step)
        return self.shared.rounded(self.values / step).ravel().astype(np.int32)


class Rounded(Floats):
    """The same, with matrices to be rounded to multiples of steps that are chosen at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices: list[_Matrix] = []
        self.count = 0

    def matrix(self, values: Array, inputs: Array | None = None, finer: float = 1.0) -> list[int]:
        """Add a matrix: [where it begins, how many numbers, which of the matrices it is].

        `inputs` [T, C] are vectors that it reads; its step is so many times `finer` than others'.
        """
        blocks = float((values == 0).mean()) > ZEROS  # what is zero by construction stays so
        shared = Shared(inputs) if inputs is not None and not blocks else None
        self.matrices.append(_Matrix(values, shared, finer))
        self.count += values.size
        return [self.count - values.size, int(values.size), len(self.matrices) - 1]

    def packed(self, room: int) -> "Packed | None":
        """Round to the finest steps that fit into so many bytes; None where none do."""
        finer = self._finer()
        largest = max(
            float(np.abs(m.values).max(initial=0.0)) * k
            for m, k in zip(self.matrices, finer, strict=True)
        )
        if not 0 < largest < np.inf:
            return None

        def made(step: float, good: bool) -> Packed:
            steps = [step / k for k in finer]
            pairs = zip(self.matrices, steps, strict=True)
            return _packed([m.good(s) if good else m.whole(s) for m, s in pairs], steps)

        steps = _steps(largest)
        best = bisect_left(steps, True, key=lambda step: made(step, good=False).size <= room)
        return made(steps[best], good=True) if best < len(steps) else None

    def _finer(self) -> list[float]:
        """A matrix that can be rounded with a smaller error in its products has a coarser step."""
        errors = [m.shared.error if m.shared else 0.0 for m in self.matrices]
        top = max(errors) or 1.0
        return [
            m.finer * (max(COARSEST, 2.0 ** round(np.log2(e / top))) if e else 1.0)
            for m, e in zip(self.matrices, errors, strict=True)
        ]


def _packed(whole: Sequence[NDArray[np.int32]], steps: Sequence[float]) -> "Packed":
    low = [_low(part) for part in whole]
    high = [(part >> bits).astype(np.int8) for part, bits in zip(whole, low, strict=True)]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    deflated = squeeze.compress(np.concatenate(high).tobytes()) + squeeze.flush()
    return Packed(tuple(whole), tuple(steps), tuple(low), deflated)


def _low(whole: NDArray[np.int32]) -> int:
    """Return how many bits to leave below high parts of a byte."""
    low = 0
    while max(int(whole.max()) >> low, -(int(whole.min()) >> low)) > HIGH:
        low += 1
    return low


@dataclass(frozen=True)
class Packed:
    """Matrices as whole numbers of steps; `low` bits of each number stand as they are.

    `deflated` are the parts above those, a byte each, of all matrices.
    """

    whole: tuple[NDArray[np.int32], ...]
    steps: tuple[float, ...]
    low: tuple[int, ...]
    deflated: bytes

    @property
    def size(self) -> float:
        """About how many bytes of UTF-8 they take."""
        rest = sum(low * part.size for part, low in zip(self.whole, self.low, strict=True))
        return (8 * len(self.deflated) + rest) / BITS_A_BYTE

    def matrix(self, place: Sequence[int]) -> Array:
        """Return what the page computes with: the numbers of a matrix in float32."""
        part = place[2]
        made = (self.whole[part] * self.steps[part]).astype(np.float32)
        return made.astype(np.float64)

    def facts(self) -> dict[str, Any]:
        """What the page has to know to undo it; `text` are the bytes as signs."""
        rest = b""
        for part, low in zip(self.whole, self.low, strict=True):
            bits = (part[:, None] >> np.arange(low - 1, -1, -1)) & 1
            rest += np.packbits(bits.astype(np.uint8)).tobytes()
        return {
            "parts": [
                [part.size, low, step]
                for part, low, step in zip(self.whole, self.low, self.steps, strict=True)
            ],
            "deflated": len(self.deflated),
            "text": signs(self.deflated + rest),
        }


def _steps(largest: float) -> list[float]:
    """Return 64, 65, ... 127 times powers of two, up to a step of which `largest` is 127."""
    power = int(np.ceil(np.log2(largest / MOST))) - 6
    return [m * 2.0**k for k in range(power, power + 18) for m in range(64, 128)]


def difference(
    model: "LanguageModel", spec: Mapping[str, Any], packed: Packed, ids: Sequence[int]
) -> float:
    """Return how far the logits of a text are from PyTorch's where matrices are rounded.

    `spec` tells where the page holds each of the model's arrays.
    """
    import torch

    with torch.no_grad():
        wanted = model(torch.tensor([list(ids)]))[0][0].double().cpu().numpy()
    x = packed.matrix(spec["embedding"]).reshape(model.embedding.weight.shape)[list(ids)]
    for layer, places in zip(layers_of(model), spec["layers"], strict=True):
        weights = {
            k: {
                kind: packed.matrix(places["weights"][str(k)][kind]).reshape(v.shape)
                if v.ndim > 1
                else v
                for kind, v in own.items()
            }
            for k, own in layer.weights.items()
        }
        x = run(replace(layer, weights=weights), x)[layer.graph.outputs[0]]
    decoder = packed.matrix(spec["decoder"]).reshape(model.decoder.weight.shape)
    logits = x @ decoder.T + model.decoder.bias.detach().double().cpu().numpy()
    return float(np.abs(logits - wanted).max())


def signs(data: bytes) -> str:
    """Return bytes as signs that JSON holds as they are: 7, 13 or 19 bits each."""
    bits = np.unpackbits(np.frombuffer(data + bytes(3), dtype=np.uint8))
    ahead = np.zeros(8 * len(data), dtype=np.uint32)  # the 19 bits from each one on
    for k in range(19):
        ahead = ahead << 1 | bits[k : k + len(ahead)]
    short, middle = ahead >> 12, ahead >> 6
    edge = len(ONE) << 6
    lengths = np.where(short < len(ONE), 7, np.where(middle < edge + TWOS, 13, 19))
    steps, at, spots = lengths.astype(np.uint8).tobytes(), 0, []
    while at < len(steps):
        spots.append(at)
        at += steps[at]
    kinds, held = lengths[spots], ahead[spots].astype(np.int64)
    letters = np.array([ord(c) for c in ONE])
    made = np.where(
        kinds == 7,
        letters[np.minimum(held >> 12, len(ONE) - 1)],
        np.where(kinds == 13, (held >> 6) - edge + TWO, held - ((edge + TWOS) << 6) + THREE),
    )
    return made.astype("<u4").tobytes().decode("utf-32-le")
