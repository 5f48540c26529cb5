"""Several cells on one text: equal in tokens, and in parameters or in width."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellwright import cells as catalogue
from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.language.serial import cell_to_json
from cellwright.lm.atomic import new_directory
from cellwright.lm.compared import Comparison, CurvePoint, Row
from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.contest import Trial, in_turn, refuse_another
from cellwright.lm.errors import RunError, TrainingError
from cellwright.lm.events import Comparing, OnEvent, StopRequest, Warned
from cellwright.lm.model import LanguageModel, ModelShape, read_cell
from cellwright.lm.run import read_config, read_run, read_text_digests
from cellwright.lm.sizing import SPARSE, count_parameters, nearest_hidden
from cellwright.lm.storage import write_json
from cellwright.lm.summary import write_summary
from cellwright.lm.texts import check_files, split_texts, text_digests
from cellwright.lm.tokenizer import Tokenizer
from cellwright.lm.training import resume, train
from cellwright.lm.transformed import cell_of

EQUALS = ("parameters", "width")
FAR = 0.05  # a parameter count further from the budget than this share is worth a warning


@dataclass(frozen=True)
class Entry:
    """One training to do: the cell, how its model is sized, and where it goes."""

    trial: Trial
    cell: type[Cell]
    config: TrainConfig
    parameters: int
    run: Path
    digests: Mapping[str, str]


def compare(
    config: TrainConfig,
    cells: Sequence[str] | None,
    out: Path | str,
    *,
    budget: int | None = None,
    equal: str = "parameters",
    seeds: Sequence[int] | None = None,
    rates: Sequence[float] | None = None,
    on_event: OnEvent | None = None,
    stop: StopRequest | None = None,
) -> Comparison:
    """Train each cell with each seed on the same text for the same number of epochs.

    cells: names of the catalogue or file.py:Class; None is the whole catalogue, where a cell that
    a text cannot drive is left out with the reason (named, it is refused).
    equal="parameters": each cell gets the hidden size whose model is nearest to `budget`
    parameters in all; without a budget, to those of the first cell at config.hidden.
    equal="width": all have config.hidden. The rest of `config` is the same for all.
    rates: learning rates in the place of config.lr; each cell is trained with each of them at the
    first seed, then with the one of the least validation loss at the other seeds. Of several
    rates, a training that breaks down is told of and left without a row.

    Writes compare.json after each training and compare.md, compare.png and compare.svg at the
    end, beside one run directory for each training. Called again, it goes on where it stopped.
    RunError if `out` holds another comparison, or a text is no longer the one that a run was
    trained on.
    """
    on_event, stop = on_event or _ignore, stop or StopRequest()
    out = Path(out)
    names = tuple(catalogue.CATALOGUE if cells is None else dict.fromkeys(cells))
    _check(config, names, budget, equal, rates)
    check_files(config)
    found, unfit = _cells_of(config, names, whole=cells is None)
    _check_projections(config, found.values())
    each_seed = tuple(dict.fromkeys(seeds or (config.seed,)))
    asked = _asked(config, names, each_seed, rates, budget, equal)
    refuse_another(out / "compare.json", asked)
    tokenizer = Tokenizer.train(split_texts(config)[0], config.level, config.vocab)
    left_out = unfit if cells is not None else unfit | _left_out(config, found, tokenizer.size)
    found = {name: cell for name, cell in found.items() if name not in left_out}
    if budget is not None:
        _check_budget(config, found, tokenizer.size, budget)
    if equal == "width":
        budget = None
    elif budget is None:
        first = next(iter(found))
        budget = _sized(config, first, found[first], tokenizer.size, None)[1]
    each_rate = tuple(dict.fromkeys(rates or (config.lr,)))
    contest = _Contest(
        sized={
            name: _sized(config, name, cell, tokenizer.size, budget, on_event)
            for name, cell in found.items()
        },
        found=found,
        places=_places(out, found),
        digests=text_digests(config, tokenizer),
        rates=each_rate,
        on_event=on_event,
        stop=stop,
    )
    comparison = Comparison(
        rows=(),
        budget=budget,
        equal=equal,
        level=config.level,
        files=config.files,
        epochs=config.epochs or 0,
        out=out,
        stopped=True,
        asked=asked,
        seeds=each_seed,
        left_out=left_out,
    )
    with new_directory(out):
        return contest.run(comparison)


def _cells_of(
    config: TrainConfig, names: Sequence[str], whole: bool
) -> tuple[dict[str, type[Cell]], dict[str, str]]:
    """The cells, transformed as `config` says; of the whole catalogue, why some cannot be."""
    found: dict[str, type[Cell]] = {}
    unfit: dict[str, str] = {}
    for name in names:
        try:
            found[name] = cell_of(config, name)
        except CellError as error:
            if not whole:
                raise
            unfit[name] = str(error)
    return found, unfit


def _left_out(config: TrainConfig, found: Mapping[str, type[Cell]], vocab: int) -> dict[str, str]:
    """The cells that no model of a text can be made of, and why."""
    reasons = {}
    for name, cell in found.items():
        own = dataclasses.replace(config, proj_size=config.proj_size if _projected(cell) else 0)
        try:
            count_parameters(own, cell, vocab)
        except ConfigError as error:
            reasons[name] = str(error)
    return reasons


def _places(out: Path, found: Mapping[str, type[Cell]]) -> dict[str, Path]:
    """Where the runs of each cell go, rates and seeds aside; ConfigError if two would collide."""
    places = {n: out / (c.__name__.lower() if ":" in n else n) for n, c in found.items()}
    made = list(places.values())
    twice = next((place for place in made if made.count(place) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"cells: two of them would both be trained in {twice}-...; rename a class"
        )
    return places


def _asked(
    config: TrainConfig,
    cells: tuple[str, ...],
    seeds: tuple[int, ...],
    rates: Sequence[float] | None,
    budget: int | None,
    equal: str,
) -> dict[str, Any]:
    """The arguments of a comparison as JSON values; each cell's own fields are left out."""
    training = {k: v for k, v in config.to_dict().items() if k not in ("cell", "seed")}
    return {
        "cells": list(cells),
        "seeds": list(seeds),
        "rates": None if rates is None else list(rates),
        "budget": budget,
        "equal": equal,
        "training": training,
    }


