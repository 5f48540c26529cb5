"""Cells as data: `cell.json`, written and read without running any code."""

import copyreg
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import TypeGuard

from cellwright.language.cell import Cell, cell_from_graph
from cellwright.language.errors import NOT_JSON, CellError, CellFileError
from cellwright.language.graph import (
    IDENTITY,
    LARGEST_GRAPH,
    MOST_MODULES,
    PER,
    Attribute,
    Graph,
    Node,
    StateSlot,
    is_name,
    is_rate,
)
from cellwright.language.ops import LEAVES, PARAMETRIC, Op
from cellwright.language.width import Width

FORMAT = "cellwright-cell"
VERSION = 1
LARGEST_FILE = 4_000_000  # characters

# The attributes an operation may carry; anything else in a file is refused.
ATTRIBUTES: dict[Op, frozenset[str]] = {
    Op.INPUT: frozenset({"per", "rate", "scaled"}),
    Op.CONSTANT: frozenset({"value"}),
    Op.MODULES: frozenset({"values"}),
    Op.LINEAR: frozenset({"upper_blocks", "blocks", "drop", "fit", "start", "tag"}),
    Op.BIAS: frozenset({"affine", "beside", "start"}),
    Op.PART: frozenset({"index", "of"}),
}
_REQUIRED = {Op.CONSTANT: {"value"}, Op.MODULES: {"values"}, Op.PART: {"index", "of"}}


def cell_to_json(cell: type[Cell]) -> str:
    """Return a cell as JSON text; `cell_from_json` makes an equal cell of it."""
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        raise CellError(f"cell_to_json takes one cell, got {cell!r:.60}")
    graph = cell.graph
    nodes = []
    for node in graph.nodes:
        entry: dict[str, object] = {"op": str(node.op)}
        if node.args:
            entry["args"] = list(node.args)
        if node.width is not None:
            entry["width"] = str(node.width)
        if node.name:
            entry["name"] = node.name
        if node.owner:
            entry["owner"] = node.owner
        entry.update(node.attrs)
        nodes.append(entry)
    data = {
        "format": FORMAT,
        "version": VERSION,
        "cell": graph.cell,
        "doc": graph.doc,
        "inputs": list(graph.inputs),
        "states": [{"name": s.name, "leaf": s.leaf, "next": s.next} for s in graph.states],
        "outputs": list(graph.outputs),
    }
    head = json.dumps(data, indent=1, ensure_ascii=False)[:-2]
    lines = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in nodes)
    return f'{head},\n "nodes": [\n  {lines}\n ]\n}}\n'


def cell_from_json(text: str) -> type[Cell]:
    """Return the cell that a JSON text describes, or raise CellFileError with what is wrong."""
    if len(text) > LARGEST_FILE:
        raise CellFileError(f"cell file: {len(text)} characters, at most {LARGEST_FILE}")
    try:
        data = json.loads(text, parse_constant=_no_such_number)
        return cell_from_graph(_graph(_checked_head(data)))
    except RecursionError:
        raise CellFileError("cell file: nested too deeply to be a cell") from None
    except ValueError as error:
        raise CellFileError(f"cell file: {NOT_JSON}: {error}") from None
    except CellError as error:
        raise CellFileError(f"cell file: {error}") from None


