"""The demo: what it concludes follows from the numbers, whichever way they go; and it runs."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from cellwright.cli import agreement, demo
from cellwright.cli.demo_plot import Panel, Point, draw
from cellwright.cli.demo_race import Racer
from cellwright.cli.demo_report import Result, conclusion, findings, introduce
from cellwright.cli.intervals import difference, wilson
from cellwright.cli.runs import free
from cellwright.cli.terminal import THEME
from cellwright.tasks.agreement import AgreementConfig, generate
from cellwright.tasks.agreement_score import AgreementScore, Answer

CORPUS = generate(AgreementConfig(sentences=10, valid=10, test=400))
PROBES = CORPUS.test


def answers(share):
    """The share of right answers, spread evenly over all targets."""
    targets = [target for probe in PROBES for target in probe.targets]
    right = [int((k + 1) * share) > int(k * share) for k in range(len(targets))]
    return AgreementScore(tuple(Answer(t, r) for t, r in zip(targets, right, strict=True)))


def result(rnn, lstm):
    racers = tuple(Racer(name, name.lower(), 8, 100, Path(name)) for name in ("RNN", "LSTM"))
    return Result(Path(), racers, {"RNN": answers(rnn), "LSTM": answers(lstm)}, True, 0)


@pytest.mark.parametrize(
    ("rnn", "lstm", "verdict", "said"),
    [
        (0.6, 0.95, "LSTM better", "the LSTM is right in 9"),
        (0.95, 0.6, "RNN better", "the RNN is right in 9"),
        (0.8, 0.8, "no clear difference", "no clear difference"),
        (0.80, 0.81, "no clear difference", "no clear difference"),
    ],
)
def test_the_verdict_follows_the_numbers(rnn, lstm, verdict, said):
    found = result(rnn, lstm)
    assert findings(found)[0].verdict == verdict
    assert said in conclusion(found)
    assert "guessing" not in conclusion(found)


def test_guessing_is_called_guessing():
    text = conclusion(result(0.1, 0.95))
    assert "the RNN is no better than guessing" in text
    assert "the LSTM is no better" not in text


def test_intervals_are_the_published_ones():
    # Newcombe 1998 (Stat. Med. 17: 857, 873), his examples
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert difference(56, 48, 70, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


class Oracle:
    """A language model that knows what comes next, `ahead` words ahead of what it should say."""

    def __init__(self, ahead):
        self.ahead = ahead
        names = sorted(
            {w for line in CORPUS.valid for w in line.split()}
            | {w for p in PROBES for w in p.words}
            | {w for p in PROBES for t in p.targets for w in t.candidates}
        )
        ids = {name: k + 1 for k, name in enumerate(names)}
        self.tokenizer = SimpleNamespace(level="word", line_end_id=0, token_id=ids.get)
        self.embedding = SimpleNamespace(weight=torch.zeros(1))
        self.size = len(ids) + 1

    def __call__(self, ids, state=None):
        if state is None:  # what is read first: the state is what was read last
            return None, (ids[None, :, -1:].float(), ids[None, :, -1:].float())
        assert state[0].shape == state[1].shape == (1, len(ids), 1)
        assert (ids[:, 0] == 0).all()  # each sentence follows a line end
        following = torch.roll(ids, -1 - self.ahead, dims=1)  # [B, T]
        return torch.nn.functional.one_hot(following, self.size).float() * 20, state


def test_the_model_is_asked_at_the_right_place():
    assert agreement.ask(Oracle(0), CORPUS).tally().accuracy == 1.0  # type: ignore[arg-type]
    assert agreement.ask(Oracle(1), CORPUS).tally().accuracy < 0.2  # type: ignore[arg-type]
    assert agreement.ask(Oracle(-1), CORPUS).tally().accuracy < 0.2  # type: ignore[arg-type]
    assert len(agreement.ask(Oracle(0), CORPUS, 7).answers) < 30  # type: ignore[arg-type]


def test_the_plot_is_written_whole(tmp_path):
    near, far = Point(1, 5, 90, 100, 0.5), Point(6, 60, 50, 100, 0.5)
    panel = Panel("Number", "the king sings", {"LSTM": [near, near], "RNN": [near, far]})
    for _ in range(2):
        png, svg = draw([panel] * 3, "title", "finding", "caption", tmp_path, "plot")
        assert png.read_bytes().startswith(b"\x89PNG")
        assert b"</svg>" in svg.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plot.png", "plot.svg"]


def test_a_second_demo_takes_the_next_directory(tmp_path):
    assert free(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/x").touch()
    (tmp_path / "demo-2").mkdir()
    assert free(tmp_path / "demo") == tmp_path / "demo-2"
    (tmp_path / "demo-2/x").touch()
    assert free(tmp_path / "demo") == tmp_path / "demo-3"


def test_a_wrong_demo_is_one_line(run, tmp_path):
    from tests.cli.test_train import one_line

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    assert "mine" in one_line(run("demo", "--out", "mine"), "demo")
    assert "--minutes" in one_line(run("demo", "--minutes", "0"), "demo")


@pytest.mark.slow
def test_the_demo_runs_and_leaves_what_it_names(run, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SENTENCES", 300)
    monkeypatch.setattr(demo, "LSTM_HIDDEN", 8)
    monkeypatch.setattr(demo, "EPOCHS", 2)
    made = run("demo")
    assert made.code == 0, made.err
    assert "RNN   epoch  2" in made.out and "LSTM  epoch  2" in made.out
    found = json.loads((tmp_path / "runs/demo/demo.json").read_text())
    assert found["complete"]
    assert {cell["epoch"] for cell in found["cells"].values()} == {2}
    assert len({cell["tokens"] for cell in found["cells"].values()}) == 1
    sizes = [cell["parameters"] for cell in found["cells"].values()]
    assert abs(sizes[0] - sizes[1]) < 0.05 * sizes[0]
    assert " ".join(found["conclusion"].split()) in " ".join(made.out.split())
    for name in ("accuracy.png", "accuracy.svg", "demo.json", "rnn", "lstm", "walkthrough.html"):
        assert f"runs/demo/{name}" in made.out
        assert (tmp_path / "runs/demo" / name).exists()
    told = " ".join(made.out.split())
    inside = found["inside"]
    assert {found["kind"] for found in inside["units"]["findings"]} == {"number", "gender"}
    assert "number: no single unit is shown to carry it" in told  # 300 sentences teach little
    assert "The page walks through a test sentence" in told and "what unit" in told
    assert "Without any one of" in told and "random units" in told
    address = (tmp_path / "runs/demo/walkthrough.html").as_uri()
    assert f"{address}#{inside['at']}" in made.out
    lines = [line for line in made.out.splitlines() if address not in line]
    assert max(map(len, lines)) <= 86


def test_the_page_opens_where_a_verb_must_remember_its_subject():
    from cellwright.cli.demo_inside import LEAST, LONGEST, _example

    probe = _example(generate(AgreementConfig(sentences=10, valid=10, test=1500)))
    (verb, *_) = (t for t in probe.targets if t.kind == "number")
    assert verb.distance >= LEAST and len(probe.words) <= LONGEST


def test_a_page_is_made_where_no_sentence_is_long_enough(monkeypatch):
    from cellwright.cli import demo_inside

    monkeypatch.setattr(demo_inside, "LONGEST", 0)
    corpus = generate(AgreementConfig(sentences=10, valid=10, test=20))
    assert demo_inside._example(corpus) == corpus.test[0]


def test_a_training_that_fails_ends_the_demo_in_one_line(run, tmp_path, monkeypatch):
    from tests.cli.test_train import one_line

    monkeypatch.setattr(demo, "FLAGS", {"level": "word", "lr": -1.0})
    assert "--lr" in one_line(run("demo"), "demo")
    assert not list(tmp_path.iterdir())


def test_a_time_too_short_for_one_epoch_is_told(monkeypatch):
    def one_epoch(racers, flags, limit, watch, interrupted):
        for racer in racers:
            racer.seconds = 9.0
        return True

    monkeypatch.setattr(demo, "race", one_epoch)
    racers = list(result(0.5, 0.5).racers)
    for minutes, told in ((0.1, True), (0.2, False)):
        shown = io.StringIO()
        out = Console(file=shown, theme=THEME)
        assert demo._train(out, racers, CORPUS, minutes, 0, demo.StopFlag())
        assert ("one epoch takes 9 s, more than the time given" in shown.getvalue()) is told


def test_the_introduction_fits_the_window():
    racers = list(result(0.5, 0.5).racers)
    corpus = generate(AgreementConfig(sentences=10, valid=10, test=1500))
    for width in (40, 80):
        shown = io.StringIO()
        out = Console(file=shown, theme=THEME, width=width)
        introduce(out, Path("here"), corpus, racers)
        lines = shown.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert any("(n: number, c: country)" in line for line in lines) == (width == 80)
