"""Torch text: how the reference target writes each operation, name and line."""

import keyword

from cellwright.compiler import Instr, Low, Program
from cellwright.compiler.program import BLOCK_MASKS, PRODUCTS
from cellwright.compiler.rewrite import uses
from cellwright.language.errors import UnsupportedOp
from cellwright.language.ops import Op

# Binding strength of Python's operators: an argument weaker than its place gets parentheses.
COMPARE, SUM, TERM, UNARY, ATOM = range(5)

# Each pointwise operation: its text, its own strength, and the strength its arguments need.
POINT: dict[Op | Low, tuple[str, int, tuple[int, ...]]] = {
    Op.ADD: ("{} + {}", SUM, (SUM, TERM)),
    Op.SUB: ("{} - {}", SUM, (SUM, TERM)),
    Op.MUL: ("{} * {}", TERM, (TERM, UNARY)),
    Op.DIV: ("{} / {}", TERM, (TERM, UNARY)),
    Op.NEG: ("-{}", UNARY, (ATOM,)),
    Op.ABS: ("torch.abs({})", ATOM, (COMPARE,)),
    Op.SIGMOID: ("torch.sigmoid({})", ATOM, (COMPARE,)),
    Op.TANH: ("torch.tanh({})", ATOM, (COMPARE,)),
    Op.RELU: ("torch.relu({})", ATOM, (COMPARE,)),
    Op.EXP: ("torch.exp({})", ATOM, (COMPARE,)),
    Op.LOG: ("torch.log({})", ATOM, (COMPARE,)),
    Op.MAXIMUM: ("torch.maximum({}, {})", ATOM, (COMPARE, COMPARE)),
    Op.MINIMUM: ("torch.minimum({}, {})", ATOM, (COMPARE, COMPARE)),
    Op.LESS: ("{} < {}", COMPARE, (SUM, SUM)),
    Op.LESS_EQUAL: ("{} <= {}", COMPARE, (SUM, SUM)),
    Op.WHERE: ("torch.where({}, {}, {})", ATOM, (COMPARE, COMPARE, COMPARE)),
}
# Everything else a step or a sequence may hold; `_Writer.text` writes these.
OTHER = frozenset({Op.CONSTANT, Op.MODULES, Op.CONCAT, Op.LAYER_NORM, *Low})

MODULE_OF = '''
def module_of(width, modules):
    """Number the module of each unit: module k begins at floor(k * width / modules)."""
    return (torch.arange(1, width + 1) * modules - 1) // width
'''
UPPER_BLOCKS = '''
def upper_blocks(weight, modules, parts):
    """Zero the blocks below the diagonal: module k reads only modules k and later."""
    rows = module_of(weight.shape[0] // parts, modules).repeat(parts)
    kept = rows[:, None] <= module_of(weight.shape[1], modules)
    return torch.where(kept.to(weight.device), weight, 0)
'''
DIAGONAL_BLOCKS = '''
def diagonal_blocks(weight, modules, parts):
    """Zero the blocks off the diagonal: module k reads module k alone."""
    rows = module_of(weight.shape[0] // parts, modules).repeat(parts)
    kept = rows[:, None] == module_of(weight.shape[1], modules)
    return torch.where(kept.to(weight.device), weight, 0)
'''
MASK_TEXT: dict[Op | Low, str] = {
    Low.UPPER_BLOCKS: UPPER_BLOCKS,
    Low.DIAGONAL_BLOCKS: DIAGONAL_BLOCKS,
}
NORMALIZE_VJP = '''
def normalize_vjp(ct, v, eps):
    """Cotangent of v under (v - mean) / sqrt(var + eps)."""
    centred = v - v.mean(-1, keepdim=True)
    scale = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    normal = centred * scale
    inner = (ct * normal).mean(-1, keepdim=True)
    return scale * (ct - ct.mean(-1, keepdim=True) - normal * inner)
'''
# Names that the emitted function needs for itself.
RESERVED = frozenset(
    {"torch", "F", "zip", "range", "reversed", "len", "steps", "batch", "outputs", "states"}
    | {"reset", "reset_t", "valid", "valid_t", "None", "True", "False"}
    | {"module_of", "upper_blocks", "diagonal_blocks", "normalize_vjp"}
)
# Leading sizes of a vector by its rank: of a parameter, of a step, of a sequence.
LEADING = {1: "", 2: "batch, ", 3: "steps, batch, "}
LONGEST = 72  # characters of an expression before it gets a line and a name of its own


