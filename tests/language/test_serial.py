"""cell.json: what is written is read back, and every slip in a file is named."""

import json
import math
import time
from collections.abc import Callable

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.language import (
    Cell,
    CellFileError,
    Input,
    State,
    affine,
    bias,
    cell_from_json,
    cell_to_json,
    fit,
    linear,
    modules,
    tanh,
)
from cellwright.language.graph import LARGEST_GRAPH
from cellwright.language.serial import LARGEST_FILE
from tests.cases import CELLS, draw, run, widths

LSTM = cell_to_json(CATALOGUE["lstm"])


@pytest.mark.parametrize("name", CELLS)
def test_round_trip(name):
    cell = CATALOGUE[name]
    text = cell_to_json(cell)
    again = cell_from_json(text)
    assert cell_to_json(again) == text
    for field in ("cell", "doc", "nodes", "inputs", "states", "outputs"):
        assert getattr(again.graph, field) == getattr(cell.graph, field), field
    assert again.__name__ == cell.__name__
    assert again.__doc__ == cell.__doc__


@pytest.mark.parametrize("name", CELLS)
def test_a_loaded_cell_computes_the_same_numbers(name):
    again = cell_from_json(cell_to_json(CATALOGUE[name]))
    program = lower(CATALOGUE[name].graph, widths())
    loaded = lower(again.graph, widths())
    assert loaded == program
    values = draw(program)
    wanted, _ = run(program, values)
    found, _ = run(loaded, values)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_every_attribute_comes_back():
    class Rich(Cell):
        """Doc with "quotes", \\backslashes\\, and ünïcode: σ ⊙."""

        x, h = Input(), State()
        m = modules(1, 2.5, 1e-17, -3)
        k = linear(h, upper_blocks=3, name="own")
        b = linear(k, blocks=2, start="identity") + bias(start=-0.5) + fit(x)
        h.next = tanh(affine(x, b) + linear(b, start=2)) * m + 1 / 3

    again = cell_from_json(cell_to_json(Rich))
    assert again.graph.nodes == Rich.graph.nodes
    assert again.__doc__ == Rich.__doc__


def test_a_file_can_be_read_by_a_person():
    lines = LSTM.splitlines()
    assert lines[1] == ' "format": "cellwright-cell",'
    assert sum('"op"' in line for line in lines) == len(CATALOGUE["lstm"].graph.nodes)


def edited(change: Callable[[dict], object]) -> str:
    data = json.loads(LSTM)
    change(data)
    return json.dumps(data)


def node(index: int, **entries: object) -> Callable[[dict], object]:
    """Change a node of the LSTM: 0 is x, 1 h, 2 c, 3 linear(x), 7 the sigmoid of i."""
    return lambda data: data["nodes"][index].update(entries)


def entry(**entries: object) -> Callable[[dict], object]:
    return lambda data: data.update(entries)


def gone(*path: str | int) -> Callable[[dict], object]:
    def change(data):
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


