"""What the passes share: fresh names, uses, and putting a list in order."""

from collections import Counter
from collections.abc import Iterable

from cellwright.compiler.program import Instr, Low, Program
from cellwright.language.graph import Attribute
from cellwright.language.ops import Op


class Fresh:
    """Gives names that a program does not use yet."""

    def __init__(self, program: Program) -> None:
        self.taken = set(program.widths())
        self.last: dict[str, int] = {}  # the number of a stem's latest name: all up to it are taken

    def __call__(self, stem: str) -> str:
        name, n = stem, self.last.get(stem, 1)
        while name in self.taken:
            n += 1
            name = f"{stem}_{n}"
        self.taken.add(name)
        self.last[stem] = n
        return name


def uses(program: Program) -> Counter[str]:
    """Count how often each value is read, by instructions and by the program itself."""
    count = Counter(arg for instr in program.instrs for arg in instr.args)
    count.update(c.next for c in program.states)
    count.update(v for _, v in (*program.outputs, *program.results))
    count.update(program.residuals)
    return count


def sliced(name: str, of: str, start: int, stop: int) -> Instr:
    """Cut `[start:stop]` out of a vector."""
    attrs: tuple[tuple[str, Attribute], ...] = (("start", start), ("stop", stop))
    return Instr(name, Low.SLICE, (of,), stop - start, attrs)


def summed(fresh: Fresh, stem: str, terms: Iterable[tuple[str, int]]) -> tuple[list[Instr], str]:
    """Add up terms given as (value, width), left to right; returns the additions and the sum."""
    (total, width), *rest = terms
    made = []
    for term, _ in rest:
        made.append(Instr(fresh(stem), Op.ADD, (total, term), width))
        total = made[-1].name
    return made, total


def in_order(instrs: Iterable[Instr]) -> tuple[Instr, ...]:
    """Sort instructions so that each comes after its arguments, otherwise as they stand."""
    pending = list(instrs)
    made = {instr.name: instr for instr in pending}
    done: dict[str, Instr] = {}
    for root in pending:
        stack = [root]
        while stack:
            top = stack[-1]
            missing = [made[a] for a in top.args if a in made and a not in done]
            if missing:
                stack += reversed(missing)
                continue
            done.setdefault(top.name, top)
            stack.pop()
    return tuple(done.values())
