"""`cellwright demo`: what an RNN and an LSTM of equal size remember, in a few minutes."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellwright.cli import agreement, demo_report
from cellwright.cli.demo_inside import look_inside
from cellwright.cli.demo_race import RaceError, Racer, race
from cellwright.cli.demo_view import view
from cellwright.cli.faults import UsageFault
from cellwright.cli.flags import as_flags
from cellwright.cli.interrupt import orderly
from cellwright.cli.runs import free, quoted
from cellwright.cli.terminal import console
from cellwright.tasks.agreement import AgreementConfig, generate

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.tasks.agreement import AgreementCorpus
    from cellwright.tasks.agreement_score import AgreementScore

EXAMPLES = """
cellwright demo
cellwright demo --minutes 1
cellwright demo --out runs/again --seed 3
"""

SENTENCES = 25_000
MINUTES, EPOCHS = 2.8, 10  # after as many epochs the LSTM has learnt nearly all there is
EMBED, LSTM_HIDDEN = 64, 96
FLAGS = {
    "level": "word", "embed": EMBED, "batch": 32, "steps": 64, "lr": 0.004, "lr_decay": 0.8,
    "decay_after": 4,
}  # fmt: skip
FIRST_LEG = 120  # seconds that the first epoch may take, however few --minutes are given
WATCHED = 400  # test sentences asked after each epoch, for the display only

Minutes = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help=f"train this long (default: until epoch {EPOCHS}, at most {MINUTES:g})",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="where to write (default runs/demo, or the next free runs/demo-N)",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="of the weights")]


def demo(minutes: Minutes = None, out: Out = None, seed: Seed = 0) -> int:
    """Train an RNN and an LSTM of equal size; see which remembers what, and how far back.

    The text is generated: in it verbs, pronouns and languages must agree with words far before
    them, so what a model remembers can be counted.
    """
    if minutes is not None and not 0 < minutes < float("inf"):
        raise UsageFault(f"--minutes: expected a number above 0, got {minutes:g}")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageFault(f"--out: {out} is not an empty directory; choose another")
    shown, began = console(), time.monotonic()
    where = free(Path("runs/demo")) if out is None else out
    from cellwright.lm.atomic import new_directory

    corpus = generate(AgreementConfig(sentences=SENTENCES))
    racers = _racers(where, corpus)
    demo_report.introduce(shown, where, corpus, racers)
    stop = StopFlag()
    with new_directory(where), orderly(stop, lambda: None) as ending:
        complete = _train(shown, racers, corpus, minutes, seed, stop)
    if ending.code:
        shown.print("Stopped; what was trained is saved. Go on with one of:")
        for racer in racers:
            shown.print(f"  {quoted('cellwright', 'train', '--resume', racer.run)}", soft_wrap=True)
        return ending.code
    scores = {racer.name: _ask(racer.run, corpus) for racer in racers}
    inside = look_inside(where, racers[-1], racers[0], corpus)
    result = demo_report.Result(where, tuple(racers), scores, complete, seed, inside)
    demo_report.write(result)
    demo_report.tell(shown, result, time.monotonic() - began)
    return 0


class StopFlag:
    """Whether Ctrl-C asked the demo to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """Ask to stop."""
        self.is_set = True


def _racers(where: Path, corpus: "AgreementCorpus") -> list[Racer]:
    """An LSTM, and the RNN whose number of parameters is nearest to its."""
    from cellwright.cells import CATALOGUE
    from cellwright.lm import TrainConfig
    from cellwright.lm.sizing import count_parameters, nearest_hidden

    vocab = len({word for line in corpus.train for word in line.split()}) + 2  # <unk>, <eos>
    config = TrainConfig(files=("-",), hidden=LSTM_HIDDEN, embed=EMBED, level="word")
    size = count_parameters(config, CATALOGUE["lstm"], vocab)
    assert size is not None
    rnn, near = nearest_hidden(config, CATALOGUE["rnn"], vocab, size)
    return [
        Racer("RNN", "rnn", rnn, near, where / "rnn"),
        Racer("LSTM", "lstm", LSTM_HIDDEN, size, where / "lstm"),
    ]


def _train(
    shown: "Console",
    racers: Sequence[Racer],
    corpus: "AgreementCorpus",
    minutes: float | None,
    seed: int,
    stop: StopFlag,
) -> bool:
    """Train all for equally many epochs, as many as the time allows; False if cut short.

    The first epoch is also the measurement: how many more fit.
    """
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    threads = max(1, cores // len(racers))
    common = [*" ".join(as_flags(FLAGS)).split(), "--seed", str(seed), "--threads", str(threads)]

    def first(racer: Racer) -> list[str]:
        size = ["--cell", racer.cell, "--hidden", str(racer.hidden)]
        text = ["--corpus", "agreement", "--sentences", str(SENTENCES)]
        return [*text, *size, *common, "--epochs", "1", "--out", str(racer.run)]

    budget = 60 * (minutes or MINUTES)
    with view(shown, racers) as watching:

        def watch(racer: Racer | None, event: dict[str, Any] | None) -> None:
            saved = event is not None and event["event"] == "saved"
            if racer is not None and saved and racer.best_epoch:
                watching.answered(racer, _ask(racer.run, corpus, WATCHED))
            watching.saw(racer, event)

        def leg(flags: Any, limit: float) -> bool:
            return race(racers, flags, limit, watch, lambda: stop.is_set)

        begun = time.monotonic()
        if not leg(first, max(budget, FIRST_LEG)):
            if not stop.is_set:
                raise RaceError("not one epoch in the time there is; give more --minutes")
            return False
        slowest = max(racer.seconds for racer in racers)
        if slowest > budget:
            watching.told(f"one epoch takes {slowest:.0f} s, more than the time given: it is all")
        epochs = int(budget / slowest)
        epochs = min(epochs, EPOCHS) if minutes is None else epochs
        if epochs < 2:
            return True
        watching.planned(epochs)
        left = 1.15 * budget - (time.monotonic() - begun)
        return leg(lambda racer: ["--resume", str(racer.run), "--epochs", str(epochs)], left)


def _ask(run: Path, corpus: "AgreementCorpus", sentences: int | None = None) -> "AgreementScore":
    """What the model of a run answers; its weights are those of its best validation."""
    from cellwright.lm import LanguageModel

    return agreement.ask(LanguageModel.from_pretrained(run), corpus, sentences)