@dataclass(frozen=True)
class _Contest:
    """What the trainings of a comparison share."""

    sized: Mapping[str, tuple[TrainConfig, int]]
    found: Mapping[str, type[Cell]]
    places: Mapping[str, Path]
    digests: Mapping[str, str]
    rates: tuple[float, ...]
    on_event: OnEvent
    stop: StopRequest

    def run(self, comparison: Comparison) -> Comparison:
        """All trainings in turn, or up to the stop."""
        made = [comparison]
        attempt = functools.partial(self._attempt, made)
        done = in_turn(tuple(self.sized), self.rates, comparison.seeds, attempt)
        comparison = dataclasses.replace(made[-1], stopped=not done)
        if done and not comparison.rows:
            raise TrainingError(f"no training came to its end: {comparison.broke_down[0]}")
        if done:
            write_json(comparison.out / "compare.json", comparison.to_dict())
            write_summary(comparison)
        return comparison

    def _entry(self, trial: Trial) -> Entry:
        config, parameters = self.sized[trial.cell]
        config = dataclasses.replace(config, seed=trial.seed, lr=trial.lr)
        rate = f"-{trial.lr:g}" if len(self.rates) > 1 else ""
        place = self.places[trial.cell]
        run = place.with_name(f"{place.name}{rate}-{trial.seed}")
        return Entry(trial, self.found[trial.cell], config, parameters, run, self.digests)

    def _attempt(self, made: list[Comparison], trial: Trial) -> float | None:
        """One training, whose row makes the next comparison; its loss, None if it was stopped."""
        if self.stop.is_set():
            return None
        entry, before = self._entry(trial), made[-1]
        hidden, place = entry.config.hidden, (trial.index, trial.count)
        self.on_event(Comparing(trial.cell, trial.seed, *place, hidden, entry.parameters))
        try:
            if not _train_entry(entry, self.on_event, self.stop):
                return None
        except TrainingError as error:
            if len(self.rates) == 1:
                raise
            said = f"{trial.cell}, rate {trial.lr:g}, seed {trial.seed}: {error}"
            self.on_event(Warned(said))
            made.append(dataclasses.replace(before, broke_down=(*before.broke_down, said)))
            return math.nan
        row = _row(entry, before.budget)
        made.append(dataclasses.replace(before, rows=(*before.rows, row)))
        write_json(before.out / "compare.json", made[-1].to_dict())
        return row.valid_nats


def _check(
    config: TrainConfig,
    cells: Sequence[str],
    budget: int | None,
    equal: str,
    rates: Sequence[float] | None,
) -> None:
    if not cells:
        raise ConfigError("cells: expected at least one cell, got none")
    if rates is not None and not rates:
        raise ConfigError("rates: expected at least one, got none")
    for lr in rates or ():
        dataclasses.replace(config, lr=lr)  # raises for what is no learning rate
    if equal not in EQUALS:
        raise ConfigError(f"equal: expected one of {', '.join(EQUALS)}, got {equal!r}")
    if config.epochs is None:
        raise ConfigError(
            "compare: expected epochs, got minutes: cells differ in speed, and "
            "equal tokens need equal epochs"
        )
    if config.valid is None:
        raise ConfigError("compare: expected a validation text (--valid FILE or a fraction)")
    if budget is not None and (budget < 1 or equal == "width"):
        raise ConfigError(
            f"budget: expected a number of parameters, with equal='parameters', "
            f"got {budget} with equal={equal!r}"
        )