HEAVY = [{"op": "input", "width": "hidden", "name": f"x{n}"} for n in range(LARGEST_GRAPH + 1)]
SLIPS: dict[str, tuple[Callable[[dict], object], str]] = {
    "another format": (entry(format="onnx"), 'expected "format": "cellwright-cell"'),
    "a later version": (entry(version=2), "version 2, this Cellwright reads 1; update Cellwright"),
    "a version that is true": (entry(version=True), "version True"),
    "a version that is a float": (entry(version=1.0), "version 1.0"),
    "no version": (gone("version"), "version None"),
    "no nodes": (gone("nodes"), '"nodes" is a list, got None'),
    "nodes that are an object": (entry(nodes={}), '"nodes" is a list, got {}'),
    "too many nodes": (entry(nodes=HEAVY), "10001 operations, at most 10000"),
    "a node that is a number": (lambda d: d["nodes"].__setitem__(4, 7), "node 4: an object is exp"),
    "an unknown op": (node(3, op="eval"), "node 3: unknown op 'eval'"),
    "an op that is a list": (node(3, op=["add"]), "node 3: unknown op ['add']"),
    "no op": (gone("nodes", 3, "op"), "node 3: unknown op None"),
    "a low op": (node(3, op="product"), "node 3: unknown op 'product'"),
    "args that are a text": (node(5, args="34"), "node 5: args is a list of whole numbers"),
    "args that are true": (node(5, args=[True, 4]), "node 5: args is a list of whole numbers"),
    "args that are floats": (node(5, args=[3.0, 4.0]), "node 5: args is a list of whole numbers"),
    "itself": (node(5, args=[5, 4]), "reads a value not computed before it (a cycle)"),
    "a cycle": (node(3, args=[20]), "reads a value not computed before it (a cycle)"),
    "an index below zero": (node(5, args=[-1, 4]), "reads a value not computed before it"),
    "a vast index": (node(5, args=[10**30, 4]), "reads a value not computed before it"),
    "too few args": (node(5, args=[3]), "add takes 2 arguments, got 1"),
    "too many args": (node(5, args=[3, 4, 3]), "add takes 2 arguments, got 3"),
    "a width that is a number": (node(0, width=64), "node 0: a width is a text such as 4*hidden"),
    "an absurd width": (node(0, width="99999999"), "a width lies between 1 and 16777216"),
    "an absurd sum of widths": (node(0, width="16777216*a+16777216*a"), "a width lies between"),
    "a width that is code": (node(0, width="__import__('os')"), "a width reads like 4*hidden"),
    "a state without a width": (gone("nodes", 1, "width"), "a state needs a width"),
    "a name with a quote": (node(7, name='i"'), "cannot name an equation"),
    "a name with a newline": (node(7, name="i\n"), "cannot name an equation"),
    "a name that is a keyword": (node(7, name="lambda"), "'lambda' cannot name an equation"),
    "a dunder": (node(7, name="__import__"), "'__import__' cannot name an equation"),
    "a call": (node(7, name="exec('1')"), "cannot name an equation"),
    "a name with a dot": (node(7, name="os.system"), "'os.system' cannot name an equation"),
    "a very long name": (node(7, name="i" * 10_000), "cannot name an equation"),
    "a name that is a number": (node(7, name=5), "node 7: a name is a text, got 5"),
    "an empty name": (node(7, name=""), "'' cannot name an equation"),
    "a name twice": (node(7, name="f"), "LSTM.f: bound twice"),
    "an input without a name": (gone("nodes", 0, "name"), "one input has no name"),
    "a state without a name": (gone("nodes", 1, "name"), "is not its leaf's name"),
    "a state's name nowhere": (
        lambda d: (d["nodes"][1].pop("name"), d["states"][0].pop("name")),
        "one state has no name",
    ),
    "another value's next": (node(7, name="c.next"), "not what its state takes next"),
    "a next of no state": (node(7, name="q.next"), "'q.next' cannot name an equation"),
    "an owner that is no equation": (node(3, owner="q"), "linear that belongs to no equation"),
    "an owner of a sum": (node(5, owner="i"), "add and its owner 'i' do not go together"),
    "no owner": (gone("nodes", 3, "owner"), "linear and its owner None do not go together"),
    "a cell name with a space": (entry(cell="my cell"), "'my cell' cannot name a cell"),
    "a cell name that is code": (entry(cell="A():\n import os\nclass B"), "cannot name a cell"),
    "a cell name that is a list": (entry(cell=["A"]), "\"cell\" is a text, got ['A']"),
    "a doc that is a number": (entry(doc=5), '"doc" is a text, got 5'),
    "an attribute too many": (node(5, value=3.0), "add carries ['value'], expected ['spelled']"),
    "a code attribute": (node(3, code="1"), "linear carries ['code']"),
    "no value": (
        lambda d: d["nodes"].append({"op": "constant"}),
        "constant carries [], expected ['value']",
    ),
    "a value that is true": (
        lambda d: d["nodes"].append({"op": "constant", "value": True}),
        "value holds something that is not a finite number",
    ),
    "a vast value": (
        lambda d: d["nodes"].append({"op": "constant", "value": 10**400}),
        "value holds something that is not a finite number",
    ),
    "a constant with a width": (
        lambda d: d["nodes"].append({"op": "constant", "value": 1.0, "width": "hidden"}),
        "a constant has no width",
    ),
    "modules without end": (
        lambda d: d["nodes"].append({"op": "modules", "values": [1.0] * 5000, "width": "hidden"}),
        "values is a list of 1 to 4096 numbers",
    ),
    "blocks that are true": (node(3, upper_blocks=True), "upper_blocks lies between 0 and 4096"),
    "blocks without end": (node(3, upper_blocks=5000), "upper_blocks lies between 0 and 4096"),
    "two kinds of blocks": (node(3, blocks=2, upper_blocks=2), "a matrix is of one kind"),
    "a start that is code": (node(3, start="eye()"), 'start is "identity" or a number, got'),
    "a start that is true": (node(3, start=True), 'start is "identity" or a number, got True'),
    "a start without end": (node(3, start=math.inf), "is not a number a cell can hold"),
    "a start beyond every dtype": (node(3, start=1e299), "starts between -10000 and 10000, got"),
    "a start that is not square": (node(3, start="identity"), "needs a square matrix"),
    "a fit that is true": (node(3, fit=True), "fit lies between 0 and 4096"),
    "a tag that is code": (node(3, tag="a b"), "tag is a short name, got 'a b'"),
    "a long tag": (node(3, tag="a" * 33), "a part of a parameter's name is letters"),
    "a node that nothing reads": (
        lambda d: d["nodes"].append({"op": "tanh", "args": [1]}),
        "never used; nothing reads it",
    ),
    "a second input": (
        lambda d: d["nodes"].append({"op": "input", "width": "hidden", "name": "u"}),
        "inputs and states are not the leaves of the graph",
    ),
    "no states": (entry(states=[]), "inputs and states are not the leaves of the graph"),
    "a state that is a number": (entry(states=[1]), "a state is an object, got 1"),
    "a state at an input": (
        lambda d: d["states"][0].update(leaf=0),
        "a state points to input, expected state",
    ),
    "a next value that is true": (
        lambda d: d["states"][0].update(next=True),
        "a next value points to True, not to a value",
    ),
    "no outputs": (entry(outputs=[]), "no output"),
    "an output outside": (entry(outputs=[999]), "an output points to 999, not to a value"),
    "an output without a name": (entry(outputs=[3]), "an output must be a named vector"),
    "an input twice": (entry(inputs=[0, 0]), "inputs and states are not the leaves"),
    "an input that is a state": (entry(inputs=[1]), "an input points to state, expected input"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slip(slip):
    change, words = SLIPS[slip]
    with pytest.raises(CellFileError) as error:
        cell_from_json(edited(change))
    message = str(error.value)
    assert words in message
    assert message.startswith("cell file: ")
    assert "\n" not in message
    assert len(message) < 300


TEXTS = {
    "nothing": "",
    "a list": "[]",
    "a number": "5",
    "null": "null",
    "a text": '"cell"',
    "NaN": '{"format": "cellwright-cell", "version": 1, "nodes": [NaN]}',
    "infinity": '{"format": "cellwright-cell", "version": -Infinity}',
    "a comment": "// cell\n{}",
    "a byte order mark": "\ufeff" + LSTM,
    "two files": LSTM + LSTM,
    "a pickle": "\x80\x04K\x01.",
    "yaml": "format: cellwright-cell\n",
    "python": "__import__('os').system('true')",
    "a hundred thousand brackets": "[" * 100_000,
    "a hundred thousand objects": '{"a":' * 100_000,
    "brackets inside": LSTM.replace('"doc": "', '"extra": ' + "[" * 100_000 + ', "doc": "'),
    "five thousand digits": LSTM.replace('"version": 1', '"version": ' + "1" * 5000),
    "too large": LSTM + " " * LARGEST_FILE,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_not_a_cell_file(kind):
    with pytest.raises(CellFileError) as error:
        cell_from_json(TEXTS[kind])
    assert str(error.value).startswith("cell file: ")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("depth", [*range(100, 1000, 45), *range(930, 1000, 3)])
def test_nesting_of_every_depth(depth):
    nested = "[" * depth + "]" * depth
    for text in (
        f'{{"format": {nested}}}',
        edited(entry(cell=0)).replace('"cell": 0', f'"cell": {nested}'),
    ):
        with pytest.raises(CellFileError):
            cell_from_json(text)


def test_cut_short_anywhere():
    for end in range(0, len(LSTM.rstrip()), 7):
        with pytest.raises(CellFileError, match="cell file: not JSON"):
            cell_from_json(LSTM[:end])


def chain(length: int, wide: bool = False) -> str:
    """A legal file of as many operations as there may be, one feeding the next."""
    nodes: list[dict[str, object]] = [
        {"op": "input", "width": "hidden", "name": "x"},
        {"op": "state", "width": "hidden", "name": "h"},
        {"op": "add", "args": [0, 1]},
    ]
    while len(nodes) < length:
        last = len(nodes) - 1
        nodes.append({"op": "add", "args": [last, last if wide else 0]})
        if len(nodes) % 150 == 0:
            nodes[-1]["name"] = f"k{len(nodes)}"
    nodes[-1]["name"] = "h.next"
    data = json.loads(LSTM) | {"nodes": nodes, "inputs": [0], "outputs": [length - 1]}
    data["states"] = [{"name": "h", "leaf": 1, "next": length - 1}]
    return json.dumps(data)


@pytest.mark.parametrize("wide", [False, True])
def test_the_largest_file_is_read_in_no_time(wide):
    begin = time.perf_counter()
    cell = cell_from_json(chain(LARGEST_GRAPH, wide))
    assert len(cell.graph.nodes) == LARGEST_GRAPH
    assert time.perf_counter() - begin < 10  # a check of every node against every other took hours
    with pytest.raises(CellFileError):
        cell_from_json(
            chain(LARGEST_GRAPH).replace('"op": "add", "args": [500', '"op": "neg", "args": [500')
        )
