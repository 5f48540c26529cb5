"""Pictures of cells: nothing overlaps, nothing is missing, nothing depends on chance."""

import itertools
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from cellwright.cells import CATALOGUE
from cellwright.language import (
    Cell,
    CellError,
    Input,
    State,
    affine,
    bias,
    concat,
    diagonal,
    layer_norm,
    layer_normed,
    linear,
    maximum,
    modules,
    projected,
    recurrent_dropout,
    relu,
    residual,
    sigmoid,
    split,
    tanh,
    where,
    zoneout,
)
from cellwright.targets.svg import focused, single, svg, unrolled, versus
from cellwright.targets.svg.blocks import Kind, blocks
from cellwright.targets.svg.differences import differences
from cellwright.targets.svg.figure import figure
from cellwright.targets.svg.geometry import Drawing, drawn
from cellwright.targets.svg.shapes import Rect, Text
from cellwright.targets.svg.styles import STYLES
from cellwright.targets.svg.symbols import Symbol, signs

NAMESPACE = "{http://www.w3.org/2000/svg}"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
SHOWN = (Kind.LAYER, Kind.POINTWISE, Kind.PIECE, Kind.FIXED, Kind.INPUT, Kind.OUTPUT)
TRANSFORMS = {
    "zoneout": lambda cell: zoneout(cell, 0.1),
    "dropout": lambda cell: recurrent_dropout(cell, 0.25),
    "residual": residual,
    "projected": projected,
    "normed": layer_normed,
}
ANY = [name for name in TRANSFORMS if name not in ("projected", "normed")]  # not for every cell


class Everything(Cell):
    """A cell with the words that the catalogue has no use for."""

    x, y, h, g, alpha = Input("hidden"), Input(), State(), State(), State("2*hidden")

    both = concat(x, h)
    p, q = split(layer_norm(both), 2)
    fixed = modules(0.5, 1, 2, 4)
    many = sigmoid(affine(y, x, h, g) + diagonal(x) + diagonal(h) + diagonal(g) + diagonal(p))
    odd = where(x <= h, 1, h - g) / (1 + abs(many)) - bias() * fixed
    deep = tanh(linear(relu(linear(tanh(affine(x))))))
    alpha.next = concat(odd, -deep * h * h)
    h.next = maximum(odd, x * q + deep)
    g.next = h
    outputs = h.next, odd


class Delay(Cell):
    """States that only hand on what they are given."""

    x, a, b = Input("hidden"), State(), State()
    m = x * 1
    a.next = m
    b.next = a


OWN = {"everything": Everything, "delay": Delay}
CELLS = {**CATALOGUE, **OWN}


def rooms(drawing: Drawing) -> dict[str, tuple[float, float, float, float]]:
    """Return what must not overlap: boxes, and the texts beside them."""
    found = {
        f"box {k} {block.label}": drawing.boxes[k].sides
        for k, block in enumerate(drawing.cell.blocks)
        if block.kind in SHOWN
    }
    labels = {**{f"name {k}": v for k, v in drawing.names.items()},
              **{f"mark {k}": v for k, v in drawing.marks.items()}}  # fmt: skip
    for key, at in labels.items():
        text = Text("ink", at.symbol, at.x, at.y, at.size, at.anchor)
        found[key] = text.sides
    return found


def overlap(a, b, by: float = 0.01) -> bool:
    return a[0] < b[2] - by and b[0] < a[2] - by and a[1] < b[3] - by and b[1] < a[3] - by


def segments(drawing: Drawing):
    for route in drawing.routes:
        for a, b in itertools.pairwise(route.corners):
            yield route.wire, a, b


