"""`show --as`: a cell as a picture, and at every stage of its compilation."""

import re

import pytest
import torch
from matplotlib import image

from cellwright.cells import CATALOGUE
from cellwright.cli.show import FORMS
from cellwright.cli.show_png import SCALE
from cellwright.compiler import lower, vjp
from cellwright.compiler.phases import part
from cellwright.runtime import listing, native, plan
from cellwright.runtime.compiled import programs
from cellwright.targets.svg import focused, single, svg, unrolled, versus
from cellwright.targets.svg.styles import STYLES
from tests.cli.test_train import one_line

needs_llvm = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
CELL = """
from cellwright.language import Cell, Input, State, linear, tanh

class Narrow(Cell):
    x, h = Input(width="stream"), State()
    h.next = tanh(linear(x) + linear(h))
"""


def text_of(form: str, run, *words: str) -> str:
    shown = run("show", *words, "--as", form)
    assert (shown.code, shown.err) == (0, "")
    return shown.out


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_plan_is_the_program_its_adjoint_and_what_runs_them(run, name, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "cache"))
    sizes = {"input": 3, "hidden": 8, "proj": 4, "static": 2}
    made = lower(CATALOGUE[name].graph, sizes)
    own = ["--width", "static=2"] if "static" in CATALOGUE[name].graph.symbols else []
    shown = text_of("plan", run, name, "--input", "3", "--hidden", "8", *own)
    programs = f"{made}\n\n{vjp(made).backward}\n\n"
    assert shown.startswith(programs)
    first = shown.removeprefix(programs).splitlines()[0]
    path = "reference path, torch operations" if native.missing() else "llvm path, machine code"
    assert first.startswith(f"{CATALOGUE[name].__name__}: {path}")
    assert not (tmp_path / "cache").exists()


@needs_llvm
def test_a_plan_says_what_runs_here(run, tmp_path, monkeypatch):
    """Path, kernels, tile, threads, and whether the code is kept or would be compiled."""
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "cache"))
    words = ("gru-cho", "--input", "3", "--hidden", "37", "--dtype", "float64")
    tile = native.machine("double")
    shown = text_of("plan", run, *words)
    assert f"vectors of {tile.lanes} float64, tiles of {tile.rows} rows" in shown
    assert f"threads: up to {torch.get_num_threads()} of " in shown
    assert f"machine code is kept in: {tmp_path / 'cache'}" in shown
    assert "  inference: not compiled yet\n" in shown
    made = programs(plan(CATALOGUE["gru-cho"], {"input": 3, "hidden": 37}), torch.float64)
    kernels = listing.kernels(part(made.plain), torch.float64)
    assert kernels.early is not None
    before, loop = (native.key(k.text)[:8] for k in (kernels.early, kernels.loop))
    assert f"object {before}, before the loop: meet, product_" in shown
    assert f"object {loop}, in the loop: meet, product_" in shown and "kept on disk" not in shown
    native.compiled(kernels.loop.text)
    lines = text_of("plan", run, *words).splitlines()
    (kept,) = [line for line in lines if "(kept on disk)" in line]
    assert f"object {loop}, " in kept


def test_a_plan_says_why_not_machine_code(run, monkeypatch):
    monkeypatch.setattr("cellwright.runtime.compiled.missing", lambda: "llvmlite is not installed")
    shown = text_of("plan", run, "rnn", "--hidden", "4")
    assert "RNN: reference path" in shown and "because llvmlite is not installed" in shown
    monkeypatch.setenv("CELLWRIGHT_BACKEND", "reference")
    assert "because it was asked for" in text_of("plan", run, "rnn", "--hidden", "4")


def test_a_backend_that_is_none_is_a_line(run, monkeypatch):
    monkeypatch.setenv("CELLWRIGHT_BACKEND", "fast")
    said = one_line(run("show", "rnn", "--as", "plan"), "show")
    assert "CELLWRIGHT_BACKEND" in said and "auto, reference or llvm" in said and "'fast'" in said


def test_a_width_of_its_own(run):
    shown = text_of("plan", run, "lstm-projected", "--hidden", "8", "--width", "proj=3")
    assert "state h[3]" in shown
    source = text_of("torch", run, "lstm-projected", "--hidden", "8")
    assert "def projected_lstm(" in source


