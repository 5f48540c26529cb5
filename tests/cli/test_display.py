"""What a training shows: lines, a display that is redrawn, JSON; and the numbers in them."""

import dataclasses
import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from cellwright.cli import agreement, progress
from cellwright.cli.compare import print_comparison
from cellwright.cli.progress import Course, Plain, Redrawn, as_json, measure
from cellwright.cli.quantities import duration, percent, perplexity, rate, short, sparkline
from cellwright.cli.terminal import THEME
from cellwright.lm import Comparison, Finished, Row, Started, Step, Validated, Warned
from cellwright.tasks.agreement import AgreementConfig, generate
from cellwright.tasks.agreement_score import AgreementScore, Answer

STARTED = Started(
    out=Path("runs/book"), cell="lstm", cell_name="LSTM", parameters=1_234_567, tokens=900_000,
    vocab=65, level="char", epochs=3, minutes=None, device="cpu", resumed=False, epoch=1,
    progress=0.0, valid_tokens=100_000, test_tokens=0,
)  # fmt: skip
VALIDATED = Validated(
    epoch=1, window=40, windows=40, train_nats=2.0, nats=1.5, perplexity=math.exp(1.5),
    bits_per_character=2.16, tokens=900_000, is_best=True, best_nats=1.5, seconds=61.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def a_machine(monkeypatch):
    """The run of these events is not on the disk."""
    monkeypatch.setattr(progress, "execution", lambda run: "reference path")
    monkeypatch.setattr(progress, "threads", lambda: "2 threads")


def step(epoch=1, tokens=1000, loss=2.0, progress=0.5):
    return Step(epoch, 1, 2, loss, tokens, 45_123.0, 0.002, 1.0, progress, 151.0, 20.0)


def console(width, terminal=False):
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, theme=THEME, highlight=False
    )


def written(console):
    return console.file.getvalue()


def test_plain_lines_come_every_ten_seconds_and_each_epoch():
    now = [0.0]
    out = console(80)
    show = Plain(out, clock=lambda: now[0])
    show(STARTED)
    for second in range(25):
        now[0] = float(second)
        show(step(tokens=1000 * (second + 1)))
    show(VALIDATED)
    lines = written(out).splitlines()
    assert [line for line in lines if "left" in line] == [
        "epoch 1   50%  loss 2.0000  2.885 bits/char  45.1k tok/s  2:31 left"
    ] * 2
    assert lines[-1] == (
        "epoch 1 done: train 2.0000, valid 1.5000 nats/token, 2.164 bits/char, 1:01, best so far"
    )


def test_the_heading_says_what_will_run():
    out = console(80)
    Plain(out)(STARTED)
    text = written(out)
    for part in ("LSTM", "1,234,567", "900,000", "65", "cpu", "2 threads", "reference path"):
        assert part in text


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_the_display_fits_any_window(width):
    out = console(width, terminal=True)
    show = Redrawn(out)
    show(STARTED)
    for k in range(50):
        show(step(tokens=1000 * (k + 1), loss=4.0 - 0.05 * k, progress=k / 50))
    show.interrupted()
    lines = out.render_lines(show, pad=False)
    assert len(lines) <= (4 if width >= 66 else 7)
    assert all(sum(len(segment.text) for segment in line) <= width for line in lines)
    before = len(written(out))
    show(VALIDATED)
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(out)[before:]).splitlines()
    assert all(len(row) <= width for row in rows)
    assert "1" in rows[-1]


def test_rows_stay_and_the_best_is_marked():
    out = console(80, terminal=False)
    show = Redrawn(out)
    show(STARTED)
    show(step())
    show(VALIDATED)
    show(Warned("careful"))
    text = written(out)
    assert "bits/char" in text and "2.164" in text and "best" in text
    assert "note: careful" in text


def test_the_loss_of_an_epoch_is_the_trainings_own():
    """A display sees only what came after a resume; the training knows the whole epoch."""
    course = Course()
    course.started(dataclasses.replace(STARTED, resumed=True))
    course.stepped(step(tokens=5_000_000, loss=9.0))
    assert course.row(VALIDATED)[:2] == ("1", "2.0000")
    out = console(80)
    show = Plain(out)
    show(STARTED)
    show(step(tokens=5_000_000, loss=9.0))
    show(VALIDATED)
    assert "train 2.0000" in written(out) and "9." not in written(out).splitlines()[-1]


def test_an_epoch_that_is_not_over_is_not_called_done():
    part = dataclasses.replace(VALIDATED, epoch=3, window=19)
    out = console(80)
    Plain(out)(part)
    assert written(out).startswith("epoch 3 to 47 % of it: train 2.0000")
    assert Course().row(part)[0] == "2.47"
    almost = dataclasses.replace(VALIDATED, window=999, windows=1000)
    assert Course().row(almost)[0] == "0.99"


