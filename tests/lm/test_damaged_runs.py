"""Run directories that were edited by hand or damaged: each fault is one line, or does no harm."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellwright.language.errors import CellwrightError
from cellwright.lm import (
    CorpusError,
    LanguageModel,
    RunError,
    Saved,
    StopRequest,
    read_run,
    resume,
    train,
)
from cellwright.lm.engine import Engine, build_model, workplace
from cellwright.lm.fields import number, read_fields, whole
from cellwright.lm.model import read_cell
from cellwright.lm.run import RunDirectory, read_config, read_text_digests
from cellwright.lm.texts import open_texts
from cellwright.lm.training import Training
from tests.lm.small import small_config, write_text

FILES = ("config.json", "last/state.json", "metrics.jsonl", "cell.json", "tokens/train.json")
FILES += ("tokenizer.json",)
ODD = [
    None, True, False, -1, 0, 1, 3, 7, 2**70, 10**400, 0.5, 1.5, 1e308, -1e308, float("nan"),
    float("inf"), "", "x", "\ud800", "a\0b", [], [1], {}, {"a": 1},
]  # fmt: skip
GONE = object()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run stopped in its second epoch: it has every file, and a state that is carried on."""
    folder = tmp_path_factory.mktemp("stopped")
    stop = StopRequest()

    def on_event(event):
        if isinstance(event, Saved) and (event.epoch, event.window) >= (2, 3):
            stop.set()

    config = small_config(folder, layers=1, dropout=0.0, test=str(write_text(folder / "t.txt", 5)))
    train(config, folder / "run", on_event=on_event, stop=stop, save_seconds=0)
    return folder / "run"


@pytest.fixture(scope="module")
def contents(stopped) -> dict[str, bytes]:
    return {name: (stopped / name).read_bytes() for name in FILES}


def written_back(run: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (run / name).write_bytes(content)


def reopen(path: Path) -> Training:
    """All that `resume` reads, up to the first step."""
    with RunDirectory.open(path) as run:
        config = read_config(path)
        with workplace(config) as device:
            texts = open_texts(config, path, read_text_digests(path))
            model = build_model(config, read_cell(path), texts.tokenizer)
            training = Training(run, config, texts, Engine(config, model, device))
            training.restore()
            return training


def places(value, at=()):
    """The path of every value within a JSON value."""
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*at, key))


