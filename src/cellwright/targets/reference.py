"""Reference: a Program as readable torch source that depends on nothing but torch.

The emitted function is differentiable any number of times and works under `torch.func`. It takes
whole sequences, time first:

    outputs, states = lstm(x, h, c, weight_ih, weight_hh, bias_ih)

x [T, B, input]; states [B, width]; outputs a tuple of [T, B, width]; states the tuple of final
states. `reset` [T, B] (bool) puts a row's states to `h_start`, ... [B, width], which come just
before it, ahead of a step where it is True; `valid` [T, B] (bool) freezes a row's states, and
zeroes its outputs, where it is False. The function of an adjoint Program returns the gradients and
the cotangents of the states instead, and after these, with `reset`, those of `h_start`, ...
"""

import keyword
import re
import textwrap
from collections.abc import Iterable

from cellwright.compiler import Program
from cellwright.targets.torch_text import ATOM, RESERVED, TorchLines

WIDEST = 92  # characters of a line inside the function


def function_name(program: Program) -> str:
    """Spell a program's name as a function's: `LayerNormLSTM` is `layer_norm_lstm`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", program.name)
    name = spaced.lower().strip("_")
    return f"{name}_" if keyword.iskeyword(name) or name in RESERVED else name


def emit(program: Program, *, reset: bool = False, lengths: bool = False, doc: str = "") -> str:
    """Return torch source for a Program: imports, what it needs beside, and one function."""
    return _Function(program, reset, lengths, doc).source()


class _Function:
    """Puts the lines of a program's phases together into one function."""

    def __init__(self, program: Program, reset: bool, lengths: bool, doc: str) -> None:
        self.program = program
        self.reset = reset
        self.lengths = lengths
        self.doc = doc
        self.text = TorchLines(program)
        self.kept: dict[str, str] = {}  # value of the body -> the list that collects it
        self.held: dict[str, str] = {}  # state -> the cotangent that a row past its end keeps
        self.starts: dict[str, str] = {}  # state -> what a reset puts in its place
        if reset:
            names = {c.name: f"{self.text.var(c.name)}_start" for c in program.states}
            self.starts = {state: self.text.unique(name) for state, name in names.items()}

    def source(self) -> str:
        program = self.program
        once = self.text.lines("once", program.once)
        hoisted = self.text.lines("sequence", program.hoisted)
        body = self.text.lines("body", program.body)
        loop = self.loop(body)
        self.text.phase = "sequence"
        stacked = self.stacked()
        after = self.text.lines("sequence", program.after)
        head = [*once, *hoisted, *self.text.prelude]
        tail = [*stacked, *after, self.returned()]
        lines = [*self.sizes([*head, *body, *loop, *tail]), *head, *loop, *tail]
        text = textwrap.indent("\n".join(lines), "    ")
        imports = "import torch\n"
        if re.search(r"\bF\.", text):
            imports += "import torch.nn.functional as F\n"
        helpers = "".join(f"\n{h}" for h in sorted(self.text.helpers))
        return f"{imports}{helpers}\n\n{self.signature()}\n{text}\n"

    def signature(self) -> str:
        program = self.program
        names = [*(p.name for p in program.inputs), *(c.name for c in program.states)]
        names += [p.name for p in program.params]
        args = [self.text.var(n) for n in names]
        args += [] if program.reverse else self.starts.values()
        args += ["reset"] * self.reset + ["valid"] * self.lengths
        doc = f'\n    """{_clean(self.doc)}"""' if self.doc else ""
        line = f"def {function_name(program)}({', '.join(args)}):"
        if len(line) > 96:
            inside = textwrap.indent(textwrap.fill(f"{', '.join(args)},", WIDEST), "    ")
            line = f"def {function_name(program)}(\n{inside}\n):"
        return line + doc

    def sizes(self, lines: Iterable[str]) -> list[str]:
        """Name time and batch where the function speaks of them."""
        words = set(re.findall(r"\w+", "\n".join(lines)))
        first = self.text.var(self.program.inputs[0].name)
        if "steps" in words:
            return [f"steps, batch = {first}.shape[:2]"]
        return [f"batch = {first}.shape[1]"] if "batch" in words else []

    def loop(self, body: list[str]) -> list[str]:
        program = self.program
        wanted = [*(v for _, v in program.outputs), *program.residuals]
        wanted += [arg for i in program.after for arg in i.args]
        wanted += [v for _, v in program.results]
        for value in dict.fromkeys(wanted):
            if self.text.widths[value] and self.text.phase_of[value] in ("body", "state"):
                self.kept[value] = self.text.unique(f"{self.text.var(value)}_steps")
        starts = [
            f"{start} = torch.zeros_like({self.text.var(state)})"
            for state, start in self.starts.items()
            if program.reverse  # there they gather the cotangents of all episodes' starts
        ]
        lists = [f"{name} = []" for name in self.kept.values()]
        step = self.step(body)  # first: it says which sequences the head reads
        if not step:  # a cell whose states stay as they are
            return [*starts, *lists]
        return [*starts, *lists, self.head(), textwrap.indent("\n".join(step), "    ")]

    def head(self) -> str:
        """Write the loop's head: the sequences that the body reads, step by step."""
        pairs = {self.text.var(seq): step for seq, step in self.text.steps.items()}
        masks = ["reset"] * self.reset + ["valid"] * self.lengths
        pairs |= {mask: f"{mask}_t" for mask in masks}
        if not pairs:
            steps = f"range({self.text.var(self.program.inputs[0].name)}.shape[0])"
            return f"for _ in {f'reversed({steps})' if self.program.reverse else steps}:"
        order = "[::-1]" if self.program.reverse else ""
        unbound = [f"{seq}.unbind(0){order}" for seq in pairs]
        if len(pairs) == 1:
            return f"for {next(iter(pairs.values()))} in {unbound[0]}:"
        line = f"for {', '.join(pairs.values())} in zip({', '.join(unbound)}, strict=True):"
        if len(line) <= WIDEST:
            return line
        names = "".join(f"    {step},\n" for step in pairs.values())
        values = "".join(f"    {seq},\n" for seq in [*unbound, "strict=True"])
        return f"for (\n{names}) in zip(\n{values}):"

    def step(self, body: list[str]) -> list[str]:
        states = self.program.states
        self.text.phase = "body"
        lines: list[str] = []
        masks = ["reset"] * self.reset + ["valid"] * self.lengths
        lines += [f"{mask}_t = {mask}_t[:, None]" for mask in masks]
        if self.program.reverse:
            return lines + self.step_back(body)
        for state, start in self.starts.items():
            h = self.text.var(state)
            lines.append(f"{h} = torch.where(reset_t, {start}, {h})")
        before = {v: k for v, k in self.kept.items() if self.text.phase_of[v] == "state"}
        lines += [f"{k}.append({self.text.read(v)})" for v, k in before.items()]
        lines += body
        lines += [
            f"{k}.append({self.text.read(v)})" for v, k in self.kept.items() if v not in before
        ]
        after = [self.next_value(c.name, c.next) for c in states]
        if self.lengths:
            held = zip(states, after, strict=True)
            after = [f"torch.where(valid_t, {n}, {self.text.var(c.name)})" for c, n in held]
        names = ", ".join(self.text.var(c.name) for c in states)
        if names != ", ".join(after):
            lines += _assigned(names, after)
        return lines

    def next_value(self, state: str, value: str) -> str:
        if self.text.widths[value] == 0:
            return f"torch.full_like({self.text.var(state)}, {self.text.read(value)})"
        if self.text.rank[value] == 1:
            return f"{self.text.read(value, ATOM)}.expand_as({self.text.var(state)})"
        return self.text.read(value)

    def step_back(self, body: list[str]) -> list[str]:
        """Write a step of an adjoint, with what `reset` and `valid` do to cotangents."""
        states = self.program.states
        lines: list[str] = []
        if self.lengths:
            for c in states:
                ct = self.text.var(c.name)
                self.held[c.name] = self.text.unique(f"{ct}_held")
                lines.append(f"{self.held[c.name]} = torch.where(valid_t, 0, {ct})")
                lines.append(f"{ct} = torch.where(valid_t, {ct}, 0)")
        lines += body
        lines += [f"{k}.append({self.text.read(v)})" for v, k in self.kept.items()]
        names = ", ".join(self.text.var(c.name) for c in states)
        after = [self.next_value(c.name, c.next) for c in states]
        if self.lengths:
            held = zip(states, after, strict=True)
            after = [f"{n} + {self.held[c.name]}" for c, n in held]
        lines += _assigned(names, after)
        for state, start in self.starts.items():
            ct = self.text.var(state)
            lines.append(f"{start} = {start} + torch.where(reset_t, {ct}, 0)")
            lines.append(f"{ct} = torch.where(reset_t, 0, {ct})")
        return lines

    def stacked(self) -> list[str]:
        order = "[::-1]" if self.program.reverse else ""
        return [f"{self.text.read(v)} = torch.stack({k}{order})" for v, k in self.kept.items()]

    def returned(self) -> str:
        program = self.program
        masked = "torch.where(valid[..., None], {}, 0)" if self.lengths else "{}"
        outputs = [masked.format(self.text.spread(v, 3)) for _, v in program.outputs]
        outputs += [self.text.read(v) for v in program.residuals]
        outputs += [self.text.read(v) for _, v in program.results]
        states = [self.text.var(c.name) for c in program.states]
        if program.reverse:
            states += self.starts.values()
        line = f"return {_tuple(outputs)}, {_tuple(states)}"
        return line if len(line) <= WIDEST else f"return {_tall(outputs)}, {_tuple(states)}"


def _assigned(names: str, values: list[str]) -> list[str]:
    """Write `a, b = p, q`, one value on a line where one line would be too wide."""
    line = f"{names} = {', '.join(values)}"
    return (line if len(line) <= WIDEST else f"{names} = {_tall(values)}").splitlines()


def _tuple(items: list[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _tall(items: list[str]) -> str:
    """Write a tuple with one item on a line."""
    return "\n".join(["(", *(f"    {item}," for item in items), ")"])


def _clean(doc: str) -> str:
    """Make a docstring of any text: no quotes, backslashes or control characters get through."""
    printable = "".join(ch if ch.isprintable() or ch == "\n" else " " for ch in doc)
    return printable.replace("\\", "/").replace('"', "'").strip()
