"""Cells compared on music: equal parameters, the rate chosen for each cell, several seeds."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from cellwright import cells as catalogue
from cellwright.language.cell import Cell
from cellwright.language.errors import CellError, SettingError
from cellwright.lm import lock
from cellwright.lm.atomic import new_directory
from cellwright.lm.contest import Trial, chosen, in_turn, refuse_another
from cellwright.lm.errors import RunError
from cellwright.lm.events import StopRequest, Warned
from cellwright.lm.fields import shown
from cellwright.lm.sizing import nearest_size
from cellwright.lm.storage import read_json, write_json
from cellwright.tasks.music import PARTS, Music, MusicError
from cellwright.tasks.music_model import MusicModel, Rolls, why_not
from cellwright.tasks.music_training import Outcome, Recipe, train
from cellwright.trials.published import Published, figures_for
from cellwright.trials.records import FAR, MusicRow, read_row

VERSION: Final = 1
RATES: Final = (1e-3, 3e-3, 1e-2)
SEEDS: Final = (0, 1, 2)
BUDGET: Final = 20_000  # parameters, as in Chung et al. (2014)


@dataclass(frozen=True)
class Trying:
    """A training is next: which, and how large its model is."""

    trial: Trial
    hidden: int
    parameters: int


Event = Trying | MusicRow | Warned
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class MusicComparison:
    """The rows so far, in the order of the trials; `stopped` if some are missing.

    `left_out` maps a cell to why no model was made of it. `pieces` and `steps` are counts by part.
    `asked` is all that the comparison was called with: it tells one from another.
    """

    rows: tuple[MusicRow, ...]
    left_out: Mapping[str, str]
    music: str
    pieces: Mapping[str, int]
    steps: Mapping[str, int]
    published: tuple[Published, ...]
    budget: int
    seeds: tuple[int, ...]
    recipe: Recipe
    out: Path
    stopped: bool
    asked: Mapping[str, Any]

    def chosen(self) -> dict[str, list[MusicRow]]:
        """For each cell its rows at the rate that validated best at the first seed."""
        return chosen(self.rows, self.seeds)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        values = dataclasses.asdict(self)
        return {"version": VERSION, "kind": "music", **values, "out": str(self.out)}


@dataclass(frozen=True)
class Contender:
    """A cell at the size that the budget gives it."""

    cell: type[Cell]
    hidden: int
    parameters: int


def compare_music(
    music: Music,
    cells: Sequence[str] | None,
    out: Path | str,
    *,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = SEEDS,
    budget: int = BUDGET,
    recipe: Recipe | None = None,
    threads: int | None = None,
    on_event: OnEvent | None = None,
    stop: StopRequest | None = None,
) -> MusicComparison:
    """Train each cell at `budget` parameters with each rate, then its best rate with each seed.

    cells: names of the catalogue or file.py:Class; None is the whole catalogue, where a cell that
    music cannot drive is left out with the reason (named, it is refused). The best rate is the one
    of the least validation loss at the first seed. threads: of the CPU; None: torch's own choice.

    Writes compare.json after each training, compare.md, compare.png and compare.svg at the end.
    Called again, it goes on where it stopped; a training that was not finished begins anew.
    SettingError for rates, seeds or a budget that cannot be, MusicError for a cell that music
    cannot drive, RunError if `out` holds another comparison or another process writes there.
    """
    recipe, out = recipe or Recipe(), Path(out)
    rates, seeds = _checked(rates, seeds, budget)
    names = tuple(catalogue.CATALOGUE) if cells is None else tuple(dict.fromkeys(cells))
    found = {name: catalogue.find(name) for name in names}
    left_out = {name: why for name, cell in found.items() if (why := why_not(cell)) is not None}
    if left_out and cells is not None:
        name, why = next(iter(left_out.items()))
        raise MusicError(f"{name}: {why}")
    comparison = MusicComparison(
        rows=(),
        left_out=left_out,
        music=music.name,
        pieces={part: len(music.part(part)) for part in PARTS},
        steps={part: music.steps(part) for part in PARTS},
        published=figures_for(music),
        budget=budget,
        seeds=seeds,
        recipe=recipe,
        out=out,
        stopped=True,
        asked={
            "music": music.digest,
            "cells": list(names),
            "rates": list(rates),
            "seeds": list(seeds),
            "budget": budget,
            "threads": threads,
            **dataclasses.asdict(recipe),
        },
    )
    contest = _Contest(
        rolls=Rolls.of(music),
        found={name: cell for name, cell in found.items() if name not in left_out},
        on_event=on_event or _ignore,
        stop=stop or StopRequest(),
    )
    with new_directory(out), _alone(out), _threads(threads):
        return contest.run(comparison, rates)


@dataclass(frozen=True)
class _Contest:
    """What the trainings of a comparison share."""

    rolls: Rolls
    found: Mapping[str, type[Cell]]
    on_event: OnEvent
    stop: StopRequest

    def run(self, comparison: MusicComparison, rates: tuple[float, ...]) -> MusicComparison:
        path = comparison.out / "compare.json"
        before = _rows_before(path, comparison.asked)
        rows: list[MusicRow] = []
        sized = functools.cache(lambda name: self._sized(name, comparison.budget))

        def attempt(trial: Trial) -> float | None:
            key = (trial.cell, trial.lr, trial.seed)
            row = before.get(key)
            if row is None and not self.stop.is_set():
                row = self._train(trial, sized(trial.cell), comparison)
            if row is None:
                return None
            rows.append(row)
            if key not in before:
                part = dataclasses.replace(comparison, rows=tuple(rows))
                write_json(path, part.to_dict())
            return row.valid_nats

        done = in_turn(tuple(self.found), rates, comparison.seeds, attempt)
        comparison = dataclasses.replace(comparison, rows=tuple(rows), stopped=not done)
        if done:
            from cellwright.trials.report import write_report

            write_json(path, comparison.to_dict())
            write_report(comparison)
        return comparison

    def _sized(self, name: str, budget: int) -> Contender:
        cell = self.found[name]

        def count(hidden: int) -> int | None:
            try:
                return MusicModel(cell, hidden, "meta").parameter_count
            except CellError:
                return None

        hidden, parameters = nearest_size(cell, count, budget)
        if abs(parameters - budget) > FAR * budget:
            self.on_event(
                Warned(
                    f"{name}: the nearest size, hidden {hidden}, has {parameters} parameters: "
                    f"{parameters - budget:+d} to the budget of {budget}"
                )
            )
        return Contender(cell, hidden, parameters)

    def _train(
        self, trial: Trial, contender: Contender, comparison: MusicComparison
    ) -> MusicRow | None:
        self.on_event(Trying(trial, contender.hidden, contender.parameters))
        cell, hidden = contender.cell, contender.hidden
        outcome = train(
            self.rolls, cell, hidden, trial.lr, trial.seed, comparison.recipe, self.stop.is_set
        )
        if outcome is None:
            return None
        row = _row(trial, contender, comparison.budget, outcome)
        self.on_event(row)
        return row


def _checked(
    rates: Sequence[float], seeds: Sequence[int], budget: int
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Rates and seeds without repetitions; SettingError for what cannot be used."""
    for lr in rates:
        if type(lr) not in (int, float) or not 0 < lr < math.inf:
            raise SettingError(f"rates: expected numbers above 0, got {lr!r:.40}")
    for seed in seeds:
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise SettingError(
                f"seeds: expected whole numbers from 0 to 2^63 - 1, got {seed!r:.40}"
            )
    if not rates or not seeds:
        raise SettingError("rates, seeds: expected at least one of each, got none")
    if type(budget) is not int or budget < 1:
        raise SettingError(f"budget: expected a number of parameters, got {budget!r:.40}")
    return tuple(dict.fromkeys(map(float, rates))), tuple(dict.fromkeys(seeds))


