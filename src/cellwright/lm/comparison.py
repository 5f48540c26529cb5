"""Several cells on one text: equal in tokens, and in parameters or in width."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellwright import cells as catalogue
from cellwright.language.cell import Cell
from cellwright.language.serial import cell_to_json
from cellwright.lm.atomic import new_directory
from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.errors import RunError
from cellwright.lm.evaluation import perplexity
from cellwright.lm.events import Comparing, OnEvent, StopRequest, Warned
from cellwright.lm.model import LanguageModel, ModelShape, read_cell
from cellwright.lm.plots import plot_comparison
from cellwright.lm.run import read_config, read_run, read_text_digests
from cellwright.lm.sizing import count_parameters, nearest_hidden
from cellwright.lm.storage import read_json, write_json
from cellwright.lm.texts import check_files, split_texts, text_digests
from cellwright.lm.tokenizer import Tokenizer
from cellwright.lm.training import resume, train

VERSION = 2
EQUALS = ("parameters", "width")
FAR = 0.05  # a parameter count further from the budget than this share is worth a warning


@dataclass(frozen=True)
class CurvePoint:
    """A validation: after `epoch` epochs and `tokens` tokens of training."""

    epoch: int
    tokens: int
    nats: float
    bits_per_character: float

    @property
    def perplexity(self) -> float:
        """exp(nats), for each token."""
        return perplexity(self.nats)


@dataclass(frozen=True)
class Row:
    """One training; its losses are those of its best validation.

    `difference` is to the budget; `tokens_per_s` is over the whole time, validations and saves
    included.
    """

    cell: str
    seed: int
    hidden: int
    parameters: int
    difference: int
    tokens: int
    seconds: float
    tokens_per_s: float
    valid_nats: float
    perplexity: float
    bits_per_character: float
    test_nats: float | None
    curve: tuple[CurvePoint, ...]
    run: Path


@dataclass(frozen=True)
class Comparison:
    """The rows so far, in the order of the cells and seeds; `stopped` if some are missing.

    `asked` is all that the comparison was called with: it tells one from another.
    """

    rows: tuple[Row, ...]
    budget: int | None
    equal: str
    level: str
    files: tuple[str, ...]
    epochs: int
    out: Path
    stopped: bool
    asked: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        values = dataclasses.asdict(self)
        values["out"] = str(self.out)
        values["asked"] = dict(self.asked)
        values["files"] = list(self.files)
        for row in values["rows"]:
            row["run"] = str(row["run"])
        return {"version": VERSION, **values}


@dataclass(frozen=True)
class Entry:
    """One training to do: the cell, how its model is sized, and where it goes."""

    name: str
    cell: type[Cell]
    config: TrainConfig
    parameters: int
    run: Path
    digests: Mapping[str, str]


def compare(
    config: TrainConfig,
    cells: Sequence[str],
    out: Path | str,
    *,
    budget: int | None = None,
    equal: str = "parameters",
    seeds: Sequence[int] | None = None,
    on_event: OnEvent | None = None,
    stop: StopRequest | None = None,
) -> Comparison:
    """Train each cell with each seed on the same text for the same number of epochs.

    equal="parameters": each cell gets the hidden size whose model is nearest to `budget`
    parameters in all; without a budget, to those of the first cell at config.hidden.
    equal="width": all have config.hidden. The rest of `config` is the same for all.

    Writes compare.json after each training and compare.png and compare.svg at the end, beside
    one run directory for each training. Called again, it goes on where it stopped. RunError if
    `out` holds another comparison, or a text is no longer the one that a run was trained on.
    """
    on_event, stop = on_event or _ignore, stop or StopRequest()
    out = Path(out)
    _check(config, cells, budget, equal)
    check_files(config)
    found = {name: catalogue.find(name) for name in dict.fromkeys(cells)}
    _check_projections(config, found.values())
    each_seed = tuple(dict.fromkeys(seeds or (config.seed,)))
    asked = _asked(config, tuple(found), each_seed, budget, equal)
    _refuse_another(out / "compare.json", asked)
    tokenizer = Tokenizer.train(split_texts(config)[0], config.level, config.vocab)
    if equal == "width":
        budget = None
    elif budget is None:
        budget = _sized(config, cells[0], found[cells[0]], tokenizer.size, None)[1]
    digests = text_digests(config, tokenizer)
    entries = []
    for name, cell in found.items():
        sized, parameters = _sized(config, name, cell, tokenizer.size, budget, on_event)
        for seed in each_seed:
            run = out / f"{cell.__name__.lower() if ':' in name else name}-{seed}"
            seeded = dataclasses.replace(sized, seed=seed)
            entries.append(Entry(name, cell, seeded, parameters, run, digests))
    runs = [entry.run for entry in entries]
    twice = next((run.name for run in runs if runs.count(run) > 1), None)
    if twice is not None:
        raise ConfigError(f"cells: two of them would both be trained in {twice}; rename a class")
    comparison = Comparison(
        (), budget, equal, config.level, config.files, config.epochs or 0, out, True, asked
    )
    with new_directory(out):
        return _train_all(comparison, entries, on_event, stop)


def _asked(
    config: TrainConfig,
    cells: tuple[str, ...],
    seeds: tuple[int, ...],
    budget: int | None,
    equal: str,
) -> dict[str, Any]:
    """The arguments of a comparison as JSON values; each cell's own fields are left out."""
    training = {k: v for k, v in config.to_dict().items() if k not in ("cell", "seed")}
    return {
        "cells": list(cells),
        "seeds": list(seeds),
        "budget": budget,
        "equal": equal,
        "training": training,
    }


def _refuse_another(path: Path, asked: Mapping[str, Any]) -> None:
    """RunError if `path` is the compare.json of a comparison called with other arguments."""
    if not path.exists():
        return
    before = read_json(path).get("asked")
    if before == asked:
        return
    differing = "version"
    if isinstance(before, dict):
        flat = [{**values, **_object(values.get("training"))} for values in (before, asked)]
        names = [n for n in flat[1] if n != "training" and flat[0].get(n) != flat[1][n]]
        differing = ", ".join(names) or differing
    raise RunError(
        f"{path}: holds a comparison with other settings ({differing}); choose another directory "
        "for this one"
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _train_all(
    comparison: Comparison, entries: Sequence[Entry], on_event: OnEvent, stop: StopRequest
) -> Comparison:
    out = comparison.out
    for index, entry in enumerate(entries, start=1):
        if stop.is_set():
            return comparison
        seed, hidden = entry.config.seed, entry.config.hidden
        count = len(entries)
        on_event(Comparing(entry.name, seed, index, count, hidden, entry.parameters))
        if not _train_entry(entry, on_event, stop):
            return comparison
        rows = (*comparison.rows, _row(entry, comparison.budget))
        comparison = dataclasses.replace(comparison, rows=rows, stopped=index < count)
        write_json(out / "compare.json", comparison.to_dict())
    plot_comparison(comparison, out)
    return comparison


def _check(config: TrainConfig, cells: Sequence[str], budget: int | None, equal: str) -> None:
    if not cells:
        raise ConfigError("cells: expected at least one cell, got none")
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
        cell=entry.name,
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
    )


def _ignore(event: object) -> None:
    """Nobody watches."""
