"""Run directories: locks, saves that a crash or a full disk cannot break, metrics."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from cellwright.language.errors import CellwrightError
from cellwright.lm import LanguageModel, RunError, StopRequest, lock, read_run, resume, train
from cellwright.lm.run import Position, RunDirectory, Snapshot, read_metrics
from tests.lm.small import small_config


def snapshot(number: int) -> Snapshot:
    """A save whose every part says `number`, so that a mixture of two saves shows."""
    tensors = {"a": torch.full((300,), float(number)), "b": torch.full((5, 7), float(number))}
    training = {"c": torch.full((11,), float(number))}
    return Snapshot(Position(epoch=number), tensors, training, {"number": number})


def numbers(saved: Snapshot) -> set[float]:
    tensors = [*saved.model.values(), *saved.training.values()]
    return {float(v) for t in tensors for v in t.flatten()} | {
        saved.position.epoch,
        saved.facts["number"],
    }


@pytest.fixture
def path(tmp_path):
    """A run directory that holds save 1."""
    config = small_config(tmp_path)
    with RunDirectory.create(tmp_path / "run") as run:
        run.save(snapshot(1), publish=True)
        run.describe({}, config)
    return tmp_path / "run"


def die_at(operation: int, path: Path) -> None:
    """In this process, die without any clean-up just before the n-th file operation in `path`."""
    events = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
    left = [operation]

    def hook(event, arguments):
        if event in events and str(path) in str(arguments[0]):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1

    sys.addaudithook(hook)


def child_survives(path: Path, operation: int) -> bool:
    """Save number 2 in a child process that dies at the n-th file operation, if there is one."""
    child = os.fork()
    if child == 0:
        try:
            with RunDirectory.open(path) as run:
                die_at(operation, path)
                run.save(snapshot(2), publish=True)
            os._exit(0)
        finally:  # whatever came: not back into pytest
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_save_killed_anywhere_leaves_one_whole_save(path):
    """The child is killed before its first file operation, then before its second, ..."""
    found = []
    for operation in range(200):
        with RunDirectory.open(path) as run:
            run.save(snapshot(1), publish=True)
        survived = child_survives(path, operation)
        published = set(load_file(path / "model.safetensors")["a"].tolist())
        assert published in ({1.0}, {2.0})
        assert read_run(path).position.epoch in (1, 2)
        with RunDirectory.open(path) as run:
            saved = numbers(run.load(snapshot(1).model))
        assert saved in ({1}, {2})
        found.append(saved)
        left = {p.name for p in path.iterdir()}
        assert left == {"config.json", "last", "model.safetensors", "run.lock"}
        assert len(list((path / "last").iterdir())) == 3
        if survived:
            break
    assert survived
    assert found[0] == {1}
    assert found[-1] == {2}
    assert found == sorted(found, key=max)  # from some operation on, the new one counts
    assert len(found) > 10


@contextmanager
def largest_file(size: int):
    """Writes beyond `size` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 1000, 1400])
def test_a_full_disk_leaves_the_save_before(path, size):
    with RunDirectory.open(path) as run:
        with largest_file(size), pytest.raises(RunError, match=r"not saved .*--resume") as caught:
            run.save(snapshot(2), publish=False)
        assert "\n" not in str(caught.value)
        assert numbers(run.load(snapshot(1).model)) == {1}
        left = {p.name for p in path.iterdir()}
        assert left == {"config.json", "last", "model.safetensors", "run.lock"}
        run.save(snapshot(2), publish=False)
        assert numbers(run.load(snapshot(1).model)) == {2}


def test_a_full_disk_stops_the_training_with_one_line(tmp_path):
    config = small_config(tmp_path, epochs=1)
    with largest_file(4000), pytest.raises(RunError) as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.json").exists()
    train(config, tmp_path / "run")


def test_two_trainings_do_not_share_a_directory(path, tmp_path):
    config = small_config(tmp_path)
    with RunDirectory.open(path):
        for refused in (
            lambda: resume(path),
            lambda: train(config, path),
            lambda: train(config, path, overwrite=True),
        ):
            with pytest.raises(RunError, match=rf"another training \(process {os.getpid()}\)"):
                refused()
    with RunDirectory.open(path):
        pass


def test_a_lock_file_that_was_just_removed_is_made_anew(tmp_path, monkeypatch):
    """Its last holder took it away between our opening it and our holding it."""
    opened, left = lock._opened, [1]

    def late(path):
        file = opened(path)
        if left:
            left.pop()
            (path / "run.lock").unlink()
        return file

    monkeypatch.setattr(lock, "_opened", late)
    held = lock.acquire(tmp_path)
    assert os.path.samestat(os.fstat(held.fileno()), (tmp_path / "run.lock").stat())
    with pytest.raises(RunError, match="another training"):
        lock.acquire(tmp_path)
    lock.remove(tmp_path, held)
    assert not list(tmp_path.iterdir())


