"""The tree: what is in it, how long its files are, what they are called, what they tell."""

import ast
import functools
import subprocess
from pathlib import Path

import pytest

from tests.house.pages import ROOT

LONGEST_FILE = 450
LONGEST_FUNCTION = 60
EMPTY_NAMES = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "managers",
    "impl",
}
# Parts of this workplace and hosts that do not belong in the product; joined here, so that this
# file does not contain them itself.
FORBIDDEN = tuple(
    "".join(parts)
    for parts in (
        ("/wo", "rk/"), ("../sha", "red"), ("/opt/py", "pi"), ("/opt/whe", "els"),
        ("/tmp/te", "am"), ("py", "pi.org"), ("python", "hosted.org"), ("download.py", "torch"),
        ("registry.np", "mjs"), (".lib", "rary/"), ("fonts.goo", "gleapis"), ("unp", "kg.com"),
        ("jsde", "livr"), ("cdn", "js."),
    )
)  # fmt: skip


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that belongs to the project: tracked, or new and not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return tuple(path for n in listed.split("\0") if n and (path := ROOT / n).is_file())


@functools.cache
def python_files() -> tuple[Path, ...]:
    return tuple(path for path in files() if path.suffix == ".py")


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def leaks(text: str) -> list[str]:
    return [word for word in FORBIDDEN if word in text]


def functions(source: str) -> dict[str, int]:
    """Return the lines of each function, its docstring left out."""
    lengths = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                lengths[node.name] = (body[-1].end_lineno or 0) - body[0].lineno + 1
    return lengths


def test_the_list_of_files_is_not_empty():
    assert {"pyproject.toml", "src/cellwright/__init__.py"} <= {short(path) for path in files()}


def test_no_file_is_too_long():
    lengths = {short(p): p.read_text(encoding="utf-8").count("\n") for p in python_files()}
    assert {p: n for p, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_too_long():
    long = {
        f"{short(path)}:{function}": n
        for path in python_files()
        for function, n in functions(path.read_text(encoding="utf-8")).items()
        if n > LONGEST_FUNCTION
    }
    assert long == {}


def test_names_say_something():
    empty = [short(p) for p in files() if EMPTY_NAMES & {part.split(".")[0] for part in p.parts}]
    assert empty == []


def test_nothing_of_the_workplace_leaks():
    found = {}
    for path in files():
        try:
            words = leaks(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # a picture
        if words:
            found[short(path)] = words
    assert found == {}


@pytest.mark.parametrize("word", FORBIDDEN)
def test_a_leak_is_found(word):
    assert leaks(f"see {word} for more") == [word]


def test_a_long_function_is_found():
    body = "    pass\n" * (LONGEST_FUNCTION + 1)
    assert functions(f'def f():\n    """Doc."""\n{body}') == {"f": LONGEST_FUNCTION + 1}


def test_lines_end_as_on_unix():
    assert not [short(p) for p in python_files() if b"\r" in p.read_bytes()]
