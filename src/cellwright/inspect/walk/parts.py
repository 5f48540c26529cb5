"""What a walkthrough page says of a cell: its graph and walk as data, and the page's frame."""

import html
from typing import TYPE_CHECKING, Any

from cellwright.inspect.walk.lines import has_own_line, lines
from cellwright.inspect.walk.steps import Choice, Sum, Walk, walk
from cellwright.inspect.walk.values import Reading
from cellwright.language.errors import CellError
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import LEAVES, Op
from cellwright.targets.equations import PLAIN
from cellwright.targets.formulas import Name, When, sides
from cellwright.targets.formulas import lines as written
from cellwright.targets.mathml import NOTATION
from cellwright.targets.svg import single, svg

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

SMALLEST = 0.55  # of a diagram's own size; in a narrower place it is scrolled
TITLES = (
    ("text", "Your text"),
    ("in", "What comes in"),
    ("forget", "Forget"),
    ("write", "Write"),
    ("update", "Update"),
    ("reveal", "Reveal"),
    ("predict", "Predict"),
    ("back", "Look back"),
    ("compare", "Compare"),
)


def steps_of(graph: Graph) -> list[dict[str, Any]]:
    """The nine steps: a key, a title, and of those inside the cell, the values they work out.

    `lit` are the equations, and what they stand in, that the cell's own picture shows as lit.
    """
    found, made = walk(graph), []
    for key, title in TITLES:
        step: dict[str, Any] = {"key": key, "title": title}
        if key in ("forget", "write", "update", "reveal"):
            step["items"] = list(getattr(found, key))
            step["lit"] = [k for k in step["items"] if graph.nodes[k].name]
        made.append(step)
    return made


def cell_facts(graph: Graph) -> dict[str, Any]:
    """A cell as a page needs it: nodes to compute with, lines to show, states and updates."""
    table, formulas, plain = lines(graph), sides(graph, NOTATION), sides(graph, PLAIN)
    shown = {
        k: {
            "tokens": line.tokens,
            "terms": line.terms,
            "kind": line.kind,
            "own": has_own_line(graph, k),
            "math": formulas[k],
            "text": plain[k],
            "left": _left(graph, k),
            "name": label(graph, k),
        }
        for k, line in table.items()
    }
    states = [{"name": s.name, "leaf": s.leaf, "next": s.next} for s in graph.states]
    (output,) = graph.outputs
    return {
        "graph": {"nodes": [_node(n) for n in graph.nodes], "states": states, "output": output},
        "lines": shown,
        "leaves": {k: formulas[k] for k, n in enumerate(graph.nodes) if n.op in LEAVES},
        "input": graph.inputs[0],
        "outputName": label(graph, output),
        "updates": _updates(walk(graph)),
        "traced": _traced(graph),
    }


def _node(node: Node) -> dict[str, Any]:
    made: dict[str, Any] = {"op": str(node.op), "args": node.args, "name": node.name}
    return made | {k: v for k, v in node.attrs if k in ("value", "values", "index")}


def label(graph: Graph, index: int) -> str:
    """A value's name as one says it: `c.next` is c[t]."""
    name = graph.nodes[index].name or ""
    return f"{name.removesuffix('.next')}[t]" if name.endswith(".next") else name


def _left(graph: Graph, index: int) -> str | None:
    """The left-hand side of an equation; None for a part of one."""
    name = graph.nodes[index].name
    if name is None:
        return None
    if name.endswith(".next"):
        return NOTATION.named(Name(name.removesuffix(".next"), When.NOW, state=True))
    return NOTATION.named(Name(name, When.NOW))


def _updates(found: Walk) -> list[dict[str, Any]]:
    return [
        {
            "name": update.state.name,
            "leaf": update.state.leaf,
            "next": update.state.next,
            "made": _made(update.made),
        }
        for update in found.updates
    ]


def _made(made: Sum | Choice) -> dict[str, Any]:
    if isinstance(made, Choice):
        return {"condition": made.condition, "yes": _made(made.yes), "no": _made(made.no)}
    return {"terms": [{"node": t.node, "sign": t.sign, "factors": t.factors} for t in made.terms]}


KINDS = {Op.SIGMOID: "gate", Op.TANH: "signed"}