def test_the_path_is_told_once_for_each_path(monkeypatch):
    out = console(80)
    show = Plain(out)
    for path in ("reference path", "reference path", "llvm path", "reference path"):
        monkeypatch.setattr(progress, "execution", lambda run, path=path: path)
        show(STARTED)
    told = [line for line in written(out).splitlines() if line.startswith("  path")]
    assert [line.split()[1] for line in told] == ["reference", "llvm", "reference"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_comparison_fits_the_window(width):
    rows = [
        Row(cell, seed, 1000, 1_234_567 - seed, -seed, 12_345_678, 100.0, 45_123.0, 1.2345,
            3.4, 1.781, None, (), Path(f"c/{cell}-{seed}"))
        for cell in ("lstm", "layernorm-lstm") for seed in (0, 1)
    ]  # fmt: skip
    made = Comparison(tuple(rows), 1_234_567, "parameters", "char", ("t",), 1, Path("c"), False, {})
    out = console(width)
    print_comparison(out, made)
    lines = written(out).splitlines()
    assert all(len(line) <= width for line in lines)
    first = next(line for line in lines if line.startswith(" layernorm-lst")).split()
    assert first[-2:] == ["1.2345", "1.781"]  # whole, whatever else had to go
    text = " ".join(written(out).split())
    shown = [head for head in ("tok/s", "tokens", "hidden", "parameters") if head in lines[1]]
    assert ("Not shown in this narrow window" in text) == (width < 80)
    assert shown == {40: [], 60: ["parameters"]}.get(width, shown)
    assert len(shown) == 4 or width < 80
    for head, figure in (("parameters", "1,234,567"), ("tokens", "12,345,678")):
        assert (figure in first) == (head in shown)
    assert "parameters equal within 0.01 % of 1,234,567, equal tokens (12,345,678)" in text


@pytest.mark.parametrize("width", [40, 60, 100])
@pytest.mark.parametrize("names", [["LSTM"], ["RNN", "LSTM"]])
def test_the_table_of_agreement_fits_the_window(width, names):
    corpus = generate(AgreementConfig(sentences=10, valid=10, test=60))
    answers = [
        Answer(target, k % 7 > 0)
        for k, target in enumerate(t for probe in corpus.test for t in probe.targets)
    ]
    out = console(width)
    agreement.print_scores(out, dict.fromkeys(names, AgreementScore(tuple(answers))))
    text = written(out)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    for label in ("11-20", "held out", "any", "guessing", "number", "gender", "country"):
        assert label in text
    held_out = next(line for line in text.splitlines() if line.lstrip().startswith("held out"))
    chosen = [answer for answer in answers if answer.target.held_out]
    share = 100 * sum(answer.right for answer in chosen) / len(chosen)
    assert f"{share:.1f}" in held_out.split() and held_out.split()[-1] == str(len(chosen))


def test_json_has_no_nan_and_no_path_object():
    line = as_json(Finished(Path("r"), 1, 3, 7, 10, 2.0, math.nan, None, None, True, 5))
    assert json.loads(line) == {
        "event": "finished", "out": "r", "epoch": 1, "window": 3, "windows": 7, "tokens": 10,
        "seconds": 2.0,
        "train_nats": None, "valid_nats": None, "test": None, "stopped": True, "parameters": 5,
    }  # fmt: skip


def test_characters_are_measured_in_bits_and_words_in_perplexity():
    assert measure("char", math.log(2)) == ("1.000", "bits/char")
    assert measure("word", math.log(100)) == ("100.0", "perplexity")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (duration(0), "0:00"),
        (duration(151.4), "2:31"),
        (duration(4000), "1:06:40"),
        (duration(200_000), "2d 7h"),
        (duration(math.nan), "-"),
        (duration(math.inf), "-"),
        (rate(12.3), "12"),
        (rate(45_123), "45.1k"),
        (rate(451_230), "451k"),
        (rate(2_500_000), "2.5M"),
        (percent(1.0), "100 %"),
        (percent(0.9999), "99.9 %"),
        (percent(0.0), "0.0 %"),
        (short(6.3121), "6.312"),
        (short(631.21), "631.2"),
        (short(6312.1), "6312"),
        (short(2e9), "2.0e+09"),
        (short(math.inf), "inf"),
        (perplexity(1e6), math.inf),
        (sparkline([], 5), ""),
        (sparkline([3.0], 5), "▁"),
        (sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█"),
        (sparkline([0, 0, 7, 7], 2), "▁█"),
    ],
)
def test_quantities(made, wanted):
    assert made == wanted