def faults(drawing: Drawing) -> list[str]:
    """Return everything that is wrong with a drawing."""
    found = []
    places = rooms(drawing)
    for (one, a), (two, b) in itertools.combinations(places.items(), 2):
        if overlap(a, b):
            found.append(f"{one} overlaps {two}")
    lines = list(segments(drawing))
    for wire, a, b in lines:
        if (a[0] == b[0]) == (a[1] == b[1]):
            found.append(f"{wire.source} → {wire.sink}: neither level nor upright")
        box = (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
        for key, room in places.items():
            inner = (room[0] + 1, room[1] + 1, room[2] - 1, room[3] - 1)
            if overlap((box[0] - 0.1, box[1] - 0.1, box[2] + 0.1, box[3] + 0.1), inner, 0):
                found.append(f"{wire.source} → {wire.sink} runs through {key}")
    for (one, a, b), (two, c, d) in itertools.combinations(lines, 2):
        if one.source != two.source and shared(a, b, c, d):
            found.append(f"{one.source} → {one.sink} lies on {two.source} → {two.sink}")
    for route in drawing.routes:
        for block, end in ((route.wire.source, route.corners[0]),
                           (route.wire.sink[0], route.corners[-1])):  # fmt: skip
            left, top, right, bottom = drawing.boxes[block].sides
            if not (left <= end[0] <= right and top <= end[1] <= bottom and (
                end[0] in (left, right) or end[1] in (top, bottom)
            )):  # fmt: skip
                found.append(f"{route.wire.source} → {route.wire.sink} does not touch {block}")
    return found


def shared(a, b, c, d) -> bool:
    """Tell whether two level or upright stretches share more than a point."""
    for axis in (0, 1):
        if a[axis] == b[axis] == c[axis] == d[axis]:
            other = 1 - axis
            low = max(min(a[other], b[other]), min(c[other], d[other]))
            high = min(max(a[other], b[other]), max(c[other], d[other]))
            return high - low > 0.01
    return False


def texts(node: ET.Element, x: float = 0.0, y: float = 0.0):
    """Yield every text of a picture and where it is: (element, x, y)."""
    moved = node.get("transform")
    if moved:
        dx, dy = moved.removeprefix("translate(").removesuffix(")").split()
        x, y = x + float(dx), y + float(dy)
    if node.tag == f"{NAMESPACE}text":
        yield node, x + float(node.get("x", 0)), y + float(node.get("y", 0))
    for child in node:
        yield from texts(child, x, y)


def check_file(text: str) -> ET.Element:
    """A picture is well-formed, says what it is, asks for nothing, and holds all its text."""
    root = ET.fromstring(text)
    assert root.tag == f"{NAMESPACE}svg" and root.get("role") == "img"
    assert root[0].tag == f"{NAMESPACE}title" and root[0].text
    assert root[1].tag == f"{NAMESPACE}desc" and root[1].text
    for word in ("<script", "href", "url(", "@import", "nan", "inf"):
        assert word not in text
    left, top, wide, high = map(float, (root.get("viewBox") or "").split())
    for node, x, y in texts(root):
        sub = node[0].text if len(node) else ""
        size = float(node.get("font-size", 0))
        anchor = node.get("text-anchor", "start")
        room = Text("ink", Symbol(node.text or "", sub or ""), x, y, size, anchor).sides
        assert left <= room[0] and room[2] <= left + wide, node.text
        assert top <= room[1] and room[3] <= top + high, node.text
    return root


def said(root: ET.Element) -> set[str]:
    return {"_".join(part for part in node.itertext()) for node, _, _ in texts(root)}


@pytest.mark.parametrize("name", CELLS)
def test_nothing_overlaps_and_wires_touch_what_they_join(name):
    drawing = drawn(blocks(CELLS[name].graph))
    assert faults(drawing) == []
    feeds = [(k, n) for k, b in enumerate(drawing.cell.blocks) for n in range(len(b.feeds))]
    assert sorted(route.wire.sink for route in drawing.routes) == feeds


def ringed(drawing: Drawing) -> dict[str, tuple[float, float, float, float]]:
    """Return the room of the rings that a picture would have if everything were marked."""
    every = frozenset(range(len(drawing.cell.blocks)))
    stroke = STYLES["ring"].width / 2
    found = [s for s in figure(drawing, marked=every) if isinstance(s, Rect) and s.style == "ring"]
    return {
        f"ring {k}": (
            s.x - stroke, s.y - stroke, s.x + s.width + stroke, s.y + s.height + stroke
        )
        for k, s in enumerate(found)
    }  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_a_ring_touches_no_text_and_no_other_block(name):
    drawing = drawn(blocks(CELLS[name].graph))
    rings = ringed(drawing)
    shown = [k for k in rooms(drawing) if k.startswith("box")]
    assert len(rings) == len(shown)
    for ring, a in rings.items():
        touched = [what for what, b in rooms(drawing).items() if overlap(a, b)]
        assert len(touched) == 1 and touched[0].startswith("box"), f"{ring}: {touched}"


def test_arrows_lie_on_top_of_rings():
    shapes = figure(drawn(blocks(CATALOGUE["lstm"].graph)), marked=frozenset(range(12)))
    kinds = ["ring" if isinstance(s, Rect) and s.style == "ring" else "other" for s in shapes[1:]]
    assert kinds == sorted(kinds, reverse=True) and "ring" in kinds


def test_what_is_wrong_is_found():
    """A box on top of another, or on a wire, and two wires on one line do not pass."""
    drawing = drawn(blocks(CATALOGUE["lstm"].graph))
    one, two = drawing.cell.of(Kind.LAYER)[:2]
    (a, b), *_ = [r.corners for r in drawing.routes if len(r.corners) == 2]
    between = replace(drawing.boxes[one], x=(a[0] + b[0]) / 2, y=(a[1] + b[1]) / 2)
    for box, said in ((drawing.boxes[two], "overlaps"), (between, "runs through")):
        found = " ".join(faults(replace(drawing, boxes={**drawing.boxes, one: box})))
        assert said in found and f"does not touch {one}" in found
    (wire,) = [r for r in drawing.routes if r.wire.sink == (one, 0)]
    copy = replace(wire, wire=replace(wire.wire, source=two))
    assert "lies on" in " ".join(faults(replace(drawing, routes=(*drawing.routes, copy))))


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        *itertools.product(["rnn", "lstm", "gru", "clockwork", "slstm"], ANY),
        *itertools.product(["rnn", "lstm", "peephole"], ["projected", "normed"]),
    ],
)
def test_transformed_cells_can_be_drawn(name, transform):
    cell = TRANSFORMS[transform](CELLS[name])
    assert faults(drawn(blocks(cell.graph))) == []
    check_file(svg(single(cell.graph)))


