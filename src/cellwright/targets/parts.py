"""Parts: what a Program does before and after its loop, as torch source, for a compiled loop."""

import re
import textwrap
from collections.abc import Sequence

from cellwright.compiler import Instr, Program
from cellwright.language.ops import Op
from cellwright.targets.torch_text import TorchLines


def emit_once(program: Program, wanted: Sequence[str]) -> str:
    """Return `once(params...)`, which gives the wanted values of the parameters alone.

    Where there are none, it takes a tensor whose dtype and device new ones take.
    """
    given = [p.name for p in (program.params or program.states[:1])]
    return _function(program, "once", given, wanted, program.once, ())


def emit_after(program: Program, instrs: tuple[Instr, ...], given: Sequence[str]) -> str:
    """Return `after(given...)`, which gives the program's results by way of `instrs`."""
    constants = tuple(i for i in (*program.once, *program.body) if i.op is Op.CONSTANT)
    wanted = [value for _, value in program.results]
    return _function(program, "after", given, wanted, constants, instrs)


def _function(
    program: Program,
    name: str,
    given: Sequence[str],
    wanted: Sequence[str],
    once: tuple[Instr, ...],
    sequences: tuple[Instr, ...],
) -> str:
    text = TorchLines(program)
    lines = [*text.lines("once", once), *text.lines("sequence", sequences)]
    values = "".join(f"{text.read(value)}, " for value in wanted)
    lines = [*text.prelude, *lines, f"return ({values})"]
    if re.search(r"\b(steps|batch)\b", "\n".join(lines)):
        first = text.var(program.inputs[0].name)
        lines.insert(0, f"steps, batch = {first}.shape[:2]")
    helpers = "".join(f"\n{helper}" for helper in sorted(text.helpers))
    head = f"def {name}({', '.join(text.read(value) for value in given)}):"
    body = textwrap.indent("\n".join(lines), "    ")
    return f"import torch\nimport torch.nn.functional as F\n{helpers}\n\n{head}\n{body}\n"