def _traced(graph: Graph) -> list[dict[str, Any]]:
    """The named values in their order, and how each is coloured: 0 to 1, -1 to 1, or by size."""
    indices = [k for _, k in graph.equations]
    indices += [s.next for s in graph.states if s.next not in indices]
    return [
        {"node": k, "label": label(graph, k) or _state_of(graph, k), "kind": _kind(graph, k)}
        for k in indices
    ]


def _kind(graph: Graph, index: int) -> str:
    return KINDS.get(graph.nodes[index].op, "free")


def _state_of(graph: Graph, index: int) -> str:
    return next(f"{s.name}[t]" for s in graph.states if s.next == index)


def body(model: "LanguageModel", reading: Reading, text: str) -> str:
    """The page's frame: headings, the cell's equations, and the places that scripts fill."""
    graph, shape = reading.layers[0].graph, model.shape
    name = html.escape(model.cell.__name__)
    layers = "1 layer" if shape.layers == 1 else f"{shape.layers} layers"
    facts = (
        f"{layers} of {shape.hidden} units, a vocabulary of {shape.vocab:,}, "
        f"{model.parameter_count:,} weights."
    )
    links = "".join(
        f'<li><a href="#step={k}" data-step="{k}"><span class="n">{k}</span>{title}</a></li>'
        for k, (_, title) in enumerate(TITLES)
    )
    return f"""\
<a class="skip" href="#story">Skip to the story</a>
<header>
<h1>{name} reads <bdi>{html.escape(text)}</bdi></h1>
<p>{facts} <span id="live" role="status">Computing …</span></p>
</header>
<main>
<nav aria-label="Steps"><ol id="steps">{links}</ol></nav>
<p id="status" class="unseen" role="status" aria-live="polite"></p>
<div class="columns">
<aside id="cell" aria-labelledby="cell-title" tabindex="0">
<h2 id="cell-title">The cell</h2>
{_picture(graph)}
<ul id="cell-lines">{_equations(graph)}</ul>
</aside>
<section id="story" aria-labelledby="story-title" tabindex="-1">
<h2 id="story-title">Your text</h2>
</section>
</div>
<section class="reading" aria-labelledby="timeline-title">
<h2 id="timeline-title">The unit over time</h2>
<div id="timeline" class="wide" role="region" tabindex="0" aria-label="The unit over time"></div>
</section>
</main>
<div id="bar" role="group" aria-label="The text, and where you look">
<div id="strip" class="strip" role="listbox" tabindex="0" dir="auto"
 aria-label="Tokens; the arrow keys go from one to the next"></div>
<div id="controls">
<span><button type="button" id="back-token" aria-label="Token before">◂</button>
<span><span class="word">token </span><span id="token"></span></span>
<button type="button" id="next-token" aria-label="Next token">▸</button></span>
<span><label for="unit">unit</label><input id="unit" type="number" min="0" value="0"></span>
{_layers(shape.layers)}
<p id="legend"></p>
</div>
</div>
<footer>Numbers have six decimals, below 0.0001 and from a million on six digits and a power of ten;
the last two decimals, small, are there to recompute the first four by.
The address of this page says where you look: send it on, with the file.</footer>"""


def _picture(graph: Graph) -> str:
    """The cell's diagram, or why there is none; its equations stand below it either way."""
    try:
        picture = single(graph)
        least = round(SMALLEST * picture.width)
        return f'<div class="picture"><div style="min-width: {least}px">{svg(picture)}</div></div>'
    except CellError as error:
        return f'<p class="note">{html.escape(str(error))}</p>'


def _equations(graph: Graph) -> str:
    """Each equation of the cell as a list item that knows which values stand on its left."""
    by_name = {label(graph, k).removesuffix("[t]"): k for _, k in graph.equations}
    by_name |= {s.name: s.next for s in graph.states}
    return "".join(
        f'<li data-node="{by_name[line.names[0]]}">'
        f"<math>{line.left}<mo>=</mo>{line.right}</math></li>"
        for line in written(graph, NOTATION)
        if line.names[0] in by_name
    )


def _layers(count: int) -> str:
    if count == 1:
        return ""
    options = "".join(f'<option value="{k}">{k}</option>' for k in range(count))
    return f'<span><label for="layer">layer</label><select id="layer">{options}</select></span>'
