"""The demo's last part: which units of its model carry what, and a page that walks through it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellwright.cli import agreement
from cellwright.cli.demo_race import Racer
from cellwright.tasks.agreement import AgreementCorpus, Probe

if TYPE_CHECKING:
    from cellwright.inspect.units.agreement import UnitsReport

SENTENCES = 1000  # half choose the units, half measure them
LONGEST = 22  # words of the sentence on the page
LEAST = 10  # words between the subject and its verb in it
UPDATE = 4  # the page's step that shows what a unit keeps and what is written to it


@dataclass(frozen=True)
class Inside:
    """What was found in the model of `racer`, and the page, with the place it opens at.

    `report` is None where the model has no state to look at unit by unit, and `why` says so.
    """

    racer: Racer
    report: "UnitsReport | None"
    why: str
    page: Path
    at: str
    about: str  # a sentence on what the page shows there

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        made = {"run": str(self.racer.run), "page": str(self.page), "at": self.at}
        return made | ({"units": self.report.to_dict()} if self.report else {"why": self.why})

    def lines(self) -> list[str]:
        """What may be said of each kind, and against what it was held."""
        from cellwright.cli.inspect_units import verdict_of

        if self.report is None:
            return [self.why, self.about]
        made = []
        for kind, controls in self.report.controls.items():
            worst = f"{max(controls, default=0):.1f} points are lost at most"
            said = f"Without any one of {len(controls)} random units {worst}."
            made.append(f"{verdict_of(kind, self.report)} {said}")
        return [*made, self.about]


def look_inside(where: Path, racer: Racer, beside: Racer, corpus: AgreementCorpus) -> Inside:
    """Find the units of one model and write its page, on which `beside` reads the same text."""
    from cellwright.inspect.units.agreement import find_units
    from cellwright.inspect.units.read import UnitsError
    from cellwright.inspect.walk.page import write_page
    from cellwright.lm import LanguageModel

    model, other = (LanguageModel.from_pretrained(r.run) for r in (racer, beside))
    report, why = None, ""
    try:
        asked = replace(corpus, test=corpus.test[:SENTENCES])
        report = find_units(model, asked, agreement.ask)
    except UnitsError as error:
        why = f"{error}"
    probe, before = _example(corpus), corpus.valid[0]
    page = where / "walkthrough.html"
    write_page(page, model, f"{before}\n{probe.text}", other)
    verb = next((t.position for t in probe.targets if t.kind == "number"), len(probe.words) - 1)
    token = len(before.split()) + verb  # the word before the verb; a line end stands between
    unit, last = _unit(report), probe.words[verb - 1]
    about = (
        f"The page walks through a test sentence, number by number. It opens at {last!r}, before "
        f"the verb {probe.words[verb]!r}: what unit {unit} keeps of what it held, and what "
        f"{last!r} writes."
    )
    return Inside(racer, report, why, page, f"t={token}&step={UPDATE}&unit={unit}", about)


def _example(corpus: AgreementCorpus) -> Probe:
    """A test sentence of a line or so in which a verb stands far behind its subject, or any."""
    wanted = (
        probe
        for probe in corpus.test
        if len(probe.words) <= LONGEST
        and any(t.kind == "number" and t.distance >= LEAST for t in probe.targets)
    )
    return next(wanted, corpus.test[0])


def _unit(report: "UnitsReport | None") -> int:
    """The unit that carries the number, or else the one that tells it best."""
    found = report.of("number") if report else ()
    best = max(found, key=lambda f: (f.causal, f.auc), default=None)
    return best.unit.unit if best else 0
