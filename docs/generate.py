"""Write the pages that are made of the code: the verbs' help and the catalogue of cells.

`python docs/generate.py` writes them; with `--check` it only says which are out of date.
"""

import argparse
import ast
import contextlib
import inspect
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

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


def verbs() -> tuple[str, ...]:
    """Return the verbs of the command line, in its own order."""
    import typer

    from cellwright.cli.verbs import app

    group = typer.main.get_command(app)
    return tuple(getattr(group, "commands"))  # noqa: B009 the static type is a plain Command


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
        for verb in verbs():
            parts += [f"## {verb}", f"```text\n{help_of(verb)}\n```"]
    return "\n\n".join(parts) + "\n"


def declaration(cell: type) -> str:
    """Return the source of a cell without its docstring, which stands above it on the page."""
    lines = inspect.getsource(cell).rstrip().splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    if ast.get_docstring(body) is not None:
        lines[body.body[0].lineno - 1 : body.body[0].end_lineno] = []
    return "\n".join(lines[:1] + "\n".join(lines[1:]).strip("\n").splitlines())


def catalogue() -> str:
    """Return the page of all cells: name, states, source and declaration of each."""
    from cellwright.cells import CATALOGUE

    rows = ["| name | states | declared in |", "|---|---|---|"]
    sections = []
    for name, cell in CATALOGUE.items():
        file = Path(inspect.getfile(cell)).relative_to(SOURCE).as_posix()
        rows.append(f"| [`{name}`](#{name}) | {', '.join(cell.graph.state_names)} | `src/{file}` |")
        sections += [
            f"## {name}",
            inspect.cleandoc(cell.__doc__ or ""),
            f"<!-- not run -->\n```python\n{declaration(cell)}\n```",
        ]
    intro = (
        "Each cell as it is declared: the equations are all there is. A cell's name is what "
        "`cellwright train` and `cellwright.nn.Recurrent` take; its first state is its output "
        "unless it says otherwise."
    )
    return "\n\n".join(["# The cells", NOTE, intro, "\n".join(rows), *sections]) + "\n"


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
