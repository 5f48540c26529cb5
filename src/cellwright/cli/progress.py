"""What a training run shows while it runs: a live display, plain lines, or JSON lines."""

import json
import math
import os
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cellwright.cli.models import execution, threads
from cellwright.cli.quantities import count, duration, perplexity, rate, short, sparkline
from cellwright.cli.terminal import is_live

if TYPE_CHECKING:
    from cellwright.lm import Comparing, Started, Step, Validated

PLAIN_INTERVAL = 10.0  # seconds between two plain lines
HEARD = "finishing this step, then saving; Ctrl-C again leaves at once"
_FIELDS = (("epoch", 5), ("train", 8), ("valid", 8), ("", 11), ("lr", 9), ("tok/s", 7), ("time", 8))
Show = Callable[[object], None]


def measure(level: str, nats: float) -> tuple[str, str]:
    """The number that people of this level compare, and its name.

    Characters: bits per character, nats / ln 2. Words and pieces of words: perplexity.
    """
    if level == "char":
        return f"{nats / math.log(2):.3f}", "bits/char"
    return short(perplexity(nats)), "perplexity"


@dataclass
class Course:
    """What the events have told so far; every display draws from it."""

    level: str = "char"
    epochs: int | None = None
    step: "Step | None" = None
    losses: list[float] = field(default_factory=list)

    def started(self, event: "Started") -> None:
        """Begin anew."""
        self.level, self.epochs = event.level, event.epochs
        self.step, self.losses = None, []

    def stepped(self, event: "Step") -> None:
        """Take in a step; its loss is the mean over the tokens since the last one."""
        self.step = event
        self.losses.append(event.loss)

    def row(self, event: "Validated") -> tuple[str, ...]:
        """The epoch's row, in the order of the table's columns."""
        lr, per_second = (self.step.lr, self.step.tokens_per_s) if self.step else (0.0, 0.0)
        value, _ = measure(self.level, event.nats)
        # an epoch that is not over is a broken number: 2.45 is 45 % of the third
        whole = event.window == event.windows
        epochs = event.epoch - 1 + math.floor(100 * event.window / event.windows) / 100
        return (
            str(event.epoch) if whole else f"{epochs:.2f}",
            f"{event.train_nats:.4f}",
            f"{event.nats:.4f}",
            value,
            f"{lr:.3g}",
            rate(per_second),
            duration(event.seconds),
        )


def heading(event: "Started") -> list[tuple[str, str]]:
    """What is about to run, as (label, text)."""
    text = f"{count(event.tokens)} tokens, vocabulary {count(event.vocab)} ({event.level})"
    if event.valid_tokens:
        text += f"; validation {count(event.valid_tokens)}"
    if event.test_tokens:
        text += f"; test {count(event.test_tokens)}"
    length = f"{event.epochs} epochs" if event.epochs else f"{event.minutes:g} minutes"
    length = "1 epoch" if event.epochs == 1 else length
    goes_on = f", going on from {event.progress:.0%}" if event.resumed else ""
    return [
        ("cell", f"{event.cell_name}, {count(event.parameters)} parameters in all"),
        ("text", text),
        ("machine", f"{event.device}, {threads()}"),
        ("path", execution(event.out)),
        ("length", length + goes_on),
        ("run", str(event.out)),
    ]


def announced(event: "Comparing") -> str:
    """Which training of a comparison is next."""
    return (
        f"{event.index} of {event.count}: {event.cell}, seed {event.seed}, "
        f"{event.hidden} units, {count(event.parameters)} parameters"
    )


class Heading:
    """Prints `heading` in two columns; the path only where it is another than the last one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._path = ""

    def __call__(self, event: "Started") -> None:
        """Print the heading of one training."""
        for label, text in heading(event):
            if label == "path":
                if text == self._path:
                    continue
                self._path = text
            width = max(20, self._console.width - 12)
            lines = [text] if label == "run" else textwrap.wrap(text, width, break_on_hyphens=False)
            for number, line in enumerate(lines):
                self._console.print(f"  {'' if number else label:<9}{line}", soft_wrap=True)


class Plain:
    """One line about every ten seconds and one an epoch, for logs and pipes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._course = Course()
        self._due = clock() + PLAIN_INTERVAL
        self._heading = Heading(console)

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match type(event).__name__:
            case "Comparing":
                self._line(announced(event))
            case "Started":
                self._course.started(event)
                self._heading(event)
            case "Step":
                self._course.stepped(event)
                if self._clock() >= self._due:
                    self._due = self._clock() + PLAIN_INTERVAL
                    self._line(f"epoch {event.epoch}  {now(event, self._course.level)}")
            case "Validated":
                value, name = measure(self._course.level, event.nats)
                part = f"{100 * event.window // event.windows} %"
                done = "done" if event.window == event.windows else f"to {part} of it"
                self._line(
                    f"epoch {event.epoch} {done}: train {event.train_nats:.4f}, "
                    f"valid {event.nats:.4f} nats/token, {value} {name}, "
                    f"{duration(event.seconds)}{', best so far' if event.is_best else ''}"
                )
            case "Warned":
                self._line(f"note: {event.text}")

    def interrupted(self) -> None:
        """Say that the wish to stop was heard; called in a signal handler, so past the buffers."""
        _tell_on_stderr()

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)
        self._console.file.flush()