class TorchLines:
    """Writes a program's instructions as lines of torch, phase by phase."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.widths = program.widths()
        self.instrs = {i.name: i for i in program.instrs}
        self.count = uses(program)
        self.named = set(program.names.values())
        self.matrix_rows = {p.name: p.rows for p in program.params}
        self.readers: dict[str, list[Instr]] = {}
        for instr in program.instrs:
            for arg in dict.fromkeys(instr.args):
                self.readers.setdefault(arg, []).append(instr)
        products = (i.name for i in program.instrs if i.op in PRODUCTS)
        self.order = {name: k for k, name in enumerate(products)}
        self.phase_of = _phases(program)
        self.rank = _ranks(program, self.phase_of, self.widths)
        self.expr: dict[str, tuple[str, int]] = {}  # value -> text and strength where it is read
        self.taken = set(self.widths) | RESERVED
        self.last: dict[str, int] = {}  # the number of a name's latest variant
        self.helpers: set[str] = set()
        self.phase = "once"
        self.prelude: list[str] = []  # lines just before the loop
        self.transposed: dict[str, str] = {}
        self.steps: dict[str, str] = {}  # sequence -> its name inside the loop
        self.before: dict[str, str] = {}  # state -> the sequence of its values before each step

    # -- names ----------------------------------------------------------------------------

    def var(self, name: str) -> str:
        return f"{name}_" if name in RESERVED or keyword.iskeyword(name) else name

    def unique(self, wanted: str) -> str:
        name, n = wanted, self.last.get(wanted, 1)
        while name in self.taken:
            n += 1
            name = f"{wanted}{n}"
        self.taken.add(name)
        self.last[wanted] = n
        return name

    def read(self, name: str, strength: int = COMPARE) -> str:
        """Write a value where an operator of the given strength reads it."""
        if name in self.expr:
            text, own = self.expr[name]
            return text if own >= strength else f"({text})"
        if self.phase == "body" and self.phase_of[name] == "sequence":
            return self.steps.setdefault(name, self.unique(f"{self.var(name)}_t"))
        if self.phase == "sequence" and self.phase_of[name] == "state":
            return self.before.setdefault(name, self.unique(f"{self.var(name)}_before"))
        return self.var(name)

    # -- one instruction ------------------------------------------------------------------

    def text(self, instr: Instr) -> tuple[str, int]:
        op = instr.op
        if op in POINT:
            return self.pointwise(instr)
        if op is Op.CONSTANT:
            return _number(instr.attr("value")), UNARY
        if op is Op.MODULES:
            values = instr.attr("values")
            assert isinstance(values, tuple)
            self.helpers.add(MODULE_OF)
            whole = all(v.is_integer() for v in values)
            numbers = ", ".join(map(_number, values)) + ("," if len(values) == 1 else "")
            made = f"torch.tensor(({numbers}){'' if whole else ', dtype=torch.float64'})"
            index = f"module_of({instr.width}, {len(values)})"
            return f"{made}[{index}].to({self.like()})", ATOM
        if op in (Op.LAYER_NORM, Low.NORMALIZE):
            v, *weights = (self.read(arg) for arg in instr.args)
            rest = f", {', '.join(weights)}" if weights else ""
            eps = f"eps={instr.attr('eps'):g}"
            return f"F.layer_norm({v}, ({instr.width},){rest}, {eps})", ATOM
        if op is Low.NORMALIZE_VJP:
            self.helpers.add(NORMALIZE_VJP)
            ct, v = (self.read(arg) for arg in instr.args)
            return f"normalize_vjp({ct}, {v}, {instr.attr('eps'):g})", ATOM
        return self.structural(instr), ATOM

    def pointwise(self, instr: Instr) -> tuple[str, int]:
        template, own, needs = POINT[instr.op]
        scalars = [self.widths[arg] == 0 for arg in instr.args]
        args = [self.read(a, need) for a, need in zip(instr.args, needs, strict=True)]
        if instr.op in (Op.MAXIMUM, Op.MINIMUM) and any(scalars):
            bound = "min" if instr.op is Op.MAXIMUM else "max"
            v, limit = args if scalars[1] else reversed(args)
            return f"torch.clamp({v}, {bound}={limit})", ATOM
        if instr.op is Op.WHERE and scalars[1] and scalars[2]:
            return f"torch.where({', '.join(args)}).to({self.like()})", ATOM
        return template.format(*args), own

    def structural(self, instr: Instr) -> str:
        op = instr.op
        if op in PRODUCTS:
            return self.product(instr, None)
        if op is Low.SLICE:
            start, stop = instr.rows
            return f"{self.read(instr.args[0], ATOM)}[..., {start}:{stop}]"
        if op is Low.ZEROS:
            shape = LEADING[self.rank[instr.name]]
            rows = dict(instr.attrs).get("rows")  # the shape of a parameter
            shape = "" if rows == 0 else f"{rows}, " if rows else shape
            return f"{self.like()}.new_zeros({shape}{instr.width})"
        if op is Op.CONCAT:
            rank = self.rank[instr.name]
            return f"torch.cat(({', '.join(self.spread(a, rank) for a in instr.args)}), -1)"
        if op is Low.STACK:
            return f"torch.cat(({', '.join(self.read(a) for a in instr.args)}), 0)"
        if op is Low.TOTAL:
            return f"{self.read(instr.args[0], ATOM)}.sum((0, 1))"
        if op is Low.OUTER:
            a, v = (f"{self.read(arg, ATOM)}.flatten(0, 1)" for arg in instr.args)
            return f"{a}.t() @ {v}"
        if op in MASK_TEXT:
            self.helpers |= {MODULE_OF, MASK_TEXT[op]}
            counts = f"{instr.attr('modules')}, {instr.attr('parts')}"
            return f"{op}({self.read(instr.args[0])}, {counts})"
        raise UnsupportedOp(f"reference: no text for {op}")

    def spread(self, name: str, rank: int) -> str:
        """Write a value with the leading sizes of a rank, also one that only parameters decide."""
        if self.rank[name] > 1 or rank == 1:
            return self.read(name)
        return f"{self.read(name, ATOM)}.expand({LEADING[rank]}-1)"

    def rows_of(self, matrix: str) -> int:
        """Count the rows of a matrix, also of one that the adjoint computes."""
        if matrix in self.matrix_rows:
            return self.matrix_rows[matrix]
        instr = self.instrs[matrix]
        if instr.op is Low.OUTER:
            return self.widths[instr.args[0]]
        if instr.op is Low.STACK:
            return sum(self.rows_of(arg) for arg in instr.args)
        return self.rows_of(instr.args[0])

    def product(self, instr: Instr, addend: str | None) -> str:
        """Write a product, with the value that is added to it, as one operation."""
        v, weight, *bias = instr.args
        start, stop = instr.rows
        rows = "" if (start, stop) == (0, self.rows_of(weight)) else f"[{start}:{stop}]"
        if instr.op is Low.PRODUCT_T:
            matrix = self.var(weight) + rows
            if addend is None:
                return f"{self.read(v, TERM)} @ {matrix}"
            return f"torch.addmm({addend}, {self.read(v)}, {matrix})"
        if self.phase == "sequence":
            rest = f", {self.read(bias[0])}" if bias else ""
            return f"F.linear({self.read(v)}, {self.var(weight)}{rows}{rest})"
        matrix = self.transposed.get(weight + rows)
        if matrix is None:
            matrix = self.unique(f"{self.var(weight)}_T")
            self.transposed[weight + rows] = matrix
            self.prelude.append(f"{matrix} = {self.var(weight)}{rows}.t()")
        if bias and addend is None:
            addend, bias = self.read(bias[0]), []
        text = f"{self.read(v, TERM)} @ {matrix}"
        if addend is not None:
            text = f"torch.addmm({addend}, {self.read(v)}, {matrix})"
        return f"{text} + {self.read(bias[0], TERM)}" if bias else text

    def like(self) -> str:
        """Name a tensor whose dtype and device new ones take."""
        first = [*self.program.params, *self.program.states][0].name
        return self.var(first)

    # -- a list of instructions -----------------------------------------------------------

    def lines(self, phase: str, instrs: tuple[Instr, ...]) -> list[str]:
        """Write one phase, small expressions folded into where they are read."""
        self.phase = phase
        made: list[str] = []
        cut: set[str] = set()
        here = {i.name for i in instrs}
        families = self.families(instrs)
        for instr in instrs:
            if instr.name in cut:
                continue
            family = families.get(instr.args[0]) if instr.op is Low.SLICE else None
            if family:
                cut.update(i.name for i in family)
                made.append(self.unpack(family))
                continue
            if instr.op in PRODUCTS and self.waits(instr):
                continue
            fused = self.fused(instr, here)
            text, strength = (fused, ATOM) if fused else self.text(instr)
            if instr.op is Op.CONSTANT or self.folds(instr, text, here):
                self.expr[instr.name] = (text, strength)
            else:
                made.append(f"{self.var(instr.name)} = {text}")
        return made

    def folds(self, instr: Instr, text: str, here: set[str]) -> bool:
        """Tell whether a value is small and read once, in its own phase: it needs no name."""
        once = self.count[instr.name] == 1 and instr.name not in self.named
        readers = self.readers.get(instr.name, [])
        local = len(readers) == 1 and readers[0].name in here
        plain = local and readers[0].op not in (Low.SLICE, Low.PRODUCT, Low.PRODUCT_T)
        return once and plain and instr.op in POINT and len(text) <= LONGEST

    def waits(self, instr: Instr) -> bool:
        """Tell whether a product of the body can be fused with the one addition that reads it."""
        if self.phase != "body" or self.count[instr.name] != 1 or len(instr.args) == 3:
            return False
        reader = next(
            (i for i in self.readers.get(instr.name, ()) if self.phase_of[i.name] == "body"), None
        )
        if reader is None or reader.op is not Op.ADD or instr.name in self.named:
            return False
        other = next((a for a in reader.args if a != instr.name), instr.name)
        # Of two products in the body, the later one takes up the earlier.
        both = other in self.order and self.phase_of[other] == "body"
        late = both and self.order[other] < self.order[instr.name]
        return self.widths[other] == instr.width and (late or not both)

    def fused(self, instr: Instr, here: set[str]) -> str | None:
        if instr.op is not Op.ADD or self.phase != "body":
            return None
        for product, other in (instr.args, instr.args[::-1]):
            made = self.instrs.get(product)
            if made is None or product not in here or made.op not in PRODUCTS:
                continue
            if self.waits(made):
                return self.product(made, self.read(other))
        return None

    def families(self, instrs: tuple[Instr, ...]) -> dict[str, list[Instr]]:
        """Find the values that slices together tile, each with these slices in order."""
        cuts: dict[str, dict[tuple[int, int], Instr]] = {}
        for instr in instrs:
            if instr.op is Low.SLICE:
                cuts.setdefault(instr.args[0], {})[instr.rows] = instr
        found = {}
        for source, parts in cuts.items():
            edges = [0, *(stop for _, stop in sorted(parts))]
            touching = all(a == b for (a, _), b in zip(sorted(parts), edges, strict=False))
            if touching and len(parts) > 1 and edges[-1] == self.widths[source]:
                found[source] = [parts[rows] for rows in sorted(parts)]
        return found

    def unpack(self, family: list[Instr]) -> str:
        names = ", ".join(self.var(i.name) for i in family)
        source = self.read(family[0].args[0], ATOM)
        sizes = [i.width for i in family]
        if len(set(sizes)) == 1:
            return f"{names} = {source}.chunk({len(sizes)}, -1)"
        return f"{names} = {source}.split(({', '.join(map(str, sizes))}), -1)"


def _number(value: object) -> str:
    """Write a number as short as it can be and still be the same number."""
    assert isinstance(value, float)
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _ranks(program: Program, phase_of: dict[str, str], widths: dict[str, int]) -> dict[str, int]:
    """Count the dimensions of every vector: 1 for a parameter's, 2 for a step's, 3 a sequence's."""
    flat = {Low.TOTAL, Low.OUTER, Low.STACK, *BLOCK_MASKS}
    rank = {name: {"once": 1, "sequence": 3}.get(phase, 2) for name, phase in phase_of.items()}
    for instr in program.after:
        seen = [3 if rank[arg] == 2 else rank[arg] for arg in instr.args if widths[arg]]
        fixed = instr.op in flat or "rows" in dict(instr.attrs)
        rank[instr.name] = 1 if fixed else max(seen, default=3 if instr.op is Low.ZEROS else 1)
    return rank


def _phases(program: Program) -> dict[str, str]:
    phases = dict.fromkeys((p.name for p in program.params), "once")
    phases |= dict.fromkeys((i.name for i in program.once), "once")
    phases |= dict.fromkeys((p.name for p in program.inputs), "sequence")
    phases |= dict.fromkeys((i.name for i in program.hoisted), "sequence")
    phases |= dict.fromkeys((c.name for c in program.states), "state")
    phases |= dict.fromkeys((i.name for i in program.body), "body")
    return phases | dict.fromkeys((i.name for i in program.after), "sequence")
