"""`cellwright compare --music`: the cells on piano rolls, with what is said along the way."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cli.faults import UsageFault, flag_of
from cellwright.cli.interrupt import orderly, while_read
from cellwright.cli.progress import finite
from cellwright.cli.quantities import count
from cellwright.cli.runs import free_run, quoted
from cellwright.cli.terminal import console, fits, paragraph

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.trials.music import MusicComparison

TAKEN = ("epochs", "batch", "clip", "threads")  # the flags of a training that mean something here
DISPENSABLE = ("seeds", "best epoch", "units", "parameters")  # in a narrow window, in this order
HEARD = "ending after this epoch; trainings that are finished are kept; Ctrl-C again leaves at once"


@dataclass(frozen=True)
class Asked:
    """What was typed: the music, the cells (None: all), and what is None where nothing was."""

    music: Path
    cells: Sequence[str] | None
    rates: Sequence[float] | None
    seeds: Sequence[int] | None
    budget: int | None
    patience: int | None
    training: Mapping[str, Any]
    out: Path | None
    as_json: bool


def refuse_text(words: Collection[str]) -> None:
    """UsageFault if one of `words`, fields that were typed, is about texts."""
    for word in words:
        if word not in TAKEN:
            what = "a text" if word == "files" else flag_of(word)
            raise UsageFault(
                f"--music: {what} has no meaning beside it; a training on music takes "
                f"{', '.join(map(flag_of, TAKEN))}, --patience and --rates"
            )


def compare_music(asked: Asked) -> int:
    """Run or go on with a comparison on music; the exit code."""
    refuse_text(asked.training)
    from cellwright.lm import StopRequest
    from cellwright.tasks.music import MADE_UP, made_up, read_music
    from cellwright.tasks.music_training import Recipe
    from cellwright.trials import music as trials

    music = made_up() if str(asked.music) == MADE_UP else read_music(asked.music)
    where = asked.out or free_run(asked.music.stem, "compare")
    recipe = {name: asked.training[name] for name in TAKEN[:3] if name in asked.training}
    if asked.patience is not None:
        recipe["patience"] = asked.patience
    out = console(typer.get_text_stream("stderr") if asked.as_json else None)
    show, stop = Lines(out), StopRequest()
    with orderly(stop, show.interrupted) as ending:
        comparison = trials.compare_music(
            music,
            asked.cells,
            where,
            rates=trials.RATES if asked.rates is None else asked.rates,
            seeds=trials.SEEDS if asked.seeds is None else asked.seeds,
            budget=trials.BUDGET if asked.budget is None else asked.budget,
            recipe=Recipe(**recipe),
            threads=asked.training.get("threads"),
            on_event=while_read(show, stop, ending),
            stop=stop,
        )
    if asked.as_json and ending.code == 0:
        console().file.write(json.dumps(finite(comparison.to_dict()), indent=2) + "\n")
    elif comparison.stopped:
        out.print(f"stopped; go on with the same command and --out {quoted(where)}", soft_wrap=True)
    else:
        print_comparison(out, comparison)
    return ending.code


class Lines:
    """Two lines for each training: what is next, and what came of it."""

    def __init__(self, out: "Console") -> None:
        self._out = out

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match type(event).__name__:
            case "Trying":
                trial = event.trial
                self._line(
                    f"{trial.index} of {trial.count}: {trial.cell}, rate {trial.lr:g}, "
                    f"seed {trial.seed}, {event.hidden} units, {count(event.parameters)} parameters"
                )
            case "MusicRow":
                broke = "; broke down" if event.broke_down else ""
                self._line(
                    f"  valid {event.valid_nats:.3f} at epoch {event.best_epoch} of "
                    f"{event.epochs}, test {event.test_nats:.3f} nats{broke}"
                )
            case "Warned":
                self._line(f"note: {event.text}")

    def interrupted(self) -> None:
        """Say that the wish to stop was heard; called in a signal handler, so past the buffers."""
        with suppress(OSError):
            os.write(2, f"{HEARD}\n".encode())

    def _line(self, text: str) -> None:
        self._out.print(text, soft_wrap=True)
        self._out.file.flush()


def print_comparison(out: "Console", comparison: "MusicComparison") -> None:
    """The table, the least test loss first; what was left out; then where everything is.

    In a narrow window columns are left out, those first that say least.
    """
    from cellwright.trials.report import HEADS, notes, table_rows

    heads, rows, gone = list(HEADS), [list(row) for row in table_rows(comparison)], []
    while not fits(out, made := _table(heads, rows)) and len(gone) < len(DISPENSABLE):
        gone.append(DISPENSABLE[len(gone)])
        place = heads.index(gone[-1])
        for cells in (heads, *rows):
            del cells[place]
    out.print(made)
    if gone:
        paragraph(out, f"Not shown in this narrow window: {', '.join(gone)}.")
    paragraph(
        out,
        "Nats for each step of the music, summed over the pitches; valid and test are means over "
        "the seeds, those of the epoch that validated best; smaller is better.",
    )
    for note in notes(comparison):
        paragraph(out, note)
    for name in ("compare.json", "compare.md", "compare.png", "compare.svg"):
        out.print(f"  {comparison.out / name}", soft_wrap=True)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for number, head in enumerate(heads):
        if number == 0:  # a path of one's own may be long: it folds, the figures do not
            table.add_column(head, overflow="fold")
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    return table