def test_a_users_cell_asks_for_its_widths(run, tmp_path):
    (tmp_path / "mine.py").write_text(CELL)
    said = one_line(run("show", "mine.py:Narrow", "--as", "plan"), "show")
    assert "--width stream=16" in said
    shown = text_of("plan", run, "mine.py:Narrow", "--width", "stream=7", "--hidden", "5")
    assert "input x[7]" in shown and "state h[5]" in shown


def test_passes_show_what_each_does(run):
    shown = text_of("passes", run, "gru", "--input", "3", "--hidden", "4")
    titles = re.findall(r"^\d+\. (\w+): .+\.$", shown, re.M)
    assert titles == ["build", "simplify", "pack", "hoist", "widen", "simplify", "stage", "rename",
                      "vjp"]  # fmt: skip
    assert "wx_rzn[12] = product(x, weight_ih, bias_ih, start=0, stop=12)" in shown
    made = lower(CATALOGUE["gru"].graph, {"input": 3, "hidden": 4})
    assert shown.endswith(f"{made}\n\n9. vjp: {vjp_title()}\n{vjp(made).backward}\n")


def vjp_title() -> str:
    return (vjp.__doc__ or "").split("\n")[0]


@needs_llvm
@pytest.mark.parametrize(("dtype", "word"), [("float32", "float"), ("float64", "double")])
def test_llvm_is_the_loop_that_is_compiled(run, dtype, word):
    words = ("peephole", "--hidden", "16", "--dtype", dtype)
    forward = text_of("llvm", run, *words)
    backward = text_of("llvm", run, *words, "--adjoint")
    lanes = native.machine(word).lanes
    assert f"<{lanes} x {word}>" in forward and "define" in forward
    assert "; program Peephole\n" in forward and "; program Peephole_vjp\n" in backward
    assert forward != backward
    for text in (forward, backward):
        native._binding().parse_assembly(text).verify()


@needs_llvm
def test_asm_is_assembly(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "cache"))
    shown = text_of("asm", run, "rnn", "--hidden", "16")
    assert "share" in shown and "\tret" in shown and "# program RNN\n" in shown
    assert shown != text_of("asm", run, "rnn", "--hidden", "16", "--adjoint")
    assert not (tmp_path / "cache").exists()


def test_without_llvm_it_says_so(run, monkeypatch):
    monkeypatch.setattr(native, "missing", lambda: "the package llvmlite is not installed")
    said = one_line(run("show", "rnn", "--as", "asm"), "show")
    assert "llvmlite is not installed" in said


def test_a_picture_is_printed_or_written(run, tmp_path):
    shown = text_of("svg", run, "gru", "--unrolled", "--theme", "dark")
    assert shown == svg(unrolled(CATALOGUE["gru"].graph), "dark")
    file = tmp_path / "gru.svg"
    file.write_text(text_of("svg", run, "lstm"))
    for words, picture in (
        (("--focus", "z", "--focus", "r"), focused(CATALOGUE["gru"].graph, ["z", "r"])),
        (("--versus", "mgu"), versus(CATALOGUE["gru"].graph, CATALOGUE["mgu"].graph)),
        ((), single(CATALOGUE["gru"].graph)),
    ):
        assert text_of("svg", run, "gru", "-o", str(file), *words) == ""
        assert file.read_text(encoding="utf-8") == svg(picture)


def test_a_file_that_cannot_be_drawn_is_left_as_it_was(run, tmp_path):
    file = tmp_path / "gru.png"
    file.write_bytes(b"mine")
    one_line(run("show", "gru", "--as", "png", "--focus", "q", "-o", str(file)), "show")
    assert file.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_png_has_the_colours_and_the_size_of_its_picture(run, tmp_path, theme):
    file = tmp_path / "lstm.png"
    assert text_of("png", run, "lstm", "--theme", theme, "-o", str(file)) == ""
    pixels = image.imread(file)
    picture = single(CATALOGUE["lstm"].graph)
    assert abs(pixels.shape[0] - SCALE * picture.height) <= 1
    assert abs(pixels.shape[1] - SCALE * picture.width) <= 1
    found = {bytes(pixel[:3]) for pixel in (pixels.reshape(-1, 4) * 255).round().astype("uint8")}
    for style in ("page", "frame", "layer", "pointwise", "input", "output"):
        colour = STYLES[style].fill[theme == "dark"]
        assert bytes.fromhex(colour[1:]) in found
    again = tmp_path / "again.png"
    assert text_of("png", run, "lstm", "--theme", theme, "-o", str(again)) == ""
    assert again.read_bytes() == file.read_bytes()