def test_a_start_that_fails_leaves_the_directory_as_it_was(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(CellwrightError):
        train(small_config(tmp_path, batch=2000), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    with pytest.raises(CellwrightError):
        train(small_config(tmp_path, batch=2000), tmp_path / "a" / "b" / "run")
    assert not (tmp_path / "a").exists()


def test_a_run_is_not_overwritten_by_accident(path, tmp_path):
    with pytest.raises(RunError, match=r"holds a run already: .*--resume .*--overwrite"):
        train(small_config(tmp_path), path)
    with RunDirectory.open(path) as run:
        assert numbers(run.load(snapshot(1).model)) == {1}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_never_touched(tmp_path, overwrite):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "tokenizer.json").write_text("mine")
    with pytest.raises(RunError, match=r"expected an empty directory, found 'tokenizer.json'"):
        train(small_config(tmp_path), tmp_path / "home", overwrite=overwrite)
    assert (tmp_path / "home" / "tokenizer.json").read_text() == "mine"
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["tokenizer.json"]


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be used"):
        train(small_config(tmp_path), tmp_path / "file")
    with pytest.raises(RunError, match="no such directory"):
        resume(tmp_path / "file")


def test_a_start_cut_short_can_be_started_again(path, tmp_path):
    (path / "config.json").unlink()
    with pytest.raises(RunError, match=r"holds no run \(config.json is missing\)"):
        resume(path)
    assert not train(small_config(tmp_path, epochs=1), path).stopped


def test_an_overwrite_cut_short_brings_the_old_run_back(path):
    (path / "replaced").mkdir()
    for name in ("last", "model.safetensors", "config.json"):
        (path / name).rename(path / "replaced" / name)
    (path / "tokens").mkdir()  # of the new run, which never began
    with pytest.raises(RunError, match="holds a run already"):
        RunDirectory.create(path)
    with RunDirectory.open(path) as run:
        assert numbers(run.load(snapshot(1).model)) == {1}
    assert not (path / "replaced").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("keep", [0, 60, -3])
def test_a_damaged_save_is_named(tmp_path, name, keep):
    stop = StopRequest()
    stop.set()
    train(small_config(tmp_path), tmp_path / "run", stop=stop)
    file = tmp_path / "run" / "last" / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CellwrightError, match=name) as caught:
        resume(tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["tokens/train.bin", "tokens/train.json", "tokenizer.json", "cell.json"]
)
def test_a_missing_part_is_named(tmp_path, name):
    stop = StopRequest()
    stop.set()
    train(small_config(tmp_path), tmp_path / "run", stop=stop)
    (tmp_path / "run" / name).unlink()
    with pytest.raises(CellwrightError, match=Path(name).stem):
        resume(tmp_path / "run")


