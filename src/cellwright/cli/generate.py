"""`cellwright generate`: text from a trained model, as it is drawn."""

import sys
from typing import Annotated

import typer

from cellwright.cli.faults import INTERRUPTED, UsageFault
from cellwright.cli.models import Device, Run, load

EXAMPLES = """
cellwright generate runs/book
cellwright generate runs/book --prompt "It was a dark" --length 500
cellwright generate runs/book --temperature 0.7 --top-k 40 --seed 1
cellwright generate runs/book --prompt "It" --temperature 0  # likeliest
cellwright generate runs/book --length 100000 > invented.txt
"""

Prompt = Annotated[str, typer.Option(metavar="TEXT", help="text to go on from", show_default=False)]
Length = Annotated[int, typer.Option(metavar="N", help="tokens to draw")]
Temperature = Annotated[
    float, typer.Option(metavar="X", help="below 1: safer, above 1: wilder, 0: the likeliest")
]
TopK = Annotated[
    int | None, typer.Option(metavar="N", help="draw among the N likeliest", show_default=False)
]
TopP = Annotated[
    float | None,
    typer.Option(metavar="X", help="draw among the likeliest that reach X", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="the same text each time (default: another)", show_default=False
    ),
]


def generate(
    run: Run,
    prompt: Prompt = "",
    length: Length = 300,
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    device: Device = "cpu",
) -> int:
    """Write text with a trained model, as it is drawn."""
    model = load(run, device)
    if any("\ud800" <= sign <= "\udfff" for sign in prompt):
        raise UsageFault("--prompt: expected UTF-8, got bytes that are not")
    pieces = model.generate(
        prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    last = prompt
    out = sys.stdout
    try:
        out.write(prompt)
        out.flush()
        for piece in pieces:
            out.write(piece)
            out.flush()
            last = piece
    except KeyboardInterrupt:
        out.write("\n")
        return INTERRUPTED
    if not last.endswith("\n"):
        out.write("\n")
    return 0