def test_any_form_can_be_written(run, tmp_path):
    file = tmp_path / "lstm.tex"
    assert text_of("latex", run, "lstm", "-o", str(file)) == ""
    assert file.read_text(encoding="utf-8") == text_of("latex", run, "lstm")


def test_a_state_is_found_as_its_class_writes_it(run):
    shown = text_of("svg", run, "gru", "--focus", "h.next", "--focus", "z")
    assert shown == svg(focused(CATALOGUE["gru"].graph, ["h", "z"]))


@pytest.mark.parametrize(
    ("form", "name", "kind"),
    [
        ("svg", "keep", "a diagram of ours"),
        ("svg", "keep.svg", "a diagram of ours"),
        ("png", "keep.png", "a picture of ours"),
        ("html", "keep.html", "a page of ours"),
        ("latex", "n3.txt", "this very text"),
        ("json", "keep.json", "this very text"),
    ],
)
def test_only_what_is_ours_is_replaced(run, tmp_path, form, name, kind):
    file = tmp_path / name
    words = ("show", "coupled", "--as", form, "-o", str(file))
    for mine in (b"my notes\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n"):
        file.write_bytes(mine)
        said = one_line(run(*words), "show")
        assert f"holds something that is not {kind}" in said and "--overwrite" in said
        assert file.read_bytes() == mine
    assert run(*words, "--overwrite").code == 0
    made = file.read_bytes()
    assert made != mine
    assert run(*words).code == 0 and file.read_bytes() == made
    file.write_bytes(b"")
    assert run(*words).code == 0 and file.read_bytes() == made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--as", "latin"], ", ".join(FORMS)),
        (["--hidden", "8"], "--hidden: only with --as html, torch, plan, passes, llvm or asm"),
        (["--as", "html", "--width", "proj=3"], "proj"),
        (["--as", "html", "--dtype", "float64"], "--dtype: only with"),
        (["--as", "html", "--focus", "forget"], "it has"),
        (["--as", "html", "-o", "."], "is a directory"),
        (["--as", "json", "--width", "proj=3"], "--width: only with"),
        (["--as", "plan", "--adjoint"], "--adjoint: only with --as llvm or asm"),
        (["--as", "torch", "--dtype", "float64"], "--dtype: only with --as plan, llvm or asm"),
        (["--as", "llvm", "--dtype", "float16"], "float32 or float64"),
        (["--as", "plan", "--width", "proj"], "proj=64"),
        (["--as", "plan", "--width", "proj=0"], "proj=64"),
        (["--as", "plan", "--width", "stream=3"], "stream"),
        (["--as", "plan", "--width", "hidden=3"], "hidden"),
        (["--as", "plan", "--hidden", "0"], "--hidden"),
        (["--as", "png"], "-o cell.png"),
        (["--unrolled"], "--unrolled: only with --as svg, png or html"),
        (["--as", "latex", "--theme", "dark"], "--theme: only with --as svg, png or html"),
        (["--as", "svg", "--theme", "red"], "light or dark"),
        (["--as", "svg", "--unrolled", "--focus", "f"], "give one"),
        (["--as", "svg", "--focus", "forget"], "it has"),
        (["--as", "svg", "--versus", "grv"], "did you mean gru"),
        (["--as", "svg", "--versus", "zz"], "`cellwright cells` lists them all"),
        (["--as", "svg", "--focus", "f.next"], "has no equation 'f.next'"),
        (["--as", "svg", "-o", "lstm.png"], "ends in .svg for --as svg, got '.png'"),
        (["--as", "png", "-o", "notes.txt"], "ends in .png for --as png, got '.txt'"),
        (["--as", "plan", "-o", "plan.svg"], "ends in .txt for --as plan, got '.svg'"),
        (["--as", "svg", "-o", "."], "is a directory; name a file in it, such as cell.svg"),
        (["--as", "svg", "-o", "no/lstm.svg"], "there is no directory no; make it first"),
        (["--overwrite"], "--overwrite: replaces the file that -o names; give both"),
        (["--as", "svg", "--hidden", "8"], "--hidden: only with"),
        (["--as", "svg", "-o", "no/such/folder/lstm.svg"], "no/such/folder/lstm.svg"),
    ],
    ids=" ".join,
)
def test_a_wrong_show_is_one_line(run, words, said):
    assert said in one_line(run("show", "lstm", *words), "show")
