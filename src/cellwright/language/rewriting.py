"""Rewriting: a graph copied node by node, with room for new nodes in between."""

from collections.abc import Mapping
from dataclasses import replace

from cellwright.language.cell import Cell, cell_from_graph
from cellwright.language.graph import Attribute, Graph, Node, StateSlot
from cellwright.language.ops import PARAMETRIC, Op
from cellwright.language.width import Width


class Rewriting:
    """A copy of a cell's graph in the making.

    `at` says where a node of the old graph lies in the new one; what is put there instead is what
    later nodes read.
    """

    def __init__(self, cell: type[Cell]) -> None:
        self.graph = cell.graph
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.at: dict[int, int] = {}
        self._names = {node.name for node in self.graph.nodes}
        self._lines = dict(self.graph.lines)

    def copy(self, index: int, **changes: object) -> int:
        """Append a node of the old graph, with its arguments where they lie now."""
        node = self.graph.nodes[index]
        args = tuple(self.at[arg] for arg in node.args)
        self.at[index] = self.append(replace(node, **{"args": args, **changes}))  # type: ignore[arg-type]
        return self.at[index]

    def append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def op(
        self,
        op: Op,
        *args: int,
        name: str | None = None,
        width: Width | None = None,
        **attrs: Attribute,
    ) -> int:
        """Append an operation on values of the new graph; what has weights belongs to its name."""
        owner = name if op in PARAMETRIC else None
        return self.append(Node(op, args, width, name, owner, tuple(sorted(attrs.items()))))

    def mask(self, about: str, rate: float, width: Width | None, scaled: bool, per: str) -> int:
        """Append a mask, an input of its own."""
        attrs: dict[str, Attribute] = {"per": per, "rate": float(rate), "scaled": int(scaled)}
        made = Node(Op.INPUT, (), width, self.name(f"mask_{about}"), attrs=tuple(attrs.items()))
        self.inputs.append(self.append(made))
        return self.inputs[-1]

    def name(self, wanted: str, beside: str | None = None) -> str:
        """Return a name that is still free; it stands on the line of the equation `beside`."""
        found, number = wanted, 1
        while found in self._names:
            number += 1
            found = f"{wanted}_{number}"
        self._names.add(found)
        if beside in self._lines:
            self._lines[found] = self._lines[beside]
        return found

    def cell(
        self,
        said: str,
        *,
        nexts: Mapping[str, int] | None = None,
        outputs: tuple[int, ...] | None = None,
    ) -> type[Cell]:
        """Return the cell that was made.

        said: a sentence for its docstring. `nexts`: what states take next, where it changed;
        `outputs`: the same, all of them.
        """
        old, nexts = self.graph, nexts or {}
        states = tuple(
            StateSlot(s.name, self.at[s.leaf], nexts.get(s.name, self.at[s.next]))
            for s in old.states
        )
        return cell_from_graph(
            Graph(
                cell=old.cell,
                doc=f"{old.doc.rstrip()}\n\n{said}".strip(),
                nodes=tuple(self.nodes),
                inputs=(*(self.at[k] for k in old.inputs), *self.inputs),
                states=states,
                outputs=tuple(self.at[k] for k in old.outputs) if outputs is None else outputs,
                lines=self._lines,
            )
        )
