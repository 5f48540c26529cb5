"""A language model with a unit that is known: on from an opening quote to the closing one."""

import random

import torch

from cellwright.lm import LanguageModel, ModelShape, Tokenizer

UNIT = 2
SIGNS = "\n “”abcxy."


def latch() -> LanguageModel:
    """A one-layer LSTM of which unit UNIT is 1 within quotes and 0 elsewhere.

    By it alone the model knows that "x" is likelier there; the other units are small and random.
    """
    tokenizer = Tokenizer("char", ["<unk>", *sorted(set(SIGNS))])
    vocab = tokenizer.size
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = LanguageModel(ModelShape(vocab=vocab, hidden=6, embed=vocab), "lstm", tokenizer)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    opening, closing = (tokenizer.token_id(sign) for sign in "“”")
    with torch.no_grad():
        model.embedding.weight.copy_(torch.eye(vocab))
        blocks = model.recurrent.blocks(0)
        for gate, bias in (("i", -12.0), ("f", 12.0), ("g", 0.0), ("o", 12.0)):
            blocks[f"{gate}.h"][UNIT] = 0
            blocks[f"{gate}.x"][UNIT] = 0
            blocks[f"{gate}.bias"][UNIT] = bias
        blocks["f.x"][UNIT, [opening, closing]] = -24.0
        blocks["i.x"][UNIT, opening] = 24.0
        blocks["g.x"][UNIT, opening] = 6.0
        model.decoder.weight[tokenizer.token_id("x"), UNIT] = 6.0
    return model.eval()


def quoted(length: int) -> str:
    """Words of five letters, within quotes mostly of x."""
    rng, made = random.Random(3), ""
    while len(made) < length:
        words = rng.randint(1, 6)
        quote = rng.random() < 0.35
        letters = "xxxa" if quote else "abcxy"
        said = " ".join(
            "".join(rng.choice(letters) for _ in range(rng.randint(1, 6))) for _ in range(words)
        )
        made += (f"“{said}”" if quote else said) + rng.choice([" ", " ", ".\n"])
    return made[:length]