def _checked_head(data: object) -> Mapping[str, object]:
    """Return the file's object, or refuse what is not a cell of this version."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CellFileError(f'cell file: not a cell; expected "format": "{FORMAT}"')
    version = data.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version != VERSION:
        raise CellFileError(
            f"cell file: version {version!r:.40}, this Cellwright reads {VERSION}; "
            "update Cellwright or save the cell again"
        )
    return data


def _no_such_number(text: str) -> float:
    raise ValueError(f"{text} is not a number a cell can hold")


def _graph(data: Mapping[str, object]) -> Graph:
    entries = _list(data, "nodes")
    if len(entries) > LARGEST_GRAPH:
        raise CellFileError(f"cell file: {len(entries)} operations, at most {LARGEST_GRAPH}")
    nodes = tuple(_node(k, entry) for k, entry in enumerate(entries))

    def index(what: str, value: object, op: Op | None = None) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(nodes):
            raise CellFileError(f"cell file: {what} points to {value!r:.40}, not to a value")
        if op is not None and nodes[value].op is not op:
            raise CellFileError(f"cell file: {what} points to {nodes[value].op}, expected {op}")
        return value

    states = []
    for entry in _list(data, "states"):
        if not isinstance(entry, dict):
            raise CellFileError(f"cell file: a state is an object, got {entry!r:.40}")
        leaf = index("a state", entry.get("leaf"), Op.STATE)
        if entry.get("name") != nodes[leaf].name:
            raise CellFileError(
                f"cell file: state {entry.get('name')!r:.40} is not its leaf's name"
            )
        states.append(
            StateSlot(nodes[leaf].name or "", leaf, index("a next value", entry.get("next")))
        )
    inputs = tuple(index("an input", k, Op.INPUT) for k in _list(data, "inputs"))
    leaves = [k for k, n in enumerate(nodes) if n.op in (Op.INPUT, Op.STATE)]
    declared = [*inputs, *(s.leaf for s in states)]
    if len(set(declared)) != len(declared) or sorted(declared) != leaves:
        raise CellFileError(
            "cell file: inputs and states are not the leaves of the graph, once each"
        )
    return Graph(
        cell=_text(data, "cell"),
        doc=_text(data, "doc"),
        nodes=nodes,
        inputs=inputs,
        states=tuple(states),
        outputs=tuple(index("an output", k) for k in _list(data, "outputs")),
        lines={},
    )


def _list(data: Mapping[str, object], key: str) -> list[object]:
    value = data.get(key)
    if not isinstance(value, list):
        raise CellFileError(f'cell file: "{key}" is a list, got {value!r:.40}')
    return value


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise CellFileError(f'cell file: "{key}" is a text, got {value!r:.40}')
    return value


def _node(position: int, entry: object) -> Node:
    place = f"cell file: node {position}"
    if not isinstance(entry, dict):
        raise CellFileError(f"{place}: an object is expected, got {entry!r:.40}")
    try:
        op = Op(entry.get("op"))  # type: ignore[arg-type]
    except ValueError:
        raise CellFileError(f"{place}: unknown op {entry.get('op')!r:.40}") from None
    args = entry.get("args", [])
    if not isinstance(args, list) or any(
        isinstance(a, bool) or not isinstance(a, int) for a in args
    ):
        raise CellFileError(f"{place}: args is a list of whole numbers, got {args!r:.40}")
    name, owner = entry.get("name"), entry.get("owner")
    for value in (name, owner):
        if value is not None and not isinstance(value, str):
            raise CellFileError(f"{place}: a name is a text, got {value!r:.40}")
    if (op in PARAMETRIC) != (owner is not None):
        raise CellFileError(f"{place}: {op} and its owner {owner!r:.40} do not go together")
    width = entry.get("width")
    if width is not None and not isinstance(width, str):
        raise CellFileError(f"{place}: a width is a text such as 4*hidden, got {width!r:.40}")
    extra = set(entry) - {"op", "args", "name", "owner", "width"}
    allowed = ATTRIBUTES.get(op, frozenset())
    if op not in LEAVES:
        allowed |= {"spelled"}
    required = _REQUIRED.get(op, set())
    partly = op is Op.INPUT and extra and extra != allowed  # a mask has all three
    if extra - allowed or required - extra or partly:
        raise CellFileError(
            f"{place}: {op} carries {sorted(extra)!r:.80}, expected {sorted(required or allowed)}"
        )
    attrs = tuple(sorted((key, _attribute(place, key, entry[key])) for key in extra))
    return Node(op, tuple(args), Width.of(width) if width is not None else None, name, owner, attrs)


def _attribute(place: str, key: str, value: object) -> Attribute:
    if key in ("value", "values"):
        return _numbers(place, key, value)
    if key in _ONE_OF:
        fits, wanted = _ONE_OF[key]
        if not fits(value):
            raise CellFileError(f"{place}: {key} is {wanted}, got {value!r:.40}")
        return float(value) if isinstance(value, int | float) else str(value)
    most = 1 if key == "scaled" else MOST_MODULES
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise CellFileError(f"{place}: {key} lies between 0 and {most}, got {value!r:.40}")
    return value


def _numbers(place: str, key: str, value: object) -> Attribute:
    numbers = value if key == "values" else [value]
    if not isinstance(numbers, list) or not 1 <= len(numbers) <= MOST_MODULES:
        raise CellFileError(f"{place}: {key} is a list of 1 to {MOST_MODULES} numbers")
    floats = tuple(float(v) for v in numbers if _finite(v))
    if len(floats) < len(numbers):
        raise CellFileError(f"{place}: {key} holds something that is not a finite number")
    return floats if key == "values" else floats[0]


def _finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _is_tag(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isidentifier()


_PROBABILITY = (is_rate, "a probability, 0 or more and less than 1")
_TAG = (_is_tag, "a short name")
# What an attribute may be, and how an error says it.
_ONE_OF: dict[str, tuple[Callable[[object], bool], str]] = {
    "start": (lambda v: v == IDENTITY or _finite(v), f'"{IDENTITY}" or a number'),
    "rate": _PROBABILITY,
    "drop": _PROBABILITY,
    "per": (lambda v: isinstance(v, str) and v in PER, " or ".join(PER)),
    "spelled": (lambda v: isinstance(v, str) and is_name(v.removesuffix(".next")), "a name"),
    "tag": _TAG,
    "beside": _TAG,
}


def _restore(module: str, qualname: str, text: str) -> type[Cell]:
    """Unpickle a cell: the class of that name if it is imported and the same, else its data."""
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Cell) and found is not Cell:
        return found if cell_to_json(found) == text else cell_from_json(text)
    return cell_from_json(text)


def _reduce(cell: type[Cell]) -> str | tuple[Callable[..., type[Cell]], tuple[str, str, str]]:
    if cell is Cell:
        return cell.__qualname__
    return _restore, (cell.__module__, cell.__qualname__, cell_to_json(cell))


# A cell pickles as its graph, so that a model with a cell of its own loads on any machine.
copyreg.pickle(type(Cell), _reduce)