@pytest.mark.parametrize("name", CELLS)
def test_every_equation_has_its_name(name):
    graph = CELLS[name].graph
    root = check_file(svg(single(graph)))
    shown = said(root)
    for sign in signs(graph).values():
        assert "_".join(part for part in (sign.stem, sign.sub) if part) in shown
    for state in graph.states:
        assert f"{'α' if state.name == 'alpha' else state.name}_t" in shown
    nodes = {node.get("data-node") for node in root.iter()}
    assert {name for name, _ in graph.equations} <= nodes


@pytest.mark.parametrize("name", CELLS)
def test_every_view_is_a_whole_picture(name):
    graph = CELLS[name].graph
    first = graph.equations[0][0].removesuffix(".next")
    for picture in (unrolled(graph), focused(graph, [first]), versus(graph, CELLS["gru"].graph)):
        check_file(svg(picture))


@pytest.mark.parametrize("theme", ["light", "dark", "auto"])
def test_a_theme_is_fixed_or_follows_the_reader(theme):
    text = svg(single(CATALOGUE["rnn"].graph), theme)
    check_file(text)
    assert ("prefers-color-scheme" in text) == (theme == "auto")
    assert ("fill:#ffffff" in text) == (theme != "dark")


def contrast(one: str, other: str) -> float:
    """The ratio of the brightnesses of two colours, as the guidelines for pages define it."""

    def bright(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((bright(one), bright(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_stands_out_from_what_it_lies_on(dark):
    frame, ink = STYLES["frame"].fill[dark], STYLES["ink"].fill[dark]
    for kind in ("layer", "pointwise", "piece", "fixed", "input", "output"):
        style = STYLES[kind]
        assert contrast(ink, style.fill[dark]) >= 4.5, kind
        assert contrast(style.stroke[dark], frame) >= 3, kind
    for surface in (frame, STYLES["page"].fill[dark]):
        assert contrast(STYLES["note"].fill[dark], surface) >= 4.5
        for kind in ("wire", "peephole", "ring"):
            assert contrast(STYLES[kind].stroke[dark], surface) >= 3, kind


def test_the_layers_of_an_lstm_and_what_stands_on_its_belt():
    """The textbook's figure: four boxes in a row, × and + on c's line, tanh and × at its end."""
    cell = blocks(CATALOGUE["lstm"].graph)
    drawing = drawn(cell)

    def at(label, kind=Kind.POINTWISE):
        found = [drawing.boxes[k] for k in cell.of(kind) if cell.blocks[k].label == label]
        return sorted(found, key=lambda box: (box.y, box.x))

    layers = sorted((drawing.boxes[k] for k in cell.of(Kind.LAYER)), key=lambda box: box.x)
    named = {drawing.names[k].symbol.stem: drawing.boxes[k].x for k in cell.of(Kind.LAYER)}
    assert sorted(named, key=named.__getitem__) == ["f", "i", "g", "o"]
    assert len({box.y for box in layers}) == 1
    forget, write, show = at("×")
    (add,), (squash,) = at("+"), at("tanh")
    (c,) = [drawing.boxes[k] for k in cell.of(Kind.BEFORE) if cell.blocks[k].label == "c"]
    assert forget.y == add.y == c.y < squash.y < write.y == show.y < layers[0].y
    assert forget.x == named["f"] and add.x == write.x == named["g"]
    assert squash.x == show.x == named["o"]
    assert sum(len(route.corners) == 2 for route in drawing.routes) >= 8


def test_a_picture_is_the_same_every_time():
    program = (
        "from cellwright.cells import CATALOGUE as c; from cellwright.targets.svg import *; "
        "import sys; sys.stdout.reconfigure(encoding='utf-8'); "
        "print(svg(single(c['fgr'].graph)), svg(versus(c['lstm'].graph, c['gru'].graph)))"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert made[0] == made[1] and b"<svg" in made[0]


def test_what_is_out_of_focus_is_faded():
    graph = CATALOGUE["lstm"].graph
    root = check_file(svg(focused(graph, ["f"])))
    faded = {node.get("data-node") for node in root.iter() if node.get("class") == "faded"}
    assert {"i", "g", "o"} <= faded and "f" not in faded and "x" not in faded
    assert "f = σ(W_fx x + W_fh h[t-1] + b_f)" in said(root)
    with pytest.raises(CellError, match=r"LSTM has no equation 'forget'; it has .*f"):
        focused(graph, ["forget"])


def test_differences_are_ringed_and_equal_cells_have_none():
    def rings(one: str, other: str) -> list[set[str]]:
        cells = [blocks(CATALOGUE[name].graph) for name in (one, other)]
        alone = differences(*cells)
        return [{cells[k].blocks[b].label for b in alone[k]} for k in (0, 1)]

    assert rings("lstm", "np") == [set(), set()]
    assert rings("lstm", "peephole") == [{"σ"}, {"σ"}]
    assert rings("rnn", "rnn-relu") == [{"tanh"}, {"relu"}]
    same = svg(versus(CATALOGUE["lstm"].graph, CATALOGUE["np"].graph))
    assert 'class="ring"' not in same and "both have the same parts" in same
    assert svg(versus(CATALOGUE["lstm"].graph, CATALOGUE["gru"].graph)).count('class="ring"') > 3


def test_a_label_is_text_and_no_markup():
    class Strict(Cell):
        x, h = Input("hidden"), State()
        h.next = where(x < h, x, h)

    graph = replace(Strict.graph, doc="x < h & \x00 \ud800 </desc><script>")
    text = svg(single(graph))
    root = check_file(text.encode("utf-8").decode("utf-8"))
    assert "a < b" in said(root)
    assert "x < h & \ufffd \ufffd </desc><script>" in (root[1].text or "")


def chained(h, x, times):
    for _ in range(times):
        h = h * x + x
    return h


def test_what_nobody_could_follow_is_refused():
    class Endless(Cell):
        x, h = Input("hidden"), State()
        a = chained(h, x, 40)
        b = chained(a, x, 40)
        h.next = chained(b, x, 40)

    class Deep(Cell):
        x, h = Input("hidden"), State()
        h.next = chained(h, x, 60)

    with pytest.raises(CellError, match=r"Endless: \d+ operations are too many to draw"):
        single(Endless.graph)
    with pytest.raises(CellError, match=r"Deep: \d+ operations .* too deep to draw"):
        single(Deep.graph)


def test_a_long_cell_can_be_drawn():
    class Long(Cell):
        x, h = Input("hidden"), State()
        a = chained(h, x, 15)
        h.next = chained(a, x, 15)

    assert faults(drawn(blocks(Long.graph))) == []


@pytest.mark.parametrize(
    ("file", "picture"),
    [
        ("lstm", lambda: single(CATALOGUE["lstm"].graph)),
        ("coupled", lambda: single(CATALOGUE["coupled"].graph)),
        ("lstm-unrolled", lambda: unrolled(CATALOGUE["lstm"].graph)),
        ("lstm-f", lambda: focused(CATALOGUE["lstm"].graph, ["f"])),
        ("gru-and-gru-cho", lambda: versus(CATALOGUE["gru"].graph, CATALOGUE["gru-cho"].graph)),
    ],
)
def test_the_documentations_pictures_are_those_that_are_drawn(file, picture):
    """`cellwright show CELL --as svg -o docs/images/FILE.svg` draws them again."""
    page = IMAGES / f"{file}.svg"
    assert page.read_text(encoding="utf-8") == svg(picture())