def _rows_before(path: Path, asked: Mapping[str, Any]) -> dict[tuple[str, float, int], MusicRow]:
    """The rows that an earlier call of the same comparison left, by cell, rate and seed."""
    refuse_another(path, asked)
    if not path.exists():
        return {}
    values = read_json(path).get("rows")
    if not isinstance(values, list):
        raise RunError(f"{path}: rows: expected a list, got {shown(values)}")
    rows = [read_row(f"{path}: rows[{k}]", value) for k, value in enumerate(values)]
    return {(row.cell, row.lr, row.seed): row for row in rows}


def _row(trial: Trial, contender: Contender, budget: int, outcome: Outcome) -> MusicRow:
    return MusicRow(
        cell=trial.cell,
        lr=trial.lr,
        seed=trial.seed,
        hidden=contender.hidden,
        parameters=contender.parameters,
        difference=contender.parameters - budget,
        best_epoch=outcome.best_epoch,
        train_nats=None if math.isnan(outcome.train_nats) else outcome.train_nats,
        valid_nats=outcome.valid_nats,
        test_nats=outcome.test_nats,
        test_nats_by_piece=outcome.test_nats_by_piece,
        broke_down=outcome.broke_down,
        seconds=round(outcome.seconds, 3),
        curve=outcome.curve,
    )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Within the block no other process compares in `out`; a lock on nothing goes again."""
    held = lock.acquire(out)
    try:
        yield
    finally:
        if (out / "compare.json").exists():
            held.close()
        else:
            lock.remove(out, held)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Within the block torch uses `count` threads."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def _ignore(event: object) -> None:
    """Nobody watches."""
