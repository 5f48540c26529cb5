"""`cellwright show`: one cell, as equations, as source, as data, or at any stage of compilation."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli.faults import UsageFault
from cellwright.cli.outfiles import (
    Overwrite,
    check_ending,
    check_ours,
    check_place,
    is_png,
    is_svg,
)
from cellwright.cli.show_picture import Focus, Theme, Unrolled, Versus, View
from cellwright.cli.terminal import console
from cellwright.targets.equations import equations
from cellwright.targets.latex import latex
from cellwright.targets.mathml import mathml

if TYPE_CHECKING:
    import torch

    from cellwright.compiler import Program
    from cellwright.language import Cell
    from cellwright.runtime import Plan

EXAMPLES = """
cellwright show lstm
cellwright show peephole --as latex > peephole.tex
cellwright show lstm --as svg --versus gru -o lstm-and-gru.svg
cellwright show gru --as html -o gru.html
cellwright show mycells.py:Leaky --as png --unrolled -o leaky.png
cellwright show gru-cho --as torch --input 64 --hidden 128 > gru_cho.py
cellwright show mycells.py:Leaky --as json > leaky.json
cellwright show gru --as passes --hidden 4
cellwright show lstm --as asm --adjoint --hidden 256
"""

DEFAULT_SIZE = 128
DTYPES = ("float32", "float64")

CellSpec = Annotated[
    str,
    typer.Argument(metavar="CELL", help="a name that `cellwright cells` lists, or file.py:Class"),
]
As = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="FORM",
        help="equations: to read; latex: for a paper; mathml: for a page; svg, png: a diagram; "
        "html: a page with all of these; torch: source to paste and run; json: the cell as data; "
        "plan: its program and adjoint, and how they run here; passes: the program after each "
        "pass; llvm: the loop for this processor; asm: the same, assembled",
    ),
]
Input = Annotated[
    int | None, typer.Option(metavar="N", min=1, help=f"inputs (default {DEFAULT_SIZE})")
]
Hidden = Annotated[
    int | None, typer.Option(metavar="N", min=1, help=f"units (default {DEFAULT_SIZE})")
]
Widths = Annotated[
    list[str] | None,
    typer.Option("--width", metavar="NAME=N", help="another width of the cell, as in proj=64"),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="a file to write; one that is there is replaced where Cellwright made it, as far as "
        "that can be told",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="for plan, llvm and asm: float32 (default) or float64"),
]
Adjoint = Annotated[
    bool, typer.Option("--adjoint", help="for llvm and asm: the backward loop, not the forward one")
]


@dataclass(frozen=True)
class Asked:
    """A cell, and what was typed about its sizes and its machine code."""

    cell: "type[Cell]"
    inputs: int | None
    hidden: int | None
    widths: dict[str, int]
    dtype: str | None
    adjoint: bool
    view: View
    specs: tuple[str, ...]  # of the cell, and of the one that it is compared with

    def sizes(self) -> dict[str, int]:
        """Return a size for every width of the cell; UsageFault names what is missing."""
        from cellwright.nn import checks

        graph = self.cell.graph
        hidden = self.hidden or DEFAULT_SIZE
        given = dict(self.widths)
        if "proj" in graph.symbols:
            given.setdefault("proj", max(1, hidden // 2))
        known = {"input": self.inputs or DEFAULT_SIZE, "hidden": hidden, **given}
        missing = [f"--width {symbol}=16" for symbol in graph.symbols if symbol not in known]
        if missing:
            raise UsageFault(f"{graph.cell} has widths of its own; give {' '.join(missing)}")
        first = graph.nodes[graph.inputs[0]].width
        assert first is not None
        fixed = "input" not in graph.symbols and self.inputs is None
        inputs = first.resolve(known) if fixed else known["input"]
        return checks.widths(graph, inputs, hidden, 0, given)

    def plan(self) -> "Plan":
        from cellwright.runtime import plan

        return plan(self.cell, self.sizes())

    def torch_dtype(self) -> "torch.dtype":
        import torch

        return torch.float64 if self.dtype == "float64" else torch.float32


def show(
    cell: CellSpec,
    form: As = "equations",
    input: Input = None,
    hidden: Hidden = None,
    width: Widths = None,
    dtype: Dtype = None,
    adjoint: Adjoint = False,
    unrolled: Unrolled = False,
    focus: Focus = None,
    versus: Versus = None,
    theme: Theme = None,
    out: Out = None,
    overwrite: Overwrite = False,
) -> None:
    """Show a cell: its equations, its diagram, source that runs anywhere, or its compiled code."""
    if form not in FORMS:
        raise UsageFault(f"--as: expected one of {', '.join(FORMS)}, got {form!r:.40}")
    typed = {"--input": input, "--hidden": hidden, "--width": width}
    _refuse(form, [name for name, value in typed.items() if value], SIZED)
    _refuse(form, ["--dtype"] * (dtype is not None), TYPED)
    _refuse(form, ["--adjoint"] * adjoint, COMPILED)
    if dtype is not None and dtype not in DTYPES:
        raise UsageFault(f"--dtype: expected {' or '.join(DTYPES)}, got {dtype!r:.40}")
    if out is not None:
        check_place(out, f"cell{SUFFIXES.get(form, '.txt')}")
        check_ending(out, form, ENDINGS)
    elif overwrite:
        raise UsageFault("--overwrite: replaces the file that -o names; give both, or neither")
    from cellwright.cells import find

    found = find(cell)
    focused = [_equation(name, found) for name in focus or ()]
    view = View(unrolled, focused, None if versus is None else find(versus), theme)
    _refuse(form, view.flags, PICTURES)
    if form == "png" and out is None:
        raise UsageFault("--as png: give the file to write, as in -o cell.png")
    specs = (cell,) if versus is None else (cell, versus)
    asked = Asked(found, input, hidden, _widths(width or ()), dtype, adjoint, view, specs)
    made = FORMS[form](asked)
    if out is not None:
        _write(out, made, form, overwrite)
    elif isinstance(made, str):
        console().file.write(made.rstrip("\n") + "\n")


def _equation(name: str, cell: "type[Cell]") -> str:
    """A state's equation is called by the state; its class writes `h.next`."""
    state = name.removesuffix(".next")
    return state if state in cell.graph.state_names else name


