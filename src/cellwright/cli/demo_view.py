"""The demo while it trains: both cells side by side, what they lose and what they remember."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cellwright.cli.agreement import FAR, far_back
from cellwright.cli.demo_race import Racer
from cellwright.cli.quantities import duration, percent, sparkline
from cellwright.cli.terminal import is_live
from cellwright.tasks.agreement import KINDS
from cellwright.tasks.agreement_score import AgreementScore


class Plain:
    """A line for each epoch of each cell."""

    def __init__(self, console: Console, racers: Sequence[Racer]) -> None:
        self._console = console
        self._answers: dict[str, AgreementScore] = {}
        self._epochs = 1

    def planned(self, epochs: int) -> None:
        """Take note of how many epochs there will be."""
        self._epochs = epochs
        self._print(f"time allows {epochs} epochs")

    def told(self, note: str) -> None:
        """Print a note."""
        self._console.print(f"note: {note}", style="warn", soft_wrap=True)

    def answered(self, racer: Racer, scores: AgreementScore) -> None:
        """Take in what a cell remembers now."""
        self._answers[racer.name] = scores

    def saw(self, racer: Racer | None, event: dict[str, Any] | None) -> None:
        """Print a line when a cell has finished an epoch."""
        if racer is None or event is None or event["event"] != "saved":
            return
        far = shares(self._answers.get(racer.name))
        kinds = "  ".join(f"{kind} {share}" for kind, share in zip(KINDS, far, strict=True))
        self._print(
            f"{racer.name:<5} epoch {racer.epoch:>2}  loss {racer.loss:.3f}  "
            f"over {FAR} back: {kinds}"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)
        self._console.file.flush()


class Redrawn(Plain):
    """A table that is redrawn in place."""

    def __init__(self, console: Console, racers: Sequence[Racer]) -> None:
        super().__init__(console, racers)
        self._racers = racers

    def planned(self, epochs: int) -> None:
        """Take note of how many epochs there will be."""
        self._epochs = epochs

    def saw(self, racer: Racer | None, event: dict[str, Any] | None) -> None:
        """Nothing to print: the table draws itself."""

    def __rich__(self) -> RenderableType:
        wide = self._console.width >= 76
        table = Table.grid(padding=(0, 1))
        heads = ["", "", "epoch", "loss", *([""] if wide else []), *KINDS]
        for number, _ in enumerate(heads):
            table.add_column(justify="left" if number in (0, 1) else "right", no_wrap=True)
        table.add_row(*heads, style="label")
        for racer in self._racers:
            table.add_row(*self._row(racer, wide))
        left = max((racer.eta for racer in self._racers if not math.isnan(racer.eta)), default=0)
        foot = f"{duration(left)} left" if self._epochs > 1 else "first epoch: how fast is it?"
        legend = f" {', '.join(KINDS)}: right where the cue is over {FAR} words back. {foot}"
        return Group(Text(), table, Text(legend, style="label"))

    def _row(self, racer: Racer, wide: bool) -> list[RenderableType]:
        bar = ProgressBar(total=1.0, completed=racer.progress, width=14 if wide else 6)
        loss = "-" if math.isnan(racer.loss) else f"{racer.loss:.3f}"
        course = [Text(sparkline(racer.losses, 10).ljust(10))] if wide else []
        far = shares(self._answers.get(racer.name))
        epoch = f"{racer.epoch}/{self._epochs}"
        return [Text(f" {racer.name}", style="number"), bar, epoch, loss, *course, *far]


def shares(scores: AgreementScore | None) -> list[str]:
    """Share of right answers far back, for each kind."""
    if scores is None:
        return ["-" for _ in KINDS]
    return [percent(far_back(scores, kind).accuracy) for kind in KINDS]


@contextmanager
def view(console: Console, racers: Sequence[Racer]) -> Iterator[Plain]:
    """A display of the race that fits where the output goes."""
    if not is_live(console.file):
        yield Plain(console, racers)
        return
    shown = Redrawn(console, racers)
    with Live(shown, console=console, refresh_per_second=6, transient=False):
        yield shown
