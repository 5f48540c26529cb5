"""Trail: the named values of a cell, and programs that give any of them at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cellwright.compiler import Instr, Low, Program, verify
from cellwright.compiler.hoist import hoist
from cellwright.compiler.program import SCALAR, Port, Stage
from cellwright.compiler.rewrite import Fresh
from cellwright.compiler.simplify import simplify
from cellwright.compiler.stage import stage
from cellwright.language.errors import CellwrightError
from cellwright.language.graph import Graph, Node
from cellwright.language.masks import is_mask
from cellwright.language.ops import COMPARISONS, LEAVES, Op

# What bends a number: the function whose argument is an equation's preactivation.
SQUASHING = frozenset({Op.SIGMOID, Op.TANH, Op.RELU, Op.EXP})
ARITHMETIC = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.NEG})
ZERO = (("value", 0.0),)
PRE, PREV, NEXT = ".pre", ".prev", ".next"


class TraceError(CellwrightError):
    """A value that cannot be seen or replaced as it was asked for, or a file of no trace."""


@dataclass(frozen=True)
class Named:
    """A value of a step that can be seen, and the node that makes it.

    `kind` says what it is: an "equation", a "preactivation", a state "before" the step or an
    "input". `bent` is the function that the whole of an equation is, if it is one that squashes;
    `state` names the state that takes the value, or that is it before the step.
    """

    name: str
    node: int
    kind: str
    bent: Op | None = None
    state: str | None = None


def named_values(graph: Graph) -> dict[str, Named]:
    """List what can be seen of a cell, by name, in the order of its declaration.

    An input is itself; an equation `f` is `f`, and what its outermost squashing function is
    applied to is `f.pre`; a state `c` is `c` after the step and `c.prev` before it. What is no
    vector, a truth value or a number, cannot be seen, and neither can masks.
    """
    found: dict[str, Named] = {}
    after = {s.next: s.name for s in graph.states}

    def add(name: str, node: int, kind: str = "equation", state: str | None = None) -> None:
        bending = _bending(graph, node) if kind == "equation" else None
        bent = graph.nodes[node].op if bending == node else None
        found[name] = Named(name, node, kind, bent, state)
        if bending is not None:
            inside = graph.nodes[bending].args[0]
            if graph.nodes[inside].width is not None:
                found[name + PRE] = Named(name + PRE, inside, "preactivation")

    for index in graph.inputs:
        if not is_mask(graph.nodes[index]):
            add(graph.nodes[index].name or "", index, "input")
    for state in graph.states:
        found[state.name + PREV] = Named(state.name + PREV, state.leaf, "before", None, state.name)
    for name, index in graph.equations:
        node = graph.nodes[index]
        if node.width is not None and node.op not in COMPARISONS:
            add(name.removesuffix(NEXT), index, state=after.get(index))
    for state in graph.states:
        if state.name not in found:  # it takes an input, a number or another name's value
            add(state.name, state.next, state=state.name)
    return found


def _bending(graph: Graph, index: int) -> int | None:
    """Return the squashing function that an equation is, but for arithmetic with numbers."""
    node, first = graph.nodes[index], True
    while first or not node.name:
        if node.op in SQUASHING:
            return index
        moving = [arg for arg in node.args if not _is_number(graph.nodes[arg])]
        if node.op not in ARITHMETIC or len(moving) != 1:
            return None
        index, first = moving[0], False
        node = graph.nodes[index]
    return None


def _is_number(node: Node) -> bool:
    return node.op in (Op.CONSTANT, Op.MODULES)


def with_names(graph: Graph, wanted: Sequence[str]) -> Graph:
    """Give names to the preactivations that are wanted, which have none of their own.

    before:  f = sigmoid(a + b)
    after:   f = sigmoid(a + b);  f.pre = (a + b) + 0        `simplify` makes it a + b
    """
    known = named_values(graph)
    inside = {name: known[name].node for name in wanted if known[name].kind == "preactivation"}
    if not inside:
        return graph
    nodes = [*graph.nodes, Node(Op.CONSTANT, attrs=ZERO)]
    zero = len(nodes) - 1
    for name, index in dict.fromkeys(inside.items()):
        nodes.append(Node(Op.ADD, (index, zero), graph.nodes[index].width, name))
    return replace(graph, nodes=tuple(nodes))


def with_trail(
    program: Program, graph: Graph, wanted: Sequence[str], *, apart: bool = False
) -> tuple[Program, tuple[int, ...]]:
    """Emit named values at every step, each once; return also which output holds which.

    The program is one of `with_names(graph, wanted)`. `apart` emits one value under two names
    twice: where a name's value may be replaced, they are two.

    before:  emit h.next = h_next
    after:   emit h.next = h_next;  emit c = c_next;  emit f.pre = a_f
    """
    outputs = list(program.outputs)
    widths, fresh = program.widths(), Fresh(program)
    trail: list[int] = []
    spread: list[Instr] = []
    for name, (value, width) in values_of(program, graph, wanted).items():
        if widths[value] == SCALAR:  # a constant: what is emitted is a vector of it
            zeros = Instr(fresh("zeros"), Low.ZEROS, (), width)
            stem = f"{name.replace('.', '_')}_all"
            spread += [zeros, Instr(fresh(stem), Op.ADD, (zeros.name, value), width)]
            value = spread[-1].name
        if apart or value not in (emitted for _, emitted in outputs):
            outputs.append((name, value))
            trail.append(len(outputs) - 1)
            continue
        trail.append(next(k for k, (_, emitted) in enumerate(outputs) if emitted == value))
    stages = (*program.stages, Stage(pointwise=tuple(spread))) if spread else program.stages
    return verify(replace(program, stages=stages, outputs=tuple(outputs))), tuple(trail)


def values_of(
    program: Program, graph: Graph, wanted: Sequence[str]
) -> Mapping[str, tuple[str, int]]:
    """Return the value that has each name in a program of a graph, and its width."""
    known, widths = named_values(graph), program.widths()
    carries = dict(zip(graph.state_names, program.states, strict=True))
    found: dict[str, tuple[str, int]] = {}
    for name in wanted:
        seen = known[name]
        if seen.state is not None:
            carry = carries[seen.state]
            found[name] = carry.name if seen.kind == "before" else carry.next, carry.width
        else:
            value = program.names[name]
            found[name] = value, widths[value]
    return found


def cut(program: Program, graph: Graph, names: Sequence[str]) -> tuple[Program, ...]:
    """Cut a step at named values, so that others can be put in their place between the parts.

    The program is what `build` makes of `with_names(graph, ...)`, and `names` are of equations and
    preactivations in the order in which they are computed. Part k gives the k-th value, and reads
    those before it as its last inputs; the last part is the whole step, which reads them all.

    before:  f = sigmoid(a);  c' = f * c + i * g
    after:   part 0: emit f = sigmoid(a)
             part 1: input f;  c' = f * c + i * g
    """
    cuts = [_cut_at(program, graph, name) for name in names]
    if len(set(cuts)) < len(cuts):
        raise TraceError(f"{graph.cell}: two of {', '.join(names)} are one value; replace it once")
    widths, zero = program.widths(), Instr(Fresh(program)("zero"), Op.CONSTANT, attrs=ZERO)
    parts = []
    for k, (name, value) in enumerate(zip([*names, ""], [*cuts, ""], strict=True)):
        replaced = cuts[:k]
        part = replace(
            program,
            inputs=(*program.inputs, *(Port(v, widths[v]) for v in replaced)),
            once=tuple(i for i in program.once if i.name not in replaced),
            stages=(Stage(pointwise=tuple(i for i in program.body if i.name not in replaced)),),
            names={},
        )
        if value:
            states = tuple(replace(c, next=zero.name) for c in program.states)  # nobody reads them
            part = replace(part, once=(*part.once, zero), states=states, outputs=((name, value),))
        parts.append(stage(hoist(simplify(verify(part)))))
    return tuple(parts)


def _cut_at(program: Program, graph: Graph, name: str) -> str:
    """Return the value to put another in the place of."""
    seen = named_values(graph)[name]
    made = {i.name: i for i in program.instrs}
    if seen.kind == "preactivation":
        value = made[program.names[name]].args[0]  # `name` itself is a copy of it
    else:
        value = values_of(program, graph, [name])[name][0]
    others = [n for n, v in program.names.items() if v == value and n.removesuffix(NEXT) != name]
    if value not in made or (seen.kind == "equation" and others and seen.state is None):
        place = others[0] if others else value
        raise TraceError(f"{graph.cell}.{name} is {place} here; replace {place}")
    return value


def with_own_states(program: Program, graph: Graph, names: Sequence[str]) -> Program:
    """Give a state a value of its own where it takes that of something else.

    before:  last' = x;  h' = f(x)
    after:   copy = 0 + x;  last' = copy;  h' = f(x)        another value for last' leaves x alone
    """
    known, fresh = named_values(graph), Fresh(program)
    copies: list[Instr] = []
    states = list(program.states)
    owners = {slot.next: slot.name for slot in reversed(graph.states)}
    for k, slot in enumerate(graph.states):
        node = graph.nodes[slot.next]
        own = node.op not in LEAVES and owners[slot.next] == slot.name
        if slot.name in names and known[slot.name].state and not own:
            zeros = Instr(fresh("zeros"), Low.ZEROS, (), states[k].width)
            args = (zeros.name, states[k].next)
            copies += [zeros, Instr(fresh(f"{slot.name}_own"), Op.ADD, args, states[k].width)]
            states[k] = replace(states[k], next=copies[-1].name)
    stages = (Stage(pointwise=(*program.body, *copies)),)
    return verify(replace(program, states=tuple(states), stages=stages))