def _write(path: Path, made: str | bytes, form: str, overwrite: bool) -> None:
    """Write a form to a file, whole or not at all, and unless told otherwise over our own only."""
    from cellwright.lm.atomic import replacing
    from cellwright.web import is_page

    if isinstance(made, bytes):
        data = made
    elif form == "html":
        data = made.encode("utf-8", "replace")  # a path may hold what is no text
    else:
        data = f"{made.rstrip()}\n".encode()
    ours = {
        "svg": (is_svg, "a diagram of ours"),
        "png": (is_png, "a picture of ours"),
        "html": (is_page, "a page of ours"),
    }
    if not overwrite:
        check_ours(path, *ours.get(form, (lambda held: held == data, "this very text")))
    with replacing(path) as file:
        file.write(data)


def _refuse(form: str, flags: Sequence[str], forms: Sequence[str]) -> None:
    """An option that means nothing here is a slip, and no option is ignored."""
    if flags and form not in forms:
        raise UsageFault(
            f"{', '.join(flags)}: only with --as {', '.join(forms[:-1])} or {forms[-1]}, "
            f"not with --as {form}"
        )


def _widths(words: Sequence[str]) -> dict[str, int]:
    """Read `name=N` words: ['proj=64'] -> {'proj': 64}."""
    made = {}
    for word in words:
        name, _, number = word.partition("=")
        if not (name.isidentifier() and number.isascii() and number.isdigit() and int(number) > 0):
            raise UsageFault(f"--width: expected NAME=N such as proj=64, got {word!r:.60}")
        made[name] = int(number)
    return made


def whole_page(asked: Asked) -> str:
    """The cell's page, counted at the sizes that were typed."""
    from cellwright.cli.show_page import cell_page

    typed = asked.inputs or asked.hidden or asked.widths
    return cell_page(asked.cell, asked.view, asked.sizes() if typed else None, asked.specs)


