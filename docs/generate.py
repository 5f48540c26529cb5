"""Write the pages that are made of the code: the verbs' help and the catalogue of cells.

`python docs/generate.py` writes them; with `--check` it only says which are out of date.
"""

import argparse
import ast
import contextlib
import html
import inspect
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellwright.cli.cells import Entry
    from cellwright.language import Cell

# Read when the command line is imported: one width and no colour, whoever generates.
FIXED = {
    "COLUMNS": "80",
    "TERMINAL_WIDTH": "80",
    "LINES": "40",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "LC_ALL": "C.UTF-8",
}
PAGES = Path(__file__).resolve().parent
SOURCE = PAGES.parent / "src"
NOTE = "<!-- Made by docs/generate.py; edit what it is made of. -->"


@contextlib.contextmanager
def fixed_terminal() -> Iterator[None]:
    """Set the environment that decides how help looks, and put it back."""
    before = dict(os.environ)
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS"):
        os.environ.pop(name, None)
    os.environ.update(FIXED)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def help_of(*words: str) -> str:
    """Return what `cellwright WORDS --help` prints, without trailing blanks."""
    from cellwright.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*words, "--help"])
    if code:
        raise SystemExit(f"cellwright {' '.join(words)} --help: exit code {code}")
    return "\n".join(line.rstrip() for line in printed.getvalue().strip("\n").splitlines())


def verbs() -> Iterator[tuple[str, ...]]:
    """Yield the verbs of the command line, each with the words before it."""
    import typer

    from cellwright.cli.verbs import app

    def below(group: object, *words: str) -> Iterator[tuple[str, ...]]:
        for name, command in getattr(group, "commands", {}).items():
            yield (*words, name)
            yield from below(command, *words, name)

    yield from below(typer.main.get_command(app))


def command_line() -> str:
    """Return the page of all verbs: the help of each as it is printed."""
    with fixed_terminal():
        parts = [
            "# Every verb and option",
            NOTE,
            "What `cellwright VERB --help` prints. For a first walk see "
            "[the command line](cli.md).",
            f"```text\n{help_of()}\n```",
        ]
        for words in verbs():
            title = f"#{'#' * len(words)} {' '.join(words)}"
            parts += [title, f"```text\n{help_of(*words)}\n```"]
    return "\n\n".join(parts) + "\n"


def declaration(cell: type) -> str:
    """Return the source of a cell without its docstring, which stands above it on the page."""
    lines = inspect.getsource(cell).rstrip().splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    if ast.get_docstring(body) is not None:
        lines[body.body[0].lineno - 1 : body.body[0].end_lineno] = []
    return "\n".join(lines[:1] + "\n".join(lines[1:]).strip("\n").splitlines())


INTRO = (
    "Each cell as it is declared: the equations are all there is. A cell's name is what "
    "`cellwright train` and `cellwright.nn.Recurrent` take; `cellwright cells lstm` shows the same "
    "in a terminal, and `cellwright show lstm` prints the formulas alone."
)
SIGNS = (
    "In the formulas x is the input of step t; what is read at t - 1 is a state, carried from step "
    "to step. W is a matrix, b a bias and p a vector of weights, each with its equation's name and "
    "the name of what it acts on below it; σ is the logistic sigmoid, ⊙ a product element by "
    "element, and LN a layer normalisation with a gain and a shift of its own."
)
COUNTED = (
    "Weights and FLOPs are functions of I, the width of the input, and H, the number of units; P "
    "is the width of a projection. Weights that are zero by construction are not counted. FLOPs "
    "are those of the matrix products of one step forward, two for a multiply-add; blocks of zeros "
    "are multiplied too."
)