def _check_budget(
    config: TrainConfig, found: Mapping[str, type[Cell]], vocab: int, budget: int
) -> None:
    """ConfigError for fewer parameters than the smallest model of each of the cells has."""
    smallest = []
    for name, cell in found.items():
        own = dataclasses.replace(config, proj_size=config.proj_size if _projected(cell) else 0)
        for hidden in range(own.proj_size + 1, own.proj_size + SPARSE):
            if count := count_parameters(dataclasses.replace(own, hidden=hidden), cell, vocab):
                smallest.append((count, name, hidden))
                break
    count, name, hidden = max(smallest, default=(0, "", 0))
    if budget < count:
        raise ConfigError(
            f"budget: expected at least {count}, what {name} has at its smallest (hidden {hidden}) "
            f"on this text, got {budget}"
        )


def _sized(
    config: TrainConfig,
    name: str,
    cell: type[Cell],
    vocab: int,
    budget: int | None,
    on_event: OnEvent | None = None,
) -> tuple[TrainConfig, int]:
    """The configuration of this cell at `budget` parameters (None: at config.hidden)."""
    proj_size = config.proj_size if _projected(cell) else 0
    config = dataclasses.replace(config, cell=name, proj_size=proj_size)
    if budget is not None:
        hidden, parameters = nearest_hidden(config, cell, vocab, budget)
        config = dataclasses.replace(config, hidden=hidden)
    else:
        parameters = count_parameters(config, cell, vocab)
        if parameters is None:
            LanguageModel(ModelShape.of(config, vocab), cell, device="meta")  # raises, saying why
            raise AssertionError
    if on_event is not None and budget and abs(parameters - budget) > FAR * budget:
        size = "smallest" if config.hidden == config.proj_size + 1 else "nearest"
        on_event(
            Warned(
                f"{name}: the {size} size, hidden {config.hidden}, has {parameters} "
                f"parameters: {parameters - budget:+d} to the budget of {budget}"
            )
        )
    return config, parameters


def _projected(cell: type[Cell]) -> bool:
    return "proj" in cell.graph.symbols


def _check_projections(config: TrainConfig, cells: Iterable[type[Cell]]) -> None:
    """ConfigError if a width of projections is given and no cell has one."""
    if config.proj_size and not any(map(_projected, cells)):
        raise ConfigError("proj_size: none of the cells has a projection; leave it out")


def _train_entry(entry: Entry, on_event: OnEvent, stop: StopRequest) -> bool:
    """Train, or go on with, one entry; True once it is finished."""
    if not (entry.run / "config.json").exists():
        return not train(entry.config, entry.run, on_event=on_event, stop=stop).stopped
    same_cell = cell_to_json(read_cell(entry.run)) == cell_to_json(entry.cell)
    if read_config(entry.run) != entry.config or not same_cell:
        raise RunError(
            f"{entry.run}: holds a run with other settings than this comparison's; choose another "
            "directory for the comparison"
        )
    changed = _changed(entry)
    if changed is not None:
        raise RunError(
            f"{entry.run}: its {changed} text was another one, of the same name; choose another "
            "directory for the comparison"
        )
    if read_run(entry.run).finished:
        return True
    return not resume(entry.run, on_event=on_event, stop=stop).stopped


def _changed(entry: Entry) -> str | None:
    """The part (train, valid or test) whose text is not the one that the run was trained on."""
    known = read_text_digests(entry.run)
    return next((part for part, made in entry.digests.items() if known.get(part) != made), None)


def _row(entry: Entry, budget: int | None) -> Row:
    info = read_run(entry.run)
    at = info.position
    valid = [record for record in info.metrics if record["kind"] == "valid"]
    tests = [record["nats"] for record in info.metrics if record["kind"] == "test"]
    names = ("epoch", "tokens", "nats", "bits_per_character")
    curve = tuple(CurvePoint(**{name: record[name] for name in names}) for record in valid)
    if not curve:
        raise RunError(f"{entry.run / 'metrics.jsonl'}: holds no validation; delete {entry.run}")
    best = min(curve, key=lambda point: point.nats)
    return Row(
        cell=entry.trial.cell,
        seed=entry.config.seed,
        hidden=entry.config.hidden,
        parameters=entry.parameters,
        difference=0 if budget is None else entry.parameters - budget,
        tokens=at.tokens,
        seconds=at.seconds,
        tokens_per_s=at.tokens / at.seconds if at.seconds else math.inf,
        valid_nats=best.nats,
        perplexity=best.perplexity,
        bits_per_character=best.bits_per_character,
        test_nats=tests[-1] if tests else None,
        curve=curve,
        run=entry.run,
        lr=entry.config.lr,
    )


def _ignore(event: object) -> None:
    """Nobody watches."""
