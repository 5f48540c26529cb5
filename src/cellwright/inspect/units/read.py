"""What a language model's units hold while it reads, and the model without one of them."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cellwright.inspect.units.cuts import UnitsError, cut, outgoing
from cellwright.lm import LanguageModel
from cellwright.tasks.agreement import AgreementCorpus, Probe, Target

CONTEXT = 8  # sentences that are read before the one that is looked at
BATCH = 64


@dataclass(frozen=True)
class Unit:
    """A place of a layer's output."""

    layer: int
    unit: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit}"


@dataclass(frozen=True)
class Column:
    """One number that is looked at: a state's value in a unit's place."""

    state: str
    place: Unit


@dataclass(frozen=True)
class Seen:
    """The states [targets, columns] just before each target's word is read."""

    values: Tensor
    columns: tuple[Column, ...]
    targets: tuple[Target, ...]

    def of(self, kind: str) -> tuple[Tensor, list[Target]]:
        """The rows of one kind of target."""
        rows = [k for k, target in enumerate(self.targets) if target.kind == kind]
        return self.values[rows], [self.targets[k] for k in rows]


def output_state(model: LanguageModel) -> str:
    """The state that a layer puts out; UnitsError for a cell that puts out something else."""
    graph = model.cell.graph
    for slot in graph.states:
        if slot.next == graph.outputs[0]:
            return slot.name
    raise UnitsError(f"{graph.cell}: its output is no state, so no unit of it can be looked at")


def look(model: LanguageModel, corpus: AgreementCorpus, probes: Sequence[Probe]) -> Seen:
    """Read sentences, each after the same few of the validation text, and note the states.

    A column is a state's value in a unit's place, for states as wide as the output.
    """
    by_length = sorted(probes, key=lambda probe: len(probe.words))
    rows, targets, columns = [], [], ()
    for at in range(0, len(by_length), BATCH):
        group = by_length[at : at + BATCH]
        columns, values = read(model, before(corpus), [probe.words for probe in group])
        for row, probe in enumerate(group):
            for target in probe.targets:
                rows.append(values[row, target.position - 1])
                targets.append(target)
    return Seen(torch.stack(rows), columns, tuple(targets))


def before(corpus: AgreementCorpus) -> list[list[str]]:
    """The sentences that are read before any other: no model has met one without."""
    return [line.split() for line in corpus.valid[:CONTEXT]]


def read(
    model: LanguageModel, context: Sequence[Sequence[str]], sentences: Sequence[Sequence[str]]
) -> tuple[tuple[Column, ...], Tensor]:
    """The states [B, T, columns] after each word of sentences of up to T words.

    UnitsError for a model that is not of words, or lacks one of these.
    """
    end = model.tokenizer.line_end_id if model.tokenizer else None
    if end is None:
        raise UnitsError("units: the model does not read words; train one with --level word")
    first = [end, *(n for line in context for n in (*_ids(model, line), end))]
    longest = max(len(words) for words in sentences)
    text = torch.full((len(sentences), longest), end)  # what follows a sentence is not looked at
    for row, words in enumerate(sentences):
        text[row, : len(words)] = torch.tensor(_ids(model, words))
    with torch.inference_mode():
        start = torch.tensor(first).expand(len(sentences), -1)
        state = model.recurrent(model.embedding(start))[1]
        paths = model.recurrent(model.embedding(text), state, return_states=True)[2]
    return _flat(model, paths)


def _ids(model: LanguageModel, words: Sequence[str]) -> list[int]:
    assert model.tokenizer is not None
    found = [model.tokenizer.token_id(word) for word in words]
    for word, number in zip(words, found, strict=True):
        if number is None:
            raise UnitsError(f"units: the model does not know the word {word!r:.60}")
    return [number for number in found if number is not None]


def _flat(model: LanguageModel, paths: object) -> tuple[tuple[Column, ...], Tensor]:
    """All states side by side, [B, T, columns]."""
    layers = model.shape.layers
    by_layer = [
        {name: path[0] for name, path in paths[k].items()}
        if isinstance(paths, tuple)
        else {name: path[k] for name, path in paths.items()}  # type: ignore[attr-defined]
        for k in range(layers)
    ]
    out = output_state(model)
    columns, values = [], []
    for layer, states in enumerate(by_layer):
        for name, path in states.items():  # [B, T, width]
            if path.shape[-1] == states[out].shape[-1]:
                columns += [Column(name, Unit(layer, k)) for k in range(path.shape[-1])]
                values.append(path)
    return tuple(columns), torch.cat(values, -1)


def units(model: LanguageModel) -> list[Unit]:
    """Every unit of every layer's output."""
    widths = [layer.plan.program.widths() for layer in model.recurrent._layers]
    outputs = [layer.plan.program.outputs[0][1] for layer in model.recurrent._layers]
    return [Unit(k, u) for k, name in enumerate(outputs) for u in range(widths[k][name])]


def untied(model: LanguageModel) -> LanguageModel:
    """A copy whose decoder has a matrix of its own, to be changed without the embedding."""
    made = copy.deepcopy(model).eval()
    made.decoder.weight = nn.Parameter(made.decoder.weight.detach().clone())
    return made


@contextmanager
def ablated(model: LanguageModel, place: Unit, state: str | None = None) -> Iterator[None]:
    """Within it nothing reads a unit of a state, of the output's where that is None.

    Every column of a matrix that reads it is zero: in its own layer, in the next one, in the
    decoder. What is computed of it unit by unit in its own place is part of it and stays: its own
    next value, its peepholes, and where it is a unit of an LSTM's c, the one of h; so for an LSTM
    both are one ablation. For models that `untied` made. UnitsError where a matrix reads the unit
    mixed with other values, so that no column is its own.
    """
    found = cut(model, place.layer, state or output_state(model), place.unit)
    columns = outgoing(model, found)
    held = [column.clone() for column in columns]
    try:
        for column in columns:
            column.zero_()
        yield
    finally:
        for column, values in zip(columns, held, strict=True):
            column.copy_(values)


def refusal(model: LanguageModel, column: Column) -> str:
    """Why `ablated` refuses a column's unit; empty where it does not."""
    try:
        cut(model, column.place.layer, column.state, column.place.unit)
    except UnitsError as error:
        return f"{error}"
    return ""
