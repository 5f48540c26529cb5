"""Errors: one line and 2 for what a user can put right, a traceback and 1 for our own."""

import errno
import math
import os

import pytest

from cellwright.bench import BenchError, WishError
from cellwright.cli import faults
from cellwright.cli.faults import describe, guard
from cellwright.language.errors import CellError
from cellwright.lm.config import ConfigError, TrainConfig


def failing(error):
    def call():
        raise error

    return call


def test_a_field_becomes_a_flag():
    assert describe(ConfigError("lr_decay: expected 1")) == "--lr-decay: expected 1"
    assert describe(ConfigError("epochs, minutes: not both")) == "--epochs, --minutes: not both"
    assert describe(ConfigError("training configuration: bad")) == "training configuration: bad"
    with pytest.raises(ConfigError) as caught:
        TrainConfig(hidden=0)
    assert (describe(caught.value) or "").startswith("--hidden: ")


def test_a_setting_of_a_benchmark_becomes_a_flag():
    assert describe(WishError("shapes: expected")) == "--shapes: expected"
    assert describe(BenchError("threads: busy")) == "threads: busy"  # not a setting


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_no_flag_can_be_null(value):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(minutes=value)
    wanted = "--minutes: expected a number above 0 and at most 1e+09, got "
    assert describe(caught.value) == f"{wanted}{value}"


def test_a_whole_text_for_a_name_is_a_short_line():
    line = describe(OSError(errno.ENAMETOOLONG, "too long", "a\nb " * 9000))
    assert line is not None and len(line) < 1100 and "\n" not in line
    assert line.startswith("a b a b") and line.endswith("too long for the file system")


def test_an_error_is_one_line():
    assert describe(CellError("LSTM.i:\n  width 3,\n  got 4")) == "LSTM.i: width 3, got 4"


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission"), (errno.EROFS, "read-only")],
)
def test_the_system_says_no(number, said):
    line = describe(OSError(number, os.strerror(number), "runs/book"))
    assert line is not None and line.startswith("runs/book: ") and said in line


def test_too_large_is_no_defect():
    allocator = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    line = describe(RuntimeError(allocator + "40000000000 bytes. Error code 12"))
    assert line is not None and "40.0 GB" in line and "--hidden" in line
    assert "memory" in (describe(MemoryError()) or "")
    assert describe(RuntimeError("shapes do not match")) is None


def test_exit_codes(capsys):
    assert guard(lambda: None, ["train"]) == 0
    assert guard(lambda: 130, ["train"]) == 130
    assert guard(failing(CellError("bad")), ["train", "x"]) == 2
    assert capsys.readouterr().err == "cellwright train: bad\n"
    assert guard(failing(KeyboardInterrupt()), ["train"]) == 130
    assert guard(failing(SystemExit(3)), ["train"]) == 3


def test_a_defect_shows_where_it_is_and_asks_for_a_report(capsys):
    assert guard(failing(ZeroDivisionError("x")), ["train"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "ZeroDivisionError" in err
    assert err.splitlines()[-1].startswith("cellwright train: ") and "report" in err


def test_debug_shows_the_traceback_of_a_users_error_too(capsys, monkeypatch):
    monkeypatch.setenv("CELLWRIGHT_DEBUG", "1")
    assert guard(failing(CellError("bad")), ["show"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1] == "cellwright show: bad"


def test_the_verb_is_not_taken_from_a_flag():
    assert faults._command(CellError("x"), ["--version"]) == "cellwright"
    assert faults._command(CellError("x"), ["show", "lstm"]) == "cellwright show"
