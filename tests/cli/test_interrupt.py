"""Ctrl-C, closed pipes: in processes of their own, as a person meets them."""

import json
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import COMMAND, TINY, story


def begin(words, environment, cwd):
    return subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, cwd=cwd,
    )  # fmt: skip


def wait_for(process, event):
    for line in process.stdout:
        if json.loads(line)["event"] == event:
            return
    pytest.fail(process.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_the_first_signal_saves_and_resume_goes_on(text, environment, tmp_path, number):
    words = ["train", str(text), *TINY, "--epochs", "100000", "--out", "r", "--json"]
    process = begin(words, environment, tmp_path)
    wait_for(process, "step")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["event"] == "finished" and events[-1]["stopped"]

    process = begin(["train", "--resume", "r", "--json"], environment, tmp_path)
    assert process.stdout is not None
    started = json.loads(process.stdout.readline())
    assert started["event"] == "started" and started["resumed"]
    wait_for(process, "step")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_plain_output_says_how_to_go_on(text, environment, tmp_path):
    words = ["train", str(text), *TINY, "--epochs", "100000", "--out", "my run"]
    process = begin(words, environment, tmp_path)
    assert process.stdout is not None and process.stderr is not None
    while "epoch 1 done" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cellwright train --resume 'my run'" in out
    assert "Ctrl-C again" in err


def test_the_second_signal_leaves_at_once(environment):
    program = (
        "import os, signal, time\n"
        "from cellwright.cli.interrupt import orderly\n"
        "class Deaf:\n"
        "    def set(self): pass\n"
        "with orderly(Deaf(), lambda: None):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=environment, timeout=30)
    assert ended.returncode == 130


def test_a_signal_that_is_ignored_stays_ignored():
    from cellwright.cli.interrupt import orderly

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly(Flag(), lambda: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


class Flag:
    def __init__(self):
        self.asked = False

    def set(self):
        self.asked = True


def test_output_that_nobody_reads_stops_the_training_in_order():
    from cellwright.cli.interrupt import Ending, while_read

    def gone(event):
        raise BrokenPipeError(32, "Broken pipe")

    stop, ending = Flag(), Ending()
    show = while_read(gone, stop, ending)
    show("event")
    show("event")
    assert stop.asked
    assert ending.code == 141


def test_training_into_head_is_saved(environment, tmp_path):
    (tmp_path / "story.txt").write_text(story(2000))
    words = ["train", "story.txt", *TINY, "--epochs", "100000", "--out", "r", "--json"]
    process = begin(words, environment, tmp_path)
    wait_for(process, "step")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert err == ""
    assert (tmp_path / "r/last/state.json").exists()


def test_generating_into_head_is_quiet(trained, environment):
    process = begin(["generate", str(trained), "--length", "1000000"], environment, trained)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(20)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_ctrl_c_ends_generation_cleanly(trained, environment):
    process = begin(["generate", str(trained), "--length", "1000000"], environment, trained)
    assert process.stdout is not None
    process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == ""
    assert out.endswith("\n")
