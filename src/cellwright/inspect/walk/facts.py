"""What a walkthrough page holds as data: the cell, the text, and the model or its numbers."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cellwright.inspect.walk.back import look_back
from cellwright.inspect.walk.pack import FINER, Floats, Rounded
from cellwright.inspect.walk.parts import cell_facts, steps_of
from cellwright.inspect.walk.past import alone, bits, last_tokens
from cellwright.inspect.walk.rounding import usual_inputs
from cellwright.inspect.walk.values import Array, Reading, layers_of, read, token_name
from cellwright.language.ops import Op

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

BEST: Final = 10  # next tokens that a page without its model lists
CHECKED: Final = 8  # tokens at which a live page compares its logits with PyTorch's
MOST_CHECKED: Final = 16_384  # logits that it holds for that
STORED: Final = (Op.INPUT, Op.STATE, Op.LINEAR)  # values that follow from no other on the page


def page_facts(model: "LanguageModel", reading: Reading, text: str) -> dict[str, Any]:
    """What every page holds: the cell, its walk, the text."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    graph = reading.layers[0].graph
    unknown = tokenizer.unknown_id
    counts = Counter(reading.ids)
    return {
        "cell": model.cell.__name__,
        "level": tokenizer.level,
        "vocab": model.shape.vocab,
        "source": text,
        "exact": reading.exact,
        "unknown": counts[unknown] if unknown is not None else 0,
        "text": {"pieces": list(reading.pieces), "ids": list(reading.ids)},
        "widths": [list(layer.widths) for layer in reading.layers],
        "steps": steps_of(graph),
        **cell_facts(graph),
        "why": "Byte pairs are made of the whole text at once: give another text to the command.",
    }


def _model_facts(model: "LanguageModel", floats: Floats) -> dict[str, Any]:
    inputs, read = usual_inputs(model) if isinstance(floats, Rounded) else (None, None)

    def taken(tensor: Any, inputs: Array | None) -> list[int]:
        return floats.matrix(tensor.detach().double().cpu().numpy(), inputs, FINER)

    embedding = taken(model.embedding.weight, None)
    tied = model.decoder.weight is model.embedding.weight
    return {
        "vocab": model.shape.vocab,
        "unknown": model.tokenizer.unknown_id if model.tokenizer is not None else None,
        "embed": model.shape.embed,
        "embedding": embedding,
        "decoder": embedding if tied else taken(model.decoder.weight, read),
        "bias": floats.add(model.decoder.bias.detach().float().cpu().numpy()),
        "layers": [
            {
                "widths": list(layer.widths),
                "weights": _weights(layer.weights, floats, inputs[number] if inputs else {}),
            }
            for number, layer in enumerate(layers_of(model))
        ],
    }


def _weights(
    weights: Mapping[int, Mapping[str, Array]], floats: Floats, inputs: Mapping[int, Array]
) -> dict[str, dict[str, list[int]]]:
    """Place the arrays of each node; `inputs` are vectors that a node's matrix reads."""
    return {
        str(k): {
            kind: floats.add(v) if v.ndim < 2 else floats.matrix(v, inputs.get(k))
            for kind, v in own.items()
        }
        for k, own in weights.items()
    }


def live_facts(model: "LanguageModel", reading: Reading, floats: Floats) -> dict[str, Any]:
    """What a page computes with: the model, and PyTorch's logits at some tokens to check it by."""
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


def stored_facts(model: "LanguageModel", reading: Reading, floats: Floats) -> dict[str, Any]:
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
        "past": last_tokens(model, reading.ids),
        "back": [_back(model, reading, t, target) for t, target in enumerate(targets)],
        "weights": [
            {
                str(k): {kind: floats.add(v) for kind, v in own.items() if v.ndim < 2}
                for k, own in layer.weights.items()
            }
            for layer in reading.layers
        ],
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


def versus_facts(
    versus: "LanguageModel", model: "LanguageModel", text: str, floats: Floats | None
) -> dict[str, Any]:
    """The second model: whole, or, on a page that cannot compute, its surprise at each token."""
    name = versus.cell.__name__
    label = name if name != model.cell.__name__ else f"the other {name}"
    reading = read(versus, text)
    if floats is None:
        past = last_tokens(versus, reading.ids)
        return {"label": label, "bits": bits(reading), "past": past}
    graph = cell_facts(reading.layers[0].graph)["graph"]
    return {"label": label, "graph": graph, "model": _model_facts(versus, floats)}