def torch_source(asked: Asked) -> str:
    """A layer of the cell as torch source."""
    return asked.plan().source()


def data(asked: Asked) -> str:
    """The cell as `cell.json` holds it."""
    from cellwright.language.serial import cell_to_json

    return cell_to_json(asked.cell)


def program(asked: Asked) -> str:
    """The cell's program, the program of its gradients, and what would run a layer of it here."""
    import torch

    from cellwright.runtime.describe import said

    made = asked.plan()
    weights = (torch.empty(0, dtype=asked.torch_dtype()),)
    runs = said(asked.cell.__name__, "auto", [("layer", made)], weights)
    return f"{made.program}\n\n{made.adjoint.backward}\n\n{runs}"


def passes(asked: Asked) -> str:
    """The program after each pass of the compiler, each with what the pass does."""
    from cellwright.compiler import passes as compiled
    from cellwright.compiler import vjp

    parts: list[str] = []
    before = None
    for run, after in compiled(asked.cell.graph, asked.sizes()):
        text = str(after) if after != before else f"no change to {after.name}"
        parts.append(f"{_title(len(parts) + 1, run)}\n{text}")
        before = after
    assert before is not None
    return "\n\n".join([*parts, f"{_title(len(parts) + 1, vjp)}\n{vjp(before).backward}"])


def _title(number: int, run: Callable[..., object]) -> str:
    said = inspect.cleandoc(run.__doc__ or "").split("\n")[0]
    return f"{number}. {run.__name__}: {said}"


def intermediate(asked: Asked) -> str:
    """The loop as LLVM's intermediate text, below the program that it computes."""
    from cellwright.runtime import listing

    kernel = listing.loop(_loop(asked), asked.torch_dtype())
    return f"{_commented(';', kernel.program)}\n{kernel.text}"


def assembly(asked: Asked) -> str:
    """The loop as assembly for this processor, below the program that it computes."""
    from cellwright.runtime import listing, native

    kernel = listing.loop(_loop(asked), asked.torch_dtype())
    return f"{_commented('#', kernel.program)}\n{native.assembly(kernel.text)}"


def _loop(asked: Asked) -> "Program":
    """The program whose loop is compiled; UsageFault where machine code cannot be made."""
    from cellwright.runtime.compiled import programs
    from cellwright.runtime.native import missing

    reason = missing()
    if reason is not None:
        raise UsageFault(f"no machine code here: {reason}")
    found = programs(asked.plan(), asked.torch_dtype())
    return found.adjoint if asked.adjoint else found.plain


def _commented(sign: str, text: object) -> str:
    return "\n".join(f"{sign} {line}" for line in str(text).splitlines())


FORMS: dict[str, Callable[[Asked], str | bytes]] = {
    "equations": lambda asked: equations(asked.cell),
    "latex": lambda asked: latex(asked.cell),
    "mathml": lambda asked: mathml(asked.cell),
    "svg": lambda asked: asked.view.svg(asked.cell),
    "png": lambda asked: asked.view.png(asked.cell),
    "html": whole_page,
    "torch": torch_source,
    "json": data,
    "plan": program,
    "passes": passes,
    "llvm": intermediate,
    "asm": assembly,
}
PICTURES = ("svg", "png", "html")
COMPILED = ("llvm", "asm")
TYPED = ("plan", *COMPILED)
SIZED = ("html", "torch", "plan", "passes", *COMPILED)
TEXTS = tuple(form for form in FORMS if form not in PICTURES)
ENDINGS = {
    ".svg": ("svg",),
    ".png": ("png",),
    ".html": ("html", "mathml"),
    ".htm": ("html", "mathml"),
    ".tex": ("latex",),
    ".mathml": ("mathml",),
    ".mml": ("mathml",),
    ".py": ("torch",),
    ".json": ("json",),
    ".ll": ("llvm",),
    ".s": ("asm",),
    ".txt": TEXTS,
    ".md": TEXTS,
    ".pdf": (),
    ".jpg": (),
    ".gif": (),
}
SUFFIXES = {forms[0]: ending for ending, forms in reversed(ENDINGS.items()) if forms}
