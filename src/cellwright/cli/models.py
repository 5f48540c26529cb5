"""The trained model that a verb is to use."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli.faults import UsageFault

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="run directory that `cellwright train` made"),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N, mps")]


def load(run: Path, device: str) -> "LanguageModel":
    """The model of a run on a device.

    UsageFault for a device that torch does not have; RunError for a directory that is no run.
    """
    import torch

    from cellwright.lm import LanguageModel

    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageFault(
            f"--device: {device!r} cannot be used on this machine; leave it out for the CPU"
        ) from None
    return LanguageModel.from_pretrained(run, device=place)


def execution(run: Path) -> str:
    """Which path runs the recurrent layers of `run`, in the layer's own words."""
    from cellwright.lm.model import read_cell
    from cellwright.lm.run import read_config
    from cellwright.nn import Recurrent

    config, cell = read_config(run), read_cell(run)
    layer = Recurrent(cell, config.embed_size, config.hidden, device="meta")
    return layer.explain().removeprefix(f"{cell.__name__}: ")


def threads() -> str:
    """How many threads torch computes with."""
    import torch

    number = torch.get_num_threads()
    return "1 thread" if number == 1 else f"{number} threads"
