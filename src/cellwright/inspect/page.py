"""The walkthrough as one page: the model, its equations, a text, and what computes them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cellwright.inspect.errors import InspectError
from cellwright.inspect.page_parts import body, cell_facts, steps_of
from cellwright.inspect.walk_back import look_back
from cellwright.inspect.walk_values import Array, Reading, layers_of, read, run, token_name
from cellwright.language.ops import Op
from cellwright.lm.atomic import replacing
from cellwright.web import LARGEST, is_page, page

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

BEST: Final = 10  # next tokens that a page without its model lists
CHECKED: Final = 8  # tokens at which a live page compares its logits with PyTorch's
MOST_CHECKED: Final = 16_384  # logits that it holds for that
MOST_TOKENS: Final = 400  # of a text; walk_text.js has the same number
STYLES: Final = ("page.css", "walk.css")
SCRIPTS: Final = (
    "walk_engine.js",
    "walk_text.js",
    "walk_lines.js",
    "walk_view.js",
    "walk_steps.js",
    "walk.js",
)
STORED: Final = (Op.INPUT, Op.STATE, Op.LINEAR)  # values that follow from no other on the page
ROOM_FOR_REST: Final = 200_000  # bytes of a page that are not numbers


@dataclass(frozen=True)
class Written:
    """A page that was written: its bytes, whether it computes by itself, and if not, why."""

    size: int
    live: bool
    why: str


class Floats:
    """Numbers one after the other in float32; each array is told where it lies."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, values: "Array | Sequence[float]") -> list[int]:
        flat = np.asarray(values, dtype="<f4").ravel()
        self.parts.append(flat.tobytes())
        self.size += flat.size
        return [self.size - flat.size, int(flat.size)]

    def bytes(self) -> bytes:
        return b"".join(self.parts)


def write_page(
    out: Path, model: "LanguageModel", text: str, versus: "LanguageModel | None" = None
) -> Written:
    """Write the walkthrough of a model and a text into the file `out`, whole or not at all.

    `versus` is a second model that reads the same text; its tokens must be the first one's.
    Errors: InspectError for a text that is too long for a page, or a file that holds something
    else; RunError where it cannot be written.
    """
    _check_replaceable(out)
    made, live, why = build_page(model, text, versus)
    data = made.encode("utf-8")
    with replacing(out) as file:
        file.write(data)
    return Written(len(data), live, why)


def _check_replaceable(out: Path) -> None:
    """Refuse to write over what somebody may miss: anything but a page of ours."""
    if not out.is_file() or not out.stat().st_size:
        return
    with out.open("rb") as file:
        if not is_page(file.read(1024)):
            raise InspectError(f"{out}: holds something that is not a page of ours; name another")


def build_page(
    model: "LanguageModel", text: str, versus: "LanguageModel | None" = None
) -> tuple[str, bool, str]:
    """Return the page, whether it is live, and if not, a sentence that says why."""
    reading = read(model, text)
    if reading.steps > MOST_TOKENS:
        raise InspectError(
            f"--text: expected at most {MOST_TOKENS} tokens, got {reading.steps}; give a part of it"
        )
    if versus is not None:
        _check_alike(model, versus)
    models = [model, *([versus] if versus is not None else [])]
    weights = sum(m.parameter_count for m in models)
    live = 5 * weights + ROOM_FOR_REST <= LARGEST
    floats = Floats()
    facts = _facts(model, reading, text)
    if live:
        facts |= _live(model, reading, floats)
    else:
        facts |= _stored(model, reading, floats)
        facts["why"] = (
            f"Stored: with {weights:,} weights the model does not fit into a page of "
            f"{LARGEST / 1e6:.0f} MB, so this one shows the text it was made with and no other."
        )
    if versus is not None:
        facts["versus"] = _versus(versus, model, text, floats if live else None)
    made = page(
        f"{model.cell.__name__} reads {_short(text)}",
        styles=STYLES,
        body=body(model, reading, _short(text)),
        data={"facts": facts},
        blobs={"floats": floats.bytes()},
        scripts=SCRIPTS,
    )
    size = len(made.encode("utf-8"))
    if size > LARGEST:
        fits = max(1, int(reading.steps * (LARGEST - ROOM_FOR_REST) / size))
        raise InspectError(
            f"--text: {reading.steps} tokens of this model make a page of {size / 1e6:.1f} MB, at "
            f"most {LARGEST / 1e6:.0f} MB; give a text of about {fits} tokens"
        )
    return made, live, "" if live else str(facts["why"])


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