def catalogue() -> str:
    """Return the page of all cells: equations, sizes, source and declaration of each."""
    from cellwright.cells import CATALOGUE
    from cellwright.cli.cells import entry

    entries = {name: entry(name, cell) for name, cell in CATALOGUE.items()}
    speeds = relative_speeds(PAGES / "data" / "speed.json")
    heads = ["name", "states", "weights", "FLOPs", *(["speed"] if speeds else [])]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, found in entries.items():
        columns = [f"[`{name}`](#{name})", ", ".join(found.states), found.weights, found.flops]
        columns += [speeds.by_cell.get(name, "not measured")] if speeds else []
        rows.append(f"| {' | '.join(columns)} |")
    parts = ["# The cells", NOTE, INTRO, SIGNS, COUNTED, *([speeds.said] if speeds else [])]
    parts.append("\n".join(rows))
    for name, cell in CATALOGUE.items():
        parts += section(cell, entries[name])
    return "\n\n".join(parts) + "\n"


def section(cell: "type[Cell]", found: "Entry") -> list[str]:
    """Return the paragraphs of one cell."""
    from cellwright.targets.equations import notes
    from cellwright.targets.latex import latex
    from cellwright.targets.mathml import mathml

    file = Path(inspect.getfile(cell)).relative_to(SOURCE).as_posix()
    label = f"Equations of {found.name}"
    sizes = [
        f"*inputs:* {found.shapes(found.inputs)}",
        f"*states:* {found.shapes(found.states)}",
        f"*output:* {', '.join(found.outputs)}",
        f"*weights:* {found.weights}",
        f"*FLOPs:* {found.flops}",
    ]
    return [
        f"## {found.name}",
        f"{found.summary}.",
        f"*Good for:* {found.purpose}.",
        f'<div role="region" aria-label="{label}" tabindex="0" style="overflow-x: auto">\n'
        f"{mathml(cell)}\n</div>",
        " · ".join(sizes),
        *found.notes,
        *([" ".join(said)] if (said := notes(cell.graph)) else []),
        f"*Source:* {' '.join(found.papers)}",
        f"<details><summary>LaTeX</summary>\n<pre><code>{html.escape(latex(cell))}</code></pre>\n"
        "</details>",
        f"Declared in `src/{file}`:",
        f"<!-- not run -->\n```python\n{declaration(cell)}\n```",
    ]


Shape = tuple[int, int, int]  # steps, rows, units


@dataclass(frozen=True)
class Speeds:
    """How fast cells are beside the LSTM, and a sentence on how that was measured."""

    by_cell: Mapping[str, str]
    said: str


def relative_speeds(file: Path) -> Speeds | None:
    """Read what `cellwright bench --json` printed, with a `date` added; None without the file.

    A speed is the LSTM's time over the cell's at the same shape: the geometric mean of all shapes
    that both were measured at, inference and training apart.
    """
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found.get("date"), str):
        raise SystemExit(f'{file.name}: add the day of the measurement, as in "date": "2026-01-31"')
    times: dict[str, dict[tuple[str, Shape], float]] = {}
    for case in found["cases"]:
        shape = (case["steps"], case["batch"], case["width"])
        times.setdefault(case["cell"], {})[case["kind"], shape] = case["ours"]["median_ms"]
    lstm = times["lstm"]
    by_cell = {cell: _beside(own, lstm) for cell, own in times.items() if lstm.keys() & own.keys()}
    shapes, machine = len({shape for _, shape in lstm}), found["machine"]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    said = (
        "Speed is how many times as fast as the LSTM a layer of as many units is, in inference / "
        f"training: the geometric mean over {shapes} shapes, {found['dtype']}, {threads} of "
        f"{machine['name']}, {found['date']}."
    )
    return Speeds(by_cell, said)


def _beside(own: Mapping[tuple[str, Shape], float], lstm: Mapping[tuple[str, Shape], float]) -> str:
    means = []
    for kind in ("inference", "training"):
        ratios = [lstm[k] / time for k, time in own.items() if k in lstm and k[0] == kind]
        means.append(f"{geometric_mean(ratios):.2f}" if ratios else "-")
    return " / ".join(means)


GENERATED = {"cli-reference.md": command_line, "catalogue.md": catalogue}


def main() -> int:
    """Write or check every generated page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    check = parser.parse_args().check
    stale = []
    for page, generate in GENERATED.items():
        path, text = PAGES / page, generate()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(page)
        if not check:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{page}")
    if stale and check:
        print(f"out of date: {', '.join(stale)}; run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
