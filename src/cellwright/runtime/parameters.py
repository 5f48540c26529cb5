"""Parameters: what they alone decide, computed once a call."""

from collections.abc import Callable, Sequence

from torch import Tensor

from cellwright.compiler import Program
from cellwright.targets import parts


class Once:
    """The values of a program's parameters that somebody reads; `names` in order."""

    def __init__(self, program: Program, read: Sequence[str]) -> None:
        once = {i.name for i in program.once}
        widths = program.widths()
        self.names = tuple(v for v in dict.fromkeys(read) if v in once and widths[v])
        self.call = function(parts.emit_once(program, self.names), "once")

    def __call__(self, params: Sequence[Tensor], like: Tensor) -> tuple[Tensor, ...]:
        """Return the values; `like` stands in where there is no parameter."""
        return self.call(*(params or (like,))) if self.names else ()


def function(source: str, name: str) -> Callable[..., tuple[Tensor, ...]]:
    """Compile emitted torch source, of a checked program."""
    namespace: dict = {}
    exec(compile(source, f"<cellwright {name}>", "exec"), namespace)
    return namespace[name]
