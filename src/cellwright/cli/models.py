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
        torch.empty(1, device=place).item()  # meta, which has no numbers, refuses too
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageFault(
            f"--device: {device!r} cannot be used on this machine; leave it out for the CPU"
        ) from None
    return LanguageModel.from_pretrained(run, device=place)


def execution(run: Path) -> str:
    """Which path runs the recurrent layers of `run`, in the layer's own words."""
    import torch

    from cellwright.lm.engine import pick_device
    from cellwright.lm.model import read_cell
    from cellwright.lm.run import read_config
    from cellwright.nn import Recurrent

    config, cell = read_config(run), read_cell(run)
    dtypes = {"64-true": torch.float64, "bf16-true": torch.bfloat16}
    layer = Recurrent(
        cell,
        config.embed_size,
        config.hidden,
        proj_size=config.proj_size,
        device="meta",
        dtype=dtypes.get(config.precision),
    )
    # without drawing a number: the training that is told of must not depend on being watched
    layer.to_empty(device=pick_device(config.device))
    first, *_ = layer.explain().splitlines()  # the rest is how; this is which
    return first.removeprefix(f"{cell.__name__}: ")


def threads() -> str:
    """How many threads torch computes with."""
    import torch

    number = torch.get_num_threads()
    return "1 thread" if number == 1 else f"{number} threads"
