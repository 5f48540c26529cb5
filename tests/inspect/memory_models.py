"""Small models in float64, and ones that use exactly so much context, with texts for them."""

import torch

from cellwright.lm import LanguageModel, ModelShape, Tokenizer
from tests.inspect.readers import reader

TOKENS = 320


def text(model: LanguageModel, tokens: int = TOKENS) -> torch.Tensor:
    return torch.randint(model.shape.vocab, (tokens,))


def double(cell: str = "lstm", layers: int = 2, hidden: int = 6) -> LanguageModel:
    return reader(cell, layers=layers, hidden=hidden, embed=5).double().requires_grad_(False)


VOCAB, CERTAIN = 5, 0.9


def line(delay: int) -> LanguageModel:
    """A model that predicts from the token `delay` back alone: tokens pass through its units.

    Each step moves a block of units, the token's place in a small one-hot vector, one block on.
    Where all a block's units are zero, before a text, nothing is predicted.
    """
    tokenizer = Tokenizer("char", ["<unk>", *"abcd"])
    shape = ModelShape(vocab=VOCAB, hidden=VOCAB * delay, embed=VOCAB)
    with torch.random.fork_rng():
        model = LanguageModel(shape, "rnn", tokenizer)
    blocks, one = model.recurrent.blocks(), torch.eye(VOCAB)
    for values in blocks.values():
        values.zero_()
    with torch.no_grad():
        model.embedding.weight.copy_(one / 100)  # small: tanh leaves it as it is
        blocks["h.x"][:VOCAB] = one
        for k in range(1, delay):
            blocks["h.h"][k * VOCAB : (k + 1) * VOCAB, (k - 1) * VOCAB : k * VOCAB] = one
        model.decoder.bias.zero_()
        model.decoder.weight.zero_()
        model.decoder.weight[:, -VOCAB:] = 300 * one
    return model.eval()


def repeating(delay: int, tokens: int = 3000) -> torch.Tensor:
    """Mostly the token that stood `delay` before, now and then any."""
    drawn, fresh = torch.rand(tokens), torch.randint(VOCAB, (tokens,))
    ids = fresh.clone()
    for k in range(delay, tokens):
        ids[k] = ids[k - delay] if drawn[k] < CERTAIN else fresh[k]
    return ids
