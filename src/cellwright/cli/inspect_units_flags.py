"""The flags of `cellwright inspect units`, and all that was typed of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cellwright.cli.faults import UsageFault
from cellwright.cli.inspect_units_pattern import MATCHES
from cellwright.cli.inspect_units_text import TOKENS

SENTENCES, TOP, CONTROLS, SHUFFLES = 1000, 3, 40, 50
PATTERN, AGREEMENT = "Pattern search", "The agreement language"

TextShown = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT", help="text to show a unit on, or to search (default: of what is measured)"
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="text to measure on, - for standard input (default: the run's validation text)",
    ),
]
Tokens = Annotated[
    int | None,
    typer.Option(metavar="N", min=200, max=50_000, help=f"tokens to measure (default {TOKENS})"),
]
Controls = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=10,
        max=1000,
        help=f"random units to ablate beside them (default {CONTROLS})",
    ),
]
Shuffles = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=10,
        max=1000,
        help=f"times that labels are made meaningless (default {SHUFFLES})",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="of the shuffles and the random units")]
Shown = Annotated[
    str | None,
    typer.Option(
        "--unit",
        metavar="L:K",
        help="layer and unit to show on the text (default: the most selective)",
        show_default=False,
    ),
]
State = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="the state to show or to search: h, c (default: the output)"),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="write a page; replaces one that is there"),
]
Find = Annotated[
    str | None,
    typer.Option(
        metavar="PHRASE",
        help="a stretch of the text: where else are the units on that are on there?",
        rich_help_panel=PATTERN,
    ),
]
Select = Annotated[
    str | None,
    typer.Option(
        metavar="A:B", help="the same for tokens A to B, without B", rich_help_panel=PATTERN
    ),
]
Above = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        min=0.0,
        max=10.0,
        help="standard deviations from its mean beyond which a unit is on "
        "(default: so many that some are)",
        rich_help_panel=PATTERN,
    ),
]
Alone = Annotated[
    bool,
    typer.Option(
        "--alone",
        help="only units that are off just before and after the stretch",
        rich_help_panel=PATTERN,
    ),
]
Top = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=50,
        help=f"units of each kind (default {TOP}), or matches (default {MATCHES})",
    ),
]
Sentences = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=40,
        help=f"test sentences to measure on (default {SENTENCES})",
        rich_help_panel=AGREEMENT,
    ),
]


@dataclass(frozen=True)
class Given:
    """What was typed, by flag; None where it was not."""

    run: Path
    text: str | None
    file: Path | None
    tokens: int | None
    find: str | None
    select: str | None
    above: float | None
    alone: bool | None
    unit: str | None
    state: str | None
    top: int | None
    sentences: int | None
    controls: int | None
    shuffles: int | None
    seed: int
    out: Path | None
    as_json: bool

    def refuse(self, names: str, why: str) -> None:
        """UsageFault for the first of these flags that was typed: it would be ignored."""
        for name in names.split():
            if getattr(self, name) not in (None, False):
                raise UsageFault(f"--{name.removeprefix('as_')}: {why}")
