"""IR: a function of LLVM's textual intermediate representation, written line by line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Loop:
    """The loop being written: its counter, its carried values, and their values next time."""

    counter: str
    carried: list[str]
    nexts: list[str] = field(default_factory=list)


class Function:
    """Writes one function. Values are names (`%v3`) or literals; integers are i64."""

    def __init__(
        self, name: str, args: Sequence[tuple[str, str]], *, private: bool = False
    ) -> None:
        self.name = name
        self.args = args
        self.private = private
        self.lines = ["entry:"]
        self.block = "entry"
        self.count = 0

    def text(self) -> str:
        """Return the function's definition."""
        args = ", ".join(f"{kind} %{name}" for kind, name in self.args)
        head = f"define {'internal ' * self.private}void @{self.name}({args})"
        # A private function is a kernel: inlined, its copies would only cost compile time.
        head += " nounwind noinline {" if self.private else " nounwind {"
        return "\n".join([head, *self.lines, "  ret void", "}\n"])

    def new(self, hint: str = "v") -> str:
        self.count += 1
        return f"{hint}{self.count}"

    def op(self, text: str) -> str:
        """Write an instruction that makes a value; return its name."""
        name = f"%{self.new()}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Write an instruction that makes no value."""
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def add(self, a: str, b: str) -> str:
        if a == "0" or b == "0":
            return b if a == "0" else a
        if a.isdigit() and b.isdigit():
            return str(int(a) + int(b))
        return self.op(f"add nsw i64 {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        return a if b == "0" else self.op(f"sub nsw i64 {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        if "0" in (a, b):
            return "0"
        if a == "1" or b == "1":
            return b if a == "1" else a
        if a.isdigit() and b.isdigit():
            return str(int(a) * int(b))
        return self.op(f"mul nsw i64 {a}, {b}")

    def least(self, a: str, b: str) -> str:
        less = self.op(f"icmp slt i64 {a}, {b}")
        return self.op(f"select i1 {less}, i64 {a}, i64 {b}")

    def choose(self, condition: str, a: str, b: str) -> str:
        return self.op(f"select i1 {condition}, ptr {a}, ptr {b}")

    def at(self, kind: str, base: str, index: str) -> str:
        """Address of element `index` of an array at `base`."""
        return (
            base
            if index == "0"
            else self.op(f"getelementptr inbounds {kind}, ptr {base}, i64 {index}")
        )

    def load(self, kind: str, address: str) -> str:
        return self.op(f"load {kind}, ptr {address}")

    @contextmanager
    def loop(
        self, low: str, high: str, step: str = "1", carried: Sequence[tuple[str, str]] = ()
    ) -> Iterator[Loop]:
        """Write `for i in range(low, high, step)`, which may run zero times.

        `carried` gives (type, first value) of values that the body passes on through `nexts`; after
        the loop `carried` of the Loop names their last values.
        """
        head, body, done = self.new("head"), self.new("body"), self.new("done")
        before = self.block
        self.do(f"br label %{head}")
        self.label(head)
        made = Loop(f"%{self.new('i')}", [f"%{self.new('c')}" for _ in carried])
        place = len(self.lines)
        self.lines += [""] * (1 + len(carried))  # the phis, known when the body is
        go = self.op(f"icmp slt i64 {made.counter}, {high}")
        self.do(f"br i1 {go}, label %{body}, label %{done}")
        self.label(body)
        yield made
        after = self.add(made.counter, step)
        last = self.block
        self.do(f"br label %{head}")
        self.lines[place] = f"  {made.counter} = phi i64 [ {low}, %{before} ], [ {after}, %{last} ]"
        for k, (kind, first) in enumerate(carried):
            phi = f"phi {kind} [ {first}, %{before} ], [ {made.nexts[k]}, %{last} ]"
            self.lines[place + 1 + k] = f"  {made.carried[k]} = {phi}"
        self.label(done)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Write `if condition:`."""
        body, done = self.new("then"), self.new("end")
        self.do(f"br i1 {condition}, label %{body}, label %{done}")
        self.label(body)
        yield
        self.do(f"br label %{done}")
        self.label(done)
