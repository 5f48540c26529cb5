"""The agreement language at the command line: its text for a run, and a model's exact scores.

`lm` and `tasks` do not know each other; here the one's models answer the other's questions.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cli.faults import UsageFault
from cellwright.cli.quantities import count
from cellwright.cli.terminal import fits, paragraph
from cellwright.language.errors import CellwrightError
from cellwright.tasks.agreement import (
    KINDS,
    AgreementConfig,
    AgreementCorpus,
    Probe,
    generate,
)
from cellwright.tasks.agreement_score import AgreementScore, Tally, score

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.lm import LanguageModel, TrainConfig

NAME = "agreement"
LEVEL = "word"  # its words are what must agree
PARTS = ("train", "valid", "test")
SETTINGS = "agreement.json"
BEFORE = 8  # sentences that a model reads before it is asked
GROUPS = ("all", *KINDS)
FAR = 20  # words: what stands further back is "far back"


def check(name: str) -> None:
    """UsageFault unless `name` is a corpus that can be generated."""
    if name != NAME:
        raise UsageFault(f"--corpus: expected {NAME}, got {name!r}")


@contextmanager
def laid_out(
    config: "TrainConfig", out: Path, sentences: int | None = None
) -> Iterator["TrainConfig"]:
    """Write the language's text below `out`/corpus and give a configuration that reads it.

    Its folder is named after its settings, so that it never takes the place of another text.
    `sentences` is the size of its training part. If the block fails before anything else came to
    `out`, the text goes again. UsageFault for text files beside the corpus; RunError if a file
    stands in the way.
    """
    from cellwright.lm.atomic import new_directory
    from cellwright.lm.lock import LOCK

    check(config.corpus or "")
    if config.files:
        raise UsageFault("--corpus: give a corpus or text files, not both")
    settings = AgreementConfig() if sentences is None else AgreementConfig(sentences=sentences)
    described = json.dumps(settings.to_dict(), indent=2)
    folder = out / "corpus" / hashlib.sha256(described.encode()).hexdigest()[:12]
    written: list[Path] = []
    with new_directory(folder):
        try:
            _write(folder, settings, described, written)
            yield dataclasses.replace(
                config,
                files=(str(folder / "train.txt"),),
                valid=config.valid if isinstance(config.valid, str) else str(folder / "valid.txt"),
            )
        except BaseException:
            if {path.name for path in out.iterdir()} <= {"corpus", LOCK}:
                for path in written:
                    path.unlink(missing_ok=True)
            raise


def _write(folder: Path, settings: AgreementConfig, described: str, written: list[Path]) -> None:
    """Write the language into `folder`; files that were not there are noted in `written`."""
    from cellwright.lm.atomic import replacing
    from cellwright.lm.errors import RunError

    corpus = generate(settings)
    texts = {f"{part}.txt": corpus.text(part) for part in PARTS} | {SETTINGS: described}
    for name, text in texts.items():
        path = folder / name
        if not path.exists():
            with replacing(path) as file:
                file.write(text.encode())
            written.append(path)
        elif path.read_bytes() != text.encode():
            raise RunError(f"{path}: is not the text that belongs there; move it away")


def settings_of(run: Path) -> AgreementConfig:
    """The settings of the language that `run` was trained on; the default ones for another run."""
    from cellwright.lm.run import read_config

    files = read_config(run).files
    path = Path(files[0]).parent / SETTINGS if files else run / SETTINGS
    if not path.exists():  # the run has moved: its corpus moved with it
        path = next(iter(sorted((run / "corpus").glob(f"*/{SETTINGS}"))), path)
    try:
        return AgreementConfig(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return AgreementConfig()
    except (OSError, ValueError, TypeError, RecursionError, CellwrightError) as error:
        raise UsageFault(f"{path}: not the settings of an agreement language ({error})") from error


def ask(
    model: "LanguageModel", corpus: AgreementCorpus, sentences: int | None = None
) -> AgreementScore:
    """Score a model on the first `sentences` test sentences (None: on all).

    Each is read after the same few validation sentences, as it would stand in a text: a model that
    has learnt on a stream of sentences has never seen one begin from zero states.
    UsageFault for a model that lacks words of the language.
    """
    import torch

    probes = corpus.test[:sentences]
    lines = [line.split() for line in corpus.valid[:BEFORE]]
    ids, line_end = _vocabulary(model, probes, lines)
    device = model.embedding.weight.device
    before = [number for line in lines for number in (*(ids[w] for w in line), line_end)]
    with torch.inference_mode():
        state = model(torch.tensor([[line_end, *before[:-1]]], device=device))[1]

    def log_probabilities(group: Sequence[Probe]) -> list[list[list[float]]]:
        longest = max(len(probe.words) for probe in group)
        text = torch.full((len(group), longest + 1), line_end)  # [B, T]; what follows is not read
        for row, probe in enumerate(group):
            text[row, 1 : 1 + len(probe.words)] = torch.tensor([ids[w] for w in probe.words])
        with torch.inference_mode():
            logits = model(text.to(device), repeated(state, len(group)))[0]  # [B, T, V]
            logits = logits.float().log_softmax(-1).cpu()
        return [
            [
                logits[row, t.position, [ids[w] for w in t.candidates]].tolist()
                for t in probe.targets
            ]
            for row, probe in enumerate(group)
        ]

    return score(probes, log_probabilities)


def repeated(state: Any, batch: int) -> Any:
    """A state for `batch` sentences from the state of one: tensors [layers, 1, width], or one."""
    if isinstance(state, tuple):
        return tuple(repeated(part, batch) for part in state)
    return state.expand(-1, batch, -1).contiguous()


def _vocabulary(
    model: "LanguageModel", probes: Sequence[Probe], lines: Sequence[Sequence[str]]
) -> tuple[dict[str, int], int]:
    """The model's ids of all words that it will read or be asked for, and of a line's end."""
    tokenizer = model.tokenizer
    if tokenizer is None or tokenizer.level != LEVEL or tokenizer.line_end_id is None:
        raise UsageFault("the agreement language is scored by words; train with --level word")
    words = {word for line in lines for word in line}
    words |= {word for probe in probes for word in probe.words}
    words |= {w for probe in probes for target in probe.targets for w in target.candidates}
    ids = {word: tokenizer.token_id(word) for word in sorted(words)}
    missing = [word for word, number in ids.items() if number is None]
    if missing:
        raise UsageFault(
            f"this model does not know words of the agreement language ({', '.join(missing[:5])}); "
            "train one with --corpus agreement, and more --sentences"
        )
    return {w: n for w, n in ids.items() if n is not None}, tokenizer.line_end_id


def far_back(scores: AgreementScore, kind: str | None = None) -> Tally:
    """The answers of a kind (None: of all) whose cue stands more than FAR words back."""
    return scores.tally(lambda t: t.distance > FAR and kind in (None, t.kind))


def table(scores: Mapping[str, AgreementScore], kinds: Sequence[str] = GROUPS) -> Table:
    """Accuracy by distance (rows) for each of the kinds and each model (columns).

    n counts the words of the first of the kinds.
    """
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    made.add_column("distance", no_wrap=True)
    for kind in kinds:
        for name in scores:
            head = f"{kind}\n{name}" if len(scores) > 1 else kind
            made.add_column(head, justify="right", no_wrap=True)
    made.add_column("n", justify="right", no_wrap=True)

    def add(label: str, each: Sequence[Mapping[str, Tally]]) -> list[Tally]:
        tallies = [of_model[kind] for kind in kinds for of_model in each]
        made.add_row(label, *map(_share, tallies), str(tallies[0].asked))
        return tallies

    by_distance = [each.by_distance() for each in scores.values()]
    for rows in zip(*by_distance, strict=True):  # the same distances of each model
        add(rows[0].label, [{"all": row.all, **row.kinds} for row in rows])
    made.add_section()
    add("held out", [each.held_out() for each in scores.values()])
    tallies = add("any", [{"all": each.tally(), **each.by_kind()} for each in scores.values()])
    guesses = (f"{100 * tally.chance:.1f}" for tally in tallies)
    made.add_row("guessing", *guesses, style="label")
    return made


def _share(tally: Tally) -> str:
    """Percent right; only a whole is 100."""
    if not tally.asked:
        return "."
    return "100" if tally.right == tally.asked else f"{min(100 * tally.accuracy, 99.9):.1f}"


def print_scores(out: "Console", scores: Mapping[str, AgreementScore]) -> None:
    """Print the table, in parts where the window is narrow, and how it was made."""
    whole = table(scores)
    for part in [whole] if fits(out, whole) else [table(scores, (kind,)) for kind in GROUPS]:
        out.print(part)
    answers = len(next(iter(scores.values())).answers)
    paragraph(
        out,
        f"Percent of {count(answers)} words that the model prefers to each wrong form of them, by "
        "the distance to the word they must agree with. number: the king ... sings; gender: the "
        "king ... himself; country: grew up in France ... French. held out: with a pair of words "
        "that the training text does not have.",
    )
