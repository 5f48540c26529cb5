"""Small language models of every cell that can read a text, with weights that are all different."""

import torch

from cellwright.cells import CATALOGUE
from cellwright.lm import LanguageModel, ModelShape, Tokenizer

SIGNS = "\n !</>abcdehinoprstu😀\u0301\u05d0\u05d1é"
READERS = tuple(
    name
    for name, cell in CATALOGUE.items()
    if len(cell.graph.inputs) == 1 and len(cell.graph.outputs) == 1
)


def reader(
    cell: str = "lstm", *, hidden: int = 16, layers: int = 2, embed: int = 9, signs: str = SIGNS
) -> LanguageModel:
    """A model of characters, drawn anew in the same way for the same arguments."""
    symbols = CATALOGUE[cell].graph.symbols
    tokenizer = Tokenizer("char", ["<unk>", *sorted(set(signs))])
    shape = ModelShape(
        vocab=tokenizer.size,
        hidden=hidden,
        embed=embed,
        layers=layers,
        proj_size=5 if "proj" in symbols else 0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LanguageModel(shape, cell, tokenizer).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model