def now(step: "Step", level: str) -> str:
    """Where a run is at this step, in one line."""
    value, name = measure(level, step.loss)
    return (
        f"{step.progress:4.0%}  loss {step.loss:.4f}  {value} {name}  "
        f"{rate(step.tokens_per_s)} tok/s  {duration(step.eta)} left"
    )


class Redrawn:
    """A display redrawn in place: a bar, the loss's course, and above them a row per epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._course = Course()
        self._columns: tuple[tuple[str, int], ...] = ()
        self._notice = ""
        self._before = " reading the text ..."
        self._heading = Heading(console)

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match type(event).__name__:
            case "Comparing":
                self._console.print(f"\n{announced(event)}", style="number", soft_wrap=True)
            case "Started":
                self._course.started(event)
                self._columns, self._before = (), ""
                self._heading(event)
            case "Step":
                self._course.stepped(event)
            case "Validated":
                self._row(event)
            case "Finished":
                self._course.step = None
            case "Warned":
                self._console.print(f"note: {event.text}", style="warn", soft_wrap=True)

    def interrupted(self) -> None:
        """Say that the wish to stop was heard; shown at the next redrawing."""
        self._notice = HEARD

    def _row(self, event: "Validated") -> None:
        row = self._course.row(event)
        if not self._columns:
            name = measure(self._course.level, event.nats)[1]
            self._columns = tuple((n or name, w) for n, w in _FIELDS)
            self._console.print()
            self._console.print(self._cut([n for n, _ in self._columns]), style="label")
        best = "  best" if event.is_best and self._console.width >= 66 else ""
        self._console.print(self._cut(row) + best)

    def _cut(self, cells: list[str] | tuple[str, ...]) -> str:
        """Right-aligned columns, as many as the window is wide enough for."""
        line = ""
        for cell, (_, width) in zip(cells, self._columns, strict=True):
            if len(line) + width + 1 > self._console.width:
                break
            line += f" {cell:>{width}}"
        return line

    def __rich__(self) -> RenderableType:
        step = self._course.step
        if step is None:
            return Text(self._notice or self._before)
        width = self._console.width
        head = Table.grid(padding=(0, 1))
        of = f"/{self._course.epochs}" if self._course.epochs else ""
        left = f"{duration(step.eta)} left"
        label = f" epoch {step.epoch}{of}"
        bar = max(4, min(60, width - len(label) - len(left) - 9))
        head.add_row(
            label,
            ProgressBar(total=1.0, completed=step.progress, width=bar),
            f"{step.progress:4.0%}",
            left,
        )
        value, name = measure(self._course.level, step.loss)
        facts = f" loss {step.loss:.3f}  {value} {name}  {rate(step.tokens_per_s)} tok/s"
        room = max(0, min(40, width - len(facts) - 3))
        line = Text(f"{facts}  {sparkline(self._course.losses, room)}")
        line.no_wrap, line.overflow = True, "crop"
        parts: list[RenderableType] = [Text(), head, line]
        if self._notice:
            parts.append(Text(f" {self._notice}", style="warn"))
        return Group(*parts)


class Json:
    """Every event as one line of JSON: {"event": "step", ...}."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Any) -> None:
        """Show one event."""
        self._console.file.write(as_json(event) + "\n")
        self._console.file.flush()

    def interrupted(self) -> None:
        """Say that the wish to stop was heard, beside the JSON."""
        _tell_on_stderr()


def as_json(event: Any) -> str:
    """An event as one line of JSON; what is not a number of JSON (nan, inf) becomes null."""
    values = {"event": type(event).__name__.lower(), **asdict(event)}
    return json.dumps(finite(values), ensure_ascii=False, default=_plain)


def finite(value: Any) -> Any:
    """`value` with nan and infinities, which JSON does not have, replaced by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _tell_on_stderr() -> None:
    with suppress(OSError):
        os.write(2, f"{HEARD}\n".encode())


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


@contextmanager
def display(console: Console, as_lines_of_json: bool = False) -> Iterator[Any]:
    """A display that fits where the output goes; call it with each event.

    Its `interrupted()` may be called in a signal handler.
    """
    if as_lines_of_json:
        yield Json(console)
    elif is_live(console.file):
        shown = Redrawn(console)
        with _live(shown, console):
            yield shown
    else:
        yield Plain(console)


def _live(shown: Redrawn, console: Console) -> AbstractContextManager[Live]:
    return Live(shown, console=console, refresh_per_second=8, transient=True)
