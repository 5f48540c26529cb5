"""TensorBoard's files hold what metrics.jsonl holds, after a resume too."""

import json
import sys

import pytest

from cellwright.lm import TrainConfig, TrainingError, resume, train
from cellwright.lm.events import Finished
from cellwright.lm.tensorboard import TensorBoard

TEXT = "the cat sat on the mat\n" * 60


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    files = (str(tmp_path / "text.txt"),)
    return TrainConfig(files=files, epochs=2, hidden=6, batch=4, steps=8, seed=1)


def shown(run):
    """Each curve of a run, as pairs of step and value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    return {
        name: [(event.step, event.value) for event in read.Scalars(name)]
        for name in read.Tags()["scalars"]
    }, read.Tags()["tensors"]


def lines(run, kind):
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == kind]


def test_the_curves_are_the_metrics(config, tmp_path):
    heard = []
    train(config, tmp_path / "run", on_event=TensorBoard(heard.append))
    assert isinstance(heard[-1], Finished)
    curves, _ = shown(tmp_path / "run")
    valid, watch = (lines(tmp_path / "run", kind) for kind in ("valid", "watch"))
    assert len(valid) == len(watch) == 2
    for name, records, value in (
        ("loss/training, nats a token", lines(tmp_path / "run", "train"), lambda r: r["nats"]),
        ("loss/validation, nats a token", valid, lambda r: r["nats"]),
        ("gates, share below 0.1/layers.0.f", watch, lambda r: r["layers"][0]["gates"]["f"]["low"]),
        ("gradient norm by lag/0004 tokens back", watch, lambda r: r["gradient"][3]),
    ):
        expected = [(record["tokens"], value(record)) for record in records]
        assert [step for step, _ in curves[name]] == [step for step, _ in expected]
        assert [v for _, v in curves[name]] == pytest.approx([v for _, v in expected], rel=1e-6)
    assert "half-life in steps, median/layers.0.c" in curves


def test_what_a_resume_took_back_is_not_shown(config, tmp_path):
    run = tmp_path / "run"
    train(config, run, on_event=TensorBoard())
    with (run / "metrics.jsonl").open("a") as file:  # work after the last save, lost by a crash
        file.write(json.dumps({"kind": "valid", "epoch": 9, "tokens": 9, "nats": 9.0,
                               "bits_per_character": 9.0, "perplexity": 9.0}) + "\n")  # fmt: skip
    resume(run, changes={"epochs": 3}, on_event=TensorBoard())
    losses = shown(run)[0]["loss/validation, nats a token"]
    assert len(losses) == 3 and 9.0 not in [value for _, value in losses]
    assert len(list((run / "tensorboard").iterdir())) == 1


def test_warnings_are_text(config, tmp_path):
    board = TensorBoard()
    run = tmp_path / "run"
    train(config, run, on_event=board)
    with (run / "metrics.jsonl").open("a") as file:
        watch = lines(run, "watch")[-1]
        file.write(json.dumps(watch | {"warnings": ["layer 0: stuck"]}) + "\n")
    board._begin(run)
    board._follow()
    board.close()
    assert "training watch/text_summary" in shown(run)[1]


def test_only_what_training_wrote_is_removed(config, tmp_path):
    run = tmp_path / "run"
    train(config, run, on_event=TensorBoard())
    (run / "tensorboard/events.out.tfevents.1.host").write_bytes(b"somebody's own")
    train(config, run, on_event=TensorBoard(), overwrite=True)
    train(config, run, overwrite=True)
    left = [path.name for path in (run / "tensorboard").iterdir()]
    assert left == ["events.out.tfevents.1.host"]


def test_a_folder_that_others_share_is_refused(config, tmp_path):
    run, shared = tmp_path / "run", tmp_path / "shared"
    shared.mkdir()
    (shared / "events.out.tfevents.1.host.cellwright").write_bytes(b"another run's")
    train(config, run)
    (run / "tensorboard").symlink_to(shared)
    with pytest.raises(TrainingError, match="is a link"):
        resume(run, changes={"epochs": 3}, on_event=TensorBoard())
    train(config, run, overwrite=True)
    assert [path.name for path in shared.iterdir()] == ["events.out.tfevents.1.host.cellwright"]


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"cellwright\[tensorboard\]"):
        TensorBoard()


def test_the_verb_writes_and_a_resume_goes_on(config, tmp_path, capsys, monkeypatch):
    from cellwright.cli import main

    monkeypatch.chdir(tmp_path)
    flags = "--hidden 6 --batch 4 --steps 8 --epochs 1"
    assert main(["train", "text.txt", *flags.split(), "--out", "run", "--tensorboard"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert len(shown(tmp_path / "run")[0]["loss/validation, nats a token"]) == 2
    assert main(["train", "text.txt", *flags.split(), "--out", "run", "--overwrite"]) == 0
    assert not (tmp_path / "run/tensorboard").exists()