def replaced(value: Any, at: Sequence[Any], new: Any) -> Any:
    """`value` with what stands at `at` replaced by `new`, or taken out."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if new is GONE and len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


def parsed(name: str, content: bytes):
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in content.splitlines()]
    return json.loads(content)


def unparsed(name: str, value) -> bytes:
    if name.endswith(".jsonl") and isinstance(value, list):
        return "".join(json.dumps(line) + "\n" for line in value).encode()
    return json.dumps(value).encode()


def outcome(read, run: Path) -> str | None:
    """The line that a reader refuses a run with, None if it reads it; all else fails the test."""
    try:
        read(run)
    except CellwrightError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return str(error)
    return None


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_a_run_with_any_field_changed_works_or_says_why_not(stopped, contents, data):
    name = data.draw(st.sampled_from(FILES))
    value = parsed(name, contents[name])
    at = data.draw(st.sampled_from(list(places(value))))
    new = data.draw(st.sampled_from([*ODD, GONE] if at else ODD))
    written_back(stopped, contents)
    (stopped / name).write_bytes(unparsed(name, replaced(value, at, new)))
    for read in (read_run, LanguageModel.from_pretrained, reopen):
        outcome(read, stopped)
        (stopped / name).write_bytes(unparsed(name, replaced(value, at, new)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_run_with_any_bytes_changed_works_or_says_why_not(stopped, contents, data):
    name = data.draw(st.sampled_from(FILES))
    content = contents[name]
    at = data.draw(st.integers(0, len(content) - 1))
    noise = data.draw(st.binary(max_size=4))
    written_back(stopped, contents)
    (stopped / name).write_bytes(content[:at] + noise + content[at + len(noise) :])
    for read in (read_run, LanguageModel.from_pretrained, reopen):
        outcome(read, stopped)


@pytest.mark.parametrize(
    ("name", "at", "new", "said"),
    [
        ("config.json", ("training", "dropout"), 1.5, "training: dropout: expected a number"),
        ("config.json", ("training", "dropout"), None, "training: dropout: expected a number"),
        ("config.json", ("training", "threads"), 2**70, "threads: expected a whole number from 1"),
        ("config.json", ("training", "forget_bias"), 1e308, "forget_bias: expected a number"),
        ("config.json", ("training", "files"), None, "files: expected a list of names"),
        ("config.json", ("training", "hidden"), GONE, "hidden: expected a value, got nothing"),
        ("config.json", ("training", "hidden"), 10, "expected shape"),
        ("config.json", ("training", "batch"), 5, "does not fit this run's settings"),
        ("last/state.json", ("position", "seconds"), "1", "position: seconds: expected a number"),
        ("last/state.json", ("position", "window"), 10**6, "position: window: expected"),
        ("last/state.json", ("position", "tokens"), GONE, "tokens: expected .* got nothing"),
        ("last/state.json", ("facts", "optimizer"), [], "facts: optimizer: expected an object"),
        ("last/state.json", ("facts", "mean"), [1.0], "facts: mean: expected a sum"),
        ("metrics.jsonl", (0, "kind"), GONE, "line 1: kind: expected one of train, valid, test"),
        ("metrics.jsonl", (0,), 3, "line 1: expected an object, got 3"),
        ("tokens/train.json", ("tokens",), "9", "tokens: expected a whole number"),
        ("cell.json", ("nodes",), None, '"nodes" is a list'),
    ],
)
def test_a_fault_is_named_with_its_file_and_field(stopped, contents, name, at, new, said):
    written_back(stopped, contents)
    (stopped / name).write_bytes(unparsed(name, replaced(parsed(name, contents[name]), at, new)))

    def read(path):
        read_run(path)
        reopen(path)

    with pytest.raises(CellwrightError, match=said) as caught:
        read(stopped)
    assert Path(name).name in str(caught.value) or "last" in str(caught.value)
    written_back(stopped, contents)
    assert outcome(read, stopped) is None


@pytest.mark.parametrize("name", ["config.json", "last/state.json", "metrics.jsonl"])
def test_what_is_no_json_is_said_in_one_wording(stopped, contents, name):
    written_back(stopped, contents)
    (stopped / name).write_bytes(contents[name].replace(b":", b";", 1))
    said = outcome(read_run, stopped)
    assert said is not None and Path(name).name in said
    assert "not JSON, damaged or cut short: " in said and "from a copy, or" in said
    written_back(stopped, contents)


def test_an_undamaged_run_without_the_later_fields_goes_on(stopped, contents):
    """What a run of the first version holds: no checksums, no width of projections."""
    written_back(stopped, contents)
    for name, at in (
        ("config.json", ("training", "proj_size")),
        ("config.json", ("model", "proj_size")),
        ("last/state.json", ("facts", "texts")),
        ("tokens/train.json", ("ids_digest",)),
    ):
        value = replaced(parsed(name, (stopped / name).read_bytes()), at, GONE)
        if name == "tokens/train.json":
            value["format"] = 1
        (stopped / name).write_bytes(unparsed(name, value))
    LanguageModel.from_pretrained(stopped)
    assert reopen(stopped).position.epoch == 2
    assert read_text_digests(stopped)["train"]


def spoilt(run: Path, value: int) -> Path:
    """train.bin with one id changed, at the same length."""
    path = run / "tokens" / "train.bin"
    content = bytearray(path.read_bytes())
    content[100:102] = value.to_bytes(2, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("value", [1, 60_000])
@pytest.mark.parametrize("digest", [True, False])
def test_damaged_ids_say_what_to_do_and_are_made_again(tmp_path, value, digest):
    stop = StopRequest()
    stop.set()
    config = small_config(tmp_path)
    train(config, tmp_path / "run", stop=stop)
    side = tmp_path / "run" / "tokens" / "train.json"
    if not digest:
        facts = json.loads(side.read_text())
        del facts["ids_digest"]
        side.write_text(json.dumps({**facts, "format": 1}))
    good = (tmp_path / "run" / "tokens" / "train.bin").read_bytes()
    path = spoilt(tmp_path / "run", value)
    if not digest and value == 1:
        return  # an id that could be right: nothing in such a run tells
    with pytest.raises(CorpusError, match=r"train.bin: damaged: .*delete the folder .*tokens") as c:
        resume(tmp_path / "run")
    assert "\n" not in str(c.value)
    for file in (tmp_path / "run" / "tokens").iterdir():
        file.unlink()
    (tmp_path / "run" / "tokens").rmdir()
    assert not resume(tmp_path / "run").stopped
    assert path.read_bytes() == good


def test_tokens_are_not_made_again_from_another_text(tmp_path):
    stop = StopRequest()
    stop.set()
    config = small_config(tmp_path)
    train(config, tmp_path / "run", stop=stop)
    for file in (tmp_path / "run" / "tokens").iterdir():
        file.unlink()
    (tmp_path / "run" / "tokens").rmdir()
    text = Path(config.files[0])
    before = text.read_text()
    text.write_text(before.replace("cat", "dog"))
    with pytest.raises(RunError, match=r"the train text is not the one that the run was trained"):
        resume(tmp_path / "run")
    assert not (tmp_path / "run" / "tokens").exists()
    text.unlink()
    with pytest.raises(CorpusError, match="no such file"):
        resume(tmp_path / "run")
    text.write_text(before)
    assert not resume(tmp_path / "run").stopped


@given(value=st.one_of(st.integers(), st.floats(), st.sampled_from(ODD)))
@example(value=10**5000)
def test_a_rule_answers_for_any_value(value):
    for rule in (whole(1, 9), number(0, 1, below=True)):
        assert rule.holds(value) in (True, False)
        if not rule.holds(value):
            with pytest.raises(RunError, match=r"^place: a: expected .*, got") as caught:
                read_fields("place", {"a": value}, {"a": rule})
            assert len(str(caught.value)) < 300
