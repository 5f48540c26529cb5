"""What the demo says: before, the task and the two models; after, what came out of this run."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellwright.cli.agreement import FAR, far_back, print_scores
from cellwright.cli.demo_inside import Inside
from cellwright.cli.demo_plot import Panel, Point, draw
from cellwright.cli.demo_race import Racer
from cellwright.cli.intervals import difference, wilson
from cellwright.cli.progress import finite
from cellwright.cli.quantities import count, duration, percent
from cellwright.cli.runs import quoted
from cellwright.cli.terminal import paragraph
from cellwright.tasks.agreement import KINDS, AgreementCorpus
from cellwright.tasks.agreement_score import AgreementScore, Tally

if TYPE_CHECKING:
    from rich.console import Console

BINS = ((1, 5), (6, 10), (11, 20), (21, 30), (31, 40), (41, None))
EXAMPLE = {
    "number": "the king … sings, the kings … sing",
    "gender": "the king … himself, the queen … herself",
    "country": "grew up in France … speaks French",
}


@dataclass(frozen=True)
class Result:
    """All that the demo found out; `complete` unless time ran out before the epochs did."""

    where: Path
    racers: tuple[Racer, ...]
    scores: Mapping[str, AgreementScore]
    complete: bool
    seed: int
    inside: Inside | None = None


def introduce(out: "Console", where: Path, corpus: AgreementCorpus, racers: list[Racer]) -> None:
    """Say what will happen and show the task in one sentence."""
    words = sum(len(line.split()) for line in corpus.train)
    paragraph(
        out,
        f"A made language: {count(len(corpus.train))} sentences, {count(words)} words. Some words "
        "must agree with one that stands far before them:",
    )
    sentence, marks, key = _example(corpus)
    if len(sentence) + 2 <= out.width:
        for line in (sentence, marks, key):
            out.print(f"  {line}", soft_wrap=True)
    else:  # marks stand under words only where the line is not folded
        paragraph(out, sentence, indent="  ")
    first, second = racers
    paragraph(
        out,
        f"Two models learn to predict the next word: an {first.name} of {first.hidden} units and "
        f"an {second.name} of {second.hidden}, {count(first.parameters)} and "
        f"{count(second.parameters)} parameters in all. They train at the same time, on the same "
        f"text, with the same settings. All of it goes to {where}.",
    )


def _example(corpus: AgreementCorpus) -> tuple[str, str, str]:
    """A test sentence that fits in a line; below it a letter under each pair."""
    probe = next(
        p
        for p in corpus.test
        if len(p.text) <= 76
        and {t.kind for t in p.targets} == {"number", "country"}
        and min(t.distance for t in p.targets) > 3
    )
    marks = [" " * len(word) for word in probe.words]
    for target in probe.targets:
        for place in (target.position - target.distance, target.position):
            marks[place] = target.kind[0] * len(probe.words[place])
    return probe.text, " ".join(marks).rstrip(), "(n: number, c: country)"


@dataclass(frozen=True)
class Finding:
    """How the second cell's answers far back compare with the first's, for one kind or all."""

    kind: str
    verdict: str
    first: Tally
    second: Tally
    difference: tuple[float, float]


def findings(result: Result) -> list[Finding]:
    """What this run shows; each verdict follows from the interval of the difference."""
    one, two = result.racers
    found = []
    for kind in (None, *KINDS):
        first, second = (far_back(result.scores[racer.name], kind) for racer in (one, two))
        if not first.asked:
            continue
        low, high = difference(second.right, first.right, second.asked, first.asked)
        verdict = "no clear difference"
        if low > 0:
            verdict = f"{two.name} better"
        elif high < 0:
            verdict = f"{one.name} better"
        found.append(Finding(kind or "all", verdict, first, second, (low, high)))
    return found


def conclusion(result: Result) -> str:
    """The run in a sentence, whichever way it went."""
    one, two = result.racers
    overall, *kinds = findings(result)
    shares = {one.name: overall.first, two.name: overall.second}
    text = f"Words that must agree with one over {FAR} words back: "
    low, high = overall.difference
    if low <= 0 <= high:
        text += "no clear difference between the two ("
        text += ", ".join(f"{n} {percent(t.accuracy)}" for n, t in shares.items()) + " right)"
    else:
        better, worse = (two.name, one.name) if low > 0 else (one.name, two.name)
        text += f"the {better} is right in {percent(shares[better].accuracy)}, "
        text += f"the {worse} in {percent(shares[worse].accuracy)}"
    for racer, tallies in ((one, [f.first for f in kinds]), (two, [f.second for f in kinds])):
        guessed = [
            finding.kind
            for finding, tally in zip(kinds, tallies, strict=True)
            if wilson(tally.right, tally.asked)[0] <= tally.chance
        ]
        if guessed:
            text += f"; for {' and '.join(guessed)} the {racer.name} is no better than guessing"
    return text + "."


def write(result: Result) -> None:
    """Write demo.json, accuracy.png and accuracy.svg."""
    from cellwright.lm.atomic import replacing

    one, two = result.racers
    cells = {
        racer.name: {
            **{k: v for k, v in asdict(racer).items() if k not in ("losses", "eta", "run")},
            "run": str(racer.run),
            "scores": result.scores[racer.name].to_dict(),
        }
        for racer in result.racers
    }
    values = {
        "seed": result.seed,
        "complete": result.complete,
        "conclusion": conclusion(result),
        "far_back": [asdict(finding) for finding in findings(result)],
    }
    with replacing(result.where / "demo.json") as file:
        inside = {"inside": result.inside.to_dict()} if result.inside else {}
        file.write(json.dumps(finite(values | inside | {"cells": cells}), indent=2).encode())
    panels = [Panel(kind.capitalize(), EXAMPLE[kind], _curves(result, kind)) for kind in KINDS]
    title = f"What an {one.name} and an {two.name} of equal size remember"
    draw(
        panels,
        title,
        "\n".join(textwrap.wrap(conclusion(result), 135)),
        _caption(result),
        result.where,
        "accuracy",
    )


def _curves(result: Result, kind: str) -> dict[str, list[Point]]:
    curves = {}
    for racer in reversed(result.racers):  # the last one's colour and place come first
        answers = result.scores[racer.name]
        furthest = max(answer.target.distance for answer in answers.answers)
        tallies = [(row, row.kinds[kind]) for row in answers.by_distance(BINS)]
        curves[racer.name] = [
            Point(row.low, row.high or furthest, tally.right, tally.asked, tally.chance)
            for row, tally in tallies
            if tally.asked
        ]
    return curves


def _caption(result: Result) -> str:
    first, second = result.racers
    scores = result.scores[second.name]
    tokens = " and ".join(dict.fromkeys(f"{r.tokens / 1e6:.1f} million" for r in result.racers))
    text = (
        f"Agreement language: {count(len(scores.answers))} words that must agree with an earlier "
        "one, in test sentences that training did not see. Right: the true word is likelier than "
        f"each wrong form of it, given all words before. {second.name}: {second.hidden} units, "
        f"{count(second.parameters)} parameters; {first.name}: {first.hidden} units, "
        f"{count(first.parameters)} parameters; each trained on {tokens} tokens, same settings, "
        f"one run (seed {result.seed}). Bands: 95 % Wilson intervals, answers taken as "
        "independent. Dashed: guessing among the forms."
    )
    return "\n".join(textwrap.wrap(text, 185))


def tell(out: "Console", result: Result, seconds: float) -> None:
    """Print the table, what follows from it, a sample, and where everything is."""
    out.print()
    print_scores(out, result.scores)
    out.print()
    paragraph(out, conclusion(result))
    for found in findings(result):
        shares = f"{percent(found.second.accuracy)} against {percent(found.first.accuracy)}"
        paragraph(
            out,
            f"{found.kind:<8} {found.verdict}: {shares} of {count(found.first.asked)}, "
            f"guessing {percent(found.first.chance)}",
            indent="    ",
            first="  ",
        )
    if not result.complete:
        epochs = ", ".join(f"{r.name} {r.epoch} epochs" for r in result.racers)
        out.print(f"  Time ran out before the planned epochs: {epochs}.", style="warn")
    last = result.racers[-1]
    out.print(f"\nThe {last.name} writes:", style="number")
    for line in sample(last.run):
        paragraph(out, line, indent="    ", first="  ")
    if result.inside:
        out.print(f"\nInside the {last.name}:", style="number")
        for line in result.inside.lines():
            paragraph(out, line, indent="    ", first="  ")
    out.print(f"\nDone in {duration(seconds)}. Where it all is:", style="number")
    for label, name in (("plot", "accuracy.png"), ("", "accuracy.svg"), ("numbers", "demo.json")):
        out.print(f"  {label:<10}{result.where / name}", soft_wrap=True)
    if result.inside:
        uri = result.inside.page.resolve().as_uri()
        out.print(f"  {'page':<10}{result.inside.page}", soft_wrap=True)
        out.print(f"  {'':<10}{uri}#{result.inside.at}", soft_wrap=True)
    for racer in result.racers:
        out.print(f"  {'run':<10}{racer.run}", soft_wrap=True)
    out.print("Go on:", style="number")
    for words in (
        ("generate", last.run, "--prompt", "the king who grew up in France"),
        ("inspect", "units", last.run),
        ("inspect", "memory", last.run),
        ("show", last.cell),
        ("train", "book.txt", "--cell", "lstm"),
    ):
        out.print(f"  {quoted('cellwright', *words)}", soft_wrap=True)


def sample(run: Path, sentences: int = 4) -> list[str]:
    """The first sentences that the model of a run writes."""
    from cellwright.lm import LanguageModel

    model = LanguageModel.from_pretrained(run)
    text = "".join(model.generate("", 60 * sentences, temperature=0.8, seed=1))
    return [line.strip() for line in text.splitlines() if line.strip()][:sentences]
