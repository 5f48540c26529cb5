"""Models that an attribution is asked about, and the score that it shares out, by hand."""

from pathlib import Path

import torch

from cellwright.lm import LanguageModel, ModelShape, Tokenizer
from tests.lm.small import write_text

WORDS = ["<unk>", "<eos>", "the", "near", "sees", "king", "kings", "girl", "girls", "sing", "sings"]


def log_odds(logits: torch.Tensor, target: int, against: list[int]) -> torch.Tensor:
    """log p(target) - log of the sum of p over `against`, written another way than ours."""
    p = torch.softmax(logits.double(), -1)
    return torch.log(p[target] / (sum(p[k] for k in against) if against else 1.0))


def scored(model: LanguageModel, ids: list[int], target: int, against: list[int]) -> float:
    """The score of a text, read from its start in one go."""
    with torch.no_grad():
        return float(log_odds(model(torch.tensor([ids]))[0][0, -1], target, against))


def score_of_vectors(
    model: LanguageModel, x: torch.Tensor, target: int, against: list[int]
) -> torch.Tensor:
    """The score of an embedded text [T, E]."""
    h, _ = model.recurrent(x[None])
    return log_odds(model.decoder(h[0, -1]), target, against)


def ids_of(model: LanguageModel, text: str) -> list[int]:
    assert model.tokenizer is not None
    return model.tokenizer.encode(text)


def agreeing() -> LanguageModel:
    """An LSTM made by hand: its first noun is the subject, and it keeps its number."""
    tokenizer = Tokenizer("word", WORDS)
    model = LanguageModel(ModelShape(vocab=len(WORDS), hidden=2, embed=2), "lstm", tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for word in ("king", "girl", "kings", "girls"):  # its number, and that it is a noun
            number = -1.0 if word.endswith("s") else 1.0
            model.embedding.weight[WORDS.index(word)] = torch.tensor([number, 1.0])
        blocks = model.recurrent.blocks(0)
        blocks["i.x"][:, 1] = 30  # a noun opens the gate,
        blocks["i.h"][:, 1] = -60  # unless there was one
        blocks["i.bias"].fill_(-15)
        blocks["f.bias"].fill_(30)
        blocks["o.bias"].fill_(30)
        blocks["g.x"].copy_(torch.tensor([[5.0, 0.0], [0.0, 5.0]]))  # its number; that it was
        model.decoder.weight[WORDS.index("sings"), 0] = 4
        model.decoder.weight[WORDS.index("sing"), 0] = -4
    return model


def small(level="char", cell="lstm", *, tmp_path: Path, **changes) -> LanguageModel:
    """A model with dropout, not trained."""
    path = write_text(tmp_path / "text.txt")
    tokenizer = Tokenizer.train([path], level, 300 if level == "bpe" else None)
    sizes = {"vocab": tokenizer.size, "hidden": 9, "embed": 7, "layers": 2, "dropout": 0.5}
    torch.manual_seed(1)
    return LanguageModel(ModelShape(**sizes | changes), cell, tokenizer)