def test_a_run_copied_elsewhere_loads_and_goes_on(tmp_path):
    config = small_config(tmp_path, epochs=1)
    train(config, tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    Path(config.files[0]).unlink()
    assert "".join(LanguageModel.from_pretrained(tmp_path / "moved").generate("a", 3))
    assert resume(tmp_path / "moved", changes={"epochs": 2}).epoch == 2


def test_a_metrics_line_cut_short_is_left_out(tmp_path):
    lines = [{"kind": "train", "epoch": 1, "tokens": 5, "nats": k} for k in (1, 2)]
    first, second = map(json.dumps, lines)
    (tmp_path / "metrics.jsonl").write_text(f'{first}\n{second}\n{{"na')
    assert read_metrics(tmp_path / "metrics.jsonl") == lines
    (tmp_path / "metrics.jsonl").write_text(f'{first}\n{{"na\n{second}\n')
    with pytest.raises(RunError, match="line 2: not JSON, damaged or cut short"):
        read_metrics(tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("name", ["model.safetensors", "last/model.safetensors"])
@pytest.mark.parametrize("at", [-1, -300])
def test_weights_with_a_changed_byte_are_refused(tmp_path, name, at):
    """Of the same length: nothing but the checksum tells."""
    train(small_config(tmp_path, epochs=1), tmp_path / "run")
    file = tmp_path / "run" / name
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    file.write_bytes(raw)
    readers: list[Callable[[], object]] = [lambda: resume(tmp_path / "run", changes={"epochs": 2})]
    if name == "model.safetensors":
        readers.append(lambda: LanguageModel.from_pretrained(tmp_path / "run"))
    for read in readers:
        with pytest.raises(RunError, match=r"model.safetensors: damaged: .*from a copy, or ") as c:
            read()
        assert "\n" not in str(c.value)
    assert file.read_bytes() == raw


@pytest.mark.parametrize("keep", [0, 60, -3, None])
def test_the_best_weights_are_missed_before_training_goes_on(tmp_path, keep):
    train(small_config(tmp_path, epochs=1), tmp_path / "run")
    best, latest = (tmp_path / "run" / d / "model.safetensors" for d in ("", "last"))
    if keep is None:
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"run/model.safetensors: .*put .*last/model.safetensors"):
        resume(tmp_path / "run", changes={"epochs": 2})
    best.write_bytes(latest.read_bytes())
    assert resume(tmp_path / "run", changes={"epochs": 2}).epoch == 2


def test_weights_without_a_checksum_are_read(tmp_path):
    """What the first runs hold."""
    train(small_config(tmp_path, epochs=1), tmp_path / "run")
    for file in (tmp_path / "run").rglob("*.safetensors"):
        save_file(load_file(file), file)
    state = tmp_path / "run" / "last" / "state.json"
    values = json.loads(state.read_text())
    del values["position"]["metrics_digest"]
    state.write_text(json.dumps(values))
    LanguageModel.from_pretrained(tmp_path / "run")
    assert resume(tmp_path / "run", changes={"epochs": 2}).epoch == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[:-5], "cut short: expected at least"),
        (lambda raw: raw[: raw.index(b"\n") + 1], "cut short: expected at least"),
        (lambda raw: b"", "cut short: expected at least"),
        (lambda raw: raw.replace(b'"epoch": 1', b'"epoch": 7'), "damaged: its lines are not"),
        (lambda raw: raw[raw.index(b"\n") + 1 :] + raw, "damaged: its lines are not"),
    ],
    ids=["bytes", "lines", "empty", "changed", "longer"],
)
def test_metrics_that_are_not_the_saved_ones_are_refused(tmp_path, damage, said):
    train(small_config(tmp_path, epochs=1), tmp_path / "run")
    file = tmp_path / "run" / "metrics.jsonl"
    assert len(file.read_bytes().splitlines()) > 1
    file.write_bytes(damage(file.read_bytes()))
    before = file.read_bytes()
    for read in (read_run, lambda path: resume(path, changes={"epochs": 2})):
        with pytest.raises(RunError, match=rf"metrics.jsonl: {said}.*move it away") as caught:
            read(tmp_path / "run")
        assert "\n" not in str(caught.value)
        assert file.read_bytes() == before
    file.rename(tmp_path / "aside")
    assert resume(tmp_path / "run", changes={"epochs": 2}).epoch == 2
    assert {line["epoch"] for line in read_run(tmp_path / "run").metrics} == {2}


def test_metrics_go_back_to_the_save(path):
    with RunDirectory.open(path) as run:
        run.log(kind="train", nats=1)
        run.save(snapshot(2), publish=False)
        run.log(kind="train", nats=2)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')  # killed while writing
    with RunDirectory.open(path) as run:
        run.rewind_metrics(run.load(snapshot(1).model).position.metrics_bytes)
        run.log(kind="train", nats=3)
    lines = (path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["nats"] for line in lines] == [1, 3]


def test_nothing_in_a_run_is_a_pickle(tmp_path):
    train(small_config(tmp_path, epochs=1), tmp_path / "run")
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".json", ".jsonl", ".safetensors", ".bin", ".lock"}
    assert {p.name for p in files if p.suffix == ".bin"} == {"train.bin", "valid.bin"}  # the ids


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_to_the_same_end(tmp_path):
    """kill -9 at moments nobody chose, while it saves after every window."""
    config = small_config(tmp_path, epochs=6)
    straight = train(config, tmp_path / "straight")
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from cellwright.lm import TrainConfig, resume, train
        run, files = Path(sys.argv[1]), sys.argv[2]
        if (run / "config.json").exists():
            resume(run, save_seconds=0)
        else:
            import json
            train(TrainConfig.from_dict(json.loads(files)), run, save_seconds=0)
        """
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "run"), json.dumps(config.to_dict())]
    for moment in (0.0, 0.011, 0.023):  # seconds after the first save that is seen
        process = subprocess.Popen(arguments)
        started, deadline = None, time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(RunError):  # not begun yet
                tokens = read_run(tmp_path / "run").position.tokens
                started = tokens if started is None else started
                if tokens > started:
                    break
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it was still at work
    subprocess.run(arguments, check=True, timeout=120)
    assert read_run(tmp_path / "run").finished
    broken, whole = tmp_path / "run" / "last", tmp_path / "straight" / "last"
    assert_close(
        load_file(broken / "model.safetensors"),
        load_file(whole / "model.safetensors"),
        rtol=0,
        atol=0,
    )
    assert read_run(tmp_path / "run").position.best_nats == straight.valid_nats