def _facts(model: "LanguageModel", reading: Reading, text: str) -> dict[str, Any]:
    """What every page holds: the cell, its walk, the text."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    graph = reading.layers[0].graph
    unknown = tokenizer.unknown_id
    counts = Counter(reading.ids)
    return {
        "cell": model.cell.__name__,
        "level": tokenizer.level,
        "source": text,
        "exact": reading.exact,
        "unknown": counts[unknown] if unknown is not None else 0,
        "text": {"pieces": list(reading.pieces), "ids": list(reading.ids)},
        "widths": [list(layer.widths) for layer in reading.layers],
        "steps": steps_of(graph),
        **cell_facts(graph),
        "why": "Byte pairs are made of the whole text at once: give another text to the command.",
        "invite": (
            "To see another cell here, train one on the same text and name it: "
            "cellwright inspect walkthrough RUN --text … --versus OTHER"
        ),
    }


def _model_facts(model: "LanguageModel", floats: Floats) -> dict[str, Any]:
    def taken(tensor: Any) -> list[int]:
        return floats.add(tensor.detach().float().cpu().numpy())

    embedding = taken(model.embedding.weight)
    tied = model.decoder.weight is model.embedding.weight
    return {
        "vocab": model.shape.vocab,
        "embed": model.shape.embed,
        "embedding": embedding,
        "decoder": embedding if tied else taken(model.decoder.weight),
        "bias": taken(model.decoder.bias),
        "layers": [
            {"widths": list(layer.widths), "weights": _weights(layer.weights, floats)}
            for layer in layers_of(model)
        ],
    }


def _weights(
    weights: Mapping[int, Mapping[str, Array]], floats: Floats, most: int = 2
) -> dict[str, dict[str, list[int]]]:
    """Place the arrays of each node that have at most so many dimensions."""
    return {
        str(k): {kind: floats.add(v) for kind, v in own.items() if v.ndim <= most}
        for k, own in weights.items()
    }


def _live(model: "LanguageModel", reading: Reading, floats: Floats) -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {"model": _model_facts(model, floats)}
    with torch.no_grad():
        logits = model(torch.tensor([reading.ids]))[0][0].float().cpu().numpy()
    vocab = model.shape.vocab
    count = max(1, min(CHECKED, reading.steps, MOST_CHECKED // vocab))
    chosen = sorted({round(k) for k in np.linspace(reading.steps - 1, 0, count)})
    place, _ = floats.add(logits[chosen])
    facts["check"] = {"positions": chosen, "size": vocab, "place": place}
    facts["names"] = [token_name(model, k) for k in range(vocab)]
    return facts


def _stored(model: "LanguageModel", reading: Reading, floats: Floats) -> dict[str, Any]:
    """What a page shows that lacks the matrices: what they made, guesses, effects."""
    log = reading.log_probabilities()
    targets = _targets(reading)
    best: list[list[dict[str, float]]] = []
    for t in range(reading.steps):
        order = [int(k) for k in np.argsort(-log[t], kind="stable")[:BEST]]
        order += [k for k in targets[t : t + 1] if k not in order]
        best.append(
            [
                {"id": k, "p": float(np.exp(log[t, k])), "logit": float(reading.logits[t, k])}
                for k in order
            ]
        )
    used = sorted({int(guess["id"]) for guesses in best for guess in guesses})
    weight = model.decoder.weight.detach().double().cpu().numpy()
    bias = model.decoder.bias.detach().double().cpu().numpy()
    return {
        "best": best,
        "names": {k: token_name(model, k) for k in used},
        "readout": {k: {"row": floats.add(weight[k]), "bias": float(bias[k])} for k in used},
        "bits": bits(reading),
        "alone": alone(model, reading),
        "back": [_back(model, reading, t, target) for t, target in enumerate(targets)],
        "weights": [_weights(layer.weights, floats, 1) for layer in reading.layers],
        "values": [
            [
                floats.add(v) if node.op in STORED else None
                for node, v in zip(layer.graph.nodes, values, strict=True)
            ]
            for layer, values in zip(reading.layers, reading.values, strict=True)
        ],
    }


def _targets(reading: Reading) -> list[int]:
    """The token whose prediction is explained after each: the next, or the likeliest."""
    return [*reading.ids[1:], int(reading.logits[-1].argmax())]


def _back(model: "LanguageModel", reading: Reading, t: int, target: int) -> dict[str, Any]:
    found = look_back(model, reading.ids, t, target)
    return {"first": found.first, "effects": found.effects, "slopes": found.slopes}


def bits(reading: Reading) -> list[float | None]:
    """Surprise at each token in bits, -log2 p; None for the first, which nothing came before."""
    log = reading.log_probabilities()
    return _bits(log, reading.ids)


def alone(model: "LanguageModel", reading: Reading) -> list[float | None]:
    """The same where every token is read from states of zero."""
    x = model.embedding.weight.detach().double().cpu().numpy()
    weight = model.decoder.weight.detach().double().cpu().numpy()
    bias = model.decoder.bias.detach().double().cpu().numpy()
    rows = {}
    for k in set(reading.ids):
        h = x[[k]]
        for layer in reading.layers:
            h = run(layer, h)[layer.graph.outputs[0]]
        logits = h[0] @ weight.T + bias
        top = logits.max()
        rows[k] = logits - top - np.log(np.exp(logits - top).sum())
    return _bits(np.stack([rows[k] for k in reading.ids]), reading.ids)


def _bits(log: Array, ids: Sequence[int]) -> list[float | None]:
    return [None, *(float(-log[t - 1, ids[t]] / np.log(2)) for t in range(1, len(ids)))]


def _versus(
    versus: "LanguageModel", model: "LanguageModel", text: str, floats: Floats | None
) -> dict[str, Any]:
    """The second model: whole, or, on a page that cannot compute, its surprise at each token."""
    name = versus.cell.__name__
    label = name if name != model.cell.__name__ else f"the other {name}"
    reading = read(versus, text)
    if floats is None:
        return {"label": label, "bits": bits(reading)}
    graph = cell_facts(reading.layers[0].graph)["graph"]
    return {"label": label, "graph": graph, "model": _model_facts(versus, floats)}
